"""Rows and tables from a user's function put into a declared schema, and rows as Python values on the way in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from beam_datahub.kernels.session import KernelSession, conform
from beam_datahub.kernels.types import JSON, without_json


class Misfit(ValueError):
    """A value that the declared schema has no place for; `column` is where, if it is in one."""

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


def python_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Misfit]:
    """The rows as dicts of Python values, JSON columns as the values that their texts mean; a misfit where they mean none."""
    names = [field.name for field in batch.schema if field.type == JSON]
    for row in batch.to_pylist():
        misfit: Misfit | None = None
        for name in names:
            try:
                row[name] = None if row[name] is None else json.loads(row[name])
            except (ValueError, RecursionError):
                misfit = Misfit(f"'{name}' is no JSON that can be read", name)
        yield row if misfit is None else misfit


def conform_rows(
    rows: Sequence[Mapping[str, Any]], parents: Sequence[int], schema: pa.Schema
) -> tuple[pa.Table, dict[int, tuple[str, str | None]]]:
    """`rows` as a table of `schema`, without those of parents that have a misfit: parent → (message, column).

    A name that a row lacks is null; one that `schema` lacks is a misfit.
    """
    known = set(schema.names)
    misfits: dict[int, tuple[str, str | None]] = {}
    for row, parent in zip(rows, parents, strict=True):
        if not row.keys() <= known and parent not in misfits:
            stray = next(str(name) for name in row if name not in known)
            misfits[parent] = (f"the function returned '{stray}', which `schema` does not declare", stray)
    columns: list[list[Any]] = []
    arrays: list[pa.Array | None] = []
    for field in schema:
        values = [_encoded(row.get(field.name), field.type) for row in rows]
        array = _array(values, field.type)
        columns.append(values)
        arrays.append(array)
        if array is None:
            for value, parent in zip(values, parents, strict=True):
                if parent not in misfits and (found := _misfit(value, field)) is not None:
                    misfits[parent] = (found, field.name)
    if not misfits:
        return pa.Table.from_arrays(arrays, schema=schema), misfits
    good = [parent not in misfits for parent in parents]
    kept = [
        array.filter(pa.array(good, pa.bool_()))
        if array is not None
        else _array([v for v, ok in zip(values, good, strict=True) if ok], f.type)
        for array, values, f in zip(arrays, columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(kept, schema=schema), misfits


def _encoded(value: Any, data_type: pa.DataType) -> Any:
    if data_type != JSON or value is None:
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return _NoJson


class _NoJson:
    """Stands for a value that JSON cannot say."""


def _array(values: list[Any], data_type: pa.DataType) -> pa.Array | None:
    """The values as an array, or None where one does not fit."""
    if _has_integers(data_type) and any(_truncates(value, data_type) for value in values):
        return None
    try:
        return _with_json(pa.array(values, without_json(data_type)), data_type)
    except (pa.ArrowException, duckdb.Error, TypeError, ValueError, OverflowError, AttributeError):
        return None


def _with_json(array: pa.Array, data_type: pa.DataType) -> pa.Array:
    if array.type == data_type:
        return array
    return conform(pa.table([array], names=["c"]), pa.schema([("c", data_type)])).column(0).combine_chunks()


def _misfit(value: Any, field: pa.Field) -> str | None:
    if value is _NoJson:
        return f"the function returned a '{field.name}' that is no JSON"
    if _array([value], field.type) is not None:
        return None
    return f"the function returned {value!r:.200} for '{field.name}', which is {field.type}"


def _has_integers(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(data_type)) or any(
        _has_integers(data_type.field(index).type) for index in range(data_type.num_fields)
    )


def _truncates(value: Any, data_type: pa.DataType) -> bool:
    """Whether Arrow would cut off a fraction without a word."""
    if value is None:
        return False
    if pa.types.is_integer(data_type):
        return isinstance(value, float) and not value.is_integer()
    if pa.types.is_list(data_type) and isinstance(value, list | tuple):
        return any(_truncates(item, data_type.value_type) for item in value)
    if pa.types.is_struct(data_type) and isinstance(value, Mapping):
        return any(_truncates(value.get(f.name), f.type) for f in data_type)
    return False


def conform_table(table: pa.Table, schema: pa.Schema, session: KernelSession) -> pa.Table:
    """`table` with the columns of `schema`, by name, converted where nothing is lost. Raises Misfit."""
    for name in table.schema.names:
        if name not in schema.names:
            raise Misfit(f"the function returned '{name}', which `schema` does not declare", name)
    columns: list[pa.ChunkedArray] = []
    for field in schema:
        if table.schema.names.count(field.name) != 1:
            raise Misfit(f"the function returned no column '{field.name}', or several", field.name)
        columns.append(_converted(table.column(field.name), field, session))
    return pa.Table.from_arrays(columns, schema=schema)


def _converted(column: pa.ChunkedArray, field: pa.Field, session: KernelSession) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    try:
        plain = without_json(field.type)
        if field.type == plain:
            return column.cast(field.type)
        if field.type != JSON:
            return conform(pa.table([column.cast(plain)], names=["c"]), pa.schema([("c", field.type)])).column(0)
        texts = column.cast(pa.string())
        session.put("texts", pa.table({"text": texts}))
        if session.scalar("SELECT count(*) FROM texts WHERE NOT json_valid(text)"):
            raise Misfit(f"the function returned a '{field.name}' that is no JSON", field.name)
        return pa.chunked_array([pa.ExtensionArray.from_storage(JSON, chunk) for chunk in texts.chunks], type=JSON)
    except (pa.ArrowException, duckdb.Error) as error:
        raise Misfit(
            f"the function returned '{field.name}' as {column.type}, and not {field.type}: {error}", field.name
        ) from error
