"""Lookups in databases: whether a source is read as a whole, or asked for the keys of each batch."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.plan import Ask, Node, Plan, Read
from beam_datahub.component.operators import Join, JoinKind, Union

# A row that is found by its key costs about as much as so many that are read one after the other.
_KEY_COSTS = 10
# Sources of fewer rows are read faster than they are asked.
_LEAST_ROWS = 20_000
# About what a row takes at its source, where only bytes are known.
_ROW_BYTES = 40


def ask_sources(plan: Plan) -> Plan:
    """Choose for every lookup in a source; a source that is only asked is not read."""
    nodes: dict[str, Node] = {}
    rows: dict[str, int | None] = {}
    asked: set[str] = set()
    for node in plan:
        rows[node.id] = _rows(node, plan, rows)
        operator = node.operator
        nodes[node.id] = node
        if not isinstance(operator, Join) or operator.asking is None:
            continue
        source = plan.node(node.inputs[1])
        by_batch, why = _choice(operator, plan.node(node.inputs[0]), source, rows)
        chosen = replace(operator, why=why)
        if not by_batch:
            nodes[node.id] = node.with_(operator=chosen)
            continue
        assert isinstance(source.operator, Read)
        ask = Ask(replace(chosen, strategy="by keys"), source.operator, source.id, source.schema)
        nodes[node.id] = node.with_(operator=ask, inputs=node.inputs[:1])
        asked.add(source.id)
    changed = plan.replaced(nodes)
    unread = {name for name in asked if not changed.consumers(name) and not changed.is_profiled(name)}
    return changed.replaced({name: node for name, node in nodes.items() if name not in unread})


def why_not(join: Join, left: pa.Schema, source: Node) -> str | None:
    """Why a source cannot be asked for the keys of each batch; None where it can."""
    read = source.operator
    if not isinstance(read, Read):
        return f"'{source.step}' is no source, or its rows are changed before"
    if not read.source.capabilities.lookup:
        return f"'{read.connector}' cannot be asked by keys"
    if read.increment is not None or read.positions is not None:
        return f"'{source.step}' is read incrementally"
    if join.kind is not JoinKind.LEFT or join.asof is not None or join.within is not None:
        return "it is no plain lookup"
    for a, b in zip(join.left_keys, join.right_keys, strict=True):
        here, there = left.field(a).type, source.schema.field(b).type
        if not read.source.asks_by(b, there) or not (here == there or (_is_exact(here) and _is_exact(there))):
            return f"'{source.step}' cannot be asked by '{b}' as by equal values of '{a}'"
    return None


def _is_exact(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(data_type) or pa.types.is_decimal(data_type))


def _choice(join: Join, left: Node, source: Node, rows: dict[str, int | None]) -> tuple[bool, str | None]:
    """Whether to ask for the keys of each batch, and why, where there was something to choose."""
    assert join.asking is not None
    reason = why_not(join, left.schema, source)
    if reason is not None:
        return False, None
    if join.asking.mode != "auto":
        return join.asking.mode == "batch", f"`lookup: {join.asking.mode}`"
    read = source.operator
    assert isinstance(read, Read)
    here, there = rows[left.id], read.estimated_rows
    if here is None or there is None:
        return False, f"the rows of '{left.step if here is None else source.step}' are not known"
    if read.request.declared or not any(key <= set(join.right_keys) for key in read.keys):
        return False, f"'{source.step}' is not known to have a key on {', '.join(join.right_keys)}"
    counts = f"about {here:,} row{'' if here == 1 else 's'} here, {there:,} there"
    return there >= _LEAST_ROWS and here * _KEY_COSTS <= there, counts


def _rows(node: Node, plan: Plan, rows: dict[str, int | None]) -> int | None:
    """About how many rows a node gives, from what its sources have; None where one of them is unknown."""
    read = node.operator
    if isinstance(read, Read):
        if read.estimated_rows is not None or read.estimated_bytes is None:
            return read.estimated_rows
        return read.estimated_bytes // _ROW_BYTES + 1
    known = [rows[plan.node(reference).id] for reference in node.inputs]
    if not isinstance(read, Union):
        # What is looked up, or joined, rarely adds to the rows.
        known = known[:1]
    return None if None in known else sum(count for count in known if count is not None)
