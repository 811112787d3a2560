"""Compiles what a user writes for a value into a typed DuckDB expression."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pyarrow as pa

from beam_datahub.errors import InvalidExpression, UnknownColumn, nearest
from beam_datahub.kernels.expressions.expression import Expression, column
from beam_datahub.kernels.expressions.failing import Facts, can_fail
from beam_datahub.kernels.expressions.literals import literal_sql
from beam_datahub.kernels.expressions.predicates import as_predicate, left_to_right
from beam_datahub.kernels.expressions.resolve import Names, bind, names_for
from beam_datahub.kernels.expressions.syntax import Node, children, parse, render, render_apart, walk
from beam_datahub.kernels.expressions.typing import (
    arrow_type,
    canonical_sql,
    check_rowwise,
    empty_relation,
    is_canonical,
    sql_types,
    typing_session,
)
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, sql_type

_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")
_WORDS = frozenset(("true", "false", "null"))


def compile_expression(value: Any, schema: pa.Schema, session: KernelSession | None = None) -> Expression:
    """The typed expression that `value` means over columns of `schema`.

    `value` is text in one of the four forms (field, `$.path`, `${template}`, SQL), `{"value": literal}`, or a plain
    number, boolean or None. Raises UnknownColumn and InvalidExpression, unplaced.
    """
    session = session or typing_session()
    if isinstance(value, str):
        return _compile_text(value, schema, session, predicate=False)
    return _compile_literal(value, session)


def compile_predicate(value: Any, schema: pa.Schema, session: KernelSession | None = None) -> Expression:
    """The condition that `value` means: a boolean expression that holds for a row where it is true.

    `and` and `or` are evaluated from left to right and no further than needed, so that
    `x is not null and cast(x as int) > 0` fails on no row without x. False and null both mean that it does not hold.
    """
    session = session or typing_session()
    is_text = isinstance(value, str)
    found = _compile_text(value, schema, session, predicate=True) if is_text else _compile_literal(value, session)
    if found.type != pa.bool_():
        raise InvalidExpression(
            f"a condition is true or false, and this is {sql_type(found.type).lower()}", hint="compare it with something"
        )
    return found


def _compile_text(text: str, schema: pa.Schema, session: KernelSession, *, predicate: bool) -> Expression:
    names = Names(schema)
    if text in schema.names:
        return column(text, schema)
    stripped = text.strip()
    if "${" in stripped:
        from beam_datahub.kernels.expressions.templates import compile_template

        return compile_template(text, schema, session)
    if stripped.startswith("$") and not stripped.startswith("$$"):
        from beam_datahub.kernels.expressions.jsonpath import compile_path

        return compile_path(text, schema)
    if stripped in schema.names:
        return column(stripped, schema)
    if _IDENTIFIER.match(stripped) and stripped.casefold() not in _WORDS and (found := names.find(stripped)) is not None:
        return column(found, schema)
    node = parse(text, session)
    try:
        return compile_node(text, bind(node, names_for(node, schema)), schema, session, predicate=predicate)
    except UnknownColumn as error:
        if f'"{error.name}"' in text:
            # SQL takes what stands in double quotes for a name, where other languages see a text.
            error.hint = f"a text stands in single quotes: '{error.name}'; {error.hint}"
        elif _IDENTIFIER.match(error.name) and nearest(error.name, error.columns) is None and error.name != stripped:
            error.hint = f"{error.hint}; a text stands in single quotes: '{error.name}'"
        raise


def _compile_literal(value: Any, session: KernelSession) -> Expression:
    if isinstance(value, dict):
        if set(value) != {"value"}:
            raise InvalidExpression("an expression is a text or {value: literal}", hint="write {value: …} for a literal")
        value = value["value"]
    elif isinstance(value, list):
        raise InvalidExpression("an expression is a text or {value: literal}", hint="write {value: […]} for a literal list")
    sql = literal_sql(value)
    (name,) = sql_types(sql, "", session)
    return Expression(str(value), canonical_sql(sql, name), arrow_type(name), (), can_fail=False)


def compile_node(text: str, node: Node, schema: pa.Schema, session: KernelSession, *, predicate: bool = False) -> Expression:
    """The expression of a bound syntax tree."""
    columns = node_columns(node, schema)
    if node["class"] == "COLUMN_REF" and len(columns) == 1:
        found = column(columns[0], schema)
        return Expression(text, found.sql, found.type, found.columns, can_fail=False)
    typed = Typed(node, schema, session)
    ordered = as_predicate(node, typed.can_fail) if predicate else left_to_right(node, typed.can_fail)
    sql = typed.sql if ordered is node else render([ordered], session)
    final = canonical_sql(sql, typed.name)
    if typed.fails:
        check_rowwise(final, schema, columns, session)
    return Expression(text, final, typed.type, columns, can_fail=typed.fails)


def node_columns(node: Node, schema: pa.Schema) -> tuple[str, ...]:
    """The columns of `schema` that a bound tree reads, in order of appearance."""
    found: dict[str, None] = {}
    _collect(node, schema, frozenset(), found)
    return tuple(found)


def _collect(node: Node, schema: pa.Schema, bound: frozenset[str], found: dict[str, None]) -> None:
    if node["class"] == "COLUMN_REF":
        name = node["column_names"][0].lstrip("\x01")
        if name.casefold() not in bound and name in schema.names:
            found[name] = None
        return
    if node["class"] == "LAMBDA":
        parameters = {
            part["column_names"][0].lstrip("\x01").casefold() for part in walk(node["lhs"]) if part["class"] == "COLUMN_REF"
        }
        _collect(node["expr"], schema, bound | parameters, found)
        return
    for child in children(node):
        _collect(child, schema, bound, found)


class Typed:
    """A bound syntax tree with the type of every part of it that can be typed by itself."""

    def __init__(self, node: Node, schema: pa.Schema, session: KernelSession) -> None:
        self.node = node
        self._session = session
        self._schema = schema
        self._relation = empty_relation(schema, node_columns(node, schema))
        parts = _outside_lambdas(node)
        whole, rest = render_apart(node, parts, session)
        self.sql = whole
        self.name, *names = sql_types(f"{whole}, {rest}", self._relation, session)
        self.type = arrow_type(self.name)
        self._types = {id(part): arrow_type(name) if _is_plain(name) else None for part, name in zip(parts, names, strict=True)}
        # By identity; the node is kept, so that no other can take its place in memory.
        self._fails: dict[int, tuple[Node, bool]] = {}

        for part in parts:
            if part["class"] in ("COMPARISON", "BETWEEN") or part["type"] == "COMPARE_IN":
                self._refuse_mixed_json(part)

    def _refuse_mixed_json(self, node: Node) -> None:
        """Refuse to compare JSON with what is not: DuckDB would take a text such as `paid` for damaged JSON."""
        kinds = [self._type_of(part) for part in children(node) if part.get("literal", {}).get("kind") != "NULL_LITERAL"]
        if JSON in kinds and any(kind != JSON for kind in kinds):
            hint = "take its text, for example doc ->> '$.status' = 'paid', or cast that to a number"
            raise InvalidExpression("JSON is compared with a value that is not JSON", hint=hint)

    def can_fail(self, node: Node) -> bool:
        """Whether evaluating a part of the tree may raise on some row."""
        if id(node) not in self._fails:
            self._fails[id(node)] = node, can_fail(node, Facts(self._type_of, self._holds, self._becomes))
        return self._fails[id(node)][1]

    @property
    def fails(self) -> bool:
        """Whether the whole, made canonical, may raise on some row."""
        return self.can_fail(self.node) or not (_is_plain(self.name) or not node_columns(self.node, self._schema))

    def _type_of(self, node: Node) -> pa.DataType | None:
        return self._types.get(id(node))

    def _holds(self, node: Node) -> bool:
        """Whether a tree without columns evaluates without an error."""
        return self._runs(render([node], self._session))

    def _becomes(self, text: str, kind: pa.DataType) -> bool:
        """Whether a text that is written out converts to `kind`, which it is compared with. Raises InvalidExpression if not."""
        if not self._runs(f"CAST({literal(text)} AS {sql_type(kind)})"):
            raise InvalidExpression(f"'{text}' is no {sql_type(kind).lower()}, which it is compared with")
        return True

    def _runs(self, sql: str) -> bool:
        try:
            self._session.scalar(f"SELECT hash({sql})")
        except duckdb.Error:
            return False
        return True


def _is_plain(name: str) -> bool:
    """Whether DuckDB's type `name` becomes the canonical one without a conversion that can fail."""
    try:
        return name == '"NULL"' or is_canonical(name)
    except InvalidExpression:
        return False


def _outside_lambdas(node: Node) -> list[Node]:
    found = [node]
    for child in children(node):
        if child["class"] != "LAMBDA":
            found.extend(_outside_lambdas(child))
    return found
