"""Workers of other processes leave how far they are where the launcher looks, and no more once it has stopped looking."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_datahub.component import told_progress
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.told_progress import gathered_progress

WORKER = """
import sys, threading
from beam_datahub.component import told_progress
from beam_datahub.component.progress import PROGRESS

told_progress._TELL_SECONDS = 0.02
PROGRESS.add("of another run", "read", 7)
told_progress.tell_progress(sys.argv[1])
PROGRESS.add("in", "read", 2)
for thread in threading.enumerate():
    if thread.name == "tell progress":
        thread.join(60)
"""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_launcher_sees_what_workers_count_until_it_stops_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_progress, "_TELL_SECONDS", 0.02)
    folder = tmp_path / "run-progress"
    PROGRESS.reset()
    with gathered_progress(str(folder)):
        workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(folder)]) for _ in range(2)]
        until(lambda: PROGRESS.snapshot().get(("in", "read")) == 4)
        assert ("of another run", "read") not in {key for key, count in PROGRESS.snapshot().items() if count}
    assert not folder.exists()
    for worker in workers:
        worker.terminate()
        worker.wait()
    PROGRESS.reset()


def test_workers_that_share_the_process_leave_nothing() -> None:
    PROGRESS.reset()
    with gathered_progress(None):
        PROGRESS.add("in", "read", 3)
    assert PROGRESS.snapshot() == {("in", "read"): 3}
    PROGRESS.reset()
