"""Turns every PerKey operator into a shuffle, with its reducing query in front where it has one."""

from __future__ import annotations

from beam_datahub.compiler.plan import Exchange, Node, Plan, Shuffle
from beam_datahub.component.operators import PerKey
from beam_datahub.kernels.types import quoted


def group_by_key(plan: Plan) -> Plan:
    """Lower deduplication, top-n, pivots and whole-relation SQL."""
    nodes: dict[str, Node] = {}
    for node in plan:
        operator = node.operator
        if isinstance(operator, PerKey):
            schema = plan.node(node.inputs[0]).schema
            exchange = Exchange(tuple(quoted(key) for key in operator.keys), operator.reduce, schema)
            windowing = operator.windowing
            shuffle = Shuffle(
                (exchange,),
                operator.sql,
                node.schema,
                kind="per key",
                global_row=not operator.keys and windowing is None,
                windowing=windowing,
                compact=operator.reduce,
            )
            node = node.with_(operator=shuffle)
        nodes[node.id] = node
    return plan.replaced(nodes)
