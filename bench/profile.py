#!/usr/bin/env python3
"""Measures what profiling costs: a filter and map with and without it, and `profile FILE` beside DuckDB's `summarize`.

Counts CPU seconds of the whole process, which a busy machine changes less than time on the clock; the least of the runs counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data import prepare

HUB = Path(sys.executable).with_name("beam-datahub")
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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    folder = prepare(arguments.rows, {"orders.csv", "orders.parquet"})
    with tempfile.TemporaryDirectory() as work:
        for form in ("csv", "parquet"):
            path = folder / f"orders.{form}"
            commands = {"summarize": [sys.executable, "-c", f"import duckdb; duckdb.sql(\"summarize from '{path}'\").fetchall()"]}
            commands["profile FILE"] = [str(HUB), "profile", str(path), "--json"]
            for name, profile in (("plain", "false"), ("profiled", "true")):
                spec = Path(work) / f"{form}-{name}.yaml"
                spec.write_text(SPEC.format(form=form, path=path, out=f"{work}/out-{name}/", profile=profile))
                commands[name] = [str(HUB), "run", str(spec), "-q", "--no-record"]
            least: dict[str, tuple[float, float]] = {}
            for _ in range(arguments.repeat):
                for name, command in commands.items():
                    found = _measured(command)
                    least[name] = min(found, least.get(name, found))
            for name, (cpu, wall) in least.items():
                print(f"{form:8} {name:14} {cpu:7.2f} CPU s  {wall:7.2f} s")
            print(f"{form:8} profiling adds {least['profiled'][0] / least['plain'][0] - 1:+.0%} CPU")
            print(f"{form:8} profile FILE ÷ summarize {least['profile FILE'][0] / least['summarize'][0]:.2f}")


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
