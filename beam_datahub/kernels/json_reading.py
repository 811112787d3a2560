"""JSON values read as typed ones: what an object lacks is null, what the type does not name is left out."""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.kernels.expressions import cast_sql
from beam_datahub.kernels.types import JSON, literal, sql_type


def read_json_sql(sql: str, target: pa.DataType, depth: int = 0) -> str:
    """`sql`, a JSON value, as SQL of the type `target`; it fails where a value is of another kind. A JSON null is null.

    Unlike a plain cast, an object need not have just the keys of the type.
    """
    if target == JSON or not (pa.types.is_struct(target) or pa.types.is_list(target)):
        return cast_sql(sql, JSON, target)
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
