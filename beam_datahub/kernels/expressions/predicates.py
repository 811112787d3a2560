"""Boolean structure evaluated strictly from left to right, so that a row's outcome is its own.

DuckDB may reorder the parts of a conjunction while it runs, and evaluates all of them outside a filter. Where a part can
fail, `case` says what is meant; where none can, the plain SQL stays, for it is faster.
"""

from __future__ import annotations

from collections.abc import Callable

from beam_datahub.kernels.expressions.syntax import (
    Node,
    boolean_node,
    case_node,
    comparison_node,
    conjunction_node,
    operator_node,
    walk,
)

CanFail = Callable[[Node], bool]


def as_predicate(node: Node, can_fail: CanFail) -> Node:
    """`node` as a condition, in which null is as good as false: a part is not looked at once the outcome is settled."""
    if not can_fail(node):
        return node
    return _holds(node, can_fail, negated=False)


def _holds(node: Node, can_fail: CanFail, *, negated: bool) -> Node:
    """A tree that is true just where `node` (negated: its negation) is true."""
    if node["class"] == "OPERATOR" and node["type"] == "OPERATOR_NOT":
        return _holds(node["children"][0], can_fail, negated=not negated)
    node = _in_halves(node, can_fail)
    if node["class"] != "CONJUNCTION":
        inner = left_to_right(node, can_fail)
        return operator_node("OPERATOR_NOT", inner) if negated else inner
    all_of = (node["type"] == "CONJUNCTION_AND") != negated
    parts = [_holds(part, can_fail, negated=negated) for part in node["children"]]
    if not any(can_fail(part) for part in node["children"]):
        return conjunction_node("CONJUNCTION_AND" if all_of else "CONJUNCTION_OR", parts)
    result = parts[-1]
    for part in reversed(parts[:-1]):
        result = case_node(part, result, boolean_node(False)) if all_of else case_node(part, boolean_node(True), result)
    return result


def left_to_right(node: Node, can_fail: CanFail) -> Node:
    """`node` as a value, with all three outcomes: `and` skips what follows a false, `or` what follows a true."""
    if not can_fail(node):
        return node
    node = _in_halves(node, can_fail)
    if node["class"] != "CONJUNCTION":
        return _inside(node, can_fail)
    all_of = node["type"] == "CONJUNCTION_AND"
    parts = [left_to_right(part, can_fail) for part in node["children"]]
    fails = [can_fail(part) for part in node["children"]]
    result = parts[-1]
    for index in range(len(parts) - 2, -1, -1):
        both = conjunction_node(node["type"], [parts[index], result])
        if not any(fails[index + 1 :]):
            result = both
        elif all_of:
            result = case_node(operator_node("OPERATOR_NOT", parts[index]), boolean_node(False), both)
        else:
            result = case_node(parts[index], boolean_node(True), both)
    return result


def _in_halves(node: Node, can_fail: CanFail) -> Node:
    """A `between`, or an `in` over columns, that can fail, as the comparisons that it stands for."""
    is_in = node["class"] == "OPERATOR" and node["type"] == "COMPARE_IN"
    if not (is_in or node["class"] == "BETWEEN") or not can_fail(node):
        return node
    if not is_in:
        lower = comparison_node("COMPARE_GREATERTHANOREQUALTO", node["input"], node["lower"])
        upper = comparison_node("COMPARE_LESSTHANOREQUALTO", node["input"], node["upper"])
        return conjunction_node("CONJUNCTION_AND", [lower, upper])
    sought, *among = node["children"]
    if len(among) < 2 or not any(part["class"] == "COLUMN_REF" for value in among for part in walk(value)):
        return node
    return conjunction_node("CONJUNCTION_OR", [comparison_node("COMPARE_EQUAL", sought, value) for value in among])


def _inside(node: Node, can_fail: CanFail) -> Node:
    """`node` with the conjunctions inside it made left to right."""
    if not any(
        part["class"] in ("CONJUNCTION", "BETWEEN") or part["type"] == "COMPARE_IN" for part in walk(node) if part is not node
    ):
        return node
    return {key: value if key == "type_expr" else _inside_value(value, can_fail) for key, value in node.items()}


def _inside_value(value: object, can_fail: CanFail) -> object:
    if isinstance(value, list):
        return [_inside_value(item, can_fail) for item in value]
    if isinstance(value, dict):
        if "class" in value:
            return left_to_right(value, can_fail)
        return {key: _inside_value(item, can_fail) for key, item in value.items()}
    return value
