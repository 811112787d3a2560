#!/usr/bin/env python3
"""Measures databases → files, files → databases and merging beside what each system itself has for it, and beside other tools.

Each contestant runs in a process of its own, in turn, in several rounds; the least of the seconds of processor time counts (its
own and the server's), and of those on the clock. Every answer is checked. The systems' own commands and beam-datahub read and
write the same CSV files; the one looks at nothing, the other types and checks each value. What a contestant takes for ten rows,
or to start, is told apart and taken off for the targets. Other tools get fewer rows, because they take long.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
from database_peers import PEERS, DatabasePeer, install, silenced
from database_servers import NAMES, ROOT, Mariadb, Postgresql, Server
from report import circumstances, line

HUB = Path(sys.executable).with_name("beam-datahub")
RESULTS = ROOT / "bench" / "RESULTS-databases.md"
LIBRARIES = ROOT / "bench" / "peers" / "with_databases.py"

# At least so much of the system's own speed, and at most so much of the time of merging by hand, by processor time.
READING, LOADING, MERGING = 0.8, 0.7, 1.5
# At least so many times as fast as dlt.
PEERING = 5.0
OURS = "beam-datahub"
CSV_TYPES = {
    "id": "bigint", "customer": "bigint", "amount": "decimal(12,2)", "status": "varchar", "note": "varchar", "weight": "double",
    "placed_at": "timestamp",
}  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """What one contestant took: processor seconds of all processes, seconds on the clock, and bytes of its greatest process."""

    cpu: float
    wall: float
    peak: int


@dataclass
class Bench:
    """One system under measure."""

    server: Server
    files: Path
    rows: int
    few: int
    rounds: int
    spent: dict[str, Spent] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many rows are merged; half of them are new."""
        return self.rows // 10

    def measure(
        self,
        name: str,
        command: list[str],
        check: Callable[[], None],
        before: Callable[[], None] = lambda: None,
        env: dict[str, str] | None = None,
    ) -> None:
        """Run a contestant, and keep the least that it took so far."""
        before()
        server, began = self.server.cpu(), time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env={**(env or os.environ), "BEAM_DATAHUB_NO_RECORD": "1"}, cwd=self.files
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall, process.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        # A backend's time is its parent's once it has ended.
        time.sleep(0.3)
        cpu, peak = usage.ru_utime + usage.ru_stime + self.server.cpu() - server, usage.ru_maxrss * 1024
        print(f"{self.server.title}, {name}: {cpu:.2f} s of processor time, {wall:.2f} s", file=sys.stderr)
        check()
        least = self.spent.get(name, Spent(cpu, wall, peak))
        self.spent[name] = Spent(min(cpu, least.cpu), min(wall, least.wall), max(peak, least.peak))

    # checks

    def in_file(self, name: str, rows: int) -> Callable[[], None]:
        """The check that a file has just the first rows."""

        def check() -> None:
            assert _sums_of(self.files / name) == _sums_of(self.files / "orders.csv", rows), name

        return check

    def in_table(self, table: str, rows: int, given: str = "orders.csv") -> Callable[[], None]:
        """The check that a table has just the rows of a file, whatever the types of its columns."""

        def check() -> None:
            selected = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in _PLAIN[self.server.title].items())
            found = self.server.sums(f"(select {selected} from {table}) t")
            assert _plain(found) == _sums_of(self.files / given, rows), table

        return check

    def merged(self) -> None:
        """The check that merging added what is new and changed the others."""
        server = Postgresql.__new__(Postgresql) if isinstance(self.server, Postgresql) else self.server
        if isinstance(self.server, Postgresql):
            server.url = self.server.merged
        both = f"select * from read_csv('{self.files}/orders.csv', header=true) where id <= {self.rows - self.changed // 2}"
        _duckdb(f"copy ({both} union all from '{self.files}/changed.csv') to '{self.files}/after.csv' (header)")
        assert _plain(server.sums("merged")) == _sums_of(self.files / "after.csv")

    # ours

    def spec(self, name: str, source: object, destination: object) -> list[str]:
        """The command that runs one integration of ours."""
        path = self.files / f"{name}.yaml"
        path.write_text(json.dumps({"name": name, "source": source, "destination": destination}), "utf-8")
        return [str(HUB), "run", str(path), "-q"]

    def ours(self) -> dict[str, list[str]]:
        """Our commands."""

        def table(name: str, url: str = self.server.url) -> dict[str, Any]:
            connector = "postgresql" if isinstance(self.server, Postgresql) else "mysql"
            return {"connector": connector, "connection": {"url": url}, "table": name}

        def csv(name: str) -> dict[str, Any]:
            return {"connector": "csv", "connection": {"path": str(self.files / name)}, "schema": CSV_TYPES}

        def file(kind: str) -> dict[str, Any]:
            return {"connector": kind, "connection": {"path": f"{self.files}/ours.{kind}"}, "write_mode": "overwrite"}

        url = self.server.merged if isinstance(self.server, Postgresql) else self.server.url
        merge = {**table("merged", url), "write_mode": "merge", "key": ["id"]}
        append = {"write_mode": "append"}
        (self.files / "ten.csv").write_text("".join(_first_lines(self.files / "orders.csv", 11)))
        return {
            "parquet": self.spec("to-parquet", table("orders"), file("parquet")),
            "csv": self.spec("to-csv", table("orders"), file("csv")),
            "load": self.spec("load", csv("orders.csv"), {**table("loaded"), **append}),
            "merge": self.spec("merge", csv("changed.csv"), merge),
            "merge ten": self.spec("merge-ten", csv("ten.csv"), merge),
            "read ten": self.spec("read-ten", table("ten"), file("parquet")),
            "load ten": self.spec("load-ten", csv("ten.csv"), {**table("tiny"), **append}),
        }

    def run(self) -> None:
        """Measure everything, in rounds: what a machine has for others changes, and in a round all meet the same."""
        self.server.prepare(self.rows, self.changed, self.files)
        ours = self.ours()
        for _ in range(self.rounds):
            self.round(ours)
        if isinstance(self.server, Postgresql):
            self.peers(self.server)

    def round(self, ours: dict[str, list[str]]) -> None:
        """Measure each of our commands once, and what the system has itself."""
        server, files = self.server, self.files
        loaded = self.in_table("loaded", self.rows)
        own = "psql COPY" if isinstance(server, Postgresql) else "mariadb"
        self.own_read, self.own_load = f"read: {own} to text", f"load: {own if own != 'mariadb' else 'LOAD DATA'} from CSV"
        text = files / "own.csv"
        kept = (lambda: None) if isinstance(server, Mariadb) else self.in_file("own.csv", self.rows)
        self.measure(self.own_read, server.reading(text), kept)
        self.measure(f"read: {OURS} to Parquet", ours["parquet"], self.in_file("ours.parquet", self.rows))
        self.measure(f"read: {OURS} to CSV", ours["csv"], self.in_file("ours.csv", self.rows))
        self.measure(f"read: {OURS}, ten rows", ours["read ten"], lambda: None)
        self.measure(self.own_load, server.loading(files / "orders.csv"), loaded, server.empty)
        self.measure(f"load: {OURS} from CSV", ours["load"], loaded, server.empty)
        self.measure(f"load: {OURS} from CSV to a new table", ours["load"], loaded, server.away)
        self.measure(f"load: {OURS}, ten rows", ours["load ten"], lambda: None)
        self.measure("merge: by hand", server.merging_by_hand(files / "changed.csv"), self.merged, server.merging)
        self.measure(f"merge: {OURS}", ours["merge"], self.merged, server.merging)
        self.measure(f"merge: {OURS}, ten rows", ours["merge ten"], lambda: None, server.merging)

    def peers(self, server: Postgresql) -> None:
        """Measure the other tools."""
        adbc = [sys.executable, str(LIBRARIES), "adbc"]
        columns = server.columns.replace("numeric(12,2)", "float8")
        make = ("drop table if exists adbc", f"create table adbc ({columns})")
        orders, few = self.files / "orders.csv", self.files / "few.csv"
        read = [*adbc, "read", server.url, "orders", f"{self.files}/adbc.parquet"]
        self.measure("read: ADBC to Parquet", read, self.in_file("adbc.parquet", self.rows))
        load = [*adbc, "load", server.url, str(orders), "adbc"]
        self.measure("load: ADBC from CSV", load, self.in_table("adbc", self.rows), lambda: server.run(*make))
        few.write_text("".join(_first_lines(orders, self.few + 1)))
        server.run("drop table if exists few", f"create table few as select * from orders where id <= {self.few}")
        env = silenced(self.files)
        for peer in PEERS:
            if (why := install(peer)) is not None:
                self.missing.append(why)
                continue
            try:
                self.peer(server, peer, few, env)
            except (subprocess.CalledProcessError, AssertionError) as error:
                self.missing.append(f"{peer.name} failed: {type(error).__name__} {str(error)[:200]}")

    def peer(self, server: Postgresql, peer: DatabasePeer, few: Path, env: dict[str, str]) -> None:
        """Measure one of them, once."""

        def before() -> None:
            # dlt takes the tables that it has noted for those that are there.
            server.run("drop table if exists peer, _dlt_loads, _dlt_pipeline_state, _dlt_version")
            if peer.environment.name == "sqlalchemy":
                server.run(f"create table peer ({server.columns})")

        self.measure(f"start: {peer.name}", peer.starting(), lambda: None, env=env)
        load = peer.load(peer.environment, server.url, few, "peer")
        self.measure(f"load: {peer.name}", load, self.in_table("peer", self.few), before, env)
        if peer.read is None:
            return
        out = f"{peer.environment.name}.{peer.kind}"
        command = peer.read(peer.environment, server.url, "few", self.files / out)
        self.measure(f"read: {peer.name} to {peer.kind}", command, self.in_file(out, self.few), env=env)


_PLAIN = {
    "PostgreSQL": {
        "id": "bigint", "customer": "bigint", "amount": "numeric(12,2)", "status": "text", "note": "text", "weight": "float8",
        "placed_at": "timestamp",
    },
    "MariaDB": {
        "id": "signed", "customer": "signed", "amount": "decimal(12,2)", "status": "char", "note": "char", "weight": "double",
        "placed_at": "datetime",
    },
}  # fmt: skip


def _first_lines(path: Path, count: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return [text for text, _ in zip(lines, range(count), strict=False)]


def _sums_of(file: Path, rows: int | None = None) -> tuple[Any, ...]:
    """What tells the rows of a file, or of the first of them."""
    given = f"read_csv('{file}', header=true)" if file.suffix == ".csv" else f"read_parquet('{file}')"
    limit = "" if rows is None else f" where id <= {rows}"
    found = _duckdb(
        "select count(*), sum(id::bigint), sum(amount::decimal(12,2)), sum(weight::double), sum(length(note)), "
        f"sum(length(status)), min(placed_at::timestamp), max(placed_at::timestamp) from {given}{limit}"
    )
    return _plain(found)


def _duckdb(query: str) -> Any:
    """The only row of a query."""
    # Who is measured counts as large as this process is when it begins: what takes memory is done in another one.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        return other.submit(_asked, query).result()


def _asked(query: str) -> Any:
    with duckdb.connect() as db:
        return db.execute(query).fetchone()


def _plain(sums: tuple[Any, ...]) -> tuple[Any, ...]:
    count, ids, amount, weight, notes, states, first, last = sums
    return (count, int(ids), f"{amount:.2f}", round(float(weight)), int(notes), int(states), str(first)[:19], str(last)[:19])


def main() -> None:
    """Print what was measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of PostgreSQL to read and to load")
    parser.add_argument("--mariadb-rows", type=int, default=1_500_000, help="rows of MariaDB; none: 0")
    parser.add_argument("--rounds", type=int, default=2, help="how often each contestant runs")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    began = time.perf_counter()
    benches = []
    for kind, rows in ((Postgresql, given.rows), (Mariadb, given.mariadb_rows)):
        if rows:
            benches.append(_measured(kind, rows, given.rounds))
    text = report(benches, time.perf_counter() - began)
    print(text)
    if given.keep:
        RESULTS.write_text(text, "utf-8")


def _measured(kind: type[Server], rows: int, rounds: int) -> Bench:
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-bench-"))
    server = kind(folder / "server")
    try:
        files = folder / "files"
        files.mkdir()
        bench = Bench(server, files, rows, rows // 10, rounds)
        bench.run()
        return bench
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def report(benches: list[Bench], seconds: float) -> str:
    """The page of results."""
    tools = f"psycopg {version('psycopg')}, ADBC {version('adbc-driver-postgresql')}"
    lines = ["# Databases", "", *circumstances(tools)]
    lines += [f"- processes that wanted a core, on average: {os.getloadavg()[2]:.0f}; all took {seconds / 60:.0f} minutes", ""]
    for bench in benches:
        lines += _section(bench)
    return "\n".join(lines) + "\n"


def _section(bench: Bench) -> list[str]:
    lines = [f"## {bench.server.title}", ""]
    lines += [
        f"{bench.rows:,} rows of {len(NAMES)} columns; {bench.changed:,} of them merged, half of which are new.",
        f"Other tools have {bench.few:,} rows. The least of {bench.rounds} runs; of other tools, one. Each answer was checked.",
        "",
        "| what | processor s | s on the clock | rows/s of a core | memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for name, each in bench.spent.items():
        count = _rows_of(bench, name)
        rate = f"{count / (each.cpu - _start(bench, name).cpu):,.0f}" if count else ""
        lines.append(f"| {name} | {each.cpu:.2f} | {each.wall:.2f} | {rate} | {each.peak / 2**20:,.0f} |")
    lines += ["", "By processor time, and on the clock in brackets:", "", "| what | wanted | measured | |", "|---|---|---|---|"]
    for words, ours, theirs, target in (
        ("read, beside the system's own", f"read: {OURS} to Parquet", bench.own_read, READING),
        ("load, beside the system's own", f"load: {OURS} from CSV", bench.own_load, LOADING),
        ("load into a new table, beside the same", f"load: {OURS} from CSV to a new table", bench.own_load, LOADING),
    ):
        cpu, wall = _speed(bench, ours, theirs)
        lines.append(line(words, f"at least {target:g}× of its speed", f"{cpu:.2f}× ({wall:.2f}×)", cpu >= target))
    cpu, wall = _speed(bench, f"merge: {OURS}", "merge: by hand")
    told = f"{1 / cpu:.2f}× ({1 / wall:.2f}×)"
    lines.append(line("merge, beside it by hand", f"at most {MERGING:g}× of its time", told, 1 / cpu <= MERGING))
    for name in bench.spent:
        kind, _, peer = name.partition(": ")
        if f"start: {peer.partition(' to ')[0]}" in bench.spent and kind in ("read", "load"):
            ours = f"read: {OURS} to Parquet" if kind == "read" else f"load: {OURS} from CSV"
            cpu, wall = _speed(bench, ours, name)
            wanted, verdict = ("", True) if not peer.startswith("dlt") else (f"at least {PEERING:g}× its speed", cpu >= PEERING)
            told = f"{cpu:.1f}× ({wall:.1f}×)"
            words = f"{kind}, beside {peer}"
            lines.append(line(words, wanted, told, verdict) if wanted else f"| {words} | | {told} | |")
    if bench.missing:
        lines += ["", "Not measured: " + "; ".join(bench.missing) + "."]
    return [*lines, ""]


def _rows_of(bench: Bench, name: str) -> int:
    if "ten rows" in name or name.startswith("start"):
        return 0
    if name.startswith("merge"):
        return bench.changed
    own = OURS in name or "ADBC" in name or name in (bench.own_read, bench.own_load)
    return bench.rows if own else bench.few


def _start(bench: Bench, name: str) -> Spent:
    """What a contestant takes without rows to speak of; nothing of a system's own client."""
    kind, _, what = name.partition(": ")
    if what.startswith(OURS):
        return bench.spent[f"{kind}: {OURS}, ten rows"] if "ten rows" not in what else _NOTHING
    return bench.spent.get(f"start: {what.partition(' to ')[0]}", _NOTHING)


_NOTHING = Spent(0, 0, 0)


def _speed(bench: Bench, ours: str, theirs: str) -> tuple[float, float]:
    """Our rows a second beside theirs, by processor time and on the clock."""
    found = []
    for figure in ("cpu", "wall"):
        taken = [
            (getattr(bench.spent[name], figure) - getattr(_start(bench, name), figure)) / _rows_of(bench, name)
            for name in (ours, theirs)
        ]
        found.append(taken[1] / taken[0])
    return found[0], found[1]


if __name__ == "__main__":
    main()
