"""NATS JetStream as a destination: each message has an id by which the stream, or we, know it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_store import reading, store_of, writing
from beam_datahub.component.messages.encoding import Encoding
from beam_datahub.component.messages.options import MessageWriteOptions
from beam_datahub.component.messages.sink import KEPT_TYPES, MessageSink, Sender
from beam_datahub.component.messages.source import counted
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue, TargetUnusable, UnknownColumn
from beam_datahub.io.nats.connection import NatsConnection, Session
from beam_datahub.io.nats.pulling import between
from beam_datahub.io.nats.source import NatsReadOptions

_ID = "Nats-Msg-Id"


class NatsWriteOptions(MessageWriteOptions):
    """Where records go, and how they become messages."""

    stream: str
    """The stream that takes the subject."""

    message_subject: str
    """The subject of the messages."""

    subject_column: str | None = None
    """A column of text that is the rest of each message's subject: `eu.paid` behind the subject `orders` gives
    `orders.eu.paid`. It is not part of the body."""

    make_stream: bool = False
    """Make the stream where it is not there, with this subject and all below it."""

    max_message_bytes: ByteSize = Field(default=ByteSize(1_000_000), gt=0)
    """A record whose message would be larger is rejected; servers take 1 MiB unless told otherwise."""


@register("sink", "nats", since="0.1.0")
class NatsSink(MessageSink):
    """Publishes messages to a stream, each once: a commit that is repeated looks for what it has sent already."""

    Connection: ClassVar[type[Config]] = NatsConnection
    Options = NatsWriteOptions
    capabilities = SinkCapabilities(write_modes=(WriteMode.APPEND,), rejects=True, types=KEPT_TYPES)
    examples = (
        Example(
            "JSON objects, with part of the subject from a column",
            {
                "connection": {"servers": "nats://nats:4222"},
                "stream": "ORDERS",
                "message_subject": "orders",
                "subject_column": "country",
                "write_mode": "append",
            },
        ),
    )

    connection: NatsConnection
    options: NatsWriteOptions

    @property
    def place(self) -> str:
        return self.options.stream

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.stream),)

    def aside(self) -> tuple[str, ...]:
        return (self.options.subject_column,) if self.options.subject_column is not None else ()

    def plan_write(self, request: WriteRequest) -> None:
        column = self.options.subject_column
        if column is not None and column not in request.schema.names:
            raise UnknownColumn(column, request.schema.names)
        if column is not None and request.schema.field(column).type != pa.string():
            raise InvalidValue(
                f"the column '{column}' of `subject_column` is not VARCHAR", hint="compute one in a mapping before"
            )
        super().plan_write(request)

    def encoding(self, request: WriteRequest) -> Encoding:
        return Encoding(self.options, request.schema, self.aside(), self.aside())

    def looks_ready(self) -> str:
        return self._found(make=False)

    def ready(self) -> str:
        return self._found(make=self.options.make_stream)

    def _found(self, *, make: bool) -> str:
        options = self.options
        with self.connection.connected() as session:
            try:
                from nats.js.errors import NotFoundError

                info = session.do(session.stream.stream_info(options.stream))
            except NotFoundError as error:
                if not options.make_stream:
                    raise TargetUnusable(
                        f"there is no stream '{options.stream}'", hint="make it, or say `make_stream: true` to have it made"
                    ) from error
                if make:
                    subjects = [
                        options.message_subject,
                        *([f"{options.message_subject}.>"] if options.subject_column is not None else []),
                    ]
                    session.do(session.stream.add_stream(name=options.stream, subjects=subjects))
                return "will be made"
            return counted(int(info.state.messages), "message")

    @contextmanager
    def sending(self, request: WriteRequest) -> Iterator[Sender]:
        name = self.note(request, "begun")
        with self.connection.connected() as session:
            yield _Publishing(session, self.options, request, name)


class _Publishing(Sender):
    """Publishes chunks. Behind the stream's end of the first try, what has an id of this run is there already."""

    def __init__(self, session: Session, options: NatsWriteOptions, request: WriteRequest, begun: str) -> None:
        self._session, self._options = session, options
        self._prefix = f"{request.commit_name}.{request.step}."
        self._there: set[str] = set()
        store = store_of(begun)
        end = int(session.do(session.stream.stream_info(options.stream)).state.last_seq) + 1
        with reading(begun):
            known = int(json.loads(store.read_text(begun))) if store.exists(begun) else None
        if known is None:
            with writing(begun):
                store.write_text(begun, json.dumps(end))
            return
        looking = NatsReadOptions(stream=options.stream)
        for some in between(session, looking, known, end):
            ids = [(each.headers or {}).get(_ID, "") for each in some]
            self._there.update(each for each in ids if each.startswith(self._prefix))

    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        session, options = self._session, self._options
        values, keys, headers, _ = (column.to_pylist() for column in messages.columns)

        async def publish() -> None:
            waiting = []
            for i, (value, key, others) in enumerate(zip(values, keys, headers, strict=True)):
                name = f"{self._prefix}{first + i}"
                if name in self._there:
                    continue
                subject = f"{options.message_subject}.{key.decode()}" if key else options.message_subject
                given = {k: v for k, v in others or () if v is not None}
                waiting.append(
                    await session.stream.publish_async(subject, value or b"", stream=options.stream, headers={**given, _ID: name})
                )
            if waiting:
                await asyncio.wait_for(asyncio.gather(*waiting), session.connection.timeout_seconds)

        session.do(publish())
