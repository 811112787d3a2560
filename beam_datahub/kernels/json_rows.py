"""Batches as JSON objects, one a row: the text of what JSON destinations write."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.types import JSON, literal, quoted
from beam_datahub.kernels.workbench import over

# Texts for what JSON's numbers cannot say; readers here take them back for FLOAT and DOUBLE.
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")


def json_rows(batch: pa.RecordBatch, *, decimals: str = "number", ending: str = "") -> pa.ChunkedArray:
    """Each row as the text of a JSON object, without a line break inside, with `ending` behind.

    Dates and times are ISO 8601 (zoned ones in UTC), BLOB is base64, INTERVAL is DuckDB's text, a MAP is an object, NaN and
    infinities are text. `decimals`: as "number", with all digits, or as "text" for readers that take numbers for doubles.
    """
    if not batch.num_columns:
        return pa.chunked_array([pa.array(["{}" + ending] * batch.num_rows, pa.string())])
    if all(_stands_as_it_is(column) for column in batch.columns):
        return pa.chunked_array([_quoted_texts(batch, ending)])
    parts = []
    for i, field in enumerate(batch.schema):
        opening = ("{" if i == 0 else ",") + json.dumps(field.name, ensure_ascii=False) + ":"
        parts += [literal(opening), f"coalesce({_text(quoted(f'c{i}'), field.type, decimals)}, 'null')"]
    table = pa.Table.from_batches([batch]).rename_columns([f"c{i}" for i in range(batch.num_columns)])
    return over(table, f"SELECT concat({', '.join(parts)}, {literal('}' + ending)}) AS l FROM t").column(0)


def _stands_as_it_is(column: pa.Array) -> bool:
    """Whether a column is text without nulls, and without a sign that JSON escapes."""
    if not pa.types.is_string(column.type) or column.null_count:
        return False
    signs = np.frombuffer(joined(pa.chunked_array([column])), np.uint8)
    return not ((signs < ord(" ")) | (signs == ord('"')) | (signs == ord("\\"))).any()


def _quoted_texts(batch: pa.RecordBatch, ending: str) -> pa.StringArray:
    """What `json_rows` gives where all columns stand as they are: to plan its query takes longer than to join a thousand rows."""
    parts, before = [], "{"
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        parts += [f'{before}{json.dumps(name, ensure_ascii=False)}:"', column]
        before = '",'
    return pc.binary_join_element_wise(*parts, '"}' + ending, "")


def _text(value: str, data_type: pa.DataType, decimals: str) -> str:
    """SQL for the JSON text of a value; null where it is null."""
    t = pa.types
    if data_type == JSON:
        text, breaks = f"{value}::VARCHAR", "chr(10) || chr(13)"
        return f"CASE WHEN regexp_matches({text}, '[\\n\\r]') THEN translate({text}, {breaks}, '  ') ELSE {text} END"
    if t.is_integer(data_type) or t.is_boolean(data_type) or (t.is_decimal(data_type) and decimals == "number"):
        return f"{value}::VARCHAR"
    if t.is_floating(data_type):
        named = f"CASE WHEN isnan({value}) THEN '\"NaN\"' WHEN {value} > 0 THEN '\"Infinity\"' ELSE '\"-Infinity\"' END"
        return f"CASE WHEN isfinite({value}) THEN {value}::VARCHAR WHEN {value} IS NOT NULL THEN {named} END"
    if t.is_date(data_type) or t.is_time(data_type) or t.is_decimal(data_type):
        return f"'\"' || {value}::VARCHAR || '\"'"
    if t.is_timestamp(data_type):
        return f"'\"' || {_moment(value, data_type)} || '\"'"
    return f"to_json({_plain(value, data_type, decimals, 0)})::VARCHAR"


def _moment(value: str, data_type: pa.DataType) -> str:
    if data_type.tz is None:
        return f"replace({value}::VARCHAR, ' ', 'T')"
    return f"replace(timezone('UTC', {value})::VARCHAR, ' ', 'T') || 'Z'"


def _plain(value: str, data_type: pa.DataType, decimals: str, depth: int) -> str:
    """SQL for a value whose parts `to_json` writes as wanted."""
    t = pa.types
    if not _needs_care(data_type, decimals):
        return value
    if t.is_timestamp(data_type):
        return _moment(value, data_type)
    if data_type == pa.binary():
        return f"to_base64({value})"
    if t.is_floating(data_type):
        return f"({_text(value, data_type, decimals)})::JSON"
    if t.is_struct(data_type):
        parts = ", ".join(
            f"{quoted(f.name)} := {_plain(f'struct_extract({value}, {literal(f.name)})', f.type, decimals, depth)}"
            for f in data_type
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({parts}) END"
    if t.is_map(data_type):
        items = _plain(f"x{depth}", data_type.item_type, decimals, depth + 1)
        return f"map(map_keys({value}), list_transform(map_values({value}), lambda x{depth}: {items}))"
    if t.is_list(data_type):
        return f"list_transform({value}, lambda x{depth}: {_plain(f'x{depth}', data_type.value_type, decimals, depth + 1)})"
    # Decimals as text, intervals.
    return f"{value}::VARCHAR"


def _needs_care(data_type: pa.DataType, decimals: str) -> bool:
    t = pa.types
    if t.is_timestamp(data_type) or data_type == pa.binary() or t.is_floating(data_type):
        return True
    if t.is_decimal(data_type):
        return decimals != "number"
    return any(_needs_care(data_type.field(i).type, decimals) for i in range(data_type.num_fields))


def joined(texts: pa.ChunkedArray, separator: str = "") -> bytes | pa.Buffer:
    """All texts in one, without a copy where they lie in a row."""
    column = texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()
    if separator:
        return separator.join(column.to_pylist()).encode()
    if not len(column):
        return b""
    # The values of an Arrow text column stand one behind the other.
    view = memoryview(column.buffers()[1]).cast("i")
    start, end = view[column.offset], view[column.offset + len(column)]
    return column.buffers()[2].slice(start, end - start)
