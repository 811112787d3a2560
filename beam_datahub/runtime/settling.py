"""Runs that died while they published: what they had begun is published to the end.

Of replays that had published nothing, the marks are taken back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import DataHubError, ReplayUnfinished
from beam_datahub.runtime.event_bus import wanted_events
from beam_datahub.runtime.hub_events import COMPLETED, of_settled
from beam_datahub.runtime.increments import moves
from beam_datahub.runtime.store_link import StoreLink, later
from beam_datahub.store.records import RunEnd, RunStep

if TYPE_CHECKING:
    from beam_datahub.store.records import Run

LOGGER = logging.getLogger("beam_datahub.run")
_JOURNAL = "commit.journal"


def journal_of(folder: str | os.PathLike[str]) -> str:
    """The file in a run's folder that says what it is about to publish."""
    return str(Path(folder) / _JOURNAL)


def settle(store: StoreLink) -> list[str]:
    """Bring the replays to an end that died or could not publish all; gives the ids of those that are complete now.

    A replay that had written its journal has decided what to publish: it is published to the end, and its records stay
    marked. Of one that had not, nothing was published. Raises ReplayUnfinished where something cannot be published yet.
    """
    done = []
    for run in store.reader.runs.unsettled_replays():
        journal = journal_of(run.folder or ".")
        if not os.path.exists(journal):
            store.writer.runs.unmark_replayed(run.run_id)
            LOGGER.warning("the replay %s had published nothing: its records can be replayed again", run.run_id)
            continue
        if _finish(store, run, journal):
            done.append(run.run_id)
        os.unlink(journal)
    return done


def settle_runs(store: StoreLink, integration: str) -> list[str]:
    """Bring the runs of an incremental integration to an end that died between their destinations and their cursors; gives
    their ids. Raises ReplayUnfinished where something cannot be published yet.
    """
    done = []
    for run in store.reader.runs.unfinished(integration):
        journal = journal_of(run.folder or ".")
        if os.path.exists(journal):
            _finish(store, run, journal)
            os.unlink(journal)
            done.append(run.run_id)
    return done


def _finish(store: StoreLink, run: Run, journal: str) -> bool:
    from beam_datahub.compiler.commit import finish_commit
    from beam_datahub.compiler.epochs import finish_epoch, is_of_stream

    what = f"the replay {run.run_id} of run {run.parent}" if run.cause == "replay" else f"the run {run.run_id}"
    try:
        report = finish_epoch(journal) if is_of_stream(journal) else finish_commit(journal)
    except DataHubError as error:
        raise ReplayUnfinished(f"{what} is not complete: {error.reason}") from error
    end = _end(report)
    calls = [later("runs.end", run.run_id, end), *moves(run.integration, run.run_id, _to_move(store, run, report["cursors"]))]
    if end.status == "failed":
        calls.append(later("runs.unmark_replayed", run.run_id))
    elif COMPLETED in wanted_events():
        calls.append(later("events.add", [of_settled(run, end)]))
    store.together(calls)
    LOGGER.warning("%s had died while it published; it is complete now", what)
    return end.status != "failed"


def _to_move(store: StoreLink, run: Run, cursors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the run has not moved itself: a stream moves its cursors with each epoch, and may die before the journal is gone."""
    found: dict[str, Any] = {}
    for source, goal in cursors.items():
        there = {each.partition: each for each in store.reader.cursors.find(run.integration, source)}
        parts = {
            name: part
            for name, part in goal["parts"].items()
            if name not in there or there[name].run_id != run.run_id or there[name].revision != part["revision"] + 1
        }
        found[source] = {**goal, "parts": parts}
    return found


def _end(report: dict[str, Any]) -> RunEnd:
    fine = report["status"] == "completed"
    written = report["written"]
    steps = tuple(
        RunStep(
            step, taken=line["in"], **{term: line[term] for term in ("read", "out", "filtered", "rejected", "merged", "added")}
        )
        for step, line in report["books"].items()
    )
    return RunEnd(
        ("completed_with_errors" if report["rejected"] else "completed") if fine else "failed",
        read=report["read"],
        written=sum(done["rows"] for step, done in written.items() if step not in ("dead_letter", "violations")),
        rejected=report["rejected"],
        steps=steps,
        documents={"report": report},
    )
