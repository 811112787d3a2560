#!/usr/bin/env python3
"""Measures streams of small JSON messages in Kafka: a backlog → filter and map → Parquet, a backlog → counts by the minute →
Kafka, and how long messages take from topic to topic at a steady pace, with the memory that the stream holds meanwhile.

Of a backlog, processor time of the stream with its engine counts, without the broker's; what a run takes that finds nothing new
is told apart and taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from report import circumstances, line
from stream_pace import WARM_UP, Paced, through

ROOT = Path(__file__).resolve().parents[1]
HUB = Path(sys.executable).with_name("beam-datahub")
SERVER = ROOT / "tests" / "services" / "kafka.sh"
RESULTS = ROOT / "bench" / "RESULTS-streams.md"
PARTITIONS = 4
# What is wanted: messages a second and core, seconds for 99 of 100 messages, and how far memory may grow from the first quarter
# of the time to the last.
BACKLOG, DELAY, GROWTH = 200_000, 2.0, 1.1
# Messages of the backlog come so many to a second of event time: a million are about a quarter of an hour.
_EVENT_PACE = 1_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)

LAKE = """\
name: stream
type: real-time
stream: {{commit_every: 5 s, latency: 1 s}}
source:
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: {topic}
  schema: {{id: bigint, at: timestamp, amount: double, who: varchar, status: varchar, note: varchar}}
transformations:
  - {{id: paid, type: filtering, config: {{where: status = 'paid'}}}}
  - {{id: shaped, type: mapping, config: {{fields: {{id: id, cents: "cast(amount * 100 as bigint)", who: upper(who)}}}}}}
destination: {{id: lake, connector: parquet, connection: {{path: lake/}}, write_mode: append}}
"""
MINUTES = """\
name: minutes
type: real-time
stream: {{commit_every: 5 s, latency: 1 s}}
source:
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: {topic}
  schema: {{id: bigint, at: timestamp, amount: double, who: varchar, status: varchar, note: varchar}}
  event_time: {{column: at, out_of_orderness: 5 s}}
transformations:
  - id: per_minute
    type: aggregation
    window: {{type: fixed, size: 1 minute, on: at}}
    config: {{by: who, measures: {{orders: count(*), total: sum(amount)}}}}
destination:
  id: counts
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: counts
  partitions: 1
  write_mode: append
"""
PACE = """\
name: pace
type: real-time
stream: {{commit_every: 500 ms, latency: 100 ms}}
source:
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: steady
  start: earliest
  schema: {{id: bigint, sent: double, amount: double, status: varchar, note: varchar}}
transformations:
  - {{id: paid, type: filtering, config: {{where: status = 'paid'}}}}
  - {{id: shaped, type: mapping, config: {{fields: {{id: id, sent: sent, cents: "cast(amount * 100 as bigint)"}}}}}}
destination:
  {{id: out, connector: kafka, connection: {{bootstrap_servers: "{address}"}}, topic: out, partitions: 1, write_mode: append}}
"""

SPECS = {"lake": LAKE, "minutes": MINUTES, "pace": PACE}
TITLES = {"lake": "filter and map to Parquet", "minutes": "counts by the minute, to Kafka"}


def fill(address: str, messages: int) -> None:
    """Send the backlog."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": address})
    topics = {"orders": PARTITIONS, "nothing": PARTITIONS, "steady": PARTITIONS, "out": 1}
    for future in admin.create_topics([NewTopic(topic, count, 1) for topic, count in topics.items()]).values():
        future.result()
    producer = Producer(
        {"bootstrap.servers": address, "linger.ms": 50, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    )
    for i in range(messages):
        status = "paid" if i % 3 else "open"
        at = (_FIRST + timedelta(seconds=i / _EVENT_PACE)).isoformat()
        order = {"id": i, "at": at, "amount": i % 1000 + 0.25, "who": f"user{i % 100}", "status": status, "note": "some text"}
        while True:
            try:
                producer.produce("orders", json.dumps(order), partition=i % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def drained(spec: Path, engine: str) -> tuple[dict[str, object], float]:
    """Run a stream until it has caught up; gives its record and its seconds of processor time, with its engine's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(HUB), "run", spec.name, "--engine", engine, "--until-idle", "--json", "--quiet"]
    done = subprocess.run(command, cwd=spec.parent, env=_environment(spec), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{spec.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _environment(spec: Path) -> dict[str, str]:
    return {**os.environ, "BEAM_DATAHUB_STORE": str(spec.parent / "store.db")}


def steady(spec: Path, address: str, pace: int, seconds: float, engine: str) -> Paced:
    """Send at a pace through a running stream, and see what comes out when."""
    command = [str(HUB), "run", spec.name, "--engine", engine, "--quiet"]
    with subprocess.Popen(command, cwd=spec.parent, env=_environment(spec)) as run:
        try:
            # A few messages first: what they wait for is the start.
            arrived = through(address, PARTITIONS, 100, 0.1, run.pid, after=0)
            seen = through(address, PARTITIONS, pace, seconds, run.pid, after=arrived.came)
        finally:
            run.send_signal(signal.SIGINT)
    return seen


def main() -> None:
    """Measure what is asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2_000_000, help="of the backlog; 0: no backlog")
    parser.add_argument("--pace", type=int, default=20_000, help="messages a second; 0: no steady pace")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long they are sent")
    parser.add_argument("--engine", default="prism", choices=("prism", "flink"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows, bounds = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = subprocess.run(
            ["bash", str(SERVER), "start", str(folder / "kafka")], check=True, capture_output=True, text=True
        )
        address = started.stdout.split()[-1]
        specs = {each: folder / f"{each}.yaml" for each in SPECS}
        for each, path in specs.items():
            path.write_text(SPECS[each].format(address=address, topic="orders"))
            # The same with nothing to do: what is left is the start.
            bare = SPECS[each].format(address=address, topic="nothing").replace("name: ", "name: no-", 1)
            path.with_stem(f"no-{each}").write_text(bare)
        try:
            fill(address, given.messages)
            for each in ("lake", "minutes") if given.messages else ():
                record, seconds = drained(specs[each], given.engine)
                assert record["read"] == given.messages, record
                _, idle = drained(specs[each].with_stem(f"no-{each}"), given.engine)
                rate = given.messages / (seconds - idle)
                clock = float(str(record["seconds"]))
                rows.append(f"| {TITLES[each]} | {seconds:.1f} | {idle:.1f} | {clock:.1f} | {rate:,.0f} |")
                bounds.append(line(TITLES[each], f"at least {BACKLOG:,} messages/s a core", f"{rate:,.0f}", rate >= BACKLOG))
            paced = steady(specs["pace"], address, given.pace, given.seconds, given.engine) if given.pace else None
        finally:
            subprocess.run(["bash", str(SERVER), "stop", str(folder / "kafka")], check=False)
    text = ["# Streams", "Written by `bench/streams.py`; see [README.md](README.md) for how it measures."]
    text.append("\n".join(circumstances(f"apache-beam {version('apache-beam')}, confluent-kafka {version('confluent-kafka')}")))
    if rows:
        head = "| what | processor s | of them to start | s on the clock | messages/s of processor time |\n|---|--:|--:|--:|--:|"
        size = f"A backlog of {given.messages:,} messages in {PARTITIONS} partitions, on {given.engine}:"
        text += [size, "\n".join([head, *rows])]
    if paced is not None:
        text.append(_pace(paced, given))
        slow, (first, last) = paced.percentile(99), paced.megabytes()
        title = f"{given.pace:,} messages a second, topic to topic"
        bounds.append(line(title, f"99 of 100 within {DELAY:.0f} s", f"{slow:.2f} s", slow < DELAY))
        memory = f"memory flat over {given.seconds / 60:.0f} minutes"
        bounds.append(line(memory, f"at most {GROWTH:.1f}× of the first quarter", f"{last / first:.2f}×", last <= first * GROWTH))
    text.append("\n".join(["| what | wanted | measured | |", "|---|---|--:|---|", *bounds]))
    given.results.write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))


def _pace(paced: Paced, given: argparse.Namespace) -> str:
    delays = " / ".join(f"{paced.percentile(share):.2f} s" for share in (50, 90, 99, 100))
    first, last = paced.megabytes()
    return (
        f"{paced.sent:,} messages in {given.seconds:.0f} s, {given.pace:,} a second, on {given.engine}, from topic to topic in "
        f"transactions of half a second; the first {WARM_UP:.0f} s are not counted. From the producer to a consumer of what is "
        f"committed, 50 / 90 / 99 / 100 of 100 messages: {delays}. The sender was at most {paced.behind:.2f} s behind its pace. "
        f"Memory of the stream with its engine: {first:,.0f} MiB in the first quarter of the time, {last:,.0f} MiB in the last."
    )


if __name__ == "__main__":
    main()
