"""How a run ended, as the store keeps it and as its log tells it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from beam_datahub.store.records import RunEnd, RunStatus, RunStep

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunResult

LOGGER = logging.getLogger("beam_datahub.run")


def run_end(
    plan: Plan, result: RunResult, error: dict[str, Any] | None, reports: Mapping[str, str], documents: Mapping[Any, Any]
) -> RunEnd:
    """The end of a run that came through, or that its books, its budget or its rules stopped."""
    return RunEnd(
        status_of(result),
        read=result.read,
        written=sum(done["rows"] for step, done in result.written.items() if step not in ("dead_letter", "violations")),
        filtered=sum(line.get("filtered", 0) for line in result.books.values()),
        rejected=result.rejected,
        seconds=result.seconds,
        error=error,
        reports=reports,
        steps=tuple(_steps(plan, result)),
        documents=documents,
    )


def status_of(result: RunResult) -> RunStatus:
    """The status of a run in the store."""
    if result.status in ("completed", "completed_with_errors"):
        return result.status  # type: ignore[return-value]
    return "failed"


def log_end(result: RunResult) -> None:
    """Tell the log what a run did."""
    for step, done in result.written.items():
        rows = f"{done['rows']:,} {'row' if done['rows'] == 1 else 'rows'}"
        LOGGER.info("%s: %s to %s", step, rows, ", ".join(done["locations"][:3]) or "nowhere")
    for warning in result.warnings:
        LOGGER.warning("%s", warning)
    for each in result.reasons:
        LOGGER.warning("%s: %s records rejected as %s", each["step"], f"{each['records']:,}", each["reason"])
    if result.error is not None:
        LOGGER.error("%s", result.error)
    LOGGER.info("%s: %s records read in %s s", result.status, f"{result.read:,}", result.seconds)


def _steps(plan: Plan, result: RunResult) -> Iterator[RunStep]:
    from beam_datahub.runtime.wiring import role_of

    for step, line in result.books.items():
        node = plan.nodes.get(step)
        terms = {term: line.get(term, 0) for term in ("read", "out", "filtered", "rejected", "merged", "added")}
        size = result.written.get(step, {}).get("bytes")
        yield RunStep(
            step,
            role=role_of(node) if node is not None else None,
            type=(node.type or None) if node is not None else None,
            taken=line.get("in", 0),
            bytes=size,
            **terms,
        )
