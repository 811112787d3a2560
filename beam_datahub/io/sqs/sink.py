"""Amazon SQS as a destination: messages in batches of ten, in FIFO queues with ids by which the service drops doubles."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import Delivery, SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.messages.source import counted
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue, SourceMissing, TargetUnusable, Transient
from beam_datahub.io.sqs.connection import SqsConnection

_GROUP = re.compile(r"[!-~]{1,128}")
_CALL, _CALL_BYTES = 10, 256 * 1024


class SqsWriteOptions(MessageWriteOptions):
    """Where records go, and how they become messages."""

    queue: str
    """The name or the URL of the queue; that of a FIFO queue ends with `.fifo`."""

    encoding: Literal["text", "base64"] = "text"
    """What the body is in: SQS takes only text, so that `avro` travels as `base64`."""

    make_queue: bool = False
    """Make the queue where it is not there."""

    max_message_bytes: ByteSize = Field(default=ByteSize(256 * 1024), gt=0)
    """A record whose message would be larger is rejected; a body in `base64` is a third larger than its bytes."""


@register("sink", "sqs", since="0.1.0")
class SqsSink(MessageSink):
    """Sends messages. The columns of the destination's `key` become the message group of a FIFO queue, which the service keeps in
    order, and drops doubles of within five minutes. The attribute `id` tells a message from all others.
    """

    Connection: ClassVar[type[Config]] = SqsConnection
    Options = SqsWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,), delivery=Delivery.AT_LEAST_ONCE, rejects=True, types=KEPT_TYPES
    )
    examples = (
        Example(
            "JSON objects to a FIFO queue, in order for each customer",
            {"connection": {"region": "eu-central-1"}, "queue": "paid.fifo", "key": ["customer_id"], "write_mode": "append"},
        ),
    )

    connection: SqsConnection
    options: SqsWriteOptions

    @property
    def place(self) -> str:
        return self.options.queue.rpartition("/")[2]

    @property
    def _is_fifo(self) -> bool:
        return self.options.queue.endswith(".fifo")

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.place),)

    def plan_write(self, request: WriteRequest) -> None:
        if self.options.format == "avro" and self.options.encoding == "text":
            raise InvalidValue("SQS takes only text, and Avro is none", hint="say `encoding: base64`")
        if request.key and not self._is_fifo:
            raise InvalidValue("only a FIFO queue keeps groups of messages in order", hint="leave out `key`")
        super().plan_write(request)

    def looks_ready(self) -> str:
        return self._found(make=False)

    def ready(self) -> str:
        return self._found(make=True)

    def _found(self, *, make: bool) -> str:
        try:
            with self.connection.client() as client:
                url = self.connection.url(client, self.options.queue)
                name = "ApproximateNumberOfMessages"
                found = client.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
                return counted(int(found[name]), "message")
        except SourceMissing as error:
            if not self.options.make_queue:
                raise TargetUnusable(
                    f"there is no queue '{self.place}'", hint="make it, or say `make_queue: true` to have it made"
                ) from error
        if make:
            with self.connection.client() as client:
                client.create_queue(QueueName=self.place, Attributes={"FifoQueue": "true"} if self._is_fifo else {})
        return "will be made"

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        with self.connection.client() as client, ThreadPoolExecutor(self.connection.calls_at_once) as pool:
            url = self.connection.url(client, self.options.queue)
            yield _Sending(client, pool, url, self.options, request, fifo=self._is_fifo)


class _Sending(Sender):
    def __init__(
        self, client: Any, pool: ThreadPoolExecutor, url: str, options: SqsWriteOptions, request: WriteRequest, *, fifo: bool
    ) -> None:
        self._client, self._pool, self._url, self._options, self._fifo = client, pool, url, options, fifo
        self._prefix = f"{request.commit_name}.{request.step}."

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        values, keys, headers, _ = (column.to_pylist() for column in messages.columns)
        entries = [
            self._entry(f"{self._prefix}{first + i}", value, key, others)
            for i, (value, key, others) in enumerate(zip(values, keys, headers, strict=True))
        ]
        batches = list(_batches(entries))
        if self._fifo:
            # One after the other: the order is what such a queue is for.
            for batch in batches:
                self._send(batch)
        else:
            list(self._pool.map(self._send, batches))

    def _entry(self, name: str, value: bytes | None, key: bytes | None, others: Any) -> dict[str, Any]:
        body = value or b""
        text = base64.b64encode(body).decode() if self._options.encoding == "base64" else body.decode(errors="replace")
        given = {name: text for name, text in others or () if text}
        attributes = {name: {"DataType": "String", "StringValue": text} for name, text in list(given.items())[:9]}
        attributes["id"] = {"DataType": "String", "StringValue": name}
        entry: dict[str, Any] = {"MessageBody": text, "MessageAttributes": attributes}
        if self._fifo:
            # Ids of the service have at most 128 signs, of few kinds.
            entry["MessageDeduplicationId"] = hashlib.sha256(name.encode()).hexdigest()
            group = (key or b"beam-datahub").decode(errors="replace")
            fits = _GROUP.fullmatch(group)
            entry["MessageGroupId"] = group if fits else hashlib.sha256(group.encode()).hexdigest()
        return entry

    def _send(self, entries: list[dict[str, Any]]) -> None:
        left = [{"Id": str(i), **entry} for i, entry in enumerate(entries)]
        for _ in range(5):
            failed = self._client.send_message_batch(QueueUrl=self._url, Entries=left).get("Failed", [])
            if not failed:
                return
            fault = next((each for each in failed if each.get("SenderFault")), None)
            if fault is not None:
                raise TargetUnusable(f"{self._options.queue}: {fault.get('Code')}: {fault.get('Message', '')}")
            ids = {each["Id"] for each in failed}
            left = [each for each in left if each["Id"] in ids]
        raise Transient(f"{self._options.queue}: the service failed on some messages again and again")


def _batches(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Entries in lots that one call can take."""
    some: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        own = len(entry["MessageBody"].encode()) + sum(
            len(name) + len(value["StringValue"].encode()) + 6 for name, value in entry["MessageAttributes"].items()
        )
        if some and (len(some) == _CALL or size + own > _CALL_BYTES):
            yield some
            some, size = [], 0
        some.append(entry)
        size += own
    if some:
        yield some
