"""Runs one quality rule over given rows through the whole compiler and the direct engine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.component.registry import component
from beam_datahub.component.rule import Rule, RuleExample
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads
from beam_datahub.testing.steps import Given, as_table


@dataclass(frozen=True)
class RuleRun:
    """What a rule found: `verdict` as the run's report has it, `failing` the rows that fail (also rejected ones), `rows` those
    that go on, `rejected` dead-letter records.
    """

    verdict: dict[str, Any]
    failing: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    collected: Collected


def run_rule(
    type: str,
    options: Mapping[str, Any],
    given: Given,
    *,
    others: Mapping[str, Given] | None = None,
    where: str | None = None,
    schema: Mapping[str, str] | None = None,
    action: str = "report",
    threshold: Any = None,
    steps: Sequence[Mapping[str, Any]] = (),
    slice_rows: int | None = None,
    request: RunRequest | None = None,
) -> RuleRun:
    """Apply a rule of this type to `given`, the rows of a source; `others` are the inputs that its options name. With `steps`,
    transformations that come after each other, the rule judges what the last of them gives.

    Raises what `validate` would. `slice_rows` cuts all inputs into batches of so many rows.
    """
    tables = {"rows": as_table(given, schema), **{name: as_table(rows) for name, rows in (others or {}).items()}}
    last = steps[-1]["id"] if steps else "rows"
    rule = {"name": "rule", "step": last, "type": type, "action": action, **options}
    rule |= {key: value for key, value in (("where", where), ("threshold", threshold)) if value is not None}
    spec = {
        "name": "rule",
        "sources": {name: {"connector": "inline", "connection": {}, "rows": []} for name in tables},
        "transformations": [dict(step) if number else {"input": "rows", **step} for number, step in enumerate(steps)],
        "quality_rules": [rule],
        "destinations": [{"id": "out", "connector": "console", "input": last}],
    }
    document = loads(json.dumps(spec, default=str), name="rule.yaml")
    sources = {name: RowsSource(table, slice_rows) for name, table in tables.items()}
    plan = build(document, BuildOptions(sources=sources, outputs=False))
    found = collect(plan, {last: last}, request or RunRequest(new_run_id()), quality=True)
    rejected = found.rejected.to_pylist()
    failing = [json.loads(row["record"]) for row in found.violations.to_pylist()]
    failing += [json.loads(row["original"]) for row in rejected]
    return RuleRun(found.result.quality[0], failing, found.tables[last].to_pylist(), rejected, found)


def check_rule_example(type: str, example: RuleExample, *, slice_rows: int | None = None) -> None:
    """The example fails the rows that it promises, or holds as it says; also when `slice_rows` cuts its rows."""
    found = run_rule(
        type,
        example.options,
        example.given,
        others=example.others,
        where=example.where,
        schema=example.schema,
        slice_rows=slice_rows,
    )
    if example.holds is not None:
        assert found.verdict["passed"] == example.holds, f"{type}, {example.title}: {found.verdict['outcome']}"
        return
    names = (example.shown,) if isinstance(example.shown, str) else example.shown or ()
    values = [row[names[0]] if len(names) == 1 else tuple(row[name] for name in names) for row in found.failing]
    assert sorted(map(repr, values)) == sorted(map(repr, example.fails)), f"{type}, {example.title}: {values}"
    assert found.verdict["failed"] == len(example.fails)


def check_rule_pickles(type: str, example: RuleExample) -> None:
    """A configured rule can be sent to a worker."""
    kind = component("rule", type)
    assert issubclass(kind, Rule)
    config = kind.Config.model_validate(example.options)
    assert pickle.loads(pickle.dumps(kind(config))).config == config
