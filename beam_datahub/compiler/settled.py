"""How far a stream with windows has settled: rows that wait for their windows live only with the engine.

What was read is settled once all windows that it may be part of are over, and their results published. A stream that is killed
goes on from there: it reads the rows of open windows again, and keeps its clock of event time, so that windows that are over stay
over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# Under this name stands among the positions of a source up to when all windows are over.
CLOCK = "watermark"
SHARD = "shard"


class Settling:
    """What waits for windows, by partition in the order in which it was read, and what the shards of windows told last."""

    def __init__(self) -> None:
        self._shards: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._waiting: dict[tuple[str, str], deque[tuple[Any, int | None]]] = {}

    def take(self, facts: Mapping[str, Any]) -> None:
        """What a shard told: `clock`, and where its `oldest` open window begins; both in microseconds since 1970."""
        key = (facts["step"], facts["shard"])
        if key not in self._shards or self._shards[key]["turn"] < facts["turn"]:
            self._shards[key] = facts

    def wait(self, source: str, partition: str, end: Any, latest: int | None) -> None:
        """A stretch up to `end` whose rows wait for windows that end at `latest` at most; None: none of them waits."""
        self._waiting.setdefault((source, partition), deque()).append((end, latest))

    def settled(self) -> dict[str, dict[str, Any]]:
        """Up to which positions all is settled that was not before."""
        oldest = min((each["oldest"] for each in self._shards.values() if each["oldest"] is not None), default=None)
        found: dict[str, dict[str, Any]] = {}
        for (source, partition), waiting in self._waiting.items():
            while waiting and (waiting[0][1] is None or self._is_over(waiting[0][1], oldest)):
                found.setdefault(source, {})[partition] = waiting.popleft()[0]
        return found

    def _is_over(self, latest: int, oldest: int | None) -> bool:
        clock = self.clock
        return clock is not None and latest <= clock and (oldest is None or latest <= oldest)

    @property
    def clock(self) -> int | None:
        """Up to when windows are over, on all shards; None where none has told."""
        return min((int(each["clock"]) for each in self._shards.values()), default=None)


def clock_text(micros: int) -> str | None:
    """The clock as it stands among positions; None for one that has not begun, or is over."""
    try:
        return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def clock_of(positions: Mapping[str, Mapping[str, Any]]) -> int | None:
    """The clock that stands among positions, in microseconds since 1970."""
    found = [parts[CLOCK] for parts in positions.values() if CLOCK in parts]
    return min((round(datetime.fromisoformat(text).timestamp() * 1_000_000) for text in found), default=None)
