"""Runs part of a plan and hands its rows back: for `preview`, for the tests of a spec, and for the testing kit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from beam_datahub.compiler.plan import Node, Plan, Write
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Route
from beam_datahub.component.sink import WriteRequest
from beam_datahub.kernels.rejection import DEAD_LETTER, VIOLATION
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.launch import RunRequest, RunResult, run
from beam_datahub.runtime.rows import CollectSink
from beam_datahub.runtime.run_id import new_run_id

_REJECTED = "dead_letter"
_VIOLATIONS = "violations"


@dataclass(frozen=True)
class Collected:
    """The rows of each wanted output, the rejected records, the run's result, and the violations of quality rules."""

    tables: Mapping[str, pa.Table]
    rejected: pa.Table
    result: RunResult
    violations: pa.Table = field(default_factory=VIOLATION.empty_table)


def collect(
    plan: Plan,
    outputs: Mapping[str, str],
    request: RunRequest | None = None,
    *,
    quality: bool = False,
    runner: Callable[[Plan, RunRequest], RunResult] = run,
) -> Collected:
    """Run what `outputs` (name → step, or step.branch) need, write nothing outside, and return the rows.

    Quality rules reject what they reject; their verdict is asked for with `quality`: then all of them run, and one that fails
    the run leaves its error in the result. `runner` is what runs the plan.
    """
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("collect")) as folder:
        run_request = request or RunRequest(new_run_id())
        sinks: dict[str, tuple[CollectSink, pa.Schema]] = {}
        nodes = {node.id: node for node in plan if not isinstance(node.operator, Write)}
        for number, (name, reference) in enumerate(outputs.items()):
            sink = CollectSink(os.path.join(folder, str(number)))
            # Behind the rules of a destination, else behind those of the step.
            reference = plan.judged(name) if plan.judged(name) in plan.nodes else plan.judged(reference)
            schema = plan.node(reference).schema
            node_id = f"collect-{number}"
            write = Write("collect", sink, WriteRequest(run_request.run_id, node_id, schema, WriteMode.OVERWRITE))
            nodes[node_id] = Node(node_id, node_id, write, (reference,), schema)
            sinks[name] = (sink, schema)
        letter = CollectSink(os.path.join(folder, "rejected"))
        request_letter = WriteRequest(run_request.run_id, _REJECTED, DEAD_LETTER, WriteMode.OVERWRITE)
        nodes[_REJECTED] = Node(_REJECTED, _REJECTED, Write("collect", letter, request_letter, dead_letter=True), (), DEAD_LETTER)
        broken = CollectSink(os.path.join(folder, "violations"))
        if quality:
            request_broken = WriteRequest(run_request.run_id, _VIOLATIONS, VIOLATION, WriteMode.OVERWRITE)
            write = Write("collect", broken, request_broken, violations=True)
            nodes[_VIOLATIONS] = Node(_VIOLATIONS, _VIOLATIONS, write, (), VIOLATION)
        # Nothing is published, so that no budget for rejected records can be exceeded.
        rules = plan.rules if quality else ()
        kept = replace(_reachable(plan.replaced(nodes), quality=quality), max_rejected=None, rules=rules)
        # What is collected is not kept: there is nothing to seal.
        kept = replace(kept, metadata={name: value for name, value in kept.metadata.items() if name != "sealed"})
        result = runner(kept, run_request)
        tables = {name: sink.collected(schema) for name, (sink, schema) in sinks.items()}
        violations = broken.collected(VIOLATION) if quality else VIOLATION.empty_table()
        return Collected(tables, letter.collected(DEAD_LETTER), result, violations)


def _reachable(plan: Plan, *, quality: bool) -> Plan:
    """`plan` without what no destination needs, and no quality rule."""
    used: set[str] = set()
    for node in reversed(list(plan)):
        if isinstance(node.operator, Write) or node.id in used or (quality and isinstance(node.operator, Inspect)):
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
