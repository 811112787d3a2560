"""From where to where a run reads each partition, and what has been deleted in between."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from beam_datahub.errors import SourceMissing, UnreadableData
from beam_datahub.io.kafka.connection import Cluster
from beam_datahub.io.kafka.options import KafkaReadOptions

Partition = tuple[str, int]


@dataclass(frozen=True)
class Part:
    """The messages of a partition with offsets in [start, end)."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def place(self) -> str:
        """What the dead letter calls it."""
        return f"{self.topic}/{self.partition}"


def partitions(cluster: Cluster, options: KafkaReadOptions) -> list[Partition]:
    """The partitions that are read, in order. Raises SourceMissing, ConnectorError."""
    if options.pattern is not None:
        every = cluster.topics()
        names = sorted(name for name in every if re.fullmatch(options.pattern, name))
        if not names:
            raise SourceMissing(f"no topic matches '{options.pattern}'", hint=f"there are: {', '.join(sorted(every)[:30])}")
        return [(name, number) for name in names for number in sorted(every[name].partitions)]
    found = []
    for name in options.topics:
        found += [(name, number) for number in sorted(cluster.topics(name)[name].partitions)]
    return found


def key_of(partition: Partition, options: KafkaReadOptions) -> str:
    """What a partition's position is kept under: its number, with the topic in front where there may be several."""
    return f"{partition[0]}/{partition[1]}" if options.pattern is not None or len(options.topics) > 1 else str(partition[1])


def bounds(cluster: Cluster, wanted: list[Partition], *, committed: bool) -> dict[Partition, tuple[int, int]]:
    """The first offset and the one behind the last, of each partition."""
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    specs: Any = OffsetSpec
    first = cluster.offsets(dict.fromkeys(wanted, specs.earliest()), committed=committed)
    last = cluster.offsets(dict.fromkeys(wanted, specs.latest()), committed=committed)
    return {each: (first[each], last[each]) for each in wanted}


def parts(cluster: Cluster, options: KafkaReadOptions, reached: Mapping[str, Any]) -> list[Part]:
    """What a run reads that goes on from what earlier ones have `reached`. Raises UnreadableData, ConnectorError."""
    wanted = partitions(cluster, options)
    committed = options.isolation == "committed"
    there = bounds(cluster, wanted, committed=committed)
    first = _starts(cluster, options, there, committed=committed) if not reached else {}
    found = []
    for each in wanted:
        low, high = there[each]
        key = key_of(each, options)
        # A partition that came later is read from its beginning: no run has seen it.
        start = _after(options, each, int(reached[key]), low, high) if key in reached else first.get(each, low)
        found.append(Part(*each, start, max(start, high)))
    return found


def _starts(
    cluster: Cluster, options: KafkaReadOptions, there: Mapping[Partition, tuple[int, int]], *, committed: bool
) -> dict[Partition, int]:
    """Where the first run begins."""
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    if not isinstance(options.start, datetime):
        return {each: ends[0 if options.start == "earliest" else 1] for each, ends in there.items()}
    moment = options.start if options.start.tzinfo is not None else options.start.replace(tzinfo=UTC)
    spec = OffsetSpec.for_timestamp(int(moment.timestamp() * 1000))
    found = cluster.offsets(dict.fromkeys(there, spec), committed=committed)
    return {each: offset if offset >= 0 else there[each][1] for each, offset in found.items()}


def _after(options: KafkaReadOptions, partition: Partition, reached: int, low: int, high: int) -> int:
    """Where a run goes on that others were before. Raises UnreadableData where something is missing."""
    place = f"partition {partition[1]} of '{partition[0]}'"
    if low <= reached <= high:
        return reached
    if options.missing == "skip":
        return low
    if reached < low:
        raise gap(place, reached, low)
    raise UnreadableData(
        f"{place} was read up to offset {reached}, but ends at {high}: the topic was made anew, or has lost messages",
        hint="read it from its beginning: `missing: skip`, or beam-datahub state reset INTEGRATION",
    )


def gap(place: str, reached: int, low: int) -> UnreadableData:
    """The cluster has deleted what was not read."""
    count = low - reached
    return UnreadableData(
        f"{place}: the cluster has deleted offsets {reached} to {low - 1} ({count} at most) before they were read",
        hint="go on without them: `missing: skip`; keep messages longer (`retention.ms`), or run more often",
    )
