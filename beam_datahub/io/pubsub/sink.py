"""Google Pub/Sub as a destination: messages in batches that the service confirms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import Delivery, SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import SourceMissing, TargetUnusable
from beam_datahub.io.pubsub.connection import PubsubConnection

# What one call of the service takes, with room for what frames the messages.
_CALL_BYTES = 9_000_000


class PubsubWriteOptions(MessageWriteOptions):
    """Where records go, and how they become messages."""

    topic: str
    """The topic, by its name or as `projects/…/topics/…`."""

    make_topic: bool = False
    """Make the topic where it is not there."""

    max_message_bytes: ByteSize = Field(default=ByteSize(8_500_000), gt=0)
    """A record whose message would be larger is rejected."""


@register("sink", "pubsub", since="0.1.0")
class PubsubSink(MessageSink):
    """Sends messages. The columns of the destination's `key` become the ordering key: one as text, several as a JSON object. The
    attribute `id` tells a message from all others, so that one which a commit has sent twice can be known.
    """

    Connection: ClassVar[type[Config]] = PubsubConnection
    Options = PubsubWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,), delivery=Delivery.AT_LEAST_ONCE, rejects=True, types=KEPT_TYPES
    )
    examples = (
        Example(
            "JSON objects, in order for each customer",
            {"connection": {"project": "acme"}, "topic": "paid-orders", "key": ["customer_id"], "write_mode": "append"},
        ),
    )

    connection: PubsubConnection
    options: PubsubWriteOptions

    @property
    def place(self) -> str:
        return self.options.topic.rpartition("/")[2]

    @property
    def _path(self) -> str:
        return self.connection.path("topics", self.options.topic)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.topic),)

    def looks_ready(self) -> str:
        return self._found(make=False)

    def ready(self) -> str:
        return self._found(make=True)

    def _found(self, *, make: bool) -> str:
        try:
            with self.connection.publisher() as client:
                client.get_topic(topic=self._path, retry=None, timeout=self.connection.connect_timeout_seconds)
                return "is there"
        except SourceMissing as error:
            if not self.options.make_topic:
                raise TargetUnusable(
                    f"there is no topic '{self.place}'", hint="make it, or say `make_topic: true` to have it made"
                ) from error
        if make:
            with self.connection.publisher() as client:
                client.create_topic(name=self._path, retry=None, timeout=self.connection.connect_timeout_seconds)
        return "will be made"

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        with self.connection.publisher() as client:
            yield _Sending(client, self._path, self.connection.timeout_seconds, request)


class _Sending(Sender):
    def __init__(self, client: Any, topic: str, seconds: int, request: WriteRequest) -> None:
        self._client, self._topic, self._seconds = client, topic, seconds
        self._prefix = f"{request.commit_name}.{request.step}."

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        values, keys, headers, _ = (column.to_pylist() for column in messages.columns)
        some: list[dict[str, Any]] = []
        size = 0
        for i, (value, key, others) in enumerate(zip(values, keys, headers, strict=True)):
            attributes = {name: text for name, text in others or () if text is not None}
            attributes["id"] = f"{self._prefix}{first + i}"
            message = {"data": value or b"", "attributes": attributes, "ordering_key": (key or b"").decode(errors="replace")}
            own = len(message["data"]) + sum(len(name) + len(text) for name, text in attributes.items()) + 100
            if some and size + own > _CALL_BYTES:
                self._publish(some)
                some, size = [], 0
            some.append(message)
            size += own
        if some:
            self._publish(some)

    def _publish(self, messages: list[dict[str, Any]]) -> None:
        self._client.publish(request={"topic": self._topic, "messages": messages}, timeout=self._seconds)
