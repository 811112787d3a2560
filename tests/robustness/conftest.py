"""A folder of its own for each test, and the real command line in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What a person may wait for at most; nothing here takes a tenth of it unless something hangs.
PATIENCE_SECONDS = 120.0
COMMAND = Path(sys.executable).with_name("beam-datahub")

# Stands still, where it is told to, until it is killed; the file `reached` tells that it stands.
STANDING = textwrap.dedent("""
    import os, sys, time
    from beam_datahub.cli import main
    from beam_datahub.compiler import commit

    def stand(*_):
        open("reached", "w").close()
        time.sleep(600)

    place = os.environ["STAND"]
    publish = commit._publish
    if place == "before the journal":
        commit._write_durably = stand
    elif place == "between two destinations":
        kept = []
        def one(chosen, report, path):
            publish(chosen[:1], report, path + ".part")
            stand()
        commit._publish = one
    elif place == "before the marks":
        def all_of_it(*arguments):
            text = publish(*arguments)
            stand()
            return text
        commit._publish = all_of_it
    elif place == "before the end is recorded":
        from beam_datahub.runtime.record import Recorder
        Recorder._end = stand
    main(sys.argv[1:], prog_name="beam-datahub")
""")


@dataclass(frozen=True)
class Done:
    """What a process left: exit code, both streams, and the most memory it ever held."""

    status: int
    out: str
    err: str
    peak_bytes: int = 0

    @property
    def record(self) -> dict[str, Any]:
        """The JSON record of a run with --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def resident_peak(pid: int) -> int:
    """The most memory that a process has held until now, in bytes; 0 for one that has ended.

    What the system counts for an ended child begins with the memory of the process that started it.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Running:
    """A command line that goes on while the test looks at what it does."""

    def __init__(
        self, arguments: list[str], folder: Path, environment: dict[str, str], preexec: Callable[[], None] | None
    ) -> None:
        self.folder, self.peak = folder, 0
        self._out, self._err = folder / f".out-{time.monotonic_ns()}", folder / f".err-{time.monotonic_ns()}"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=preexec,
            )

    def until(self, condition: Callable[[], object]) -> Any:
        """Wait for a condition; fail when the process ends before it holds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, f"it ended too soon: {self._err.read_text()}"
            assert time.monotonic() < end, "it took too long"
            time.sleep(0.01)
        return found

    def told(self) -> str:
        """What it has written to standard error up to now."""
        return self._err.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        os.kill(self.process.pid, number)

    def end(self) -> Done:
        """Wait for its end."""
        if self.process.returncode is None:
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                self.peak = max(self.peak, resident_peak(self.process.pid))
                pid, status = os.waitpid(self.process.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > end:
                    self.process.kill()
                    pytest.fail(f"the command hangs: {self.process.args}\n{self._err.read_text()}")
                time.sleep(0.01)
            self.process.returncode = os.waitstatus_to_exitcode(status)
        texts = [path.read_text(errors="replace") for path in (self._out, self._err)]
        return Done(self.process.returncode, *texts, self.peak)


class Workplace:
    """A folder with a spec, data, and what runs make of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[Running] = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("BEAM_DATAHUB_SECRET")}
        # A run that is killed leaves its temporary files where the test's own folder goes.
        (folder / ".tmp").mkdir()
        self.environment["TMPDIR"] = str(folder / ".tmp")

    def spec(self, source: str, destination: str, *, steps: str = "", more: str = "", name: str = "spec.yaml") -> Path:
        """A spec from one source called `in` to one destination called `out`; its dead letter is the folder `dead`."""
        path = self.folder / name
        path.write_text(
            f"name: {path.stem}\n"
            f"sources:\n  in: {source}\n"
            + (f"transformations:\n{steps}\n" if steps else "")
            + f"destinations:\n  - {{id: out, {destination}}}\n"
            + "dead_letter: {connector: jsonl, connection: {path: dead/}}\n"
            + more
        )
        return path

    def start(self, *arguments: object, preexec: Callable[[], None] | None = None, **environment: str) -> Running:
        """Begin a command line."""
        running = Running([str(COMMAND), *map(str, arguments)], self.folder, {**self.environment, **environment}, preexec)
        self.running.append(running)
        return running

    def bh(self, *arguments: object, preexec: Callable[[], None] | None = None, **environment: str) -> Done:
        """Run a command line to its end."""
        return self.start(*arguments, preexec=preexec, **environment).end()

    def start_python(self, script: str, *arguments: object, **environment: str) -> Running:
        """Begin a Python script that stands in the folder."""
        command = [sys.executable, script, *map(str, arguments)]
        running = Running(command, self.folder, {**self.environment, **environment}, None)
        self.running.append(running)
        return running

    def python(self, script: str, *arguments: object, **environment: str) -> Done:
        """Run a Python script to its end in a process of its own."""
        command = [sys.executable, "-c", script, *map(str, arguments)]
        running = Running(command, self.folder, {**self.environment, **environment}, None)
        self.running.append(running)
        return running.end()

    def standing_at(self, place: str, *arguments: object) -> Running:
        """Begin a command line that stands still where STANDING says, once it stands there."""
        (self.folder / "standing.py").write_text(STANDING)
        running = self.start_python("standing.py", *arguments, STAND=place)
        running.until(lambda: (self.folder / "reached").exists())
        (self.folder / "reached").unlink()
        return running

    def killed_at(self, place: str, *arguments: object) -> int:
        """Begin a command line, and kill it where STANDING says; gives how it ended."""
        running = self.standing_at(place, *arguments)
        running.signal(signal.SIGKILL)
        return running.end().status

    def files(self, below: str = ".") -> dict[str, bytes]:
        """All files of the folder with what they hold, but for the tests' own."""
        top = self.folder / below
        found = {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_file() and not name.startswith((".out-", ".err-", ".tmp")):
                found[name] = path.read_bytes()
        return found

    def staged(self) -> list[str]:
        """What is left in staging places, at any depth."""
        return [name for name in self.files() if "/staging/" in f"/{name}"]

    def lines(self, name: str) -> list[str]:
        """The lines of a text file, or of all files of a folder, without headers."""
        path = self.folder / name
        paths = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
        return [line for each in paths for line in each.read_text().splitlines()[1:]]

    def dead(self) -> list[dict[str, Any]]:
        """The dead letter's records."""
        return [
            json.loads(line) for path in sorted((self.folder / "dead").glob("*.jsonl")) for line in path.read_text().splitlines()
        ]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workplace]:
    """A workplace; nothing that the test started outlives it."""
    place = Workplace(tmp_path)
    yield place
    for running in place.running:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def balanced(done: Done) -> None:
    """Every step of the run accounts for each record that it took in, and the destinations have what reached them."""
    record = done.record
    for step, line in record["books"].items():
        if step not in record["written"] and step != "dead_letter":
            came = line["read"] + line["in"] + line["added"]
            assert came == line["out"] + line["filtered"] + line["rejected"] + line["merged"], (step, line)
    for step, written in record["written"].items():
        assert written["rows"] == record["books"][step]["in"], (step, written)
    assert record["books"]["dead_letter"]["in"] == record["rejected"]


def refused(done: Done, code: str, status: int, *, hint: bool = True, place: str | None = r"spec\.yaml:\d+ \(") -> str:
    """The command failed as documented: exit code, one message with code, place and hint, no traceback. Gives the message."""
    assert done.status == status, done
    assert f"[{code}]" in done.err, done.err
    assert "Traceback" not in done.err, done.err
    assert "DH900" not in done.err, done.err
    if place is not None:
        assert re.search(place, done.err), done.err
    if hint:
        assert "hint: " in done.err, done.err
    return done.err


@pytest.fixture(name="refused")
def _refused() -> Callable[..., str]:
    return refused


@pytest.fixture(name="balanced")
def _balanced() -> Callable[[Done], None]:
    return balanced
