"""Lineage in the store: every run leaves that of its plan, and all of it can be read back as one graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beam_datahub.component.dataset import DatasetName
from beam_datahub.lineage.model import ColumnFlow, Flow, IntegrationLineage, Made, Port, RowFlow
from beam_datahub.lineage.tracing import lineage_of
from beam_datahub.runtime.store_link import later, link_store
from beam_datahub.security import redact
from beam_datahub.store.records import LineageColumn, LineageDataset, LineageGraph

if TYPE_CHECKING:
    from beam_datahub.runtime.record import RunRecord
    from beam_datahub.store.location import Location
    from beam_datahub.store.store import StoreReader

# What stands for the column where all rows of a dataset are meant.
ALL_ROWS = "*"


@dataclass(frozen=True)
class StoredSpec:
    """The newest spec of an integration in the store, and the values of its parameters in its last run."""

    integration: str
    text: str
    path: str | None
    label: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class StoredLineage:
    """What the store knows: the lineage that runs left, and the newest specs."""

    lineages: list[IntegrationLineage] = field(default_factory=list)
    specs: list[StoredSpec] = field(default_factory=list)


def record_lineage(record: RunRecord) -> None:
    """Keep the lineage of a run's plan."""
    lineage = lineage_of(record.plan, file=record.facts.spec.get("path"))
    datasets = list(_datasets(lineage))
    record.calls.append(
        later("lineage.record", lineage.integration, datasets, list(_columns(lineage)), run_id=record.facts.run_id)
    )


def stored_lineage(location: Location) -> StoredLineage:
    """The newest lineage and spec of every integration in a store. Raises the store's errors."""
    store = link_store(location)
    try:
        reader = store.reader
        found = StoredLineage([_lineage(graph) for graph in reader.lineage.newest()])
        names = dict.fromkeys([*(each.name for each in reader.integrations.all()), *(e.integration for e in found.lineages)])
        found.specs = [spec for name in names if (spec := _spec(reader, name)) is not None]
        return found
    finally:
        store.close()


def _spec(reader: StoreReader, name: str) -> StoredSpec | None:
    last = reader.runs.last(name)
    parameters = dict(last.parameters) if last is not None else {}
    if any(each.name == name for each in reader.integrations.all()):
        version = reader.integrations.version(name)
        return StoredSpec(name, version.spec, version.path, f"{name} (version {version.version})", parameters)
    spec = (reader.runs.document(last.run_id, "plan") or {}).get("spec", {}) if last is not None else {}
    if last is None or not spec.get("text"):
        return None
    return StoredSpec(name, spec["text"], spec.get("path"), f"{name} (run {last.run_id})", parameters)


def _datasets(lineage: IntegrationLineage) -> Iterator[LineageDataset]:
    for port in lineage.ports:
        facets: dict[str, Any] = {"connector": port.connector, "role": port.role}
        if port.role != "source":
            facets |= {
                "file": lineage.file,
                "feeds": list(lineage.feeds.get(port.id, ())),
                "columns": [_column(each) for each in lineage.columns if each.destination == port.id],
                "rows": [_row(each) for each in lineage.rows if each.destination == port.id],
            }
        role = "input" if port.role == "source" else "output"
        for dataset in port.datasets:
            yield LineageDataset(dataset.namespace, dataset.name, role, port.id, dict(port.columns), facets)  # type: ignore[arg-type]


def _columns(lineage: IntegrationLineage) -> Iterator[LineageColumn]:
    """Pairs of columns, for queries; what decides over all rows leads to ALL_ROWS."""
    ends = [
        *(
            (e.source, e.column, e.destination, e.into, e.flow, e.made[-1].expression if e.made else None)
            for e in lineage.columns
        ),
        *((e.source, e.column, e.destination, ALL_ROWS, e.flow, e.text) for e in lineage.rows),
    ]
    for source, column, destination, into, flow, text in ends:
        for one in lineage.sources[source].datasets:
            for other in lineage.destinations[destination].datasets:
                yield LineageColumn(
                    (one.namespace, one.name, source),
                    column,
                    (other.namespace, other.name, destination),
                    into,
                    "direct" if flow.kind == "DIRECT" else "indirect",
                    None if text is None else redact(text),
                )


def _column(each: ColumnFlow) -> dict[str, Any]:
    made = [[one.step, one.column, redact(one.expression)] for one in each.made]
    return {"source": each.source, "column": each.column, "into": each.into, "flow": _flow(each.flow), "made": made}


def _row(each: RowFlow) -> dict[str, Any]:
    return {
        "source": each.source,
        "column": each.column,
        "flow": _flow(each.flow),
        "step": each.step,
        "text": redact(each.text),
    }


def _flow(flow: Flow) -> list[Any]:
    return [flow.kind, flow.subtype, flow.masking]


def _lineage(graph: LineageGraph) -> IntegrationLineage:
    ports: dict[str, Port] = {}
    columns: list[ColumnFlow] = []
    rows: list[RowFlow] = []
    feeds: dict[str, tuple[str, ...]] = {}
    file: str | None = None
    for each in graph.datasets:
        name = DatasetName(each.namespace, each.name)
        if each.step in ports:
            port = ports[each.step]
            ports[each.step] = Port(port.id, port.role, port.connector, (*port.datasets, name), port.columns)
            continue
        facets = each.facets
        ports[each.step] = Port(each.step, facets["role"], facets["connector"], (name,), each.columns)
        if facets["role"] == "source":
            continue
        file = facets.get("file")
        feeds[each.step] = tuple(facets["feeds"])
        columns += [
            ColumnFlow(c["source"], c["column"], each.step, c["into"], Flow(*c["flow"]), tuple(Made(*m) for m in c["made"]))
            for c in facets["columns"]
        ]
        rows += [RowFlow(r["source"], r["column"], each.step, Flow(*r["flow"]), r["step"], r["text"]) for r in facets["rows"]]
    return IntegrationLineage(
        graph.integration,
        file,
        {name: port for name, port in ports.items() if port.role == "source"},
        {name: port for name, port in ports.items() if port.role != "source"},
        feeds,
        tuple(columns),
        tuple(rows),
    )
