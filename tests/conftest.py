"""What all tests share: where the real data and the servers are, and in which order the tests run."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from beam_datahub.component.held import release_held
from beam_datahub.errors import MissingDependency

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT.parent / "shared" / "cases"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

_LINES_OF_FIRST_TRY = 40

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


# Runs of tests that are not about the record of runs leave none: making a store takes longer than they do.
os.environ["BEAM_DATAHUB_NO_RECORD"] = "1"


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runs of this test be recorded, as they are outside of tests."""
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests, those over every engine and system, after all others.

    What starts servers and kills processes depends on the machine's mood: it may have a second try, which the summary counts.
    """
    items.sort(key=lambda item: item.path.is_relative_to(ROOT / "tests" / "matrix"))
    moody = tuple(ROOT / "tests" / folder for folder in ("matrix", "robustness", "unit/io", "unit/runtime", "unit/cli"))
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in moody):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=1))


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """Release what a test still holds: a lease is renewed by a thread, which would go on among the tests that follow."""
    yield
    release_held()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a second try begin without what the failure of the first keeps open: it would be the second's warning."""
    if getattr(item, "execution_count", 1) > 1:
        sys.last_value = sys.last_traceback = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a test had a second try, name the parts of run_tests.sh that failed before pytest began."""
    for first in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_sep("_", f"first try of {first.nodeid}")
        terminalreporter.write_line("\n".join(first.longreprtext.splitlines()[-_LINES_OF_FIRST_TRY:]))
    if failed := os.environ.get("FAILED_PARTS"):
        terminalreporter.write_line(f"FAILED before the tests: {failed}", red=True, bold=True)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real data; it stands beside the project and is not part of it."""
    if not CASES.is_dir():
        pytest.skip(f"the real data is not here: {CASES}")
    return CASES


@pytest.fixture(scope="session")
def prism() -> str:
    """The path of Beam's Prism runner, built once and kept."""
    from beam_datahub.runtime.engines.prism import prism_program

    return str(obtained(prism_program))


def obtained(get: Callable[[], Path]) -> Path:
    """What an engine needs; where it cannot be had, skip, or fail in CI."""
    try:
        return get()
    except MissingDependency as error:
        if IN_CI:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def needed(module: str) -> Any:
    """A module that an extra brings; where it is not installed, skip, or fail in CI, which installs them all."""
    if IN_CI:
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"{module} is not installed; ./run_tests.sh installs it")


@pytest.fixture
def rights_hold(tmp_path: Path) -> Iterator[None]:
    """Let the rights of files hold for this user, also where it is root, in this thread and those that it starts."""
    from tests.file_rights import without_overriding

    with without_overriding():
        probe = tmp_path / "probe"
        probe.touch(mode=0o400)
        may = os.access(probe, os.W_OK)
        probe.unlink()
        if may:
            pytest.skip("this user may write what is read-only")
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty PostgreSQL server that runs while the tests do; whoever uses it makes a database of its own."""
    # pytest closes its own folders to other users, and the server is one.
    folder = tempfile.mkdtemp(prefix="beam-datahub-postgresql-")
    try:
        yield service_output("postgresql", "start", folder)
        service_output("postgresql", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URL of an empty MariaDB server that runs while the tests do; whoever uses it makes a database of its own."""
    folder = tempfile.mkdtemp(prefix="beam-datahub-mariadb-")
    try:
        yield service_output("mariadb", "start", folder)
        service_output("mariadb", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class KafkaBroker:
    """A Kafka broker for tests: its address, and that where it asks for a login (`etl`, `right`)."""

    address: str
    folder: str

    @property
    def login_address(self) -> str:
        host, _, port = self.address.rpartition(":")
        return f"{host}:{int(port) + 2}"

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        service_output("kafka", "stop", self.folder)

    def start(self) -> None:
        """Start it again, with what it had."""
        service_output("kafka", "start", self.folder)


@dataclass(frozen=True)
class Server:
    """A server for tests that tests/services/NAME.sh starts."""

    name: str
    address: str
    folder: str

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        service_output(self.name, "stop", self.folder)

    def start(self) -> None:
        """Start it again, with what it had."""
        service_output(self.name, "start", self.folder)


def served(name: str) -> Iterator[Server]:
    """A server that runs until the iterator is closed."""
    folder = tempfile.mkdtemp(prefix=f"beam-datahub-{name}-")
    os.chmod(folder, 0o755)
    try:
        yield Server(name, service_output(name, "start", folder), folder)
        service_output(name, "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis() -> Iterator[Server]:
    """A Redis server that runs while the tests do; whoever uses it takes keys of its own."""
    yield from served("redis")


@pytest.fixture(scope="session")
def nats() -> Iterator[Server]:
    """A NATS server with JetStream that runs while the tests do; whoever uses it makes streams of its own."""
    yield from served("nats")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Server]:
    """A RabbitMQ server that runs while the tests do; whoever uses it makes queues of its own."""
    yield from served("rabbitmq")


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Server]:
    """A Mosquitto broker that runs while the tests do; whoever uses it takes topics of its own."""
    yield from served("mosquitto")


@pytest.fixture(scope="session")
def pubsub() -> Iterator[Server]:
    """An emulator of Google Pub/Sub that runs while the tests do; whoever uses it makes topics of its own."""
    yield from served("pubsub")


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """A Kafka broker that runs while the tests do; whoever uses it makes topics of its own."""
    folder = tempfile.mkdtemp(prefix="beam-datahub-kafka-")
    try:
        yield KafkaBroker(service_output("kafka", "start", folder), folder)
        service_output("kafka", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class MongodbServer:
    """A server of MongoDB's protocol for tests; what it has is in its memory, and gone when it is killed."""

    address: str
    folder: str

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        service_output("mongodb", "stop", self.folder)

    def start(self) -> None:
        """Start it again at its address, empty."""
        service_output("mongodb", "start", self.folder)


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongodbServer]:
    """A server of MongoDB's protocol that runs while the tests do; whoever uses it makes a database of its own."""
    folder = tempfile.mkdtemp(prefix="beam-datahub-mongodb-")
    try:
        yield MongodbServer(service_output("mongodb", "start", folder), folder)
        service_output("mongodb", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def service_output(name: str, *arguments: str) -> str:
    """Run tests/services/NAME.sh and return the line that it prints; where it cannot be had, skip, or fail in CI."""
    script = ROOT / "tests" / "services" / f"{name}.sh"
    done = subprocess.run(["bash", script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    reason = f"{name} cannot be had: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass(frozen=True)
class FlinkCluster:
    """A standalone Flink cluster of one task manager with two slots, and a pool of Python workers beside it."""

    address: str
    workers: str
    folder: str

    @property
    def options(self) -> list[str]:
        """Beam's options for a job on it, but for a `temp_location` that its workers can write."""
        return [
            f"--flink_master={self.address}",
            "--parallelism=2",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.workers}",
        ]


@pytest.fixture(scope="session")
def flink_cluster() -> Iterator[FlinkCluster]:
    """A Flink cluster that runs while the tests do. Its workers are processes of the pool's, which see nothing of the tests'."""
    folder = tempfile.mkdtemp(prefix="beam-datahub-flink-")
    try:
        address = service_output("flink", "start", folder)
        with worker_pool(folder) as workers:
            yield FlinkCluster(address, workers, folder)
        service_output("flink", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def worker_pool(folder: str) -> Iterator[str]:
    """The address of a pool that starts Python workers for jobs, with an environment of their own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}
    command = [str(Path(sys.executable).with_name("beam-datahub")), "workers", f"--port={port}"]
    with open(f"{folder}/workers.log", "ab") as log:
        pool = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert pool.poll() is None, Path(f"{folder}/workers.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        os.killpg(pool.pid, signal.SIGKILL)
        pool.wait()
