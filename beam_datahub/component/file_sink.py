"""Files as a destination: bundles are staged in a hidden folder and published together when the run has succeeded.

A format subclasses `FileSink` and implements `encoder` and `merge`; a text format subclasses `TextSink` and implements
`encode`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config
from beam_datahub.component.dataset import DatasetName, file_dataset
from beam_datahub.component.file_publish import Publication, Target
from beam_datahub.component.file_store import local_path, reading, store_of, writing
from beam_datahub.component.files import COMPRESSION_EXTENSIONS, DataFile, FileConnection, single_path
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import DataHubError, InvalidValue, LossyWrite, TargetUnusable, UnknownColumn

_COPY_BYTES = 8 * 1024 * 1024
_ARROW_CODECS = {"gzip": "gzip", "bzip2": "bz2", "zstd": "zstd"}


class FileWriteOptions(Config):
    """How a destination's files are cut."""

    target_file_size: ByteSize = Field(default=ByteSize(512_000_000), gt=0)
    """In a folder, begin a new file when one has reached this size, such as `512MB`."""

    partition_by: Names = ()
    """Columns whose values become folders such as `country=de`; they leave the files."""


class Encoder(ABC):
    """Writes the batches of one file to its stream."""

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of one batch."""

    @abstractmethod
    def close(self) -> None:
        """Write what ends the file; the stream stays open."""

    def drop(self) -> None:  # noqa: B027 - most formats hold nothing back
        """Let go of the file without ending it."""

    def room(self) -> int | None:
        """How many more rows the file can have, where its format sets a limit."""
        return None

    def held(self) -> int:
        """About how many bytes are not in the stream yet, where the format writes the file in the end."""
        return 0


class FileSink(Sink):
    """Files of one format: one file when the path has the format's extension, else a folder of part files."""

    Connection: ClassVar[type[Config]] = FileConnection
    Options: ClassVar[type[Config]] = FileWriteOptions
    capabilities = SinkCapabilities(partitions=True)
    streams = True
    extensions: ClassVar[tuple[str, ...]] = ()
    """The extensions that make a path a single file; part files get the first."""
    compressible: ClassVar[bool] = True
    """Whether a file as a whole may be compressed; formats that compress inside say no."""
    json_lines: ClassVar[bool] = False
    """Whether each record is a JSON object on a line of its own."""

    connection: FileConnection
    options: FileWriteOptions

    @abstractmethod
    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        """Begin a file of `schema` (without the partition columns)."""

    @abstractmethod
    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        """Write the records of all `parts`, files of this format, as one file. Raises TargetUnusable where they do not fit."""

    def refuse(self, schema: pa.Schema) -> None:
        """Raise LossyWrite for a column that a file of this format would not keep."""

    @property
    def target(self) -> Target:
        """Where the files go. Raises InvalidValue."""
        path, compression = single_path(self.connection), self.connection.compression
        stem = path.lower()
        for name, extension in COMPRESSION_EXTENSIONS.items():
            if stem.endswith(extension):
                stem = stem[: -len(extension)]
                compression = name if compression == "auto" else compression  # type: ignore[assignment]
        single = stem.endswith(self.extensions)
        compression = "none" if compression == "auto" else compression
        if compression != "none" and not self.compressible:
            raise InvalidValue(f"{self.name} files are compressed inside", hint="use the option `codec`, not `compression`")
        extension = self.extensions[0] + COMPRESSION_EXTENSIONS.get(compression, "")
        return Target(path if path == "/" else path.rstrip("/"), single, extension, compression)

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(map(file_dataset, self.connection.paths))

    def check(self) -> Report:
        try:
            target = self.target
            absent = _absent_folders(target.path)
            Publication(target, WriteRequest(f"check-{os.getpid()}", "check", pa.schema([]))).prepare(probe=True)
        except DataHubError as error:
            return Report((("target", False, error.reason),))
        for folder in absent:
            with suppress(OSError):
                os.rmdir(folder)
        return Report((("target", True, target.path),))

    def plan_write(self, request: WriteRequest) -> None:
        target, chosen = self.target, self.options.partition_by
        if request.mode not in self.capabilities.write_modes:
            modes = ", ".join(self.capabilities.write_modes)
            raise InvalidValue(
                f"{self.name} files cannot be written with write_mode {request.mode}", hint=f"choose one of {modes}"
            )
        for name in chosen:
            if name not in request.schema.names:
                raise UnknownColumn(name, request.schema.names)
            kind = request.schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                raise InvalidValue(f"the column '{name}' cannot be in partition_by: a folder's name cannot hold {kind}")
        if chosen and target.single:
            raise InvalidValue("partition_by writes a folder, but the path is one file", hint="drop the extension from the path")
        if len(set(request.schema.names)) < len(request.schema.names):
            raise LossyWrite("two columns have the same name")
        if chosen and len(chosen) == len(request.schema):
            raise LossyWrite("partition_by takes all columns; nothing is left for the files")
        self.refuse(self.file_schema(request))

    def file_schema(self, request: WriteRequest) -> pa.Schema:
        """The schema of the files: the request's without the partition columns."""
        return pa.schema([field for field in request.schema if field.name not in self.options.partition_by])

    def prepare(self, request: WriteRequest) -> None:
        publication = Publication(self.target, request)
        publication.prepare()
        if request.mode == WriteMode.APPEND and publication.target.single and store_of(self.target.path).exists(self.target.path):
            self.check_appendable(self.existing(), self.file_schema(request))

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        """Raise TargetUnusable where records of `schema` cannot be added to the file that is there."""

    def existing(self) -> DataFile:
        """The single file that is there already."""
        target = self.target
        with reading(target.path):
            size = store_of(target.path).match(target.path)[0][1]
        return DataFile(target.path, size, target.compression)

    def open(self, request: WriteRequest) -> Writer:
        from beam_datahub.component.file_writer import BundleWriter

        return BundleWriter(self, request, Publication(self.target, request))

    def create(self, path: str, schema: pa.Schema) -> OpenFile:
        """A new file of this format, compressed as the target is."""
        return OpenFile(self, path, schema, self.target.compression)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        publication = Publication(self.target, request)
        with publication.alone():
            return self._commit(publication, request, receipts, self.file_schema(request))

    def _commit(
        self, publication: Publication, request: WriteRequest, receipts: Sequence[Receipt], schema: pa.Schema
    ) -> Committed:
        done = publication.done()
        if done is not None:
            publication.remove()
            return done
        rows = sum(receipt.rows for receipt in receipts)
        with writing(self.target.path):
            if not self.target.single:
                if not receipts and request.mode == WriteMode.OVERWRITE and not self.options.partition_by:
                    receipts = [self._empty(publication, schema)]
                return publication.publish_folder(receipts, rows)
            ready = publication.ready_file()
            if ready is None:
                ready = self._single(publication, request, receipts, schema)
            committed = publication.publish_file(ready, rows)
            for receipt in receipts if request.epoch is not None else ():
                store_of(receipt.location).delete(receipt.location)
            return committed

    def _single(
        self, publication: Publication, request: WriteRequest, receipts: Sequence[Receipt], schema: pa.Schema
    ) -> str | None:
        """The staged file that shall become the target; None where there is nothing to do."""
        target, store = self.target, store_of(self.target.path)
        staged = [DataFile(receipt.location, receipt.bytes, target.compression) for receipt in receipts]
        old = [self.existing()] if request.mode == WriteMode.APPEND and store.exists(target.path) else []
        if not staged and old:
            return None
        if not staged:
            return self._empty(publication, schema).location
        if len(staged) == 1 and not old:
            return staged[0].path
        path = publication.staged("merged" + target.extension)
        with self._stream(path) as stream:
            self.merge(old + staged, stream, schema)
        return path

    def _empty(self, publication: Publication, schema: pa.Schema) -> Receipt:
        name = publication.part_name("empty", 0)
        file = self.create(publication.staged(name), schema)
        return Receipt(file.path, 0, file.close(), name)

    def _stream(self, path: str) -> pa.NativeFile:
        raw = store_of(path).open_output(path)
        codec = _ARROW_CODECS.get(self.target.compression)
        return pa.CompressedOutputStream(raw, codec) if codec else raw

    def abort(self, request: WriteRequest) -> None:
        publication = Publication(self.target, request)
        with publication.alone():
            publication.remove()

    def find(self, request: WriteRequest, subject: Subject, take: Callable[[bytes], None] | None = None) -> Held:
        from beam_datahub.component import file_erasure

        return file_erasure.find(self, request, subject, take) if self.capabilities.erase else super().find(request, subject)

    def erase(self, request: WriteRequest, subject: Subject) -> Held:
        from beam_datahub.component import file_erasure

        return file_erasure.erase(self, request, subject) if self.capabilities.erase else super().erase(request, subject)


def _absent_folders(path: str) -> list[str]:
    """The folders above a local path that are not there yet, the innermost first."""
    found, folder = [], os.path.dirname(path)
    while local_path(path) is not None and folder and not os.path.lexists(folder):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


class OpenFile:
    """A file being written: the format's encoder on a stream, and how far it got."""

    def __init__(self, sink: FileSink, path: str, schema: pa.Schema, compression: str) -> None:
        self.path = path
        with writing(path):
            self._raw = store_of(path).open_output(path)
            codec = _ARROW_CODECS.get(compression)
            self._stream = pa.CompressedOutputStream(self._raw, codec) if codec else self._raw
            self._encoder = sink.encoder(self._stream, schema)

    def write(self, batch: pa.RecordBatch) -> int:
        """Add a batch; gives the file's size in bytes so far."""
        self._encoder.write(batch)
        return int(self._raw.tell()) + self._encoder.held()

    def room(self) -> int | None:
        """How many more rows the file can have; None: any number."""
        return self._encoder.room()

    def close(self) -> int:
        """End the file; gives its size in bytes."""
        try:
            self._encoder.close()
            self._stream.close()
            self._raw.close()
        except BaseException:
            self.drop()
            raise
        return dict(store_of(self.path).match(self.path))[self.path]

    def drop(self) -> None:
        """Let go of the file without ending it."""
        self._encoder.drop()
        for stream in (self._stream, self._raw):
            try:
                stream.close()
            except (OSError, pa.ArrowException):
                continue


class TextSink(FileSink):
    """A text format: an opening, records with a separator between batches, and a closing."""

    separator: ClassVar[bytes] = b""
    closing: ClassVar[bytes] = b""

    @abstractmethod
    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        """The records of a batch that is not empty."""

    def opening(self, schema: pa.Schema) -> bytes:
        """What stands before the first record (a header line)."""
        return b""

    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        return _TextEncoder(self, stream, schema)

    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        opening, filled, ended = self.opening(schema), False, True
        stream.write(opening)
        for part in parts:
            first = True
            for chunk in self._body(part, opening):
                if first and filled:
                    # A record that a foreign file leaves without a line end must not run into the next.
                    stream.write(self.separator or (b"" if ended else b"\n"))
                stream.write(chunk)
                first, filled, ended = False, True, bytes(memoryview(chunk)[-1:]) == b"\n"
        stream.write(self.closing)

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        opening = self.opening(schema)
        with file.open() as stream, reading(file.path):
            found = stream.read(len(opening)) if file.size else opening
        if found != opening:
            raise TargetUnusable(
                f"'{file.path}' cannot be appended to: it does not begin as this destination's files do",
                hint=f"it would have to begin with {opening.decode(errors='replace').strip()!r}",
            )

    def _body(self, part: DataFile, opening: bytes) -> Iterator[bytes]:
        """What stands between the opening and the closing of a file, in chunks that are not empty."""
        if not part.size:
            return
        with part.open() as stream:
            if stream.read(len(opening)) != opening:
                raise TargetUnusable(f"'{part.path}' cannot be appended to: it has other columns", hint="overwrite it")
            held = b""
            while chunk := stream.read(_COPY_BYTES):
                chunk = held + chunk
                held = chunk[len(chunk) - len(self.closing) :]
                if len(chunk) > len(self.closing):
                    yield chunk[: len(chunk) - len(self.closing)]
            if held != self.closing:
                raise TargetUnusable(f"'{part.path}' cannot be appended to: it does not end as this destination's files do")


class _TextEncoder(Encoder):
    def __init__(self, sink: TextSink, stream: pa.NativeFile, schema: pa.Schema) -> None:
        self._sink, self._stream, self._filled = sink, stream, False
        stream.write(sink.opening(schema))

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._filled and self._sink.separator:
            self._stream.write(self._sink.separator)
        self._stream.write(self._sink.encode(batch))
        self._filled = True

    def close(self) -> None:
        self._stream.write(self._sink.closing)
