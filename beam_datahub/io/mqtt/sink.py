"""MQTT as a destination: messages published to a topic, and to those below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import ByteSize, Field, field_validator

from beam_datahub.component.capabilities import Delivery, SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.encoding import Encoding
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue, UnknownColumn
from beam_datahub.io.mqtt.connection import Client, MqttConnection


class MqttWriteOptions(MessageWriteOptions):
    """Where records go, and how they become messages."""

    topic: str = Field(min_length=1)
    """The topic."""

    topic_column: str | None = None
    """A column of text that is the rest of each message's topic: `7/temperature` behind the topic `sensors` gives
    `sensors/7/temperature`. It is not part of the body."""

    qos: Literal[0, 1, 2] = 1
    """How the broker confirms: not at all, that it has a message, or that it has it once."""

    retain: bool = False
    """Let the broker keep the last message of each topic for those who subscribe later."""

    max_message_bytes: ByteSize = Field(default=ByteSize(16_000_000), gt=0)
    """A record whose message would be larger is rejected."""

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, value: str) -> str:
        if "+" in value or "#" in value:
            raise ValueError("a topic that is written has no wildcards")
        return value


@register("sink", "mqtt", since="0.1.0")
class MqttSink(MessageSink):
    """Publishes messages and waits until the broker has them. With MQTT 5, the user property `id` tells a message from all
    others, so that one which a commit has sent twice can be known.
    """

    Connection: ClassVar[type[Config]] = MqttConnection
    Options = MqttWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,), delivery=Delivery.AT_LEAST_ONCE, rejects=True, types=KEPT_TYPES
    )
    examples = (
        Example(
            "JSON objects, each to the topic of its device",
            {"connection": {"host": "mosquitto"}, "topic": "alerts", "topic_column": "device", "write_mode": "append"},
        ),
    )

    connection: MqttConnection
    options: MqttWriteOptions

    @property
    def place(self) -> str:
        return self.options.topic

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.place),)

    def aside(self) -> tuple[str, ...]:
        return (self.options.topic_column,) if self.options.topic_column is not None else ()

    def plan_write(self, request: WriteRequest) -> None:
        for column in self.aside():
            if column not in request.schema.names:
                raise UnknownColumn(column, request.schema.names)
            if request.schema.field(column).type != pa.string():
                raise InvalidValue(f"the column '{column}' of `topic_column` is not VARCHAR", hint="compute one before")
        if self.options.headers is not None and self.connection.version != "5":
            raise InvalidValue("MQTT 3.1.1 has no headers", hint="leave out `headers`, or speak version 5")
        super().plan_write(request)

    def encoding(self, request: WriteRequest) -> Encoding:
        return Encoding(self.options, request.schema, self.aside(), self.aside())

    def ready(self) -> str:
        # A topic is there once somebody publishes to it; whether one may shows then.
        Client(self.connection, "").close()
        return "can be published to"

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        client = Client(self.connection, "")
        try:
            yield _Publishing(client, self.options, request)
        finally:
            client.close()


class _Publishing(Sender):
    def __init__(self, client: Client, options: MqttWriteOptions, request: WriteRequest) -> None:
        self._client, self._options = client, options
        self._prefix = f"{request.commit_name}.{request.step}."

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        options = self._options
        values, keys, headers, _ = (column.to_pylist() for column in messages.columns)
        chunk = []
        for i, (value, key, others) in enumerate(zip(values, keys, headers, strict=True)):
            topic = f"{options.topic}/{key.decode()}" if key else options.topic
            given = [(name, text) for name, text in others or () if text is not None and name != "id"]
            chunk.append((topic, value or b"", [*given, ("id", f"{self._prefix}{first + i}")]))
        self._client.publish(chunk, options.qos, retain=options.retain)
