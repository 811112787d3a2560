"""What comes out of an operator: the Arrow schema of its edge, and where each column comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Aggregate, Apply, Join, Operator, PerKey, Route, Rows, Union
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.widening import widest
from beam_datahub.kernels.windows import NUMBERS

Lineage = Mapping[str, tuple[tuple[int, str], ...]]


@dataclass(frozen=True)
class Edge:
    """The schema of an operator's output with its lineage and the texts of the expressions."""

    schema: pa.Schema
    lineage: Lineage = field(default_factory=dict)
    expressions: Mapping[str, str] = field(default_factory=dict)


def edge_of(operator: Operator, inputs: Sequence[pa.Schema]) -> Edge:
    """The typed output of `operator` over inputs of these schemas."""
    if isinstance(operator, Rows):
        if operator.columns is None:
            return _unchanged(inputs[0])
        return Edge(
            pa.schema([(column.name, column.expression.type) for column in operator.columns]),
            {column.name: tuple((0, name) for name in column.expression.columns) for column in operator.columns},
            {column.name: column.expression.text for column in operator.columns if _is_made(column.expression)},
        )
    if isinstance(operator, Apply | PerKey):
        lineage = {name: tuple((0, origin) for origin in origins) for name, origins in operator.lineage.items()}
        return Edge(_numbered(operator.schema, operator), lineage)
    if isinstance(operator, Aggregate):
        return _aggregate(operator, inputs[0])
    if isinstance(operator, Join):
        return _join(operator, inputs)
    if isinstance(operator, Union):
        origins = {
            name: tuple((i, name) for i, schema in enumerate(inputs) if name in schema.names) for name in operator.schema.names
        }
        return Edge(operator.schema, origins)
    if isinstance(operator, Route):
        return _unchanged(inputs[0])
    if isinstance(operator, Inspect):
        return _unchanged(pa.schema([f for f in inputs[0] if f.name not in operator.drops]))
    raise TypeError(f"no such operator: {operator!r}")


def _is_made(expression: Expression) -> bool:
    """Whether an expression is worth showing: a measure that was computed before is a plain column here, too."""
    return not expression.is_column or expression.text != expression.columns[0]


def _unchanged(schema: pa.Schema) -> Edge:
    return Edge(schema, {name: ((0, name),) for name in schema.names})


def _aggregate(operator: Aggregate, schema: pa.Schema) -> Edge:
    fields = [schema.field(key) for key in operator.keys] + [pa.field(m.name, m.type) for m in operator.measures]
    lineage: dict[str, tuple[tuple[int, str], ...]] = {key: ((0, key),) for key in operator.keys}
    texts: dict[str, str] = {}
    for measure in operator.measures:
        used = [*measure.arguments, *(name for name, _ in measure.order), *([measure.where] if measure.where else [])]
        lineage[measure.name] = tuple((0, name) for name in dict.fromkeys(used))
        distinct = "distinct " if measure.distinct else ""
        texts[measure.name] = f"{measure.function}({distinct}{', '.join([*measure.arguments, *measure.parameters]) or '*'})"
    return Edge(_numbered(pa.schema(fields), operator), lineage, texts)


def _numbered(schema: pa.Schema, operator: Operator) -> pa.Schema:
    """`schema` with the columns that tell the results of a window apart, where there are any."""
    windowing = getattr(operator, "windowing", None)
    return pa.schema([*schema, *NUMBERS]) if windowing is not None and windowing.numbered else schema


def _join(operator: Join, inputs: Sequence[pa.Schema]) -> Edge:
    fields: list[pa.Field] = []
    lineage: dict[str, tuple[tuple[int, str], ...]] = {}
    for name, side, origin in operator.columns:
        if side == -1:
            right = operator.right_keys[operator.left_keys.index(origin)]
            either = widest([inputs[0].field(origin).type, inputs[1].field(right).type])
            fields.append(pa.field(name, either or inputs[0].field(origin).type))
            lineage[name] = ((0, origin), (1, right))
        else:
            fields.append(pa.field(name, inputs[side].field(origin).type))
            lineage[name] = ((side, origin),)
    return Edge(_numbered(pa.schema(fields), operator), lineage)
