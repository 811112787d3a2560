"""Rows between PostgreSQL's forms and Arrow's: what ADBC gives put right, and columns as the texts that COPY reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.types import HIDDEN, JSON
from beam_datahub.kernels.workbench import over

# A column of this name beside an array says which of its values have several dimensions.
FOLDED = f"{HIDDEN}folded_"

# What COPY is handed at once.
_CHUNK_ROWS = 65_536

# How ADBC spells what a decimal may be and no number is, and how the server does.
_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

# PostgreSQL counts days and microseconds from 2000 and keeps the ends of the range for infinity; ADBC adds what lies between 1970
# and 2000, which overflows. DuckDB keeps the ends for infinity, too.
_DAY_OVERFLOWS = (-(2**31) + 10_956, -(2**31) + 10_957)
_INSTANT_OVERFLOWS = (-(2**63) + 946_684_800_000_000 - 1, -(2**63) + 946_684_800_000_000)
# Before the first moment that the server can have.
_FIRST_DAY, _FIRST_INSTANT = -2_500_000, -220_000_000_000_000_000


def settled(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of ADBC in plain types, infinite dates as DuckDB has them. Raises UnreadableData for what Arrow cannot hold."""
    arrays, names = [], []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith(FOLDED):
            if pc.any(array, min_count=0).as_py():
                column = name[len(FOLDED) :]
                hint = f"read it as JSON, with a query: to_jsonb({column})"
                raise UnreadableData(f"the column '{column}' has arrays of several dimensions", hint=hint)
            continue
        arrays.append(_settled(array, name))
        names.append(name)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _settled(array: pa.Array, name: str) -> pa.Array:
    if isinstance(array.type, pa.BaseExtensionType):
        # Only decimals come so: the client spells them out, which saves the server half of their time.
        return _spelt_as_there(array.storage)
    if pa.types.is_date32(array.type):
        return _infinite(array, pa.int32(), _DAY_OVERFLOWS, _FIRST_DAY, 2**31 - 1, name)
    if pa.types.is_timestamp(array.type):
        return _infinite(array, pa.int64(), _INSTANT_OVERFLOWS, _FIRST_INSTANT, 2**63 - 1, name)
    return array


def _spelt_as_there(texts: pa.Array) -> pa.Array:
    """Decimals as texts, what is no number in the server's words."""
    buffer = texts.buffers()[2]
    if buffer is None or not buffer.size or np.frombuffer(buffer, np.uint8).max() <= ord("9"):
        return texts
    for given, meant in _NO_NUMBERS.items():
        texts = pc.if_else(pc.equal(texts, given), meant, texts)
    return texts


def _infinite(array: pa.Array, plain: pa.DataType, overflows: tuple[int, int], first: int, most: int, name: str) -> pa.Array:
    numbers = array.view(plain)
    least = pc.min(numbers).as_py()
    if least is None or least >= first:
        return array
    for given, meant in zip(overflows, (most, -most), strict=True):
        numbers = pc.if_else(pc.equal(numbers, given), pa.scalar(meant, plain), numbers)
    strange = pc.and_(pc.less(numbers, first), pc.greater(numbers, -most))
    if pc.any(strange, min_count=0).as_py():
        raise UnreadableData(f"the column '{name}' has moments after the year 294246, which no column can hold")
    return numbers.view(array.type)


def csv_form(batch: pa.RecordBatch) -> Iterator[memoryview]:
    """A batch as COPY reads it with `FORMAT csv`, part by part."""
    from pyarrow import csv

    options = csv.WriteOptions(include_header=False, quoting_style="needed", batch_size=8192)
    given = text_columns(batch)
    for start in range(0, given.num_rows, _CHUNK_ROWS):
        sink = pa.BufferOutputStream()
        csv.write_csv(given.slice(start, _CHUNK_ROWS), sink, options)
        yield memoryview(sink.getvalue())


def text_columns(batch: pa.RecordBatch) -> pa.Table:
    """The columns as Arrow's CSV writer spells them in PostgreSQL's way; those that it cannot are made text before."""
    columns = [column.storage if column.type == JSON else column for column in batch.columns]
    table = pa.Table.from_arrays(columns, names=[f"c{index}" for index in range(len(columns))])
    spelt = {}
    for index, field in enumerate(batch.schema):
        if not is_usual(columns[index]) and (text := _spelling(field.type, f"c{index}")) is not None:
            spelt[index] = f"{text} AS c{index}"
    if spelt:
        texts = over(table.select(list(spelt)), f"SELECT {', '.join(spelt.values())} FROM t")
        for position, index in enumerate(spelt):
            table = table.set_column(index, f"c{index}", texts.column(position))
    return table


def is_usual(array: pa.Array) -> bool:
    """Whether dates and times are such as all spell in one way: from the year 1 to the year 9999."""
    data_type = array.type
    if pa.types.is_date(data_type):
        return _lies_in(array, pa.int32(), -719_162, 2_932_896)
    if pa.types.is_timestamp(data_type):
        return _lies_in(array, pa.int64(), -62_135_596_800_000_000, 253_402_300_799_999_999)
    return pa.types.is_time(data_type) and _lies_in(array, pa.int64(), 0, 86_399_999_999)


def _lies_in(array: pa.Array, plain: pa.DataType, first: int, last: int) -> bool:
    ends = pc.min_max(array.view(plain)).as_py()
    return ends["min"] is None or (ends["min"] >= first and ends["max"] <= last)


def _spelling(data_type: pa.DataType, value: str) -> str | None:
    """SQL for a value's text where the CSV writer has none of its own, or at times another one."""
    t = pa.types
    if t.is_list(data_type) and not t.is_nested(data_type.value_type):
        return f"CASE WHEN {value} IS NOT NULL THEN {_array(data_type.value_type, value)} END"
    if t.is_nested(data_type):
        return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"
    if t.is_binary(data_type):
        return rf"'\x' || lower(hex({value}))"
    if data_type == pa.month_day_nano_interval() or t.is_time(data_type):
        return f"CAST({value} AS VARCHAR)"
    if t.is_date(data_type) or t.is_timestamp(data_type):
        # The era stands behind the offset there.
        return f"regexp_replace(CAST({value} AS VARCHAR), '^(.*) \\(BC\\)(.*)$', '\\1\\2 BC')"
    return None


def _array(item: pa.DataType, value: str) -> str:
    """SQL for an array's literal: each element in quotes, its quotes and backslashes escaped."""
    text = _spelling(item, "x") or "CAST(x AS VARCHAR)"
    escaped = rf"""replace(replace({text}, '\', '\\'), '"', '\"')"""
    element = f"""CASE WHEN x IS NULL THEN 'NULL' ELSE '"' || {escaped} || '"' END"""
    return f"'{{' || array_to_string(list_transform({value}, lambda x: {element}), ',') || '}}'"
