"""Column pruning: sources read only the columns that some step uses, and steps stop computing what nobody reads.

A column whose expression can fail is computed even when nobody reads it, so that its step still refuses the same rows.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.plan import BESIDE, Node, Plan, PlanProfile, Read, Write, is_aside
from beam_datahub.compiler.schema import edge_of
from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Aggregate, Join, Operator, PerKey, Route, Rows, Union
from beam_datahub.kernels.windows import END, START


def prune_columns(plan: Plan) -> Plan:
    """Drop unused columns as early as it can be done."""
    wanted = _wanted(plan)
    nodes: dict[str, Node] = {}
    for node in plan:
        nodes[node.id] = _pruned(node, wanted[node.id], [_schema(nodes, reference) for reference in node.inputs])
    profiles = tuple(replace(each, schema=_schema(nodes, each.reference)) for each in _there(plan))
    return replace(plan, nodes=nodes, profiles=profiles)


def _there(plan: Plan) -> list[PlanProfile]:
    """The profiles of nodes that are in the plan: a part of one may be run."""
    return [each for each in plan.profiles if {each.reference, each.reference.rpartition(".")[0]} & set(plan.nodes)]


def _wanted(plan: Plan) -> dict[str, set[str]]:
    """The columns of each node that a later one needs."""
    found = _wanted_of([node for node in plan if not node.step.startswith(BESIDE)], plan, {})
    beside = {node.id: found[plan.node(op.beside).id] for node in plan if isinstance(op := node.operator, Inspect) and op.beside}
    # Rules beside the way of the rows show the columns that those on their way have.
    return _wanted_of(list(plan), plan, beside) if beside else found


def _wanted_of(nodes: list[Node], plan: Plan, ends: dict[str, set[str]]) -> dict[str, set[str]]:
    wanted = {node.id: set(ends.get(node.id, ())) for node in plan}
    for each in _there(plan):
        wanted[plan.node(each.reference).id].update(each.columns or ())
    for node in reversed(nodes):
        if getattr(node.operator, "windowing", None) is not None:
            # What tells the window of a row is looked at where windows are waited for.
            wanted[node.id].update((START, END))
        if not wanted[node.id]:
            # A table without columns has no rows, and the rows count.
            wanted[node.id] = set(node.schema.names[:1])
        for index, reference in enumerate(node.inputs):
            source = plan.node(reference)
            wanted[source.id] |= _needed(node, index, wanted[node.id], source.schema)
    return wanted


def _schema(nodes: dict[str, Node], reference: str) -> pa.Schema:
    return (nodes[reference] if reference in nodes else nodes[reference.rpartition(".")[0]]).schema


def _needed(node: Node, index: int, wanted: set[str], schema: pa.Schema) -> set[str]:
    """The columns of its input number `index` that a node needs to give the columns `wanted`."""
    operator = node.operator
    if isinstance(operator, Write):
        return set() if is_aside(operator) else set(operator.request.schema.names)
    if isinstance(operator, Rows):
        used = set(operator.keep.columns if operator.keep else ())
        used.update(name for check in operator.checks for name in check.condition.columns)
        if operator.columns is None:
            return used | wanted
        return used.union(*(c.expression.columns for c in operator.columns if c.name in wanted or c.expression.can_fail))
    if isinstance(operator, Aggregate):
        used = set(operator.keys)
        for measure in operator.measures:
            used.update(measure.arguments, (name for name, _ in measure.order), [measure.where] if measure.where else [])
        return used
    if isinstance(operator, Join):
        return _join_needs(operator, index, wanted, schema)
    if isinstance(operator, Union):
        return wanted & set(schema.names)
    if isinstance(operator, Inspect):
        return wanted.union(operator.columns)
    if isinstance(operator, PerKey) and operator.adds is not None:
        return (wanted - set(operator.adds.names)).union(operator.keys, operator.uses)
    if isinstance(operator, Route):
        return wanted.union(*(condition.columns for _, condition in operator.branches))
    return set(schema.names)


def _join_needs(join: Join, index: int, wanted: set[str], schema: pa.Schema) -> set[str]:
    used = set((join.left_keys, join.right_keys)[index])
    if join.asof is not None:
        if index == 1:
            # Every column tells equally near rows apart.
            return set(schema.names)
        used.add(join.asof[index])
    if join.within is not None:
        used.add(join.within[:2][index])
    if join.windowing is not None:
        # Of both inputs it is looked at how long their rows wait.
        used.update((START, END))
    return used | {origin for name, side, origin in join.columns if name in wanted and side == index}


def _pruned(node: Node, wanted: set[str], inputs: list[pa.Schema]) -> Node:
    operator = node.operator
    if isinstance(operator, Read):
        names = tuple(name for name in operator.request.columns if name in wanted)
        schema = replace(operator.request, columns=names).projected
        looked = wanted.union(operator.increment.needed if operator.increment is not None else ())
        looked = looked.union((operator.time,) if operator.time is not None else ())
        columns = tuple(name for name in operator.request.columns if name in looked)
        read = replace(operator, request=replace(operator.request, columns=columns), columns=names)
        return node.with_(operator=read, schema=schema)
    if isinstance(operator, Rows):
        if operator.columns is not None:
            kept = tuple(c for c in operator.columns if c.name in wanted or c.expression.can_fail)
            operator = replace(operator, columns=kept)
        return _retyped(node, operator, inputs)
    if isinstance(operator, Join):
        return _retyped(node, replace(operator, columns=tuple(c for c in operator.columns if c[0] in wanted)), inputs)
    if isinstance(operator, Union):
        return _retyped(node, Union(pa.schema([f for f in operator.schema if f.name in wanted])), inputs)
    if isinstance(operator, PerKey) and operator.adds is not None:
        schema = pa.schema([*inputs[0], *operator.adds])
        lineage = {name: operator.lineage[name] for name in schema.names}
        return _retyped(node, replace(operator, schema=schema, lineage=lineage), inputs)
    if isinstance(operator, Route | Inspect):
        return _retyped(node, operator, inputs)
    return node


def _retyped(node: Node, operator: Operator, inputs: list[pa.Schema]) -> Node:
    edge = edge_of(operator, inputs)
    texts = {name: text for name, text in node.expressions.items() if name in edge.schema.names}
    return node.with_(operator=operator, schema=edge.schema, lineage=edge.lineage, expressions=texts)
