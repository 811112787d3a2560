"""What two versions of a schema differ in, and the levels at which a subject refuses a difference."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace


class Level(enum.StrEnum):
    """Which versions of a subject must be able to read each other's data."""

    NONE = "none"
    BACKWARD = "backward"
    """The new version reads what the latest one wrote."""
    BACKWARD_TRANSITIVE = "backward_transitive"
    """The new version reads what any of the earlier ones wrote."""
    FORWARD = "forward"
    """The latest version reads what the new one writes."""
    FORWARD_TRANSITIVE = "forward_transitive"
    """Each of the earlier versions reads what the new one writes."""
    FULL = "full"
    """Both, against the latest version."""
    FULL_TRANSITIVE = "full_transitive"
    """Both, against every version."""

    @property
    def transitive(self) -> bool:
        """Whether all versions count, not the latest alone."""
        return self.value.endswith("_transitive")

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Who must be able to read whose data."""
        return {
            "none": (),
            "backward": (Direction.BACKWARD,),
            "forward": (Direction.FORWARD,),
            "full": (Direction.BACKWARD, Direction.FORWARD),
        }[self.value.removesuffix("_transitive")]


class Direction(enum.StrEnum):
    """Who reads: the new version what an old one wrote (backward), or an old one what the new one writes (forward)."""

    BACKWARD = "backward"
    FORWARD = "forward"


@dataclass(frozen=True)
class Difference:
    """One difference between what a writer wrote with and what a reader reads with.

    `code` is stable; `path` leads to the place in the reader's schema; `words` say it, with `{reader}` and `{writer}` for
    the two schemas; a `compatible` one does no harm.
    """

    code: str
    path: str
    words: str
    compatible: bool = False

    def below(self, prefix: str) -> Difference:
        """The same difference seen from further up: its path put behind another."""
        return replace(self, path=joined(prefix, self.path))


def joined(prefix: str, path: str) -> str:
    """Two paths as one; `/` and `#/` are the roots."""
    rest = path.removeprefix("#").lstrip("/")
    if not rest:
        return prefix
    return prefix + rest if prefix.endswith("/") else f"{prefix}/{rest}"


@dataclass(frozen=True)
class Problem:
    """A difference that the level of a subject refuses, against which version, in which direction, and how to mend it."""

    version: int
    direction: Direction
    code: str
    path: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Verdict:
    """Whether a new version may follow the earlier ones, and if not, why and what would."""

    level: Level
    problems: tuple[Problem, ...]
    proposal: str | None = None
    """The new version with its problems mended, where that can be done without asking; it has been checked."""

    @property
    def compatible(self) -> bool:
        return not self.problems


def harmful(differences: Sequence[Difference]) -> list[Difference]:
    """The differences because of which the reader cannot read what the writer wrote."""
    return [difference for difference in differences if not difference.compatible]
