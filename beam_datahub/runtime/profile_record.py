"""Keeps the profiles of a run in the store, and records how they differ from those of earlier runs as violations."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from beam_datahub.kernels.profiling import Profile
from beam_datahub.kernels.profiling.drift import Deviation, DriftLimits, deviations
from beam_datahub.runtime.store_link import later
from beam_datahub.security import redact
from beam_datahub.store.records import NewViolation
from beam_datahub.store.records import Profile as StoredProfile

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.record import RunRecord


def record_profiles(record: RunRecord) -> None:
    """Have the profiles recorded, and a violation for each drift from what earlier runs of the same kind had.

    A run that reads a part of what there is, by `--limit` or as a replay, is compared with none, nor any other with it.
    """
    result = record.result
    if not result.sketches or record.facts.kind == "partial" or _is_limited(record.plan):
        return
    kept, broken = [], []
    wanted = {each.step: each for each in record.plan.profiles}
    for step, text in result.sketches.items():
        profile = Profile.from_bytes(base64.b64decode(text))
        summaries = result.profiles[step]["columns"]
        for path, column in profile.columns.items():
            sketch = Profile({path: column}, profile.rows).to_bytes()
            kept.append(StoredProfile(step, path, column.type, profile.rows, summaries[path], sketch))
        drift = wanted[step].drift if step in wanted else None
        if drift is not None and result.status != "failed":
            limits = DriftLimits(**drift)
            stored = record.store.reader.profiles.history(
                result.integration,
                step,
                runs_back=limits.window,
                before=result.run_id,
                kind=record.facts.kind,
                sketches=True,
            )
            earlier = _by_run(stored)
            found = deviations(profile, earlier, limits)
            compared = len(earlier) if len(earlier) >= limits.runs else 0
            result.deviations[step] = {
                "compared_with": compared,
                "found": [{"column": each.column, "measure": each.measure, "message": redact(each.message)} for each in found],
            }
            broken += [_violation(step, each, limits) for each in found]
    record.calls.append(later("profiles.add", result.run_id, kept))
    if broken:
        record.calls.append(later("violations.add", result.run_id, broken))


def _is_limited(plan: Plan) -> bool:
    from beam_datahub.compiler.plan import Read

    return any(isinstance(node.operator, Read) and node.operator.request.limit is not None for node in plan)


def _by_run(stored: Iterable[StoredProfile]) -> list[Profile]:
    """The profile of each run, in the order in which they come."""
    runs: dict[str, Profile] = {}
    for each in stored:
        if each.sketch is not None:
            column = Profile.from_bytes(each.sketch)
            whole = runs.setdefault(each.run_id, Profile({}, each.rows))
            whole.columns.update(column.columns)
    return list(runs.values())


def _violation(step: str, found: Deviation, limits: DriftLimits) -> NewViolation:
    name = f"{found.kind} of {found.column}" if found.column else found.kind
    return NewViolation(
        rule=name,
        kind=found.kind,
        step=step,
        severity=limits.severity,  # type: ignore[arg-type]
        action="report",
        message=redact(found.message),
        threshold=found.limit,
        details={"column": found.column, "measure": found.measure, "value": found.value, **found.details},
    )
