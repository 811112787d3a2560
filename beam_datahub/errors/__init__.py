"""The error tree: every failure a user can meet, each with a stable code, an exit status and a hint.

DataHubError
├── SpecError                DH1xx  exit 3   the integration is wrong; nothing ran
│   ├── UnreadableSpec       DH100  the file is missing or is not YAML/JSON
│   ├── UnknownName          DH101  a type, connector, step or option that does not exist
│   ├── InvalidValue         DH102  an option has a value that it cannot have
│   ├── MissingValue         DH103  a required option, parameter, secret or variable is absent
│   ├── CyclicSteps          DH104  the steps feed each other in a circle
│   ├── UnusedStep           DH105  a source or step that reaches no destination
│   ├── UnknownColumn        DH106  a column that the input does not have
│   ├── InvalidExpression    DH107  an expression that does not parse, type or is not allowed
│   ├── LossyWrite           DH108  a destination that could not keep what is written to it
│   ├── OrderDependent       DH109  a result that would depend on the order of the rows
│   ├── InvalidSchema        DH120  text that is no Avro, JSON or Protobuf schema
│   ├── UnresolvedReference  DH121  a schema that refers to one that is not there
│   ├── IncompatibleSchema   DH122  a new version of a schema that its subject refuses
│   ├── SchemaInUse          DH123  a schema that cannot go, because another refers to it
│   └── ExposedPersonalData  DH130  a destination that would get personal data unmasked
├── ConnectorError           DH2xx  exit 4   an outside system
│   ├── SourceMissing        DH201  nothing to read at the given place
│   ├── UnreadableData       DH202  the data is not of the promised format, or damaged
│   ├── SchemaDrift          DH203  the data left the frozen contract
│   ├── AccessDenied         DH204  the system refused us
│   ├── TargetUnusable       DH205  the destination cannot be written
│   ├── Transient            DH206  an outside failure that a retry may mend
│   ├── StoreUnusable        DH210  the store cannot be opened, read or written
│   ├── StoreBusy            DH211  another process held the store for too long
│   ├── StoreDamaged         DH212  the store's file is not a store, or is damaged
│   ├── StoreVersion         DH213  the store is of another version
│   ├── WrongKey             DH214  a sealed secret cannot be opened with the keys at hand
│   └── Conflict             DH215  somebody else changed it in the meantime
├── RunError                 DH3xx  exit 5   a run that could not be finished
│   ├── StepFailed           DH301  a step broke on all of its data
│   ├── TooManyRejected      DH302  more rejected records than the budget allows   (exit 6)
│   ├── BooksUnbalanced      DH303  records cannot be accounted for                (exit 7)
│   ├── MissingDependency    DH304  an optional part is not installed
│   ├── RunLost              DH310  the process of a run ended without a word
│   ├── Interrupted          DH305  the user stopped the run                       (exit 130)
│   ├── EngineFailed         DH307  an engine that does not start, or is lost
│   ├── ExpectationFailed    DH306  a test of the spec does not hold               (exit 1)
│   ├── QualityFailed        DH320  a quality rule that is to fail the run is broken (exit 8)
│   ├── NotReplayable        DH350  rejected records that cannot be replayed so
│   ├── UnknownRun           DH351  a run that the store does not have, or that is in the wrong state
│   └── ReplayUnfinished     DH352  a replay whose last step has to be repeated
└── Defect                   DH900  exit 70  a bug of beam-datahub itself

The facts travel as attributes, the class writes the sentence. Errors survive pickling, so that a worker's error reaches
the launcher whole. `str()` is the user's message; the cause stays on `__cause__`.
"""

from __future__ import annotations

from beam_datahub.errors.connector import (
    AccessDenied,
    Conflict,
    ConnectorError,
    SchemaDrift,
    SourceMissing,
    StoreBusy,
    StoreDamaged,
    StoreUnusable,
    StoreVersion,
    TargetUnusable,
    Transient,
    UnreadableData,
    WrongKey,
)
from beam_datahub.errors.failure import (
    DataHubError,
    Defect,
    ErrorGroup,
    Place,
    from_facts,
    nearest,
)
from beam_datahub.errors.run import (
    BooksUnbalanced,
    EngineFailed,
    ExpectationFailed,
    Interrupted,
    MissingDependency,
    NotReplayable,
    QualityFailed,
    ReplayUnfinished,
    RunError,
    RunLost,
    StepFailed,
    TooManyRejected,
    UnknownRun,
)
from beam_datahub.errors.spec import (
    CyclicSteps,
    ExposedPersonalData,
    IncompatibleSchema,
    InvalidExpression,
    InvalidSchema,
    InvalidValue,
    LossyWrite,
    MissingValue,
    OrderDependent,
    SchemaInUse,
    SpecError,
    UnknownColumn,
    UnknownName,
    UnreadableSpec,
    UnresolvedReference,
    UnusedStep,
)

__all__ = [
    "AccessDenied",
    "BooksUnbalanced",
    "Conflict",
    "ConnectorError",
    "CyclicSteps",
    "DataHubError",
    "Defect",
    "EngineFailed",
    "ErrorGroup",
    "ExpectationFailed",
    "ExposedPersonalData",
    "IncompatibleSchema",
    "Interrupted",
    "InvalidExpression",
    "InvalidSchema",
    "InvalidValue",
    "LossyWrite",
    "MissingDependency",
    "MissingValue",
    "NotReplayable",
    "OrderDependent",
    "Place",
    "QualityFailed",
    "ReplayUnfinished",
    "RunError",
    "RunLost",
    "SchemaDrift",
    "SchemaInUse",
    "SourceMissing",
    "SpecError",
    "StepFailed",
    "StoreBusy",
    "StoreDamaged",
    "StoreUnusable",
    "StoreVersion",
    "TargetUnusable",
    "TooManyRejected",
    "Transient",
    "UnknownColumn",
    "UnknownName",
    "UnknownRun",
    "UnreadableData",
    "UnreadableSpec",
    "UnresolvedReference",
    "UnusedStep",
    "WrongKey",
    "from_facts",
    "nearest",
]
