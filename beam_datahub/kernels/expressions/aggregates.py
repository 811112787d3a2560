"""Measures of an aggregation: calls of aggregate functions, and the scalar expression over their results."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidExpression, nearest
from beam_datahub.kernels.expressions.allowed import AGGREGATE_NAMES, ORDERED_NAMES, SCALAR_NAMES, TIED_NAMES
from beam_datahub.kernels.expressions.compiling import compile_node, node_columns
from beam_datahub.kernels.expressions.expression import AggregateCall, AggregateExpression, Expression
from beam_datahub.kernels.expressions.resolve import Names, bind, names_for, refuse_surroundings
from beam_datahub.kernels.expressions.syntax import Node, cast_node, column_node, parse, render, walk
from beam_datahub.kernels.expressions.typing import arrow_type, empty_relation, is_canonical, sql_types, typing_session
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import HIDDEN

# DuckDB's other names of aggregates that the two-phase pass knows how to merge.
_SYNONYMS = {"count_star": "count", "mean": "avg"}


def compile_aggregate(value: str, schema: pa.Schema, session: KernelSession | None = None) -> AggregateExpression:
    """The measure that `value` means, such as `sum(total)`, `count(distinct a)` or `sum(a) / nullif(count(*), 0)`.

    Raises UnknownColumn and InvalidExpression, unplaced.
    """
    if not isinstance(value, str):
        raise InvalidExpression("a measure is a text such as sum(total)")
    builder = _Builder(value, schema, session or typing_session())
    return builder.build()


class _Builder:
    def __init__(self, text: str, schema: pa.Schema, session: KernelSession) -> None:
        self._text = text
        self._schema = schema
        self._names = Names(schema)
        self._session = session
        self._calls: dict[str, AggregateCall] = {}
        self._raw: dict[str, str] = {}

    def build(self) -> AggregateExpression:
        root = parse(self._text, self._session)
        self._names = names_for(root, self._schema)
        post = self._lift(root)
        if not self._calls:
            raise InvalidExpression(
                "a measure needs an aggregate", hint="write for example sum(total), count(*) or max(placed_at)"
            )
        fields = [pa.field(call.name, call.type) for call in self._calls.values()]
        expression = compile_node(self._text, bind(post, Names(pa.schema(fields))), pa.schema(fields), self._session)
        return AggregateExpression(self._text, tuple(self._calls.values()), expression)

    def _lift(self, node: Node) -> Node:
        """`node` with each aggregate call replaced by the column that holds its result."""
        if node["class"] == "COLUMN_REF":
            name = self._names.require(node["column_names"][0])
            hint = f"write max({name}) or first({name} order by …), or group by it"
            raise InvalidExpression(f"column '{name}' stands outside an aggregate", hint=hint)
        if node["class"] == "FUNCTION" and node["function_name"].casefold() in AGGREGATE_NAMES:
            return self._call(node)
        if node["class"] == "FUNCTION" and node["function_name"].casefold() not in SCALAR_NAMES:
            self._refuse_function(node["function_name"])
        if node["class"] in ("WINDOW", "SUBQUERY", "STAR", "PARAMETER"):
            bind(node, self._names)
        return {key: value if key == "type_expr" else self._lift_value(value) for key, value in node.items()}

    def _refuse_function(self, name: str) -> None:
        refuse_surroundings(name)
        guess = nearest(name, AGGREGATE_NAMES | SCALAR_NAMES)
        raise InvalidExpression(f"unknown function '{name}'", hint=f"did you mean '{guess}'?" if guess else None)

    def _lift_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._lift_value(item) for item in value]
        if isinstance(value, dict):
            return self._lift(value) if "class" in value else {key: self._lift_value(item) for key, item in value.items()}
        return value

    def _call(self, node: Node) -> Node:
        function = _SYNONYMS.get(node["function_name"].casefold(), node["function_name"].casefold())
        self._refuse_nested(node, function)
        if node.get("schema") or node.get("catalog"):
            raise InvalidExpression(f"'{function}' takes no prefix")
        node = self._bound(node)
        bound = [argument["expression"] for argument in node["arguments"]]
        split = self._parameters_from(bound)
        arguments = tuple(self._part(part) for part in bound[:split])
        parameters = tuple(render([part], self._session) for part in bound[split:])
        where = self._where(node.get("filter"))
        order = self._order(node["order_bys"].get("orders") or [])
        key = json.dumps(_stripped(node), sort_keys=True)
        if key not in self._calls:
            name = f"{HIDDEN}m{len(self._calls)}"
            raw = self._raw_type(node)
            self._raw[name] = raw
            implied = ((arguments[0], False),) if function in TIED_NAMES and not order and not node["distinct"] else ()
            self._calls[key] = AggregateCall(
                name=name,
                function=function,
                arguments=arguments,
                type=arrow_type(raw),
                distinct=bool(node["distinct"]),
                order=order or implied,
                where=where,
                parameters=parameters,
                order_dependent=function in ORDERED_NAMES and not order,
            )
        call = self._calls[key]
        return self._result(call.name)

    def _result(self, name: str) -> Node:
        """The result column, in the type that the function itself gives."""
        reference = column_node(name)
        raw = self._raw[name]
        if is_canonical(raw):
            return _unmarked(reference)
        return cast_node(_unmarked(reference), parse(f"CAST(NULL AS {raw})", self._session)["type_expr"])

    def _refuse_nested(self, node: Node, function: str) -> None:
        for part in walk(node):
            if part is not node and part["class"] == "FUNCTION" and part["function_name"].casefold() in AGGREGATE_NAMES:
                raise InvalidExpression(
                    f"'{part['function_name']}' stands inside '{function}': aggregates do not nest",
                    hint="aggregate twice, in two steps",
                )

    def _parameters_from(self, bound: list[Node]) -> int:
        """How many arguments stand before the literal ones."""
        count = len(bound)
        while count > 1 and not node_columns(bound[count - 1], self._schema):
            count -= 1
        return count

    def _part(self, node: Node) -> Expression:
        return compile_node(render([node], self._session), node, self._schema, self._session)

    def _where(self, node: Node | None) -> Expression | None:
        if not node:
            return None
        found = compile_node(render([node], self._session), node, self._schema, self._session, predicate=True)
        if found.type != pa.bool_():
            raise InvalidExpression("the filter of an aggregate is true or false", hint="write filter (where x > 0)")
        return found

    def _order(self, orders: list[Node]) -> tuple[tuple[Expression, bool], ...]:
        found: list[tuple[Expression, bool]] = []
        for order in orders:
            if order["null_order"] == "NULLS FIRST":
                raise InvalidExpression("an order inside an aggregate has nulls last", hint="leave out `nulls first`")
            found.append((self._part(order["expression"]), order["type"] == "DESCENDING"))
        return tuple(found)

    def _raw_type(self, node: Node) -> str:
        relation = empty_relation(self._schema, node_columns(node, self._schema))
        (name,) = sql_types(render([node], self._session), relation, self._session)
        return name

    def _bound(self, node: Node) -> Node:
        """The call with all its columns bound."""
        arguments = [{**argument, "expression": bind(argument["expression"], self._names)} for argument in node["arguments"]]
        orders = [
            {**order, "expression": bind(order["expression"], self._names)} for order in node["order_bys"].get("orders") or []
        ]
        return {
            **node,
            "arguments": arguments,
            "order_bys": {**node["order_bys"], "orders": orders},
            "filter": bind(node["filter"], self._names) if node.get("filter") else None,
        }


def _unmarked(node: Node) -> Node:
    return {**node, "column_names": [name.lstrip("\x01") for name in node["column_names"]]}


def _stripped(value: Any) -> Any:
    """A tree without the places of its parts in the text."""
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items() if not key.startswith("query_location")}
    if isinstance(value, list):
        return [_stripped(item) for item in value]
    return value
