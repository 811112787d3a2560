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
        return read_json_sql(sql, target)
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


def read_json_sql(sql: str, target: pa.DataType, depth: int = 0) -> str:
    """`sql`, a JSON value, as SQL of the type `target`; it fails where a value is of another kind. A JSON null is null.

    What an object lacks is null and what the type does not name is left out, unlike in DuckDB's own cast.
    """
    if target == JSON:
        return sql
    if not pa.types.is_nested(target):
        text = f"({sql} ->> '$')"
        return text if target == pa.string() else f"CAST({text} AS {sql_type(target)})"
    if pa.types.is_map(target):
        return f"CAST({sql} AS {sql_type(target)})"
    if depth == 0:
        # json_type itself would break the session over damaged JSON; this only fails.
        sql = f"json_extract({sql}, '$')"
    kind = f"json_type({sql})"
    if pa.types.is_list(target):
        item = f"item_{depth}"
        elements = f"list_transform(CAST({sql} AS JSON[]), lambda {item}: {read_json_sql(item, target.value_type, depth + 1)})"
        return f"CASE WHEN {kind} = 'NULL' THEN NULL ELSE {elements} END"
    parts = ", ".join(
        f"{literal(f.name)}: {read_json_sql(f'json_extract({sql}, {literal(_path(f.name))})', f.type, depth + 1)}" for f in target
    )
    # The plain cast of what is no object says what it is instead.
    refused = f"CAST({sql} AS {sql_type(target)})"
    return f"CASE WHEN {kind} = 'OBJECT' THEN {{{parts}}} WHEN {kind} = 'NULL' THEN NULL ELSE {refused} END"


def _path(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


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
