"""Rows as messages: value, key, headers and time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from beam_datahub.component.messages.registry import PREFIX
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.workbench import over
from beam_datahub.schemas.avro import avro_schema
from beam_datahub.schemas.avro_values import records

# What a staged file holds; the time is in milliseconds.
STAGED = pa.schema(
    [("value", pa.binary()), ("key", pa.binary()), ("headers", pa.map_(pa.string(), pa.string())), ("timestamp", pa.int64())]
)


class MessageOptions(Protocol):
    """What a destination's options say of its messages."""

    @property
    def format(self) -> str:
        """What a message's value is: `json`, `avro`, `csv` or `text`, or nothing, for systems that keep `fields`."""

    @property
    def headers(self) -> str | None:
        """The column of the headers."""

    @property
    def max_message_bytes(self) -> int:
        """The size that a message can have."""


class Encoding:
    """How the rows of one destination become messages."""

    def __init__(self, options: MessageOptions, schema: pa.Schema, key: Sequence[str], others: Sequence[str] = ()) -> None:
        """`others` are columns that are no part of the value."""
        self._options, self._key = options, tuple(key)
        self._tombstone = getattr(options, "tombstone", None)
        self._timestamp = getattr(options, "timestamp", None)
        self.max_message_bytes = int(options.max_message_bytes)
        aside = {options.headers, self._tombstone, *others}
        if options.format == "text":
            aside |= {self._timestamp}
            # The key stays where it is all that there is.
            rest = [name for name in schema.names if name not in aside and name not in key]
            aside |= set(key) if rest else set()
        self.values = pa.schema([field for field in schema if field.name not in aside])

    def encode(self, batch: pa.RecordBatch, number: int | None) -> pa.RecordBatch:
        """The messages of some rows; `number` is that of the values' schema in a registry."""
        options, rows = self._options, batch.num_rows
        values = self._values(batch.select(self.values.names), number)
        if self._tombstone is not None:
            gone = pc.fill_null(batch.column(self._tombstone), False)
            values = pc.if_else(gone, pa.scalar(None, pa.binary()), values)
        headers = pa.nulls(rows, STAGED.field("headers").type)
        if options.format == "fields":
            headers = _fields(batch.select(self.values.names))
        elif options.headers is not None:
            headers = batch.column(options.headers)
        moments = pa.nulls(rows, pa.int64())
        if self._timestamp is not None:
            moments = batch.column(self._timestamp).cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
        return pa.RecordBatch.from_arrays([values, self._keys(batch), headers, moments], schema=STAGED)

    def _values(self, batch: pa.RecordBatch, number: int | None) -> pa.Array:
        if self._options.format == "json":
            return _bytes(json_rows(batch))
        if self._options.format == "text":
            return _text(batch.column(0))
        if self._options.format == "fields":
            return pa.nulls(batch.num_rows, pa.binary())
        if self._options.format == "csv":
            return _csv(batch, getattr(self._options, "delimiter", ","))
        schema = fastavro.parse_schema(avro_schema(batch.schema))
        assert number is not None
        prefix = PREFIX.pack(0, number)
        return pa.array([_avro(prefix, schema, record) for record in records(batch)], pa.binary())

    def _keys(self, batch: pa.RecordBatch) -> pa.Array:
        if not self._key:
            return pa.nulls(batch.num_rows, pa.binary())
        if len(self._key) > 1:
            return _bytes(json_rows(batch.select(list(self._key))))
        return _text(batch.column(self._key[0]))


def _avro(prefix: bytes, schema: Any, record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    stream.write(prefix)
    fastavro.schemaless_writer(stream, schema, record)
    return stream.getvalue()


def _fields(batch: pa.RecordBatch) -> pa.Array:
    """The columns of each row as text by their names; the value of a null is null."""
    count, width = batch.num_rows, batch.num_columns
    texts = [_text(column).cast(pa.string()) for column in batch.columns]
    # Column after column becomes row after row.
    order = pa.array(np.arange(count * width).reshape(width, count).T.ravel())
    values = pa.concat_arrays(texts).take(order) if texts else pa.array([], pa.string())
    names = pa.array(batch.schema.names * count, pa.string())
    return pa.MapArray.from_arrays(pa.array(np.arange(0, (count + 1) * width, max(width, 1)), pa.int32()), names, values)


def _csv(batch: pa.RecordBatch, delimiter: str) -> pa.Array:
    """Each row as a CSV record; a null is an empty field, an empty text a quoted one."""
    columns = [_text(column).cast(pa.string()) for column in batch.columns]
    options = pa_csv.WriteOptions(include_header=False, delimiter=delimiter)
    texts = pa.RecordBatch.from_arrays(columns, batch.schema.names)
    lines = _written(texts, options)
    found = lines.split(b"\n")[:-1]
    if len(found) != batch.num_rows:
        # Some text has a line break in it.
        found = [_written(texts.slice(i, 1), options)[:-1] for i in range(batch.num_rows)]
    return pa.array(found, pa.binary())


def _written(batch: pa.RecordBatch, options: pa_csv.WriteOptions) -> bytes:
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(batch, sink, options)
    return bytes(sink.getvalue())


def _text(column: pa.Array) -> pa.Array:
    if column.type == pa.binary():
        return column
    if column.type in (pa.string(), JSON):
        return _bytes(pa.chunked_array([column.storage if column.type == JSON else column]))
    return _bytes(over(pa.table({"c": column}), "SELECT c::VARCHAR AS c FROM t").column(0))


def _bytes(texts: pa.ChunkedArray) -> pa.Array:
    found = texts.cast(pa.binary())
    return found.chunk(0) if found.num_chunks == 1 else found.combine_chunks()
