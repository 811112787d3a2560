"""The spec as a user writes it, short forms included; validation and the JSON Schema come from these models."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from beam_datahub.errors import nearest
from beam_datahub.security.sensitive_names import KINDS
from beam_datahub.spec.model import (
    ContractSpec,
    FileRows,
    IntegrationType,
    PaneSpec,
    RejectedBudget,
    RejectedSpec,
    SpecModel,
    StreamSpec,
    SubjectSpec,
    ThresholdSpec,
    Timeline,
    WriteMode,
)
from beam_datahub.spec.parameters import ParameterSpec
from beam_datahub.spec.profiling import Profiled
from beam_datahub.spec.source_forms import EventTime, Incremental
from beam_datahub.spec.windowed import WrittenWindow

ID_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*$"

Text = Annotated[str, StringConstraints(min_length=1)]
Id = Annotated[
    str,
    BeforeValidator(lambda value: _id(value)),
    WithJsonSchema({"type": "string", "pattern": ID_PATTERN}),
]
Connection = Annotated[
    dict[str, Any] | str,
    PlainValidator(lambda value: _connection(value)),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string", "pattern": ID_PATTERN}]}),
]
Rows = tuple[dict[str, Any], ...]
Names = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]


def _id(value: Any) -> Any:
    if isinstance(value, str) and not re.match(ID_PATTERN, value):
        raise ValueError(f"'{value}' cannot be an id: use letters, digits, '_' and '-', beginning with a letter")
    return value


def _connection(value: Any) -> Any:
    if isinstance(value, str):
        return _id(value)
    if isinstance(value, dict):
        return value
    raise ValueError("must be a mapping of settings, or the name of a stored connection")


def _budget(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)) and float(match[1]) <= 100:
        return RejectedBudget(share=float(match[1]) / 100)
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return RejectedBudget(count=value)
    if isinstance(value, RejectedBudget):
        return value
    number = f", not {value}" if isinstance(value, (int, float, str)) and not _is_nan(value) else ""
    raise ValueError(f"must be a share of the records read such as 5% or a count such as 100{number}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


Budget = Annotated[
    RejectedBudget,
    BeforeValidator(_budget),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%?\s*$"}]}),
]


def _threshold(value: Any) -> Any:
    if isinstance(value, ThresholdSpec):
        return value
    if isinstance(value, dict) and set(value) == {"failures"}:
        count = value["failures"]
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
            return ThresholdSpec(failures=count)
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", value)):
        value = float(match[1]) / (100 if match[2] else 1)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return ThresholdSpec(share=float(value))
    count = isinstance(value, int | float) and value > 1 and float(value).is_integer()
    whole = f"; for a count of failures write {{failures: {value:g}}}" if count else ""
    raise ValueError(f"must be a share of the checked records such as 0.99 or 99%, or a count such as {{failures: 10}}{whole}")


Threshold = Annotated[
    ThresholdSpec,
    BeforeValidator(_threshold),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%?\s*$"},
                {
                    "type": "object",
                    "properties": {"failures": {"type": "integer", "minimum": 0}},
                    "required": ["failures"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def _kind(value: Any, *more: str) -> Any:
    if isinstance(value, str) and value not in KINDS and value not in more:
        guess = nearest(value, KINDS)
        known = f"did you mean '{guess}'?" if guess else f"the kinds are {', '.join(KINDS)}"
        raise ValueError(f"'{value}' is no kind of personal data: {known}")
    return value


def _personal(value: Any) -> Any:
    if isinstance(value, str) and value == "auto":
        return {"*": "auto"}
    if not isinstance(value, dict):
        raise ValueError("must be `auto`, or columns and their kinds such as {email: email, card_no: credit_card}")
    return value


ColumnKind = Annotated[
    str,
    BeforeValidator(lambda value: _kind(value, "none", "auto")),
    WithJsonSchema({"type": "string", "enum": [*KINDS, "none", "auto"]}),
]
ClearedKind = Annotated[
    str, BeforeValidator(lambda value: _kind(value, "all")), WithJsonSchema({"type": "string", "enum": [*KINDS, "all"]})
]
Personal = Annotated[
    dict[Text, ColumnKind], BeforeValidator(_personal, json_schema_input_type=Literal["auto"] | dict[Text, ColumnKind])
]
Clearance = Annotated[
    tuple[ClearedKind, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value, json_schema_input_type=ClearedKind | list[ClearedKind]
    ),
]


def _subject(value: Any) -> Any:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict | SubjectSpec):
        raise ValueError("must be the name of a subject, or a mapping with its `name` and `version`")
    return value


Subject = Annotated[
    SubjectSpec, BeforeValidator(_subject, json_schema_input_type=Annotated[str, Field(min_length=1)] | SubjectSpec)
]


class WrittenSource(SpecModel):
    """Where records come from; the connector's own options stand beside these keys."""

    model_config = ConfigDict(extra="allow")

    connector: Text
    """The connector that reads; `beam-datahub connectors` lists them."""
    connection: Connection = {}
    """The settings and secrets that reach the system, or the name of a stored connection."""
    columns: dict[str, Text] | None = Field(default=None, alias="schema")
    """The columns and their SQL types, such as `{id: bigint, amount: "decimal(12,2)"}`; discovered when left out."""
    subject: Subject | None = None
    """The subject of the schema registry that holds the schema, in the place of `schema`: its newest version, or the one of
    `{name: orders-value, version: 3}`. Under a contract that lets columns evolve, new ones become its next version."""
    contract: ContractSpec = ContractSpec()
    """What becomes of records that leave the schema."""
    incremental: Incremental | None = None
    """Take only records that are new since the last run, such as `{column: updated_at, initial: 2025-01-01, lag: 5 minutes}`, or
    the column alone. The store keeps how far it has come; it moves on once all destinations are published."""
    event_time: EventTime | None = None
    """The column that says when something happened, for windows: its name, or
    `{column: placed_at, out_of_orderness: 10 s, idle_after: 1 minute}`."""
    pii: Personal | None = None
    """Personal data: column → kind, such as `{email: email, card_no: credit_card}`, or `auto` to find it by names and a sample.
    Under `"*": auto`, the columns that are not named are looked at, and `none` says that a column holds none. From then on, no
    destination gets it unmasked without `clearance`."""


class WrittenSingleSource(WrittenSource):
    """The only source; it is called `source` unless it has a name."""

    name: Id | None = None
    """The source's name."""
    id: Id | None = None
    """Another word for `name`."""


class WrittenTransformation(SpecModel):
    """One step between sources and destinations."""

    id: Id | None = None
    """The step's name; its type when left out, numbered where that is taken."""
    type: Text
    """A transformation, or the name of a reusable one; `beam-datahub transforms` lists them."""
    description: str | None = None
    """What the step is for."""
    input: Names | None = None
    """The sources and steps that it reads; the step before it when left out, the source for the first."""
    dependencies: Names | None = None
    """Another word for `input`."""
    config: dict[str, Any] = {}
    """The options of the transformation, or the parameters of a reusable one."""
    window: WrittenWindow | None = None
    """The windows of event time in which an aggregation, a join, a deduplication or a top works, such as
    `{type: fixed, size: 1 minute, on: placed_at}`; needed in streams, which have no end."""


class WrittenDestination(SpecModel):
    """Where records go; the connector's own options stand beside these keys."""

    model_config = ConfigDict(extra="allow")

    id: Id | None = None
    """The destination's name; its connector when left out, numbered where that is taken."""
    input: Names | None = None
    """The source or step that it writes; the last step when left out."""
    connector: Text
    """The connector that writes; `beam-datahub connectors` lists them."""
    connection: Connection = {}
    """The settings and secrets that reach the system, or the name of a stored connection."""
    write_mode: WriteMode | None = None
    """Add to what is there, replace it, `merge` by `key`, delete and insert the rows of a key, or keep the newest state (`scd1`),
    all versions (`scd2`) or previous values (`scd3`) of each key; the connector's usual mode when left out."""
    key: Names | None = None
    """The columns that tell records apart, for `merge`, `delete_insert`, `scd1`, `scd2` and `scd3`."""
    clearance: Clearance = ()
    """The kinds of personal data that may be written here unmasked, such as `[email, name]`, or `all`."""
    subject: Subject | None = None
    """The subject of the schema registry that what is written must be compatible with; a run that writes other columns
    registers them as its next version. `{name: orders-value, version: 3}` holds to one version."""


class WrittenDeadLetter(SpecModel):
    """Where rejected records go; the connector's own options stand beside these keys."""

    model_config = ConfigDict(extra="allow")

    connector: Text
    """The connector that writes the rejected records."""
    connection: Connection = {}
    """The settings and secrets that reach the system, or the name of a stored connection."""
    clearance: Clearance = ()
    """The kinds of personal data that rejected records may show here, or `all`."""
    sealed: bool = False
    """Keep the originals and messages of rejected records sealed under the store's key; `rejects --unseal` opens them."""


class WrittenQualityRule(SpecModel):
    """What the records of a step must be; the rule type's own options stand beside these keys."""

    model_config = ConfigDict(extra="allow")

    name: Text
    """The rule's name, by which reports and rejected records call it."""
    step: Text
    """The source, the step (or `step.branch`), or the destination whose records are checked: those that a source or step
    gives, those that a destination is given."""
    type: Text
    """What is checked; `beam-datahub docs` writes the types to rules.md."""
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    """How bad it is when the rule is broken."""
    threshold: Threshold | None = None
    """When the rule still holds: the least share of checked records that pass, as `0.99` or `99%`, or a count of failures
    that are borne, as `{failures: 10}`; all must pass when left out."""
    action: Literal["report", "reject", "fail"] = "report"
    """What follows: `report` the failing records; `reject` them, one by one, into the dead letter; or let the whole run
    `fail`, with nothing published, when the threshold is missed."""
    where: Any = None
    """A condition: only records for which it holds are checked."""
    description: str | None = None
    """What the rule is for."""


class WrittenTest(SpecModel):
    """Rows that the sources give, and the rows that must come out."""

    name: Text
    """What the test shows."""
    given: dict[str, Rows | FileRows | Timeline]
    """The rows of each source, or `{file: …}`, which is read as the source's connector does; a source that is left out is
    empty."""
    expect: dict[str, Rows | FileRows] = {}
    """The rows of destinations or steps, in any order, or `{file: …}`."""
    rejected: Annotated[int, Field(ge=0)] | tuple[RejectedSpec, ...] | None = None
    """The rejected records, or how many there are; not checked when left out."""
    violations: Annotated[int, Field(ge=0)] | dict[str, Annotated[int, Field(ge=0)] | Rows] | None = None
    """The failures of quality rules: how many in all, or rule → how many or which rows (the columns that are named are
    compared); a rule that is left out must not fail. Not checked when left out."""
    panes: dict[str, tuple[PaneSpec, ...]] = {}
    """Step with a window → the results of its windows that must come, each window's in their order: see `timeline`."""
    lineage: dict[str, Names] = {}
    """`step.column` → the columns `source.column` whose values go into it."""
    parameters: dict[str, Any] = {}
    """Values of parameters in this test."""


class WrittenIntegration(SpecModel):
    """One integration: where records come from, what happens to them, and where they go."""

    name: Text
    """The integration's name."""
    type: IntegrationType = "batch"
    """How it runs: `batch` reads what there is and ends; `real-time` follows its sources until it is stopped; `hybrid` reads what
    there is first, and then follows those sources that go on."""
    stream: StreamSpec | None = None
    """How a `real-time` or `hybrid` integration runs: how often it commits, and how long records may wait for others."""
    description: str | None = None
    """What the integration is for."""
    parameters: dict[str, ParameterSpec] = {}
    """Values that a run may set; texts use them as `${param.NAME}`."""
    sources: Annotated[dict[Id, WrittenSource], Field(min_length=1)] | None = None
    """Where records come from, by name."""
    source: WrittenSingleSource | None = None
    """The only source, instead of `sources`."""
    transformations: tuple[WrittenTransformation, ...] = ()
    """The steps, in any order that reads well."""
    destinations: Annotated[tuple[WrittenDestination, ...], Field(min_length=1)] | None = None
    """Where records go."""
    destination: WrittenDestination | None = None
    """The only destination, instead of `destinations`."""
    dead_letter: WrittenDeadLetter | None = None
    """Where rejected records go."""
    max_rejected: Budget | None = None
    """How many rejected records a run bears: a count, or a share such as `5%`; any number when left out."""
    quality_rules: tuple[WrittenQualityRule, ...] = ()
    """What the records of sources, steps and destinations must be."""
    profile: Profiled | None = None
    """Profile the columns of records under way, and compare them with earlier runs: `true` for what all sources gave and all
    destinations were given, a list of steps, or more."""
    tests: tuple[WrittenTest, ...] = ()
    """Examples of rows that go in and rows that come out; `beam-datahub test` runs them."""
