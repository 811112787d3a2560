#!/usr/bin/env python3
"""Measures a stream: a backlog of small JSON messages in Kafka → filter and map → Parquet, published as it goes.

Processor time of the stream with its engine counts, without the broker's; what a run takes that finds nothing new is told apart
and taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from report import circumstances

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
SERVER = ROOT / "tests" / "services" / "kafka.sh"
PARTITIONS = 4

SPEC = """\
name: stream
type: real-time
stream: {{commit_every: 5 s, latency: 1 s}}
source:
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: orders
  schema: {{id: bigint, amount: double, who: varchar, status: varchar, note: varchar}}
transformations:
  - {{id: paid, type: filtering, config: {{where: status = 'paid'}}}}
  - {{id: shaped, type: mapping, config: {{fields: {{id: id, cents: "cast(amount * 100 as bigint)", who: upper(who)}}}}}}
destination: {{id: lake, connector: parquet, connection: {{path: lake/}}, write_mode: append}}
"""


def fill(address: str, messages: int) -> None:
    """Send the backlog."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("orders", PARTITIONS, 1)])["orders"].result()
    producer = Producer(
        {"bootstrap.servers": address, "linger.ms": 50, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    )
    for i in range(messages):
        status = "paid" if i % 3 else "open"
        order = {"id": i, "amount": i % 1000 + 0.25, "who": f"user{i % 100}", "status": status, "note": "some text"}
        while True:
            try:
                producer.produce("orders", json.dumps(order), partition=i % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def stream(folder: Path, engine: str) -> tuple[dict[str, object], float]:
    """Run the stream until it has caught up; gives its record and its seconds of processor time, with its engine's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "BEAM_DATAHUB_STORE": str(folder / "store.db")}
    command = [str(HUB), "run", "stream.yaml", "--engine", engine, "--until-idle", "--json", "--quiet"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), seconds


def main() -> None:
    """Fill a topic, follow it, and say how many messages a second and core it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--engine", default="prism", choices=("prism", "flink"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = subprocess.run(
            ["bash", str(SERVER), "start", str(folder / "kafka")], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        try:
            fill(address, given.messages)
            (folder / "stream.yaml").write_text(SPEC.format(address=address))
            record, seconds = stream(folder, given.engine)
            assert record["read"] == given.messages, record
            _, idle = stream(folder, given.engine)
        finally:
            subprocess.run(["bash", str(SERVER), "stop", str(folder / "kafka")], check=False)
    print("\n".join(circumstances(f"apache-beam {version('apache-beam')}, confluent-kafka {version('confluent-kafka')}")))
    print(f"{given.messages:,} messages on {given.engine}: {seconds:.1f} s of processor time, {idle:.1f} s of them to start")
    print(f"{given.messages / (seconds - idle):,.0f} messages a second and core; {record['seconds']} s on the clock")


if __name__ == "__main__":
    main()
