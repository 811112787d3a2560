"""Backups are whole while others write; letting go of old runs keeps what something still rests on."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beam_datahub.errors import TargetUnusable
from beam_datahub.store import upkeep
from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import Cursor, NewRun, NewViolation, RunEnd, RunStatus, RunStep
from beam_datahub.store.store import Store, open_store

FOUND = NewViolation("late", "freshness", "orders", "low", "warn", "late")

# Records pairs of runs, both in one transaction, until its stdin ends.
_WRITES = """
import sys, threading
from beam_datahub.store.location import locate
from beam_datahub.store.records import NewRun
from beam_datahub.store.store import open_store
writer = open_store(locate(sys.argv[1])).writer
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
number = 0
while not ended.is_set():
    with writer.together():
        writer.runs.begin(NewRun(f"left-{number}", "daily"))
        writer.runs.begin(NewRun(f"right-{number}", "daily"))
    number += 1
    if number == 3:
        print("writing", flush=True)
print(number, flush=True)
"""


def ended_run(
    store: Store, run_id: str, status: RunStatus = "completed", *, parent: str | None = None, folder: str | None = None
) -> None:
    store.writer.runs.begin(NewRun(run_id, "daily", parent=parent, folder=folder, plan={"of": run_id}))
    store.writer.runs.end(run_id, RunEnd(status, steps=(RunStep("orders", read=1),)))


def ids(store: Store) -> list[str]:
    return sorted(run.run_id for run in store.reader.runs.find())


def later() -> datetime:
    """A time after which all runs of a test have ended."""
    return datetime.now(UTC) + timedelta(hours=1)


def test_a_backup_while_another_process_writes_is_a_whole_store_of_one_moment(
    store: Store, location: Location, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _WRITES, str(location)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline().strip() == "writing"
    target = tmp_path / "backups" / "copy.db"
    sizes = [upkeep.backup(store, target, replace=True) for _ in range(3)]
    written, said = writer.communicate()
    assert writer.returncode == 0, said

    assert sizes[-1] == target.stat().st_size
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]
    with open_store(locate(target)) as copy:
        assert upkeep.check(copy) == []
        kept = ids(copy)
        assert len(kept) >= 6
        pairs = range(len(kept) // 2)
        assert kept == sorted([f"left-{number}" for number in pairs] + [f"right-{number}" for number in pairs])
        copy.writer.runs.begin(NewRun("new-1", "daily"))
    assert len(ids(store)) == 2 * int(written)


def test_a_backup_does_not_take_the_place_of_a_file_or_of_the_store(store: Store, location: Location, tmp_path: Path) -> None:
    ended_run(store, "run-1")
    (tmp_path / "mine.txt").write_text("mine")
    targets = [(tmp_path / "mine.txt", False), (tmp_path, True)]
    if location.path is not None:
        targets.append((location.path, True))
    for target, replace in targets:
        with pytest.raises(TargetUnusable):
            upkeep.backup(store, target, replace=replace)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert ids(store) == ["run-1"]


def test_old_runs_go_with_all_that_belongs_to_them(store: Store, location: Location) -> None:
    for number in range(1, 5):
        folder = location.runs / f"run-{number}"
        folder.mkdir(parents=True)
        (folder / "report.json").write_text("{}")
        ended_run(store, f"run-{number}", folder=str(folder))
    asked = upkeep.prune(store, later(), keep=2, dry_run=True)
    assert sorted(asked.runs) == ["run-1", "run-2"]
    assert len(ids(store)) == 4
    done = upkeep.prune(store, later(), keep=2)
    assert (sorted(done.runs), done.kept, len(done.folders)) == (["run-1", "run-2"], 2, 2)
    assert ids(store) == ["run-3", "run-4"]
    assert sorted(path.name for path in location.runs.iterdir()) == ["run-3", "run-4"]
    rows = upkeep.info(store).rows
    assert (rows["run_steps"], rows["run_documents"]) == (2, 2)
    assert upkeep.check(store) == []
    assert "prune" in [entry.action for entry in store.reader.journal.audit(kind="store")]


def test_runs_that_something_rests_on_stay(store: Store) -> None:
    ended_run(store, "parent-1", "failed")
    ended_run(store, "resumed-1", parent="parent-1")
    ended_run(store, "cursor-1")
    store.writer.cursors.move(Cursor("daily", "orders", 7, "BIGINT", run_id="cursor-1"))
    ended_run(store, "open-1", "failed")
    store.writer.violations.add("open-1", [FOUND])
    ended_run(store, "resolved-1", "failed")
    (number,) = store.writer.violations.add("resolved-1", [FOUND])
    store.writer.violations.decide(number, "resolved")
    ended_run(store, "child-1", "failed", parent="resolved-1")
    ended_run(store, "success-1")
    store.writer.runs.begin(NewRun("going-1", "daily", parent="parent-1"))
    done = upkeep.prune(store, later(), keep=0)
    assert sorted(done.runs) == ["child-1", "resolved-1", "resumed-1"]
    assert ids(store) == ["cursor-1", "going-1", "open-1", "parent-1", "success-1"]
    assert store.reader.cursors.find()[0].run_id == "cursor-1"
    assert upkeep.check(store) == []


def test_runs_that_ended_after_the_time_stay(store: Store) -> None:
    for name in ("run-1", "run-2"):
        ended_run(store, name)
    done = upkeep.prune(store, datetime.now(UTC) - timedelta(days=90), keep=0)
    assert (done.runs, done.kept) == ((), 2)


def test_a_folder_that_is_not_of_the_stores_runs_is_not_removed(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    ended_run(store, "run-1", folder=str(mine))
    ended_run(store, "run-2")
    assert upkeep.prune(store, later(), keep=0).runs == ("run-1",)
    assert mine.is_dir()
