"""What a test expects beside rows, compared with what came: rejected records, failures of quality rules, lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from beam_datahub.lineage.model import DIRECT
from beam_datahub.runtime.collect import Collected
from beam_datahub.spec import RejectedSpec
from beam_datahub.testing.values import meant, shown

# A difference shows so many rows of either side.
ROWS_SHOWN = 20
_RULE = "quality_rule"


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def compare_rejected(collected: Collected, expected: int | tuple[RejectedSpec, ...] | None) -> list[str]:
    """What differs between the rejected records that came and those expected."""
    letters = collected.rejected.to_pylist()
    if expected is None:
        return []
    if isinstance(expected, int):
        if len(letters) == expected:
            return []
        return [
            f"rejected: {counted(expected, 'record')} expected, {len(letters)} came",
            *(f"+ {_letter(each)}" for each in letters[:ROWS_SHOWN]),
        ]
    left = list(letters)
    missing = []
    # The most particular ones choose first, so that a vague one does not take what another needs.
    for wanted in sorted(expected, key=lambda each: -len(each.model_dump(exclude_none=True))):
        found = next((letter for letter in left if _fits(letter, wanted)), None)
        if found is None:
            missing.append(wanted)
        else:
            left.remove(found)
    if not missing and not left:
        return []
    return [
        f"rejected: {counted(len(expected), 'record')} expected, {len(letters)} came",
        *(f"- {_wanted(each)}" for each in missing),
        *(f"+ {_letter(each)}" for each in left[:ROWS_SHOWN]),
    ]


def _fits(letter: Mapping[str, Any], wanted: RejectedSpec) -> bool:
    given = wanted.model_dump(exclude_none=True)
    message = given.pop("message", None)
    return all(letter[key] == value for key, value in given.items()) and (message is None or message in (letter["message"] or ""))


def _wanted(wanted: RejectedSpec) -> str:
    return ", ".join(f"{key} {value}" for key, value in wanted.model_dump(exclude_none=True).items()) or "any record"


def _letter(letter: Mapping[str, Any]) -> str:
    column = f", column {letter['column']}" if letter["column"] else ""
    return f"step {letter['step']}, reason {letter['reason']}{column}, message {letter['message']}"


def failures(collected: Collected) -> dict[str, int]:
    """Quality rule → how many records, or tables, fail it; rules that nothing fails are left out."""
    return {each["name"]: each["failed"] for each in collected.result.quality if each["failed"]}


def failing_rows(collected: Collected, rule: str) -> list[dict[str, Any]]:
    """The records that fail a rule, as the step has them; of a rule that rejects, as they are rejected."""
    found = [each["record"] for each in collected.violations.to_pylist() if rule in each["rules"]]
    found += [
        each["original"] for each in collected.rejected.to_pylist() if each["reason"] == _RULE and rule in (each["message"] or "")
    ]
    return [value for text in found if isinstance(value := json.loads(text), dict)]


def compare_violations(
    collected: Collected, expected: int | Mapping[str, int | tuple[Mapping[str, Any], ...]] | None
) -> list[str]:
    """What differs between the failures of quality rules that came and those expected."""
    if expected is None:
        return []
    came = failures(collected)
    if isinstance(expected, int):
        total = sum(came.values())
        if total == expected:
            return []
        return [
            f"violations: {expected} expected, {total} came",
            *(f"+ {name}: {count}" for name, count in came.items()),
        ]
    problems: list[str] = []
    for name in dict.fromkeys([*expected, *came]):
        wanted = expected.get(name, 0)
        count = wanted if isinstance(wanted, int) else len(wanted)
        lines = [] if isinstance(wanted, int) else _compare_failing(failing_rows(collected, name), wanted)
        if count != came.get(name, 0) or lines:
            problems += [f"violations of '{name}': {count} expected, {came.get(name, 0)} came", *lines]
    return problems


def _compare_failing(came: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> list[str]:
    left = list(came)
    missing = []
    for wanted in sorted(expected, key=lambda row: -len(row)):
        found = next((row for row in left if all(_same(row.get(name), value) for name, value in wanted.items())), None)
        if found is None:
            missing.append(wanted)
        else:
            left.remove(found)
    return [*(f"- {_row(row)}" for row in missing), *(f"+ {_row(row)}" for row in left[:ROWS_SHOWN])]


def _same(came: Any, wanted: Any) -> bool:
    # A record of the violations is JSON: a decimal or a date is a text there.
    return bool(meant(came, None) == meant(wanted, None)) or str(came) == str(wanted)


def _row(row: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {shown(meant(value, None))}" for name, value in row.items()) + "}"


def origins(lineage: Mapping[str, Mapping[str, Any]], step: str, column: str) -> list[str] | None:
    """The `source.column`s whose values go into a column, sorted; None where there is no such column."""
    if column not in lineage.get(step, {}):
        return None
    return sorted({f"{source}.{name}" for (source, name), flow in lineage[step][column] if flow.kind == DIRECT})


def compare_lineage(found: Mapping[str, list[str] | None], expected: Mapping[str, Sequence[str]]) -> list[str]:
    """What differs between the columns that columns come from and those expected."""
    problems: list[str] = []
    for name, wanted in expected.items():
        came = found[name]
        if came is None:
            problems.append(f"lineage: there is no column '{name}'")
        elif set(came) != set(wanted):
            problems += [
                f"lineage of {name}: {', '.join(sorted(wanted)) or 'nothing'} expected",
                *(f"- {each}" for each in sorted(set(wanted) - set(came))),
                *(f"+ {each}" for each in sorted(set(came) - set(wanted))),
            ]
    return problems
