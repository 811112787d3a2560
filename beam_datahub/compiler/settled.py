"""How far a stream with windows has settled: rows that wait for their windows live only with the engine.

What was read is settled once all windows that it may be part of are over, and their results published. A stream that is killed
goes on from there: it reads the rows of open windows again. For that it keeps a *seam* with its positions: up to where it had
read, and which windows were over. What is read again before the seam was published already, but for the windows that were open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from beam_datahub.compiler.plan import Plan, Shuffle
from beam_datahub.kernels.windows import FIRST, Window

# Under these names stand among the positions of a source up to when all windows are over, and the seam.
CLOCK, SEAM = "watermark", "(windows)"
SHARD, VOID = "shard", "void"


@dataclass(frozen=True)
class Seam:
    """Where an earlier run or attempt stood: `clocks` are the points up to when the windows of each step are over and published,
    shard by shard, in microseconds since 1970, and `floor` that of all other steps; `read` is up to where each partition had been
    read, beyond what was settled.
    """

    clocks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    read: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    floor: int = FIRST

    def since(self, step: str, shard: int) -> int:
        """Up to when the windows of a shard were over before."""
        return self.clocks[step][shard] if step in self.clocks else self.floor

    def shards(self, step: str, usual: int) -> int:
        """How many shards a step has to have: as many as before, so that what one of them was through with stays with it."""
        return len(self.clocks[step]) if step in self.clocks else usual


def seam_of(positions: Mapping[str, Mapping[str, Any]]) -> Seam:
    """The seam that stands among positions. A partition that somebody has put elsewhere since has none."""
    clocks: dict[str, Sequence[int]] = {}
    read: dict[str, dict[str, Any]] = {}
    for source, parts in positions.items():
        found = parts.get(SEAM)
        if found is not None:
            clocks |= found["clocks"]
            read[source] = {name: end for name, (start, end) in found["read"].items() if name in parts and parts[name] == start}
    return Seam(clocks, read, _clock_of(positions))


def read_up_to(positions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The positions up to which all was read, whatever waits for windows."""
    ends = seam_of(positions).read
    return {source: {**parts, **ends.get(source, {})} for source, parts in plain_positions(positions).items()}


def plain_positions(positions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The positions of partitions alone."""
    return {source: plain_parts(parts) for source, parts in positions.items()}


def plain_parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The positions of a source's partitions alone."""
    return {name: at for name, at in parts.items() if name not in (CLOCK, SEAM)}


def windows_of(plan: Plan) -> dict[str, Window]:
    """The windows of each step of a stream (after the passes) in which rows wait."""
    shuffles = {node.id: node.operator for node in plan if isinstance(node.operator, Shuffle)}
    return {
        name: each.windowing.window for name, each in shuffles.items() if each.windowing is not None and each.windowing.streams
    }


class Settling:
    """What waits for windows, by partition in the order in which it was read, and what the shards of windows told last."""

    def __init__(self, seam: Seam | None = None) -> None:
        self._seam = seam or Seam()
        self._shards: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._waiting: dict[tuple[str, str], deque[tuple[Any, int | None]]] = {}

    def take(self, facts: Mapping[str, Any]) -> None:
        """What a shard told: `clock`, and where its `oldest` open window begins; both in microseconds since 1970."""
        key = (facts["step"], facts["shard"])
        self._told[key] = self._told.get(key, 0) + 1
        if key not in self._shards or self._shards[key]["turn"] < facts["turn"]:
            self._shards[key] = facts

    def wait(self, source: str, partition: str, end: Any, latest: int | None) -> None:
        """A stretch up to `end` whose rows wait for windows that end at `latest` at most; None: none of them waits."""
        self._waiting.setdefault((source, partition), deque()).append((end, latest))

    def has_looked_at(self, step: str, point: int) -> bool:
        """Whether all shards of a step have given what is complete where the watermark has come to `point`."""
        looks = [facts["next"] for (name, _), facts in self._shards.items() if name == step]
        # Of what is due at just this millisecond, engines differ in whether the watermark has passed it.
        return all(each is None or each >= point // 1000 * 1000 for each in looks)

    def has_heard_of_all(self, steps: Iterable[str]) -> bool:
        """Whether all shards of these steps have told, each of all its turns up to the last one that is known."""
        for step in steps:
            told = [facts for (name, _), facts in self._shards.items() if name == step]
            if not told or len(told) < told[0]["shards"]:
                return False
            if any(self._told[step, facts["shard"]] < facts["turn"] for facts in told):
                return False
        return True

    def settled(self) -> dict[str, dict[str, Any]]:
        """Up to which positions all is settled that was not before."""
        oldest = min((each["oldest"] for each in self._shards.values() if each["oldest"] is not None), default=None)
        clock = self.clock
        found: dict[str, dict[str, Any]] = {}
        for (source, partition), waiting in self._waiting.items():
            while waiting and (waiting[0][1] is None or _is_over(waiting[0][1], clock, oldest)):
                found.setdefault(source, {})[partition] = waiting.popleft()[0]
        return found

    @property
    def clock(self) -> int | None:
        """Up to when windows are over, on all shards; None where none has told."""
        return min((clock for each in self.clocks().values() for clock in each), default=None)

    def clocks(self) -> dict[str, list[int]]:
        """Up to when the windows of each step are over, shard by shard as far as they told; no clock goes backwards."""
        found: dict[str, list[int]] = {}
        for (step, shard), facts in sorted(self._shards.items()):
            found.setdefault(step, []).append(max(int(facts["clock"]), self._seam.since(step, shard)))
        return found


def _is_over(latest: int, clock: int | None, oldest: int | None) -> bool:
    return clock is not None and latest <= clock and (oldest is None or latest <= oldest)


def clock_text(micros: int) -> str | None:
    """The clock as it stands among positions; None for one that has not begun, or is over."""
    try:
        return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def _clock_of(positions: Mapping[str, Mapping[str, Any]]) -> int:
    found = [parts[CLOCK] for parts in positions.values() if CLOCK in parts]
    return min((round(datetime.fromisoformat(text).timestamp() * 1_000_000) for text in found), default=FIRST)
