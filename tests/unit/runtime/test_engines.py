"""What an engine lacks is said before anything runs, what it needs is made once, and profiles give engines names."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_datahub.errors import EngineFailed, InvalidValue, MissingDependency, UnknownName
from beam_datahub.runtime.engines import EngineOptions, Start, engine, named_engines
from beam_datahub.runtime.engines import java as java_module
from beam_datahub.runtime.engines.cache import cache_folder, kept, obtain
from beam_datahub.runtime.engines.declaration import Engine
from beam_datahub.runtime.engines.server import JobServer, ServerCommand
from beam_datahub.spec import loads


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("JAVA_HOME", "BEAM_DATAHUB_FLINK_JAR", "BEAM_DATAHUB_SPARK_JAR", "BEAM_DATAHUB_PRISM"):
        monkeypatch.delenv(name, raising=False)


def program(folder: Path, name: str, script: str) -> Path:
    """A shell script that stands for a program on the PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def server(folder: Path, script: str) -> JobServer:
    return JobServer(ServerCommand("the server", lambda ports: ["sh", "-c", script]), str(folder), str(folder))


@pytest.mark.parametrize("name", ["flink", "spark"])
def test_without_java_an_engine_says_so_before_it_fetches_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    state = engine(name).readiness()
    assert (state.ready, state.found) == (False, "there is no Java here")
    assert "17" in (state.hint or "")
    with pytest.raises(MissingDependency, match="no Java"), engine(name).started(EngineOptions(), start(tmp_path)):
        pass
    assert not cache_folder().exists()


def start(folder: Path) -> Start:
    return Start(str(folder), str(folder))


@pytest.mark.parametrize(
    ("said", "wrong"), [('java version "1.8.0_412"', "Java 8"), ('openjdk version "25" 2025-09-16', "Java 25")]
)
def test_a_java_that_does_not_fit_is_named(said: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "java", f"echo '{said}' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingDependency, match=f"{wrong}; .*11 to 21"):
        java_module.java()


def test_a_variable_that_names_no_jar_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "java", "echo 'openjdk version \"17.0.2\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("BEAM_DATAHUB_FLINK_JAR", "nowhere.jar")
    assert engine("flink").readiness().found == "BEAM_DATAHUB_FLINK_JAR names nowhere.jar, which is not there"
    (tmp_path / "nowhere.jar").touch()
    assert engine("flink").readiness().ready


def test_what_is_made_for_the_cache_is_made_once_for_all_who_want_it() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "part.jar").write_bytes(b"x" * 1000)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: obtain("thing", make), range(4)))
    assert set(found) == {cache_folder() / "thing"}
    assert len(made) == 1


def test_a_damaged_or_half_made_part_of_the_cache_is_made_again() -> None:
    def fail(folder: Path) -> None:
        (folder / "part.jar").write_bytes(b"half")
        raise MissingDependency("the network went away")

    with pytest.raises(MissingDependency):
        obtain("thing", fail)
    assert kept("thing") is None
    obtain("thing", lambda folder: (folder / "part.jar").write_bytes(b"whole") and None)
    assert kept("thing") is not None
    (cache_folder() / "thing" / "part.jar").write_bytes(b"dAmaged")
    assert kept("thing") is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'java.lang.OutOfMemoryError: Java heap space'; exit 1", "it ran out of memory"),
        ("echo 'java.net.BindException: Address already in use'; exit 1", "a port that it listens on is taken"),
        ("echo 'Error: java.lang.UnsupportedClassVersionError: x'; exit 1", "this Java is too old for it"),
        (
            "echo 'java.lang.IllegalStateException: no such thing'; exit 3",
            r"\(exit code 3\): java.lang.IllegalStateException: no such",
        ),
    ],
)
def test_a_server_that_does_not_start_says_why(script: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=f"the server did not start.*{message}") as failed, server(tmp_path, script):
        pass
    assert failed.value.hint


def test_a_server_and_what_it_started_end_with_the_block(tmp_path: Path) -> None:
    listen = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    command = ServerCommand("the server", lambda ports: [sys.executable, "-c", listen, str(ports[0])])
    with JobServer(command, str(tmp_path), str(tmp_path)) as running:
        pid = running.pid
        assert pid is not None
        assert running.lost() is None
    assert subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout == ""


def test_a_server_whose_port_somebody_else_has_taken_meanwhile_gets_another(tmp_path: Path) -> None:
    listen = """
import os, pathlib, socket, sys, time
first = pathlib.Path("first")
if not first.exists():
    first.write_text(sys.argv[1])
    sys.exit("listen tcp: bind: address already in use")
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
    command = ServerCommand("the server", lambda ports: [sys.executable, "-c", listen, str(ports[0])])
    with JobServer(command, str(tmp_path), str(tmp_path)) as running:
        assert running.lost() is None
        assert running.endpoint
    assert (tmp_path / "first").exists()


def test_nobody_answers_at_a_wrong_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("beam_datahub.runtime.engines.portable.CONNECT_SECONDS", 0.2)
    options = EngineOptions(options=("--job_endpoint=localhost:1",))
    with (
        pytest.raises(EngineFailed, match="no job service answers at localhost:1"),
        engine("flink").started(options, start(tmp_path)),
    ):
        pass


def profile(folder: Path, text: str) -> None:
    (folder / ".beam-datahub" / "runs").mkdir(parents=True)
    (folder / ".beam-datahub" / "engines.yaml").write_text(text)


def test_a_profile_gives_an_engine_a_name_a_cluster_and_options(tmp_path: Path) -> None:
    profile(tmp_path, "engines:\n  lake: {engine: flink, master: 'flink:8081', options: {parallelism: 8, fasterCopy: true}}\n")
    chosen = engine("lake")
    assert chosen.name == "flink"
    options = chosen.completed(EngineOptions(options=("--parallelism=2",)))
    assert options.options == ("--flink_master=flink:8081", "--parallelism=8", "--fasterCopy", "--parallelism=2")
    assert (options.given("flink_master"), options.given("parallelism")) == ("flink:8081", "2")
    with pytest.raises(UnknownName, match="unknown engine 'lak'"):
        engine("lak")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engines:\n  x: {engine: flonk}\n", "unknown engine 'flonk'"),
        ("engines:\n  x: {engine: prism, master: 'here:1'}\n", "'x' has no `master`"),
        ("engines:\n  spark: {engine: flink}\n", "'spark' is an engine already"),
        ("engines:\n  x: {engine: flink, mister: a}\n", r"engines.yaml:2 \(engines.x.mister\)"),
        ("x: {engine: flink}\n", "must be `engines:`"),
    ],
)
def test_a_wrong_profile_is_refused(text: str, message: str, tmp_path: Path) -> None:
    profile(tmp_path, text)
    with pytest.raises((InvalidValue, UnknownName), match=message):
        named_engines()


def test_an_engine_refuses_what_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    document = loads(
        "name: a\nsource: {connector: inline, connection: {}, rows: [{a: 1}]}\ndestination: {connector: console, connection: {}}"
    )
    document = document.changed()
    monkeypatch.setitem(document.integration.__dict__, "type", "real-time")
    for name, streams in (("direct", False), ("spark", False), ("flink", True), ("prism", True)):
        chosen: Engine = engine(name)
        if streams:
            chosen.check(document)
            continue
        with pytest.raises(InvalidValue, match=f"the engine '{name}' cannot run integrations of type 'real-time'"):
            chosen.check(document)


def test_what_a_cluster_lacks_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("beam_datahub.runtime.engines.portable._answers", lambda endpoint: None)
    options = EngineOptions(options=("--job_endpoint=localhost:1",))
    with (
        pytest.raises(EngineFailed, match=r"flink: .*too few network buffers") as failed,
        engine("flink").started(options, start(tmp_path)),
    ):
        raise RuntimeError("java.io.IOException: Insufficient number of network buffers: required 512, but only 474 available")
    assert "min-buffers: 64" in (failed.value.hint or "")
    with pytest.raises(ValueError, match="another"), engine("flink").started(options, start(tmp_path)):
        raise ValueError("another")
