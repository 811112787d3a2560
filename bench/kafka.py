#!/usr/bin/env python3
"""Measures a topic of small JSON messages → filter and map → Parquet, and back, beside confluent-kafka alone and with row code.

Each contestant runs in a process of its own, in turn, several times; the least of the seconds of processor time counts, its own
without the broker's, and of those on the clock. What beam-datahub takes for ten rows is told apart and taken off.
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
from importlib.metadata import version
from pathlib import Path

from report import circumstances, line

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
SERVER = ROOT / "tests" / "services" / "kafka.sh"
RESULTS = ROOT / "bench" / "RESULTS-kafka.md"

# Messages a second and core, by processor time.
READING = 200_000
SCHEMA = {"id": "bigint", "customer": "bigint", "country": "varchar", "amount": "double", "at": "timestamp"}

_FILL = """
import sys
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
address, count = sys.argv[1], int(sys.argv[2])
admin = AdminClient({"bootstrap.servers": address})
for future in admin.create_topics([NewTopic(name, 2, 1) for name in ("orders", "out")]).values():
    future.result()
producer = Producer({"bootstrap.servers": address, "linger.ms": 50, "compression.type": "lz4"})
for n in range(count):
    value = '{"id":%d,"customer":%d,"country":"%s","amount":%d.25,"at":"2025-03-01T12:%02d:%02d"}' % (
        n, n % 1000, ("de", "fr", "es")[n % 3], n % 500, n // 60 % 60, n % 60)
    while True:
        try:
            producer.produce("orders", value, str(n % 1000))
            break
        except BufferError:
            producer.poll(0.1)
producer.flush()
"""
_CONSUME = """
import json, sys
from confluent_kafka import Consumer, TopicPartition
address, count, decode, out = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "rows", sys.argv[4]
consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False})
consumer.assign([TopicPartition("orders", number, 0) for number in (0, 1)])
seen, rows = 0, []
while seen < count:
    found = consumer.consume(10_000, timeout=1)
    seen += len(found)
    for message in found if decode else ():
        row = json.loads(message.value())
        if row["country"] != "es":
            rows.append({"id": row["id"], "total": row["amount"] * 2, "country": row["country"].upper()})
if decode:
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.Table.from_pylist(rows), out)
"""


@dataclass(frozen=True)
class Spent:
    """The least of several times of one contestant: processor seconds of its processes, and seconds on the clock."""

    cpu: float
    wall: float


def main() -> None:
    """Print what was measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000_000, help="messages in the topic")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-bench-"))
    try:
        start = ["bash", SERVER, "start", folder / "server"]
        address = subprocess.run(start, check=True, capture_output=True, text=True).stdout.strip()
        try:
            text = measured(address, folder, given.messages, given.rounds)
        finally:
            subprocess.run(["bash", SERVER, "stop", folder / "server"], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if given.keep:
        RESULTS.write_text(text, "utf-8")


def measured(address: str, folder: Path, messages: int, rounds: int) -> str:
    """The report."""
    subprocess.run([sys.executable, "-c", _FILL, address, str(messages)], check=True)
    topic = {"connector": "kafka", "connection": {"bootstrap_servers": address}}
    orders = {**topic, "topic": "orders", "schema": SCHEMA}
    parquet = {"connector": "parquet", "connection": {"path": f"{folder}/out.parquet"}, "write_mode": "overwrite"}
    fields = {"id": "id", "total": "amount * 2", "country": "upper(country)"}
    steps = [
        {"id": "some", "type": "filtering", "config": {"where": "country <> 'es'"}},
        {"id": "mapped", "type": "mapping", "config": {"fields": fields}},
    ]
    read = _spec(folder, "read", orders, parquet, steps)
    write = _spec(
        folder, "write", {"connector": "parquet", "connection": {"path": f"{folder}/out.parquet"}}, {**topic, "topic": "out"}
    )
    tiny = {"connector": "inline", "rows": [{"id": n} for n in range(10)]}
    start = _spec(folder, "start", tiny, {**parquet, "connection": {"path": f"{folder}/tiny.parquet"}})
    consume = [sys.executable, "-c", _CONSUME, address, str(messages)]
    contestants = {
        "start: beam-datahub on ten rows": [str(HUB), "run", str(start), "-q"],
        "read: confluent-kafka alone, values untouched": [*consume, "raw", ""],
        "read, filter and map: confluent-kafka with row code to Parquet": [*consume, "rows", f"{folder}/rows.parquet"],
        "read, filter and map: beam-datahub to Parquet": [str(HUB), "run", str(read), "-q"],
        "write two thirds: beam-datahub in one transaction": [str(HUB), "run", str(write), "-q"],
    }
    spent = {name: _least(name, command, rounds, folder) for name, command in contestants.items()}
    began, ours = spent["start: beam-datahub on ten rows"], spent["read, filter and map: beam-datahub to Parquet"]
    rate = messages / (ours.cpu - began.cpu)
    rows = spent["read, filter and map: confluent-kafka with row code to Parquet"]
    lines = ["# Kafka", "", *circumstances(f"confluent-kafka {version('confluent-kafka')}"), ""]
    lines += [f"{messages:,} messages of about 85 bytes in 2 partitions, one broker on the same machine.", ""]
    lines += ["| what | processor s | s on the clock | messages/s of processor time |", "|---|---|---|---|"]
    for name, each in spent.items():
        count = 10 if name.startswith("start") else messages * 2 // 3 if name.startswith("write") else messages
        lines.append(f"| {name} | {each.cpu:.2f} | {each.wall:.2f} | {count / each.cpu:,.0f} |")
    lines += ["", "| what | wanted | measured | |", "|---|---|---|---|"]
    lines.append(line("read, filter and map, a core", f"at least {READING:,} messages/s", f"{rate:,.0f}", rate >= READING))
    ratio = rows.cpu / (ours.cpu - began.cpu)
    lines.append(line("the same, beside row code", "at least 1× of its speed", f"{ratio:.2f}×", ratio >= 1))
    return "\n".join(lines) + "\n"


def _spec(folder: Path, name: str, source: object, destination: object, steps: object = ()) -> Path:
    path = folder / f"{name}.yaml"
    spec = {"name": name, "source": source, "transformations": list(steps), "destination": destination}  # type: ignore[call-overload]
    path.write_text(json.dumps({key: value for key, value in spec.items() if value}), "utf-8")
    return path


def _least(name: str, command: list[str], rounds: int, folder: Path) -> Spent:
    found = []
    for number in range(rounds):
        # A store of its own each time: positions would leave nothing to read.
        environment = {
            **os.environ,
            "BEAM_DATAHUB_STORE": str(folder / f"store-{len(command)}-{number}-{time.monotonic_ns()}.db"),
        }
        before, began = os.times(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=folder)
        wall, after = time.perf_counter() - began, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        found.append(Spent(cpu, wall))
        print(f"{name}: {cpu:.2f} s of processor time, {wall:.2f} s", file=sys.stderr)
    return Spent(min(each.cpu for each in found), min(each.wall for each in found))


if __name__ == "__main__":
    main()
