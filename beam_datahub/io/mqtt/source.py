"""MQTT as a source: what a broker has kept for our session, or what comes, acknowledged over the same connection once it is
published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import held, hold, let_go
from beam_datahub.component.messages.following import QueueFollower
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Follower, Partition, ReadRequest, Report, Split
from beam_datahub.io.mqtt.connection import MOST, Client, MqttConnection
from beam_datahub.io.mqtt.following import MqttIntake


class MqttReadOptions(MessageReadOptions):
    """Which messages are read, and how they become records."""

    topic: str | tuple[str, ...]
    """The topic, or several; `+` stands for one level, `#` at the end for all below, `$share/group/…` shares them with others."""

    session: str = Field(min_length=1)
    """The name of the session (the client id): by it the broker keeps messages for us from the first run on. Each integration
    needs one of its own."""

    session_days: int = Field(default=7, gt=0)
    """How long the broker keeps the session between two runs, with MQTT 5."""

    qos: Literal[0, 1] = 1
    """With 1, the broker keeps messages until they are acknowledged; with 0, only what comes while the run reads is taken, and no
    stream can be made of it."""

    quiet_seconds: float = Field(default=2.0, gt=0)
    """When nothing has come for so long, all that was kept has been delivered: MQTT does not tell. A stream that ends when it is
    idle goes by it as well."""

    longest_seconds: int = Field(default=60, gt=0)
    """Where messages come all the time, a run takes what comes within this time."""

    maximum_messages: int = Field(default=MOST, gt=0, le=MOST)
    """How many messages a run takes at most; the others are for the next one. In a stream, how many are taken and not published
    at most."""

    metadata: tuple[Literal["id", "timestamp", "topic", "headers", "qos", "retained", "duplicate", "content_type"], ...] = ()
    """What else of a message becomes columns: `topic` as `_topic`, the user properties as the map `_headers`, the one called
    `id` as `_id`, the time at which it came as `_timestamp`, and so on."""

    @model_validator(mode="after")
    def _sound(self) -> MqttReadOptions:
        if not self.topics:
            raise ValueError("names no topic")
        return self

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics by name."""
        return (self.topic,) if isinstance(self.topic, str) else self.topic


class _Session:
    """A session that holds messages: they are the broker's until they are acknowledged."""

    def __init__(self, connection: MqttConnection, options: MqttReadOptions, *, keeps: bool) -> None:
        self._came: SimpleQueue[tuple[Any, datetime]] = SimpleQueue()
        # One who only looks has a session of his own, which ends with him.
        name, days = (options.session, options.session_days) if keeps else ("", 0)
        self.client = Client(
            connection, name, keep_seconds=days * 86_400, came=lambda message: self._came.put((message, datetime.now(UTC)))
        )
        try:
            self.client.subscribe(options.topics, options.qos)
        except BaseException:
            self.client.close()
            raise

    def taken(self, options: MqttReadOptions, count: int) -> Iterator[tuple[Any, datetime]]:
        """The messages that are there, in their order. Raises Transient."""
        end = time.monotonic() + options.longest_seconds
        for _ in range(count):
            try:
                yield self._came.get(timeout=max(0.0, min(options.quiet_seconds, end - time.monotonic())))
            except Empty:
                # What the broker has sent before it answers is here then, however slow the way.
                self.client.round_trip()
                if time.monotonic() >= end or self._came.empty():
                    return
                yield self._came.get()

    def release(self) -> None:
        """End the connection."""
        self.client.close()


@register("source", "mqtt", since="0.1.0")
class MqttSource(MessageSource):
    """Takes what a broker has kept for a session, and what comes until it is quiet; a stream follows what comes. What cannot be
    decoded is rejected.
    """

    Connection: ClassVar[type[Config]] = MqttConnection
    Options = MqttReadOptions
    capabilities = SourceCapabilities(
        columns=True, acknowledges=Acknowledging.CONNECTION, delivery=Delivery.AT_LEAST_ONCE, unbounded=True
    )
    examples = (
        Example(
            "JSON objects of all sensors",
            {
                "connection": {"host": "mosquitto"},
                "topic": "sensors/+/temperature",
                "session": "warehouse-temperatures",
                "schema": {"celsius": "double"},
                "metadata": ["topic", "timestamp"],
            },
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "topic": pa.string(),
        "headers": HEADERS,
        "qos": pa.int32(),
        "retained": pa.bool_(),
        "duplicate": pa.bool_(),
        "content_type": pa.string(),
    }

    connection: MqttConnection
    options: MqttReadOptions

    def __init__(self, connection: MqttConnection, options: MqttReadOptions) -> None:
        super().__init__(connection, options)
        if not options.qos:
            # Nothing of it is kept for the next attempt.
            self.capabilities = replace(type(self).capabilities, unbounded=False)  # type: ignore[misc]

    @property
    def place(self) -> str:
        return ", ".join(self.options.topics)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(map(self.connection.dataset, self.options.topics))

    def waiting(self) -> None:
        session = _Session(self.connection, self.options, keeps=False)
        session.release()

    def estimate(self) -> Discovery:
        # It could tell nothing that a plan goes by, and who only plans does not wait for it.
        return Discovery(pa.schema([]))

    def looked(self, count: int) -> list[Any]:
        session = _Session(self.connection, self.options, keeps=False)
        try:
            return [message.payload for message, _ in session.taken(self.options, count)]
        finally:
            session.release()

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield Split(self.place, detail=uuid4().hex)

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        yield Partition(self.place, request.reached.get(self.place, ""))

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        reading, wanted = self.reading(request, partition.name), self.metadata.names
        options, connection = self.options, self.connection

        def block(some: list[tuple[Any, datetime]], first: int) -> Block:
            return reading.block(self._arrived(some, first, wanted, None))

        def opened() -> MqttIntake:
            return MqttIntake(
                connection,
                options.session,
                options.topics,
                keep_seconds=options.session_days * 86_400,
                quiet_seconds=options.quiet_seconds,
                most=options.maximum_messages,
            )

        return QueueFollower(partition.position, opened, block, options.maximum_messages, connection.timeout_seconds)

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        name = str(split.detail)
        session = _Session(self.connection, self.options, keeps=request.takes)
        # The run's end ends it, unless that is here.
        hold(name, session)
        count = self.options.maximum_messages
        if request.limit is not None:
            count = min(count, request.limit)
        first, some, size = 0, list[tuple[Any, datetime]](), 0
        try:
            for each in session.taken(self.options, count):
                some.append(each)
                size += len(each[0].payload)
                if size >= request.batch_bytes:
                    yield self._arrived(some, first, wanted, name if request.takes else None)
                    first, some, size = first + len(some), [], 0
            if some:
                yield self._arrived(some, first, wanted, name if request.takes else None)
        finally:
            if not request.takes:
                let_go(name)

    def _arrived(self, some: list[tuple[Any, datetime]], first: int, wanted: Sequence[str], session: str | None) -> Arrived:
        taken = None
        if session is not None:
            taken = {"session": session, "messages": [[message.mid, message.qos] for message, _ in some if message.qos]}
        metadata = {name: [_known(name, *each) for each in some] for name in wanted}
        return Arrived([message.payload for message, _ in some], metadata, first, taken=taken)

    def hold(self, taken: Sequence[Any]) -> None:
        for name in dict.fromkeys(each["session"] for each in taken):
            session = held(name, _Session)
            if session is not None:
                session.client.round_trip()

    def acknowledge(self, taken: Sequence[Any]) -> None:
        for name in dict.fromkeys(each["session"] for each in taken):
            session = held(name, _Session)
            if session is None:
                logging.getLogger("beam_datahub.run").warning(
                    "%s: what a run had published before it died is still kept for the session, and comes again", self.place
                )
                continue
            for each in taken:
                for number, qos in each["messages"] if each["session"] == name else ():
                    session.client.acknowledge(number, qos)
            session.client.round_trip()
            let_go(name)


def _known(name: str, message: Any, came: datetime) -> Any:
    if name == "_timestamp":
        return came
    if name in ("_topic", "_qos"):
        return getattr(message, name[1:])
    if name in ("_retained", "_duplicate"):
        return bool(message.retain if name == "_retained" else message.dup)
    properties = getattr(message, "properties", None)
    if name == "_content_type":
        return getattr(properties, "ContentType", None)
    found = dict(getattr(properties, "UserProperty", None) or ())
    return found.get("id") if name == "_id" else list(found.items())
