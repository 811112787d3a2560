"""From specs to the lineage of all of them: a source that is not there yet is known by the integration that writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build, connected
from beam_datahub.compiler.plan import Plan
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.source import Block, Discovery, ReadRequest, Report, Source, Split
from beam_datahub.errors import ConnectorError, DataHubError, ErrorGroup
from beam_datahub.lineage.graph import LineageGraph, same_data
from beam_datahub.lineage.model import IntegrationLineage
from beam_datahub.lineage.tracing import lineage_of
from beam_datahub.spec import SpecDocument


class KnownSource(Source):
    """A source of which only the schema is known."""

    name = "known"
    Connection = Config
    Options = Config
    capabilities = SourceCapabilities(columns=True)

    def __init__(self, schema: pa.Schema, datasets: tuple[DatasetName, ...]) -> None:
        super().__init__(Config(), Config())
        self._schema, self._datasets = schema, datasets

    def check(self) -> Report:
        return Report(())

    def discover(self) -> Discovery:
        return Discovery(self._schema)

    def datasets(self) -> tuple[DatasetName, ...]:
        return self._datasets

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield from ()

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        yield from ()


@dataclass
class Gathered:
    """What the specs gave: their lineages and plans by integration, and why the others gave none, by file."""

    lineages: list[IntegrationLineage] = field(default_factory=list)
    plans: dict[str, tuple[SpecDocument, Plan]] = field(default_factory=dict)
    problems: dict[str, DataHubError] = field(default_factory=dict)

    @property
    def graph(self) -> LineageGraph:
        """All integrations as one graph."""
        return LineageGraph(self.lineages)


def gather(documents: Sequence[SpecDocument], dead_letters: Mapping[str, str] | None = None) -> Gathered:
    """The lineage of specs. `dead_letters` are the folders of those that name none, by integration."""
    found = Gathered()
    waiting = list(documents)
    while waiting:
        left: list[SpecDocument] = []
        for document in waiting:
            name = document.integration.name
            file = str(document.path) if document.path is not None else name
            try:
                folder = (dead_letters or {}).get(name)
                plan = build(document, BuildOptions(sources=_known(document, found), dead_letter_folder=folder))
            except DataHubError as error:
                found.problems[file] = error
                if _is_absence(error):
                    left.append(document)
                continue
            found.problems.pop(file, None)
            found.plans[name] = (document, plan)
            found.lineages.append(lineage_of(plan, file=file))
        if len(left) == len(waiting):
            break
        waiting = left
    return found


def _is_absence(error: DataHubError) -> bool:
    errors = error.errors if isinstance(error, ErrorGroup) else (error,)
    return any(isinstance(each, ConnectorError) for each in errors)


def _known(document: SpecDocument, found: Gathered) -> dict[str, Source]:
    """The sources of a spec that another integration writes and that cannot be read as yet."""
    file = str(document.path) if document.path is not None else document.integration.name
    if file not in found.problems:
        return {}
    known: dict[str, Source] = {}
    for name, spec in document.integration.sources.items():
        datasets = connected(document, spec).datasets()
        for lineage in found.lineages:
            for port in lineage.destinations.values():
                if port.role == "destination" and any(same_data(a, b) for a in datasets for b in port.datasets):
                    schema = found.plans[lineage.integration][1].nodes[port.id].schema
                    known[name] = KnownSource(schema, datasets)
    return known
