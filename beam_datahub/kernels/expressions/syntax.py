"""Expression syntax: DuckDB's own parser and printer, so that what is checked is exactly what runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from beam_datahub.errors import InvalidExpression
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import literal

# A node of the syntax tree: DuckDB's own JSON form of it.
Node = dict[str, Any]

# Put before a name to have the printer quote it; no text that a user writes may hold it.
_MARK = "\x01"

_SYNTAX_HINT = 'an expression is a column, a $.path, a ${template} or SQL; a column named like a keyword goes in "double quotes"'

# What a bare `SELECT expression` has besides the expression; anything else is more than an expression.
_PLAIN_SELECT = {
    "type": "SELECT_NODE",
    "aggregate_handling": "STANDARD_HANDLING",
}


def parse(text: str, session: KernelSession) -> Node:
    """The syntax tree of one SQL expression. Raises InvalidExpression for anything else."""
    if not text.strip():
        raise InvalidExpression("the expression is empty", hint="write {value: ''} for an empty text")
    if _MARK in text or "\x00" in text:
        raise InvalidExpression("the expression holds a control character")
    try:
        parsed = json.loads(str(session.scalar(f"SELECT json_serialize_sql({literal('SELECT ' + text + chr(10))})")))
    except duckdb.Error as error:
        raise InvalidExpression(sentence(error)) from error
    if parsed["error"]:
        # `&&` is an operator of lists in DuckDB.
        hint = "conditions are joined by `and` and `or`" if "&&" in text else _SYNTAX_HINT
        raise InvalidExpression(_syntax_message(parsed), hint=hint)
    if len(parsed["statements"]) != 1 or re.search(r";\s*$", text):
        raise InvalidExpression("the expression is several statements", hint="write one expression without `;`")
    node = parsed["statements"][0]["node"]
    if not _is_plain(node):
        raise InvalidExpression("the expression is a query", hint="write one scalar expression, without from, where or order by")
    if len(node["select_list"]) != 1:
        raise InvalidExpression("the expression is several values separated by commas", hint="give each value a field of its own")
    root: Node = node["select_list"][0]
    if root.get("alias"):
        raise InvalidExpression(
            f"the expression names its result '{root['alias']}'", hint="the field's name is its key; leave out `as`"
        )
    return root


def _is_plain(node: Node) -> bool:
    if any(node.get(key) != value for key, value in _PLAIN_SELECT.items()) or node["from_table"]["type"] != "EMPTY":
        return False
    if node["cte_map"].get("map"):
        return False
    rest = set(node) - {*_PLAIN_SELECT, "from_table", "select_list", "cte_map"}
    return not any(node[key] for key in rest)


def _syntax_message(parsed: Node) -> str:
    message = str(parsed["error_message"]).split("\n")[0]
    if parsed["error_type"] == "not implemented":
        return "the expression is a statement"
    return message.replace("syntax error at or near", "syntax error near")


def render(nodes: Sequence[Node], session: KernelSession) -> str:
    """The nodes as SQL, separated by commas."""
    statement = {
        "error": False,
        "statements": [
            {
                "node": {
                    "type": "SELECT_NODE",
                    "modifiers": [],
                    "cte_map": {"map": []},
                    "select_list": list(nodes),
                    "from_table": {
                        "type": "EMPTY",
                        "alias": "",
                        "sample": None,
                        "query_location": 0,
                        "query_location_length": 0,
                    },
                    "where_clause": None,
                    "group_expressions": [],
                    "group_sets": [],
                    "aggregate_handling": "STANDARD_HANDLING",
                    "having": None,
                    "sample": None,
                    "qualify": None,
                },
                "named_param_map": [],
            }
        ],
    }
    try:
        text = str(session.scalar(f"SELECT json_deserialize_sql({literal(json.dumps(statement))})"))
    except duckdb.Error as error:
        raise InvalidExpression(sentence(error)) from error
    return text.removeprefix("SELECT ").replace('"' + _MARK, '"')


def render_apart(node: Node, parts: Sequence[Node], session: KernelSession) -> tuple[str, str]:
    """The SQL of `node`, and that of `parts` separated by commas; in one call, for printing takes a while."""
    whole, rest = render([node, text_node(_MARK), *parts], session).split(f", '{_MARK}', ", 1)
    return whole, rest


def marked(name: str) -> str:
    """`name` as a tree spells an identifier that the printer must quote."""
    return _MARK + name


def children(node: Node) -> Iterator[Node]:
    """The expressions directly inside `node`."""
    for key, value in node.items():
        if key == "type_expr":
            continue
        if isinstance(value, dict):
            yield from _nodes(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    yield from _nodes(item)


def _nodes(value: Node) -> Iterator[Node]:
    if "class" in value:
        yield value
    else:
        yield from children(value)


def walk(node: Node) -> Iterator[Node]:
    """`node` and every expression inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def column_node(name: str) -> Node:
    """A reference to the column `name`."""
    return _located({"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": [marked(name)]})


def boolean_node(value: bool) -> Node:
    """A boolean constant."""
    constant = {"kind": "BOOLEAN", "text": "true" if value else "false"}
    return _located({"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": constant})


def text_node(value: str) -> Node:
    """A text constant."""
    return _located({"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "STRING", "text": value}})


def case_node(condition: Node, then: Node, otherwise: Node) -> Node:
    """`CASE WHEN condition THEN then ELSE otherwise END`."""
    checks = [{"when_expr": condition, "then_expr": then}]
    return _located({"class": "CASE", "type": "CASE_EXPR", "case_checks": checks, "else_expr": otherwise})


def operator_node(kind: str, *operands: Node) -> Node:
    """An operator such as OPERATOR_NOT over its operands."""
    return _located({"class": "OPERATOR", "type": kind, "children": list(operands)})


def function_node(name: str, *arguments: Node) -> Node:
    """A plain call of the function `name`."""
    return _located(
        {
            "class": "FUNCTION",
            "type": "FUNCTION",
            "function_name": name,
            "schema": "",
            "filter": None,
            "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
            "distinct": False,
            "is_operator": False,
            "export_state": False,
            "catalog": "",
            "arguments": [{"name": "", "expression": argument} for argument in arguments],
            "qualified_name": {"path": [name]},
        }
    )


def conjunction_node(kind: str, operands: Sequence[Node]) -> Node:
    """CONJUNCTION_AND or CONJUNCTION_OR of the operands."""
    return _located({"class": "CONJUNCTION", "type": kind, "children": list(operands)})


def comparison_node(kind: str, left: Node, right: Node) -> Node:
    """A comparison such as COMPARE_EQUAL."""
    return _located({"class": "COMPARISON", "type": kind, "left": left, "right": right})


def cast_node(operand: Node, type_node: Node) -> Node:
    """`CAST(operand AS type)`."""
    return _located({"class": "CAST", "type": "OPERATOR_CAST", "child": operand, "try_cast": False, "type_expr": type_node})


def _located(node: Node) -> Node:
    return {**node, "alias": "", "query_location": 0, "query_location_length": 0}


_PREFIX = re.compile(r"^(?:[A-Z][A-Za-z]* )*Error: ")
_SPACES = re.compile(r"\s+")


def sentence(error: BaseException | str) -> str:
    """The useful sentence of a DuckDB error: no class, no candidates, no SQL with carets."""
    text = str(error)
    text = re.split(r"\n\s*(?:LINE \d+:|Candidate|Did you mean|Use SET|For more information)", text, maxsplit=1)[0]
    text = _SPACES.sub(" ", _PREFIX.sub("", text)).strip().replace(_MARK, "")
    text = text.replace("(STRING_LITERAL", "(VARCHAR").replace("STRING_LITERAL", "VARCHAR").replace("INTEGER_LITERAL", "INTEGER")
    return text[:1].lower() + text[1:] if text[:2].istitle() else text
