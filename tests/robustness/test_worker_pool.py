"""A pool of workers serves jobs of an engine, and a worker that dies before it has reached its job does not leave it waiting."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import worker_pool

pytestmark = pytest.mark.prism

MODULE = """
import logging

def loud(batch):
    logging.getLogger("mine").warning("a word from a worker")
    return batch
"""


def children(parent: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            state, owner = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                found.append(int(process.name))
    return found


def pool_of(port: str) -> int:
    """The process of the pool at a port."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"--port={port}".encode() in (process / "cmdline").read_bytes().split(b"\0"):
                return int(process.name)
    raise AssertionError(port)


def test_another_worker_takes_the_place_of_one_that_dies_at_once(work: Any, prism: str) -> None:
    (work.folder / "data.csv").write_text("id\n1\n2\n")
    (work.folder / "loud.py").write_text(MODULE)
    (work.folder / "shared").mkdir()
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.spec(
        "{connector: csv, connection: {path: data.csv}}",
        "input: loud, connector: csv, connection: {path: out.csv}",
        steps="  - {id: loud, type: python, config: {module: loud.py, function: loud, over: arrow}}",
    )
    with worker_pool(str(work.folder)) as address:
        pool = pool_of(address.partition(":")[2])
        options = ("--environment_type=EXTERNAL", f"--environment_config={address}", f"--temp_location={work.folder / 'shared'}")
        given = [part for option in options for part in ("--engine-option", option)]
        running = work.start("run", "spec.yaml", "--json", "--engine", "prism", *given, BEAM_DATAHUB_PRISM=prism)
        (first, *_) = running.until(lambda: children(pool))
        os.kill(first, signal.SIGKILL)
        done = running.end()
        assert done.status == 0, done.err
        assert done.record["written"]["out"]["rows"] == 2
        until_gone(pool)
        log = (work.folder / "workers.log").read_text()
        assert "ended before it reached its job, with exit code -9" in log
    (server_log,) = work.folder.glob(".beam-datahub/runs/*/job-server.log")
    assert "a word from a worker" in server_log.read_text()


def until_gone(pool: int) -> None:
    """Wait until the pool has no workers: their job is through."""
    end = time.monotonic() + 60
    while children(pool):
        assert time.monotonic() < end
        time.sleep(0.05)
