"""Conversions between column types as SQL, and the mask of the rows on which SQL fails."""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.kernels.types import JSON, sql_type


def cast_sql(sql: str, source: pa.DataType, target: pa.DataType) -> str:
    """`sql`, a value of type `source`, converted to `target`; it fails on a row where that cannot be done.

    A JSON text becomes its characters (`de`, not `"de"`) and a JSON null becomes null. A text becomes JSON by parsing it.
    """
    if source == target:
        return sql
    if source == JSON:
        return _from_json(sql, target)
    if pa.types.is_list(source) and pa.types.is_list(target) and _holds_json(source.value_type):
        element = cast_sql("x", source.value_type, target.value_type)
        return f"list_transform({sql}, lambda x: {element})"
    return f"CAST({sql} AS {sql_type(target)})"


def _from_json(sql: str, target: pa.DataType) -> str:
    if pa.types.is_nested(target):
        return f"CAST({sql} AS {sql_type(target)})"
    text = f"({sql} ->> '$')"
    return text if target == pa.string() else f"CAST({text} AS {sql_type(target)})"


def _holds_json(data_type: pa.DataType) -> bool:
    if data_type == JSON:
        return True
    return any(_holds_json(data_type.field(index).type) for index in range(data_type.num_fields))


def error_mask_sql(sql: str) -> str:
    """Boolean SQL that is true just where evaluating `sql` fails; it never fails itself and is never null."""
    # `sql IS NULL` would not do: DuckDB answers it for a struct, a list or a case of constants without evaluating it.
    return f"TRY(hash({sql})) IS NULL"
