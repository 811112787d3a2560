"""What breaks when a column, or a whole dataset, goes: the compiler is asked for every integration that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan
from beam_datahub.component.dataset import DatasetName
from beam_datahub.errors import DataHubError, ErrorGroup, SourceMissing
from beam_datahub.lineage.gathering import Gathered, KnownSource
from beam_datahub.lineage.graph import LineageGraph
from beam_datahub.lineage.model import Flow, IntegrationLineage, Made, Port


@dataclass(frozen=True)
class Changed:
    """A destination's column that the missing one goes into, with how, and the expressions on the way."""

    column: str
    flow: Flow
    made: tuple[Made, ...] = ()


@dataclass(frozen=True)
class Hit:
    """What happens to one destination. `lost` are columns that it no longer has, `changed` those that the missing column
    goes into, `decided` what it decides over the rows (flow, step, text), `beyond` what happens to those who read it;
    `stale` are the integrations that read what is no longer written, here or further down.
    """

    destination: str
    dataset: DatasetName
    lost: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    decided: tuple[tuple[Flow, str, str], ...] = ()
    beyond: tuple[Impact, ...] = ()
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Impact:
    """What happens to one integration. `errors` are what `validate` would say; with any, nothing of it is written. `known`
    tells whether the compiler was asked, or only the lineage that runs left.
    """

    integration: str
    file: str | None
    source: str
    errors: tuple[DataHubError, ...] = ()
    hits: tuple[Hit, ...] = ()
    known: bool = True

    @property
    def breaks(self) -> bool:
        """Whether the integration fails."""
        return bool(self.errors)


def impact(dataset: DatasetName, column: str | None, gathered: Gathered) -> tuple[Impact, ...]:
    """What happens to every integration that reads `dataset` when `column`, or without one all of it, goes."""
    return tuple(_impacts(dataset, column, gathered, gathered.graph, frozenset()))


def breaks(impacts: tuple[Impact, ...]) -> bool:
    """Whether any integration fails, here or further down."""
    return any(each.breaks or any(breaks(hit.beyond) for hit in each.hits) for each in impacts)


def _impacts(
    dataset: DatasetName, column: str | None, gathered: Gathered, graph: LineageGraph, passed: frozenset[object]
) -> Iterator[Impact]:
    for lineage, port in graph.reading(dataset):
        key = (lineage.integration, port.id, column)
        if key in passed or (column is not None and column not in port.columns):
            continue
        errors, after, known = _without(lineage, port, column, gathered)
        hits = _hits(lineage, port, column, after, gathered, graph, passed | {key}, broken=bool(errors))
        yield Impact(lineage.integration, lineage.file, port.id, errors, tuple(hits), known)


def _without(
    lineage: IntegrationLineage, port: Port, column: str | None, gathered: Gathered
) -> tuple[tuple[DataHubError, ...], Plan | None, bool]:
    """The errors, or the plan, of an integration whose source has no such column any more."""
    if column is None:
        return (SourceMissing(f"the source '{port.id}' has nothing to read"),), None, True
    found = gathered.plans.get(lineage.integration)
    if found is None:
        return (), None, False
    document, plan = found
    known = {
        node.id: KnownSource(_lacking(node.schema, column if node.id == port.id else None), lineage.sources[node.id].datasets)
        for node in plan.reads()
    }
    try:
        return (), build(document, BuildOptions(sources=known)), True
    except DataHubError as error:
        return error.errors if isinstance(error, ErrorGroup) else (error,), None, True


def _lacking(schema: pa.Schema, column: str | None) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != column])


def _hits(
    lineage: IntegrationLineage,
    port: Port,
    column: str | None,
    after: Plan | None,
    gathered: Gathered,
    graph: LineageGraph,
    passed: frozenset[object],
    *,
    broken: bool,
) -> Iterator[Hit]:
    for destination in lineage.destinations.values():
        if destination.role != "destination" or port.id not in lineage.feeds.get(destination.id, ()):
            continue
        names = after.nodes[destination.id].schema.names if after is not None else destination.columns
        lost = tuple(name for name in destination.columns if name not in names)
        changed = [
            Changed(flow.into, flow.flow, flow.made)
            for flow in lineage.columns
            if flow.destination == destination.id and flow.source == port.id and flow.column == column
        ]
        decided = [
            (row.flow, row.step, row.text)
            for row in lineage.rows
            if row.destination == destination.id and row.source == port.id and row.column == column
        ]
        if not (broken or lost or changed or decided):
            continue
        dataset = destination.datasets[0]
        beyond = [each for name in lost for each in _impacts(dataset, name, gathered, graph, passed)]
        stale = _readers(dataset, graph) if broken else ()
        yield Hit(destination.id, dataset, lost, tuple(changed), tuple(decided), tuple(beyond), stale)


def _readers(dataset: DatasetName, graph: LineageGraph) -> tuple[str, ...]:
    return tuple(dict.fromkeys(way.integration for _, way in graph.downstream(dataset).edges()))
