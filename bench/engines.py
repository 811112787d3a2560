"""What an engine costs: filter + map and a group-by over CSV, as ratios to the direct engine, beyond the start of each.

    python bench/engines.py [--rows 10000000] [--engines direct flink spark]

Each engine runs each case twice: over one hundred rows, which is its start, and over all of them. What the second takes longer is
the work. CPU counts the whole family of processes: the launcher with its workers, and the job server. The wall clock is shown
beside it; on a machine that is busy only the CPU tells something. Every result must have the rows that the direct engine's has.
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
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from data import prepare

SPECS = Path(__file__).resolve().parent / "specs"
CASES = {"filter + map": "filter_map", "group-by": "group_by"}
FEW = 100


@dataclass(frozen=True)
class Taken:
    """What a run took in seconds, and how many rows it wrote."""

    wall: float
    cpu: float
    rows: int

    def beyond(self, start: Taken) -> tuple[float, float]:
        """Seconds of wall clock and CPU beyond a start; less than nothing where the machine was busier then."""
        return self.wall - start.wall, self.cpu - start.cpu


def main() -> None:
    """Run every case on every engine and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engines", nargs="+", default=["direct", "flink", "spark"])
    given = parser.parse_args()
    many, few = (prepare(rows, {"orders.csv"}) / "orders.csv" for rows in (given.rows, FEW))
    print(f"{given.rows:,} rows, {os.cpu_count()} cores; seconds beyond the start, and as ratio to direct\n")
    print("| case | engine | start wall | work wall | ratio | start CPU | work CPU | ratio |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as work:
        for case, spec in CASES.items():
            direct: tuple[float, float] | None = None
            rows = 0
            for engine in given.engines:
                start = taken(spec, few, engine, Path(work))
                whole = taken(spec, many, engine, Path(work))
                wall, cpu = whole.beyond(start)
                if direct is None:
                    direct, rows = (wall, cpu), whole.rows
                if whole.rows != rows:
                    sys.exit(f"{engine} wrote {whole.rows} rows of {case}, and {rows} are right")
                cells = [f"{start.wall:.1f}", *ratio(wall, direct[0]), f"{start.cpu:.1f}", *ratio(cpu, direct[1])]
                print("| " + " | ".join([case, engine, *cells]) + " |", flush=True)


def ratio(seconds: float, direct: float) -> tuple[str, str]:
    """Seconds and how many times the direct engine's they are, where the measure tells anything."""
    return (f"{seconds:.1f}", f"{seconds / direct:.2f}") if seconds > 0 and direct > 0 else ("·", "·")


def taken(spec: str, orders: Path, engine: str, work: Path) -> Taken:
    """Run a spec in a process of its own."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    settings = {"input": orders, "output": out}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-c", "from beam_datahub.cli import main; main()", "run", str(SPECS / f"{spec}.yaml")]
    command += [*sets, "--engine", engine, "--no-record", "--json"]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{engine}: {output}")
    # The job server's part is in it: the launcher waits for its end.
    return Taken(wall, usage.ru_utime + usage.ru_stime, sum(line["rows"] for line in json.loads(output)["written"].values()))


if __name__ == "__main__":
    main()
