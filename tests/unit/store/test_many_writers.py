"""Several processes write one store: nothing is lost, also when one of them is killed."""

from __future__ import annotations

import subprocess
import sys

from beam_datahub.store import upkeep
from beam_datahub.store.location import Location
from beam_datahub.store.records import NewRun
from beam_datahub.store.store import Store, open_store

WRITERS = 4
EACH = 8

# All begin on a store that is not there yet, when the line on stdin lets them.
_RECORDS = """
import sys
from beam_datahub.component.file_owner import owner
from beam_datahub.store.location import locate
from beam_datahub.store.records import NewRun, NewViolation, RunEnd, RunStep
from beam_datahub.store.store import open_store
place, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with open_store(locate(place)) as store:
    store.writer.integrations.apply("daily", f"from {name}")
    for number in range(count):
        run = f"{name}-{number}"
        store.writer.runs.begin(NewRun(run, "daily", owner=owner()))
        store.writer.violations.add(run, [NewViolation("late", "freshness", "orders", "low", "warn", run)])
        store.writer.runs.end(run, RunEnd("completed", read=number, steps=(RunStep("orders", read=number),)))
"""

# Changes much in one transaction, says so, and waits in the middle of it to be killed.
_HANGS = """
import sys
from beam_datahub.component.file_owner import owner
from beam_datahub.store.location import locate
from beam_datahub.store.records import LogLine, NewRun
from beam_datahub.store.store import open_store
writer = open_store(locate(sys.argv[1])).writer
writer.runs.begin(NewRun("kept-1", "daily", owner=owner()))
with writer.together():
    writer.runs.begin(NewRun("half-1", "daily", owner=owner()))
    # More than the page cache holds, so that some of it is in the files already.
    for number in range(40):
        writer.journal.log("half-1", [LogLine(f"{number} " + "x" * 1000)] * 100)
    print("inside", flush=True)
    sys.stdin.readline()
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_that_record_at_once_lose_nothing(location: Location) -> None:
    writers = [start(_RECORDS, str(location), f"writer{number}", str(EACH)) for number in range(WRITERS)]
    assert [told(writer) for writer in writers] == ["ready"] * WRITERS
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS, said

    with open_store(location) as store:
        assert {run.run_id: (run.status, run.violations) for run in store.reader.runs.find()} == {
            f"writer{writer}-{number}": ("completed", 1) for writer in range(WRITERS) for number in range(EACH)
        }
        assert len(store.reader.violations.find()) == WRITERS * EACH
        assert [each.version for each in store.reader.integrations.versions("daily")] == list(range(WRITERS, 0, -1))
        assert upkeep.info(store).rows["run_steps"] == WRITERS * EACH
        assert upkeep.check(store) == []


def test_a_writer_that_is_killed_in_the_middle_leaves_a_sound_store(location: Location, store: Store) -> None:
    writer = start(_HANGS, str(location))
    assert told(writer) == "inside"
    writer.kill()
    writer.communicate()

    assert [run.run_id for run in store.reader.runs.find()] == ["kept-1"]
    assert upkeep.check(store) == []
    assert upkeep.info(store).rows["logs"] == 0
    store.writer.runs.begin(NewRun("half-1", "daily"))
    assert [run.run_id for run in store.writer.runs.recover()] == ["kept-1"]
