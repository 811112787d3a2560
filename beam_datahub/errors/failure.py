"""What every failure is: a code, an exit status, a place in the spec and a hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from beam_datahub.errors.synonyms import names_here


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
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.85)
    if not close and (meant := names_here(name, folded.values())) is not None:
        # What looks a little like another tool's word is not what was meant: `rest` is not `redis`.
        return meant[0] if meant else None
    found = close or difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


class DataHubError(Exception):
    """A failure with a stable code, an exit status, a place and a hint."""

    code: ClassVar[str] = "DH000"
    exit_status: ClassVar[int] = 1
    advice: ClassVar[str | None] = None
    """The hint of an error that has no better one."""
    warnings: tuple[str, ...] = ()
    """What was doubtful besides."""

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


def from_facts(facts: Mapping[str, Any]) -> DataHubError:
    """The error that gave these facts, or a DataHubError where no kind has its code."""
    kinds = [DataHubError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    kind = next((each for each in kinds if each.code == facts.get("code")), DataHubError)
    place = Place(facts.get("file"), facts.get("line"), tuple(facts.get("path") or ()))
    return _revive(kind, str(facts.get("reason")), facts.get("hint"), place if str(place) else None, {})


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


class Defect(DataHubError):
    """A bug of beam-datahub itself."""

    code = "DH900"
    exit_status = 70
