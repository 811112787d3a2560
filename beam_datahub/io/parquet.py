"""Parquet: columnar files, read by row groups and written with the types kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from beam_datahub.component.arrow_blocks import Fitted, Fitting
from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import Encoder, FileSink, FileWriteOptions
from beam_datahub.component.file_store import local_path, reading
from beam_datahub.component.files import DataFile, FileSource, record_batch, refuse_missing
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Drift, Origin, ReadRequest, Relation, Split
from beam_datahub.errors import LossyWrite, TargetUnusable, UnreadableData
from beam_datahub.kernels.arrays import numbers
from beam_datahub.kernels.parquet_relation import portions, readable, selection
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.types import canonical, sql_type

# Rows of a row group: what readers such as DuckDB scan per thread.
_GROUP_ROWS = 262_144
_GROUP_BYTES = 64 * 1024 * 1024
# A column gets a dictionary when so few of its values differ; for others it costs time and saves nothing.
_DICTIONARY_SHARE = 0.1
_SAMPLE_ROWS = 10_000
# As many batches as a query reads at once, so that each core has row groups of its own.
_RELATION_BATCHES = 4
_PROBE_ROWS = 1024


class ParquetReadOptions(Config):
    """Parquet files say all about themselves; there is nothing to choose."""


class ParquetWriteOptions(FileWriteOptions):
    """How Parquet files are written."""

    codec: Literal["snappy", "zstd", "gzip", "lz4", "none"] = "snappy"
    """How pages are compressed: `snappy` is fastest, `zstd` about a third smaller."""

    row_group_rows: int = Field(default=_GROUP_ROWS, gt=0)
    """Rows of a row group."""


@register("source", "parquet", since="0.1.0")
class ParquetSource(FileSource):
    """Reads Parquet files, only the columns that are needed, split by row groups."""

    Options = ParquetReadOptions
    capabilities = SourceCapabilities(columns=True, splits="row group", relations=True)
    examples = (Example("All files of a folder", {"connection": {"path": "data/orders/"}}),)
    whole_originals = False
    extensions: ClassVar[tuple[str, ...]] = (".parquet", ".pq", ".parq")

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        fields: dict[str, pa.Field] = {}
        rows = 0
        for file in files:
            with reading(file.path), _opened(file) as found:
                rows += found.metadata.num_rows
                for field in found.schema_arrow:
                    fields.setdefault(field.name, pa.field(field.name, _canonical(field, file)))
        return Discovery(pa.schema(list(fields.values())), rows)

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        with _opened(file) as found:
            return ColumnsSeen(tuple(found.schema_arrow.names))

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        if not request.split_bytes or file.size <= request.split_bytes:
            yield Split(file.path)
            return
        with reading(file.path), _opened(file) as found:
            sizes = [found.metadata.row_group(i).total_byte_size for i in range(found.num_row_groups)]
        # Sizes in the footer are of the decompressed data.
        budget = request.split_bytes * max(1.0, sum(sizes) / file.size)
        start, held = 0, 0
        for i, size in enumerate(sizes):
            held += size
            if held >= budget or i == len(sizes) - 1:
                yield Split(f"{file.path}#{start}", detail=(start, i + 1))
                start, held = i + 1, 0

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        with _opened(file, dictionaries=request.columns if request.dictionaries else ()) as found:
            names, given = request.schema.names, found.schema_arrow.names
            drifted = tuple(name for name in given if name not in names)
            refuse_missing(file.path, ColumnsSeen(tuple(given)), request)
            fitting = Fitting(request, file.path, drifted)
            wanted = [name for name in request.columns if name in given]
            groups = split.detail or (0, found.num_row_groups)
            first_row = sum(found.metadata.row_group(i).num_rows for i in range(groups[0]))
            if request.limit is not None or request.threads < 2:
                batches = _batches(found, groups, wanted, request)
                blocks: Iterator[Fitted] = (fitting.fit(batch) for batch in batches)
            else:
                blocks = read_ahead(_batches(found, groups, wanted, request), fitting.fit, threads=1)
            for fitted in blocks:
                yield fitted.block(Origin(file.path, first_row=first_row), drifted)
                first_row += fitted.records

    def file_relations(self, file: DataFile, path: str, split: Split, request: ReadRequest) -> Sequence[Relation]:
        with _opened(file) as found:
            drifted = tuple(name for name in found.schema_arrow.names if name not in request.schema.names)
            if drifted and request.contract.columns in (Drift.FREEZE, Drift.DISCARD_ROW):
                return ()
            refuse_missing(file.path, ColumnsSeen(tuple(found.schema_arrow.names)), request)
            if not readable(found, path, request.projected):
                return ()
            first, last = split.detail or (0, found.num_row_groups)
            sizes = _group_bytes(found, (first, last), request.columns)
            if max(sizes, default=0) > _RELATION_BATCHES * request.batch_bytes:
                return ()
            relations = []
            for groups in portions(sizes, first, _RELATION_BATCHES * request.batch_bytes):
                sql, rows = selection(found, path, request.projected, groups)
                relations.append(Relation(sql, rows, path, Split(split.name, detail=groups), drifted))
            return relations


@contextmanager
def _opened(file: DataFile, *, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """The file; text columns among `dictionaries` that are stored so come dictionary-encoded."""
    if not file.size:
        raise UnreadableData(f"'{file.path}' is empty; a Parquet file has at least a footer")
    remote = local_path(file.path) is None
    with file.open() as stream:
        metadata = pq.read_metadata(stream) if dictionaries else None
        found = pq.ParquetFile(
            stream,
            metadata=metadata,
            read_dictionary=_encoded(metadata, dictionaries) if metadata is not None else None,
            pre_buffer=remote,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
            arrow_extensions_enabled=True,
        )
        names = found.schema_arrow.names
        same = next((group for name in names if len(group := [n for n in names if n.casefold() == name.casefold()]) > 1), None)
        if same is not None:
            raise UnreadableData(
                f"'{file.path}' has several columns called {', '.join(repr(name) for name in dict.fromkeys(same))}",
                hint="write the file anew, with a name for each column that differs by more than case",
            )
        yield found


def _encoded(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[str]:
    """Those of `columns` that are text and stored with dictionaries, by the first row group."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    text = {column.path for column in map(metadata.schema.column, range(len(chunks))) if column.logical_type.type == "STRING"}
    wanted = text.intersection(columns)
    return [c.path_in_schema for c in chunks if c.path_in_schema in wanted and c.has_dictionary_page]


def _canonical(field: pa.Field, file: DataFile) -> pa.DataType:
    try:
        return canonical(field.type)
    except TypeError as error:
        raise UnreadableData(f"'{file.path}': the column '{field.name}' cannot be read: {error}") from error


def _batches(
    found: pq.ParquetFile, groups: tuple[int, int], columns: list[str], request: ReadRequest
) -> Iterator[pa.RecordBatch]:
    """The batches of the row groups, one group after the other, so that memory holds no more than one."""
    row_bytes = 0
    for i in range(*groups):
        group = found.metadata.row_group(i)
        if not group.num_rows:
            continue
        if not columns:
            yield record_batch([], pa.schema([]), group.num_rows)
            continue
        row_bytes = row_bytes or _row_bytes(found, i, columns)
        rows = max(1, request.batch_bytes // max(row_bytes, _footer_bytes(group, columns) // group.num_rows, 1))
        rows = min(rows, request.limit) if request.limit else rows
        yield from found.iter_batches(batch_size=rows, row_groups=[i], columns=columns, use_threads=request.threads > 1)


def _row_bytes(found: pq.ParquetFile, group: int, columns: list[str]) -> int:
    """What a row takes in memory, by the first ones: a dictionary unfolds to far more than the footer says."""
    for batch in found.iter_batches(batch_size=_PROBE_ROWS, row_groups=[group], columns=columns):
        return int(batch.nbytes // batch.num_rows)
    return 0


def _group_bytes(found: pq.ParquetFile, groups: tuple[int, int], columns: Sequence[str]) -> list[int]:
    """What each row group takes in memory."""
    metadata = [found.metadata.row_group(i) for i in range(*groups)]
    row_bytes = _row_bytes(found, groups[0], list(columns)) if metadata else 0
    return [max(row_bytes * group.num_rows, _footer_bytes(group, columns)) for group in metadata]


def _footer_bytes(group: Any, columns: Sequence[str]) -> int:
    wanted = set(columns)
    chunks = [group.column(i) for i in range(group.num_columns)]
    return sum(int(chunk.total_uncompressed_size) for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted)


@register("sink", "parquet", since="0.1.0")
class ParquetSink(FileSink):
    """Writes Parquet files: one file, or a folder of part files, by partition if wanted."""

    Options = ParquetWriteOptions
    capabilities = SinkCapabilities(
        partitions=True,
        erase=True,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
            "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON",
            "VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)",
        ),
    )  # fmt: skip
    examples = (Example("A folder for each country", {"connection": {"path": "out/orders"}, "partition_by": ["country"]}),)
    extensions: ClassVar[tuple[str, ...]] = (".parquet", ".pq", ".parq")
    compressible = False

    options: ParquetWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        for field in schema:
            if _has_interval(field.type):
                raise LossyWrite(
                    f"Parquet has no type for the column '{field.name}' of type {sql_type(field.type)}",
                    hint=f"write it as text: cast({field.name} as varchar)",
                )
            if _has_empty_struct(field.type):
                raise LossyWrite(f"Parquet cannot hold the column '{field.name}': a struct without fields")

    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        return _ParquetEncoder(stream, schema, self.options)

    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        encoder = self.encoder(stream, schema)
        for part in parts:
            with _opened(part) as found:
                self.check_appendable(part, schema)
                for i in range(found.num_row_groups):
                    for batch in found.iter_batches(batch_size=_GROUP_ROWS, row_groups=[i]):
                        encoder.write(pa.Table.from_batches([batch]).cast(schema).combine_chunks().to_batches()[0])
        encoder.close()

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        with reading(file.path), _opened(file) as found:
            there = found.schema_arrow.remove_metadata()
        if there.names != schema.names or any(canonical(a.type) != b.type for a, b in zip(there, schema, strict=True)):
            raise TargetUnusable(
                f"'{file.path}' cannot be appended to: it has other columns", hint="write a folder, or overwrite it"
            )


class _ParquetEncoder(Encoder):
    """Collects batches to row groups; decides on dictionaries by the first of them."""

    def __init__(self, stream: pa.NativeFile, schema: pa.Schema, options: ParquetWriteOptions) -> None:
        self._stream, self._schema, self._options = stream, schema, options
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._held.append(batch)
            self._rows += batch.num_rows
            self._bytes += batch.nbytes
        if self._rows >= self._options.row_group_rows or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self, *, ends: bool = False) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        # Where only the rows are enough, what is left over begins the next row group.
        most = self._options.row_group_rows
        left = table.slice(table.num_rows - table.num_rows % most) if not ends and self._bytes < _GROUP_BYTES else None
        if left is not None:
            table = table.slice(0, table.num_rows - left.num_rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._stream,
                self._schema,
                compression=self._options.codec,
                use_dictionary=[name for name in self._schema.names if _repeats(table.column(name))],
                store_schema=True,
            )
        if table.num_rows:
            self._writer.write_table(table, row_group_size=most)
        self._held = left.to_batches() if left is not None else []
        self._rows, self._bytes = sum(b.num_rows for b in self._held), sum(b.nbytes for b in self._held)

    def close(self) -> None:
        if self._held or self._writer is None:
            self._flush(ends=True)
        assert self._writer is not None
        self._writer.close()


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether few of a column's values differ: of a text by its first rows, of a number or a time by rows from all over."""
    t = pa.types
    if t.is_string(column.type) or t.is_binary(column.type):
        some = column.slice(0, _SAMPLE_ROWS)
    elif t.is_integer(column.type) or t.is_date(column.type) or t.is_timestamp(column.type):
        # Numbers that rise slowly begin with many that are equal; a dictionary of all would be larger than they are.
        places = np.linspace(0, len(column) - 1, min(len(column), _SAMPLE_ROWS))
        some = column.take(numbers(places.astype(np.int64)))
    else:
        return False
    return bool(pc.count_distinct(some).as_py() <= max(1, len(some) * _DICTIONARY_SHARE))


def _has_interval(data_type: pa.DataType) -> bool:
    return data_type == pa.month_day_nano_interval() or any(
        _has_interval(data_type.field(i).type) for i in range(data_type.num_fields)
    )


def _has_empty_struct(data_type: pa.DataType) -> bool:
    if pa.types.is_struct(data_type) and not data_type.num_fields:
        return True
    return any(_has_empty_struct(data_type.field(i).type) for i in range(data_type.num_fields))
