"""Lineage as trees for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from beam_datahub.component.dataset import DatasetName
from beam_datahub.lineage.graph import Column, Walk, Way
from beam_datahub.lineage.impact import Hit, Impact
from beam_datahub.lineage.model import ColumnFlow, IntegrationLineage, Made, RowFlow
from beam_datahub.lineage.selection import shown
from beam_datahub.security import redact

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree


def lineage_tree(lineage: IntegrationLineage) -> Tree:
    """An integration's destinations, each column with what it comes from."""
    tree = _tree(_text((lineage.integration, "bold")))
    for port in lineage.destinations.values():
        sources = ", ".join(lineage.feeds.get(port.id, ()))
        head = _text((port.id, "bold"), (f"  {_names(port.datasets)}", "dim"), (f"  ← {sources}", ""))
        branch = tree.add(head)
        if port.role == "dead_letter":
            continue
        flows = [each for each in lineage.columns if each.destination == port.id]
        for column in port.columns:
            own = [each for each in flows if each.into == column]
            leaf = branch.add(_text((column, "cyan"), ("" if own else "  (a constant or a count)", "dim")))
            for text in _column_lines(own):
                leaf.add(text)
        deciding = [each for each in lineage.rows if each.destination == port.id]
        if deciding:
            rows = branch.add(_text(("its rows", "italic")))
            for text in _row_lines(deciding):
                rows.add(text)
    return tree


def _column_lines(flows: Iterable[ColumnFlow]) -> list[Text]:
    return [
        _text((f"{each.source}.{each.column}", ""), (f"  {each.flow}", "magenta"), (_made(each.made), "dim")) for each in flows
    ]


def _row_lines(rows: Iterable[RowFlow]) -> list[Text]:
    """What decides over rows; the columns of one condition in one line."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for each in rows:
        grouped.setdefault((str(each.flow), each.step, each.text), []).append(f"{each.source}.{each.column}")
    return [
        _text((", ".join(dict.fromkeys(columns)), ""), (f"  {flow}", "magenta"), (f"  {step}: {redact(text)}", "dim"))
        for (flow, step, text), columns in grouped.items()
    ]


def walk_tree(walk: Walk) -> Tree:
    """A walk from a dataset or column."""
    ports = f"  ({', '.join(walk.start.ports)})" if walk.start.ports else ""
    tree = _tree(_column(walk.start, "bold").append(ports, "dim"))
    if not walk.ways:
        tree.add(_text(("comes from nowhere known" if walk.direction == "upstream" else "goes nowhere known", "dim")))
    _add_ways(tree, walk.ways)
    return tree


def _add_ways(tree: Tree, ways: Iterable[Way]) -> None:
    for way in ways:
        text = _column(way.to, "cyan").append(f"  ({', '.join(way.to.ports)})", "dim")
        if way.flow is not None:
            text.append(f"  {way.flow}", "magenta")
        if way.step is not None:
            text.append(f"  {way.step}: {redact(way.text or '')}", "dim")
        text.append(_made(way.made), "dim")
        _add_ways(tree.add(text), way.ways)


def impact_tree(start: Column, impacts: Iterable[Impact]) -> Tree:
    """What breaks without a column or dataset."""
    tree = _tree(_text(("without ", "")).append_text(_column(start, "bold")))
    listed = list(impacts)
    if not listed:
        tree.add(_text(("nothing breaks: no integration reads it", "green")))
    for each in listed:
        _add_impact(tree, each)
    return tree


def _add_impact(tree: Tree, each: Impact) -> None:
    words, style = ("breaks", "bold red") if each.breaks else ("goes on", "green") if each.known else ("may break", "yellow")
    where = f"  ({each.file})" if each.file else ""
    branch = tree.add(_text((each.integration, "bold"), (" ", ""), (words, style), (where, "dim")))
    for error in each.errors:
        branch.add(_text((redact(str(error)), "red")))
    for hit in each.hits:
        _add_hit(branch, hit, breaks=each.breaks)


def _add_hit(branch: Tree, hit: Hit, *, breaks: bool) -> None:
    head = _text((hit.destination, "bold"), (f"  {shown(hit.dataset)}", "dim"), ("  is not written" if breaks else "", "red"))
    leaf = branch.add(head)
    for name in hit.lost:
        leaf.add(_text((name, "cyan"), ("  is gone", "red")))
    for change in hit.changed:
        if change.column not in hit.lost:
            leaf.add(_text((change.column, "cyan"), (f"  {change.flow}", "magenta"), (_made(change.made), "dim")))
    for flow, step, text in hit.decided:
        leaf.add(_text(("its rows", "italic"), (f"  {flow}", "magenta"), (f"  {step}: {redact(text)}", "dim")))
    if hit.stale:
        leaf.add(_text((f"gives nothing new to {', '.join(hit.stale)}", "red")))
    for each in hit.beyond:
        _add_impact(leaf, each)


def _column(column: Column, style: str) -> Text:
    name = shown(column.dataset)
    return _text((name if column.column is None else f"{name}#{column.column}", style))


def _made(made: Iterable[Made]) -> str:
    return "".join(f"  {each.step}: {redact(each.expression)}" for each in made)


def _names(datasets: Iterable[DatasetName]) -> str:
    return ", ".join(shown(each) for each in datasets)


def _text(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*(part for part in parts if part[0]))


def _tree(label: Text) -> Tree:
    from rich.tree import Tree

    return Tree(label, guide_style="dim")
