"""Databases behind a network that breaks, servers that restart, deadlocks, tables that change, disks that are full.

A run fails with its reason, and the next one brings everything to where it should be.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import ConnectorError, SchemaDrift, Transient
from beam_datahub.testing.connectors import read
from tests.conftest import Server, served, service_output
from tests.unit.io.database_systems import System, mysql_client, new_database, new_mysql_database

ROWS = pa.table({"id": pa.array(range(4000), pa.int64()), "text": [f"{number:0500}" for number in range(4000)]})
_names = itertools.count()


@dataclass
class Place:
    """A server of a test's own that can be restarted, with a network in front of it that can be spoilt."""

    name: str
    url: str
    folder: str
    api: str
    proxies: list[str] = field(default_factory=list)

    def restart(self) -> None:
        """Crash, and start again."""
        service_output(self.name, "stop", self.folder)
        service_output(self.name, "again", self.folder, str(urlsplit(self.url).port))

    def database(self) -> System:
        """An empty database, reached without the spoilt network."""
        new = new_database if self.name == "postgresql" else new_mysql_database
        return System("postgresql" if self.name == "postgresql" else "mysql", {"url": new(self.url)})

    def through(self, system: System, **settings: Any) -> System:
        """The same database, reached through the network."""
        place = urlsplit(system.connection["url"])
        name = f"{self.name}-{next(_names)}"
        upstream = f"127.0.0.1:{place.port}"
        for port in range(29000 + os.getpid() % 900, 32000):
            with contextlib.suppress(urllib.error.HTTPError):
                self._call(
                    "POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream, "enabled": True}
                )
                break
        self.proxies.append(name)
        return System(system.connector, {"url": system.connection["url"].replace(f":{place.port}", f":{port}"), **settings})

    def spoil(self, kind: str, stream: str = "downstream", **attributes: int) -> None:
        """Do something to all that passes the network from now on."""
        for name in self.proxies:
            self._call(
                "POST", f"/proxies/{name}/toxics", {"name": kind, "type": kind, "stream": stream, "attributes": attributes}
            )

    def cut(self) -> None:
        """Cut all connections, and let no new ones through."""
        for name in self.proxies:
            self._call("POST", f"/proxies/{name}", {"enabled": False})

    def mend(self) -> None:
        """Let the network be as it was."""
        self._call("POST", "/reset", {})

    def remove(self) -> None:
        """Take the network away."""
        for name in self.proxies:
            self._call("DELETE", f"/proxies/{name}", None)
        self.proxies.clear()

    def _call(self, method: str, path: str, body: Any) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.api}{path}", data, {"Content-Type": "application/json"}, method=method)
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def toxiproxy() -> Iterator[Server]:
    """What spoils the network."""
    yield from served("toxiproxy")


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest, toxiproxy: Server) -> Iterator[Place]:
    """A server that only these tests use."""
    folder = tempfile.mkdtemp(prefix=f"beam-datahub-{request.param}-")
    os.chmod(folder, 0o755)
    try:
        yield Place(request.param, service_output(request.param, "start", folder), folder, toxiproxy.address)
        close_pools()
        service_output(request.param, "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(server: Place) -> Iterator[Place]:
    """The server, with a network in order again after the test."""
    yield server
    server.mend()
    server.remove()
    close_pools()


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon what an outage breaks."""
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 2)


def loaded(place: Place, *tables: pa.Table) -> System:
    """A database with the rows in a table of bigint and text, `id` its key."""
    system = place.database()
    system.run("create table t (id bigint primary key, text varchar(1000))")
    if tables:
        system.write(system.sink(table="t"), *tables, run="before")
    return system


def ids(system: System) -> list[int]:
    return sorted(row["id"] for row in system.rows("t"))


def come_right(system: System, mode: str = "merge") -> None:
    """The next run brings all rows, each once, and leaves no staging."""
    close_pools()
    system.write(system.sink(table="t"), ROWS, run=f"next-{next(_names)}", mode=mode, key=["id"] if mode == "merge" else [])
    assert ids(system) == ROWS["id"].to_pylist()
    assert system.staging() == []


@pytest.mark.usefixtures("few_attempts")
def test_a_network_that_is_lost_while_rows_are_read_fails_the_read_and_the_next_one_is_whole(place: Place) -> None:
    system = loaded(place, ROWS)
    far = place.through(system)
    source = far.source(table="t")
    schema = source.discover().schema
    place.spoil("limit_data", bytes=500_000)
    close_pools()
    with pytest.raises(Transient):
        read(source)
    place.mend()
    assert [row["id"] for row in sorted(read(source).rows, key=lambda row: row["id"])] == ROWS["id"].to_pylist()
    assert schema.names == ["id", "text"]


@pytest.mark.usefixtures("few_attempts")
@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
def test_a_network_that_is_lost_while_rows_are_written_changes_nothing_and_the_next_run_is_whole(place: Place, mode: str) -> None:
    system = loaded(place, ROWS.slice(0, 1)) if mode != "append" else loaded(place)
    before = ids(system)
    far = place.through(system)
    place.spoil("limit_data", "upstream", bytes=600_000)
    key = ["id"] if mode == "merge" else []
    with pytest.raises(Transient):
        far.write(far.sink(table="t"), ROWS.slice(0, 1000), ROWS, mode=mode, key=key)
    # A run that fails cleans up after itself.
    far.sink(table="t").abort(far.request(ROWS.schema, mode=mode, key=key))
    assert ids(system) == before
    place.mend()
    come_right(far, mode)


def test_a_short_outage_is_waited_for(place: Place) -> None:
    system = loaded(place)
    far = place.through(system)
    sink = far.sink(table="t")
    request = far.request(ROWS.schema, mode="overwrite")
    sink.prepare(request)
    writer = sink.open(request)
    writer.write(ROWS.slice(0, 2000).combine_chunks().to_batches()[0])
    place.cut()
    timer = threading.Timer(1.0, place.mend)
    timer.start()
    writer.write(ROWS.slice(2000).combine_chunks().to_batches()[0])
    sink.commit(request, writer.close())
    timer.join()
    assert ids(system) == ROWS["id"].to_pylist()
    assert system.staging() == []


@pytest.mark.usefixtures("few_attempts")
def test_a_slow_server_is_waited_for_no_longer_than_is_said(place: Place) -> None:
    system = loaded(place, ROWS.slice(0, 10))
    far = place.through(system, connect_timeout_seconds=2)
    source: Any = far.source(table="t")
    request = ReadRequest(source.discover().schema, ("id", "text"))
    keys = pa.table({"id": pa.array([3], pa.int64())})
    place.spoil("latency", latency=20)
    (block,) = source.lookup(keys, request, timeout_seconds=60)
    assert block.batch["id"].to_pylist() == [3]
    place.mend()
    place.spoil("latency", latency=30_000)
    if place.name == "mariadb":
        # PostgreSQL's client reaches for the server to break off, which is as slow.
        with pytest.raises(Transient, match=r"no answer|timed out"):
            list(source.lookup(keys, request, timeout_seconds=1))
    close_pools()
    with pytest.raises(Transient):
        far.source(table="t").discover()


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_a_server_that_restarts_while_rows_are_written_changes_nothing_or_all(place: Place, mode: str) -> None:
    system = loaded(place)
    sink = system.sink(table="t")
    request = system.request(ROWS.schema, mode=mode, key=["id"] if mode == "merge" else [])
    sink.prepare(request)
    writer = sink.open(request)
    writer.write(ROWS.slice(0, 2000).combine_chunks().to_batches()[0])
    place.restart()
    try:
        writer.write(ROWS.slice(2000).combine_chunks().to_batches()[0])
        sink.commit(request, writer.close())
        assert ids(system) == ROWS["id"].to_pylist()
    except ConnectorError:
        # What was staged is gone with the crash: the commit sees it, and publishes nothing.
        sink.abort(request)
        assert ids(system) == []
    come_right(system, "overwrite")


@pytest.mark.usefixtures("few_attempts")
def test_a_server_that_restarts_while_rows_are_read_fails_the_read(place: Place) -> None:
    system = loaded(place)
    wide = "repeat('x', 900)"
    number = (
        "select i, {} from generate_series(1, 40000) i" if place.name == "postgresql" else "select seq, {} from seq_1_to_40000"
    )
    system.run(f"insert into t {number.format(wide)}")
    source = system.source(table="t")
    request = ReadRequest(source.discover().schema, ("id", "text"), batch_bytes=1 << 20)
    (split,) = source.splits(request)
    blocks = source.read(split, request)
    next(blocks)
    place.restart()
    with pytest.raises(Transient, match="the connection broke while t was read"):
        list(blocks)
    assert sum(block.batch.num_rows for block in source.read(split, request)) == 40_000


def test_a_deadlock_is_tried_again(place: Place) -> None:
    system = loaded(place, ROWS.slice(0, 100))
    update = "update t set text = 'theirs' where id = {}"
    with rival(place, system) as their:
        # The rows of ours are locked one after the other: theirs has the last and wants the first.
        their(update.format(99))

        def go_on() -> None:
            waiting(place, system)
            their(update.format(0))
            their("commit")

        waits = threading.Thread(target=go_on)
        waits.start()
        changed = pa.table({"id": pa.array([0, 99], pa.int64()), "text": ["ours", "ours"]})
        system.write(system.sink(table="t"), changed, mode="merge", key=["id"])
        waits.join()
    found = {row["id"]: row["text"] for row in system.rows("t")}
    assert (found[0], found[99], len(found)) == ("ours", "ours", 100)
    assert system.staging() == []


@contextlib.contextmanager
def rival(place: Place, system: System) -> Iterator[Callable[[str], object]]:
    """Somebody else's open transaction, which a deadlock does not end."""
    if place.name == "postgresql":
        import psycopg

        with psycopg.connect(system.connection["url"]) as other:
            other.execute("set deadlock_timeout = '1h'")
            yield lambda sql: other.execute(sql.encode())
        return
    other = mysql_client(system.connection["url"])
    with other.cursor() as cursor:
        cursor.execute("begin")
        # Of two, the one that has changed less is ended.
        cursor.execute("update t set text = concat(text, '!') where id between 10 and 90")
        yield cursor.execute
    other.close()


def waiting(place: Place, system: System) -> None:
    """Wait until somebody waits for a lock."""
    asked = {
        "postgresql": "select count(*) from pg_locks where not granted",
        "mariadb": "select count(*) from information_schema.innodb_trx where trx_state = 'LOCK WAIT'",
    }[place.name]
    with system.sink(table="t").connected() as session:  # type: ignore[attr-defined]
        while not session.fetch(asked)[0][0]:
            # MariaDB looks anew only when it has not been asked for a tenth of a second.
            threading.Event().wait(0.15)


def test_a_table_that_loses_a_column_while_a_run_is_under_way_fails_it_with_its_name(place: Place) -> None:
    system = loaded(place, ROWS.slice(0, 10))
    source = system.source(table="t")
    request = ReadRequest(source.discover().schema, ("id", "text"))
    sink = system.sink(table="t", evolve="none")
    written = system.request(ROWS.schema, mode="append")
    sink.prepare(written)
    writer = sink.open(written)
    writer.write(ROWS.slice(10).combine_chunks().to_batches()[0])
    receipts = writer.close()
    system.run("alter table t drop column text")
    with pytest.raises(SchemaDrift, match="has no column 'text'"):
        list(source.read(next(source.splits(request)), request))
    with pytest.raises(ConnectorError, match="text"):
        sink.commit(written, receipts)
    sink.abort(written)
    assert len(system.rows("t")) == 10
    system.run("alter table t add column text varchar(1000)")
    come_right(system)


@pytest.fixture
def cramped(place: Place) -> Iterator[System]:
    """A database whose tables have a disk of 24 MB to themselves."""
    system = place.database()
    name = system.connection["url"].rpartition("/")[2]
    disk = Path(place.folder, "small" if place.name == "postgresql" else f"data/{name}")
    # MariaDB keeps a database in a folder of its own, and what it says of it there.
    said = {each.name: each.read_bytes() for each in disk.iterdir()} if disk.exists() else {}
    disk.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    try:
        owner = Path(place.folder).stat()
        for path in [disk, *(disk / file for file in said)]:
            if path != disk:
                path.write_bytes(said[path.name])
            os.chown(path, owner.st_uid, owner.st_gid)
        if place.name == "postgresql":
            system.run(f"create tablespace small location '{disk}'", f"alter database {name} set default_tablespace = small")
            close_pools()
        system.run("create table t (id bigint primary key, text varchar(1000))")
        yield system
        system.run("drop table t", "drop table if exists _beam_datahub_ledger")
        close_pools()
        if place.name == "postgresql":
            system.run("drop tablespace small")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_a_disk_that_is_full_fails_the_run_and_the_next_one_is_whole(cramped: System, mode: str) -> None:
    # PostgreSQL's disk is full while it stages and, of fewer rows, when it publishes: of the latter MariaDB 10.11 dies itself.
    times = 6 if mode == "merge" and cramped.connector == "postgresql" else 16
    many = pa.concat_tables([ROWS] * times)
    many = many.set_column(0, "id", pa.array(range(many.num_rows), pa.int64()))
    key = ["id"] if mode == "merge" else []
    with pytest.raises(ConnectorError) as raised:
        cramped.write(cramped.sink(table="t"), many, mode=mode, key=key)
    cramped.sink(table="t").abort(cramped.request(many.schema, mode=mode, key=key))
    assert "the server's disk is full" in str(raised.value.hint)
    assert ids(cramped) == []
    come_right(cramped, mode)
