"""Plan → lineage: follows every column of the sources to the columns and the rows of the destinations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pyarrow as pa

from beam_datahub.compiler.plan import Node, Plan, Read, Write
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.operators import Route
from beam_datahub.kernels.types import is_hidden, sql_type, visible
from beam_datahub.lineage.model import IDENTITY, ColumnFlow, Flow, IntegrationLineage, Made, Port, RowFlow
from beam_datahub.lineage.steps import branch_conditions, uses_of

# A column of a source.
Origin = tuple[str, str]
_Columns = dict[str, dict[tuple[Origin, Flow], tuple[Made, ...]]]


@dataclass
class _Traced:
    """What is known of a node's output: per column its origins, and the origins that decide over its rows."""

    columns: _Columns = field(default_factory=dict)
    rows: dict[tuple[Origin, Flow], tuple[str, str]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


def lineage_of(plan: Plan, *, file: str | None = None, run_id: str | None = None) -> IntegrationLineage:
    """The lineage of a logical plan (before the passes), by the ids of its sources and destinations."""
    traced = trace(plan)
    sources = {node.id: _source_port(plan.name, node, node.operator) for node in plan if isinstance(node.operator, Read)}
    destinations: dict[str, Port] = {}
    columns: list[ColumnFlow] = []
    rows: list[RowFlow] = []
    feeds: dict[str, tuple[str, ...]] = {}
    for node in plan.writes():
        assert isinstance(node.operator, Write)
        if node.operator.violations:
            continue
        destinations[node.id] = _destination_port(plan.name, node, node.operator)
        if node.operator.dead_letter:
            feeds[node.id] = tuple(sources)
            continue
        found = traced[node.id]
        feeds[node.id] = found.sources
        for into, origins in found.columns.items():
            columns += [ColumnFlow(*origin, node.id, into, flow, made) for (origin, flow), made in origins.items()]
        rows += [RowFlow(*origin, node.id, flow, step, text) for (origin, flow), (step, text) in found.rows.items()]
    return IntegrationLineage(plan.name, file, sources, destinations, feeds, tuple(columns), tuple(rows), run_id)


def step_lineage(plan: Plan) -> dict[str, dict[str, list[tuple[Origin, Flow]]]]:
    """Step, branch or destination → column → (source column, flow) pairs."""
    found = trace(plan)
    return {name: {column: list(origins) for column, origins in each.columns.items()} for name, each in found.items()}


def trace(plan: Plan) -> dict[str, _Traced]:
    """What is known of every node's output; of a route's, per branch."""
    found: dict[str, _Traced] = {}
    for node in plan:
        if isinstance(node.operator, Read):
            own: _Columns = {name: {((node.id, name), IDENTITY): ()} for name in node.schema.names}
            found[node.id] = _Traced(own, {}, (node.id,))
        elif isinstance(node.operator, Write):
            found[node.id] = found[node.inputs[0]] if node.inputs else _Traced()
        else:
            before = [found[reference] for reference in node.inputs]
            schemas = [plan.node(reference).schema for reference in node.inputs]
            found[node.id] = _after(node, before, schemas)
            if isinstance(node.operator, Route):
                found.update(_branches(node, node.operator, found[node.id]))
    return {
        name: replace(each, columns={column: origins for column, origins in each.columns.items() if not is_hidden(column)})
        for name, each in found.items()
    }


def _after(node: Node, before: list[_Traced], schemas: list[pa.Schema]) -> _Traced:
    uses = uses_of(node, schemas)
    columns: _Columns = {}
    for name in node.schema.names:
        into = columns.setdefault(name, {})
        text = node.expressions.get(name)
        for (index, column), flow in uses.columns.get(name, ()):
            for (origin, earlier), made in before[index].columns.get(column, {}).items():
                into.setdefault((origin, earlier.then(flow)), _through(made, node.step, name, text))
    rows: dict[tuple[Origin, Flow], tuple[str, str]] = {}
    for each in before:
        rows.update({key: value for key, value in each.rows.items() if key not in rows})
    _decide(rows, uses.rows, before, node.step)
    return _Traced(columns, rows, tuple(dict.fromkeys(source for each in before for source in each.sources)))


def _through(made: tuple[Made, ...], step: str, column: str, text: str | None) -> tuple[Made, ...]:
    if text is None:
        return made
    # A step may compile to several operators; the last of them has the text that the user wrote.
    return (*(each for each in made if each.step != step), Made(step, column, text))


def _decide(
    rows: dict[tuple[Origin, Flow], tuple[str, str]],
    deciding: Iterable[tuple[tuple[int, str], Flow, str]],
    before: list[_Traced],
    step: str,
) -> None:
    for (index, column), flow, text in deciding:
        for origin, earlier in before[index].columns.get(column, {}):
            rows.setdefault((origin, replace(flow, masking=earlier.masking)), (step, text))


def _branches(node: Node, route: Route, whole: _Traced) -> dict[str, _Traced]:
    names = dict.fromkeys([name for name, _ in route.branches] + ([route.default] if route.default else []))
    found = {}
    for name in names:
        rows = dict(whole.rows)
        _decide(rows, branch_conditions(route, name), [whole], node.step)
        found[f"{node.id}.{name}"] = replace(whole, rows=rows)
    return found


def _source_port(integration: str, node: Node, read: Read) -> Port:
    names = read.source.datasets() or (_own_name(read.connector, integration, node.id),)
    return Port(node.id, "source", read.connector, names, _columns(node.schema))


def _destination_port(integration: str, node: Node, write: Write) -> Port:
    names = write.sink.datasets() or (_own_name(write.connector, integration, node.id),)
    return Port(node.id, "dead_letter" if write.dead_letter else "destination", write.connector, names, _columns(node.schema))


def _own_name(connector: str, integration: str, port: str) -> DatasetName:
    return DatasetName(connector, f"{integration}.{port}")


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {each.name: sql_type(each.type) for each in visible(schema)}
