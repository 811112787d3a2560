"""The lineage of several integrations as one graph: a destination of one that is a source of another joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from beam_datahub.component.dataset import DatasetName
from beam_datahub.lineage.model import ColumnFlow, Flow, IntegrationLineage, Made, Port, RowFlow

_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class Column:
    """A dataset, or a column of it; `ports` are where integrations meet it, as `integration.id`."""

    dataset: DatasetName
    column: str | None = None
    ports: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.dataset}#{self.column}" if self.column is not None else str(self.dataset)


@dataclass(frozen=True)
class Way:
    """A step of a walk to a neighbour, by way of an integration. `flow` is None between datasets as a whole; `made` are the
    expressions on the way, and `step` and `text` what decides over rows.
    """

    to: Column
    integration: str
    flow: Flow | None = None
    made: tuple[Made, ...] = ()
    step: str | None = None
    text: str | None = None
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class Walk:
    """All that a dataset or column comes from (`upstream`) or goes to (`downstream`), as a tree."""

    start: Column
    direction: str
    ways: tuple[Way, ...]

    def edges(self) -> Iterator[tuple[Column, Way]]:
        """Every way once, with the column that it starts from."""
        seen: set[tuple[str, str, str, Flow | None]] = set()
        waiting = [(self.start, way) for way in self.ways]
        while waiting:
            origin, way = waiting.pop(0)
            key = (str(origin), str(way.to), way.integration, way.flow)
            if key not in seen:
                seen.add(key)
                yield origin, way
            waiting += [(way.to, each) for each in way.ways]


def same_data(one: DatasetName, other: DatasetName) -> bool:
    """Whether two names mean the same data, or one a part of the other: a folder and a file in it, a glob and what it fits."""
    if one == other:
        return True
    if one.namespace != other.namespace or ("://" not in one.namespace and one.namespace != "file"):
        return False
    return any(
        small.startswith(f"{large.rstrip('/')}/") or (_GLOB.intersection(large) and fnmatchcase(small, large))
        for small, large in ((one.name, other.name), (other.name, one.name))
    )


class LineageGraph:
    """Integrations by name; later ones of the same name replace earlier ones."""

    def __init__(self, integrations: Sequence[IntegrationLineage]) -> None:
        self.integrations = {each.integration: each for each in integrations}

    def ports(self) -> Iterator[tuple[IntegrationLineage, Port]]:
        """Every source and destination of every integration."""
        for each in self.integrations.values():
            for port in each.ports:
                yield each, port

    def reading(self, dataset: DatasetName) -> Iterator[tuple[IntegrationLineage, Port]]:
        """The sources that read a dataset."""
        return ((lineage, port) for lineage, port in self.ports() if port.role == "source" and _meets(port, dataset))

    def writing(self, dataset: DatasetName) -> Iterator[tuple[IntegrationLineage, Port]]:
        """The destinations that write a dataset."""
        return ((lineage, port) for lineage, port in self.ports() if port.role != "source" and _meets(port, dataset))

    def at(self, dataset: DatasetName, column: str | None = None) -> Column:
        """A dataset or column with all the ports where integrations meet it."""
        found = [
            f"{lineage.integration}.{port.id}"
            for lineage, port in self.ports()
            if _meets(port, dataset) and (column is None or column in port.columns)
        ]
        return Column(dataset, column, tuple(found))

    def upstream(self, dataset: DatasetName, column: str | None = None) -> Walk:
        """What a dataset or column comes from."""
        return Walk(self.at(dataset, column), "upstream", self._ways(dataset, column, self._before, frozenset()))

    def downstream(self, dataset: DatasetName, column: str | None = None) -> Walk:
        """What a dataset or column goes to."""
        return Walk(self.at(dataset, column), "downstream", self._ways(dataset, column, self._after, frozenset()))

    def _ways(
        self,
        dataset: DatasetName,
        column: str | None,
        step: Callable[[DatasetName, str | None], Iterator[Way]],
        passed: frozenset[tuple[DatasetName, str | None]],
    ) -> tuple[Way, ...]:
        if (dataset, column) in passed:
            return ()
        beyond = passed | {(dataset, column)}
        return tuple(
            Way(
                way.to,
                way.integration,
                way.flow,
                way.made,
                way.step,
                way.text,
                self._ways(way.to.dataset, way.to.column, step, beyond),
            )
            for way in step(dataset, column)
        )

    def _before(self, dataset: DatasetName, column: str | None) -> Iterator[Way]:
        for lineage, port in self.writing(dataset):
            for flow in _direct_first([each for each in lineage.columns if each.destination == port.id]):
                if flow.into == column:
                    yield from self._to(lineage.sources[flow.source], flow.column, lineage, flow)
            if column is None:
                for source in lineage.feeds.get(port.id, ()):
                    yield from self._to(lineage.sources[source], None, lineage, None)
                continue
            for row in lineage.rows:
                if row.destination == port.id:
                    yield from self._to(lineage.sources[row.source], row.column, lineage, row)

    def _after(self, dataset: DatasetName, column: str | None) -> Iterator[Way]:
        for lineage, port in self.reading(dataset):
            for flow in _direct_first([each for each in lineage.columns if each.source == port.id]):
                if flow.column == column:
                    yield from self._to(lineage.destinations[flow.destination], flow.into, lineage, flow)
            if column is None:
                for destination, sources in lineage.feeds.items():
                    if port.id in sources:
                        yield from self._to(lineage.destinations[destination], None, lineage, None)
                continue
            for row in lineage.rows:
                if row.source == port.id and row.column == column:
                    yield from self._to(lineage.destinations[row.destination], None, lineage, row)

    def _to(
        self, port: Port, column: str | None, lineage: IntegrationLineage, flow: ColumnFlow | RowFlow | None
    ) -> Iterator[Way]:
        for dataset in port.datasets:
            to = Column(dataset, column, (f"{lineage.integration}.{port.id}",))
            if isinstance(flow, ColumnFlow):
                yield Way(to, lineage.integration, flow.flow, flow.made)
            elif isinstance(flow, RowFlow):
                yield Way(to, lineage.integration, flow.flow, (), flow.step, flow.text)
            else:
                yield Way(to, lineage.integration)


def _meets(port: Port, dataset: DatasetName) -> bool:
    return any(same_data(each, dataset) for each in port.datasets)


def _direct_first(flows: Sequence[ColumnFlow]) -> list[ColumnFlow]:
    return sorted(flows, key=lambda each: each.flow.kind)
