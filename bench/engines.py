"""What an engine costs: filter + map and a group-by over CSV, as ratios to the direct engine, beyond the start of each; and
beside what else runs on these engines: Spark SQL, and a Beam pipeline of one dict a row.

    python bench/engines.py [--rows 10000000] [--engines direct flink spark]

Each contestant runs each case twice: over one hundred rows, which is its start, and over all of them. What the second takes
longer is the work. CPU counts the whole family of processes: the launcher with its workers, and the job server. On a machine
that is busy only the CPU tells something. Every result must have as many rows as the direct engine's. The pipeline of dicts gets
at most 500,000 rows, and is compared by rows a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from contestants import FEW_ROWS, Peer
from data import prepare
from pyarrow.dataset import dataset
from report import circumstances, line

BENCH = Path(__file__).resolve().parent
SPECS = BENCH / "specs"
RESULTS = BENCH / "RESULTS-engines.md"
CASES = {"filter + map": "filter_map", "group-by": "group_by"}
FEW = 100
# How many times the direct engine's work an engine's may be.
WANTED = {"flink": 1.5, "spark": 2.0}
SPARK_SQL = Peer("spark_sql", "Spark SQL by PySpark", "with_spark.py", ("pyspark==3.5.9", "sqlglot==30.30.0"), "import pyspark")


@dataclass(frozen=True)
class Taken:
    """What a run took in seconds, how many rows it read, and how many it wrote."""

    wall: float
    cpu: float
    read: int
    rows: int

    def beyond(self, start: Taken) -> Taken:
        """The same beyond a start."""
        return replace(self, wall=self.wall - start.wall, cpu=self.cpu - start.cpu)


def main() -> None:
    """Run every case on every engine, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engines", nargs="+", default=["direct", "flink", "spark"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    SPARK_SQL.install()
    rows, bounds = [], []
    for title, case in CASES.items():
        contest = _contest(case, given.rows, given.engines)
        direct = contest["direct"][1]
        for name, (start, work) in contest.items():
            if name == "direct":
                right = work.rows
            elif work.read == direct.read and work.rows != right:
                sys.exit(f"{name} wrote {work.rows} rows of {case}, and {right} are right")
            ratios = [_slower(work.cpu, work, direct.cpu, direct), _slower(work.wall, work, direct.wall, direct)]
            seconds = (start.cpu, work.cpu, ratios[0], work.wall, ratios[1])
            rows.append(f"| {title} | {name} | {work.read:,} | " + " | ".join(f"{each:.2f}" for each in seconds) + " |")
            if name in WANTED:
                text = f"at most {WANTED[name]:.1f}× of the direct engine's CPU"
                bounds.append(line(f"{title} on {name}", text, f"{ratios[0]:.2f}×", ratios[0] <= WANTED[name]))
    about = f"apache-beam {version('apache-beam')}, {', '.join(f'{k} {v}' for k, v in SPARK_SQL.versions().items())}"
    head = ["| case | contestant | rows | start, CPU s | work, CPU s | beside direct | work, s on the clock | beside direct |"]
    page = [
        "# What engines cost",
        "Written by `bench/engines.py`, which says how it measures: CSV to Parquet, Flink embedded, Spark with a local master.",
        "\n".join(circumstances(about)),
        "\n".join([*head, "|---|---|--:|--:|--:|--:|--:|--:|", *rows]),
        "\n".join(["| case | wanted | measured | |", "|---|---|--:|---|", *bounds]),
    ]
    given.results.write_text("\n\n".join(page) + "\n")
    print("\n\n".join(page))


def _slower(mine: float, work: Taken, other: float, direct: Taken) -> float:
    return (mine / work.read) / (other / direct.read)


def _contest(case: str, rows: int, engines: list[str]) -> dict[str, tuple[Taken, Taken]]:
    """The start and the work of each contestant."""
    orders = {count: prepare(count, {"orders.csv"}) / "orders.csv" for count in (FEW, min(rows, FEW_ROWS), rows)}
    found = {}
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as work:
        for engine in engines:
            found[engine] = _both(lambda count, engine=engine: _ours(case, orders[count], count, engine, Path(work)), rows)
        found["Spark SQL"] = _both(lambda count: _spark_sql(case, orders[count], count, Path(work)), rows)
        for engine in engines[1:] if case == "filter_map" else ():
            few = min(rows, FEW_ROWS)
            found[f"dicts on {engine}"] = _both(
                lambda count, engine=engine: _dicts(orders[count], count, engine, Path(work)), few
            )
    return found


def _both(run: object, rows: int) -> tuple[Taken, Taken]:
    assert callable(run)
    start = run(FEW)
    return start, run(rows).beyond(start)


def _ours(case: str, orders: Path, count: int, engine: str, work: Path) -> Taken:
    settings = {"input": orders, "output": work / "out"}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    program = [sys.executable, "-c", "from beam_datahub.cli import main; main()", "run", str(SPECS / f"{case}.yaml")]
    return _measured([*program, *sets, "--engine", engine, "--no-record", "--json"], work, count)


def _spark_sql(case: str, orders: Path, count: int, work: Path) -> Taken:
    submit = str(SPARK_SQL.environment / "bin" / "spark-submit")
    script = str(BENCH / "peers" / SPARK_SQL.script)
    options = ["--master", f"local[{os.cpu_count()}]", "--driver-memory", "4g"]
    environment = {"PYSPARK_PYTHON": SPARK_SQL.python, "SPARK_LOCAL_IP": "127.0.0.1"}
    return _measured([submit, *options, script, case, str(orders), str(work / "out")], work, count, environment)


def _dicts(orders: Path, count: int, engine: str, work: Path) -> Taken:
    script = str(BENCH / "peers" / "with_beam_rows_on.py")
    return _measured([sys.executable, script, engine, str(orders), str(work / "out")], work, count)


def _measured(command: list[str], work: Path, read: int, environment: dict[str, str] | None = None) -> Taken:
    """Run a process and wait for it and all that it has started."""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / "out").mkdir()
    started = time.perf_counter()
    with (work / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=work, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            sys.exit(f"{command}: {said.read()[-2000:]}")
    print(f"{' '.join(Path(each).name for each in command[1:])}: {wall:.1f} s", file=sys.stderr)
    # The job server's part is in it: the launcher waits for its end.
    return Taken(wall, usage.ru_utime + usage.ru_stime, read, dataset(work / "out", format="parquet").count_rows())


if __name__ == "__main__":
    main()
