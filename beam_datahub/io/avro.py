"""Avro: row files with their schema inside, read block by block in ranges."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, ClassVar, Literal, cast

import fastavro
import fastavro.schema
import fastavro.write
import pyarrow as pa

from beam_datahub.component.arrow_blocks import Fitting
from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import Encoder, FileSink, FileWriteOptions
from beam_datahub.component.file_store import reading
from beam_datahub.component.files import DataFile, FileSource, byte_ranges, record_batch, refuse_missing
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Split
from beam_datahub.errors import DataHubError, MissingDependency, TargetUnusable, UnreadableData
from beam_datahub.kernels.types import canonical
from beam_datahub.schemas.avro import Column, avro_schema, column_of
from beam_datahub.schemas.avro_values import records, stored

# Rows that become one batch; records are Python objects in between, so fewer than other formats take.
_ROWS = 50_000
_SYNC_BYTES = 16
_BLOCK_BYTES = 256 * 1024


class AvroReadOptions(Config):
    """Avro files say all about themselves; there is nothing to choose."""


class AvroWriteOptions(FileWriteOptions):
    """How Avro files are written."""

    codec: Literal["deflate", "null", "bzip2", "xz", "snappy", "zstandard"] = "deflate"
    """How blocks are compressed; `snappy` and `zstandard` need `pip install 'beam-datahub[codecs]'`."""


@register("source", "avro", since="0.1.0")
class AvroSource(FileSource):
    """Reads Avro files; a union of several types, and a type inside itself, become JSON.

    Records pass through Python objects one by one, so this is the slowest of the file formats.
    """

    Options = AvroReadOptions
    capabilities = SourceCapabilities(columns=True, splits="byte range")
    examples = (Example("All files of a folder", {"connection": {"path": "data/events/"}}),)
    whole_originals = False
    extensions: ClassVar[tuple[str, ...]] = (".avro",)

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        fields: dict[str, pa.Field] = {}
        sizes = rows = total = 0
        for file in files:
            found = _AvroFile(file)
            total += file.size - found.header_bytes
            for name, column in found.columns.items():
                fields.setdefault(name, pa.field(name, canonical(column.type)))
            for size, count in found.first_blocks():
                sizes, rows = sizes + size, rows + count
        return Discovery(pa.schema(list(fields.values())), round(rows * total / sizes) if sizes else 0)

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        return ColumnsSeen(tuple(_AvroFile(file).columns))

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        yield from byte_ranges(file, request)

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        found = _AvroFile(file)
        drifted = tuple(name for name in found.columns if name not in request.schema.names)
        refuse_missing(file.path, ColumnsSeen(tuple(found.columns)), request)
        fitting = Fitting(request, file.path, drifted)
        for start, end, first_row, batch in found.batches(split, request.columns, request.limit or _ROWS):
            yield fitting.fit(batch).block(Origin(file.path, start, end, first_row), drifted)


class _AvroFile:
    """One file: its columns, and its blocks from any place on."""

    def __init__(self, file: DataFile) -> None:
        self._file = file
        with file.open() as stream, _decoding(file.path):
            header = fastavro.block_reader(stream)
            self.header_bytes = int(stream.tell())
            self._sync = header._header["sync"]
            named: dict[str, Any] = {}
            schema: Any = fastavro.schema.parse_schema(json.loads(header.metadata["avro.schema"]), named)
        self._is_record = isinstance(schema, dict) and schema["type"] in ("record", "error")
        if self._is_record:
            inside = (schema["name"],)
            self.columns = {field["name"]: column_of(field["type"], named, inside) for field in schema["fields"]}
        else:
            self.columns = {"value": column_of(schema, named)}

    def first_blocks(self) -> Iterator[tuple[int, int]]:
        """Bytes and records of the first block."""
        with self._file.open() as stream, _decoding(self._file.path):
            for block in fastavro.block_reader(stream):
                yield block.size, block.num_records
                return

    def batches(self, split: Split, columns: Sequence[str], rows: int) -> Iterator[tuple[int, int, int, pa.RecordBatch]]:
        """Batches of the blocks that follow a sync marker in the split: first and last byte, first row in it, and the rows."""
        records: list[Any] = []
        with self._file.open() as stream, _decoding(self._file.path):
            source, moved = self._from(stream, split.start or 0)
            if source is None:
                return
            begin, finish, first = None, 0, 0
            for block in fastavro.block_reader(source):
                place = block.offset + moved
                if split.end is not None and place - _SYNC_BYTES >= split.end:
                    break
                begin, finish = place if begin is None else begin, place + block.size
                for record in block:
                    records.append(record)
                    if len(records) >= rows:
                        yield begin, finish, first, self._batch(records, columns)
                        first, records = first + len(records), []
            if records and begin is not None:
                yield begin, finish, first, self._batch(records, columns)

    def _from(self, stream: pa.NativeFile, start: int) -> tuple[Any, int]:
        """A stream of the header and what follows the first sync marker behind `start`, and how far that was moved."""
        if start <= self.header_bytes - _SYNC_BYTES:
            return stream, 0
        header = stream.read(self.header_bytes)
        stream.seek(start)
        place, held = start, b""
        while chunk := stream.read(1 << 20):
            held += chunk
            found = held.find(self._sync)
            if found >= 0:
                begin = place + found + _SYNC_BYTES
                stream.seek(begin)
                return _Chained(header, stream), begin - len(header)
            place, held = place + len(held) - (_SYNC_BYTES - 1), held[-(_SYNC_BYTES - 1) :]
        return None, 0

    def _batch(self, records: list[Any], columns: Sequence[str]) -> pa.RecordBatch:
        wanted = [name for name in columns if name in self.columns]
        arrays = [self._array(name, [r[name] for r in records] if self._is_record else records) for name in wanted]
        fields = [pa.field(name, array.type) for name, array in zip(wanted, arrays, strict=True)]
        return record_batch(arrays, pa.schema(fields), len(records))

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        column: Column = self.columns[name]
        if column.convert is not None:
            values = [column.convert(value) for value in values]
        return pa.array(values, stored(column.type))


class _Chained(io.RawIOBase):
    """A header in front of the rest of a stream."""

    def __init__(self, header: bytes, rest: pa.NativeFile) -> None:
        self._header, self._rest, self._place = header, rest, 0

    def read(self, size: int = -1) -> bytes:
        found = self._header[:size]
        if found:
            self._header = self._header[size:]
        if len(found) < size:
            found += self._rest.read(size - len(found))
        self._place += len(found)
        return found

    def tell(self) -> int:
        return self._place


@contextmanager
def _decoding(path: str) -> Iterator[None]:
    """Turn whatever the decoder trips over into UnreadableData: on damaged data it raises all kinds of errors."""
    try:
        with reading(path):
            yield
    except (DataHubError, GeneratorExit):
        raise
    except ValueError as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        missing = "codec" in words and not isinstance(error, UnicodeError)
        hint = "pip install 'beam-datahub[codecs]'" if missing else None
        raise UnreadableData(f"'{path}' cannot be read: {words}", hint=hint) from error
    except Exception as error:
        raise UnreadableData(f"'{path}' cannot be read: damaged Avro data ({type(error).__name__}: {error})") from error


@register("sink", "avro", since="0.1.0")
class AvroSink(FileSink):
    """Writes Avro files with a schema that keeps the columns' types; every field may be null."""

    Options = AvroWriteOptions
    capabilities = SinkCapabilities(
        partitions=True,
        erase=True,
        types=(
            *(
                "BOOLEAN",
                "TINYINT",
                "SMALLINT",
                "INTEGER",
                "BIGINT",
                "UTINYINT",
                "USMALLINT",
                "UINTEGER",
                "UBIGINT",
                "FLOAT",
                "DOUBLE",
            ),
            *("DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON"),
            *("VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)"),
        ),
    )
    examples = (Example("One file", {"connection": {"path": "out/orders.avro"}, "codec": "null"}),)
    extensions: ClassVar[tuple[str, ...]] = (".avro",)
    compressible = False

    options: AvroWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        avro_schema(schema)
        try:
            fastavro.writer(io.BytesIO(), {"type": "record", "name": "row", "fields": []}, [], codec=self.options.codec)
        except ValueError as error:
            raise MissingDependency(
                f"the codec '{self.options.codec}' is not installed", hint="pip install 'beam-datahub[codecs]'"
            ) from error

    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        return _AvroEncoder(stream, schema, self.options.codec)

    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        encoder = _AvroEncoder(stream, schema, self.options.codec)
        for part in parts:
            self.check_appendable(part, schema)
            with part.open() as source, reading(part.path):
                for block in fastavro.block_reader(source):
                    encoder.writer.write_block(block)
        encoder.close()

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        with file.open() as stream, _decoding(file.path):
            there = fastavro.block_reader(stream).writer_schema
        wanted = fastavro.schema.parse_schema(avro_schema(schema))
        if fastavro.schema.to_parsing_canonical_form(there) != fastavro.schema.to_parsing_canonical_form(wanted):
            raise TargetUnusable(
                f"'{file.path}' cannot be appended to: it has another schema", hint="write a folder, or overwrite it"
            )


class _AvroEncoder(Encoder):
    """Writes record by record; dates and times go as the integers that they are stored as."""

    def __init__(self, stream: pa.NativeFile, schema: pa.Schema, codec: str) -> None:
        self.writer = fastavro.write.Writer(
            cast(IO[Any], _WriteOnly(stream)), avro_schema(schema), codec=codec, sync_interval=_BLOCK_BYTES
        )

    def write(self, batch: pa.RecordBatch) -> None:
        for record in records(batch):
            self.writer.write(record)

    def close(self) -> None:
        self.writer.flush()


class _WriteOnly:
    """A stream that is not taken for one to append to."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()
