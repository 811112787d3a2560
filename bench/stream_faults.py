"""Kills parts of a running stream at random moments, and counts what is lost or doubled: nothing may be.

    nice python bench/stream_faults.py [--engine prism] [--kills 20] [--parts worker engine broker launcher] [--seed 1]

Messages go to a topic of Kafka while a stream brings it to a folder of Parquet files; meanwhile one part is killed with SIGKILL.
The stream goes on by itself, or ends with an error and is run again. A round is through once all messages are there, and then:

- each message of the topic is in the files once, and each broken one once in the dead letter;
- the positions in the store are the ends of the topic's partitions;
- at the end of a stream, which is told to stop after a few rounds, its books balance.

Workers are processes of their own, started by a pool. `engine` is what takes the jobs: Prism, or Flink's job server with an
embedded cluster; on `cluster`, a standalone Flink, also the task manager is killed. Counts add up in
bench/data/stream-faults.json over several calls, and the page of results gets a table of them.
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
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ROOT / "tests" / "services"
COUNTS = ROOT / "bench" / "data" / "stream-faults.json"
RESULTS = ROOT / "bench" / "RESULTS-engine-faults.md"
HEADING = "## Streams"
COMMAND = [sys.executable, "-c", "from beam_datahub.cli import program; program()"]
PARTS = {
    "prism": ("worker", "engine", "broker", "launcher"),
    "flink": ("worker", "engine", "broker", "launcher"),
    "cluster": ("worker", "taskmanager", "engine", "broker", "launcher"),
}
PARTITIONS, BAD_EACH, ROUNDS_A_STREAM = 4, 500, 5
PATIENCE_SECONDS = 300.0
COUNTED = ("killed", "messages", "by itself", "run again", "late", "lost", "doubled", "books")

SPEC = """\
name: faults
type: real-time
stream: {{commit_every: 500 ms, latency: 100 ms, backoff: {{initial_interval: 500 ms, max_interval: 5 s}}, restarts: 10}}
source:
  name: in
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: faults
  schema: {{id: bigint, country: varchar}}
transformations:
  - {{id: mapped, type: mapping, config: {{fields: {{id: id, country: upper(country)}}}}}}
destinations:
  - {{id: rows, connector: parquet, connection: {{path: rows/}}, write_mode: append}}
dead_letter: {{connector: jsonl, connection: {{path: dead/}}}}
"""


class Messages:
    """What is sent to the topic: each message once, also where the broker is away meanwhile."""

    def __init__(self, address: str, chance: random.Random) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        admin.create_topics([NewTopic("faults", PARTITIONS, 1)])["faults"].result()
        settings = {"bootstrap.servers": address, "enable.idempotence": True, "message.timeout.ms": 0, "log_level": 0}
        self._producer, self._chance = Producer(settings), chance
        self.sent, self.broken = 0, 0
        self.ends: Counter[str] = Counter()

    def send(self, seconds: float) -> threading.Thread:
        """Send some for so long; the thread ends once the broker has them all."""
        thread = threading.Thread(target=self._send, args=(seconds,), daemon=True)
        thread.start()
        return thread

    def _send(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(self._chance.randint(1, 150)):
                number = self.sent + self.broken
                bad = number % BAD_EACH == BAD_EACH - 1
                value = {"id": f"broken {number}" if bad else number, "country": ("de", "fr", "it")[number % 3]}
                partition = self._chance.randrange(PARTITIONS)
                self._producer.produce("faults", json.dumps(value), partition=partition)
                self.ends[str(partition)] += 1
                self.broken += bad
                self.sent += not bad
            self._producer.poll(0)
            time.sleep(0.1)
        self._producer.flush()


class Place:
    """A folder with a topic, a stream and what it needs; and what has become of it."""

    def __init__(self, folder: Path, engine: str, chance: random.Random) -> None:
        self.folder, self.engine = folder, engine
        for name in ("tmp", "shared", "cluster", "kafka", "rows", "dead"):
            (folder / name).mkdir()
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHON": sys.executable}
        self.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
        self.address = self.service("kafka", "start")
        self.master = [f"--flink_master={self.service('flink', 'start')}"] if engine == "cluster" else []
        self.messages = Messages(self.address, chance)
        (folder / "spec.yaml").write_text(SPEC.format(address=self.address))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.workers = probe.getsockname()[1]
        with (folder / "workers.log").open("ab") as log:
            command = [*COMMAND, "workers", f"--port={self.workers}"]
            self.pool = subprocess.Popen(
                command, cwd=folder / "tmp", env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.running: subprocess.Popen[bytes] | None = None
        self.began = 0.0

    def service(self, name: str, action: str) -> str:
        """Start or stop a server."""
        folder = self.folder / ("cluster" if name == "flink" else name)
        command = ["bash", str(SERVICES / f"{name}.sh"), action, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=True)
        return done.stdout.strip()

    def close(self) -> None:
        """End what was started."""
        if self.running is not None and self.running.poll() is None:
            os.killpg(self.running.pid, signal.SIGKILL)
        for name in ("flink", "kafka"):
            subprocess.run(["bash", SERVICES / f"{name}.sh", "stop", self.folder / name.replace("flink", "cluster")], check=False)
        with suppress(ProcessLookupError):
            os.killpg(self.pool.pid, signal.SIGKILL)

    def start(self) -> None:
        """Begin the stream."""
        options = [
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self.workers}",
            f"--temp_location={self.folder / 'shared'}",
            *(["--parallelism=2"] if self.engine != "prism" else []),
            *self.master,
        ]
        name = "flink" if self.engine == "cluster" else self.engine
        command = [*COMMAND, "run", "spec.yaml", "--json", "--engine", name]
        command += [part for each in options for part in ("--engine-option", each)]
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            self.running = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=out, stderr=err, start_new_session=True
            )
        self.began = time.time()

    def victim(self, part: str) -> int | None:
        """The process to kill; None where it is not there."""
        assert self.running is not None
        if part == "launcher":
            return self.running.pid
        if part == "broker":
            return int((self.folder / "kafka" / "pid").read_text())
        if part == "taskmanager":
            return int((self.folder / "cluster" / "taskmanager.pid").read_text())
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if part == "worker":
                    parent, state = (process / "stat").read_text().rpartition(")")[2].split()[1::-1]
                    if int(parent) == self.pool.pid and state != "Z":
                        return int(process.name)
                elif os.readlink(process / "cwd").startswith(str(self.folder / "tmp/beam-datahub")):
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    if words[0].endswith((b"java", b"prism")):
                        return int(process.name)
        return None

    def rows(self) -> Counter[int]:
        """How often each message has arrived."""
        found: Counter[int] = Counter()
        for path in self.folder.glob("rows/*.parquet"):
            found.update(pq.read_table(path, columns=["id"]).column(0).to_pylist())
        return found

    def letters(self) -> Counter[str]:
        """How often each broken message has arrived in the dead letter."""
        lines = [line for path in self.folder.glob("dead/*.jsonl") for line in path.read_text().splitlines()]
        return Counter(json.loads(line)["original"] for line in lines)

    def has_all(self) -> bool:
        """Whether as much is there as was sent."""
        there = sum(pq.read_metadata(path).num_rows for path in self.folder.glob("rows/*.parquet"))
        letters = sum(len(path.read_text().splitlines()) for path in self.folder.glob("dead/*.jsonl"))
        return there >= self.messages.sent and letters >= self.messages.broken

    def positions(self) -> dict[str, int]:
        """The positions in the store."""
        command = [*COMMAND, "state", "show", "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=True)
        return {each["partition"]: each["value"] for each in json.loads(done.stdout)}


class Rounds:
    """The rounds of one part on one engine."""

    def __init__(self, place: Place, part: str, chance: random.Random) -> None:
        self.place, self.part, self.chance = place, part, chance
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def go(self, count: int) -> None:
        """Kill so often."""
        place = self.place
        for number in range(1, count + 1):
            if place.running is None or place.running.poll() is not None:
                place.start()
            before = place.messages.sent
            sending = place.messages.send(3.0)
            # A launcher is killed on its way as well as in the middle of its work.
            self._kill(self.chance.uniform(0, 12.0 if self.part == "launcher" and number % 2 else 3.0))
            sending.join()
            again = self._settle()
            self.counts.update({"killed": 1, "messages": place.messages.sent - before})
            self.counts["run again" if again else "by itself"] += 1
            self._compare()
            if number % ROUNDS_A_STREAM == 0 or number == count:
                self._end()
            print(f"{place.engine} {self.part}: {dict(self.counts)} {self.wrong}", file=sys.stderr, flush=True)

    def _kill(self, wait: float) -> None:
        place = self.place
        time.sleep(wait)
        assert place.running is not None
        end = time.monotonic() + PATIENCE_SECONDS
        while (pid := place.victim(self.part)) is None:
            if place.running.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"there is no {self.part} to kill: {(place.folder / 'err').read_text()[-500:]}")
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if self.part == "launcher":
            place.running.wait()
        elif self.part == "broker":
            place.service("kafka", "stop")
            time.sleep(self.chance.uniform(0, 5))
            place.service("kafka", "start")
        elif self.part == "taskmanager":
            place.service("flink", "taskmanager")

    def _settle(self) -> bool:
        """Wait until all is there; gives whether the stream had to be run again for that."""
        place, again = self.place, False
        began = time.monotonic()
        while True:
            assert place.running is not None
            if place.running.poll() is not None:
                again = True
                place.start()
            if place.has_all():
                return again
            if time.monotonic() - began > PATIENCE_SECONDS:
                self.counts["late"] += 1
                self.wrong.append(f"after {PATIENCE_SECONDS:.0f} s not all is there: {place.folder}")
                os.killpg(place.running.pid, signal.SIGKILL)
                place.running.wait()
                began = time.monotonic()
            time.sleep(0.1)

    def _compare(self) -> None:
        place = self.place
        rows, letters = place.rows(), place.letters()
        sent = place.messages.sent + place.messages.broken
        good = {number for number in range(sent) if number % BAD_EACH != BAD_EACH - 1}
        lost = len(good - set(rows)) + place.messages.broken - len(letters)
        doubled = sum(count - 1 for count in [*rows.values(), *letters.values()]) + len(set(rows) - good)
        self.counts.update({"lost": lost, "doubled": doubled})
        if lost or doubled:
            self.wrong.append(f"{lost} lost, {doubled} doubled")

    def _end(self) -> None:
        """Tell the stream to stop, and look at its books and its positions."""
        place = self.place
        assert place.running is not None
        if place.running.poll() is None:
            self._ready()
            place.running.terminate()
            try:
                place.running.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.wrong.append("a stream that was told to stop hangs")
                os.killpg(place.running.pid, signal.SIGKILL)
                place.running.wait()
        told = []
        try:
            record = json.loads((place.folder / "out").read_text().splitlines()[-1])
        except (ValueError, IndexError):
            record = {}
        if place.running.returncode != 0 or not record.get("books"):
            told.append(f"it ended with {place.running.returncode}: {record.get('error')}")
        for step, line in record.get("books", {}).items():
            came, went = (
                line["read"] + line["in"] + line["added"],
                sum(line[term] for term in ("out", "filtered", "rejected", "merged")),
            )
            if step not in record["written"] and came != went:
                told.append(f"the books of {step} do not balance")
        if (at := place.positions()) != dict(place.messages.ends):
            told.append(f"positions {at}, sent {dict(place.messages.ends)}")
        self.counts["books"] += bool(told)
        self.wrong += told

    def _ready(self) -> None:
        """Wait until a stream that was just begun can be told to stop: it speaks to its workers."""
        place, end = self.place, time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            times = [path.stat().st_mtime for path in place.folder.glob("shared/*/control.json")]
            if any(each > place.began for each in times):
                return
            time.sleep(0.1)


def counted(found: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """All that was ever counted, these among it."""
    kept: dict[str, Counter[str]] = {}
    if COUNTS.exists():
        kept = {name: Counter(each) for name, each in json.loads(COUNTS.read_text()).items()}
    for name, each in found.items():
        kept[name] = kept.get(name, Counter()) + each
    COUNTS.parent.mkdir(exist_ok=True)
    COUNTS.write_text(json.dumps(kept, indent=1))
    return kept


def report(counts: dict[str, Counter[str]]) -> str:
    """The part of the page that tells of streams."""
    lines = [
        HEADING,
        "",
        "`python bench/stream_faults.py`: messages of a topic in four partitions, some of them broken, to Parquet files and a",
        "dead letter, with worker processes of their own, published twice a second. While messages came, one part was killed",
        "with SIGKILL at a random moment. A round was through once all was there: *by itself*, or once the stream, which had",
        "ended with an error or had been killed, was *run again*. Then each message had to be in the files once and each broken",
        "one once in the dead letter; whenever a stream was told to stop, its books had to balance, and the positions in the",
        "store to be the ends of the topic. *Late* is what was not there within five minutes.",
        "",
        "| engine | killed | rounds | messages | by itself | run again | late | lost | doubled | books or positions wrong |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for engine, parts in PARTS.items():
        for part in parts:
            found = counts.get(f"{engine} {part}")
            if found:
                cells = [f"{found.get(name, 0):,}" for name in COUNTED]
                lines.append(f"| {engine} | {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def keep(counts: dict[str, Counter[str]]) -> None:
    """Put the table into the page, in the place of the one before."""
    page = RESULTS.read_text()
    before, _, rest = page.partition(HEADING)
    # What is said below the table stays.
    _, mark, notes = rest.partition("\n- ")
    RESULTS.write_text(before.rstrip() + "\n\n" + report(counts) + (f"{mark}{notes}" if mark else ""))


def main() -> None:
    """Run the rounds, and keep what was counted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--engine", choices=tuple(PARTS), default="prism")
    parser.add_argument("--kills", type=int, default=20, help="of each part, those counted already among them")
    parser.add_argument("--parts", nargs="+")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--keep-folder", action="store_true", help="leave the folder with its logs where something is wrong")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chance = random.Random(asked.seed)
    wrong: list[str] = []
    for part in asked.parts or PARTS[asked.engine]:
        while (left := asked.kills - counted({}).get(f"{asked.engine} {part}", Counter())["killed"]) > 0:
            place = Place(Path(tempfile.mkdtemp(prefix="beam-datahub-faults-")), asked.engine, chance)
            rounds = Rounds(place, part, chance)
            try:
                rounds.go(min(ROUNDS_A_STREAM, left))
            finally:
                place.close()
                keep(counted({f"{asked.engine} {part}": rounds.counts}))
                if not (asked.keep_folder and (rounds.wrong or sys.exc_info()[0])):
                    shutil.rmtree(place.folder, ignore_errors=True)
            wrong += rounds.wrong
    print("\n".join(wrong) or "nothing is wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
