#!/usr/bin/env python3
"""Measures what profiling costs: a filter and map with and without it, and `profile FILE` beside DuckDB and Polars.

Counts CPU seconds of the whole process, which a busy machine changes less than time on the clock; contestants take turns, and
the least of the runs of each counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from contestants import BENCH, PEERS
from data import prepare
from measure import warm
from report import circumstances, line

HUB = Path(sys.executable).with_name("beam-datahub")
RESULTS = BENCH / "RESULTS-profile.md"
ADDED, BESIDE_DUCKDB = 0.6, 3.0
POLARS = next(peer for peer in PEERS if peer.name == "polars")
SPEC = """\
name: profiled
source: {{name: orders, connector: {form}, connection: {{path: {path}}}, schema: {{id: bigint, customer_id: bigint,
  account_id: bigint, status: varchar, amount: double, quantity: integer, country: varchar, created_at: date,
  updated_at: timestamp, note: varchar}}}}
transformations:
  - {{id: paid, type: filtering, config: {{where: "status = 'paid' and amount > 10"}}}}
  - {{id: clean, type: mapping, config: {{keep: all, fields: {{total: "round(amount * quantity, 2)", country: upper(country)}}}}}}
destination: {{id: out, connector: parquet, connection: {{path: {out}}}, write_mode: overwrite}}
profile: {profile}
"""
PLAIN, PROFILED = "filter + map", "filter + map, source and destination profiled"
OURS, DUCKDB, DESCRIBE = "beam-datahub profile FILE", "DuckDB summarize", "Polars describe"
Times = dict[str, tuple[float, float]]


def main() -> None:
    """Print what was measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    POLARS.install()
    folder = prepare(arguments.rows, {"orders.csv", "orders.parquet"})
    times: dict[str, Times] = {}
    with tempfile.TemporaryDirectory(dir=BENCH / "data") as work:
        for form in ("csv", "parquet"):
            path = folder / f"orders.{form}"
            warm(path)
            times[form] = contest(commands(path, Path(work)), arguments.repeat)
    packages = {name: version(name) for name in ("beam-datahub", "duckdb", "pyarrow")} | POLARS.versions()
    facts = [
        *circumstances(", ".join(f"{name} {each}" for name, each in sorted(packages.items()))),
        f"- {arguments.rows:,} orders of 10 columns, {arguments.repeat} runs of each, in turns; the least CPU time counts",
    ]
    parts = ["# Profiles", "Written by `bench/profile.py`.", "\n".join(facts), *tables(times)]
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    arguments.results.write_text(text, encoding="utf-8")


def commands(path: Path, work: Path) -> dict[str, list[str]]:
    """What is run on a file."""
    form = path.suffix[1:]
    found = {
        OURS: [str(HUB), "profile", str(path), "--json"],
        DUCKDB: [sys.executable, "-c", f"import duckdb; duckdb.sql(\"summarize from '{path}'\").fetchall()"],
        DESCRIBE: [POLARS.python, "-c", f"import polars; polars.scan_{form}({str(path)!r}).describe()"],
    }
    for name, profile in ((PLAIN, "false"), (PROFILED, "true")):
        spec = work / f"{form}-{profile}.yaml"
        spec.write_text(SPEC.format(form=form, path=path, out=f"{work}/out-{profile}/", profile=profile))
        found[name] = [str(HUB), "run", str(spec), "-q", "--no-record"]
    return found


def contest(found: dict[str, list[str]], repeat: int) -> Times:
    """CPU seconds and seconds on the clock of each: those of the run with the least CPU seconds."""
    least: Times = {}
    for _ in range(repeat):
        for name, command in found.items():
            measured = _measured(command)
            least[name] = min(measured, least.get(name, measured))
            print(f"{name}: {measured[0]:.2f} CPU s, {measured[1]:.2f} s", file=sys.stderr, flush=True)
    return least


def tables(times: dict[str, Times]) -> list[str]:
    """What each took, and what is wanted beside what was measured."""
    taken = ["| file | | CPU | clock |", "|---|---|--:|--:|"]
    bounds = ["| file | wanted | measured | |", "|---|---|--:|---|"]
    for form, each in times.items():
        taken += [f"| {form} | {name} | {cpu:.2f} s | {wall:.2f} s |" for name, (cpu, wall) in each.items()]
        added = each[PROFILED][0] / each[PLAIN][0] - 1
        text = f"profiling all columns adds < {ADDED:.0%} CPU"
        bounds.append(line(form, text, f"{added:+.0%}", added < ADDED))
        beside = each[OURS][0] / each[DUCKDB][0]
        text = f"`profile FILE` within {BESIDE_DUCKDB:g}× of DuckDB's `summarize`"
        bounds.append(line(form, text, f"{beside:.2f}×", beside <= BESIDE_DUCKDB))
    return ["\n".join(taken), "## What is wanted, and what was measured", "\n".join(bounds)]


def _measured(command: list[str]) -> tuple[float, float]:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started


if __name__ == "__main__":
    main()
