"""JSONPath (RFC 9535) over the row: `$.a` is column a, `$.doc.x` reaches into a struct, list, map or JSON column."""

from __future__ import annotations

import re

import pyarrow as pa

from beam_datahub.errors import InvalidExpression, UnknownColumn
from beam_datahub.kernels.expressions.expression import Expression
from beam_datahub.kernels.expressions.resolve import Names
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, quoted

_STEP = re.compile(r"\.([^\W\d]\w*)|\[(-?\d+)\]|\['([^'\\]*)'\]")


def compile_path(text: str, schema: pa.Schema, session: KernelSession) -> Expression:
    """The expression that a path means."""
    steps: list[str | int] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise InvalidExpression(f"the path is not understood from '{text[position:]}' on")
        steps.append(int(match[2]) if match[2] else (match[1] or match[3] or ""))
        position = match.end()
    if not steps or not isinstance(steps[0], str):
        raise InvalidExpression("a path starts with a column, for example $.customer")
    name = Names(schema).require(steps[0])
    sql, kind = quoted(name), schema.field(name).type
    for step in steps[1:]:
        sql, kind = _step(sql, kind, step)
    return Expression(text, sql, kind, (name,), can_fail=False)


def _step(sql: str, kind: pa.DataType, step: str | int) -> tuple[str, pa.DataType]:
    if kind == JSON:
        return f"json_extract({sql}, {literal(_json_step(step))})", JSON
    if pa.types.is_struct(kind) and isinstance(step, str):
        names = Names(pa.schema(list(kind)))
        found = names.find(step)
        if found is None:
            raise UnknownColumn(step, names.schema.names)
        return f"struct_extract({sql}, {literal(found)})", names.schema.field(found).type
    if pa.types.is_list(kind) and isinstance(step, int):
        return f"list_extract({sql}, {step + 1 if step >= 0 else step})", kind.value_type
    if pa.types.is_map(kind) and isinstance(step, str):
        return f"map_extract_value({sql}, {literal(step)})", kind.item_type
    raise InvalidExpression(f"the path finds nothing at '{step}'")


def _json_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"$[{step}]"
    escaped = step.replace("\\", "\\\\").replace('"', '\\"')
    return f'$."{escaped}"'
