"""A job server that lives as long as a run: started for it, watched, and gone with it, however the run ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from beam_datahub.errors import EngineFailed
from beam_datahub.security import redact

START_SECONDS = 180.0
_TAIL_BYTES = 64 * 1024
_ATTEMPTS = 3

# The kernel kills the server with the thread that started it. `exec` keeps that promise, and a program of its own needs no
# code between fork and exec in a process that is full of threads.
_TIED = """
import ctypes, os, signal, sys
if sys.platform.startswith("linux"):
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""

_TAKEN = r"(?i)address already in use|BindException"
# What a server's log says when it cannot go on → what the user reads.
_CAUSES: tuple[tuple[str, str, str | None], ...] = (
    (r"OutOfMemoryError", "it ran out of memory", "give it more: --engine-option --job_server_jvm_properties=-Xmx4g"),
    (_TAKEN, "a port that it listens on is taken", "leave --job_port out, or name another"),
    (r"UnsupportedClassVersionError", "this Java is too old for it", "install Java 17, or name it in JAVA_HOME"),
    (r"Could not reserve enough space|Cannot allocate memory", "the machine has too little memory for it", None),
    (r"Unable to access jarfile|Could not find or load main class", "its jar is damaged", "remove it from the cache"),
    (r"Invalid maximum heap size|Unrecognized (VM )?option", "Java does not know one of its options", None),
)


@dataclass(frozen=True)
class ServerCommand:
    """How a job server is started: `program` gets the ports that it is to listen on, the first of which takes jobs."""

    what: str
    program: Callable[[Sequence[int]], Sequence[str]]
    ports: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    job_port: int | None = None


class JobServer:
    """Runs a job server, in a process group of its own so that Ctrl-C reaches the run first, which then cancels its job."""

    def __init__(self, command: ServerCommand, folder: str, log_folder: str) -> None:
        self._command, self._folder = command, folder
        self.log = Path(log_folder) / "job-server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        attempt = 1
        while True:
            try:
                self._start(again=attempt > 1)
                return self
            except BaseException as failure:
                self.stop()
                taken = isinstance(failure, EngineFailed) and re.search(_TAKEN, _tail(self.log))
                if not taken or self._command.job_port or attempt == _ATTEMPTS:
                    raise
            attempt += 1

    def _start(self, *, again: bool) -> None:
        command = self._command
        # A port that is free now may be taken by the time that the server listens on it.
        ports = _free_ports(command.ports, command.job_port)
        with self.log.open("wb" if again else "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command.program(ports)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, **command.environment},
                start_new_session=True,
            )
        self._wait(ports[0])
        self.endpoint = f"localhost:{ports[0]}"

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def lost(self) -> EngineFailed | None:
        """Why the server is gone, though nobody stopped it; None while it runs. A server that is just dying gets a moment."""
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return None if self._process.poll() is None else self._ended("ended in the middle of the run")

    def stop(self) -> None:
        """Stop the server and what it started. Its files are temporary, so it need not tidy up."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _wait(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._ended("did not start")
            with suppress(OSError), socket.create_connection(("localhost", port), timeout=1.0):
                return
            time.sleep(0.05)
        raise EngineFailed(f"{self._command.what} did not answer within {START_SECONDS:.0f} s", hint=f"its log: {self.log}")

    def _ended(self, how: str) -> EngineFailed:
        assert self._process is not None
        code = self._process.returncode
        text = _tail(self.log)
        for pattern, cause, hint in _CAUSES:
            if re.search(pattern, text):
                return EngineFailed(f"{self._command.what} {how}: {cause}", hint=hint or f"its log: {self.log}")
        died = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return EngineFailed(f"{self._command.what} {how} ({died}){_last_words(text)}", hint=f"its log: {self.log}")


def _free_ports(count: int, first: int | None) -> list[int]:
    """Ports that are free now; `first` is one that the user wants."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count - bool(first))]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [*([first] if first else []), *(each.getsockname()[1] for each in sockets)]
    finally:
        for each in sockets:
            each.close()


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _last_words(text: str) -> str:
    said = [line for line in text.splitlines() if re.search(r"(Exception|Error)\b", line) and not line.startswith("\tat ")]
    return f": {redact(said[-1].strip()[:300])}" if said else ""
