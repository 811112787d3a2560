"""Batches as the rows that Python's database clients take and give, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.workbench import over


def python_rows(batch: pa.RecordBatch, *, native: frozenset[str] = frozenset()) -> list[tuple[Any, ...]]:
    """The rows as tuples of int, float, bytes, text and None; what is none of these is its text: dates in ISO 8601, JSON.

    `native`: what the client takes as Python's own values: "bool", "date", "time", "timestamp", "decimal".
    """
    t = pa.types
    columns: list[Sequence[Any]] = []
    for index, field in enumerate(batch.schema):
        array, kind = batch.column(index), field.type
        if any(test(kind) for test in _AS_IS) and kind != pa.uint64():
            columns.append(array.to_pylist())
        elif t.is_boolean(kind):
            columns.append(array.to_pylist() if "bool" in native else array.cast(pa.int8()).to_pylist())
        elif kind == JSON:
            columns.append(array.storage.to_pylist())
        elif any(name in native and is_kind(kind) for name, is_kind in _NATIVE.items()):
            columns.append(array.to_pylist())
        else:
            columns.append(_texts(array))
    return list(zip(*columns, strict=True))


_AS_IS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_binary, pa.types.is_string)
_NATIVE = {
    "date": pa.types.is_date,
    "time": pa.types.is_time,
    "timestamp": pa.types.is_timestamp,
    "decimal": pa.types.is_decimal,
}


def _texts(array: pa.Array) -> list[str | None]:
    """DuckDB's texts of a column: ISO 8601 for dates and moments, JSON for what is nested, all digits of decimals."""
    nested = pa.types.is_nested(array.type)
    sql = "CAST(to_json(c) AS VARCHAR)" if nested else "CAST(c AS VARCHAR)"
    found = over(pa.table({"c": array}), f"SELECT CASE WHEN c IS NOT NULL THEN {sql} END AS c FROM t").column(0)
    texts: list[str | None] = found.to_pylist()
    return texts


def columns_of(rows: Sequence[tuple[Any, ...]], columns: Sequence[tuple[str, pa.DataType]]) -> pa.RecordBatch:
    """Rows as a batch: each column in its type where all values are of it, else in one that holds them, text at last."""
    arrays = [_array(values, kind) for values, (_, kind) in zip(zip(*rows, strict=True), columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in columns])


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    for wanted in (_storage(kind), None):
        try:
            return pa.array(values, wanted)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            continue
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _storage(kind: pa.DataType) -> pa.DataType | None:
    """What Python's values of a column are in Arrow before they get its type; None: what they say themselves."""
    t = pa.types
    if kind == JSON:
        return pa.string()
    if t.is_integer(kind):
        return pa.int64()
    return kind if t.is_floating(kind) or t.is_string(kind) or t.is_binary(kind) else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
