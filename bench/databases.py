#!/usr/bin/env python3
"""Measures PostgreSQL → files and files → PostgreSQL beside psql's COPY and ADBC alone, and merging beside hand-written SQL.

Each contestant runs in a process of its own, in turn, several times; the least of the seconds of processor time counts (its own
and the server's), and of those on the clock. psql and beam-datahub read and write the same CSV files; the one looks at nothing,
the other types and checks each value. What beam-datahub takes for ten rows is told apart and taken off for the targets.
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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg
from report import circumstances, line

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
SERVER = ROOT / "tests" / "services" / "postgresql.sh"
RESULTS = ROOT / "bench" / "RESULTS-databases.md"

# At least so much of COPY's speed, by processor time.
READING, LOADING, MERGING = 0.8, 0.7, 1.5
COLUMNS = "id bigint, customer bigint, amount numeric(12,2), status text, note text, weight float8, placed_at timestamp"
ROWS = """select n as id, n % 100000 as customer, (n * 7919 % 100000)::numeric / 100 as amount,
    (array['paid', 'open', 'cancelled'])[n % 3 + 1] as status, 'note ' || n * 7919 % 1000003 as note,
    (n % 1000) / 7.0::float8 as weight, timestamp '2024-01-01' + n * interval '1 second' as placed_at
    from generate_series({first}::bigint, {last}) n"""

_ADBC = """
import sys
import adbc_driver_postgresql.dbapi as adbc, pyarrow.parquet as pq
url, out = sys.argv[1:3]
with adbc.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute("select * from orders")
    reader = cursor.fetch_record_batch()
    plain = [f.with_type(f.type.storage_type) if hasattr(f.type, "storage_type") else f for f in reader.schema]
    import pyarrow as pa
    schema = pa.schema(plain)
    with pq.ParquetWriter(out, schema) as writer:
        for batch in reader:
            arrays = [c.storage if hasattr(c, "storage") else c for c in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
"""
_ADBC_IN = """
import sys
import adbc_driver_postgresql.dbapi as adbc, pyarrow.csv as csv
url, given, table = sys.argv[1:4]
with adbc.connect(url) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest(table, csv.open_csv(given), mode="append")
    connection.commit()
"""


@dataclass(frozen=True)
class Spent:
    """The least of several times of one contestant: processor seconds of all processes, and seconds on the clock."""

    cpu: float
    wall: float


def main() -> None:
    """Print what was measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows to read and to load")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-bench-"))
    try:
        url = subprocess.run(
            ["bash", SERVER, "start", folder / "server"], check=True, capture_output=True, text=True
        ).stdout.strip()
        text = measured(url, folder, given.rows, given.rounds)
        subprocess.run(["bash", SERVER, "stop", folder / "server"], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if given.keep:
        RESULTS.write_text(text, "utf-8")


def measured(url: str, folder: Path, rows: int, rounds: int) -> str:
    """The report."""
    changed = rows // 10
    with psycopg.connect(url, autocommit=True) as server:
        run(server, f"create table orders ({COLUMNS}, primary key (id))", f"insert into orders {ROWS.format(first=1, last=rows)}")
        run(server, "vacuum analyze orders")
    psql(url, f"\\copy orders to '{folder}/orders.csv' csv header")
    psql(url, f"\\copy ({ROWS.format(first=rows - changed // 2, last=rows + changed // 2)}) to '{folder}/changed.csv' csv header")
    config = {"url": url}
    csv = {"connector": "csv", "connection": {"path": f"{folder}/orders.csv"}}
    types = {"id": "bigint", "customer": "bigint", "amount": "decimal(12,2)", "status": "varchar", "note": "varchar"}
    csv["schema"] = {**types, "weight": "double", "placed_at": "timestamp"}  # type: ignore[assignment]
    table = {"connector": "postgresql", "connection": config}
    parquet = {"connector": "parquet", "connection": {"path": f"{folder}/out.parquet"}, "write_mode": "overwrite"}
    written = {"connector": "csv", "connection": {"path": f"{folder}/out.csv"}, "write_mode": "overwrite"}
    out = _spec(folder, "out", {**table, "table": "orders"}, parquet)
    out_csv = _spec(folder, "out-csv", {**table, "table": "orders"}, written)
    load = _spec(folder, "load", csv, {**table, "table": "loaded", "write_mode": "append"})
    merge = _spec(
        folder,
        "merge",
        {**csv, "connection": {"path": f"{folder}/changed.csv"}},
        {**table, "table": "merged", "write_mode": "merge", "key": ["id"]},
    )
    empty = [f"drop table if exists loaded; create table loaded ({COLUMNS})"]
    full = [
        f"drop table if exists merged; create table merged ({COLUMNS}, primary key (id)); insert into merged select * from orders"
    ]
    by_hand = (
        f"create unlogged table staged ({COLUMNS});\n\\copy staged from '{folder}/changed.csv' csv header\n"
        "insert into merged select * from staged on conflict (id) do update set customer = excluded.customer, "
        "amount = excluded.amount, status = excluded.status, note = excluded.note, weight = excluded.weight, "
        "placed_at = excluded.placed_at; drop table staged"
    )
    contestants: dict[str, tuple[list[str], Callable[[], None]]] = {
        "read: psql COPY to CSV": ([*_psql(url), f"\\copy orders to '{folder}/psql.csv' csv header"], _nothing),
        "read: ADBC to Parquet": ([sys.executable, "-c", _ADBC, url, f"{folder}/adbc.parquet"], _nothing),
        "read: beam-datahub to Parquet": ([str(HUB), "run", str(out), "-q"], _nothing),
        "read: beam-datahub to CSV": ([str(HUB), "run", str(out_csv), "-q"], _nothing),
        "load: psql COPY from CSV": ([*_psql(url), f"\\copy loaded from '{folder}/orders.csv' csv header"], _made(url, empty)),
        "load: ADBC from CSV": ([sys.executable, "-c", _ADBC_IN, url, f"{folder}/orders.csv", "adbc_loaded"], _nothing),
        "load: beam-datahub from CSV": ([str(HUB), "run", str(load), "-q"], _made(url, empty)),
        "load: beam-datahub from CSV to a new table": (
            [str(HUB), "run", str(load), "-q"],
            _made(url, [empty[0].partition(";")[0]]),
        ),
        "merge: staging and INSERT … ON CONFLICT by hand": ([*_psql(url, by_hand, folder)], _made(url, full)),
        "merge: beam-datahub": ([str(HUB), "run", str(merge), "-q"], _made(url, full)),
    }
    contestants["load: ADBC from CSV"] = (
        contestants["load: ADBC from CSV"][0],
        _made(
            url, ["drop table if exists adbc_loaded", f"create table adbc_loaded ({COLUMNS.replace('numeric(12,2)', 'float8')})"]
        ),
    )
    spent = {name: _least(name, command, before, rounds, folder) for name, (command, before) in contestants.items()}
    with psycopg.connect(url) as server:
        same = server.execute("select count(*) from (select * from orders except all select * from loaded) d").fetchone()
        merged = server.execute("select count(*) from merged").fetchone()
    assert same == (0,), same
    assert merged == (rows + changed // 2,), merged
    start = _least("start: beam-datahub on ten rows", [str(HUB), "run", str(_tiny(folder)), "-q"], _nothing, rounds, folder)
    return _report(spent, start, rows, changed)


def _report(spent: dict[str, Spent], start: Spent, rows: int, changed: int) -> str:
    lines = ["# Databases", "", *circumstances(f"psycopg {version('psycopg')}, ADBC {version('adbc-driver-postgresql')}"), ""]
    busy = os.getloadavg()[2]
    lines[-1:] = [f"- processes that wanted a core, on average: {busy:.0f}", ""]
    lines += [f"{rows:,} rows of 7 columns; {changed:,} of them merged, half of which are new. The least of several runs.", ""]
    lines += ["| what | processor s | s on the clock | rows/s on the clock |", "|---|---|---|---|"]
    for name, each in spent.items():
        count = changed if name.startswith("merge") else rows
        lines.append(f"| {name} | {each.cpu:.2f} | {each.wall:.2f} | {count / each.wall:,.0f} |")
    lines += [f"| start: beam-datahub on ten rows | {start.cpu:.2f} | {start.wall:.2f} | |", ""]
    lines += ["By processor time, and on the clock in brackets:", "", "| what | wanted | measured | |", "|---|---|---|---|"]
    for words, ours, theirs, target in (
        ("read, beside COPY to a file", "read: beam-datahub to Parquet", "read: psql COPY to CSV", READING),
        ("load, beside COPY", "load: beam-datahub from CSV", "load: psql COPY from CSV", LOADING),
        ("load into a new table, beside COPY", "load: beam-datahub from CSV to a new table", "load: psql COPY from CSV", LOADING),
    ):
        cpu = spent[theirs].cpu / (spent[ours].cpu - start.cpu)
        wall = spent[theirs].wall / (spent[ours].wall - start.wall)
        lines.append(line(words, f"at least {target:g}× of its speed", f"{cpu:.2f}× ({wall:.2f}×)", cpu >= target))
    ours, theirs = spent["merge: beam-datahub"], spent["merge: staging and INSERT … ON CONFLICT by hand"]
    ratio, clock = (ours.cpu - start.cpu) / theirs.cpu, (ours.wall - start.wall) / theirs.wall
    lines.append(
        line("merge, beside it by hand", f"at most {MERGING:g}× of its time", f"{ratio:.2f}× ({clock:.2f}×)", ratio <= MERGING)
    )
    return "\n".join(lines) + "\n"


def _nothing() -> None:
    pass


def _made(url: str, statements: list[str]) -> Callable[[], None]:
    def make() -> None:
        with psycopg.connect(url, autocommit=True) as server:
            run(server, *statements)
            run(server, "checkpoint")

    return make


def run(server: psycopg.Connection, *statements: str) -> None:
    """Run statements."""
    for each in statements:
        server.execute(each.encode())


def _psql(url: str, script: str | None = None, folder: Path | None = None) -> list[str]:
    if script is None or folder is None:
        return ["psql", url, "-qXc"]
    (folder / "script.sql").write_text(script, "utf-8")
    return ["psql", url, "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(folder / "script.sql")]


def psql(url: str, command: str) -> None:
    """Run one command of psql's."""
    subprocess.run([*_psql(url), command.replace("\n", " ")], check=True)


def _spec(folder: Path, name: str, source: object, destination: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"name": name, "source": source, "destination": destination}), "utf-8")
    return path


def _tiny(folder: Path) -> Path:
    rows = {"connector": "inline", "rows": [{"id": n} for n in range(10)]}
    return _spec(
        folder, "tiny", rows, {"connector": "jsonl", "connection": {"path": f"{folder}/tiny.jsonl"}, "write_mode": "overwrite"}
    )


def _least(name: str, command: list[str], before: Callable[[], None], rounds: int, folder: Path) -> Spent:
    found = []
    postmaster = int((folder / "server" / "data" / "postmaster.pid").read_text().split()[0])
    for _ in range(rounds):
        before()
        server, children, began = _of_server(postmaster), os.times(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "BEAM_DATAHUB_NO_RECORD": "1"})
        wall, after = time.perf_counter() - began, os.times()
        own = after.children_user + after.children_system - children.children_user - children.children_system
        # A backend's time is its parent's once it has ended.
        time.sleep(0.2)
        found.append(Spent(own + _of_server(postmaster) - server, wall))
        print(f"{name}: {found[-1].cpu:.2f} s of processor time, {wall:.2f} s", file=sys.stderr)
    return Spent(min(each.cpu for each in found), min(each.wall for each in found))


def _of_server(postmaster: int) -> float:
    """Processor seconds of all processes of PostgreSQL's, those that have ended among them."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if postmaster in (int(stat.parent.name), int(facts[1])):
            ticks += sum(map(int, facts[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
