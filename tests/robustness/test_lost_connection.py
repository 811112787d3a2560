"""A run outlasts a connection to its job server that is cut or stands still; a server that is gone for good is told of.

The server is Beam's real one for Flink, with a cluster embedded; the test stands between it and the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.errors import EngineFailed
from beam_datahub.runtime.engines import EngineOptions, Start, engine, job
from beam_datahub.runtime.engines.flink import Flink, flink_jar
from beam_datahub.runtime.engines.server import JobServer
from beam_datahub.runtime.launch import RunRequest, RunResult, run
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads
from tests.conftest import obtained, service_output

ROWS = 3_000
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


class Line:
    """A line to a port of this machine that can be cut, and mended."""

    def __init__(self, port: int) -> None:
        self._target, self._open = port, True
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            if not self._open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)

    def cut(self) -> None:
        """Let nothing through any more."""
        self._open = False
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._open = True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """Beam's job server for Flink."""
    with _running(str(tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[JobServer]:
    """Another one, which a test may kill."""
    (tmp_path / "server").mkdir()
    with _running(str(tmp_path / "server")) as running:
        yield running


@contextlib.contextmanager
def _running(folder: str) -> Iterator[JobServer]:
    service_output("java")
    obtained(flink_jar)
    chosen = engine("flink")
    assert isinstance(chosen, Flink)
    with JobServer(chosen.server(EngineOptions(), Start(folder, folder)), folder, folder) as running:
        yield running


class Work:
    """A run on the server, in a thread, that stands in the middle of its data until it is let go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
        (folder / "gate.py").write_text(GATE % str(folder))
        self.document = loads(
            "name: held\n"
            f"source: {{connector: csv, connection: {{path: {folder}/data.csv}}}}\n"
            f"transformations: [{{id: gate, type: python, config: {{module: {folder}/gate.py, function: gate, over: arrow}}}}]\n"
            f"destination: {{connector: csv, connection: {{path: {folder}/out.csv}}, write_mode: overwrite}}\n"
        )
        self.result: RunResult | None = None
        self.failure: BaseException | None = None

    def start(self, *options: str) -> None:
        """Begin the run, and wait until it stands."""
        for name in ("reached", "go"):
            (self.folder / name).unlink(missing_ok=True)
        self.thread = threading.Thread(target=self._run, args=(options,))
        self.thread.start()
        until(lambda: (self.folder / "reached").exists() or not self.thread.is_alive())
        assert self.thread.is_alive(), self.failure

    def _run(self, options: tuple[str, ...]) -> None:
        run_id = new_run_id()
        try:
            plan = build(self.document, BuildOptions(run_id=run_id, threads=1))
            self.result = run(plan, RunRequest(run_id, "flink", EngineOptions(options=("--parallelism=1", *options))))
        except BaseException as failure:
            self.failure = failure

    def end(self) -> None:
        """Let it go on to its end."""
        (self.folder / "go").touch()
        self.thread.join(120)
        assert not self.thread.is_alive()

    def rows(self) -> list[str]:
        """What it wrote."""
        return (self.folder / "out.csv").read_text().splitlines()[1:]


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Waits until the run says something; silence on the line is noticed soon."""
    monkeypatch.setattr(job, "_ASK_SECONDS", 0.2)
    monkeypatch.setattr(job, "_REPLY_SECONDS", 1.0)
    caplog.set_level(logging.WARNING, "beam_datahub.engine")
    monkeypatch.setattr(logging, "disable", lambda *_: None)
    return lambda words: until(lambda: any(words in record.getMessage() for record in caplog.records))


def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_a_run_outlasts_a_cut_line_and_a_server_that_stands_still(
    server: JobServer, tmp_path: Path, heard: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    assert server.pid is not None
    line, work = Line(int(server.endpoint.partition(":")[2])), Work(tmp_path)
    work.start(f"--job_endpoint={line.address}")
    line.cut()
    heard("the connection to the job service is lost")
    line.mend()
    heard("the job service answers again")
    caplog.clear()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        heard("the connection to the job service is lost")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    heard("the job service answers again")
    work.end()
    assert work.failure is None
    assert work.result is not None
    assert work.result.status == "completed"
    assert len(work.rows()) == ROWS


def test_a_server_that_is_gone_for_good_is_told_of_and_the_next_run_is_right(
    mortal: JobServer, tmp_path: Path, heard: Callable[[str], None]
) -> None:
    assert mortal.pid is not None
    work = Work(tmp_path)
    work.start(f"--job_endpoint={mortal.endpoint}", "--job_server_timeout=10")
    os.kill(mortal.pid, signal.SIGKILL)
    heard("the connection to the job service is lost")
    work.thread.join(120)
    assert isinstance(work.failure, EngineFailed)
    assert "has not answered for 10 s" in work.failure.reason
    assert "--job_server_timeout" in (work.failure.hint or "")
    assert not (tmp_path / "out.csv").exists()
    work.failure = None
    work.start()
    work.end()
    assert work.failure is None
    assert len(work.rows()) == ROWS
