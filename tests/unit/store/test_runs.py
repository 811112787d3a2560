"""Runs as the store tells of them: begun, ended, given up as lost, asked to stop, replayed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from beam_datahub.component.file_owner import owner
from beam_datahub.errors import Conflict, InvalidValue, UnknownName
from beam_datahub.store.location import Location
from beam_datahub.store.records import NewRun, NewViolation, RunEnd, RunStep
from beam_datahub.store.store import Store, open_store

STEPS = (
    RunStep("orders", role="source", type="csv", read=10, out=9, rejected=1, bytes=420),
    RunStep("large", role="transformation", type="filter", taken=9, out=6, filtered=3),
    RunStep("lake", role="destination", type="parquet", taken=6),
)
LATE = NewViolation("late", "freshness", "large", "high", "warn", "3 orders are late", checked=9, failed=3, ratio=2 / 3)
EMPTY = NewViolation("no_name", "not_null", "orders", "critical", "fail", "1 order has no name", details={"column": "name"})

_DIES = """
import os, sys
from beam_datahub.component.file_owner import owner
from beam_datahub.store.location import locate
from beam_datahub.store.records import NewRun
from beam_datahub.store.store import open_store
open_store(locate(sys.argv[1])).writer.runs.begin(NewRun("died-1", "daily", owner=owner()))
os.kill(os.getpid(), 9)
"""


def dead_run(location: Location) -> int:
    """Let a process begin the run `died-1` and be killed; its process id."""
    process = subprocess.Popen([sys.executable, "-c", _DIES, str(location)], stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    assert process.returncode == -9, said
    return process.pid


def test_a_run_is_told_of_as_it_was_recorded(store: Store, location: Location) -> None:
    plan = {"steps": ["orders", "large", "lake"]}
    store.writer.runs.begin(NewRun("run-1", "daily", engine="prism", parameters={"day": "2025-01-31"}, owner=owner(), plan=plan))
    going = store.reader.runs.get("run-1")
    assert (going.status, going.ended_at, going.read, going.engine, going.user) == ("running", None, 0, "prism", "ada@here")
    end = RunEnd("completed_with_errors", 10, 6, 3, 1, seconds=2.5, reports={"html": "report.html"}, steps=STEPS)
    store.writer.runs.end("run-1", end)

    with open_store(location) as again:
        run = again.reader.runs.get("run-1")
        assert (run.status, run.read, run.written, run.filtered, run.rejected) == ("completed_with_errors", 10, 6, 3, 1)
        assert (run.seconds, run.reports, run.parameters) == (2.5, {"html": "report.html"}, {"day": "2025-01-31"})
        assert run.ended_at is not None
        assert run.started_at.tzinfo is not None
        assert run.started_at <= run.ended_at
        assert again.reader.runs.steps("run-1") == list(STEPS)
        assert again.reader.runs.document("run-1", "plan") == plan
        assert again.reader.runs.document("run-1", "report") is None


def test_runs_are_listed_newest_first_and_narrowed_down(store: Store) -> None:
    for number, name in enumerate(["daily", "hourly", "daily", "daily"], 1):
        store.writer.runs.begin(NewRun(f"run-{number}", name))
    store.writer.runs.end("run-1", RunEnd("completed"))
    store.writer.runs.end("run-3", RunEnd("failed", error={"code": "DH100"}))
    find = store.reader.runs.find
    assert [run.run_id for run in find()] == ["run-4", "run-3", "run-2", "run-1"]
    assert [run.run_id for run in find(integration="daily")] == ["run-4", "run-3", "run-1"]
    assert [run.run_id for run in find(status=["completed", "failed"])] == ["run-3", "run-1"]
    assert [run.run_id for run in find(limit=2, offset=1)] == ["run-3", "run-2"]
    assert [run.run_id for run in find(offset=3)] == ["run-1"]
    last = store.reader.runs.last("daily")
    assert last is not None
    assert last.run_id == "run-1"
    since = store.reader.runs.get("run-3").started_at
    assert [run.run_id for run in find(since=since)] == ["run-4", "run-3"]
    assert [run.run_id for run in find(until=since)] == ["run-2", "run-1"]


def test_a_run_is_found_by_the_beginning_of_its_id_only_where_one_fits(store: Store) -> None:
    for name in ("aaaa-1", "aaaa-2", "bb_b-3"):
        store.writer.runs.begin(NewRun(name, "daily"))
    assert store.reader.runs.get("bb_b").run_id == "bb_b-3"
    assert store.reader.runs.get("last").run_id == "bb_b-3"
    with pytest.raises(InvalidValue, match="'aaaa' may be several runs"):
        store.reader.runs.get("aaaa")
    for unclear in ("aaa", "bb%b", "none-such"):
        with pytest.raises(UnknownName):
            store.reader.runs.get(unclear)


def test_an_id_is_given_to_one_run_and_a_run_ends_once(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    with pytest.raises(Conflict, match="run-1"):
        store.writer.runs.begin(NewRun("run-1", "other"))
    with pytest.raises(UnknownName):
        store.writer.runs.begin(NewRun("run-2", "daily", parent="no-such-run"))
    store.writer.runs.end("run-1", RunEnd("completed", read=1))
    with pytest.raises(Conflict, match="completed"):
        store.writer.runs.end("run-1", RunEnd("failed"))
    assert [(run.run_id, run.integration, run.status) for run in store.reader.runs.find()] == [("run-1", "daily", "completed")]


def test_violations_are_listed_with_the_run_that_found_them(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    store.writer.runs.begin(NewRun("run-2", "hourly"))
    first, second = store.writer.violations.add("run-1", [LATE, EMPTY])
    (third,) = store.writer.violations.add("run-2", [LATE])
    find = store.reader.violations.find
    assert [each.id for each in find()] == [third, second, first]
    assert [each.id for each in find(run_id="run-1", severity="high")] == [first]
    assert [each.id for each in find(rule="late")] == [third, first]
    found = store.reader.violations.get(second)
    assert (found.integration, found.status, found.message, found.details) == ("daily", "open", EMPTY.message, {"column": "name"})
    assert [store.reader.runs.get(name).violations for name in ("run-1", "run-2")] == [2, 1]
    with pytest.raises(UnknownName):
        store.writer.violations.add("no-such-run", [LATE])


def test_who_resolved_a_violation_is_kept(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    first, second = store.writer.violations.add("run-1", [LATE, EMPTY])
    store.writer.violations.decide(first, "acknowledged", note="a holiday")
    decided = store.writer.violations.decide(first, "resolved")
    assert (decided.status, decided.changed_by, decided.note) == ("resolved", "ada@here", "a holiday")
    assert [each.id for each in store.reader.violations.find(status="open")] == [second]
    entries = store.reader.journal.audit(kind="violation", name=str(first))
    assert [(entry.who, entry.action) for entry in entries] == [("ada@here", "resolved"), ("ada@here", "acknowledged")]


def test_the_run_of_a_killed_process_is_marked_as_failed(store: Store, location: Location) -> None:
    pid = dead_run(location)
    store.writer.runs.begin(NewRun("alive-1", "daily", owner=owner()))
    (lost,) = store.writer.runs.recover(stale_seconds=0)
    assert (lost.run_id, lost.status) == ("died-1", "failed")
    assert lost.ended_at is not None
    assert lost.error is not None
    assert lost.error["code"] == "DH310"
    assert str(pid) in json.dumps(lost.error)
    assert store.reader.runs.get("alive-1").status == "running"
    assert store.writer.runs.recover(stale_seconds=0) == []


def test_a_killed_run_that_was_asked_to_stop_counts_as_cancelled(store: Store, location: Location) -> None:
    dead_run(location)
    asked = store.writer.runs.request_cancel("died-1")
    assert asked.cancel_requested_by == "ada@here"
    assert store.reader.runs.cancel_requested("died-1")
    (lost,) = store.writer.runs.recover()
    assert lost.status == "cancelled"
    with pytest.raises(Conflict):
        store.writer.runs.request_cancel("died-1")


def test_a_run_of_another_machine_is_given_up_when_it_has_been_silent_for_too_long(store: Store) -> None:
    store.writer.runs.begin(NewRun("far-1", "daily", owner={**owner(), "host": "elsewhere.example"}))
    assert store.writer.runs.recover(stale_seconds=3600) == []
    (lost,) = store.writer.runs.recover(stale_seconds=-1)
    assert lost.run_id == "far-1"
    assert "elsewhere.example" in json.dumps(lost.error)


def test_a_run_that_was_given_up_may_still_tell_how_it_ended(store: Store, location: Location) -> None:
    dead_run(location)
    store.writer.runs.recover()
    ended = store.writer.runs.end("died-1", RunEnd("completed", read=3))
    assert (ended.status, ended.error, ended.read) == ("completed", None, 3)


def test_a_heartbeat_tells_a_run_that_it_shall_stop(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    assert not store.writer.runs.beat("run-1")
    store.writer.runs.request_cancel("run-1")
    assert store.writer.runs.beat("run-1")
    with pytest.raises(UnknownName):
        store.writer.runs.beat("no-such-run")


def test_a_rejected_record_is_replayed_once(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    for name in ("replay-1", "replay-2"):
        store.writer.runs.begin(NewRun(name, "daily", parent="run-1", cause="replay"))
    records = [f"r{number}" for number in range(1200)]
    assert store.writer.runs.mark_replayed("run-1", [*records, "r0"], "replay-1") == 1200
    assert store.writer.runs.mark_replayed("run-1", ["r0", "new"], "replay-2") == 1
    marked = store.reader.runs.replayed("run-1")
    assert (len(marked), marked["r0"], marked["new"]) == (1201, "replay-1", "replay-2")
    assert [run.run_id for run in store.reader.runs.children("run-1")] == ["replay-1", "replay-2"]
    assert store.writer.runs.unmark_replayed("replay-1") == 1200
    assert store.reader.runs.replayed("run-1") == {"new": "replay-2"}
