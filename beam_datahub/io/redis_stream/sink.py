"""Redis streams as a destination: chunks of entries in transactions that also note how far the run has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.messages.source import counted
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import TargetUnusable
from beam_datahub.io.redis_stream.connection import RedisConnection

# The server forgets how far a run has come once no retry of its commit can be under way any more.
_NOTE_SECONDS = 30 * 24 * 3600


class RedisStreamWriteOptions(MessageWriteOptions):
    """Where records go, and how they become entries."""

    stream: str
    """The key of the stream; it is made where it is not there."""

    format: Literal["fields", "json", "avro", "csv", "text"] = "fields"  # type: ignore[assignment]
    """What an entry is: the columns as `fields`, those that are null left out; or one field that holds the record as a JSON
    object, as Avro by the connection's `registry`, as a CSV record without a header, or a single column."""

    field: str = "value"
    """The field that holds the record, for formats other than `fields`. Those of `headers` stand beside it."""

    maximum_length: int | None = Field(default=None, gt=0)
    """Trim the stream to about so many entries, the newest."""

    max_message_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A record whose entry would be larger is rejected."""


@register("sink", "redis_stream", since="0.1.0")
class RedisStreamSink(MessageSink):
    """Adds entries to a stream, each once, in the order of the rows of a bundle; the stream gives them their ids."""

    Connection: ClassVar[type[Config]] = RedisConnection
    Options = RedisStreamWriteOptions
    capabilities = SinkCapabilities(write_modes=(WriteMode.APPEND,), rejects=True, types=KEPT_TYPES)
    examples = (
        Example("Columns as fields", {"connection": {"host": "redis"}, "stream": "paid-orders", "write_mode": "append"}),
        Example("JSON", {"connection": {"host": "redis"}, "stream": "paid-orders", "format": "json", "maximum_length": 100_000}),
    )

    connection: RedisConnection
    options: RedisStreamWriteOptions

    @property
    def place(self) -> str:
        return self.options.stream

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.stream),)

    def ready(self) -> str:
        with self.connection.connected(patient=False) as client:
            kind: Any = client.type(self.options.stream)
            if kind == b"none":
                return "will be made"
            if kind != b"stream":
                raise TargetUnusable(f"'{self.options.stream}' is a {kind.decode()}, not a stream", hint="take another key")
            return counted(int(client.xlen(self.options.stream)), "entry")

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        with self.connection.connected() as client:
            yield _Adding(client, self.options, request)


class _Adding(Sender):
    """Adds chunks, each in a transaction with the number of the next one: a chunk that is there is not added again."""

    def __init__(self, client: Any, options: RedisStreamWriteOptions, request: WriteRequest) -> None:
        self._client, self._options = client, options
        # The braces keep it beside the stream where keys are spread over servers.
        self._note = f"{{{options.stream}}}:beam-datahub:{request.run_id}:{request.step}"
        self._epoch = request.epoch or 0
        self.done = self._added(client.get(self._note))

    def _added(self, note: bytes | None) -> int:
        """How many chunks of this commit a note tells of; that of a stream tells of its newest epoch."""
        epoch, _, number = (note or b"0:0").decode().partition(":")
        return int(number) if int(epoch) == self._epoch else 0

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        from redis.exceptions import WatchError

        options, field = self._options, self._options.field.encode()
        values, _, headers, _ = (column.to_pylist() for column in messages.columns)
        with self._client.pipeline(transaction=True) as pipe:
            while True:
                try:
                    # Where the answer to a transaction was lost on the way, the note tells whether it went through.
                    pipe.watch(self._note)
                    if self._added(pipe.get(self._note)) > number:
                        return
                    pipe.multi()
                    for value, others in zip(values, headers, strict=True):
                        fields: dict[Any, Any] = {k: v for k, v in others or () if v is not None}
                        if options.format != "fields":
                            fields[field] = b"" if value is None else value
                        # An entry has a field at least.
                        pipe.xadd(options.stream, fields or {field: b""}, maxlen=options.maximum_length, approximate=True)
                    pipe.set(self._note, f"{self._epoch}:{number + 1}", ex=_NOTE_SECONDS)
                    pipe.execute()
                    return
                except WatchError:
                    # Another try of this commit is at it.
                    continue
