"""Runs one process and measures it: seconds from start to end, and the most memory that it held."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One finished process. `wall` in seconds; `peak` is the resident memory's maximum in bytes; `output` its stdout."""

    wall: float
    peak: int
    status: int
    output: str
    errors: str


def measure(command: list[str], *, timeout_seconds: float = 1800) -> Measured:
    """Run a command to its end. One that takes longer than the time allowed is killed and has status -9."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=_environment())
        watchdog = subprocess.Popen(["sleep", str(timeout_seconds)])
        try:
            # Whichever ends first; the kernel reports the memory of exactly the process that it reports as ended.
            while True:
                pid, waited, usage = os.wait4(-1, 0)
                if pid == watchdog.pid:
                    watchdog.returncode = 0
                    process.kill()
                elif pid == process.pid:
                    wall = time.perf_counter() - started
                    process.returncode = os.waitstatus_to_exitcode(waited)
                    break
        finally:
            for child in (process, watchdog):
                if child.returncode is None:
                    child.kill()
                    child.wait()
        output.seek(0)
        errors.seek(0)
        return Measured(
            wall=wall,
            peak=usage.ru_maxrss * 1024,
            status=process.returncode,
            output=output.read().decode(errors="replace"),
            errors=errors.read().decode(errors="replace"),
        )


def warm(*files: Path) -> None:
    """Read files once, so that every contestant finds them in the page cache as far as they fit there."""
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.read(16 << 20):
                pass


def _environment() -> dict[str, str]:
    # Whoever may not write compiled modules compiles them in each process: nobody is measured so.
    left_out = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in left_out}
