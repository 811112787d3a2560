"""Runs that read changes and are killed, and servers that crash: the replica equals its table, each change comes once."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT, MongodbServer, service_output
from tests.unit.io.database_systems import mysql_client, new_database, new_mysql_database

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: replica
source: {{name: t, connector: {connector}, connection: {{url: "{url}"}}, table: t, changes: rows{more}}}
destinations:
  - {{id: replica, connector: sqlite, connection: {{path: replica.sqlite}}, table: t, write_mode: merge, key: [id],
     last_by: __position, delete_marker: __deleted}}
  - {{id: log, connector: jsonl, connection: {{path: log}}, write_mode: append}}
"""
CHANGES = (
    "insert into t values ({n}1, 'new'), ({n}2, 'new'), ({n}3, 'new')",
    "update t set name = concat(name, ' {n}') where id % 2 = 1",
    "delete from t where id = {n}2",
    "update t set id = {n}9 where id = {n}3",
)


def prepare(work: Any, connector: str, url: str, more: str = "") -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "replica.yaml").write_text(SPEC.format(connector=connector, url=url, more=more))


def replica(work: Any) -> list[tuple[Any, ...]]:
    with sqlite3.connect(work.folder / "replica.sqlite") as file:
        found = file.execute("select id, name from t order by id").fetchall()
    file.close()
    return found


def logged(work: Any) -> list[tuple[int, str, int]]:
    """The changes that were appended: place in the log, operation, key."""
    lines = [json.loads(line) for file in sorted((work.folder / "log").glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [(line["__position"], line["__op"], line["id"]) for line in lines]


def test_changes_of_postgresql_come_once_wherever_a_run_is_killed(work: Any, postgresql: str) -> None:
    url = new_database(postgresql)
    prepare(work, "postgresql_cdc", url, ", slot: killed")
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("create table t (id int primary key, name text)")
        server.execute("insert into t values (1, 'one'), (2, 'two')")
        wanted = 2
        # The first run, with its snapshot, is killed as well.
        assert work.killed_at("before the journal", "run", "replica.yaml") == -signal.SIGKILL
        assert work.bh("run", "replica.yaml", "-q").status == 0
        for number, place in enumerate(("between two destinations", "before the end is recorded"), start=1):
            for each in CHANGES:
                server.execute(each.format(n=number).encode())
            odd = server.execute("select count(*) from t where name like %s", [f"% {number}"]).fetchone()
            wanted += 3 + (odd or (0,))[0] + 1 + 2
            assert work.killed_at(place, "run", "replica.yaml") == -signal.SIGKILL
            done = work.bh("run", "replica.yaml", "--json")
            assert done.status == 0, done
            assert replica(work) == server.execute("select id, name from t order by id").fetchall(), place
            found = logged(work)
            assert len(found) == len(set(found)) == wanted, place
        assert work.bh("state", "drop", "replica.yaml", "--yes").status == 0
        assert server.execute("select slot_name from pg_replication_slots where slot_name = 'killed'").fetchall() == []


def test_changes_of_mysql_come_once_though_a_run_is_killed(work: Any, mariadb: str) -> None:
    url = new_mysql_database(mariadb)
    prepare(work, "mysql_cdc", url)
    with mysql_client(url) as server, server.cursor() as cursor:
        cursor.execute("create table t (id int primary key, name varchar(100))")
        cursor.execute("insert into t values (1, 'one'), (2, 'two')")
        assert work.killed_at("between two destinations", "run", "replica.yaml") == -signal.SIGKILL
        for number, place in enumerate(("before the end is recorded",), start=1):
            for each in CHANGES:
                cursor.execute(each.format(n=number))
            assert work.killed_at(place, "run", "replica.yaml") == -signal.SIGKILL
            done = work.bh("run", "replica.yaml", "--json")
            assert done.status == 0, done
            cursor.execute("select id, name from t order by id")
            assert replica(work) == list(cursor.fetchall()), place
            found = logged(work)
            assert len(found) == len(set(found)), place


def test_changes_of_mongodb_come_once_though_a_run_is_killed(work: Any, mongodb: MongodbServer) -> None:
    import pymongo

    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    where = f'{{url: "mongodb://{mongodb.address}", database: killed}}, collection: t'
    spec = SPEC.format(connector="mongodb_cdc", url="", more="").replace('{url: ""}, table: t', where).replace("[id]", "[_id]")
    (work.folder / "replica.yaml").write_text(spec)
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(f"mongodb://{mongodb.address}")
    with client:
        t = client["killed"]["t"]
        t.insert_many([{"_id": 1, "name": "one"}, {"_id": 2, "name": "two"}])
        assert work.killed_at("before the end is recorded", "run", "replica.yaml") == -signal.SIGKILL
        t.insert_many([{"_id": 3, "name": "new"}, {"_id": 4, "name": "new"}])
        t.update_many({"_id": {"$in": [1, 3]}}, {"$set": {"name": "changed"}})
        t.delete_many({"_id": {"$in": [2, 4]}})
        done = work.bh("run", "replica.yaml", "--json")
        assert done.status == 0, done
        with sqlite3.connect(work.folder / "replica.sqlite") as file:
            found = file.execute("select _id, name from t order by _id").fetchall()
        file.close()
        assert found == [(each["_id"], each["name"]) for each in t.find(sort=[("_id", 1)])] == [(1, "changed"), (3, "changed")]
        lines = [json.loads(line) for each in (work.folder / "log").glob("*.jsonl") for line in each.read_text().splitlines()]
        known = [(line["__position"], line["__op"], line["_id"]) for line in lines]
        assert len(known) == len(set(known)) == 8
        client.drop_database("killed")


def test_changes_go_on_after_a_crash_of_the_server(work: Any) -> None:
    folder = tempfile.mkdtemp(prefix="beam-datahub-postgresql-")
    try:
        url = service_output("postgresql", "start", folder)
        prepare(work, "postgresql_cdc", url, ", slot: crashed")
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("create table t (id int primary key, name text)")
            server.execute("insert into t values (1, 'one')")
            assert work.bh("run", "replica.yaml", "-q").status == 0
            for each in CHANGES:
                server.execute(each.format(n=1).encode())
        service_output("postgresql", "stop", folder)
        script = ROOT / "tests" / "services" / "postgresql.sh"
        subprocess.run(["bash", script, "again", folder, url.rpartition(":")[2].partition("/")[0]], check=True)
        assert work.bh("run", "replica.yaml", "-q").status == 0
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("delete from t where id = 1")
            assert work.bh("run", "replica.yaml", "-q").status == 0
            assert replica(work) == server.execute("select id, name from t order by id").fetchall()
        service_output("postgresql", "stop", folder)
    finally:
        shutil.rmtree(Path(folder), ignore_errors=True)
