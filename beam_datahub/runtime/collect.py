"""Runs part of a plan and hands its rows back: for `preview`, for the tests of a spec, and for the testing kit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_datahub.compiler.plan import Node, Plan, Write
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.operators import Route
from beam_datahub.component.sink import WriteRequest
from beam_datahub.kernels.rejection import DEAD_LETTER
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.launch import RunRequest, RunResult, new_run_id, run
from beam_datahub.runtime.rows import CollectSink

_REJECTED = "dead_letter"


@dataclass(frozen=True)
class Collected:
    """The rows of each wanted output, the rejected records, and the run's result."""

    tables: Mapping[str, pa.Table]
    rejected: pa.Table
    result: RunResult


def collect(plan: Plan, outputs: Mapping[str, str], request: RunRequest | None = None) -> Collected:
    """Run what `outputs` (name → step, or step.branch) need, write nothing outside, and return the rows."""
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("collect")) as folder:
        run_request = request or RunRequest(new_run_id())
        sinks: dict[str, tuple[CollectSink, pa.Schema]] = {}
        nodes = {node.id: node for node in plan if not isinstance(node.operator, Write)}
        for number, (name, reference) in enumerate(outputs.items()):
            sink = CollectSink(os.path.join(folder, str(number)))
            schema = plan.node(reference).schema
            node_id = f"collect-{number}"
            write = Write("collect", sink, WriteRequest(run_request.run_id, node_id, schema, WriteMode.OVERWRITE))
            nodes[node_id] = Node(node_id, node_id, write, (reference,), schema)
            sinks[name] = (sink, schema)
        letter = CollectSink(os.path.join(folder, "rejected"))
        request_letter = WriteRequest(run_request.run_id, _REJECTED, DEAD_LETTER, WriteMode.OVERWRITE)
        nodes[_REJECTED] = Node(_REJECTED, _REJECTED, Write("collect", letter, request_letter, dead_letter=True), (), DEAD_LETTER)
        # Nothing is published, so that no budget for rejected records can be exceeded.
        result = run(replace(_reachable(plan.replaced(nodes)), max_rejected=None), run_request)
        tables = {name: sink.collected(schema) for name, (sink, schema) in sinks.items()}
        return Collected(tables, letter.collected(DEAD_LETTER), result)


def _reachable(plan: Plan) -> Plan:
    """`plan` without what no destination needs."""
    used: set[str] = set()
    for node in reversed(list(plan)):
        if isinstance(node.operator, Write) or node.id in used:
            used.update(plan.node(reference).id for reference in node.inputs)
            used.add(node.id)
    return plan.replaced({node.id: node for node in plan if node.id in used})


def step_outputs(plan: Plan, step: str) -> Sequence[str]:
    """The references under which a step's rows can be taken: itself, or its branches."""
    node = plan.nodes[step]
    if isinstance(node.operator, Route):
        names = [name for name, _ in node.operator.branches] + ([node.operator.default] if node.operator.default else [])
        return [f"{step}.{name}" for name in dict.fromkeys(names)]
    return [node.inputs[0]] if isinstance(node.operator, Write) else [step]
