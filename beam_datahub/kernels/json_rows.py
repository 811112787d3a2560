"""Batches as JSON objects, one a row: the text of what JSON destinations write."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.arrays import text as as_scalar
from beam_datahub.kernels.types import JSON, literal, quoted
from beam_datahub.kernels.workbench import over

# Texts for what JSON's numbers cannot say; readers here take them back for FLOAT and DOUBLE.
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
# For fewer rows it takes longer to plan a query than to join texts.
_FEW_ROWS = 16_384
# Microseconds since 1970 that are up to here have one spelling everywhere: the year 2200.
_SOON = 7_258_118_400_000_000
# Signs of text that JSON writes in two; the backslash comes first, as the others are given one.
_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def json_rows(batch: pa.RecordBatch, *, decimals: str = "number", ending: str = "") -> pa.ChunkedArray:
    """Each row as the text of a JSON object, without a line break inside, with `ending` behind.

    Dates and times are ISO 8601 (zoned ones in UTC), BLOB is base64, INTERVAL is DuckDB's text, a MAP is an object, NaN and
    infinities are text. `decimals`: as "number", with all digits, or as "text" for readers that take numbers for doubles.
    """
    if not batch.num_columns:
        return pa.chunked_array([pa.array(["{}" + ending] * batch.num_rows, pa.string())])
    if all(map(_stands_as_it_is, batch.columns)):
        return pa.chunked_array([_quoted_texts(batch, ending)])
    if batch.num_rows <= _FEW_ROWS:
        found = _joined_texts(batch, decimals, ending)
        if found is not None:
            return pa.chunked_array([found])
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
        parts += [as_scalar(f'{before}{json.dumps(name, ensure_ascii=False)}:"'), column]
        before = '",'
    return pc.binary_join_element_wise(*parts, as_scalar('"}' + ending), as_scalar(""))


def _joined_texts(batch: pa.RecordBatch, decimals: str, ending: str) -> pa.StringArray | None:
    """What `json_rows` gives for a few rows of text, integers, and whatever is the same in all of them; None for others."""
    parts: list[str | pa.Array] = []
    for i, (field, column) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        parts.append(("{" if i == 0 else ",") + json.dumps(field.name, ensure_ascii=False) + ":")
        if _is_same(column):
            parts.append(_one_text(column[:1], field, decimals))
            continue
        values = _integers_or_texts(column)
        if values is None:
            return None
        parts.append(values)
    merged: list[str | pa.Array] = []
    for part in [*parts, "}" + ending]:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    if len(merged) == 1:
        return None
    return pc.binary_join_element_wise(*(as_scalar(part) if isinstance(part, str) else part for part in merged), as_scalar(""))


def _is_same(column: pa.Array) -> bool:
    """Whether a column has the same value in all rows."""
    # Equal floating-point numbers may be written otherwise: 0 and -0.
    t = pa.types
    known = t.is_string(column.type) or (t.is_primitive(column.type) and not t.is_floating(column.type))
    if not known or column.null_count not in (0, len(column)):
        return False
    return bool(column.null_count or pc.all(pc.equal(column, column[0])).as_py())


def _one_text(column: pa.Array, field: pa.Field, decimals: str) -> str:
    """The JSON text of a column of one row."""
    if column.null_count:
        return "null"
    if pa.types.is_integer(field.type):
        return str(column[0].as_py())
    if _stands_as_it_is(column):
        return f'"{column[0].as_py()}"'
    if pa.types.is_timestamp(field.type) and field.type.unit == "us" and 0 <= (value := column[0].value) < _SOON:
        moment = str(np.datetime64(value, "us")).rstrip("0").rstrip(".")
        return f'"{moment}{"Z" if field.type.tz else ""}"'
    table = pa.Table.from_arrays([column], names=["c0"])
    return str(over(table, f"SELECT {_text('c0', field.type, decimals)} AS l FROM t").column(0)[0].as_py())


def _integers_or_texts(column: pa.Array) -> pa.StringArray | None:
    """The JSON texts of a column of integers or of text with signs that are escaped by one more; None for others."""
    if pa.types.is_integer(column.type):
        texts = column.cast(pa.string())
    elif pa.types.is_string(column.type) and not isinstance(column.type, pa.BaseExtensionType):
        signs = np.frombuffer(joined(pa.chunked_array([column])), np.uint8)
        controls = set(np.unique(signs[signs < ord(" ")]).tolist())
        if controls - {ord(sign) for sign, _ in _ESCAPES}:
            return None
        texts = column
        for sign, escaped in _ESCAPES:
            if ord(sign) in controls or (sign in '"\\' and (signs == ord(sign)).any()):
                texts = pc.replace_substring(texts, sign, escaped)
        texts = pc.binary_join_element_wise(as_scalar('"'), texts, as_scalar('"'), as_scalar(""))
    else:
        return None
    return pc.coalesce(texts, as_scalar("null")) if texts.null_count else texts


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
