#!/usr/bin/env python3
"""Measures the store, in a file and in PostgreSQL: listing many runs, many processes at once, and what recording adds to a run.

Without PostgreSQL's programs on this machine, only the file is measured. Times on the clock are the least of several.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from report import circumstances, line

from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import NewRun, RunEnd, RunStep
from beam_datahub.store.store import open_store

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
RESULTS = ROOT / "bench" / "RESULTS-store.md"

LISTING_MS = 100.0
RECORDING_SECONDS = 0.1
WRITERS, RUNS_EACH = 20, 10

_WRITES = """
import sys
from beam_datahub.component.file_owner import owner
from beam_datahub.store.location import locate
from beam_datahub.store.records import NewRun, NewViolation, RunEnd, RunStep
from beam_datahub.store.store import open_store
place, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_store(locate(place)) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        run = f"{name}-{number}"
        store.writer.runs.begin(NewRun(run, "daily", owner=owner()))
        store.writer.violations.add(run, [NewViolation("late", "freshness", "orders", "low", "report", run)])
        store.writer.runs.end(run, RunEnd("completed", read=number, steps=(RunStep("orders", read=number),)))
"""

_SPEC = """\
name: small
source: {name: orders, connector: csv, connection: {path: orders.csv}, schema: {id: bigint, amount: double}}
transformations: [{id: paid, type: filtering, config: {where: amount > 10}}]
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite}
"""


def main() -> None:
    """Print what was measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs to list")
    parser.add_argument("--steps", type=int, default=50, help="steps of each")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = ["| what | wanted | measured | |", "|---|---|--:|---|"]
    with tempfile.TemporaryDirectory() as work, places(Path(work)) as stores:
        for name, place in stores.items():
            lines += _listing(name, locate(place), arguments.runs, arguments.steps, arguments.repeat)
            lines += _at_once(name, place)
            lines += _recording(name, place, Path(work), arguments.repeat)
    packages = ", ".join(f"{name} {version(name)}" for name in ("beam-datahub", "psycopg", "sqlalchemy"))
    facts = [
        *circumstances(packages),
        f"- {arguments.repeat} runs of each, interleaved; the least time of each counts",
    ]
    text = "\n".join(["# The store", "", "Written by `bench/store.py`.", "", *facts, "", *lines]) + "\n"
    print(text, end="")
    arguments.results.write_text(text, encoding="utf-8")


@contextmanager
def places(work: Path) -> Iterator[dict[str, str]]:
    """The stores to measure by name, as `--store` takes them."""
    stores = {"SQLite": str(work / "store.db")}
    # The server's user must reach its folder.
    folder = tempfile.mkdtemp(prefix="beam-datahub-postgresql-")
    script = str(ROOT / "tests" / "services" / "postgresql.sh")
    started = subprocess.run(["bash", script, "start", folder], capture_output=True, text=True, check=False)
    if started.returncode == 0:
        stores["PostgreSQL"] = started.stdout.strip()
    else:
        print(f"PostgreSQL is left out: {started.stderr.strip()}", file=sys.stderr)
    try:
        yield stores
    finally:
        if started.returncode == 0:
            subprocess.run(["bash", script, "stop", folder], check=False)
        subprocess.run(["rm", "-rf", folder], check=False)


def _listing(name: str, location: Location, runs: int, steps: int, repeat: int) -> list[str]:
    books = tuple(
        RunStep(f"step-{number}", role="transformation", type="mapping", taken=1000, out=1000) for number in range(steps)
    )
    with open_store(location) as store:
        for start in range(0, runs, 100):
            with store.writer.together():
                for number in range(start, min(start + 100, runs)):
                    store.writer.runs.begin(NewRun(f"run-{number:05}", f"daily-{number % 20}", parameters={"day": "2025-01-31"}))
                    store.writer.runs.end(f"run-{number:05}", RunEnd("completed", read=1000, written=1000, steps=books))
    firsts: list[float] = []
    nexts: list[float] = []
    for _ in range(repeat):
        with open_store(location) as store:
            for found in (firsts, nexts):
                # The first time opens the store as well.
                started = time.perf_counter()
                assert len(store.reader.runs.find()) == runs
                found.append(time.perf_counter() - started)
    what = f"{name}: {runs:,} runs of {steps} steps listed"
    bound = f"< {LISTING_MS:g} ms"
    return [
        line(each, bound, f"{min(found) * 1000:.0f} ms", min(found) * 1000 < LISTING_MS)
        for each, found in ((f"{what}, the store opened for it", firsts), (f"{what}, once more", nexts))
    ]


def _at_once(name: str, place: str) -> list[str]:
    command = [sys.executable, "-c", _WRITES, place]
    writers = [
        subprocess.Popen([*command, f"writer{number}", str(RUNS_EACH)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    started = time.perf_counter()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    took = time.perf_counter() - started
    wanted = {(f"writer{writer}-{number}", "completed", 1) for writer in range(WRITERS) for number in range(RUNS_EACH)}
    with open_store(locate(place)) as store:
        found = {(run.run_id, run.status, run.violations) for run in store.reader.runs.find(integration="daily")}
        broken = len(store.reader.violations.find(integration="daily"))
    lost = len(wanted - found) + abs(len(wanted) - broken)
    what = f"{name}: {WRITERS} processes record {RUNS_EACH} runs each at once, in {took:.1f} s"
    return [line(what, "none lost", f"{lost} lost", lost == 0 and all(each.returncode == 0 for each in writers))]


def _recording(name: str, place: str, work: Path, repeat: int) -> list[str]:
    (work / "orders.csv").write_text("id,amount\n" + "".join(f"{number},{number % 40}\n" for number in range(1000)))
    (work / "small.yaml").write_text(_SPEC)
    command = [str(HUB), "run", "small.yaml", "-q"]
    ways = {"recorded": [*command, "--store", place], "unrecorded": [*command, "--no-record"]}
    walls: dict[str, list[float]] = {way: [] for way in ways}
    cores: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeat + 1):
        for way, each in ways.items():
            before = os.times()
            started = time.perf_counter()
            subprocess.run(each, cwd=work, check=True)
            walls[way].append(time.perf_counter() - started)
            after = os.times()
            cores[way].append(after.children_user + after.children_system - before.children_user - before.children_system)
    wall, cpu = (min(each["recorded"]) - min(each["unrecorded"]) for each in (walls, cores))
    what = f"{name}: what recording adds to a run of {min(walls['unrecorded']):.2f} s"
    return [line(what, f"≤ {RECORDING_SECONDS:g} s", f"{wall:+.2f} s ({cpu:+.2f} s on all cores)", wall <= RECORDING_SECONDS)]


if __name__ == "__main__":
    main()
