"""Judges quality rules by what a run found: which hold, which are broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from beam_datahub.compiler.findings import RuleTally
from beam_datahub.compiler.plan import PlanRule
from beam_datahub.component.inspection import Figure, RowTest, Settled


def judge(rules: Sequence[PlanRule], tallies: Mapping[str, RuleTally], now: datetime) -> list[dict[str, Any]]:
    """For each rule what it found and whether it holds, as the run's report has it.

    `ratio` is the share of checked records that pass, 1 where there are none. A rule about a whole table has one check.
    """
    return [_judged(rule, tallies.get(rule.name, RuleTally()), now) for rule in rules]


def _judged(rule: PlanRule, tally: RuleTally, now: datetime) -> dict[str, Any]:
    test = rule.test
    if isinstance(test, RowTest):
        checked, failed = tally.checked, tally.failed
        ratio = 1.0 if not checked else (checked - failed) / checked
        passed = failed <= rule.failures if rule.failures is not None else _reaches(checked, failed, rule.share or 0.0)
        outcome = f"{failed:,} of {checked:,} {'record' if checked == 1 else 'records'} failed"
        outcome += "" if passed else f", {rule.threshold} wanted" if rule.failures is None else f", {rule.threshold}"
        outcome = outcome if failed else f"all {checked:,} records passed" if checked != 1 else "the one record passed"
    elif isinstance(test, Figure):
        passed = bool(tally.checked) and not tally.failed
        outcome = f"{test.name}: {'there is no value' if tally.figure is None else tally.figure}"
        outcome += "" if passed else f", {test.limits} wanted"
        checked, failed, ratio = 1, 0 if passed else 1, 1.0 if passed else 0.0
    else:
        passed, outcome = (test.fine, test.detail) if isinstance(test, Settled) else test.judge(tally.checked, tally.newest, now)
        checked, failed = 1, 0 if passed else 1
        ratio = 1.0 if passed else 0.0
    return {
        "name": rule.name,
        "step": rule.step,
        "type": rule.type,
        "severity": rule.severity,
        "action": rule.action,
        "checked": checked,
        "failed": failed,
        "ratio": ratio,
        "threshold": rule.threshold,
        "passed": passed,
        "outcome": outcome,
        "where": rule.where,
        "description": rule.description,
    }


def _reaches(checked: int, failed: int, share: float) -> bool:
    """Whether the share of records that pass is reached, to more digits than a count of records can differ in."""
    return checked - failed >= share * checked - 1e-9 * checked
