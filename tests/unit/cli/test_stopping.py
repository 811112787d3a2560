"""Ctrl-C, a closed pipe, and the start: what only a real process shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.conftest import SPEC

# The user's own function presses Ctrl-C in the middle of the run.
_STOPPING = """
import os, signal, threading
from beam_datahub.component.progress import PROGRESS

def stop(batch):
    if not PROGRESS.stopping:
        os.kill(os.getpid(), signal.SIGINT)
    while not PROGRESS.stopping:
        threading.Event().wait(0.01)
    return batch
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from beam_datahub.cli import main; main(prog_name='beam-datahub')"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_ctrl_c_ends_the_run_with_one_clear_line_and_no_output(shop: Path) -> None:
    (shop / "stopping.py").write_text(_STOPPING)
    step = "  - {id: stop, type: python, config: {module: stopping.py, function: stop, over: arrow}}\ndestination:"
    (shop / "shop.yaml").write_text(SPEC.replace("destination:", step))
    done = command(shop, "run", "shop.yaml")
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[0] == "the run was stopped; nothing was published [DH305]"
    assert "Traceback" not in done.stderr
    assert [file.name for file in shop.rglob("*.jsonl")] == []


def test_a_reader_that_has_seen_enough_is_no_error(shop: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -c 'from beam_datahub.cli import main; main()' schema | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_startup_is_counted_from_the_start_of_the_process(shop: Path) -> None:
    record = json.loads(command(shop, "run", "shop.yaml", "--json").stdout)
    assert record["startup_seconds"] > 0.1
