"""What an engine was started for goes with it: after errors, Ctrl-C, SIGTERM and SIGKILL no process and no half output stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.prism

ROWS = 40_000
# The first rows pass, then the step holds until the test lets it go.
GATE = """
import os, pathlib, time
from beam_datahub.component.progress import PROGRESS

def gate(batch):
    here = pathlib.Path(%r)
    (here / "reached").touch()
    while not (here / "go").exists() and not PROGRESS.stopping:
        time.sleep(0.01)
    return batch
"""


@pytest.fixture
def gated(work: Any, prism: str) -> Any:
    """A workplace whose integration runs on Prism, and stands still in the middle."""
    (work.folder / "data.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
    (work.folder / "gate.py").write_text(GATE % str(work.folder))
    work.spec(
        "{connector: csv, connection: {path: data.csv}}",
        "input: gate, connector: csv, connection: {path: out.csv}, write_mode: overwrite",
        steps="  - {id: gate, type: python, config: {module: gate.py, function: gate, over: arrow}}",
    )
    (work.folder / "out.csv").write_text("id\n-1\n")
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    return work


def held(work: Any) -> Any:
    """A run that stands in the middle of its data, with its job server."""
    running = work.start("run", "spec.yaml", "--json", "--engine", "prism")
    running.until(lambda: (work.folder / "reached").exists())
    assert len(servers(work.folder)) == 1
    return running


def servers(folder: Path) -> list[int]:
    """The job servers that were started for runs in a folder: they work in the runs' temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                os.readlink(process / "cwd").startswith(str(folder / ".tmp"))
                and b"job_port" in (process / "cmdline").read_bytes()
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_an_error_of_a_worker_reaches_the_user_and_no_process_stays(gated: Any, refused: Callable[..., str]) -> None:
    source = "{connector: jsonl, connection: {path: data.jsonl}, schema: {a: bigint}, contract: {types: freeze}}"
    (gated.folder / "data.jsonl").write_text('{"a": 1}\n{"a": "x"}\n')
    gated.spec(source, "input: in, connector: csv, connection: {path: other.csv}")
    refused(gated.bh("run", "spec.yaml", "--json", "--engine", "prism"), "DH203", 4, place=r"spec\.yaml:3 \(sources\.in\)")
    assert servers(gated.folder) == []
    assert gated.staged() == []


def test_ctrl_c_ends_the_job_its_server_and_its_workers(gated: Any, refused: Callable[..., str]) -> None:
    running = held(gated)
    running.signal(signal.SIGINT)
    refused(running.end(), "DH305", 130, place=None)
    assert gated.lines("out.csv") == ["-1"]
    assert servers(gated.folder) == []
    assert gated.staged() == []


def test_a_job_server_dies_with_a_launcher_that_is_killed(gated: Any) -> None:
    running = held(gated)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    assert wait(lambda: not servers(gated.folder))
    assert gated.lines("out.csv") == ["-1"]
    (gated.folder / "go").touch()
    done = gated.bh("run", "spec.yaml", "--json", "--engine", "prism")
    assert (done.status, done.record["written"]["out"]["rows"]) == (0, ROWS)
    assert gated.staged() == []


def test_a_job_server_that_is_killed_fails_the_run_which_names_it_and_its_log(gated: Any, refused: Callable[..., str]) -> None:
    running = held(gated)
    os.kill(servers(gated.folder)[0], signal.SIGKILL)
    (gated.folder / "go").touch()
    message = refused(running.end(), "DH307", 5, place=None)
    assert "Prism ended in the middle of the run (signal SIGKILL)" in message
    assert "job-server.log" in message
    assert gated.lines("out.csv") == ["-1"]
    assert gated.staged() == []


def wait(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes to hold while a person would wait."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
