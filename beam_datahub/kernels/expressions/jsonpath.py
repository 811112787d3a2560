"""JSONPath (RFC 9535) over the row: `$.a` is column a, `$.doc.x` reaches into a struct, list, map or JSON column.

Names, indices, wildcards and plain slices become SQL. The rest (filters, `..`, several selectors at once) is searched
for in the JSON text by a library, with the same answers. After the path, `.{id: productId, n: qty}` builds new objects.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidExpression, UnknownColumn
from beam_datahub.kernels.expressions.casts import checked_json_sql
from beam_datahub.kernels.expressions.expression import Expression
from beam_datahub.kernels.expressions.nodes import Nodes
from beam_datahub.kernels.expressions.resolve import Names
from beam_datahub.kernels.functions import JSON_PATH, parse_path
from beam_datahub.kernels.types import JSON, literal, quoted, visible

_PROJECTION = re.compile(r"\.\s*\{(?P<fields>[^{}]*)\}\s*\Z", re.DOTALL)
_PAIR = re.compile(r"\s*(?:(?P<name>[^\W\d][\w-]*|'[^']*'|\"[^\"]*\")\s*:\s*)?(?P<path>.+?)\s*\Z", re.DOTALL)

# A step of a path: ("name", text), ("index", number), ("wild",), ("slice", start, end), or ("other", segment text).
Step = tuple[Any, ...]


def compile_path(text: str, schema: pa.Schema) -> Expression:
    """The expression that a path means: a value, null when absent, or else the list of nodes found."""
    path, fields = _split_projection(text)
    query = _parse(path)
    steps = [_step(segment) for segment in query.segments]
    absolute = _is_absolute(path)
    nodes, columns = _reach(steps, schema) if not absolute else (None, ())
    if nodes is None:
        nodes, columns = _search(path, query.singular_query(), steps, schema, absolute=absolute)
    if fields is not None:
        nodes = nodes.project(fields)
    sql, kind = nodes.result()
    return Expression(text, sql, kind, columns, can_fail=nodes.can_fail)


def _reach(steps: list[Step], schema: pa.Schema) -> tuple[Nodes | None, tuple[str, ...]]:
    """The nodes of a path that SQL alone finds, and the columns that they come from."""
    if not steps:
        whole = visible(schema)
        fields = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in whole.names)
        return Nodes(f"struct_pack({fields})", pa.struct(list(whole))), tuple(whole.names)
    if steps[0][0] != "name":
        return None, ()
    name = _column(steps[0][1], schema)
    return Nodes(quoted(name), schema.field(name).type).follow(steps[1:]), (name,)


def _search(path: str, singular: bool, steps: list[Step], schema: pa.Schema, *, absolute: bool) -> tuple[Nodes, tuple[str, ...]]:
    """The nodes of a path that the library finds in the JSON of the row, with just the columns that it needs."""
    if absolute or not steps or steps[0][0] != "name":
        parts = {name: name for name in visible(schema).names}
        if steps and steps[0][0] == "name":
            parts.setdefault(steps[0][1], _column(steps[0][1], schema))
    else:
        parts = {steps[0][1]: _column(steps[0][1], schema)}
    # Taking the nodes out of the array also writes numbers as DuckDB does.
    found = f"json_extract({JSON_PATH}({literal(path)}, CAST(to_json({_row_sql(parts, schema)}) AS VARCHAR)), '$[*]')"
    columns = tuple(dict.fromkeys(parts.values()))
    if singular:
        return Nodes(f"({found})[1]", JSON, can_fail=True), columns
    return Nodes(found, JSON, many=True, can_fail=True), columns


def _row_sql(parts: dict[str, str], schema: pa.Schema) -> str:
    checked = {name: checked_json_sql(quoted(column), schema.field(column).type) for name, column in parts.items()}
    return f"struct_pack({', '.join(f'{quoted(name)} := {sql}' for name, sql in checked.items())})"


def _column(name: str, schema: pa.Schema) -> str:
    found = Names(schema).find(name)
    if found is None:
        raise UnknownColumn(name, visible(schema).names)
    return found


def _parse(path: str) -> Any:
    from jsonpath_rfc9535 import JSONPathError

    try:
        return parse_path(path)
    except JSONPathError as error:
        reason = str(error).split("\n", 1)[0].split(", line ", 1)[0]
        hint = "see RFC 9535, for example $.items[*].sku"
        raise InvalidExpression(f"the path '{path}' is not JSONPath: {reason}", hint=hint) from error
    except RecursionError as error:
        raise InvalidExpression(f"the path '{path[:40]}…' is nested too deeply") from error


def _split_projection(text: str) -> tuple[str, dict[str, list[Step]] | None]:
    """The path, and the fields of the projection that ends it."""
    match = _PROJECTION.search(text)
    if match is None:
        return text, None
    fields: dict[str, list[Step]] = {}
    for part in match["fields"].split(","):
        pair = _PAIR.match(part)
        if pair is None:
            raise InvalidExpression(f"'{match[0]}' builds no object", hint="write .{name: path, …}, for example .{id: productId}")
        query = _parse("$" + ("" if pair["path"].startswith("[") else ".") + pair["path"])
        steps = [_step(segment) for segment in query.segments]
        if not steps or any(step[0] not in ("name", "index") for step in steps):
            raise InvalidExpression(
                f"'{pair['path']}' is not one value", hint="a projection takes names and indices, such as price.amount"
            )
        name = pair["name"].strip("'\"") if pair["name"] else _last_name(steps)
        if name in fields:
            raise InvalidExpression(f"the projection has two fields '{name}'")
        fields[name] = steps
    return text[: match.start()], fields


def _last_name(steps: list[Step]) -> str:
    names = [str(step[1]) for step in steps if step[0] == "name"]
    if not names:
        raise InvalidExpression("a field of a projection has no name", hint="write .{name: path}")
    return names[-1]


def _is_absolute(path: str) -> bool:
    """Whether a filter of the path refers to the root, which is the whole row."""
    unquoted = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "", path)
    return "$" in unquoted[1:]


def _step(segment: Any) -> Step:
    from jsonpath_rfc9535 import selectors
    from jsonpath_rfc9535.segments import JSONPathChildSegment

    if isinstance(segment, JSONPathChildSegment) and len(segment.selectors) == 1:
        selector = segment.selectors[0]
        if isinstance(selector, selectors.NameSelector):
            return ("name", selector.name)
        if isinstance(selector, selectors.IndexSelector):
            return ("index", selector.index)
        if isinstance(selector, selectors.WildcardSelector):
            return ("wild",)
        if isinstance(selector, selectors.SliceSelector):
            part = selector.slice
            start, end = part.start or 0, part.stop
            if part.step in (None, 1) and start >= 0 and (end is None or end >= 0):
                return ("slice", start, end, str(segment))
    return ("other", str(segment))
