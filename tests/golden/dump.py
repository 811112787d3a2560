"""A plan as compact text, a line per node: what the passes change shows as a difference of lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan, Read, Shuffle, Stage, Write
from beam_datahub.component.inspection import Inspect, RowTest
from beam_datahub.component.operators import Aggregate, Apply, Join, PerKey, Route, Rows, Union
from beam_datahub.kernels.types import sql_type
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import load
from beam_datahub.testing.steps import as_table


def golden_plan(path: Path) -> Plan:
    """The logical plan of a spec whose sources are inline rows."""
    document = load(path)
    sources = {name: RowsSource(as_table(source.options["rows"])) for name, source in document.integration.sources.items()}
    return build(document, BuildOptions(sources=sources))


def dump(plan: Plan) -> str:
    """Every node with its inputs, its schema, and what it does."""
    lines: list[str] = []
    for node in plan:
        inputs = f" <- {', '.join(node.inputs)}" if node.inputs else ""
        lines.append(f"{node.id}{inputs}: {_columns(node.schema)}")
        lines += textwrap.wrap(" ".join(_doing(node.operator)), 120, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {sql_type(field.type)}" for field in schema)


def _doing(operator: Any) -> Iterator[str]:
    if isinstance(operator, Read):
        yield f"read {', '.join(operator.request.columns)}"
    elif isinstance(operator, Write):
        yield f"write {operator.request.mode.value}"
    elif isinstance(operator, Rows):
        yield "rows"
        if operator.keep is not None:
            yield f"keep ({operator.keep.sql})"
        for check in operator.checks:
            yield f"check ({check.condition.sql}) else {check.reason}"
        for column in operator.columns or ():
            yield f"{column.name} = {column.expression.sql}{'!' if column.expression.can_fail else ''};"
    elif isinstance(operator, Aggregate):
        measures = "; ".join(
            f"{m.name} = {m.function}({'distinct ' if m.distinct else ''}{', '.join(m.arguments)})" for m in operator.measures
        )
        yield f"aggregate by ({', '.join(operator.keys)}): {measures}"
    elif isinstance(operator, PerKey):
        yield f"per key ({', '.join(operator.keys)}) {operator.sql}"
        if operator.reduce:
            yield f"reduce {operator.reduce}"
    elif isinstance(operator, Join):
        yield f"{operator.kind.value} join on ({', '.join(operator.left_keys)}) = ({', '.join(operator.right_keys)})"
        yield f"unmatched {operator.unmatched}, ambiguous {operator.ambiguous}, strategy {operator.strategy}"
    elif isinstance(operator, Route):
        ways = "; ".join(f"{name} when {condition.sql}" for name, condition in operator.branches)
        yield f"route {ways} else {operator.default}"
    elif isinstance(operator, Shuffle):
        for number, exchange in enumerate(operator.exchanges):
            yield f"side {number} by ({', '.join(exchange.keys)})" + (f" after {exchange.before}" if exchange.before else "")
        yield f"then {operator.kind}: {operator.after}" + (" and a row for nothing" if operator.global_row else "")
    elif isinstance(operator, Stage):
        yield f"stage{f' read {operator.read_id}' if operator.read_id else ''} [{', '.join(step for step, _ in operator.steps)}]"
        yield from (f"holding {side} for {step}" for step, (side, _) in operator.sides.items())
    elif isinstance(operator, Inspect):
        yield f"inspect {'refuses ' * operator.refuses}{'records ' * operator.records}beside {operator.beside}"
        for rule in operator.rules:
            counted = "" if rule.counted else " (uncounted)"
            yield f"{rule.name}{counted}: {rule.action} {_test(rule.test)};"
    elif isinstance(operator, Union | Apply):
        yield type(operator).__name__.lower()


def _test(test: Any) -> str:
    where = f" of ({test.applies.sql})" if test.applies is not None else ""
    if isinstance(test, RowTest):
        probes = "".join(f" with {probe.column} as {probe.form.name}" for probe in test.probes)
        return f"passes ({test.passes.sql if test.passes else 'any'}){where}{probes}"
    return f"{test}{where}" if not where else f"{type(test).__name__}{where}"


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What a pass changed, node by node; nodes that stay as they were are left out."""
    lines = []
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) == after.get(name):
            continue
        lines += [f"- {line}" for line in before.get(name, "").splitlines()]
        lines += [f"+ {line}" for line in after.get(name, "").splitlines()]
    return "\n".join(lines) or "(nothing)"


def by_node(plan: Plan) -> dict[str, str]:
    """The dump of each node."""
    return {node.id: dump(plan.replaced({node.id: node})) for node in plan}
