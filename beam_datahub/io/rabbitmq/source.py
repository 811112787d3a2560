"""RabbitMQ as a source: what queues hold, or what comes, acknowledged over the same channel once it is published."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import held, hold, let_go
from beam_datahub.component.messages.following import QueueFollower
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Follower, Partition, ReadRequest, Report, Split
from beam_datahub.io.rabbitmq.connection import RabbitmqConnection
from beam_datahub.io.rabbitmq.following import RabbitmqIntake
from beam_datahub.io.rabbitmq.holding import Delivered, HeldChannel

_AT_ONCE = 10_000


class RabbitmqReadOptions(MessageReadOptions):
    """Which messages are read, and how they become records."""

    queue: str | tuple[str, ...]
    """The queue, or several."""

    make_queue: Literal["classic", "quorum"] | None = None
    """Make the queues, durable and of this kind, where they are not there."""

    exchange: str | None = None
    """Bind the queues to this exchange."""

    routing_keys: Names = ("#",)
    """The routing keys by which they are bound; `*` stands for one word of a topic, `#` for any number of them."""

    maximum_messages: int = Field(default=1_000_000, gt=0)
    """How many messages of each queue a run takes at most; the others are for the next one. In a stream, how many are taken and
    not published at most."""

    metadata: tuple[
        Literal[
            "id", "timestamp", "exchange", "routing_key", "queue", "headers", "redelivered", "delivery_count", "content_type",
            "correlation_id", "type",
        ],
        ...,
    ] = ()  # fmt: skip
    """What else of a message becomes columns: its `message_id` as `_id`, `routing_key` as `_routing_key`, and so on;
    `_delivery_count` is known of quorum queues."""

    @model_validator(mode="after")
    def _sound(self) -> RabbitmqReadOptions:
        if not self.queues:
            raise ValueError("names no queue")
        return self

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues by name."""
        return (self.queue,) if isinstance(self.queue, str) else self.queue


@register("source", "rabbitmq", since="0.1.0")
class RabbitmqSource(MessageSource):
    """Takes what queues hold when the run starts; a stream follows what comes. What cannot be decoded is rejected."""

    Connection: ClassVar[type[Config]] = RabbitmqConnection
    Options = RabbitmqReadOptions
    capabilities = SourceCapabilities(
        columns=True,
        splits="queue",
        acknowledges=Acknowledging.CONNECTION,
        delivery=Delivery.AT_LEAST_ONCE,
        unbounded=True,
    )
    examples = (
        Example("JSON objects", {"connection": {"host": "rabbitmq", "user": "etl"}, "queue": "orders"}),
        Example(
            "A quorum queue that is made and bound to a topic exchange",
            {
                "connection": {"host": "rabbitmq", "user": "etl"},
                "queue": "paid-orders",
                "make_queue": "quorum",
                "exchange": "orders",
                "routing_keys": ["*.paid"],
                "metadata": ["id", "routing_key"],
            },
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "exchange": pa.string(),
        "routing_key": pa.string(),
        "queue": pa.string(),
        "headers": HEADERS,
        "redelivered": pa.bool_(),
        "delivery_count": pa.int64(),
        "content_type": pa.string(),
        "correlation_id": pa.string(),
        "type": pa.string(),
    }

    connection: RabbitmqConnection
    options: RabbitmqReadOptions

    @property
    def place(self) -> str:
        return ", ".join(self.options.queues)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(map(self.connection.dataset, self.options.queues))

    def waiting(self) -> int:
        with self.connection.channel() as channel:
            return sum(channel.queue_declare(queue, passive=True).method.message_count for queue in self.options.queues)

    def looked(self, count: int) -> list[Any]:
        found: list[Any] = []
        for queue in self.options.queues:
            channel = HeldChannel(self.connection, queue)
            try:
                there = channel.waiting()
                wanted = min(count - len(found), there, _AT_ONCE)
                if wanted > 0:
                    found += [each.body for each in channel.take(wanted)]
                    channel.give_back(there)
            finally:
                channel.release()
        return found

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        if request.takes:
            self._make()
        for queue in self.options.queues:
            yield Split(queue, detail=uuid4().hex)

    def _make(self) -> None:
        options = self.options
        if options.make_queue is None and options.exchange is None:
            return
        with self.connection.channel() as channel:
            for queue in options.queues:
                if options.make_queue is not None:
                    kind = {"x-queue-type": options.make_queue}
                    channel.queue_declare(queue, durable=True, arguments=kind)
                for key in options.routing_keys if options.exchange is not None else ():
                    channel.queue_bind(queue, options.exchange, key)

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        if not request.reached:
            self._make()
        for queue in self.options.queues:
            yield Partition(queue, request.reached.get(queue, ""))

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        queue = partition.name
        reading, wanted = self.reading(request, queue), self.metadata.names

        def block(some: list[Delivered], first: int) -> Block:
            return reading.block(self._arrived(queue, some, first, wanted, None))

        return QueueFollower(
            partition.position,
            lambda: RabbitmqIntake(self.connection, queue),
            block,
            self.options.maximum_messages,
            self.connection.timeout_seconds,
        )

    def _arrived(self, queue: str, some: list[Delivered], first: int, wanted: Sequence[str], taken: Any) -> Arrived:
        metadata = {column: [_known(column, queue, each) for each in some] for column in wanted}
        return Arrived([each.body for each in some], metadata, first, taken=taken)

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        queue, name = split.name, str(split.detail)
        channel = HeldChannel(self.connection, queue)
        # The run's end closes it, unless that is here.
        hold(name, channel)
        there = channel.waiting()
        left = min(there, self.options.maximum_messages)
        if request.limit is not None:
            left = min(left, request.limit)
        first, some, size = 0, list[Delivered](), 0
        try:
            while left > 0:
                lot = min(left, _AT_ONCE)
                found = channel.take(lot)
                left = left - len(found) if len(found) == lot else 0
                some += found
                size += sum(len(each.body) for each in found)
                if size >= request.batch_bytes or not left:
                    if some:
                        taken = {"channel": name, "tag": some[-1].method.delivery_tag} if request.takes else None
                        yield self._arrived(queue, some, first, wanted, taken)
                    first, some, size = first + len(some), [], 0
        finally:
            if not request.takes:
                if first or some:
                    channel.give_back(there)
                let_go(name)

    def hold(self, taken: Sequence[Any]) -> None:
        for name in _last(taken):
            channel = held(name, HeldChannel)
            if channel is not None:
                channel.check()

    def acknowledge(self, taken: Sequence[Any]) -> None:
        for name, tag in _last(taken).items():
            channel = held(name, HeldChannel)
            if channel is None:
                logging.getLogger("beam_datahub.run").warning(
                    "%s: messages of a run that died after it had published them are back in the queue, and come again",
                    self.place,
                )
                continue
            channel.acknowledge(tag)
            let_go(name)


def _last(taken: Sequence[Any]) -> dict[str, int]:
    """The highest delivery tag of each channel."""
    found: dict[str, int] = {}
    for each in taken:
        found[each["channel"]] = max(each["tag"], found.get(each["channel"], 0))
    return found


def _known(name: str, queue: str, message: Delivered) -> Any:
    properties, method = message.properties, message.method
    if name == "_id":
        return properties.message_id
    if name == "_timestamp":
        return None if properties.timestamp is None else datetime.fromtimestamp(properties.timestamp, UTC)
    if name == "_headers":
        return [(key, _text(value)) for key, value in (properties.headers or {}).items()]
    if name == "_delivery_count":
        found = (properties.headers or {}).get("x-delivery-count")
        return None if found is None else int(found) + 1
    if name == "_queue":
        return queue
    plain = name.removeprefix("_")
    return getattr(method if plain in ("exchange", "routing_key", "redelivered") else properties, plain)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
