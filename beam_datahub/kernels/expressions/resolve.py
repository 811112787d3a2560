"""Checks a syntax tree against the allow-list and binds its column names to a schema."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from beam_datahub.errors import InvalidExpression, UnknownColumn, nearest
from beam_datahub.kernels.expressions.allowed import (
    AGGREGATE_NAMES,
    CLOCK_NAMES,
    LAMBDA_NAMES,
    RANDOM_NAMES,
    SCALAR_NAMES,
    SURROUNDING_NAMES,
    UNCHECKED_JSON_NAMES,
    words,
)
from beam_datahub.kernels.expressions.syntax import Node, children, column_node, function_node, marked, text_node, walk
from beam_datahub.kernels.types import JSON, visible

_REFUSED_CLASSES = {
    "SUBQUERY": (
        "a subquery",
        "join the other rows in; write `list_contains(l, x)` for `x = any(l)`",
    ),
    "WINDOW": ("a window function", "use an aggregation, a deduplication or a top step, or a `sql` transformation"),
    "PARAMETER": ("a prepared-statement parameter", "write ${param.name} for a parameter of the integration"),
    "POSITIONAL_REFERENCE": ("a reference by position", "name the column"),
    "STAR": ("a star", "name the columns one by one"),
    "DEFAULT": ("`default`", None),
}
_ALLOWED_CLASSES = words("COLUMN_REF CONSTANT FUNCTION OPERATOR COMPARISON CONJUNCTION CASE CAST BETWEEN LAMBDA COLLATE")
_ALLOWED_OPERATORS = words(
    "OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL COMPARE_IN COMPARE_NOT_IN OPERATOR_COALESCE OPERATOR_TRY OPERATOR_NULLIF "
    "ARRAY_EXTRACT ARRAY_SLICE ARRAY_CONSTRUCTOR STRUCT_EXTRACT"
)
_ROUTINE_LISTS = words("list_aggregate list_aggr array_aggregate array_aggr aggregate")
_BY_TIME_FORMAT = words("strptime try_strptime strftime")
_REDUCTIONS = words("list_reduce array_reduce reduce")
_CONSTANT_ARGUMENTS = {
    "time_bucket": (0,),
    "timezone": (0,),
    **dict.fromkeys(("like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"), (1, 2)),
}


@dataclass
class Names:
    """The columns of a schema as expressions name them: exactly, or else without regard to case."""

    schema: pa.Schema
    check_json: bool = False
    """Whether a JSON column is read before it is used, so that damaged JSON fails on its row alone."""
    _folded: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.schema.names:
            self._folded.setdefault(name.casefold(), name)

    def find(self, name: str) -> str | None:
        """The column that `name` means, or None."""
        if name in self.schema.names:
            return name
        return self._folded.get(name.casefold())

    def require(self, name: str) -> str:
        """The column that `name` means. Raises UnknownColumn."""
        found = self.find(name)
        if found is None:
            raise UnknownColumn(name, visible(self.schema).names)
        return found


def bind(node: Node, names: Names, bound: frozenset[str] = frozenset()) -> Node:
    """A copy of `node` with its columns bound; `bound` are lambda parameters. Raises UnknownColumn, InvalidExpression."""
    kind = node["class"]
    if kind in _REFUSED_CLASSES:
        what, hint = _REFUSED_CLASSES[kind]
        raise InvalidExpression(f"{what} is not allowed in an expression", hint=hint)
    if kind not in _ALLOWED_CLASSES:
        raise InvalidExpression(f"{kind.lower().replace('_', ' ')} is not allowed in an expression")
    if kind == "COLUMN_REF":
        return _bind_column(node, names, bound)
    if kind == "FUNCTION":
        return _bind_function(node, names, bound)
    if kind == "OPERATOR" and node["type"] not in _ALLOWED_OPERATORS:
        raise InvalidExpression(f"{node['type'].lower().replace('_', ' ')} is not allowed in an expression")
    if kind == "LAMBDA":
        return _bind_arrow(node, names, bound)
    return _copy(node, names, bound)


def _copy(node: Node, names: Names, bound: frozenset[str]) -> Node:
    """`node` with everything inside it bound."""
    result: Node = {}
    for key, value in node.items():
        if key == "type_expr":
            result[key] = value
        elif isinstance(value, dict):
            result[key] = bind(value, names, bound) if "class" in value else _copy(value, names, bound)
        elif isinstance(value, list):
            result[key] = [
                (bind(item, names, bound) if "class" in item else _copy(item, names, bound)) if isinstance(item, dict) else item
                for item in value
            ]
        else:
            result[key] = value
    return result


def _bind_column(node: Node, names: Names, bound: frozenset[str]) -> Node:
    first, *rest = node["column_names"]
    if first.casefold() in bound:
        # A lambda's parameter: its type is not known here, so that DuckDB checks what is reached for.
        return {**node, "column_names": [marked(first), *(marked(part) for part in rest)]}
    name = names.find(first)
    if name is None:
        if not rest:
            refuse_surroundings(first)
        raise UnknownColumn(first if not rest else ".".join(node["column_names"]), visible(names.schema).names)
    result = column_node(name)
    kind = names.schema.field(name).type
    for depth, part in enumerate(rest):
        path = ".".join([name, *rest[:depth]])
        if kind == JSON or pa.types.is_map(kind) or pa.types.is_list(kind):
            what = "JSON" if kind == JSON else "a map" if pa.types.is_map(kind) else "a list"
            raise InvalidExpression(f"'{path}' is {what}, which has no named parts", hint=f"write $.{path}.{part}")
        if not pa.types.is_struct(kind):
            raise InvalidExpression(f"'{path}' is not a struct, so that it has no part '{part}'")
        parts = Names(pa.schema(list(kind)))
        found = parts.find(part)
        if found is None:
            raise UnknownColumn(f"{path}.{part}", [f"{path}.{other}" for other in parts.schema.names])
        result = function_node("struct_extract", result, text_node(found))
        kind = parts.schema.field(found).type
    return function_node("json_extract", result, text_node("$")) if kind == JSON and names.check_json else result


def names_for(node: Node, schema: pa.Schema) -> Names:
    """The columns of `schema` for binding `node`."""
    calls = {str(part["function_name"]).casefold() for part in walk(node) if part["class"] == "FUNCTION"}
    return Names(schema, check_json=bool(calls & UNCHECKED_JSON_NAMES))


def refuse_surroundings(name: str) -> None:
    """Raise InvalidExpression when `name` is one that a clock, chance or the surroundings would answer."""
    folded = name.casefold()
    if folded in CLOCK_NAMES:
        raise InvalidExpression(
            f"'{name}' is not allowed: a retried or repeated run would give another result",
            hint="pass the date in as a parameter, for example date '${param.today}'",
        )
    if folded in RANDOM_NAMES:
        raise InvalidExpression(
            f"'{name}' is not allowed: a retried or repeated run would give another result",
            hint="derive a value from the record itself, for example md5(id)",
        )
    if folded in SURROUNDING_NAMES:
        raise InvalidExpression(
            f"'{name}' is not allowed: an expression reaches no files, settings or environment",
            hint="read files with a source; pass settings in with ${param.name} or ${env.NAME}",
        )


def _bind_function(node: Node, names: Names, bound: frozenset[str]) -> Node:
    name = str(node["function_name"])
    folded = name.casefold()
    if node.get("schema") or node.get("catalog"):
        raise InvalidExpression(
            f"'{node.get('schema') or node.get('catalog')}.{name}' is not allowed",
            hint=f"write {name}(…), with its values in brackets",
        )
    check_scalar(folded)
    if node.get("filter") or node.get("distinct") or node.get("export_state") or node["order_bys"].get("orders"):
        raise InvalidExpression(f"'{name}' is not an aggregate: it takes no distinct, order by or filter")
    arguments = node["arguments"]
    if folded == "age" and len(arguments) == 1:
        raise InvalidExpression("'age' of one value counts from today", hint="write age(later, earlier)")
    _check_time_format(folded, arguments)
    _check_whole_batch(folded, arguments)
    if folded in _ROUTINE_LISTS and len(arguments) > 1 and not (folded == "aggregate" and _is_lambda(arguments[1]["expression"])):
        _check_routine(arguments[1]["expression"])
    result = dict(node)
    result["arguments"] = [
        {**argument, "expression": _bind_argument(argument["expression"], folded, names, bound)} for argument in arguments
    ]
    return result


def _check_time_format(folded: str, arguments: list[Node]) -> None:
    """Refuse constant formats of dates and times by which no value can be read."""
    from beam_datahub.kernels.time_formats import refused_time_format

    if folded not in _BY_TIME_FORMAT or len(arguments) != 2:
        return
    given = arguments[1]["expression"]
    listed = [each["expression"] for each in given.get("arguments", ())] if given["class"] == "FUNCTION" else [given]
    for node in listed:
        text = node.get("literal", {}).get("text") if node["class"] == "CONSTANT" else None
        refused = refused_time_format(text) if isinstance(text, str) else None
        if refused is not None:
            raise InvalidExpression(f"{folded}: {refused}", hint=refused.hint)


def _check_whole_batch(folded: str, arguments: list[Node]) -> None:
    """Refuse the calls whose errors DuckDB cannot tell row by row: one bad value would take the whole batch with it."""
    if folded in _REDUCTIONS and len(arguments) == 2:
        raise InvalidExpression(
            f"'{folded}' of an empty list has no value", hint=f"give a value to start from: {folded}(l, lambda a, b: a + b, 0)"
        )
    for place in _CONSTANT_ARGUMENTS.get(folded, ()):
        if place < len(arguments) and any(part["class"] == "COLUMN_REF" for part in walk(arguments[place]["expression"])):
            raise InvalidExpression(f"argument {place + 1} of '{folded}' must be the same for all rows", hint="write it out")


def _is_lambda(node: Node) -> bool:
    return bool(node["class"] == "LAMBDA")


def check_scalar(folded: str) -> None:
    """Raise InvalidExpression unless `folded` is an allowed scalar function."""
    if folded in SCALAR_NAMES:
        return
    refuse_surroundings(folded)
    if folded in AGGREGATE_NAMES:
        raise InvalidExpression(
            f"'{folded}' is an aggregate, which has no place in a row-wise expression", hint="use an aggregation step"
        )
    if folded in ("unnest", "unpack"):
        raise InvalidExpression(f"'{folded}' makes several rows of one", hint="use a flatten step")
    guess = nearest(folded, SCALAR_NAMES | {"coalesce"})
    raise InvalidExpression(f"unknown function '{folded}'", hint=f"did you mean '{guess}'?" if guess else None)


def _check_routine(node: Node) -> None:
    name = node.get("literal", {}).get("text") if node["class"] == "CONSTANT" else None
    if not isinstance(name, str) or name.casefold() not in AGGREGATE_NAMES:
        raise InvalidExpression(
            "the aggregate of a list is not one that is allowed", hint="name it as a text, for example list_aggregate(l, 'sum')"
        )


def _bind_argument(node: Node, function: str, names: Names, bound: frozenset[str]) -> Node:
    if not _is_lambda(node) or function not in LAMBDA_NAMES:
        return bind(node, names, bound)
    parameters = _parameters(node["lhs"])
    return {
        **node,
        "lhs": _marked_parameters(node["lhs"]),
        "expr": bind(node["expr"], names, bound | {name.casefold() for name in parameters}),
        "syntax_type": "LAMBDA_KEYWORD",
    }


def _parameters(node: Node) -> list[str]:
    if node["class"] == "COLUMN_REF" and len(node["column_names"]) == 1:
        return [node["column_names"][0]]
    if node["class"] == "FUNCTION" and node["function_name"] == "row":
        return [name for child in children(node) for name in _parameters(child)]
    raise InvalidExpression("the parameters of a lambda are names", hint="write it as lambda x: x + 1")


def _marked_parameters(node: Node) -> Node:
    if node["class"] == "COLUMN_REF":
        return {**node, "column_names": [marked(node["column_names"][0])]}
    arguments = [{**argument, "expression": _marked_parameters(argument["expression"])} for argument in node["arguments"]]
    return {**node, "arguments": arguments}


def _bind_arrow(node: Node, names: Names, bound: frozenset[str]) -> Node:
    """A `->` that is no lambda: it reaches into JSON."""
    if node.get("syntax_type") == "LAMBDA_KEYWORD":
        raise InvalidExpression("a lambda has no place here", hint="lambdas go into list_transform, list_filter and the like")
    if node["expr"]["class"] not in ("CONSTANT", "COLUMN_REF", "CAST"):
        # DuckDB reads `doc -> 'a' = 'b'` as `doc -> ('a' = 'b')`, and `doc -> 'a' ->> 'b'` likewise.
        raise InvalidExpression(
            "`->` binds less tightly than what follows it", hint="write (doc -> 'a') = …, or a path such as $.doc.a"
        )
    return function_node("json_extract", bind(node["lhs"], names, bound), bind(node["expr"], names, bound))
