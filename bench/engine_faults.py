"""Kills parts of batch runs on Flink at random moments, and counts what is lost or doubled: nothing may be.

    nice python bench/engine_faults.py [--rounds 20] [--parts worker taskmanager jobserver launcher] [--seed 1]

Each round begins a run, kills one part of it with SIGKILL at a random moment, lets it end, and runs again. Checked after each:

- a destination that is overwritten has just the rows of one run;
- a destination that is appended to has, for each run that ever began, all of its rows or none; all of those that ended well;
- the books of the run that ended well balance, and its rejected records are those of the data.

Workers are processes of their own, started by a pool. Worker, job server and launcher are killed on an embedded cluster,
the task manager on a standalone one, where another takes its place. Flink restarts none of these jobs by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from beam_datahub.runtime.engines import EngineOptions, Start
from beam_datahub.runtime.engines.flink import Flink
from beam_datahub.runtime.engines.server import JobServer

ROOT = Path(__file__).resolve().parent.parent
FLINK = ROOT / "tests" / "services" / "flink.sh"
COMMAND = [sys.executable, "-c", "from beam_datahub.cli import program; program()"]
PARTS = ("worker", "taskmanager", "jobserver", "launcher")
FILES, LINES, BAD = 8, 20_000, 3
PATIENCE_SECONDS, HANGS = 600, -999

SPEC = """\
name: faults
source: {name: in, connector: csv, connection: {path: "data/*.csv"}, schema: {id: bigint, country: varchar, amount: varchar}}
transformations:
  - id: priced
    type: mapping
    config: {keep: [id, country], fields: {amount: "cast(amount as decimal(8,2))"}}
  - {id: sums, type: aggregation, input: priced, config: {by: [country], measures: {orders: count(*), total: sum(amount)}}}
destinations:
  - {id: rows, input: priced, connector: csv, connection: {path: rows/}, write_mode: append}
  - {id: sums_out, input: sums, connector: csv, connection: {path: sums.csv}, write_mode: overwrite}
dead_letter: {connector: jsonl, connection: {path: dead/}}
"""


class Place:
    """A folder with data, a spec and what runs need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("data", "tmp", "shared", "cluster"):
            (folder / name).mkdir()
        self.sums: Counter[str] = Counter()
        for number in range(FILES):
            with (folder / "data" / f"{number}.csv").open("w") as file:
                file.write("id,country,amount\n")
                for line in range(LINES):
                    bad = line < BAD
                    country = ("de", "fr", "it", "es")[line % 4]
                    file.write(f"{number * LINES + line},{country},{'oops' if bad else f'{line % 97}.50'}\n")
                    if not bad:
                        self.sums[country] += 1
        self.good, self.bad = FILES * (LINES - BAD), FILES * BAD
        (folder / "spec.yaml").write_text(SPEC)
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHON": sys.executable}
        self.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.pool = self._pool()

    def _pool(self) -> subprocess.Popen[bytes]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.workers = probe.getsockname()[1]
        command = [*COMMAND, "workers", f"--port={self.workers}"]
        with (self.folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder / "tmp", env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def close(self) -> None:
        """End what was started."""
        subprocess.run(["bash", FLINK, "stop", self.folder / "cluster"], check=False)
        with suppress(ProcessLookupError):
            os.killpg(self.pool.pid, signal.SIGKILL)

    def cluster(self, action: str) -> str:
        """Start the standalone cluster, or another task manager of it."""
        done = subprocess.run(
            ["bash", FLINK, action, self.folder / "cluster"], capture_output=True, text=True, env=self.environment, check=True
        )
        return done.stdout.strip()

    def start(self, *options: str, engine: str = "flink") -> subprocess.Popen[str]:
        """Begin a run."""
        given = [
            "--parallelism=2",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self.workers}",
            f"--temp_location={self.folder / 'shared'}",
            *options,
        ]
        command = [*COMMAND, "run", "spec.yaml", "--json", "--engine", engine]
        if engine == "flink":
            command += [part for each in given for part in ("--engine-option", each)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def victim(self, part: str, run: subprocess.Popen[str]) -> int | None:
        """The process to kill."""
        if part == "launcher":
            return run.pid
        if part == "taskmanager":
            return int((self.folder / "cluster" / "taskmanager.pid").read_text())
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if part == "worker":
                    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent == self.pool.pid:
                        return int(process.name)
                elif os.readlink(process / "cwd").startswith(str(self.folder / "tmp/beam-datahub")):
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    if b"--job-port" in words and words[0].endswith(b"java"):
                        return int(process.name)
        return None

    def appended(self) -> Counter[str]:
        """The rows of each run in the destination that is appended to."""
        found: Counter[str] = Counter()
        for path in (self.folder / "rows").rglob("*.csv"):
            if "/staging/" not in str(path) and ".beam-datahub" not in str(path):
                run_id = "-".join(path.name.split("-")[2:4])
                found[run_id] += len(path.read_text().splitlines()) - 1
        return found

    def faults(self, record: dict[str, Any], well: set[str]) -> list[str]:
        """What is wrong after a run that ended well."""
        told = []
        rows = dict(line.split(",")[:2] for line in (self.folder / "sums.csv").read_text().splitlines()[1:])
        if rows != {country: str(count) for country, count in self.sums.items()}:
            told.append(f"sums: {rows}")
        appended = self.appended()
        told += [f"run {run}: {count} rows appended" for run, count in appended.items() if count != self.good]
        told += [f"run {run} ended well, and its rows are not there" for run in well - set(appended)]
        if record["rejected"] != self.bad:
            told.append(f"{record['rejected']} rejected")
        for step, line in record["books"].items():
            came = line["read"] + line["in"] + line["added"]
            went = line["out"] + line["filtered"] + line["rejected"] + line["merged"]
            if step not in record["written"] and came != went:
                told.append(f"the books of {step} do not balance")
        return told


def ended(run: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """How a run ended, and its record."""
    try:
        out, _ = run.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        return HANGS, {"error": "the run hangs"}
    try:
        return run.returncode, json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        return run.returncode, {}


def main() -> None:
    """Run the rounds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--next", choices=("flink", "direct"), default="flink", help="the engine of the run after each fault")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    place = Place(Path(tempfile.mkdtemp(prefix="beam-datahub-faults-")))
    print("| killed | rounds | run ended with an error | run came through | published before it died | wrong |", flush=True)
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    wrong = 0
    try:
        for part in asked.parts:
            wrong += rounds(place, part, asked.rounds, chance, asked.next)
    finally:
        place.close()
        shutil.rmtree(place.folder, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def rounds(place: Place, part: str, count: int, chance: random.Random, following: str) -> int:
    """Kill one part of a run so often; gives how many things were wrong."""
    with ExitStack() as stack:
        master = [f"--flink_master={place.cluster('start')}"] if part == "taskmanager" else []
        options = []
        if part in ("worker", "taskmanager"):
            # One that stays saves each run the start of Java.
            folder = str(place.folder / "tmp")
            flink = Flink().server(EngineOptions(options=tuple(master)), Start(folder, folder))
            options = [f"--job_endpoint={stack.enter_context(JobServer(flink, folder, folder)).endpoint}"]
        return killed(place, part, count, chance, following, options)


def killed(place: Place, part: str, count: int, chance: random.Random, following: str, options: list[str]) -> int:
    """The rounds, with Beam's options."""
    began = time.monotonic()
    status, record = ended(place.start(*options))
    assert status == 0, record
    usual, well = time.monotonic() - began, {record["run_id"]}
    print(f"{part}: a run takes {usual:.1f} s", file=sys.stderr, flush=True)
    broken = through = published = 0
    wrong: list[str] = place.faults(record, well)
    done = 0
    while done < count:
        before = set(place.appended())
        run = place.start(*options)
        time.sleep(chance.uniform(0.15, 1.0) * usual)
        while (pid := place.victim(part, run)) is None and run.poll() is None:
            time.sleep(0.02)
        if pid is None or run.poll() is not None:
            # It was through already: that is no round.
            status, record = ended(run)
            if status == 0:
                well.add(record["run_id"])
            usual *= 0.95
            continue
        if part == "worker":
            time.sleep(chance.uniform(0, 0.25) * usual)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if part == "taskmanager":
            place.cluster("taskmanager")
        status, record = ended(run)
        done += 1
        if status == HANGS:
            wrong.append("the run that lost a part hangs")
        if status == 0:
            through += 1
            well.add(record["run_id"])
        else:
            broken += 1
            published += len(set(place.appended()) - before)
        status, record = ended(place.start(*options, engine=following))
        if status != 0:
            wrong.append(f"the next run failed: {record.get('error')}")
        else:
            well.add(record["run_id"])
            wrong += place.faults(record, well)
        state = f"{done} of {count}, {broken} broken, {through} through, {published} published, wrong: {wrong}"
        print(f"{part}: {state}", file=sys.stderr, flush=True)
        shutil.rmtree(place.folder / "rows", ignore_errors=True)
        well.clear()
    if part == "taskmanager":
        subprocess.run(["bash", FLINK, "stop", place.folder / "cluster"], check=False)
    print(f"| {part} | {done} | {broken} | {through} | {published} | {len(wrong)} |", flush=True)
    for each in wrong:
        print(f"wrong: {each}", flush=True)
    return len(wrong)


if __name__ == "__main__":
    main()
