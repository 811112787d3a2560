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

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Place:
    """Where in a spec something stands: file, 1-based line, and the path of keys that leads there."""

    file: str | None = None
    line: int | None = None
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f":{self.line}"
        if self.path:
            dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")
            where += f" ({dotted})" if where else dotted
        return where


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a user who typed `name` most likely meant, or None."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


class DataHubError(Exception):
    """A failure with a stable code, an exit status, a place and a hint."""

    code: ClassVar[str] = "DH000"
    exit_status: ClassVar[int] = 1
    advice: ClassVar[str | None] = None
    """The hint of an error that has no better one."""

    def __init__(self, reason: str, *, hint: str | None = None, place: Place | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint or self.advice
        self.place = place

    def at(self, place: Place) -> Self:
        """Return this error placed; a place that it already has stays."""
        if self.place is None:
            self.place = place
        elif self.place.file is None:
            self.place = replace(place, path=place.path + self.place.path, line=self.place.line or place.line)
        return self

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place and str(self.place) else ""
        return f"{where}{self.reason} [{self.code}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_revive, (type(self), self.reason, self.hint, self.place, self.__dict__.copy()))

    def facts(self) -> dict[str, Any]:
        """The error as a machine reads it."""
        return {
            "code": self.code,
            "reason": self.reason,
            "hint": self.hint,
            "file": self.place.file if self.place else None,
            "line": self.place.line if self.place else None,
            "path": list(self.place.path) if self.place else None,
        }


def _revive(kind: type[DataHubError], reason: str, hint: str | None, place: Place | None, state: dict[str, Any]) -> DataHubError:
    error = kind.__new__(kind)
    DataHubError.__init__(error, reason, hint=hint, place=place)
    error.__dict__.update(state)
    return error


class ErrorGroup(DataHubError):
    """Several failures reported in one go; its exit status is that of the first."""

    def __init__(self, errors: Sequence[DataHubError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = tuple(errors)
        if errors:
            self.exit_status = errors[0].exit_status  # type: ignore[misc]

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class SpecError(DataHubError):
    """The integration is wrong; nothing ran."""

    code = "DH199"
    exit_status = 3


class UnreadableSpec(SpecError):
    """The file is missing or is not YAML or JSON."""

    code = "DH100"


class UnknownName(SpecError):
    """A type, connector, step or option that does not exist."""

    code = "DH101"

    def __init__(self, kind: str, name: str, candidates: Iterable[str] = (), *, place: Place | None = None) -> None:
        known = sorted(candidates)
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else (f"known: {', '.join(known[:30])}" if known else None)
        super().__init__(f"unknown {kind} '{name}'", hint=hint, place=place)
        self.kind, self.name, self.candidates = kind, name, tuple(known)


class InvalidValue(SpecError):
    """An option has a value that it cannot have."""

    code = "DH102"


class MissingValue(SpecError):
    """A required option, parameter, secret or variable is absent."""

    code = "DH103"


class CyclicSteps(SpecError):
    """The steps feed each other in a circle."""

    code = "DH104"

    def __init__(self, cycle: Sequence[str], *, place: Place | None = None) -> None:
        super().__init__(
            f"the steps form a cycle: {' → '.join([*cycle, cycle[0]])}",
            hint="give one of them another `input`",
            place=place,
        )
        self.cycle = tuple(cycle)


class UnusedStep(SpecError):
    """A source or step that reaches no destination."""

    code = "DH105"


class UnknownColumn(SpecError):
    """A column that the input does not have."""

    code = "DH106"

    def __init__(self, name: str, columns: Iterable[str], *, place: Place | None = None) -> None:
        known = list(columns)
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else f"the input has: {', '.join(known[:30])}"
        super().__init__(f"unknown column '{name}'", hint=hint, place=place)
        self.name, self.columns = name, tuple(known)


class InvalidExpression(SpecError):
    """An expression that does not parse, does not type, or is not allowed."""

    code = "DH107"


class LossyWrite(SpecError):
    """A destination that could not keep what is written to it."""

    code = "DH108"


class OrderDependent(SpecError):
    """A result that would depend on the order of the rows."""

    code = "DH109"


class InvalidSchema(SpecError):
    """Text that is no Avro, JSON or Protobuf schema."""

    code = "DH120"


class UnresolvedReference(SpecError):
    """A schema that refers to one that is not there."""

    code = "DH121"


class IncompatibleSchema(SpecError):
    """A new version of a schema that its subject refuses."""

    code = "DH122"


class SchemaInUse(SpecError):
    """A schema that cannot go, because another refers to it."""

    code = "DH123"


class ExposedPersonalData(SpecError):
    """A destination would get personal data unmasked that it is not cleared for."""

    code = "DH130"


class ConnectorError(DataHubError):
    """An outside system failed us."""

    code = "DH299"
    exit_status = 4


class SourceMissing(ConnectorError):
    """Nothing to read at the given place."""

    code = "DH201"


class UnreadableData(ConnectorError):
    """The data is not of the promised format, or is damaged."""

    code = "DH202"
    advice = "is it damaged, cut off, or of another format? fetch it again, or name files that leave it out"


class SchemaDrift(ConnectorError):
    """The data left the frozen contract."""

    code = "DH203"


class AccessDenied(ConnectorError):
    """The system refused us."""

    code = "DH204"
    advice = "the user that runs beam-datahub lacks the right"


class TargetUnusable(ConnectorError):
    """The destination cannot be written."""

    code = "DH205"
    advice = "look at its path and its rights, or write elsewhere"


class Transient(ConnectorError):
    """An outside failure that a retry may mend."""

    code = "DH206"
    advice = "run it again"


class StoreUnusable(ConnectorError):
    """The store cannot be opened, read or written."""

    code = "DH210"
    advice = "name another place with --store or BEAM_DATAHUB_STORE"


class StoreBusy(ConnectorError):
    """Another process held the store for too long."""

    code = "DH211"
    advice = "run it again; many writers at once are better served by PostgreSQL"


class StoreDamaged(ConnectorError):
    """The store's file is not a store, or is damaged."""

    code = "DH212"
    advice = "put a backup in its place, or move the file away to begin a new store"


class StoreVersion(ConnectorError):
    """The store is of another version."""

    code = "DH213"


class WrongKey(ConnectorError):
    """A sealed secret cannot be opened with the keys at hand, or a key is none."""

    code = "DH214"
    advice = "give the key that sealed it with BEAM_DATAHUB_KEY or BEAM_DATAHUB_KEY_FILE"


class Conflict(ConnectorError):
    """Somebody else changed it in the meantime."""

    code = "DH215"
    advice = "look at it again, then repeat the change"


class RunError(DataHubError):
    """A run that could not be finished."""

    code = "DH399"
    exit_status = 5


class StepFailed(RunError):
    """A step broke on all of its data."""

    code = "DH301"


class TooManyRejected(RunError):
    """More rejected records than the budget allows."""

    code = "DH302"
    exit_status = 6


class BooksUnbalanced(RunError):
    """Records cannot be accounted for."""

    code = "DH303"
    exit_status = 7


class MissingDependency(RunError):
    """An optional part is not installed."""

    code = "DH304"


class Interrupted(RunError):
    """The user stopped the run."""

    code = "DH305"
    exit_status = 130


class RunLost(RunError):
    """The process of a run ended without a word."""

    code = "DH310"
    advice = "nothing of it is half-written at a destination; run it again"


class ExpectationFailed(RunError):
    """A test of the spec does not hold."""

    code = "DH306"
    exit_status = 1


class QualityFailed(RunError):
    """A quality rule whose action is to fail the run is broken; nothing was published."""

    code = "DH320"
    exit_status = 8


class NotReplayable(RunError):
    """Rejected records that cannot be replayed in this way."""

    code = "DH350"


class UnknownRun(RunError):
    """A run that the store does not have, or one in a state in which it cannot be asked for this."""

    code = "DH351"
    advice = "`beam-datahub runs list` shows them"


class ReplayUnfinished(RunError):
    """A replay that has published a part of its output; the rest follows when it is asked for again."""

    code = "DH352"
    advice = "mend what stopped it, then replay the same run again: it goes on where it stopped"


class Defect(DataHubError):
    """A bug of beam-datahub itself."""

    code = "DH900"
    exit_status = 70
