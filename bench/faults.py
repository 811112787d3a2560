#!/usr/bin/env python3
"""Kills runs into databases at random moments, and looks at what the next run leaves.

For each destination and write mode: a run is killed with -9 somewhere between its start and its end; the table must be as
before, or as after the whole run (or, where a system publishes piece by piece, between the two). Then the same input is run
again to its end: the table must have just the rows that a plain loop over all inputs says, nothing may be left of staging, no
entry of the ledger may be open, and the run's books must balance. A third of the moments lie anywhere, a third in the second
half of a run, and a third while it publishes. The run that follows a killed one may be killed as well, and the one after it.

Runs are processes of their own, forked from one that has everything imported. Bundles that fail are tried without processes:
staged, given up or staged again at random, and committed twice. Counts add up in bench/data/faults.json over several calls,
which may go on at the same time.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from sqlite3 import sqlite_version
from typing import Any

from fault_places import ALL_MODES, MODES, PIECEWISE, SERVICES, Place, apart, new_place
from report import circumstances

ROOT = Path(__file__).resolve().parents[1]
SINKS = tuple(MODES)
COUNTS = ROOT / "bench" / "data" / "faults.json"
RESULTS = ROOT / "bench" / "RESULTS-faults.md"
ROWS, KEYS, ROUNDS = 400, 600, 50
PATIENCE_SECONDS = 300
_COUNTED = ("killed", "publishing", "before", "between", "after", "wrong", "bundles", "bundles wrong")
_FIRST = datetime(2025, 1, 1)

Row = tuple[int, int, str, str]


def changes(mode: str, number: int, chance: random.Random) -> list[Row]:
    """The input of a round: id, round, value, and when the change took place."""
    once = mode in ("merge", "scd2")
    ids = chance.sample(range(KEYS), ROWS) if once else [chance.randrange(KEYS) for _ in range(ROWS)]
    # One change in four comes late.
    days = [number * 10 - (chance.randrange(30) if chance.random() < 0.25 else 0) for _ in ids]
    return [
        (key, number, f"value {chance.random()}", str(_FIRST + timedelta(days=day))) for key, day in zip(ids, days, strict=True)
    ]


@dataclass
class Model:
    """What a table has to hold, by a plain loop."""

    mode: str
    rows: list[Row] = field(default_factory=list)

    def after(self, given: list[Row]) -> Model:
        """The same once these rows were written."""
        if self.mode == "append":
            return Model(self.mode, [*self.rows, *given])
        if self.mode == "overwrite":
            return Model(self.mode, list(given))
        if self.mode == "scd2":
            points = {(row[0], row[3]): row for row in [*self.rows, *given]}
            return Model(self.mode, list(points.values()))
        ids = {row[0] for row in given}
        return Model(self.mode, [*(row for row in self.rows if row[0] not in ids), *given])

    def table(self) -> list[list[str]]:
        """The rows as they are read."""
        if self.mode != "scd2":
            return sorted([[str(cell) for cell in row] for row in self.rows])
        found = []
        ordered = sorted(self.rows, key=lambda row: (row[0], row[3]))
        for row, then in zip(ordered, [*ordered[1:], (-1, 0, "", "")], strict=True):
            same = then[0] == row[0]
            found.append([str(row[0]), str(row[1]), row[2], row[3], then[3] if same else "None", "0" if same else "1"])
        return sorted(found)


def begun(spec: Path) -> int:
    """Start a run; gives its process."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    os.chdir(spec.parent)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(spec.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    status = 70
    try:
        from beam_datahub.cli import main

        _mark_publishing()
        main(["run", spec.name, "--json", "--no-record"], prog_name="beam-datahub")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _mark_publishing() -> None:
    """Let the file `publishing` tell when the run begins to publish, and `published` how long that took."""
    from beam_datahub.component.database_sink import DatabaseSink
    from beam_datahub.io.mongodb.sink import MongodbSink
    from beam_datahub.io.redis import applying
    from beam_datahub.io.redis.sink import RedisSink

    # As many pieces as a run of many more rows has.
    applying._CHUNK = 50

    def marking(commit: Any) -> Any:
        def marked(*arguments: Any) -> Any:
            began = time.monotonic()
            Path("publishing").touch()
            found = commit(*arguments)
            Path("published").write_text(str(time.monotonic() - began))
            return found

        return marked

    for kind in (DatabaseSink, MongodbSink, RedisSink):
        kind.commit = marking(kind.commit)  # type: ignore[method-assign]


def ended(child: int, seconds: float, enough: Callable[[], bool] = lambda: False) -> int | None:
    """The exit status of a process that ends in time, negative for a signal; None where it goes on, or it is `enough`."""
    end = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end or enough():
            return None
        time.sleep(0.001)


class Series:
    """The rounds of one destination and mode."""

    def __init__(self, place: Place, mode: str, folder: Path, chance: random.Random) -> None:
        self.place, self.mode, self.folder, self.chance = place, mode, folder, chance
        self.model, self.number, self.usual, self.publishing = Model(mode), 0, 0.0, 0.0
        self.counts = dict.fromkeys(("killed", "publishing", "before", "between", "after", "too late", "wrong"), 0)
        self.piecewise = (place.sink, mode) in PIECEWISE
        # How many killed runs the next one may have to bring to their end.
        self.unfinished = 0

    def prepare(self) -> list[Row]:
        """The next input, written with its spec."""
        self.number += 1
        given = changes(self.mode, self.number, self.chance)
        with (self.folder / "in.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("id", "round", "value", "moment"), *given])
        options: dict[str, Any] = {"write_mode": self.mode}
        if self.mode not in ("append", "overwrite"):
            options["key"] = ["id"]
        if self.mode == "scd2":
            options["effective_at"] = "moment"
        schema = {"id": "bigint", "round": "bigint", "value": "varchar(60)", "moment": "timestamp"}
        spec = {
            "name": "faults",
            "source": {"connector": "csv", "connection": {"path": "in.csv"}, "schema": schema},
            "destination": {
                "id": "t",
                "connector": self.place.sink,
                "connection": self.place.connection,
                **self.place.options,
                **options,
            },
        }
        (self.folder / "spec.yaml").write_text(json.dumps(spec))
        return given

    def whole(self, given: list[Row]) -> None:
        """Run to the end, and look at everything. Raises RuntimeError."""
        at = time.monotonic()
        (self.folder / "publishing").unlink(missing_ok=True)
        status = ended(begun(self.folder / "spec.yaml"), PATIENCE_SECONDS)
        seconds = time.monotonic() - at
        self.usual = seconds if not self.usual else 0.7 * self.usual + 0.3 * seconds
        if status != 0:
            raise RuntimeError(f"a run ended with {status}: {(self.folder / 'err').read_text()[-2000:]}")
        self.publishing = float((self.folder / "published").read_text())
        record = json.loads((self.folder / "out").read_text())
        if record["status"] != "completed":
            raise RuntimeError(f"a run was {record['status']}")
        found = apart(lambda: self.place.state(self.mode))
        rows = normal(found["rows"])
        self.model = self.model.after(given)
        for _ in range(self.unfinished):
            if rows != self.model.table():
                self.model = self.model.after(given)
        self.unfinished = 0
        if rows != self.model.table():
            raise RuntimeError(f"the rows differ: {difference(rows, self.model.table())}")
        if found["staging"] or found["open"]:
            raise RuntimeError(f"left over: {found['staging']}, {found['open']} open entries")

    def killed(self) -> None:
        """Kill a run, and up to two of those that are to follow it, and run the same again to the end."""
        given = self.prepare()
        for _ in range(self.chance.randrange(1, 4)):
            if self.there(given, self.broken_off()):
                break
        self.whole(given)

    def broken_off(self) -> int | None:
        """Begin a run and kill it, unless it ends before; gives how it ended."""
        kind, mark = self.chance.randrange(3), self.folder / "publishing"
        mark.unlink(missing_ok=True)
        child = begun(self.folder / "spec.yaml")
        if kind == 2:
            status = ended(child, PATIENCE_SECONDS, mark.exists)
            if status is None:
                status = ended(child, self.chance.uniform(0, 1.2) * self.publishing)
        else:
            status = ended(child, self.chance.uniform(0.5 * kind, 1.0) * self.usual)
        self.counts["publishing"] += status is None and mark.exists()
        if status is None:
            os.kill(child, signal.SIGKILL)
            status = ended(child, PATIENCE_SECONDS)
        self.counts["killed"] += status == -signal.SIGKILL
        self.unfinished += self.piecewise and mark.exists()
        return status

    def there(self, given: list[Row], status: int | None) -> bool:
        """Whether a run that was broken off is there; raises RuntimeError where it is neither as a whole nor not at all."""
        found = normal(apart(lambda: self.place.state(self.mode))["rows"])
        before, after = self.model.table(), self.model.after(given).table()
        if found == after and before != after:
            self.model = self.model.after(given)
            self.unfinished = max(0, self.unfinished - 1)
            self.counts["after" if status == -signal.SIGKILL else "too late"] += 1
            return True
        if found == before and status == -signal.SIGKILL:
            self.counts["before"] += 1
            return False
        if self.unfinished and status == -signal.SIGKILL and all(row in before or row in after for row in found):
            self.counts["between"] += 1
            return False
        raise RuntimeError(f"half of a run is there ({status}): {difference(found, self.model.table())}")

    def go(self, kills: int) -> dict[str, int]:
        """So many kills; a round that goes wrong is told, counted, and the series begins anew."""
        self.whole(self.prepare())
        while self.counts["killed"] < kills:
            self.killed()
        return self.counts


def normal(rows: list[list[str]]) -> list[list[str]]:
    """Rows with moments spelt alike."""
    return sorted([[cell.removesuffix(".000000") for cell in row] for row in rows])


def difference(found: list[list[str]], wanted: list[list[str]]) -> str:
    """The first rows that are in one and not in the other."""
    here, there = set(map(tuple, found)), set(map(tuple, wanted))
    more, less = sorted(here - there)[:3], sorted(there - here)[:3]
    return f"{len(found)} rows in place of {len(wanted)}; more {more}, missing {less}"


def bundles(place: Place, mode: str, rounds: int, seed: int) -> int:
    """Stage bundles that fail at random and come again, and commit twice; gives how many failed. Raises RuntimeError."""
    import pyarrow as pa

    from beam_datahub.component.capabilities import WriteMode
    from beam_datahub.component.database_pool import close_pools
    from beam_datahub.component.registry import component
    from beam_datahub.component.sink import WriteRequest

    chance, model, failed = random.Random(seed), Model(mode), 0
    kind: Any = component("sink", place.sink)
    options = kind.Options(**place.options, **({"effective_at": "moment"} if mode == "scd2" else {}))
    schema = pa.schema([("id", pa.int64()), ("round", pa.int64()), ("value", pa.string()), ("moment", pa.timestamp("us"))])
    for number in range(1, rounds + 1):
        given = changes(mode, number, chance)
        sink = kind(kind.Connection(**place.connection), options)
        key = ("id",) if mode not in ("append", "overwrite") else ()
        request = WriteRequest(f"run-{number}", "t", schema, WriteMode(mode), key)
        sink.plan_write(request)
        sink.prepare(request)
        receipts = []
        for first in range(0, ROWS, 150):
            columns = list(zip(*given[first : first + 150], strict=True))
            moments = pa.array(columns[3], pa.string()).cast(pa.timestamp("us"))
            batch = pa.record_batch([*(pa.array(each) for each in columns[:3]), moments], schema=schema)
            while True:
                writer = sink.open(request)
                writer.write(batch)
                fate = chance.random()
                if fate < 0.2:
                    writer.discard()
                elif fate < 0.4:
                    # It is lost once it was done: its receipt never counts.
                    writer.close()
                elif fate >= 0.5:
                    receipts += writer.close()
                    break
                failed += 1
        for _ in range(2):
            sink.commit(request, receipts)
        model = model.after(given)
        close_pools()
        found = place.state(mode)
        if normal(found["rows"]) != model.table() or found["staging"] or found["open"]:
            raise RuntimeError(f"round {number}: {difference(normal(found['rows']), model.table())}, {found['staging']}")
    return failed


def imported() -> None:
    """Have everything imported that a run needs, and no thread begun."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Modules beside this one have names of the standard library's.
    sys.path.remove(str(Path(__file__).resolve().parent))
    import adbc_driver_postgresql
    import apache_beam
    import duckdb
    import psycopg
    import pymongo
    import pymysql
    import redis
    import sqlglot

    import beam_datahub.cli.run
    import beam_datahub.compiler.lower
    import beam_datahub.runtime.launch
    import beam_datahub.testing.oracle  # noqa: F401
    from beam_datahub.component.registry import component

    for name in ("csv", "inline", "jsonl"):
        component("source", name)
    for name in SINKS:
        component("sink", name)
    del adbc_driver_postgresql, apache_beam, duckdb, psycopg, pymongo, pymysql, redis, sqlglot
    names = [Path(f"/proc/self/task/{each}/comm").read_text().strip() for each in os.listdir("/proc/self/task")]
    # The allocator's thread knows of forks.
    if len([name for name in names if not name.startswith("jemalloc")]) > 1:
        raise RuntimeError(f"something began a thread, and forked runs could hang: {names}")


def report(counts: dict[str, dict[str, int]]) -> str:
    """The page of results."""
    lines = ["# Runs into databases, killed", "", *circumstances(f"DuckDB {version('duckdb')}, SQLite {sqlite_version}"), ""]
    lines += [
        f"Each killed run wrote {ROWS} rows. *Before*: the table was as if the run had not been; *after*: as after all of it.",
        "After the next run, the table had the rows that a plain loop says, no staging was left, no entry of the ledger open,",
        "and the books balanced; a round in which any of this did not hold is *wrong*. *Between*: MongoDB and Redis publish",
        "piece by piece, and the next run brought the killed one to its end. *Bundles*: failed at random, or came twice.",
        "",
        "| destination | mode | killed | while it published | before | between | after | wrong | bundles | wrong |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for sink, modes in MODES.items():
        for mode in modes:
            found = counts.get(f"{sink} {mode}")
            if found:
                cells = [found.get(name, 0) for name in _COUNTED]
                lines.append(f"| {sink} | {mode} | " + " | ".join(map(str, cells)) + " |")
    total = {name: sum(found.get(name, 0) for found in counts.values()) for name in _COUNTED}
    wrong = total["wrong"] + total["bundles wrong"]
    killed = f"{total['killed']} runs killed ({total['publishing']} while they published)"
    lines += ["", f"In all: {killed}, {total['bundles']} bundles failed, {wrong} wrong.", ""]
    return "\n".join(lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--kills", type=int, default=50, help="how many for each destination and mode, those counted already among them"
    )
    parser.add_argument("--sinks", default=",".join(SINKS))
    parser.add_argument("--modes", default=",".join(ALL_MODES))
    parser.add_argument("--anew", action="store_true", help="forget what was counted")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    # The servers are stopped also where this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.anew:
        COUNTS.unlink(missing_ok=True)
    imported()
    sinks = arguments.sinks.split(",")
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        os.chmod(scratch, 0o755)
        servers = {}
        try:
            for sink in sinks:
                if sink in SERVICES:
                    (Path(scratch) / sink).mkdir()
                    script = ROOT / "tests" / "services" / SERVICES[sink]
                    told = subprocess.run(
                        ["bash", script, "start", Path(scratch) / sink], check=True, capture_output=True, text=True
                    )
                    servers[sink] = told.stdout.split()[-1]
            for mode in arguments.modes.split(","):
                for sink in (each for each in sinks if mode in MODES[each]):
                    one_series(sink, mode, arguments.kills, arguments.seed, Path(scratch), servers)
        finally:
            for sink in servers:
                subprocess.run(["bash", ROOT / "tests" / "services" / SERVICES[sink], "stop", Path(scratch) / sink], check=False)


def one_series(sink: str, mode: str, kills: int, seed: int, scratch: Path, servers: dict[str, str]) -> None:
    """What of the kills and bundles of one destination and mode is still to be done."""
    pair = f"{sink} {mode}"
    while (kept := counted({}).get(pair, {})).get("killed", 0) < kills:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        series = Series(new_place(sink, mode, folder, servers), mode, folder, random.Random(f"{seed} {pair} {kept}"))
        try:
            series.go(min(10, kills - kept.get("killed", 0)))
        except RuntimeError as error:
            series.counts["wrong"] += 1
            print(f"{pair}, round {series.number} (seed {seed}): {error}", flush=True)
        kept = counted({pair: series.counts})[pair]
        print(pair, kept, f"{series.usual:.2f} s a run", flush=True)
        if kept["wrong"] > 5:
            return
    if not kept.get("bundles"):
        folder = Path(tempfile.mkdtemp(dir=scratch))
        place = new_place(sink, mode, folder, servers)
        try:
            counted({pair: {"bundles": apart(lambda: bundles(place, mode, ROUNDS // 5, seed))}})
        except RuntimeError as error:
            counted({pair: {"bundles wrong": 1}})
            print(f"{pair}, bundles (seed {seed}): {error}", flush=True)


def counted(more: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """All counts, once these are added to them and to the page; several processes may count at the same time."""
    COUNTS.parent.mkdir(exist_ok=True)
    with COUNTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        counts: dict[str, dict[str, int]] = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
        for pair, found in more.items():
            kept = counts.setdefault(pair, {})
            for name, count in found.items():
                kept[name] = kept.get(name, 0) + count
        if more:
            COUNTS.write_text(json.dumps(counts, indent=1))
            RESULTS.write_text(report(counts))
    return counts


if __name__ == "__main__":
    main()
