"""What destinations of messages share: bundles staged as files, then sent in chunks, each confirmed before the next."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_publish import Publication, Target
from beam_datahub.component.file_store import join, reading, store_of, writing
from beam_datahub.component.messages.encoding import Encoding
from beam_datahub.component.messages.registry import Registry
from beam_datahub.component.messages.source import HEADERS
from beam_datahub.component.messages.staging import StagedWriter
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.component.staged_batches import staged
from beam_datahub.errors import DataHubError, InvalidValue, LossyWrite, UnknownColumn
from beam_datahub.schemas.avro import avro_schema
from beam_datahub.schemas.avro_columns import avro_of

# The SQL types that a message of JSON keeps.
KEPT_TYPES = (
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE",
    "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON", "VARCHAR[]",
    "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)",
)  # fmt: skip


class Sender(ABC):
    """Sends the messages of one commit."""

    done: int | None = None
    """How many chunks the system itself knows to be sent, from an earlier try; None: it does not know."""

    @abstractmethod
    def send(self, number: int, first: int, messages: pa.RecordBatch) -> None:
        """Send the chunk with this number, whose first message has the number `first` in the run, and wait until the system has
        it. `messages` are of messages.encoding.STAGED. Raises ConnectorError.
        """


class MessageSink(Sink):
    """Sends messages once everything else of a run has succeeded. The connection has the options `staging` and `registry`."""

    streams = True
    chunk_rows: ClassVar[int] = 1_000

    @property
    @abstractmethod
    def place(self) -> str:
        """The queue, stream or topic that it writes, by its name."""

    @abstractmethod
    def reach(self) -> Report:
        """What the connection alone can tell."""

    @abstractmethod
    def ready(self) -> str:
        """Prove that the target can be written, make it where that is wanted, and say what it is. Raises ConnectorError."""

    @abstractmethod
    def sending(self, request: WriteRequest) -> AbstractContextManager[Sender]:
        """What sends the messages of a commit."""

    def looks_ready(self) -> str:
        """What `check` says of the target, without making it."""
        return self.ready()

    def check(self) -> Report:
        lines = list(self.reach().lines)
        if lines[-1][1]:
            try:
                lines.append((self.place, True, self.looks_ready()))
            except DataHubError as error:
                lines.append((self.place, False, error.reason))
        return Report(tuple(lines))

    def plan_write(self, request: WriteRequest) -> None:
        options, schema = self.options, request.schema
        if request.mode != WriteMode.APPEND:
            raise InvalidValue(
                f"messages cannot be written with write_mode {request.mode}",
                hint="they are only ever added: choose append",
            )
        name = options.headers
        if name is not None and name not in schema.names:
            raise UnknownColumn(name, schema.names)
        if name is not None and schema.field(name).type != HEADERS:
            raise InvalidValue(f"the column '{name}' of `headers` is not MAP(VARCHAR, VARCHAR)", hint="compute one in a mapping")
        values = self.encoding(request).values
        if options.format == "text" and len(values) != 1:
            raise InvalidValue(
                f"the format text writes one column, and there are {len(values)}: {', '.join(values.names)}",
                hint="keep one in a mapping before; those of other options do not count",
            )
        nested = [each.name for each in values if pa.types.is_nested(each.type)]
        if options.format in ("text", "csv", "fields") and nested:
            raise LossyWrite(f"the column '{nested[0]}' is nested, which {options.format} does not keep")
        raw = [each.name for each in values if pa.types.is_binary(each.type)]
        if options.format in ("csv", "fields") and raw:
            raise LossyWrite(f"the column '{raw[0]}' holds bytes, which {options.format} does not keep")
        if options.format == "avro":
            avro_schema(values)
            Registry(self.connection.registry, "the format avro")

    def aside(self) -> tuple[str, ...]:
        """Columns that are not part of the body, beside those of `headers`."""
        return ()

    def encoding(self, request: WriteRequest) -> Encoding:
        """How the rows of a run become messages."""
        return Encoding(self.options, request.schema, request.key, self.aside())

    def prepare(self, request: WriteRequest) -> None:
        self.ready()
        self.schema_number(request)
        self.publication(request).prepare()

    def schema_number(self, request: WriteRequest) -> int | None:
        """The number of the rows' schema in the registry, for Avro. Raises ConnectorError."""
        if self.options.format != "avro":
            return None
        subject = self.options.registry_subject or f"{self.place}-value"
        values = self.encoding(request).values
        return Registry(self.connection.registry, "the format avro").register(subject, avro_of(values, self.place))

    def publication(self, request: WriteRequest) -> Publication:
        """Where a run is staged."""
        name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in self.place)
        return Publication(Target(join(self.connection.staging, f"{name}.{self.name}"), False, ".arrow"), request)

    def open(self, request: WriteRequest) -> Writer:
        return StagedWriter(self.publication(request), self.encoding(request), self.schema_number(request))

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        publication = self.publication(request)
        with publication.alone():
            done = publication.done()
            if done is not None:
                return done
            if receipts:
                self._send(request, receipts, self.note(request, "sent"))
            for receipt in receipts if request.epoch is not None else ():
                # What other epochs have staged stays.
                for path in (receipt.location, self.note(request, "sent"), self.note(request, "begun")):
                    store_of(path).delete(path)
            rows, size = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
            with writing(publication.target.path):
                return publication.finish(Committed(rows, size, (self.place,)))

    def note(self, request: WriteRequest, name: str) -> str:
        """A file beside what is staged, for what a commit has to remember."""
        return self.publication(request).staged(f"{name}.json" if request.epoch is None else f"{name}.{request.epoch}.json")

    def _send(self, request: WriteRequest, receipts: Sequence[Receipt], progress: str) -> None:
        """Send what is staged, behind what an earlier try is known to have sent."""
        store = store_of(progress)
        with self.sending(request) as sender:
            sent = sender.done
            if sent is None:
                with reading(progress):
                    sent = int(json.loads(store.read_text(progress))) if store.exists(progress) else 0
            for number, first, messages in _chunks(receipts, self.chunk_rows):
                if number < sent:
                    continue
                sender.send(number, first, messages)
                if sender.done is None:
                    with writing(progress):
                        store.write_text(progress, json.dumps(number + 1))

    def abort(self, request: WriteRequest) -> None:
        publication = self.publication(request)
        with publication.alone():
            publication.remove()


def _chunks(receipts: Sequence[Receipt], rows: int) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """The staged messages in chunks: the number of each, that of its first message, and the messages; always the same ones."""
    number = first = 0
    for batch in staged(receipts):
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            yield number, first, part
            number += 1
            first += part.num_rows
