"""The databases that the tests of all of them run on, each reached through its own connector and by its own client."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Committed, Sink, WriteRequest
from beam_datahub.component.source import Source
from beam_datahub.testing.connectors import read, stage

SYSTEMS = ("postgresql", "mysql", "sqlite", "duckdb", "sql on sqlite", "sql on postgresql")
_numbers = itertools.count()


@dataclass
class System:
    """A database of a test's own."""

    connector: str
    connection: dict[str, Any]

    def source(self, **options: Any) -> Source:
        """A source of the database."""
        kind = component("source", self.connector)
        return kind(kind.Connection(**self.connection), kind.Options(**options))  # type: ignore[attr-defined,no-any-return]

    def sink(self, **options: Any) -> Sink:
        """A destination in the database."""
        kind = component("sink", self.connector)
        return kind(kind.Connection(**self.connection), kind.Options(**options))  # type: ignore[attr-defined,no-any-return]

    def write(
        self, sink: Sink, *tables: pa.Table, run: str = "run1", mode: str = "append", key: Sequence[str] = (), schema: Any = None
    ) -> Committed:
        """Write each table as one bundle, and commit."""
        request = self.request(schema or tables[0].schema, run=run, mode=mode, key=key)
        sink.plan_write(request)
        sink.prepare(request)
        return sink.commit(request, stage(sink, request, tables))

    @staticmethod
    def request(schema: pa.Schema, run: str = "run1", mode: str = "append", key: Sequence[str] = ()) -> WriteRequest:
        """What one run writes."""
        return WriteRequest(run, "out", schema, WriteMode(mode), tuple(key))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What is in a table, in order, as the source reads it."""
        return sorted(read(self.source(table=table)).rows, key=str)

    def staging(self) -> list[str]:
        """The tables that begin as those do in which bundles are staged."""
        with self.sink(table="x").connected() as session:  # type: ignore[attr-defined]
            return [str(each) for each in session.tables(self.sink(table="x").target, "_dh_")]  # type: ignore[attr-defined]

    def run(self, *statements: str) -> None:
        """Run statements by the system's own client."""
        if "path" in self.connection and self.connector == "duckdb":
            with duckdb.connect(self.connection["path"]) as duck:
                for each in statements:
                    duck.execute(each)
            return
        url = self.connection.get("url", "")
        if url.startswith("mysql"):
            with mysql_client(url) as server, server.cursor() as cursor:
                for each in statements:
                    cursor.execute(each)
            return
        if url.startswith("postgresql"):
            import psycopg

            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as server:
                for each in statements:
                    server.execute(each.encode())
            return
        with sqlite3.connect(self.connection.get("path") or url.removeprefix("sqlite:///")) as file:
            for each in statements:
                file.execute(each)
        file.close()


def new_database(url: str) -> str:
    """A database of its own on a PostgreSQL server."""
    import psycopg

    name = f"database_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"create database {name}".encode())
    return f"{url.rpartition('/')[0]}/{name}"


def new_mysql_database(url: str) -> str:
    """A database of its own on a MariaDB server."""
    name = f"database_{next(_numbers)}"
    with mysql_client(url) as server, server.cursor() as cursor:
        cursor.execute(f"create database {name} character set utf8mb4")
    return f"{url}/{name}"


def mysql_client(url: str, flags: int = 0) -> Any:
    """A connection of MySQL's own client."""
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        database=parts.path.lstrip("/") or None,
        autocommit=True,
        client_flag=flags,
    )


def made(name: str, folder: Path, request: pytest.FixtureRequest) -> System:
    """The system called `name`, empty."""
    if name == "postgresql":
        return System("postgresql", {"url": new_database(request.getfixturevalue("postgresql"))})
    if name == "mysql":
        return System("mysql", {"url": new_mysql_database(request.getfixturevalue("mariadb"))})
    if name == "sql on postgresql":
        url = new_database(request.getfixturevalue("postgresql"))
        return System("sql", {"url": url.replace("postgresql://", "postgresql+psycopg://")})
    if name == "sql on sqlite":
        return System("sql", {"url": f"sqlite:///{folder}/data.db"})
    return System(name, {"path": str(folder / "data.db")})
