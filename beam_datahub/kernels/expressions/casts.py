"""Conversions between column types as SQL, and the mask of the rows on which SQL fails."""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.kernels.types import JSON, literal, quoted, sql_type


def cast_sql(sql: str, source: pa.DataType, target: pa.DataType) -> str:
    """`sql`, a value of type `source`, converted to `target`; it fails on a row where that cannot be done.

    A JSON text becomes its characters (`de`, not `"de"`) and a JSON null becomes null. A text becomes JSON by parsing it.
    """
    if source == target:
        return sql
    if source == JSON:
        return _from_json(sql, target)
    if _holds_json(source):
        if pa.types.is_list(source) and pa.types.is_list(target):
            return f"list_transform({sql}, lambda x: {cast_sql('x', source.value_type, target.value_type)})"
        if pa.types.is_struct(source) and pa.types.is_struct(target):
            return _between_structs(sql, source, target)
    return f"CAST({sql} AS {sql_type(target)})"


def _between_structs(sql: str, source: pa.DataType, target: pa.DataType) -> str:
    """A struct field by field, for DuckDB's own cast would leave JSON texts their quotes."""
    known = {field.name.casefold(): field for field in source}
    parts = []
    for field in target:
        found = known.get(field.name.casefold())
        part = f"CAST(NULL AS {sql_type(field.type)})"
        if found is not None:
            part = cast_sql(f"struct_extract({sql}, {literal(found.name)})", found.type, field.type)
        parts.append(f"{quoted(field.name)} := {part}")
    return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"


def _from_json(sql: str, target: pa.DataType) -> str:
    if pa.types.is_nested(target):
        return f"CAST({sql} AS {sql_type(target)})"
    text = f"({sql} ->> '$')"
    return text if target == pa.string() else f"CAST({text} AS {sql_type(target)})"


def _holds_json(data_type: pa.DataType) -> bool:
    if data_type == JSON:
        return True
    return any(_holds_json(data_type.field(index).type) for index in range(data_type.num_fields))


def checked_json_sql(sql: str, kind: pa.DataType) -> str:
    """`sql`, a value of type `kind`, with all JSON in it read once: damaged JSON fails here.

    DuckDB's functions that do not expect it (`to_json`, `json_type` and others) would break the whole session instead.
    """
    if kind == JSON:
        return f"json_extract({sql}, '$')"
    if not _holds_json(kind):
        return sql
    if pa.types.is_list(kind):
        return f"list_transform({sql}, lambda x: {checked_json_sql('x', kind.value_type)})"
    if pa.types.is_map(kind):
        return f"map(map_keys({sql}), list_transform(map_values({sql}), lambda x: {checked_json_sql('x', kind.item_type)}))"
    parts = [
        f"{quoted(field.name)} := {checked_json_sql(f'struct_extract({sql}, {literal(field.name)})', field.type)}"
        for field in kind
    ]
    return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"


def error_mask_sql(sql: str) -> str:
    """Boolean SQL that is true just where evaluating `sql` fails; it never fails itself and is never null."""
    # `sql IS NULL` would not do: DuckDB answers it for a struct, a list or a case of constants without evaluating it.
    return f"TRY(hash({sql})) IS NULL"
