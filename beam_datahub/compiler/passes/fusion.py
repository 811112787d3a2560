"""Fusion: neighbouring row-wise steps, and the read in front of them, run as one stage over each batch."""

from __future__ import annotations

from beam_datahub.compiler.plan import Node, Plan, Read, Stage, is_row_wise
from beam_datahub.component.operators import Join


def fuse_stages(plan: Plan) -> Plan:
    """Turn every longest chain of row-wise nodes into a Stage named after its last node."""
    nodes: dict[str, Node] = {}
    for node in plan:
        if not isinstance(node.operator, Read) and not is_row_wise(node.operator):
            nodes[node.id] = node
        elif not _goes_on(node, plan):
            nodes[node.id] = _stage(_chain(node, plan), plan)
    return plan.replaced(nodes)


def _goes_on(node: Node, plan: Plan) -> bool:
    """Whether the one consumer of a node is row-wise and takes it as its main input, and nobody else looks at its rows."""
    if plan.is_profiled(node.id) and not isinstance(node.operator, Read):
        return False
    consumers = plan.consumers(node.id)
    return len(consumers) == 1 and is_row_wise(consumers[0].operator) and consumers[0].inputs[0] == node.id


def _chain(last: Node, plan: Plan) -> list[Node]:
    chain = [last]
    while chain[0].inputs and chain[0].inputs[0] in plan.nodes:
        before = plan.nodes[chain[0].inputs[0]]
        if not (isinstance(before.operator, Read) or is_row_wise(before.operator)) or not _goes_on(before, plan):
            break
        chain.insert(0, before)
    return chain


def _stage(chain: list[Node], plan: Plan) -> Node:
    first, last = chain[0], chain[-1]
    read = first.operator if isinstance(first.operator, Read) else None
    steps = chain[1:] if read is not None else chain
    sides = {node.id: (node.inputs[1], plan.node(node.inputs[1]).schema) for node in steps if isinstance(node.operator, Join)}
    entry = first.schema if read is not None else plan.node(first.inputs[0]).schema
    stage = Stage(
        steps=tuple((node.id, node.operator) for node in steps if is_row_wise(node.operator)),
        read=read,
        read_id=first.id if read is not None else None,
        schemas=(entry, *(node.schema for node in steps)),
        sides=sides,
    )
    inputs = (() if read is not None else first.inputs[:1]) + tuple(reference for reference, _ in sides.values())
    return last.with_(operator=stage, inputs=inputs)
