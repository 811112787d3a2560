"""A run that goes on by itself is found, watched and stopped from other processes, and errors of the spec are told before."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

ROWS = 40_000
GATE = """
import pathlib, time
from beam_datahub.component.progress import PROGRESS

def gate(batch):
    here = pathlib.Path(%r)
    (here / "reached").touch()
    while not (here / "go").exists() and not PROGRESS.stopping:
        time.sleep(0.01)
    return batch
"""


@pytest.fixture
def gated(work: Any) -> Any:
    """A workplace whose runs are recorded, and stand still in the middle until the file `go` is there."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "data.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
    (work.folder / "gate.py").write_text(GATE % str(work.folder))
    work.spec(
        "{connector: csv, connection: {path: data.csv}}",
        "input: gate, connector: csv, connection: {path: out.csv}, write_mode: overwrite",
        steps="  - {id: gate, type: python, config: {module: gate.py, function: gate, over: arrow}}",
    )
    return work


def detached(work: Any, *arguments: str) -> str:
    """The id of a run that stands in the middle, after the command that began it has ended."""
    done = work.bh("run", "spec.yaml", "--detach", "--json", *arguments)
    assert done.status == 0, done.err
    assert done.record["status"] == "running"
    assert wait(lambda: (work.folder / "reached").exists())
    return str(done.record["run_id"])


def test_a_detached_run_is_watched_to_its_end_and_ctrl_c_ends_only_the_watching(gated: Any) -> None:
    run_id = detached(gated)
    watching = gated.start("runs", "watch", run_id)
    watching.until(lambda: "40,000 read" in watching.told())
    watching.signal(signal.SIGINT)
    done = watching.end()
    assert done.status == 130
    assert f"the run {run_id} goes on" in done.err
    watching = gated.start("runs", "watch", run_id)
    assert gated.files(".").get("out.csv") is None
    (gated.folder / "go").touch()
    done = watching.end()
    assert done.status == 0, done.err
    assert "completed" in done.out
    assert "Books" in done.out
    assert len(gated.lines("out.csv")) == ROWS
    written = next(gated.folder.glob(".beam-datahub/runs/*/output.log")).read_text()
    assert "completed" in written


def test_a_detached_run_is_stopped_by_cancel_and_whoever_watches_ends_as_it_does(gated: Any) -> None:
    run_id = detached(gated)
    watching = gated.start("runs", "watch", run_id, "--json")
    assert gated.bh("runs", "cancel", run_id).status == 0
    done = watching.end()
    assert done.status == 130, done
    assert json.loads(done.out)["status"] == "cancelled"
    assert "out.csv" not in gated.files(".")
    assert gated.staged() == []


def test_watching_a_detached_run_that_is_killed_ends_and_tells_that_it_is_lost(gated: Any, refused: Callable[..., str]) -> None:
    done = gated.bh("run", "spec.yaml", "--detach", "--json")
    watching = gated.start("runs", "watch")
    assert wait(lambda: (gated.folder / "reached").exists())
    os.kill(done.record["pid"], signal.SIGKILL)
    refused(watching.end(), "DH310", 5, place=None)


def test_errors_of_a_spec_are_told_by_the_command_that_was_to_begin_the_run(gated: Any, refused: Callable[..., str]) -> None:
    spec = (gated.folder / "spec.yaml").read_text()
    (gated.folder / "spec.yaml").write_text(spec.replace("over: arrow", "over: arows"))
    refused(gated.bh("run", "spec.yaml", "--detach"), "DH102", 3)
    assert gated.bh("run", "spec.yaml", "--detach", "--no-record").status == 2


def test_a_detached_run_that_fails_leaves_its_error_and_its_exit_code_to_who_watches(gated: Any) -> None:
    (gated.folder / "gate.py").write_text("def gate(batch):\n    raise ValueError('no such thing')\n")
    spec = (gated.folder / "spec.yaml").read_text()
    (gated.folder / "spec.yaml").write_text(spec + "max_rejected: 0\n")
    run_id = gated.bh("run", "spec.yaml", "--detach", "--quiet").out.strip()
    done = gated.bh("runs", "watch", run_id)
    assert done.status == 6, done
    assert "[DH302]" in done.err


def wait(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes to hold while a person would wait."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
