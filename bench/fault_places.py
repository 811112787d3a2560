"""The databases that bench/faults.py has runs write to: made empty, written to by a spec, and read by their own clients."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SERVICES = {"postgresql": "postgresql.sh", "mysql": "mariadb.sh", "mongodb": "mongodb.sh", "redis": "redis.sh"}
ALL_MODES = ("append", "overwrite", "merge", "delete_insert", "scd2")
MODES = {
    **dict.fromkeys(("postgresql", "mysql", "sqlite", "duckdb"), ALL_MODES),
    "mongodb": ("append", "overwrite", "merge"),
    "redis": ("merge",),
}
COLUMNS = ("id", "round", "value", "moment")
# What a run writes there is published piece by piece: the next run brings a killed one to its end.
PIECEWISE = {("mongodb", "append"), ("mongodb", "merge"), ("redis", "merge")}


@dataclass(frozen=True)
class Place:
    """A database of a round's own, reached by its own client."""

    sink: str
    reached: str

    @property
    def connection(self) -> dict[str, Any]:
        """What a spec says of it."""
        if self.sink == "mongodb":
            address, _, name = self.reached.partition("/")
            return {"url": f"mongodb://{address}", "database": name}
        if self.sink == "redis":
            address, _, folder = self.reached.partition("/")
            host, _, port = address.partition(":")
            return {"host": host, "port": int(port), "staging": f"/{folder}/staging"}
        return {"url": self.reached} if self.sink in SERVICES else {"path": self.reached}

    @property
    def options(self) -> dict[str, Any]:
        """What a destination says of where the rows go."""
        return {"mongodb": {"collection": "t"}, "redis": {"key_template": f"{self.prefix}{{id}}"}}.get(self.sink, {"table": "t"})

    @property
    def prefix(self) -> str:
        """How the names of Redis' keys begin."""
        return self.reached.rpartition("/")[2] + ":"

    def ask(self, sql: str) -> list[list[Any]]:
        """The rows of a query; runs in a process that may open connections."""
        if self.sink == "sqlite":
            import sqlite3

            with closing(sqlite3.connect(self.reached)) as file:
                return [list(row) for row in file.execute(sql)]
        if self.sink == "duckdb":
            import duckdb

            with duckdb.connect(self.reached, read_only=True) as database:
                return [list(row) for row in database.execute(sql).fetchall()]
        if self.sink == "postgresql":
            import psycopg

            with psycopg.connect(self.reached) as server:
                return [list(row) for row in server.execute(sql.encode())]
        import pymysql

        parts = urlsplit(self.reached)
        with (
            pymysql.connect(host=parts.hostname, port=parts.port or 0, user=parts.username, database=parts.path[1:]) as client,
            client.cursor() as cursor,
        ):
            cursor.execute(sql)
            return [list(row) for row in cursor.fetchall()]

    def tables(self) -> list[str]:
        """The names of all tables."""
        asked = {
            "sqlite": "select name from sqlite_master where type = 'table'",
            "duckdb": "select table_name from duckdb_tables()",
            "postgresql": "select tablename from pg_tables where schemaname = 'public'",
            "mysql": "select table_name from information_schema.tables where table_schema = database()",
        }
        return [str(name) for (name,) in self.ask(asked[self.sink])]

    def state(self, mode: str) -> dict[str, Any]:
        """What is there: the rows, left-over staging, open entries of the ledger."""
        if self.sink == "mongodb":
            return self._documents()
        if self.sink == "redis":
            return self._keys()
        if self.sink not in SERVICES and not os.path.exists(self.reached):
            return {"rows": [], "staging": [], "open": 0}
        tables = self.tables()
        columns = "id, round, value, valid_from, valid_to, is_current" if mode == "scd2" else ", ".join(COLUMNS)
        rows = self.ask(f"select {columns} from t") if "t" in tables else []
        ledger = "_beam_datahub_ledger"
        left = self.ask(f"select count(*) from {ledger} where committed_at is null")[0][0] if ledger in tables else 0
        shown = [[str(int(cell)) if isinstance(cell, bool) else str(cell) for cell in row] for row in rows]
        return {"rows": sorted(shown), "staging": [name for name in tables if name.startswith("_dh_")], "open": left}

    def _documents(self) -> dict[str, Any]:
        import pymongo

        with pymongo.MongoClient[dict[str, Any]](self.connection["url"]) as client:
            database = client[self.connection["database"]]
            rows = sorted([str(each[name]) for name in COLUMNS] for each in database["t"].find())
            staging = [name for name in database.list_collection_names() if name.startswith("_dh_")]
            left = database["_beam_datahub_ledger"].count_documents({"state": {"$ne": "committed"}})
        return {"rows": rows, "staging": staging, "open": left}

    def _keys(self) -> dict[str, Any]:
        import redis

        reach = self.connection
        with closing(redis.Redis(reach["host"], reach["port"], decode_responses=True)) as client:
            found = [client.hgetall(key) for key in client.scan_iter(f"{self.prefix}*", count=1000)]
        staging = [str(path) for path in Path(reach["staging"]).rglob("*.arrow")]
        return {"rows": sorted([str(each.get(name)) for name in COLUMNS] for each in found), "staging": staging, "open": 0}


def apart(work: Callable[[], Any]) -> Any:
    """What `work` gives, in a process of its own: this one must stay without threads."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            found = json.dumps({"found": work()})
        except BaseException:
            found = json.dumps({"error": traceback.format_exc()})
        with os.fdopen(writing, "w") as end:
            end.write(found)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as begin:
        told = json.loads(begin.read() or '{"error": "the process died"}')
    os.waitpid(child, 0)
    if "error" in told:
        raise RuntimeError(told["error"])
    return told["found"]


def new_place(sink: str, mode: str, folder: Path, servers: dict[str, str]) -> Place:
    """An empty database."""
    if sink not in SERVICES:
        return Place(sink, str(folder / f"data.{sink}"))
    name = f"{mode}_{time.monotonic_ns()}"
    reached = servers[sink].rstrip("/")
    if sink == "redis":
        return Place(sink, f"{reached}{folder}")
    if sink == "mongodb":
        return Place(sink, f"{reached}/{name}")

    def make() -> None:
        if sink == "postgresql":
            import psycopg

            with psycopg.connect(reached, autocommit=True) as server:
                server.execute(f"create database {name}".encode())
        else:
            import pymysql

            host, _, port = reached.rpartition("@")[2].partition(":")
            with pymysql.connect(host=host, port=int(port), user="root") as client, client.cursor() as cursor:
                cursor.execute(f"create database {name} character set utf8mb4")

    apart(make)
    return Place(sink, f"{reached.rpartition('/')[0] if sink == 'postgresql' else reached}/{name}")
