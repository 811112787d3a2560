"""Lineage as data: which columns of which datasets make the columns that an integration writes, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from beam_datahub.component.dataset import DatasetName

DIRECT, INDIRECT = "DIRECT", "INDIRECT"
# OpenLineage's kinds, the direct ones from the weakest to the strongest.
DIRECT_KINDS = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")
INDIRECT_KINDS = ("FILTER", "JOIN", "GROUP_BY", "SORT", "WINDOW", "CONDITIONAL")


@dataclass(frozen=True)
class Flow:
    """How a column takes part in another: `kind` DIRECT (its value goes in) or INDIRECT (it decides), OpenLineage's
    `subtype`, and whether its value is masked on the way.
    """

    kind: str
    subtype: str
    masking: bool = False

    def then(self, after: Flow) -> Flow:
        """What comes of this followed by `after`: one indirect step makes the whole way indirect."""
        masking = self.masking or after.masking
        if self.kind == INDIRECT or after.kind == INDIRECT:
            return Flow(INDIRECT, self.subtype if self.kind == INDIRECT else after.subtype, masking)
        return Flow(DIRECT, max(self.subtype, after.subtype, key=DIRECT_KINDS.index), masking)

    def __str__(self) -> str:
        return self.subtype.lower().replace("_", " ") + (", masked" if self.masking else "")


IDENTITY = Flow(DIRECT, "IDENTITY")
AGGREGATION, TRANSFORMATION = Flow(DIRECT, "AGGREGATION"), Flow(DIRECT, "TRANSFORMATION")
CONDITIONAL, FILTER, JOIN = Flow(INDIRECT, "CONDITIONAL"), Flow(INDIRECT, "FILTER"), Flow(INDIRECT, "JOIN")
GROUP_BY, SORT, WINDOW = Flow(INDIRECT, "GROUP_BY"), Flow(INDIRECT, "SORT"), Flow(INDIRECT, "WINDOW")


@dataclass(frozen=True)
class Made:
    """An expression on the way of a column: the step, the column of that step, and the text."""

    step: str
    column: str
    expression: str


@dataclass(frozen=True)
class ColumnFlow:
    """A column of a source takes part in a column of a destination; `made` are the expressions on the way, in order."""

    source: str
    column: str
    destination: str
    into: str
    flow: Flow
    made: tuple[Made, ...] = ()


@dataclass(frozen=True)
class RowFlow:
    """A column of a source decides which rows come to a destination, or in which order or groups; `step` and `text` say where."""

    source: str
    column: str
    destination: str
    flow: Flow
    step: str
    text: str


@dataclass(frozen=True)
class Port:
    """Where an integration meets the outside: its id, role (source, destination or dead_letter), connector, datasets, and
    columns (name → SQL type).
    """

    id: str
    role: str
    connector: str
    datasets: tuple[DatasetName, ...]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class IntegrationLineage:
    """The lineage of one integration. `file` is its spec, where there is one; `feeds` maps a destination to the sources
    that its rows come from.
    """

    integration: str
    file: str | None
    sources: Mapping[str, Port]
    destinations: Mapping[str, Port]
    feeds: Mapping[str, tuple[str, ...]]
    columns: tuple[ColumnFlow, ...] = ()
    rows: tuple[RowFlow, ...] = ()
    run_id: str | None = None

    @property
    def ports(self) -> tuple[Port, ...]:
        """Its sources, then its destinations."""
        return (*self.sources.values(), *self.destinations.values())
