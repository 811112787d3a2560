"""What the store holds, as frozen records: what the writer takes and the reader gives. Times are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

RunKind = Literal["full", "incremental", "partial"]
RunStatus = Literal["running", "completed", "completed_with_errors", "failed", "cancelled"]
RunCause = Literal["manual", "schedule", "resume", "replay", "test"]
Document = Literal["plan", "report", "quality", "books", "progress"]
Role = Literal["source", "transformation", "destination", "dead_letter"]
Severity = Literal["low", "medium", "high", "critical"]
ViolationStatus = Literal["open", "acknowledged", "resolved", "false_positive"]

SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
ENDED: tuple[RunStatus, ...] = ("completed", "completed_with_errors", "failed", "cancelled")


@dataclass(frozen=True)
class Step:
    """One step of an integration's version, in the plan's order; `config` has no secret in it.

    `type` is the connector or the transformation, `connection` the name of a stored connection, `columns` the output's
    columns with their SQL types.
    """

    id: str
    role: Role
    type: str
    inputs: tuple[str, ...] = ()
    connection: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Integration:
    """A registered integration and its newest version."""

    name: str
    description: str | None
    version: int
    fingerprint: str
    path: str | None
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True)
class IntegrationVersion:
    """One version of an integration: the spec's text as it was written."""

    integration: str
    version: int
    spec: str
    fingerprint: str
    path: str | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class NewRun:
    """A run that begins. `owner` is what `beam_datahub.component.file_owner.owner()` gives; `parameters` hold no secret."""

    run_id: str
    integration: str
    kind: RunKind = "full"
    engine: str = "direct"
    cause: RunCause = "manual"
    version: int | None = None
    fingerprint: str | None = None
    parent: str | None = None
    user: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None
    owner: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunStep:
    """The books of one step of a run: the terms of `beam_datahub.compiler.books.TERMS`, in records."""

    step: str
    role: Role | None = None
    type: str | None = None
    read: int = 0
    taken: int = 0
    """The term `in`."""
    out: int = 0
    filtered: int = 0
    rejected: int = 0
    merged: int = 0
    added: int = 0
    bytes: int | None = None


@dataclass(frozen=True)
class RunEnd:
    """How a run ended. `error` are the facts of a DataHubError; `reports` names the files of the run by what they are."""

    status: RunStatus
    read: int = 0
    written: int = 0
    filtered: int = 0
    rejected: int = 0
    seconds: float | None = None
    error: Mapping[str, Any] | None = None
    reports: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[RunStep, ...] = ()
    documents: Mapping[Document, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run as it stands; counters are 0 until it has ended. `violations` counts its violations."""

    run_id: str
    integration: str
    version: int | None
    fingerprint: str | None
    kind: RunKind
    cause: RunCause
    status: RunStatus
    engine: str
    parent: str | None
    user: str | None
    host: str | None
    pid: int | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    seconds: float | None
    read: int
    written: int
    filtered: int
    rejected: int
    violations: int
    error: Mapping[str, Any] | None
    folder: str | None
    reports: Mapping[str, str]
    parameters: Mapping[str, Any]
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None


@dataclass(frozen=True)
class Cursor:
    """How far an incremental source has been read. `value` is JSON, `type` the SQL type that it stands for.

    `revision` counts the changes: it begins with 1.
    """

    integration: str
    source: str
    value: Any
    type: str
    partition: str = ""
    revision: int = 0
    run_id: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class NewViolation:
    """A rule that a run broke. `kind` is the rule's type or the anomaly's; `samples` the file of all failing rows.

    `checked` and `failed` are records, `ratio` the share that passed (0 to 1), `threshold` as the rule gives it.
    """

    rule: str
    kind: str
    step: str
    severity: Severity
    action: str
    message: str
    checked: int = 0
    failed: int = 0
    ratio: float | None = None
    threshold: float | None = None
    samples: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Violation(NewViolation):
    """A violation as it stands, with who changed its status last, when and why."""

    id: int = 0
    run_id: str = ""
    integration: str = ""
    status: ViolationStatus = "open"
    created_at: datetime | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class HubEvent:
    """An event of the hub itself. `document` is what is sent; `sent_at` None: it waits for that."""

    event_id: str
    type: str
    document: Mapping[str, Any]
    created_at: datetime | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True)
class Connection:
    """A named connection. `options` are in clear, `sealed` maps the names of its secret options to sealed texts."""

    name: str
    connector: str
    options: Mapping[str, Any]
    sealed: Mapping[str, str] = field(default_factory=dict, repr=False)
    description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None
    tested_at: datetime | None = None
    test_passed: bool | None = None
    test_message: str | None = None


@dataclass(frozen=True)
class LineageDataset:
    """A dataset in a plan: an input, an output, or what a step puts out; columns with their SQL types."""

    namespace: str
    name: str
    role: Literal["input", "output", "step"]
    step: str
    columns: Mapping[str, str] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LineageColumn:
    """A column that comes from another one. Datasets are named by (namespace, name, step).

    `kind` is `direct` where the value comes from it, `indirect` where it only decides (a condition, a key, an order).
    """

    from_dataset: tuple[str, str, str]
    from_column: str
    to_dataset: tuple[str, str, str]
    to_column: str
    kind: Literal["direct", "indirect"] = "direct"
    expression: str | None = None


@dataclass(frozen=True)
class LineageGraph:
    """The lineage of one plan of an integration; runs of the same plan share it."""

    id: int
    integration: str
    fingerprint: str
    datasets: tuple[LineageDataset, ...]
    columns: tuple[LineageColumn, ...]
    created_at: datetime


@dataclass(frozen=True)
class Profile:
    """The profile of one column of a step in a run: what people read, and the sketches that merge with other runs'."""

    step: str
    column: str
    type: str
    rows: int
    summary: Mapping[str, Any]
    sketch: bytes | None = field(default=None, repr=False)
    run_id: str = ""
    integration: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Metric:
    """A number that a run measured; `step` is empty for the run as a whole."""

    name: str
    value: float
    step: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a run's log, redacted."""

    message: str
    level: str = "INFO"
    logger: str = ""
    step: str | None = None
    run_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class AuditEntry:
    """Who changed what and when. `kind` and `name` tell the thing, `details` what was changed; no secret is in it."""

    at: datetime
    who: str
    action: str
    kind: str
    name: str
    details: Mapping[str, Any]
