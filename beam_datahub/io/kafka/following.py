"""Follows one partition without end: what has arrived becomes one block, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from beam_datahub.component.source import Arrival, Block, Follower
from beam_datahub.errors import UnreadableData
from beam_datahub.io.kafka.connection import KafkaConnection, Told, kafka, meaning, telling
from beam_datahub.io.kafka.consuming import AT_ONCE, PASSING, consumer_settings
from beam_datahub.io.kafka.offsets import Part, gap
from beam_datahub.io.kafka.options import KafkaReadOptions

# How long one call to the client waits: soon enough for a batch that is nearly full.
_WAIT_SECONDS = 0.1
_MOST = 200_000
# The client keeps other threads of the process waiting while it makes so many messages, and engines while these wait.
_AT_ONCE = 2_000
# How far the client may read ahead; a destination that is slow keeps it at that.
_AHEAD_KIB = 32 * 1024


class KafkaFollower(Follower):
    """One partition. `block` makes a block of messages in their order; `seam` is an offset that none reaches across."""

    def __init__(
        self,
        connection: KafkaConnection,
        options: KafkaReadOptions,
        part: Part,
        block: Callable[[list[Any]], Block],
        seam: int | None = None,
    ) -> None:
        kafka()
        from confluent_kafka import Consumer, TopicPartition

        self._connection, self._options, self._part, self._block = connection, options, part, block
        self._place = f"partition {part.partition} of '{part.topic}'"
        self._told = Told()
        settings = consumer_settings(connection, options, self._told)
        settings |= {"queued.max.messages.kbytes": _AHEAD_KIB, "queued.min.messages": 100_000, "fetch.wait.max.ms": 50}
        self._consumer = Consumer(settings)
        self._next, self._end, self._seam = part.start, -1, seam
        self._kept: list[Any] = []
        self._seek = TopicPartition(part.topic, part.partition, part.start)
        self._consumer.assign([self._seek])

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        until = time.monotonic() + seconds
        found: list[Any] = []
        size = 0
        while not self._is_at_seam():
            left = until - time.monotonic()
            some, self._kept = self._kept or self._consumer.consume(_AT_ONCE, timeout=max(0.0, min(left, _WAIT_SECONDS))), []
            sound = self._sound(some)
            found += sound
            size += sum(map(len, sound))
            # What is there already is taken even when the time is over: who is behind catches up by it.
            over = left <= 0 and (len(some) < _AT_ONCE or len(found) >= AT_ONCE)
            if size >= batch_bytes or len(found) >= _MOST or over:
                break
        self._refused()
        at_seam = self._is_at_seam()
        self._seam = None if at_seam else self._seam
        return Arrival(self._block(found) if found else None, self._next, self._behind(), at_seam)

    def _sound(self, some: list[Any]) -> list[Any]:
        """What of `some` are messages up to the seam; moves on behind them."""
        from confluent_kafka import Message

        if some and self._seam is None and not any(map(Message.error, some)):
            self._next = int(some[-1].offset()) + 1
            return some
        kept = []
        for place, message in enumerate(some):
            error = message.error()
            if self._seam is not None and error is None and int(message.offset() or 0) >= self._seam:
                # What lay before it may have been deleted meanwhile.
                self._next, self._kept = self._seam, some[place:]
                break
            if error is not None:
                self._judge(error, message)
                continue
            kept.append(message)
            self._next = int(message.offset() or 0) + 1
        return kept

    def _is_at_seam(self) -> bool:
        return self._seam is not None and self._next >= self._seam

    def _judge(self, error: Any, message: Any) -> None:
        if error.name() == "_PARTITION_EOF":
            # It tells the offset behind all that there is, markers of transactions included.
            self._next = max(self._next, int(message.offset() or 0))
            self._end = self._next
        elif error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            low, _ = self._consumer.get_watermark_offsets(self._seek, timeout=self._connection.connect_timeout_seconds)
            if self._options.missing == "fail" or low <= self._next:
                raise gap(self._place, self._next, low) if low > self._next else UnreadableData(f"{self._place}: {error.str()}")
            self._next = self._seek.offset = low
            self._consumer.assign([self._seek])
        elif error.name() not in PASSING:
            raise meaning(error, self._place)

    def _refused(self) -> None:
        refusal = self._told.refusal()
        if refusal is not None:
            raise refusal

    def _behind(self) -> int:
        """How many offsets lie behind what was taken, as the broker last told; it is asked where it has not yet."""
        if self._next == self._end:
            return 0
        _, high = self._consumer.get_watermark_offsets(self._seek, cached=True)
        if high < 0:
            # Nothing came so far, which does not mean that there is nothing: a broker may be slow.
            with telling():
                _, high = self._consumer.get_watermark_offsets(self._seek, timeout=self._connection.connect_timeout_seconds)
        return max(0, int(high) - self._next)

    def published(self, position: Any) -> None:
        if self._options.commit_offsets:
            from confluent_kafka import TopicPartition

            mark = TopicPartition(self._part.topic, self._part.partition, int(position))
            self._consumer.commit(offsets=[mark], asynchronous=True)

    def close(self) -> None:
        with suppress(RuntimeError):
            self._consumer.close()
