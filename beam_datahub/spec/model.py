"""The typed integration: what a spec says once its short forms, defaults and references are resolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

import beam_datahub
from beam_datahub.spec.backoff import Backoff
from beam_datahub.spec.durations import Moment, Seconds

IntegrationType = Literal["batch", "real-time", "hybrid"]
Drift = Literal["evolve", "freeze", "discard_row", "discard_value"]
WriteMode = Literal["append", "overwrite", "merge", "delete_insert", "scd1", "scd2", "scd3"]


class SpecModel(BaseModel):
    """A part of a spec: frozen, no unknown keys, one attribute docstring per key."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=beam_datahub.documents_options, populate_by_name=True
    )


class ContractSpec(SpecModel):
    """What becomes of records that leave the schema of their source."""

    columns: Drift = "evolve"
    """A column that the schema lacks: let it go by and report it, fail, reject the record, or drop the value."""
    types: Drift = "evolve"
    """A value that does not fit its column's type: widen the type, fail, reject the record, or make the value null."""


class SubjectSpec(SpecModel):
    """A subject of the schema registry that a source or a destination keeps to."""

    name: str = Field(min_length=1, max_length=255)
    """The subject, such as `orders-value`."""
    version: int | None = None
    """The version; the newest when left out."""
    format: Literal["avro", "json", "protobuf"] | None = None
    """The format of its schemas: that in which a destination's first run begins it (JSON Schema when left out), and that which
    a subject that is there must have."""


class IncrementalSpec(SpecModel):
    """How a source tells records that are new since the last run."""

    column: str = Field(min_length=1)
    """The column whose values grow: a time of change, a number, or text that sorts. A run takes the records that lie above the
    newest value taken so far, and those of just that value which were not there yet."""
    initial: Any = None
    """The value that the first run begins with, inclusive; all records when left out."""
    lag: str | None = None
    """How far below the newest value records may still arrive late: a length of time such as `5 minutes`, or a number. Those that
    were taken already are left out."""
    key: tuple[str, ...] = ()
    """The columns that tell records of the same value apart; all columns when left out."""
    nulls: Literal["reject", "skip", "read"] = "reject"
    """What becomes of records without a value: they are rejected, left out, or taken by every run."""


class StreamSpec(SpecModel):
    """How a stream runs."""

    commit_every: Annotated[Seconds, Field(gt=0)] = 10.0
    """How often what has come through is published, and with it how far the sources were read. Until then nobody sees it."""
    latency: Annotated[Seconds, Field(gt=0)] = 1.0
    """How long records may wait for others before they go on together."""
    discover_every: Annotated[Seconds, Field(gt=0)] = 30.0
    """How often sources are asked for new partitions."""
    restarts: int = Field(default=3, ge=0)
    """How often in a row the stream starts again from its last commit when something fails that may pass, before it gives up."""
    backoff: Backoff = Backoff(initial_interval=2.0, max_interval=30.0)
    """The pauses before it starts again, and before an epoch is published once more that a destination did not take."""


class EventTimeSpec(SpecModel):
    """Which column of a source says when something happened, and how late records may be."""

    column: str = Field(min_length=1)
    """The column: a date or a timestamp. Records without a value do not move the watermark."""
    out_of_orderness: Seconds = 0.0
    """How far behind the newest record others may still come: the watermark stays so far behind it."""
    idle_after: Annotated[Seconds, Field(gt=0)] = 60.0
    """A partition that is read to its end and silent for so long does not hold the watermark back any more."""


class SourceSpec(SpecModel):
    """Where records come from. `at` is the path of keys to it in the file."""

    name: str
    at: tuple[str | int, ...]
    connector: str
    connection: Mapping[str, Any] | str
    """The settings, or the name of a stored connection."""
    columns: Mapping[str, str] | None
    """The declared schema, column → SQL type; None where it is to be discovered."""
    contract: ContractSpec
    options: Mapping[str, Any]
    """The connector's own options, unchecked."""
    pii: Mapping[str, str] | None = None
    """Personal data: column → kind, `none` or `auto`; `*` stands for the columns that are not named."""
    subject: SubjectSpec | None = None
    """Where the declared schema is registered."""
    incremental: IncrementalSpec | None = None
    """How new records are told from old ones; None reads all of them."""
    event_time: EventTimeSpec | None = None
    """Which column says when something happened; None where nothing goes by it."""


class FiringSpec(SpecModel):
    """How often the result of a window is given: every so many seconds, or rows."""

    seconds: float | None = None
    rows: int | None = None


class WindowSpec(SpecModel):
    """The windows of event time in which a step works; lengths in seconds, `size` of a session is its gap."""

    type: Literal["fixed", "sliding", "session", "calendar"]
    on: Mapping[str, str]
    """Input → the column with its time; under an empty name that of all inputs."""
    size: float
    period: float
    offset: float
    unit: Literal["day", "week", "month"]
    zone: str
    lateness: float
    early: FiringSpec | None
    late: FiringSpec
    accumulate: bool
    panes: bool


class TransformationSpec(SpecModel):
    """One step. `at` is the path of keys to it in the file; `config` is checked by the component."""

    id: str
    at: tuple[str | int, ...]
    type: str
    input: tuple[str, ...]
    config: Mapping[str, Any]
    description: str | None = None
    window: WindowSpec | None = None
    """The windows of event time in which it works; None: in all that there is."""


class DestinationSpec(SpecModel):
    """Where records go. `write_mode` None is the connector's usual one."""

    id: str
    at: tuple[str | int, ...]
    input: tuple[str, ...]
    connector: str
    connection: Mapping[str, Any] | str
    """The settings, or the name of a stored connection."""
    write_mode: WriteMode | None
    key: tuple[str, ...]
    options: Mapping[str, Any]
    """The connector's own options, unchecked."""
    clearance: tuple[str, ...] = ()
    """The kinds of personal data that it may get unmasked; `all` stands for every kind."""
    subject: SubjectSpec | None = None
    """Where the schema of what is written is registered."""


class DeadLetterSpec(SpecModel):
    """Where rejected records go."""

    at: tuple[str | int, ...]
    connector: str
    connection: Mapping[str, Any] | str
    """The settings, or the name of a stored connection."""
    options: Mapping[str, Any]
    clearance: tuple[str, ...] = ()
    sealed: bool = False
    """Whether originals and messages can be read only with the store's key."""


class RejectedBudget(SpecModel):
    """How many rejected records a run bears: a count, or a share (0 to 1) of the records read."""

    count: int | None = None
    share: float | None = None

    def __str__(self) -> str:
        return f"{self.count}" if self.count is not None else f"{(self.share or 0) * 100:g}%"


class ThresholdSpec(SpecModel):
    """When a quality rule still holds: a least share (0 to 1) of the checked records that pass, or a count of failures."""

    share: float | None = None
    failures: int | None = None

    def __str__(self) -> str:
        if self.failures is None:
            return f"{(self.share or 0) * 100:g}%"
        return f"at most {self.failures:,} failure{'' if self.failures == 1 else 's'}"


class QualityRuleSpec(SpecModel):
    """What the records of a step must be. `at` is the path of keys to it in the file; `options` are checked by the type."""

    name: str
    at: tuple[str | int, ...]
    step: str
    type: str
    severity: Literal["low", "medium", "high", "critical"]
    threshold: ThresholdSpec | None
    """None: all records must pass."""
    action: Literal["report", "reject", "fail"]
    where: Any = None
    description: str | None = None
    options: Mapping[str, Any]
    """The rule type's own options, unchecked."""


class ProfileSpec(SpecModel):
    """What is profiled while the integration runs."""

    steps: tuple[str, ...] | None
    """None: all sources and destinations."""
    columns: tuple[str, ...] | Literal["all"] | None
    """None: those that are in use."""
    values: bool | None
    """Whether profiles show values of the data itself; None: but for personal data that is not masked."""
    drift: Mapping[str, Any] | None
    """The limits of `kernels.profiling.drift.DriftLimits`; None: nothing is compared."""


class RejectedSpec(SpecModel):
    """A record that a test expects to be rejected; what is not given is not compared."""

    step: str | None = None
    """The step that rejects it."""
    reason: str | None = None
    """The reason code of the dead letter."""
    column: str | None = None
    """The column at fault."""
    message: str | None = None
    """A part of the message."""


class FileRows(SpecModel):
    """Rows that stand in a file of their own."""

    file: str = Field(min_length=1)
    """The file, relative to the spec."""
    connector: str | None = None
    """The connector that reads it; that of the source, or the one for the file's extension, when left out."""


class TimelineEvent(SpecModel):
    """Something that happens in a test of event time: rows come, or a clock moves."""

    at: Seconds | None = None
    """When it happens by the time of day: how long after the beginning of the test, such as `10 seconds`; with the event before
    it when left out. It puts the events of several sources in order."""
    rows: tuple[Mapping[str, Any], ...] | None = None
    """The rows that come."""
    advance_watermark: Moment | None = None
    """The source's watermark comes to this point in time: it has given all that happened before."""
    advance_processing_time: Annotated[Seconds, Field(gt=0)] | None = None
    """The time of day moves on by so much."""

    @model_validator(mode="after")
    def _one(self) -> TimelineEvent:
        given = [self.rows, self.advance_watermark, self.advance_processing_time]
        if sum(each is not None for each in given) != 1:
            raise ValueError("an event has one of `rows`, `advance_watermark` and `advance_processing_time`")
        return self


class Timeline(SpecModel):
    """What a source that goes on gives in the course of a test, one thing after the other."""

    timeline: tuple[TimelineEvent, ...]
    """The events. When all are over, all watermarks pass everything: every window becomes complete."""

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """All rows, in the order in which they come."""
        return tuple(row for event in self.timeline for row in event.rows or ())


class PaneSpec(SpecModel):
    """A result of a window that a test expects; what is not given is not compared."""

    window: Moment | None = None
    """The beginning of the window."""
    timing: Literal["early", "on_time", "late"] | None = None
    """Whether it is given before the window is complete, when it is, or after that."""
    rows: tuple[Mapping[str, Any], ...]
    """Its rows, in any order; `window_start` and `window_end` may be left out."""


class TestSpec(SpecModel):
    """Rows that the sources give, and what must come out. `at` is the path of keys to it in the file."""

    __test__ = False  # pytest would take it for a test class

    name: str
    at: tuple[str | int, ...]
    given: Mapping[str, tuple[Mapping[str, Any], ...] | FileRows | Timeline]
    expect: Mapping[str, tuple[Mapping[str, Any], ...] | FileRows]
    rejected: int | tuple[RejectedSpec, ...] | None
    """The rejected records, or how many there are; None is not checked."""
    violations: int | Mapping[str, int | tuple[Mapping[str, Any], ...]] | None = None
    """The failures of quality rules: how many in all, or for each rule how many or which rows; None is not checked."""
    panes: Mapping[str, tuple[PaneSpec, ...]] = {}
    """Step with a window → the results of its windows, each window's in their order."""
    lineage: Mapping[str, tuple[str, ...]] = {}
    """`step.column` → the `source.column`s whose values go into it."""
    parameters: Mapping[str, Any] = {}
    """Values of the spec's parameters in this test."""


class Integration(SpecModel):
    """Everything that one spec says, with ids, inputs and defaults filled in."""

    name: str
    type: IntegrationType
    stream: StreamSpec = StreamSpec()
    description: str | None
    sources: Mapping[str, SourceSpec]
    transformations: tuple[TransformationSpec, ...]
    destinations: tuple[DestinationSpec, ...]
    dead_letter: DeadLetterSpec | None
    max_rejected: RejectedBudget | None
    """None: any number of rejected records is borne."""
    quality_rules: tuple[QualityRuleSpec, ...] = ()
    profile: ProfileSpec | None = None
    """None: nothing is profiled."""
    tests: tuple[TestSpec, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of all sources, transformations and destinations, in this order."""
        return (*self.sources, *(step.id for step in self.transformations), *(sink.id for sink in self.destinations))
