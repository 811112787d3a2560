"""Reads one partition from an offset to another, many messages at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from beam_datahub.component.source import BATCH_BYTES
from beam_datahub.errors import DataHubError, Transient, UnreadableData
from beam_datahub.io.kafka.connection import KafkaConnection, Told, kafka, meaning, telling
from beam_datahub.io.kafka.offsets import Part, gap
from beam_datahub.io.kafka.options import KafkaReadOptions

_MOST, AT_ONCE = 200_000, 10_000
# How long one call waits for more; an idle connection is looked after that often.
_WAIT_SECONDS = 0.2
# What mends itself: the client connects again.
PASSING = ("_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE")


def consumed(
    connection: KafkaConnection,
    options: KafkaReadOptions,
    part: Part,
    limit: int | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[list[Any]]:
    """The messages of a part in their order, in lists of about `batch_bytes`; at most `limit`. Raises ConnectorError."""
    kafka()
    told = Told()
    with telling(told):
        reader = _Reader(connection, options, part, told)
        try:
            yield from reader.lists(limit, batch_bytes)
            reader.finish()
        finally:
            reader.close()


def consumer_settings(connection: KafkaConnection, options: KafkaReadOptions, told: Told) -> dict[str, Any]:
    """How a consumer reads one partition from an offset that it is told."""
    return connection.settings(
        error_cb=told,
        **{
            "group.id": options.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": f"read_{options.isolation}",
            # A partition that ends in markers, or in what a transaction has taken back, says soon that it has ended.
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 500_000,
            "queued.max.messages.kbytes": 128 * 1024,
            "fetch.message.max.bytes": 8 * 1024 * 1024,
        },
    )


class _Reader:
    def __init__(self, connection: KafkaConnection, options: KafkaReadOptions, part: Part, told: Told) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._connection, self._options, self._part, self._told = connection, options, part, told
        self._place = f"partition {part.partition} of '{part.topic}'"
        self._consumer = Consumer(consumer_settings(connection, options, told))
        self._next = part.start
        self._seek = TopicPartition(part.topic, part.partition, part.start)
        self._consumer.assign([self._seek])

    def lists(self, limit: int | None, batch_bytes: int) -> Iterator[list[Any]]:
        part, given = self._part, 0
        some: list[Any] = []
        size = 0
        heard = time.monotonic()
        while self._next < part.end and (limit is None or given + len(some) < limit):
            most = min(AT_ONCE, part.end - self._next)
            found = self._consumer.consume(most, timeout=_WAIT_SECONDS)
            if found:
                heard = time.monotonic()
            elif time.monotonic() - heard > self._connection.timeout_seconds:
                raise self._silent()
            for message in self._sound(found):
                some.append(message)
                size += len(message)
            if limit is not None and given + len(some) > limit:
                some = some[: limit - given]
            if some and (size >= batch_bytes or len(some) >= _MOST):
                given += len(some)
                yield some
                some, size = [], 0
        if some:
            yield some

    def _sound(self, found: list[Any]) -> list[Any]:
        """What of `found` are messages of the part; moves on behind them."""
        end = self._part.end
        if not any(message.error() is not None for message in found):
            if not found:
                return found
            last = int(found[-1].offset())
            self._next = last + 1
            return found if last < end else [message for message in found if message.offset() < end]
        kept = []
        for message in found:
            error = message.error()
            if error is None:
                self._next = int(message.offset()) + 1
                if message.offset() < end:
                    kept.append(message)
            elif error.name() == "_PARTITION_EOF":
                # It tells the offset behind all that there is, markers of transactions included.
                self._next = max(self._next, int(message.offset()))
            else:
                self._judge(error)
        return kept

    def _judge(self, error: Any) -> None:
        if error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            low, _ = self._consumer.get_watermark_offsets(self._seek, timeout=self._connection.connect_timeout_seconds)
            if self._options.missing == "fail" or low <= self._next:
                raise gap(self._place, self._next, low) if low > self._next else UnreadableData(f"{self._place}: {error.str()}")
            self._next = low
            self._seek.offset = low
            self._consumer.assign([self._seek])
        elif error.name() not in PASSING:
            raise meaning(error, self._place)

    def _silent(self) -> DataHubError:
        refusal = self._told.refusal()
        if refusal is not None:
            return refusal
        words = self._told.words()
        return Transient(
            f"{self._place}: nothing came from the cluster for {self._connection.timeout_seconds} s at offset {self._next} "
            f"of {self._part.end}" + (f": {words}" if words else ""),
            hint="is its leader up? run again; nothing is lost",
        )

    def finish(self) -> None:
        """Let the group's offsets follow, where that is wanted."""
        if self._options.commit_offsets and self._next >= self._part.end:
            from confluent_kafka import TopicPartition

            part = self._part
            self._consumer.commit(offsets=[TopicPartition(part.topic, part.partition, part.end)], asynchronous=False)

    def close(self) -> None:
        with suppress(RuntimeError):
            self._consumer.close()
