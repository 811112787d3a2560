"""The kernel session: one hardened in-memory DuckDB connection that runs SQL over Arrow batches.

User expressions can reach no file, no network, no setting and no other table than those that the session was given.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.kernels.types import JSON, canonical, from_duckdb, literal, quoted, sql_type

# Rows per slice that one DuckDB thread scans at a time: an Arrow scan is parallel over batches, not within one.
_SLICE_ROWS = 61_440
# What a batch takes at least where a table is given on in several.
_LEAST_BATCH_BYTES = 1 << 20
# Rows per batch of a streamed result.
_STREAM_ROWS = 122_880

# The least budget that DuckDB's joins, aggregates and sorts get by with when they spill, and what a thread takes of it.
_LEAST_BYTES = 64 * 1024 * 1024
_THREAD_BYTES = 64 * 1024 * 1024

# Arrow timestamps are UTC: a session in another zone would render and truncate them differently. On a terminal, DuckDB would
# draw a progress bar of its own over ours.
_SETTINGS = "SET TimeZone='UTC'; SET enable_progress_bar=false"


class KernelSession:
    """Runs SQL over named Arrow tables; not safe for use by several threads at once.

    `threads`: kernel threads, all cores when None. `memory_bytes`: DuckDB's budget, past which it spills to `spill_dir`;
    a small one means fewer threads, and less than 64 MiB means 64 MiB. `file` is the one that queries may read.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        memory_bytes: int | None = None,
        spill_dir: str | None = None,
        file: str | None = None,
    ) -> None:
        self.threads = threads or os.cpu_count() or 1
        if memory_bytes is not None:
            # Every thread needs room of its own before a query can begin to spill.
            memory_bytes = max(memory_bytes, _LEAST_BYTES)
            self.threads = min(self.threads, max(1, memory_bytes // _THREAD_BYTES))
        spill = tempfile.mkdtemp(prefix=scratch_prefix("kernel"), dir=spill_dir)
        # The sessions that types are found with live as long as their thread, which nobody closes.
        self._remove_spill = weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": self.threads,
                "temp_directory": spill,
                "preserve_insertion_order": "true",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                # DuckDB 2.0 hoists common subexpressions out of TRY, which would make an error mask raise.
                "disabled_optimizers": "common_subexpressions",
                **({"memory_limit": f"{memory_bytes}B"} if memory_bytes else {}),
            },
        )
        from beam_datahub.kernels.functions import register_functions

        register_functions(self._connection)
        allowed = f"; SET parquet_metadata_cache=true; SET allowed_paths=[{literal(file)}]" if file is not None else ""
        self._connection.execute(f"{_SETTINGS}{allowed}; SET enable_external_access=false; SET lock_configuration=true")

    def put(self, name: str, data: pa.Table | pa.RecordBatch) -> None:
        """Give the session `data` under `name`, by reference; replaces what was there."""
        table = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
        if _has_struct(table.schema):
            table = pa.Table.from_batches([rebased(batch) for batch in table.to_batches()], table.schema)
        elif self.threads > 1 and table.num_rows > _SLICE_ROWS:
            table = pa.Table.from_batches(table.to_batches(max_chunksize=_SLICE_ROWS), table.schema)
        self._connection.register(name, table)

    def create(self, name: str, sql: str) -> None:
        """Make the session's own table `name`, which may spill to disk, from the rows of `sql`."""
        self._connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS {sql}")

    def change(self, sql: str) -> None:
        """Change the session's own tables."""
        self._connection.execute(sql)

    def load(self, name: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        """Copy `batches` into the session's own table `name`, one after the other."""
        self._connection.register("loading", pa.RecordBatchReader.from_batches(schema, map(rebased, batches)))
        self.create(name, "FROM loading")
        self.drop("loading")

    def drop(self, name: str) -> None:
        """Forget the table that was `put` under `name`."""
        self._connection.unregister(name)

    def query(self, sql: str, schema: pa.Schema | None = None) -> pa.Table:
        """The rows of `sql`, in canonical types or in exactly `schema`."""
        relation = self._connection.sql(sql)
        if schema is None:
            schema = pa.schema([pa.field(n, from_duckdb(t)) for n, t in zip(relation.columns, relation.types, strict=True)])
        return conform(relation.to_arrow_table(), schema)

    def fetch(self, sql: str) -> pa.Table:
        """The rows of `sql` in DuckDB's own Arrow types; for what stays inside a kernel."""
        return self._connection.sql(sql).to_arrow_table()

    def scalar(self, sql: str) -> object:
        """The one value of a one-row, one-column query."""
        rows = self._connection.sql(sql).fetchall()
        return rows[0][0] if rows else None

    def stream(self, sql: str, name: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of `sql` over `batches` known as `name`, read and given as they come: memory holds the query's state,
        neither its input nor its output.
        """
        self._connection.register(name, pa.RecordBatchReader.from_batches(schema, map(rebased, batches)))
        try:
            yield from self._connection.sql(sql).to_arrow_reader(_STREAM_ROWS)
        finally:
            self._connection.unregister(name)

    def describe(self, sql: str) -> pa.Schema:
        """The canonical schema of `sql`, without running it. Raises duckdb.Error where it does not bind."""
        relation = self._connection.sql(f"SELECT * FROM ({sql}) LIMIT 0")
        return pa.schema([pa.field(n, from_duckdb(t)) for n, t in zip(relation.columns, relation.types, strict=True)])

    def close(self) -> None:
        """Release the connection and its spill files."""
        self._connection.close()
        self._remove_spill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _has_struct(schema: pa.Schema) -> bool:
    return any(_contains_struct(field.type) for field in schema)


def _contains_struct(data_type: pa.DataType) -> bool:
    if pa.types.is_struct(data_type):
        return True
    return any(_contains_struct(data_type.field(i).type) for i in range(data_type.num_fields))


def rebased(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with slices of structs copied out: DuckDB 2.0 refuses a struct that starts inside its buffers."""
    if not _has_struct(batch.schema):
        return batch
    columns = [
        pa.concat_arrays([column, column.slice(0, 0)]) if _contains_struct(column.type) and _is_sliced(column) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _is_sliced(array: pa.Array) -> bool:
    if isinstance(array, pa.ExtensionArray):
        return _is_sliced(array.storage)
    if array.offset:
        return True
    if pa.types.is_struct(array.type):
        return any(_is_sliced(array.field(i)) for i in range(array.type.num_fields))
    if pa.types.is_list(array.type):
        return _is_sliced(array.values)
    return pa.types.is_map(array.type) and (_is_sliced(array.keys) or _is_sliced(array.items))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in exactly the types of `schema`, by position; layouts change, values do not. Raises pa.ArrowInvalid."""
    if table.schema.equals(schema, check_metadata=False):
        return table.replace_schema_metadata(schema.metadata)
    columns = [_conform_column(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def decoded(table: pa.Table) -> pa.Table:
    """`table` with its dictionary-encoded columns as plain ones."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def _conform_column(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    if column.type == target:
        return column
    if target == JSON:
        text = column.cast(pa.string()) if not isinstance(column.type, pa.BaseExtensionType) else _storage(column)
        return pa.chunked_array([pa.ExtensionArray.from_storage(JSON, c.cast(pa.string())) for c in text.chunks], type=JSON)
    if isinstance(column.type, pa.BaseExtensionType):
        if column.type.extension_name in ("arrow.uuid", "arrow.opaque"):
            return _through_duckdb(column, target)
        return _conform_column(_storage(column), target)
    if _nests_extension(column.type):
        return _through_duckdb(column, target)
    if _nests_extension(target):
        return pa.chunked_array([_retype(c, target) for c in column.chunks], type=target)
    return column.cast(target)


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([c.storage for c in column.chunks], type=column.type.storage_type)


def _nests_extension(data_type: pa.DataType) -> bool:
    if isinstance(data_type, pa.BaseExtensionType):
        return True
    return any(_nests_extension(data_type.field(i).type) for i in range(data_type.num_fields))


_shared = threading.local()


def _through_duckdb(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """Rebuild a column whose DuckDB form Arrow cannot cast (128-bit integers, uuids, JSON inside lists)."""
    connection = getattr(_shared, "connection", None)
    if connection is None:
        connection = _shared.connection = duckdb.connect(":memory:")
        connection.execute(_SETTINGS)
    connection.register("t", pa.table({"c": column}))
    found = connection.sql(f"SELECT CAST(c AS {sql_type(_plain(target))}) AS c FROM t").to_arrow_table().column(0)
    connection.unregister("t")
    if canonical(found.type) != canonical(target) and not _nests_extension(target):
        found = found.cast(target)
    if _nests_extension(target):
        return pa.chunked_array([_retype(c, target) for c in found.chunks], type=target)
    return found.cast(target)


def _plain(data_type: pa.DataType) -> pa.DataType:
    """`data_type` with text in place of JSON, whose nested form casts without a loss."""
    if data_type == JSON:
        return pa.string()
    if pa.types.is_list(data_type):
        return pa.list_(_plain(data_type.value_type))
    if pa.types.is_map(data_type):
        return pa.map_(data_type.key_type, _plain(data_type.item_type))
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(f.name, _plain(f.type)) for f in data_type])
    return data_type


def _retype(array: pa.Array, target: pa.DataType) -> pa.Array:
    """`array` with the JSON leaves of `target` put back on its buffers."""
    if array.type == target:
        return array
    if target == JSON:
        return pa.ExtensionArray.from_storage(JSON, array.cast(pa.string()))
    if pa.types.is_list(target):
        return pa.ListArray.from_arrays(
            array.offsets, _retype(array.values, target.value_type), type=target, mask=array.is_null()
        )
    if pa.types.is_struct(target):
        fields = [_retype(array.field(i), target.field(i).type) for i in range(target.num_fields)]
        return pa.StructArray.from_arrays(fields, fields=list(target), mask=array.is_null())
    if pa.types.is_map(target):
        values = _retype(array.items, target.item_type)
        return pa.MapArray.from_arrays(array.offsets, array.keys, values, type=target, mask=array.is_null())
    return array.cast(target)


def single_batch(table: pa.Table) -> pa.RecordBatch:
    """`table` as one record batch."""
    merged = table.combine_chunks()
    batches: Sequence[pa.RecordBatch] = merged.to_batches()
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in table.schema], schema=table.schema)
    return pa.concat_batches(batches)


def batches_of(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """`table` as batches, none where it has no rows: as it lies in memory, small neighbours together.

    A query gives its result in pieces, one for each thread's share; to make one batch of them would copy it all.
    """
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in table.to_batches():
        if not batch.num_rows:
            continue
        held.append(batch)
        size += batch.nbytes
        if size >= _LEAST_BATCH_BYTES:
            yield held[0] if len(held) == 1 else pa.concat_batches(held)
            held, size = [], 0
    if held:
        yield held[0] if len(held) == 1 else pa.concat_batches(held)
