"""How the steps of a plan hang together, as a document that a run's record keeps and a replay of that run goes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_datahub.compiler.passes.columns import prune_columns
from beam_datahub.compiler.plan import Node, Plan, Read, Write, is_aside
from beam_datahub.component.operators import Aggregate, Join, JoinKind, PerKey, Route, Union
from beam_datahub.kernels.types import sql_type, visible
from beam_datahub.store.records import Role

# Rows of these come from one side of the join alone, too.
_BOTH = (JoinKind.RIGHT, JoinKind.FULL)


def wiring(plan: Plan) -> dict[str, Any]:
    """The nodes of a logical plan: what they are, which of their inputs their rows come from, and what sources read of it.

    `dead_letter` tells how the rejected records can be read back.
    """
    pruned = prune_columns(plan)
    nodes = {node.id: _node(node, plan) for node in plan}
    reads = {node.id: list(node.operator.request.columns) for node in pruned if isinstance(node.operator, Read)}
    letter = next((node.operator for node in plan if isinstance(node.operator, Write) and node.operator.dead_letter), None)
    return {
        "name": plan.name,
        "nodes": nodes,
        "reads": reads,
        "dead_letter": None if letter is None else _place(letter),
    }


def _node(node: Node, plan: Plan) -> dict[str, Any]:
    operator = node.operator
    found: dict[str, Any] = {"step": node.step, "role": role_of(node), "type": node.type, "inputs": list(node.inputs)}
    found["rows_of"] = [plan.node(reference).id for reference in carrying(node)]
    if node.id == node.step:
        found["columns"] = {field.name: sql_type(field.type) for field in visible(node.schema)}
    if isinstance(operator, Write):
        found["mode"] = operator.request.mode.value
    if isinstance(operator, Route) and not operator.copy:
        found["is_choice"] = True
    return found


def role_of(node: Node) -> Role:
    """What a node is in its integration."""
    if isinstance(node.operator, Read):
        return "source"
    if isinstance(node.operator, Write):
        return "dead_letter" if is_aside(node.operator) else "destination"
    return "transformation"


def _place(write: Write) -> dict[str, Any]:
    return {
        "connector": write.connector,
        "connection": write.sink.connection.model_dump(mode="json"),
        "options": write.sink.options.model_dump(mode="json", exclude_defaults=True),
    }


def carrying(node: Node) -> Sequence[str]:
    """The inputs whose rows a node hands on; what a join looks up is not among them."""
    if isinstance(node.operator, Union):
        return node.inputs
    return node.inputs[:1]


def looking_up(node: Node) -> Sequence[str]:
    """The inputs that a node only looks up."""
    return node.inputs[1:] if isinstance(node.operator, Join) else ()


def whole_run(node: Node) -> str | None:
    """Why what a node gives depends on all records of a run; None where each row stands for itself.

    `both sides` is a join that also gives what it looked up.
    """
    if isinstance(node.operator, Aggregate):
        return "an aggregation"
    if isinstance(node.operator, PerKey):
        return f"a {node.type}" if node.type else "rows that meet"
    if isinstance(node.operator, Join) and node.operator.kind in _BOTH:
        return "both sides"
    return None


def reached(document: Mapping[str, Any], step: str) -> set[str]:
    """The destinations that the rows of a step go on to, by the wiring of its run."""
    nodes: Mapping[str, Any] = document["nodes"]
    found = {name for name, node in nodes.items() if node["step"] == step}
    # The nodes stand behind those that feed them.
    for name, node in nodes.items():
        if found.intersection(node["rows_of"]):
            found.add(name)
    return {name for name in found if nodes[name]["role"] == "destination"}


def before(document: Mapping[str, Any], step: str) -> set[str]:
    """The steps whose rows go into a step, by the wiring of its run."""
    nodes: Mapping[str, Any] = document["nodes"]
    found = {name for name, node in nodes.items() if node["step"] == step}
    for name in reversed(list(nodes)):
        if name in found:
            found.update(nodes[name]["rows_of"])
    return {nodes[name]["step"] for name in found} - {step}


def reached_besides(document: Mapping[str, Any], steps: Sequence[str]) -> set[str]:
    """The destinations that a record which these steps rejected may have reached on another way, past all of them."""
    nodes: Mapping[str, Any] = document["nodes"]
    rejecting = {name for name, node in nodes.items() if node["step"] in steps}
    ancestors: set[str] = set()
    for name in reversed(list(nodes)):
        if name in rejecting or name in ancestors:
            ancestors.update(nodes[name]["rows_of"])
    # Where a route sends each record one way only, the record went the way that led to its rejection.
    closed = rejecting | {name for name in ancestors if nodes[name].get("is_choice")}
    found = ancestors - closed
    for name, node in nodes.items():
        if name not in closed and found.intersection(node["rows_of"]):
            found.add(name)
    return {name for name in found if nodes[name]["role"] == "destination"}


def upstream(plan: Plan, destinations: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of the nodes that destinations need: those whose rows reach them, and those that are looked up on the way."""
    carried, looked = set(destinations), set[str]()
    for node in reversed(list(plan)):
        if node.id in carried:
            carried.update(plan.node(reference).id for reference in carrying(node))
            looked.update(plan.node(reference).id for reference in looking_up(node))
        if node.id in looked:
            looked.update(plan.node(reference).id for reference in node.inputs)
    return carried, looked
