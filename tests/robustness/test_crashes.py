"""Ctrl-C, kill -9 and two runs at once: what was there stays, what a dead run left is taken back, and nothing doubles."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

ROWS = 40_000
# Waits in the middle of the data until the file `go` is there; the file `reached` tells that it waits.
GATE = textwrap.dedent("""
    import os, time
    def gate(row):
        if row["id"] == GATE_ROW:
            open("reached", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        return row
""").replace("GATE_ROW", str(ROWS * 9 // 10))
STEP = "  - {id: gate, type: python, config: {module: gate.py, function: gate}}"
TARGETS = {
    "a file": ("out.csv", "overwrite"),
    "a folder": ("out", "overwrite"),
    "a file, appending": ("out.csv", "append"),
    "a folder, appending": ("out", "append"),
}


@pytest.fixture
def gated(work: Any) -> Any:
    """A workplace whose integration can be held in the middle of its data, while a part of it is staged."""
    (work.folder / "data.csv").write_text("id,text\n" + "".join(f"{i},{'x' * 100}\n" for i in range(ROWS)))
    (work.folder / "gate.py").write_text(GATE)
    return work


def spec(work: Any, path: str, mode: str, *, gate: bool = True) -> None:
    work.spec(
        "{connector: csv, connection: {path: data.csv}}",
        f"input: {'gate' if gate else 'in'}, connector: csv, connection: {{path: {path}}}, write_mode: {mode}",
        steps=STEP if gate else "",
    )


def seeded(work: Any, path: str) -> list[str]:
    """Put something at the target that a run before had written; gives its lines."""
    target = work.folder / path
    if target.suffix:
        target.write_text("id,text\n-1,before\n")
    else:
        target.mkdir()
        (target / "part-old.csv").write_text("id,text\n-1,before\n")
    return ["-1,before"]


def staged_data(work: Any) -> bool:
    """Whether data, and not only the name of the run, is in the staging place."""
    return any(path.stat().st_size > 1000 for path in work.folder.glob(".beam-datahub/staging/*/out/*.csv"))


def in_the_middle(work: Any) -> Any:
    """Start a run and wait until it stands in the middle, part of its output staged."""
    running = work.start("run", "spec.yaml", "--json")
    running.until(lambda: (work.folder / "reached").exists() and staged_data(work))
    return running


def expected(mode: str, before: list[str]) -> list[str]:
    return sorted((before if mode == "append" else []) + [f"{i},{'x' * 100}" for i in range(ROWS)])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_run_killed_in_the_middle_of_its_write_changes_nothing_and_the_next_one_carries_on(
    target: tuple[str, str], gated: Any, balanced: Callable[..., None]
) -> None:
    path, mode = target
    before = seeded(gated, path)
    spec(gated, path, mode)
    running = in_the_middle(gated)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    assert gated.lines(path) == before
    assert gated.staged()
    (gated.folder / "go").touch()
    done = gated.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    assert sorted(gated.lines(path)) == expected(mode, before)
    assert gated.staged() == []


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_middle_of_a_write_ends_with_130_and_leaves_what_was_there(
    times: int, gated: Any, refused: Callable[..., str]
) -> None:
    before = seeded(gated, "out.csv")
    spec(gated, "out.csv", "overwrite")
    running = in_the_middle(gated)
    for _ in range(times):
        running.signal(signal.SIGINT)
    (gated.folder / "go").touch()
    done = running.end()
    refused(done, "DH305", 130, place=None)
    assert done.record["status"] == "failed"
    assert gated.lines("out.csv") == before
    assert gated.staged() == []


def test_ctrl_c_while_a_step_hangs_still_ends_and_leaves_nothing_staged(gated: Any, refused: Callable[..., str]) -> None:
    before = seeded(gated, "out.csv")
    spec(gated, "out.csv", "overwrite")
    running = in_the_middle(gated)
    running.signal(signal.SIGINT)
    refused(running.end(), "DH305", 130, place=None)
    assert gated.lines("out.csv") == before
    assert gated.staged() == []


def test_sigterm_ends_a_run_like_ctrl_c_and_leaves_what_was_there(gated: Any) -> None:
    before = seeded(gated, "out.csv")
    spec(gated, "out.csv", "overwrite")
    running = in_the_middle(gated)
    running.signal(signal.SIGTERM)
    (gated.folder / "go").touch()
    assert running.end().status in (130, 143, -signal.SIGTERM)
    assert gated.lines("out.csv") == before
    (gated.folder / "reached").unlink()
    assert gated.bh("run", "spec.yaml", "--json").status == 0
    assert sorted(gated.lines("out.csv")) == expected("overwrite", before)
    assert gated.staged() == []


KILLED_BEFORE_COMMIT = """
import os, signal, sys
from beam_datahub.cli import main
import apache_beam
from beam_datahub.component.file_sink import FileSink
FileSink.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["beam-datahub", "run", "spec.yaml"]
main()
"""


@pytest.mark.parametrize("target", [("out", "append"), ("out.csv", "overwrite")])
def test_a_run_killed_between_staging_and_commit_has_written_nothing(target: tuple[str, str], gated: Any) -> None:
    path, mode = target
    before = seeded(gated, path)
    spec(gated, path, mode, gate=False)
    assert gated.python(KILLED_BEFORE_COMMIT).status == -signal.SIGKILL
    assert gated.lines(path) == before
    assert gated.staged()
    assert gated.bh("run", "spec.yaml").status == 0
    assert sorted(gated.lines(path)) == expected(mode, before)
    assert gated.staged() == []


# Writes with the sink alone, and kills itself before the Nth change of the file system that its commit makes; for every N
# until one gets through. After each death a new run writes the same rows.
EVERY_STEP = """
import json, os, signal, sys
import pyarrow as pa
from beam_datahub.component import file_publish, file_store
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component import file_writer
from beam_datahub.io.csv import CsvSink

pa.array(["imports what a child would have to import again and again"])
path, mode, again = sys.argv[1], WriteMode(sys.argv[2]), sys.argv[3]
schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
sink = CsvSink(CsvSink.Connection(path=path), CsvSink.Options())

def write(run, first, count, kill_at=None):
    request = WriteRequest(run, "out", schema, mode)
    sink.prepare(request)
    receipts = []
    for bundle in range(count):
        writer = sink.open(request)
        writer.write(pa.record_batch([pa.array([first + bundle]), pa.array(["new"])], schema=schema))
        receipts += writer.close()
    if kill_at is not None:
        seen = 0
        def watched(function):
            def call(*args, **kwargs):
                nonlocal seen
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            return call
        for module, name in [(os, n) for n in ("replace", "rename", "link", "unlink", "rmdir", "mkdir")] + [
            (file_publish, "exchange"), (file_store.LocalStore, "open_output")
        ]:
            setattr(module, name, watched(getattr(module, name)))
    sink.commit(request, receipts)
    sink.commit(request, receipts)

def in_child(*arguments):
    pid = os.fork()
    if pid == 0:
        try:
            write(*arguments)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def rows():
    names = [os.path.join(path, n) for n in os.listdir(path)] if os.path.isdir(path) else [path]
    return sorted(line for n in names if n.endswith(".csv") for line in open(n).read().splitlines()[1:])

assert in_child("first", 0, 2) == 0
good = rows()
step = 0
while True:
    step += 1
    status = in_child(f"killed-{step}", 10 * step, 3, step)
    after = rows()
    markers = [name for _, _, names in os.walk(".beam-datahub/commits") for name in names]
    if status == 0:
        break
    assert status == -signal.SIGKILL, status
    if mode == "overwrite":
        # All or nothing, at any moment.
        assert after in (good, sorted(f"{10 * step + i},new" for i in range(3))), (step, after)
    run = f"killed-{step}" if again == "same" else f"next-{step}"
    assert in_child(run, 10 * step, 3) == 0
    fresh = sorted(f"{10 * step + i},new" for i in range(3))
    # A run that got as far as its marker has counted: it is not taken back, and another run adds to it.
    counted = again == "new" and f"out.killed-{step}.json" in markers
    good = sorted(good + fresh * (1 + counted)) if mode == "append" else fresh
    assert rows() == good, (step, rows(), good)
    staging = [f for f, _, names in os.walk(".beam-datahub") if "/staging" in f]
    assert staging == [], (step, staging)
print(json.dumps({"steps": step}))
"""


@pytest.mark.parametrize("again", ["new", "same"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_commit_killed_at_any_step_is_all_or_nothing_once_a_run_has_followed(
    target: tuple[str, str], again: str, work: Any
) -> None:
    done = work.python(EVERY_STEP, work.folder / target[0], target[1], again)
    assert done.status == 0, done.err
    assert done.record["steps"] > 4


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_two_runs_to_the_same_target_at_the_same_time_both_count(
    target: tuple[str, str], gated: Any, balanced: Callable[..., None]
) -> None:
    path, mode = target
    before = seeded(gated, path)
    spec(gated, path, mode)
    first = in_the_middle(gated)
    (gated.folder / "reached").unlink()
    second = gated.start("run", "spec.yaml", "--json")
    second.until(lambda: (gated.folder / "reached").exists())
    (gated.folder / "go").touch()
    for running in (first, second):
        done = running.end()
        assert done.status == 0, done
        balanced(done)
    rows = [f"{i},{'x' * 100}" for i in range(ROWS)]
    assert sorted(gated.lines(path)) == sorted(before + rows + rows if mode == "append" else rows)
    assert gated.staged() == []


FAILING_COMMIT = """
import errno, os, sys
from beam_datahub.cli import main
import apache_beam
from beam_datahub.component import file_store
move, seen = file_store.LocalStore.move, []
def failing(self, source, target):
    if target.endswith(".csv"):
        seen.append(target)
        if len(seen) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
    return move(self, source, target)
file_store.LocalStore.move = failing
sys.argv = ["beam-datahub", "run", "spec.yaml", "--json"]
main()
"""


def test_a_commit_that_fails_half_way_is_taken_back_at_once(gated: Any, refused: Callable[..., str]) -> None:
    before = seeded(gated, "out")
    gated.spec(
        "{connector: csv, connection: {path: data.csv}}",
        "input: in, connector: csv, connection: {path: out}, write_mode: append, target_file_size: 1MB",
    )
    message = refused(gated.python(FAILING_COMMIT), "DH205", 4, place=r"\(destinations\[0\]\)")
    assert "No space left" in message
    assert gated.lines("out") == before
    assert gated.staged() == []


BROKEN = """
import sys
from beam_datahub.cli import main
import apache_beam
from beam_datahub.errors import Transient
from beam_datahub.component.file_writer import BundleWriter
def broken(self, batch):
    raise Transient("the system is away", hint="wait")
BundleWriter.write = broken
sys.argv = ["beam-datahub", "run", "spec.yaml", "--json", *sys.argv[1:]]
main()
"""


def test_an_error_of_a_worker_reaches_the_user_with_its_code_place_and_hint(gated: Any, refused: Callable[..., str]) -> None:
    spec(gated, "out.csv", "overwrite", gate=False)
    message = refused(gated.python(BROKEN), "DH206", 4, place=r"spec\.yaml:\d+ \(destinations\[0\]\)")
    assert "the system is away" in message
    assert "hint: wait" in message
    assert "out.csv" not in gated.files()
