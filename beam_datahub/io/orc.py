"""ORC: columnar files, read by stripes and written with the types kept."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.orc as po
from pydantic import ByteSize, Field

from beam_datahub.component.arrow_blocks import Fitted, Fitting
from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import Encoder, FileSink, FileWriteOptions
from beam_datahub.component.file_store import reading
from beam_datahub.component.files import DataFile, FileSource, record_batch, refuse_missing
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Split
from beam_datahub.errors import LossyWrite, TargetUnusable, UnreadableData
from beam_datahub.kernels.delimited_sniff import repeated
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.session import conform, single_batch
from beam_datahub.kernels.types import JSON, canonical, sql_type

# Rows given to the writer at a time: it buffers them row by row until a stripe is full.
_WRITE_ROWS = 65_536
# ORC has no unsigned integers; the next wider signed type holds all their values.
_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20, 0)}


class OrcReadOptions(Config):
    """ORC files say all about themselves; there is nothing to choose."""


class OrcWriteOptions(FileWriteOptions):
    """How ORC files are written."""

    codec: Literal["zstd", "zlib", "snappy", "lz4", "none"] = "zstd"
    """How streams are compressed; `zlib` is what the oldest readers take."""

    stripe_size: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), ge=1024 * 1024)
    """Bytes of a stripe in memory, such as `64MiB`: what a reader takes at a time."""


@register("source", "orc", since="0.1.0")
class OrcSource(FileSource):
    """Reads ORC files, only the columns that are needed, split by stripes; a column of a union type becomes JSON.

    Timestamps lie within 1677 and 2262, where nanoseconds of 64 bits reach; a file with others cannot be read.
    """

    Options = OrcReadOptions
    capabilities = SourceCapabilities(columns=True, splits="stripe")
    examples = (Example("All files of a folder", {"connection": {"path": "data/orders/"}}),)
    whole_originals = False
    extensions: ClassVar[tuple[str, ...]] = (".orc",)

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        fields: dict[str, pa.Field] = {}
        rows = 0
        for file in files:
            with _opened(file) as found:
                rows += found.nrows
                for field in found.schema:
                    fields.setdefault(field.name, pa.field(field.name, _canonical(field, file)))
        return Discovery(pa.schema(list(fields.values())), rows)

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        with _opened(file) as found:
            return ColumnsSeen(tuple(found.schema.names))

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        if not request.split_bytes or file.size <= request.split_bytes:
            yield Split(file.path)
            return
        with _opened(file) as found:
            stripes = found.nstripes
        # The footer tells a stripe's size to the C++ reader only; they are about equal but for the last.
        each = max(1, stripes * request.split_bytes // file.size)
        for start in range(0, stripes, each):
            yield Split(f"{file.path}#{start}", detail=(start, min(start + each, stripes)))

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        with _opened(file) as found:
            names, given = request.schema.names, found.schema.names
            drifted = tuple(name for name in given if name not in names)
            refuse_missing(file.path, ColumnsSeen(tuple(given)), request)
            fitting = Fitting(request, file.path, drifted)
            wanted = [i for i, name in enumerate(given) if name in request.columns]
            start, end = split.detail or (0, found.nstripes)
            # Without columns the rows before a stripe are counted for nothing.
            first_row = sum(_rows_of(found, i) for i in range(start))
            batches = _batches(found, range(start, end), wanted, request)
            if request.limit is not None or request.threads < 2:
                blocks: Iterator[Fitted] = (fitting.fit(batch) for batch in batches)
            else:
                blocks = read_ahead(batches, fitting.fit, threads=1)
            for fitted in blocks:
                yield fitted.block(Origin(file.path, first_row=first_row), drifted)
                first_row += fitted.records


@contextmanager
def _opened(file: DataFile) -> Iterator[po.ORCFile]:
    if not file.size:
        raise UnreadableData(f"'{file.path}' is empty; an ORC file has at least a footer")
    with reading(file.path), _damaged(file.path), file.open() as stream:
        found = po.ORCFile(stream)
        if twice := repeated(found.schema.names):
            raise UnreadableData(
                f"'{file.path}' has several columns called {', '.join(repr(name) for name in twice)}",
                hint="write the file anew, with a name for each column that differs by more than case",
            )
        yield found


@contextmanager
def _damaged(path: str) -> Iterator[None]:
    """Turn the other errors of Arrow's ORC reader into UnreadableData: it has no kind of its own for damage."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise
    except (pa.ArrowException, MemoryError, UnicodeDecodeError) as error:
        words = str(error).splitlines()[0].removeprefix("Unknown error: ") if str(error) else "it asks for too much memory"
        raise UnreadableData(f"'{path}' cannot be read: {words}") from error


def _canonical(field: pa.Field, file: DataFile) -> pa.DataType:
    if _has_union(field.type):
        return JSON
    try:
        return canonical(field.type)
    except TypeError as error:
        raise UnreadableData(f"'{file.path}': the column '{field.name}' cannot be read: {error}") from error


def _rows_of(found: po.ORCFile, stripe: int) -> int:
    return int(found.read_stripe(stripe, columns=[]).num_rows)


def _batches(found: po.ORCFile, stripes: range, wanted: list[int], request: ReadRequest) -> Iterator[pa.RecordBatch]:
    """The batches of the stripes, one stripe after the other, so that memory holds no more than one."""
    for i in stripes:
        stripe = found.read_stripe(i, columns=wanted)
        if not stripe.num_rows:
            continue
        # Texts that are not UTF-8 must not get any further.
        stripe.validate(full=True)
        stripe = _without_unions(stripe)
        row_bytes = max(1, stripe.nbytes // stripe.num_rows)
        rows = max(1, request.batch_bytes // row_bytes)
        rows = min(rows, request.limit) if request.limit else rows
        for start in range(0, stripe.num_rows, rows):
            yield stripe.slice(start, rows)


def _without_unions(batch: pa.RecordBatch) -> pa.RecordBatch:
    if not any(_has_union(field.type) for field in batch.schema):
        return batch
    arrays = [_as_json(array) if _has_union(array.type) else array for array in batch.columns]
    fields = [pa.field(name, array.type) for name, array in zip(batch.schema.names, arrays, strict=True)]
    return record_batch(arrays, pa.schema(fields), batch.num_rows)


def _as_json(array: pa.Array) -> pa.Array:
    """Values of a union as JSON texts; Arrow has no kernel that takes them, and they are rare."""
    texts = [None if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in array.to_pylist()]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))


def _has_union(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_union(data_type)) or any(_has_union(data_type.field(i).type) for i in range(data_type.num_fields))


@register("sink", "orc", since="0.1.0")
class OrcSink(FileSink):
    """Writes ORC files: one file, or a folder of part files, by partition if wanted.

    Unsigned integers are stored in the next wider type, JSON as text; reading with the same schema gives them back.
    """

    Options = OrcWriteOptions
    capabilities = SinkCapabilities(
        partitions=True,
        erase=True,
        types=(
            *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
            *("FLOAT", "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIMESTAMP", "TIMESTAMPTZ"),
            *("JSON", "VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)"),
        ),
    )
    examples = (Example("A folder for each country", {"connection": {"path": "out/orders"}, "partition_by": ["country"]}),)
    extensions: ClassVar[tuple[str, ...]] = (".orc",)
    compressible = False

    options: OrcWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        for field in schema:
            if _has(field.type, pa.time64("us")) or _has(field.type, pa.month_day_nano_interval()):
                raise LossyWrite(
                    f"ORC has no type for the column '{field.name}' of type {sql_type(field.type)}",
                    hint=f"write it as text: cast({field.name} as varchar)",
                )

    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        return _OrcEncoder(stream, schema, self.options)

    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        encoder = self.encoder(stream, schema)
        for part in parts:
            self.check_appendable(part, schema)
            with _opened(part) as found:
                for i in range(found.nstripes):
                    stripe = pa.Table.from_batches([found.read_stripe(i)])
                    for batch in _retyped(stripe, schema).to_batches(max_chunksize=_WRITE_ROWS):
                        encoder.write(batch)
        encoder.close()

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        with _opened(file) as found:
            there = found.schema
        stored = [canonical(_stored(kind)) for kind in schema.types]
        if there.names != schema.names or [_canonical(field, file) for field in there] != stored:
            raise TargetUnusable(
                f"'{file.path}' cannot be appended to: it has other columns", hint="write a folder, or overwrite it"
            )


class _OrcEncoder(Encoder):
    """Hands batches to Arrow's writer, which makes stripes of them."""

    def __init__(self, stream: pa.NativeFile, schema: pa.Schema, options: OrcWriteOptions) -> None:
        self._schema = pa.schema([pa.field(field.name, _stored(field.type)) for field in schema])
        codec = "uncompressed" if options.codec == "none" else options.codec
        self._target = _Unfailing(stream)
        self._writer = po.ORCWriter(
            pa.PythonFile(self._target, mode="w"), compression=codec, stripe_size=int(options.stripe_size)
        )
        # The first table gives the file its columns, also when no row follows.
        self._writer.write(self._schema.empty_table())

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._writer.write(_retyped(pa.Table.from_batches([batch]), self._schema))
            self._target.check()

    def close(self) -> None:
        self._writer.close()
        self._target.check()


class _Unfailing(io.RawIOBase):
    """A stream that keeps its first failure to itself until asked: one within Arrow's ORC writer would end the process."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream, self._written = stream, 0
        self._failure: Exception | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        size = len(data)
        self._written += size
        if self._failure is None:
            try:
                self._stream.write(data)
            except Exception as failure:
                self._failure = failure
        return size

    def check(self) -> None:
        """Raise the failure, if there was one."""
        if self._failure is not None:
            raise self._failure


def _retyped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in the types of `schema`, which hold the same values."""
    if any(pa.types.is_timestamp(field.type) and field.type.unit == "ns" for field in table.schema):
        # What was written in microseconds has no finer digits.
        table = table.cast(pa.schema([pa.field(f.name, canonical(f.type)) for f in table.schema]), safe=False)
    batch = single_batch(conform(table, schema))
    # Arrow's writer takes the wrong values of nested columns that begin inside their buffers, as slices do.
    columns = [pa.concat_arrays([c, c.slice(0, 0)]) if pa.types.is_nested(c.type) else c for c in batch.columns]
    return pa.Table.from_arrays(columns, schema=schema)


def _stored(data_type: pa.DataType) -> pa.DataType:
    """The type that ORC keeps a value in."""
    if data_type == JSON:
        return pa.string()
    if pa.types.is_list(data_type):
        return pa.list_(_stored(data_type.value_type))
    if pa.types.is_map(data_type):
        return pa.map_(_stored(data_type.key_type), _stored(data_type.item_type))
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(f.name, _stored(f.type)) for f in data_type])
    return _WIDER.get(data_type, data_type)


def _has(data_type: pa.DataType, wanted: pa.DataType) -> bool:
    return data_type == wanted or any(_has(data_type.field(i).type, wanted) for i in range(data_type.num_fields))
