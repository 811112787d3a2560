"""Lineage as JSON and as Mermaid flowcharts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beam_datahub.errors import DataHubError
from beam_datahub.lineage.graph import Column, Walk, Way
from beam_datahub.lineage.impact import Hit, Impact
from beam_datahub.lineage.model import Flow, IntegrationLineage, Made
from beam_datahub.lineage.selection import shown
from beam_datahub.security import redact


def walk_json(walk: Walk) -> dict[str, Any]:
    """A walk as the column that it starts from and one list of edges, each in the direction in which the data flows."""
    edges = []
    for origin, way in walk.edges():
        before, after = (way.to, origin) if walk.direction == "upstream" else (origin, way.to)
        edge: dict[str, Any] = {"from": _column_json(before), "to": _column_json(after), "integration": way.integration}
        if way.flow is not None:
            edge |= _flow_json(way.flow)
        if way.made:
            edge["through"] = _made_json(way.made)
        if way.step is not None:
            edge |= {"step": way.step, "text": way.text}
        edges.append(edge)
    return {**_column_json(walk.start), "direction": walk.direction, "met_by": list(walk.start.ports), "edges": edges}


def lineage_json(lineage: IntegrationLineage) -> dict[str, Any]:
    """The lineage of one integration."""
    return {
        "integration": lineage.integration,
        "file": lineage.file,
        "datasets": [
            {
                "id": port.id,
                "role": port.role,
                "connector": port.connector,
                "datasets": [{"namespace": each.namespace, "name": each.name} for each in port.datasets],
                "columns": dict(port.columns),
                **({} if port.role == "source" else {"from": list(lineage.feeds.get(port.id, ()))}),
            }
            for port in lineage.ports
        ],
        "columns": [
            {
                "from": {"source": each.source, "column": each.column},
                "to": {"destination": each.destination, "column": each.into},
                **_flow_json(each.flow),
                "through": _made_json(each.made),
            }
            for each in lineage.columns
        ],
        "rows": [
            {
                "from": {"source": each.source, "column": each.column},
                "to": {"destination": each.destination},
                **_flow_json(each.flow),
                "step": each.step,
                "text": each.text,
            }
            for each in lineage.rows
        ],
    }


def impact_json(impacts: Iterable[Impact]) -> list[dict[str, Any]]:
    """What breaks, integration by integration."""
    return [
        {
            "integration": each.integration,
            "file": each.file,
            "source": each.source,
            "breaks": each.breaks if each.known else None,
            "errors": [_error_json(error) for error in each.errors],
            "destinations": [
                {
                    "destination": hit.destination,
                    "namespace": hit.dataset.namespace,
                    "name": hit.dataset.name,
                    "lost": list(hit.lost),
                    "changed": [
                        {"column": change.column, **_flow_json(change.flow), "through": _made_json(change.made)}
                        for change in hit.changed
                    ],
                    "rows": [{**_flow_json(flow), "step": step, "text": text} for flow, step, text in hit.decided],
                    "beyond": impact_json(hit.beyond),
                    "stale": list(hit.stale),
                }
                for hit in each.hits
            ],
        }
        for each in impacts
    ]


def walk_mermaid(walk: Walk) -> str:
    """A walk as a flowchart in the direction of the data; a dashed arrow decides, a plain one gives values."""
    chart = _Chart()
    chart.node(walk.start, ":::start")
    for origin, way in walk.edges():
        before, after = (way.to, origin) if walk.direction == "upstream" else (origin, way.to)
        chart.edge(before, after, _label(way), dashed=way.flow is not None and way.flow.kind == "INDIRECT")
    return chart.text()


def impact_mermaid(start: Column, impacts: Iterable[Impact]) -> str:
    """What breaks as a flowchart: integrations that fail and what they no longer write in bold red, what is gone in red."""
    chart = _Chart()
    _add_impacts(chart, chart.node(start, ":::start"), impacts)
    return chart.text() + "\n  classDef broken stroke:#c00,stroke-width:3px\n  classDef gone stroke:#c00"


def _add_impacts(chart: _Chart, before: str, impacts: Iterable[Impact]) -> None:
    for each in impacts:
        words = "breaks" if each.breaks else "goes on" if each.known else "may break"
        told = "".join(f"<br/><small>{_escaped(redact(str(error)))}</small>" for error in each.errors)
        job = chart.box(f"{_escaped(each.integration)} {words}{told}", ":::broken" if each.breaks else "", round_off=True)
        chart.arrow(before, job)
        for hit in each.hits:
            if each.breaks:
                label = f"{_escaped(hit.destination)} is not written<br/><small>{_escaped(shown(hit.dataset))}</small>"
                written = chart.box(label, ":::broken")
                for name in hit.stale:
                    chart.arrow(written, chart.box(f"{_escaped(name)} gets nothing new", ":::gone", round_off=True))
            else:
                written = chart.box(f"{_escaped(hit.destination)}<br/><small>{_escaped(shown(hit.dataset))}</small>")
            label = "<br/>".join([*(f"{name} is gone" for name in hit.lost), *_touched(hit)])
            chart.arrow(job, written, label)
            _add_impacts(chart, written, hit.beyond)


def _touched(hit: Hit) -> list[str]:
    columns = [f"{change.column}: {change.flow}" for change in hit.changed if change.column not in hit.lost]
    return [*columns, *(f"its rows: {flow}" for flow in dict.fromkeys(str(flow) for flow, _, _ in hit.decided))]


def lineage_mermaid(lineage: IntegrationLineage) -> str:
    """The lineage of one integration as a flowchart: a box for every dataset, an arrow for every pair of columns."""
    names: dict[tuple[str, str], str] = {}
    lines = ["flowchart LR"]
    for number, port in enumerate(lineage.ports):
        if port.role == "dead_letter":
            continue
        lines.append(f'  subgraph d{number}["{_escaped(port.id)}<br/><small>{_escaped(shown(port.datasets[0]))}</small>"]')
        for column in port.columns:
            names[port.id, column] = f"c{len(names)}"
            lines.append(f'    {names[port.id, column]}["{_escaped(column)}"]')
        lines.append("  end")
    for each in lineage.columns:
        arrow = "-.->" if each.flow.kind == "INDIRECT" else "-->"
        label = f'|"{_escaped(str(each.flow))}"|' if each.flow.subtype != "IDENTITY" else ""
        lines.append(f"  {names[each.source, each.column]} {arrow}{label} {names[each.destination, each.into]}")
    return "\n".join(lines)


class _Chart:
    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._lines = ["flowchart LR"]

    def node(self, column: Column, mark: str = "") -> str:
        key = str(column)
        if key not in self._names:
            self._names[key] = f"n{len(self._names)}"
            label = _escaped(shown(column.dataset))
            label = f"{_escaped(column.column)}<br/><small>{label}</small>" if column.column is not None else label
            self._lines.append(f'  {self._names[key]}["{label}"]{mark}')
        return self._names[key]

    def box(self, label: str, mark: str = "", *, round_off: bool = False) -> str:
        """A node of its own, with a label that is escaped already."""
        name = f"n{len(self._lines)}x"
        opening, closing = ("(", ")") if round_off else ("[", "]")
        self._lines.append(f'  {name}{opening}"{label}"{closing}{mark}')
        return name

    def arrow(self, before: str, after: str, label: str = "") -> None:
        """An arrow between two nodes, by their names."""
        self._lines.append(
            f"  {before} -->" + (f'|"{_escaped(label).replace("&lt;br/&gt;", "<br/>")}"|' if label else "") + f" {after}"
        )

    def edge(self, before: Column, after: Column, label: str, *, dashed: bool) -> None:
        one, other = self.node(before), self.node(after)
        self._lines.append(f'  {one} {"-.->" if dashed else "-->"}|"{_escaped(label)}"| {other}')

    def text(self) -> str:
        return "\n".join([*self._lines, "  classDef start stroke-width:3px"])


def _label(way: Way) -> str:
    return way.integration if way.flow is None else f"{way.integration}: {way.flow}"


def _column_json(column: Column) -> dict[str, Any]:
    return {"namespace": column.dataset.namespace, "name": column.dataset.name, "column": column.column}


def _flow_json(flow: Flow) -> dict[str, Any]:
    return {"type": flow.kind, "subtype": flow.subtype, "masking": flow.masking}


def _made_json(made: Iterable[Made]) -> list[dict[str, str]]:
    return [{"step": each.step, "column": each.column, "expression": each.expression} for each in made]


def _error_json(error: DataHubError) -> dict[str, Any]:
    return error.facts()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;").replace(">", "&gt;")
