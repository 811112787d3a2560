#!/usr/bin/env python3
"""Measures change data capture: PostgreSQL's and MariaDB's logs → Parquet, beside other readers of logs.

Each contestant runs in a process of its own; its seconds of processor time count, without the server's, told apart. What
beam-datahub takes for two changes is taken off. Changes: half inserts, a quarter updates, a quarter deletes by large
statements (`bulk`), or one a transaction (`single`).
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
from report import circumstances, line

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
SERVICES = ROOT / "tests" / "services"
RESULTS = ROOT / "bench" / "RESULTS-cdc.md"
# Changes a second and core, by processor time.
WANTED = 50_000

_TABLE = "create table t (id int primary key, name varchar(50), amount decimal(12,2), placed timestamp null, note text)"
# One by one, as other readers of the binary log give rows.
_ROWS = """
import sys
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent
port, file, position = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
stream = BinLogStreamReader({"host": "127.0.0.1", "port": port, "user": "root"}, server_id=77, log_file=file, log_pos=position,
    resume_stream=True, only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent], enable_logging=False)
print(sum(len(event.rows) for event in stream))
"""


@dataclass
class Spent:
    """Seconds of a process and of the server it read from."""

    cpu: float
    server: float
    wall: float


def main() -> None:
    """Measure and print; --keep writes the results down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=1_000_000, help="changes by large statements")
    parser.add_argument("--single", type=int, default=50_000, help="changes that are transactions of their own")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    names = f"mysql-replication {version('mysql-replication')}, adbc-driver-postgresql {version('adbc-driver-postgresql')}"
    lines = ["# Change data capture", "", *circumstances(names), ""]
    lines += [
        "| what | changes | processor s | the server's | s on the clock | changes/s of processor time |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    wanted = ["", "| what | wanted | measured | |", "|---|---|---|---|"]
    for measure in (postgresql, mariadb):
        folder = Path(tempfile.mkdtemp(prefix="beam-datahub-bench-"))
        service = "postgresql" if measure is postgresql else "mariadb"
        try:
            url = subprocess.check_output(["bash", SERVICES / f"{service}.sh", "start", folder / "server"], text=True).strip()
            try:
                for count, name, spent, rate in measure(url, folder, given.changes, given.single):
                    shown = f"{rate:,.0f}" if rate else ""
                    lines.append(f"| {name} | {count:,} | {spent.cpu:.2f} | {spent.server:.2f} | {spent.wall:.2f} | {shown} |")
                    if "beam-datahub to Parquet" in name:
                        wanted.append(line(name, f"at least {WANTED:,} changes/s a core", f"{rate:,.0f}", rate >= WANTED))
            finally:
                subprocess.run(["bash", SERVICES / f"{service}.sh", "stop", folder / "server"], check=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join([*lines, *wanted]) + "\n"
    print(text)
    if given.keep:
        RESULTS.write_text(text, "utf-8")


Row = tuple[int, str, Spent, float]


def postgresql(url: str, folder: Path, changes: int, single: int) -> Sequence[Row]:
    """The contestants on PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(_TABLE)
        spec = _spec(folder, {"connector": "postgresql_cdc", "connection": {"url": url}, "table": "t", "slot": "bench"})
        server_cpu = _cpu_of(server.info.backend_pid)

        def write(first: int, count: int, *, bulk: bool) -> None:
            if bulk:
                values = "'customer ' || n, n * 0.25, now(), repeat('x', 20)"
                server.execute(f"insert into t select n, {values} from generate_series({first + 1}, {first + count // 2}) n")
                server.execute(f"update t set amount = amount + 1 where id > {first} and id <= {first + count // 4}".encode())
                server.execute(f"delete from t where id > {first + count // 4}".encode())
                return
            for number in range(count):
                server.execute(b"insert into t values (%d, 'customer', 1.25, now(), 'note')" % (first + number))

        def receive() -> list[str]:
            parts = urlsplit(url)
            where = ["-h", "127.0.0.1", "-p", str(parts.port), "-U", "postgres", "-d", "postgres", "-S", "bench"]
            end = server.execute("select pg_current_wal_lsn()::text").fetchone()
            assert end is not None
            options = ["-o", "proto_version=1", "-o", "publication_names=bench", "-f", "/dev/null", "-E", end[0]]
            return [_program("pg_recvlogical"), *where, "--start", *options]

        return _measured("PostgreSQL", spec, folder, write, receive, "pg_recvlogical to nowhere", changes, single, server_cpu)


def mariadb(url: str, folder: Path, changes: int, single: int) -> Sequence[Row]:
    """The contestants on MariaDB."""
    parts = urlsplit(url)
    with pymysql.connect(host="127.0.0.1", port=parts.port or 3306, user="root", autocommit=True) as server:
        cursor = server.cursor()
        cursor.execute("create database shop character set utf8mb4")
        cursor.execute("use shop")
        cursor.execute(_TABLE)
        spec = _spec(folder, {"connector": "mysql_cdc", "connection": {"url": f"{url}/shop"}, "table": "t"})
        place: list[Any] = []

        def write(first: int, count: int, *, bulk: bool) -> None:
            cursor.execute("show master status")
            place[:] = (cursor.fetchone() or ())[:2]
            if bulk:
                values = "concat('customer ', seq), seq * 0.25, now(), repeat('x', 20)"
                cursor.execute(f"insert into t select seq, {values} from seq_{first + 1}_to_{first + count // 2}")
                cursor.execute(f"update t set amount = amount + 1 where id > {first} and id <= {first + count // 4}")
                cursor.execute(f"delete from t where id > {first + count // 4}")
                return
            for number in range(count):
                cursor.execute(f"insert into t values ({first + number}, 'customer', 1.25, now(), 'note')")

        def receive() -> list[str]:
            return [sys.executable, "-c", _ROWS, str(parts.port), *map(str, place)]

        pid = int((folder / "server" / "pid").read_text())
        return _measured(
            "MariaDB", spec, folder, write, receive, "mysql-replication, row by row", changes, single, _cpu_of(pid, tree=False)
        )


def _measured(
    system: str,
    spec: Path,
    folder: Path,
    write: Callable[..., None],
    receive: Callable[[], list[str]],
    peer: str,
    changes: int,
    single: int,
    server_cpu: Callable[[], float],
) -> list[Row]:
    hub = [str(HUB), "run", str(spec), "-q"]
    _spent(f"{system}: the first run", hub, folder, server_cpu)
    write(20_000_000, 2, bulk=False)
    began = _spent(f"{system}: beam-datahub, two changes", hub, folder, server_cpu)
    found: list[Row] = [(2, f"{system}: beam-datahub, two changes", began, 0.0)]
    for count, kind in ((changes, "bulk"), (single, "single")):
        write(0 if kind == "bulk" else 10_000_000, count, bulk=kind == "bulk")
        # Up to here, however much is written by itself while ours reads.
        command = receive()
        other = _spent(f"{system}: {peer}, {kind}", command, folder, server_cpu) if kind == "bulk" and "row" in peer else None
        ours = _spent(f"{system}: beam-datahub, {kind}", hub, folder, server_cpu)
        found.append((count, f"{system}: beam-datahub to Parquet, {kind}", ours, count / max(ours.cpu - began.cpu, 0.01)))
        if other is None and kind == "bulk" and shutil.which(_program(peer.split()[0])):
            # It stands before what was recorded only now: the slot moves on at the beginning of a run.
            other = _spent(f"{system}: {peer}, {kind}", command, folder, server_cpu)
        if other is not None:
            found.append((count, f"{system}: {peer}, {kind}", other, count / other.cpu))
    return found


def _program(name: str) -> str:
    found = shutil.which(name)
    others = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(others[-1]) if others else name)


def _spec(folder: Path, source: dict[str, Any]) -> Path:
    out = {"connector": "parquet", "connection": {"path": f"{folder}/out"}, "write_mode": "append"}
    path = folder / "cdc.yaml"
    path.write_text(json.dumps({"name": "cdc", "source": {**source, "changes": "rows"}, "destination": out}), "utf-8")
    return path


def _cpu_of(pid: int, *, tree: bool = True) -> Callable[[], float]:
    """What tells the seconds of processor time of a server: of a process, or of its parent with all that it has had."""

    def parent(number: int) -> int:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])

    top = parent(pid) if tree else pid
    tick = os.sysconf("SC_CLK_TCK")

    def seconds() -> float:
        total = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(entry.parent.name) == top:
                total += sum(map(int, fields[11 : 15 if tree else 13]))
            elif tree and int(fields[1]) == top:
                total += sum(map(int, fields[11:13]))
        return total / tick

    return seconds


def _spent(name: str, command: list[str], folder: Path, server_cpu: Callable[[], float]) -> Spent:
    environment = {**os.environ, "BEAM_DATAHUB_STORE": str(folder / "store.db")}
    before, server, began = os.times(), server_cpu(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=folder)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{name}: {cpu:.2f} s of processor time, {wall:.2f} s", file=sys.stderr)
    return Spent(cpu, server_cpu() - server, wall)


if __name__ == "__main__":
    main()
