"""NATS JetStream as a source: what a stream holds when the run starts, from where the last run ended or by a consumer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pydantic import Field

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import held, hold, let_go
from beam_datahub.component.messages.lease import Lease
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import Follower, Partition, ReadRequest, Report, Split
from beam_datahub.errors import InvalidValue, UnreadableData
from beam_datahub.io.nats.connection import NatsConnection, Session
from beam_datahub.io.nats.following import NatsFollower
from beam_datahub.io.nats.pulling import Pulled, between, lent, made_consumer, tell

_MOST = 100_000


class NatsReadOptions(MessageReadOptions):
    """Which messages are read, and how they become records."""

    stream: str
    """The stream."""

    subjects: str | tuple[str, ...] | None = None
    """Only messages of this subject, or of several; `*` stands for one part of it, `>` for all the rest."""

    start: Literal["earliest", "latest"] | int | datetime = "earliest"
    """Where the first run begins: with the oldest message there is, with what comes after it, at a sequence, or at a time. A
    consumer that is there has its own place."""

    consumer: str | None = None
    """Read by this durable consumer, which is made where it is not there: others that pull from it get other messages, and a
    message is acknowledged once it is published. Streams for work queues are read so. When left out, each run goes on from its
    own position."""

    lease_seconds: int = Field(default=120, ge=3)
    """How long the server waits for the acknowledgement of a message, for a consumer that is made; it is renewed while a run goes
    on. What a killed run has taken comes again after that."""

    missing: Literal["fail", "skip"] = "fail"
    """What to do when the stream has deleted messages that were not read yet."""

    metadata: tuple[Literal["id", "timestamp", "sequence", "subject", "headers", "delivery_count"], ...] = ()
    """What else of a message becomes columns: `subject` as `_subject`, `sequence` as `_sequence`, the header `Nats-Msg-Id` as
    `_id`, and so on."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The subjects by name."""
        return (self.subjects,) if isinstance(self.subjects, str) else self.subjects or ()


@register("source", "nats", since="0.1.0")
class NatsSource(MessageSource):
    """Reads what a stream holds when the run starts; the next run goes on from there. What cannot be decoded is rejected."""

    Connection: ClassVar[type[Config]] = NatsConnection
    Options = NatsReadOptions
    capabilities = SourceCapabilities(columns=True, resumes="sequence", acknowledges=Acknowledging.ANYWHERE, unbounded=True)
    examples = (
        Example("JSON objects", {"connection": {"servers": "nats://nats:4222"}, "stream": "ORDERS", "subjects": "orders.*.paid"}),
        Example(
            "A work queue",
            {
                "connection": {"servers": "nats://nats:4222", "credentials": "etl.creds"},
                "stream": "JOBS",
                "consumer": "warehouse",
                "metadata": ["sequence", "subject"],
            },
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "sequence": pa.int64(),
        "subject": pa.string(),
        "headers": HEADERS,
        "delivery_count": pa.int64(),
    }

    connection: NatsConnection
    options: NatsReadOptions

    def __init__(self, connection: NatsConnection, options: NatsReadOptions) -> None:
        super().__init__(connection, options)
        every = type(self).capabilities
        if options.consumer is None:
            own = replace(every, acknowledges=None)
        else:
            # Where a run was killed, others may take over what it had published and not acknowledged.
            own = replace(every, resumes=None, unbounded=False, delivery=Delivery.AT_LEAST_ONCE)
        self.capabilities = own  # type: ignore[misc]

    @property
    def place(self) -> str:
        return self.options.stream

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.stream),)

    def waiting(self) -> int:
        with self.connection.connected() as session:
            return int(session.do(session.stream.stream_info(self.options.stream)).state.messages)

    def looked(self, count: int) -> list[Any]:
        with self.connection.connected() as session:
            state = session.do(session.stream.stream_info(self.options.stream)).state
            # Where only some subjects are wanted, the newest messages may be of others.
            begin = state.first_seq if self.options.wanted else max(state.first_seq, state.last_seq + 1 - count)
            found: list[Any] = []
            for some in between(session, self.options, begin, state.last_seq + 1, count):
                found += [each.body for each in some]
                if len(found) >= count:
                    break
            return found[:count]

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        name = self.options.stream
        with self.connection.connected() as session:
            info = session.do(session.stream.stream_info(name))
            state, end = info.state, info.state.last_seq + 1
            if self.options.consumer is not None:
                yield Split(name, detail=("consumer", end, uuid4().hex))
                return
            if str(info.config.retention or "limits").rpartition(".")[2].lower() not in ("limits", "retentionpolicy.limits"):
                raise InvalidValue(
                    f"the stream '{name}' removes messages once they are acknowledged", hint="read it by a `consumer`"
                )
            begin = self._begin(request, state)
            yield Split(name, begin, end, ("position", end, begin), {name: end})

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        if self.options.consumer is not None:
            raise InvalidValue("a stream goes on from a position of its own, not by a consumer", hint="leave out `consumer`")
        for split in self.splits(request):
            _, end, begin = split.detail
            if begin == 0:
                # Where a time begins is looked up once.
                with self.connection.connected() as session:
                    first = next(iter(between(session, self.options, 0, end, 1)), None)
                    begin = first[0].sequence if first else end
            yield Partition(split.name, begin)

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        reading, wanted = self.reading(request, partition.name), self.metadata.names
        block = lambda some: reading.block(self._arrived(some, wanted, None))  # noqa: E731 - one line of a follower's
        return NatsFollower(self.connection, self.options, int(partition.position), block)

    def _begin(self, request: ReadRequest, state: Any) -> int:
        """The sequence that the run begins with. Raises UnreadableData where something is missing."""
        options, first, end = self.options, int(state.first_seq), int(state.last_seq) + 1
        if options.stream not in request.reached:
            if options.start == "latest":
                return end
            # A time is for the server to look up.
            return max(first, options.start) if isinstance(options.start, int) else 0 if options.start != "earliest" else first
        reached = int(request.reached[options.stream])
        if first <= reached <= end or options.missing == "skip":
            return min(max(first, reached), end) if reached <= end else first
        if reached < first:
            raise UnreadableData(
                f"the stream '{options.stream}' has deleted sequences {reached} to {first - 1} before they were read",
                hint="go on without them: `missing: skip`; keep messages longer, or run more often",
            )
        raise UnreadableData(
            f"the stream '{options.stream}' was read up to sequence {reached - 1}, but ends at {end - 1}: it was made anew",
            hint="read it from its beginning: `missing: skip`, or beam-datahub state reset INTEGRATION",
        )

    def position(self, partition: str, text: str) -> int:
        if partition not in ("", self.options.stream):
            raise InvalidValue(f"'{partition}' is not the stream of the source", hint="leave out --partition")
        if not text.isdigit():
            raise InvalidValue(f"'{text}' is no sequence", hint="a whole number from 0 on")
        return int(text)

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        kind, end, detail = split.detail
        with self.connection.connected() as session:
            if kind == "position":
                found = between(session, self.options, detail, end, request.limit)
            elif request.takes:
                found = self._lent(session, end, str(detail))
            else:
                # One who only looks takes nothing from the consumer.
                found = between(session, self.options, self._unread(session), end, request.limit)
            some, size = list[Pulled](), 0
            for each in found:
                some += each
                size += sum(len(message.body) for message in each)
                if size >= request.batch_bytes or len(some) >= _MOST or request.limit is not None:
                    yield self._arrived(some, wanted, str(detail) if kind == "consumer" and request.takes else None)
                    some, size = [], 0
            if some:
                yield self._arrived(some, wanted, str(detail) if kind == "consumer" and request.takes else None)

    def _lent(self, session: Session, end: int, name: str) -> Iterator[list[Pulled]]:
        """What the consumer lends us, held until the run is published."""
        seconds = made_consumer(session, self.options)
        lease = Lease(self.options.stream, seconds, self._telling(b"+WPI"), self._telling(b"-NAK"))
        hold(name, lease)
        for some in lent(session, self.options, end):
            lease.add([each.reply for each in some])
            yield some

    def _telling(self, word: bytes) -> Any:
        def say(replies: Sequence[str]) -> None:
            with self.connection.connected() as session:
                tell(session, replies, word)

        return say

    def _unread(self, session: Session) -> int:
        from nats.js.errors import NotFoundError

        assert self.options.consumer is not None
        try:
            info = session.do(session.stream.consumer_info(self.options.stream, self.options.consumer))
        except NotFoundError:
            return 0
        return int(info.ack_floor.stream_seq) + 1 if info.ack_floor is not None else 0

    def _arrived(self, some: list[Pulled], wanted: Sequence[str], lease: str | None) -> Arrived:
        metadata = {name: [_known(name, each) for each in some] for name in wanted}
        if lease is not None:
            # A consumer may deliver again what comes before.
            taken = {"lease": lease, "replies": [each.reply for each in some]}
            return Arrived([each.body for each in some], metadata, int(some[0].sequence), taken=taken)
        numbers = np.fromiter((each.sequence for each in some), np.int64, len(some))
        follow = int(numbers[-1] - numbers[0]) == len(some) - 1
        return Arrived([each.body for each in some], metadata, int(numbers[0]), None if follow else numbers)

    def hold(self, taken: Sequence[Any]) -> None:
        for name in dict.fromkeys(each["lease"] for each in taken):
            lease = held(name, Lease)
            if lease is not None:
                lease.check()

    def acknowledge(self, taken: Sequence[Any]) -> None:
        with self.connection.connected() as session:
            tell(session, [reply for each in taken for reply in each["replies"]], b"+ACK")
        for name in dict.fromkeys(each["lease"] for each in taken):
            lease = held(name, Lease)
            if lease is not None:
                lease.end()
            let_go(name)


def _known(name: str, message: Pulled) -> Any:
    if name == "_id":
        return (message.headers or {}).get("Nats-Msg-Id")
    if name == "_timestamp":
        return datetime.fromtimestamp(message.nanoseconds / 1e9, UTC)
    if name == "_headers":
        return list((message.headers or {}).items())
    return {"_sequence": message.sequence, "_subject": message.subject, "_delivery_count": message.delivered}[name]
