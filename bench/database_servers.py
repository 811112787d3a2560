"""The servers of the benchmark of databases: how they are started, asked, and what processor time they take."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("id", "customer", "amount", "status", "note", "weight", "placed_at")
# What tells a right answer from a wrong one, as each system computes it.
_SUMS = "count(*), sum(id), sum(amount), sum(weight), sum({length}(note)), sum({length}(status)), min(placed_at), max(placed_at)"


class Server(ABC):
    """A server on loopback with the table `orders`."""

    title: str
    script: str
    columns: str
    rows: str
    """SELECT of the generated rows, from {first} to {last}."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["bash", str(ROOT / "tests" / "services" / self.script), "start", str(folder)]
        self.url = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def stop(self) -> None:
        """End it."""
        subprocess.run(["bash", str(ROOT / "tests" / "services" / self.script), "stop", str(self.folder)], check=True)

    @abstractmethod
    def run(self, *statements: str) -> None:
        """Run statements, each for itself."""

    @abstractmethod
    def ask(self, query: str) -> Any:
        """The only row of a query."""

    @abstractmethod
    def prepare(self, rows: int, changed: int, files: Path) -> None:
        """Fill `orders`, and write it, and the rows to merge, into files."""

    @abstractmethod
    def merging(self) -> None:
        """Make the table `merged` as it is before a merge."""

    @abstractmethod
    def cpu(self) -> float:
        """Processor seconds of all processes of the server's, those that have ended among them."""

    @abstractmethod
    def reading(self, out: Path) -> list[str]:
        """The command that writes `orders` into a file as the system itself does it."""

    @abstractmethod
    def loading(self, given: Path) -> list[str]:
        """The command that loads a file into `loaded` as the system itself does it."""

    @abstractmethod
    def merging_by_hand(self, given: Path) -> list[str]:
        """The command that merges a file by hand-written SQL."""

    def sums(self, table: str) -> tuple[Any, ...]:
        """What tells the rows of a table."""
        return tuple(self.ask(f"select {_SUMS.format(length='char_length')} from {table}"))

    def empty(self) -> None:
        """Make `loaded` an empty table."""
        self.run("drop table if exists loaded", f"create table loaded ({self.columns})")

    def away(self) -> None:
        """Take `loaded` away."""
        self.run("drop table if exists loaded")


def _of_process(pid: int | str) -> tuple[int, int]:
    """The parent of a process, and its ticks with those of its children that have ended."""
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(facts[1]), sum(map(int, facts[11:15]))


class Postgresql(Server):
    """PostgreSQL, with a second database for what is merged, a copy of a prepared one each time."""

    title, script = "PostgreSQL", "postgresql.sh"
    columns = "id bigint, customer bigint, amount numeric(12,2), status text, note text, weight float8, placed_at timestamp"
    rows = """select n as id, n % 100000 as customer, (n * 7919 % 100000)::numeric / 100 as amount,
        (array['paid', 'open', 'cancelled'])[n % 3 + 1] as status, 'note ' || n * 7919 % 1000003 as note,
        (n % 1000) / 7.0::float8 as weight, timestamp '2024-01-01' + n * interval '1 second' as placed_at
        from generate_series({first}::bigint, {last}) n"""

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as server:
            for each in statements:
                server.execute(each.encode())

    def ask(self, query: str) -> Any:
        with psycopg.connect(self.url) as server:
            return server.execute(query.encode()).fetchone()

    @property
    def merged(self) -> str:
        """The URL of the database in which `merged` lies."""
        return self.url.rpartition("/")[0] + "/merging"

    def prepare(self, rows: int, changed: int, files: Path) -> None:
        self.run(f"create table orders ({self.columns}, primary key (id))")
        self.run(f"insert into orders {self.rows.format(first=1, last=rows)}", "vacuum analyze orders")
        self.run("create table ten as select * from orders limit 10", f"create table tiny ({self.columns})")
        some = self.rows.format(first=rows - changed // 2 + 1, last=rows + changed // 2)
        self._psql(self.url, f"\\copy orders to '{files}/orders.csv' csv header")
        self._psql(self.url, f"\\copy ({some}) to '{files}/changed.csv' csv header")
        prepared = self.url.rpartition("/")[0] + "/prepared"
        self.run("create database prepared")
        self._psql(prepared, f"create table merged ({self.columns}, primary key (id))")
        self._psql(prepared, f"\\copy merged from '{files}/orders.csv' csv header")
        self._psql(prepared, "vacuum analyze merged")

    def merging(self) -> None:
        self.run("drop database if exists merging", "create database merging template prepared strategy file_copy")

    def cpu(self) -> float:
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        ticks = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parent, each = _of_process(process.name)
            except OSError:
                continue
            if postmaster in (int(process.name), parent):
                ticks += each
        return ticks / os.sysconf("SC_CLK_TCK")

    def reading(self, out: Path) -> list[str]:
        return ["psql", self.url, "-qXc", f"\\copy orders to '{out}' csv header"]

    def loading(self, given: Path) -> list[str]:
        return ["psql", self.url, "-qXc", f"\\copy loaded from '{given}' csv header"]

    def merging_by_hand(self, given: Path) -> list[str]:
        changes = ", ".join(f"{name} = excluded.{name}" for name in NAMES[1:])
        script = self.folder.parent / "merge.sql"
        script.write_text(
            f"create unlogged table staged ({self.columns});\n\\copy staged from '{given}' csv header\n"
            f"insert into merged select * from staged on conflict (id) do update set {changes}; drop table staged"
        )
        return ["psql", self.merged, "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script)]

    def _psql(self, url: str, command: str) -> None:
        subprocess.run(["psql", url, "-qXc", command.replace("\n", " ")], check=True)


class Mariadb(Server):
    """MariaDB with InnoDB's defaults."""

    title, script = "MariaDB", "mariadb.sh"
    columns = (
        "id bigint, customer bigint, amount decimal(12,2), status varchar(20), note varchar(100), weight double, "
        "placed_at datetime"
    )
    rows = """select seq as id, seq % 100000 as customer, cast(seq * 7919 % 100000 / 100 as decimal(12,2)) as amount,
        elt(seq % 3 + 1, 'paid', 'open', 'cancelled') as status, concat('note ', seq * 7919 % 1000003) as note,
        seq % 1000 / 7e0 as weight, timestamp '2024-01-01 00:00:00' + interval seq second as placed_at
        from seq_{first}_to_{last}"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("create database bench")
        self.url += "/bench"

    def _connected(self) -> Any:
        parts = urlsplit(self.url)
        port = parts.port or 3306
        return pymysql.connect(
            host="127.0.0.1", port=port, user="root", database=parts.path[1:] or None, autocommit=True, local_infile=True
        )

    def _client(self, sql: str) -> list[str]:
        port = urlsplit(self.url).port
        return ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-uroot", "--local-infile=1", "-e", sql, "bench"]

    def run(self, *statements: str) -> None:
        with self._connected() as connection, connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    def ask(self, query: str) -> Any:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()

    def prepare(self, rows: int, changed: int, files: Path) -> None:
        self.run(f"create table orders ({self.columns}, primary key (id))")
        self.run(f"insert into orders {self.rows.format(first=1, last=rows)}", "analyze table orders")
        self.run("create table ten as select * from orders limit 10", f"create table tiny ({self.columns})")
        with self._connected() as connection, connection.cursor(pymysql.cursors.SSCursor) as cursor:
            for name, query in (
                ("orders", "select * from orders"),
                ("changed", self.rows.format(first=rows - changed // 2 + 1, last=rows + changed // 2)),
            ):
                with (files / f"{name}.csv").open("w", encoding="utf-8") as out:
                    out.write(",".join(NAMES) + "\n")
                    cursor.execute(query)
                    while found := cursor.fetchmany(10_000):
                        out.writelines(",".join(map(str, row)) + "\n" for row in found)

    def merging(self) -> None:
        self.run("drop table if exists merged", f"create table merged ({self.columns}, primary key (id))")
        self.run("insert into merged select * from orders")

    def cpu(self) -> float:
        return _of_process((self.folder / "pid").read_text().strip())[1] / os.sysconf("SC_CLK_TCK")

    def reading(self, out: Path) -> list[str]:
        return ["bash", "-c", '"$@" > "$0"', str(out), *self._client("select * from orders"), "--quick", "--batch"]

    def _load(self, given: Path, table: str) -> str:
        return f"load data local infile '{given}' into table {table} fields terminated by ',' ignore 1 lines"

    def loading(self, given: Path) -> list[str]:
        return self._client(self._load(given, "loaded"))

    def merging_by_hand(self, given: Path) -> list[str]:
        changes = ", ".join(f"{name} = values({name})" for name in NAMES[1:])
        return self._client(
            f"create table staged ({self.columns}); {self._load(given, 'staged')}; "
            f"insert into merged select * from staged on duplicate key update {changes}; drop table staged"
        )
