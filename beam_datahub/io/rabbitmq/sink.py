"""RabbitMQ as a destination: messages to an exchange, each confirmed by the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ByteSize, Field, model_validator

from beam_datahub.component.capabilities import Delivery, SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.encoding import Encoding
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.messages.source import counted
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue, SourceMissing, TargetUnusable, UnknownColumn
from beam_datahub.io.rabbitmq.connection import RabbitmqConnection, telling
from beam_datahub.io.rabbitmq.publishing import Publisher

_CONTENT = {"json": "application/json", "csv": "text/csv", "text": "text/plain", "avro": "application/octet-stream"}


class RabbitmqWriteOptions(MessageWriteOptions):
    """Where records go, and how they become messages."""

    queue: str | None = None
    """The queue; in the place of an `exchange`."""

    exchange: str | None = None
    """The exchange."""

    routing_key: str = ""
    """The routing key of messages to an exchange."""

    routing_key_column: str | None = None
    """A column of text that is each message's routing key; it is not part of the body."""

    make_queue: Literal["classic", "quorum"] | None = None
    """Make the queue, durable and of this kind, where it is not there."""

    make_exchange: Literal["direct", "topic", "fanout", "headers"] | None = None
    """Make the exchange, durable and of this kind, where it is not there."""

    unrouted: Literal["fail", "drop"] = "fail"
    """What to do with messages that no queue is bound for: fail the run, or let the server drop them."""

    max_message_bytes: ByteSize = Field(default=ByteSize(16_000_000), gt=0)
    """A record whose message would be larger is rejected; RabbitMQ 4 takes 16 MiB unless told otherwise."""

    @model_validator(mode="after")
    def _one(self) -> RabbitmqWriteOptions:
        if (self.queue is None) == (self.exchange is None):
            raise ValueError("needs a `queue` or an `exchange`, and not both")
        if self.queue is not None and (self.routing_key or self.routing_key_column or self.make_exchange):
            raise ValueError("a routing key is for an `exchange`")
        return self


@register("sink", "rabbitmq", since="0.1.0")
class RabbitmqSink(MessageSink):
    """Publishes persistent messages and waits for the server's confirms. A message's `message_id` tells it from all others, so
    that one which a commit has sent twice can be known.
    """

    Connection: ClassVar[type[Config]] = RabbitmqConnection
    Options = RabbitmqWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,), delivery=Delivery.AT_LEAST_ONCE, rejects=True, types=KEPT_TYPES
    )
    examples = (
        Example(
            "JSON objects to a topic exchange",
            {
                "connection": {"host": "rabbitmq", "user": "etl"},
                "exchange": "orders",
                "make_exchange": "topic",
                "routing_key_column": "topic",
                "write_mode": "append",
            },
        ),
        Example("A quorum queue", {"connection": {"host": "rabbitmq", "user": "etl"}, "queue": "paid", "make_queue": "quorum"}),
    )

    connection: RabbitmqConnection
    options: RabbitmqWriteOptions

    @property
    def place(self) -> str:
        return self.options.queue or self.options.exchange or ""

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.place),)

    def aside(self) -> tuple[str, ...]:
        return (self.options.routing_key_column,) if self.options.routing_key_column is not None else ()

    def plan_write(self, request: WriteRequest) -> None:
        for column in self.aside():
            if column not in request.schema.names:
                raise UnknownColumn(column, request.schema.names)
            if request.schema.field(column).type != pa.string():
                raise InvalidValue(f"the column '{column}' of `routing_key_column` is not VARCHAR", hint="compute one before")
        super().plan_write(request)

    def encoding(self, request: WriteRequest) -> Encoding:
        return Encoding(self.options, request.schema, self.aside(), self.aside())

    def looks_ready(self) -> str:
        return self._found(make=False)

    def ready(self) -> str:
        return self._found(make=True)

    def _found(self, *, make: bool) -> str:
        options = self.options
        wanted = options.make_queue if options.queue is not None else options.make_exchange
        try:
            with self.connection.channel() as channel:
                if options.queue is not None:
                    return counted(channel.queue_declare(options.queue, passive=True).method.message_count, "message")
                channel.exchange_declare(options.exchange, passive=True)
                return "is there"
        except SourceMissing as error:
            if wanted is None:
                hint = "make it, or say which kind to make: `make_queue: quorum` or `make_exchange: topic`"
                raise TargetUnusable(f"there is no '{self.place}'", hint=hint) from error
        if make:
            with self.connection.channel() as channel:
                if options.queue is not None:
                    channel.queue_declare(options.queue, durable=True, arguments={"x-queue-type": wanted})
                else:
                    channel.exchange_declare(options.exchange, wanted, durable=True)
        return "will be made"

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        with telling(self.connection.place):
            publisher = Publisher(self.connection)
            try:
                yield _Sending(publisher, self.options, request)
            finally:
                publisher.close()


class _Sending(Sender):
    def __init__(self, publisher: Publisher, options: RabbitmqWriteOptions, request: WriteRequest) -> None:
        self._publisher, self._options = publisher, options
        self._prefix = f"{request.commit_name}.{request.step}."

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        from pika import BasicProperties

        options = self._options
        values, keys, headers, _ = (column.to_pylist() for column in messages.columns)
        chunk: list[tuple[str, bytes, Any]] = []
        for i, (value, key, others) in enumerate(zip(values, keys, headers, strict=True)):
            properties = BasicProperties(
                content_type=_CONTENT[options.format],
                delivery_mode=2,
                message_id=f"{self._prefix}{first + i}",
                headers=dict(others) if others else None,
            )
            route = options.queue or (key.decode() if key is not None else options.routing_key)
            chunk.append((route, value or b"", properties))
        self._publisher.publish(options.exchange or "", chunk, mandatory=options.unrouted == "fail")
