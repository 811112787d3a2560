"""A user's whole SELECT: parsed by DuckDB itself, checked, and made independent of the order in which rows come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from beam_datahub.errors import InvalidExpression, OrderDependent, nearest
from beam_datahub.kernels.expressions.allowed import AGGREGATE_NAMES, ORDERED_NAMES, SCALAR_NAMES
from beam_datahub.kernels.expressions.resolve import check_scalar, refuse_surroundings
from beam_datahub.kernels.expressions.syntax import Node, render, sentence
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import literal

_RELATIONS = frozenset(("BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION"))
_TABLE_FUNCTIONS = frozenset(("unnest", "range", "generate_series"))
# Windows that number or look at neighbours: of tied rows, which one comes first shows in the result.
_ORDERED_WINDOWS = frozenset(
    f"WINDOW_{name}" for name in ("ROW_NUMBER", "LEAD", "LAG", "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE", "NTILE", "FILL")
)
_HINT = "a retried or repeated run would give another result; say the order with `order by`"


@dataclass
class Query:
    """A checked SELECT over the relation `input` with columns of `schema`."""

    text: str
    schema: pa.Schema
    session: KernelSession
    _statement: Node = field(init=False)

    def __post_init__(self) -> None:
        """Parse and check. Raises InvalidExpression and OrderDependent."""
        self._statement = _parse(self.text, self.session)
        self._check(self.node, frozenset())
        if not self.scans:
            raise InvalidExpression("the query does not read its input", hint="write `select … from input`")
        self._check_names(self.node)
        self._check_printed()
        for select in _nodes(self.node, "type", "SELECT_NODE"):
            _settle_ties(select, self.schema)

    @property
    def node(self) -> Node:
        """The query itself, DuckDB's own form."""
        found: Node = self._statement["statements"][0]["node"]
        return found

    @property
    def sql(self) -> str:
        """The query as SQL, with ties settled."""
        return str(self.session.scalar(f"SELECT json_deserialize_sql({literal(json.dumps(self._statement))})"))

    @property
    def scans(self) -> int:
        """How often the query reads its input."""
        return sum(table["table_name"].casefold() == "input" for table in _nodes(self.node, "type", "BASE_TABLE"))

    def over(self, relation: str) -> str:
        """The query as SQL, with the query `relation` in place of `input`."""
        statement = json.loads(json.dumps(self._statement))
        inner = _parse(f"SELECT * FROM ({relation}) AS input", self.session)["statements"][0]["node"]["from_table"]
        for table in list(_nodes(statement, "type", "BASE_TABLE")):
            if table["table_name"].casefold() == "input":
                table_alias = table["alias"] or "input"
                names = table["column_name_alias"]
                table.clear()
                table.update({**inner, "alias": table_alias, "column_name_alias": names})
        return str(self.session.scalar(f"SELECT json_deserialize_sql({literal(json.dumps(statement))})"))

    def rowwise(self) -> tuple[list[tuple[str, str]], str | None] | None:
        """(name, expression) of each output column and the condition, of a query that looks at one row at a time; else None."""
        node = self.node
        if node["type"] != "SELECT_NODE" or node["modifiers"] or node["cte_map"]["map"]:
            return None
        if node["from_table"]["type"] != "BASE_TABLE" or node["from_table"]["column_name_alias"]:
            return None
        if node["group_expressions"] or node["group_sets"] or node["having"] or node["qualify"]:
            return None
        if node["aggregate_handling"] != "STANDARD_HANDLING":
            return None
        parts = [*node["select_list"], *([node["where_clause"]] if node["where_clause"] else [])]
        if not all(self._is_rowwise(part) for part in parts):
            return None
        relation = node["from_table"]["alias"] or "input"
        columns: list[tuple[str, str]] = []
        aliases: dict[str, Node] = {}
        for part in node["select_list"]:
            if part["class"] == "STAR":
                columns += [(name, _quoted(name)) for name in self.schema.names]
                continue
            resolved = _resolved(part, relation, self.schema, aliases)
            name = part["alias"] or (part["column_names"][-1] if part["class"] == "COLUMN_REF" else "")
            columns.append((name, self._shown(resolved)))
            if part["alias"]:
                aliases[part["alias"].casefold()] = {**resolved, "alias": ""}
        where = node["where_clause"]
        return columns, self._shown(_resolved(where, relation, self.schema, aliases)) if where else None

    def _shown(self, part: Node) -> str:
        return render([{**part, "alias": ""}], self.session)

    def _is_rowwise(self, part: Node) -> bool:
        if part["class"] == "STAR":
            return _is_plain_star(part)
        inside = list(_nodes(part, "class"))
        if any(node["class"] in ("WINDOW", "SUBQUERY", "STAR", "POSITIONAL_REFERENCE") for node in inside):
            return False
        names = [node["function_name"].casefold() for node in inside if node["class"] == "FUNCTION"]
        return all(name in SCALAR_NAMES and name not in AGGREGATE_NAMES for name in names)

    def _check(self, value: Any, ctes: frozenset[str]) -> None:
        if isinstance(value, list):
            for item in value:
                self._check(item, ctes)
            return
        if not isinstance(value, dict):
            return
        if value.get("sample") is not None:
            raise OrderDependent("a random sample is another one in every run", hint="use a `sample` step")
        if "cte_map" in value:
            ctes = self._check_ctes(value["cte_map"]["map"], ctes)
        if "table_name" in value or value.get("type") in ("TABLE_FUNCTION", "SHOW_REF", "COLUMN_DATA"):
            self._check_relation(value, ctes)
        if "modifiers" in value:
            _check_modifiers(value["modifiers"])
        if value.get("ref_type") == "POSITIONAL":
            raise OrderDependent("a positional join pairs rows as they come", hint="join on columns")
        if value.get("class") in ("FUNCTION", "WINDOW"):
            _check_call(value)
        if value.get("class") == "PARAMETER":
            raise InvalidExpression("a prepared-statement parameter has no value here", hint="write ${param.name}")
        if value.get("class") == "COLUMN_REF" and len(value["column_names"]) == 1:
            self._check_name(value["column_names"][0])
        for key, part in value.items():
            if key not in ("cte_map", "type_expr"):
                self._check(part, ctes)

    def _check_ctes(self, entries: Sequence[Mapping[str, Any]], ctes: frozenset[str]) -> frozenset[str]:
        for entry in entries:
            name = str(entry["key"]).casefold()
            if name == "input":
                raise InvalidExpression("`input` is the input: a `with` needs another name")
            # A recursive one reads itself.
            self._check(entry["value"]["query_node"], ctes | {name})
            ctes |= {name}
        return ctes

    def _check_relation(self, value: Node, ctes: frozenset[str]) -> None:
        if value.get("type") == "TABLE_FUNCTION":
            name = str(value["function"].get("function_name", "")).casefold()
            if name not in _TABLE_FUNCTIONS:
                raise InvalidExpression(
                    f"the table function '{name}' is not allowed: a query reaches its input only", hint="read files with a source"
                )
            self._check(value["function"].get("arguments"), ctes)
            return
        name = str(value.get("table_name", ""))
        if value.get("type") not in _RELATIONS or value.get("schema_name") or value.get("catalog_name"):
            raise InvalidExpression("a query reaches its input only", hint="write `select … from input`")
        if name.casefold() not in ctes | {"input"}:
            guess = nearest(name, ["input", *ctes])
            raise InvalidExpression(
                f"there is no relation '{name}' here", hint=f"did you mean '{guess}'?" if guess else "the input is called `input`"
            )

    def _check_printed(self) -> None:
        # What runs is the printed form: it must say what was read.
        if _stripped(_parse(self.sql, self.session)) != _stripped(self._statement):
            raise InvalidExpression("the query has a form that cannot be kept", hint="write it in plainer SQL")

    def _check_names(self, node: Node) -> None:
        # DuckDB would quietly call the second one by another name.
        names = [part["alias"] or part.get("column_names", [""])[-1] for part in node.get("select_list", ())]
        double = next((name for name in names if name and [n.casefold() for n in names].count(name.casefold()) > 1), None)
        if double is not None:
            raise InvalidExpression(f"there would be two columns called '{double}'", hint="name the columns apart with `as`")

    def _check_name(self, name: str) -> None:
        if name.casefold() in {known.casefold() for known in self.schema.names}:
            return
        refuse_surroundings(name)
        if name.casefold() == "rowid":
            raise OrderDependent("'rowid' counts rows as they come", hint=_HINT)


def _parse(text: str, session: KernelSession) -> Node:
    if "\x00" in text or "\x01" in text:
        raise InvalidExpression("the query holds a control character")
    try:
        parsed: Node = json.loads(str(session.scalar(f"SELECT json_serialize_sql({literal(text)})")))
    except duckdb.Error as error:
        raise InvalidExpression(sentence(error)) from error
    if parsed["error"]:
        message = str(parsed["error_message"]).split("\n")[0]
        if parsed.get("error_type") == "not implemented":
            message = "only a select is allowed"
        raise InvalidExpression(message, hint="write one `select … from input`")
    if len(parsed["statements"]) != 1:
        raise InvalidExpression("the query is several statements", hint="write one `select … from input`")
    return parsed


def _check_modifiers(modifiers: Sequence[Node]) -> None:
    kinds = {modifier["type"] for modifier in modifiers}
    if kinds & {"LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"} and "ORDER_MODIFIER" not in kinds:
        raise OrderDependent("`limit` without `order by` takes any rows", hint=_HINT)
    on = any(modifier.get("distinct_on_targets") for modifier in modifiers)
    if on and "ORDER_MODIFIER" not in kinds:
        raise OrderDependent("`distinct on` without `order by` takes any row of each", hint=_HINT)


def _check_call(value: Node) -> None:
    name = str(value["function_name"]).casefold()
    if value.get("schema") or value.get("catalog"):
        raise InvalidExpression(f"'{value.get('schema') or value.get('catalog')}.{name}' is not allowed")
    ordered = bool(value.get("orders") or value.get("arg_orders") or (value.get("order_bys") or {}).get("orders"))
    if value["class"] == "WINDOW":
        rows = any(str(value.get(key, "")).endswith("_ROWS") for key in ("start", "end"))
        if not ordered and (value["type"] in _ORDERED_WINDOWS or rows or name in ORDERED_NAMES):
            raise OrderDependent(f"'{name}' over rows in no order depends on the order in which they come", hint=_HINT)
        if value["type"] == "WINDOW_AGGREGATE" and name not in AGGREGATE_NAMES:
            check_scalar(name)
        return
    if name in ORDERED_NAMES and not ordered and name not in SCALAR_NAMES:
        raise OrderDependent(f"'{name}' depends on the order in which the rows come", hint=_HINT)
    if name not in AGGREGATE_NAMES | {"unnest", "unpack", "generate_subscripts"}:
        check_scalar(name)


def _settle_ties(select: Node, schema: pa.Schema) -> None:
    """End every order of a query on `input` itself with all columns, so that no tie is left to chance."""
    table = select["from_table"]
    direct = table["type"] == "BASE_TABLE" and table["table_name"].casefold() == "input" and not table["column_name_alias"]
    grouped = bool(select["group_expressions"] or select["group_sets"])
    if direct and not grouped:
        every = [_order(name) for name in schema.names if _sortable(schema.field(name).type)]
        for window in _windows(select["select_list"], select["qualify"]):
            rows = any(str(window.get(key, "")).endswith("_ROWS") for key in ("start", "end"))
            if window["orders"] and (window["type"] in _ORDERED_WINDOWS or rows):
                window["orders"] = [*window["orders"], *every]
    kinds = {modifier["type"]: modifier for modifier in select["modifiers"]}
    limited = "LIMIT_MODIFIER" in kinds or "LIMIT_PERCENT_MODIFIER" in kinds
    stars = any(part["class"] == "STAR" for part in select["select_list"])
    if limited and _is_order_by_all(kinds["ORDER_MODIFIER"]):
        # Its printed form means another thing.
        if stars and (not direct or any(not _is_plain_star(part) for part in select["select_list"])):
            raise InvalidExpression("`order by all` does not go with this `*`", hint="name the columns to order by")
        count = sum(len(schema) if part["class"] == "STAR" else 1 for part in select["select_list"])
        kinds["ORDER_MODIFIER"]["orders"] = [_order(number) for number in range(1, count + 1)]
    elif limited and not stars:
        # By position: rows that are equal in all that comes out may stand for each other.
        kinds["ORDER_MODIFIER"]["orders"] += [_order(number) for number in range(1, len(select["select_list"]) + 1)]
    elif direct and not grouped and (limited or any(m.get("distinct_on_targets") for m in select["modifiers"])):
        kinds["ORDER_MODIFIER"]["orders"] += [_order(name) for name in schema.names]


def _is_order_by_all(modifier: Node) -> bool:
    return any(order["expression"]["class"] == "STAR" for order in modifier["orders"])


def _is_plain_star(part: Node) -> bool:
    """Whether a part of a select list is no star, or one that just means all columns."""
    if part["class"] != "STAR":
        return True
    keys = ("relation_name", "exclude_list", "replace_list", "qualified_exclude_list", "rename_list", "columns", "expr")
    return not any(part[key] for key in keys)


def _windows(*parts: Any) -> Iterator[Node]:
    """The windows inside `parts`."""
    for part in parts:
        yield from _nodes(part, "class", "WINDOW")


def _sortable(data_type: pa.DataType) -> bool:
    return not pa.types.is_map(data_type)


def _order(by: str | int) -> Node:
    place = {"alias": "", "query_location": 0, "query_location_length": 0}
    if isinstance(by, int):
        what = {"class": "CONSTANT", "type": "VALUE_CONSTANT", **place, "literal": {"kind": "INTEGER", "text": str(by)}}
    else:
        what = {"class": "COLUMN_REF", "type": "COLUMN_REF", **place, "column_names": [by]}
    return {"type": "ASCENDING", "null_order": "NULLS LAST", "expression": what}


def _stripped(value: Any) -> Any:
    """A tree without the places of its parts in the text."""
    if isinstance(value, dict):
        return {key: _stripped(part) for key, part in value.items() if not key.startswith("query_location")}
    return [_stripped(part) for part in value] if isinstance(value, list) else value


def _nodes(value: Any, key: str, wanted: str | None = None) -> Iterator[Node]:
    """Every node inside `value` that has `key`, or has it as `wanted`."""
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item, key, wanted)
    elif isinstance(value, dict):
        if key in value and (wanted is None or value[key] == wanted):
            yield value
        for name, part in value.items():
            if name != "type_expr":
                yield from _nodes(part, key, wanted)


def _resolved(part: Any, relation: str, schema: pa.Schema, aliases: Mapping[str, Node]) -> Any:
    """`part` with `input.a` as `a`, and with what earlier columns were named by `as` in place of their names."""
    if isinstance(part, list):
        return [_resolved(item, relation, schema, aliases) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("class") == "COLUMN_REF":
        first, *rest = part["column_names"]
        if first.casefold() in {name.casefold() for name in schema.names}:
            return part
        if rest and first.casefold() == relation.casefold():
            return {**part, "column_names": rest}
        return aliases.get(first.casefold(), part) if not rest else part
    return {key: value if key == "type_expr" else _resolved(value, relation, schema, aliases) for key, value in part.items()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
