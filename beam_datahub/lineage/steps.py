"""How one operator of a plan uses the columns of its inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from beam_datahub.compiler.plan import Node
from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Aggregate, Apply, Join, PerKey, Route, Rows
from beam_datahub.kernels.expressions import Expression
from beam_datahub.lineage.model import AGGREGATION, FILTER, GROUP_BY, IDENTITY, JOIN, SORT, TRANSFORMATION, Flow

# An input column: the number of the input, and its name there.
Input = tuple[int, str]
# The transformations whose values are masked.
_MASKS = frozenset(("mask",))
# What an expression needs for a column to only decide in it.
_DECIDES = re.compile(r"\b(case|if|iff|over)\b", re.IGNORECASE)


@dataclass
class Uses:
    """`columns`: output column → (input column, flow) pairs; `rows`: (input column, flow, text) of what decides over rows."""

    columns: Mapping[str, Sequence[tuple[Input, Flow]]] = field(default_factory=dict)
    rows: Sequence[tuple[Input, Flow, str]] = ()


def uses_of(node: Node, inputs: Sequence[pa.Schema]) -> Uses:
    """How a transformation's operator uses its inputs."""
    operator = node.operator
    if isinstance(operator, Rows):
        return _rows(node, operator)
    if isinstance(operator, Aggregate):
        return _aggregate(operator)
    if isinstance(operator, PerKey):
        return _per_key(node, operator, inputs[0])
    if isinstance(operator, Join):
        return _join(node, operator)
    if isinstance(operator, Apply):
        return _apply(node, operator)
    same = {name: [(origin, IDENTITY) for origin in origins] for name, origins in node.lineage.items()}
    return Uses(same, _refused(operator) if isinstance(operator, Inspect) else ())


def branch_conditions(route: Route, branch: str) -> list[tuple[Input, Flow, str]]:
    """The conditions that decide whether a row comes to a branch of a route."""
    found: list[tuple[Input, Flow, str]] = []
    for name, condition in route.branches:
        if not route.copy or name == branch:
            found += _condition(condition)
        if name == branch and not route.copy:
            break
    return found


def _rows(node: Node, rows: Rows) -> Uses:
    masks = node.type in _MASKS
    columns: dict[str, Sequence[tuple[Input, Flow]]] = {}
    for column in rows.columns or ():
        expression = column.expression
        if expression.is_column:
            columns[column.name] = [((0, expression.columns[0]), IDENTITY)]
            continue
        flows = _expression(expression)
        columns[column.name] = [((0, name), Flow(flow.kind, flow.subtype, masks)) for name, flow in flows]
    if rows.columns is None:
        columns = {name: [((0, name), IDENTITY)] for name in node.schema.names}
    conditions = _condition(rows.keep) if rows.keep is not None else []
    for check in rows.checks:
        conditions += _condition(check.condition)
    return Uses(columns, conditions)


def _expression(expression: Expression) -> Sequence[tuple[str, Flow]]:
    """How an expression uses its columns; the parser of SQL, which takes long to import, is for those in which one may decide."""
    if not _DECIDES.search(expression.text):
        return [(name, TRANSFORMATION) for name in expression.columns]
    from beam_datahub.lineage.queries import expression_uses

    return expression_uses(expression.text, expression.columns)


def _refused(inspect: Inspect) -> list[tuple[Input, Flow, str]]:
    """The columns of rules that reject rows."""
    if not inspect.can_reject:
        return []
    return [
        ((0, name), FILTER, f"rule {rule.name}")
        for rule in inspect.rules
        if rule.action == "reject"
        for name in rule.test.columns
    ]


def _condition(condition: Expression) -> list[tuple[Input, Flow, str]]:
    return [((0, name), FILTER, condition.text) for name in condition.columns]


def _aggregate(operator: Aggregate) -> Uses:
    columns: dict[str, Sequence[tuple[Input, Flow]]] = {key: [((0, key), IDENTITY)] for key in operator.keys}
    for measure in operator.measures:
        columns[measure.name] = [
            *(((0, name), AGGREGATION) for name in measure.arguments),
            *(((0, name), SORT) for name, _ in measure.order if name not in measure.arguments),
            *([((0, measure.where), FILTER)] if measure.where is not None else []),
        ]
    return Uses(columns, _grouped(operator.keys))


def _grouped(keys: Sequence[str]) -> list[tuple[Input, Flow, str]]:
    return [((0, key), GROUP_BY, f"by {', '.join(keys)}") for key in keys]


def _per_key(node: Node, operator: PerKey, schema: pa.Schema) -> Uses:
    from beam_datahub.lineage.queries import query_uses

    found = query_uses(operator.sql, operator.lineage, schema.names)
    grouped = _grouped(operator.keys)
    known = {name for (_, name), _, _ in grouped}
    return Uses(
        {name: [((0, origin), flow) for origin, flow in uses] for name, uses in found.columns.items()},
        [*grouped, *(((0, name), flow, node.type) for name, flow in found.rows if name not in known)],
    )


def _join(node: Node, join: Join) -> Uses:
    pairs = [
        *zip(join.left_keys, join.right_keys, strict=True),
        *([(join.asof[0], join.asof[1])] if join.asof else []),
        *([join.within[:2]] if join.within else []),
    ]
    text = "on " + ", ".join(left if left == right else f"{left} = {right}" for left, right in pairs)
    return Uses(
        {name: [(origin, IDENTITY) for origin in origins] for name, origins in node.lineage.items()},
        [each for left, right in pairs for each in (((0, left), JOIN, text), ((1, right), JOIN, text))],
    )


def _apply(node: Node, operator: Apply) -> Uses:
    made = Flow(TRANSFORMATION.kind, TRANSFORMATION.subtype, node.type in _MASKS)
    columns: dict[str, Sequence[tuple[Input, Flow]]] = {}
    for name, origins in operator.lineage.items():
        as_is = operator.made is not None and name not in operator.made
        columns[name] = [((0, origin), IDENTITY if as_is else made) for origin in origins]
    return Uses(columns)
