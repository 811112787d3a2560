"""A join of two streams that is killed again and again: no match is lost, and none comes twice."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from tests.conftest import KafkaBroker
from tests.unit.io.kafka_topics import Topic

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: near
type: real-time
stream: {{commit_every: 300ms, latency: 100ms}}
sources:
  orders: &log
    connector: kafka
    connection: {{bootstrap_servers: "{address}"}}
    topic: {orders}
    schema: {{n: bigint, k: varchar, at: timestamptz}}
    event_time: {{column: at, out_of_orderness: 5 s, idle_after: 1 hour}}
  clicks: {{<<: *log, topic: {clicks}}}
transformations:
  - id: near
    type: join
    input: [orders, clicks]
    config:
      on: k
      kind: left
      within: {{left: at, right: at, before: 20 s, after: 4 s}}
      columns: {{order: orders.n, click: clicks.n}}
destination: {{id: out, connector: jsonl, connection: {{path: out}}, write_mode: append}}
dead_letter: {{connector: jsonl, connection: {{path: dead}}}}
"""
ROUNDS, SECONDS = 2, 60
# Pushes the watermark past all that is looked at.
LAST = 10_000


def order(n: int) -> dict[str, Any]:
    """An order each second; every seventh is of somebody who never clicks."""
    return {"n": n, "k": "nobody" if n % 7 == 0 else f"k{n % 3}", "at": moment(n)}


def click(n: int) -> dict[str, Any]:
    # Of two neighbours the later one comes first.
    n ^= 1
    return {"n": n, "k": f"k{n % 3}", "at": moment(n)}


def moment(n: int) -> str:
    return f"2025-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"


def expected(count: int) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for n in range(count):
        near = [c for c in range(max(0, n - 20), min(count, n + 5)) if c % 3 == n % 3] if n % 7 else []
        found += [(n, c) for c in near] or [(n, None)]
    return sorted(found, key=str)


def pairs(work: Any) -> list[tuple[int, int | None]]:
    files = (work.folder / "out").glob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted(((each["order"], each["click"]) for each in lines), key=str)


def test_a_join_of_two_streams_that_is_killed_gives_each_match_once(work: Any, kafka: KafkaBroker, prism: str) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    orders, clicks = Topic(kafka), Topic(kafka)
    spec = SPEC.format(address=kafka.address, orders=orders.name, clicks=clicks.name)
    (work.folder / "near.yaml").write_text(spec)
    for number in range(ROUNDS):
        seconds = range(number * SECONDS, (number + 1) * SECONDS)
        # Half of what comes is read before the first results, the rest while the stream publishes them.
        clicks.send(*map(click, seconds[:30]))
        orders.send(*map(order, seconds[:30]))
        there = len(pairs(work))
        running = work.start("run", "near.yaml", "--engine", "prism")
        running.until(lambda there=there: len(pairs(work)) > there)
        orders.send(*map(order, seconds[30:]))
        clicks.send(*map(click, seconds[30:]))
        if number % 2:
            there = len(pairs(work))
            running.until(lambda there=there: len(pairs(work)) > there)
        running.signal(signal.SIGKILL)
        assert running.end().status == -signal.SIGKILL
    wanted = expected(ROUNDS * SECONDS)
    orders.send(order(LAST))
    clicks.send({**click(LAST), "k": "somebody"})
    running = work.start("run", "near.yaml", "--engine", "prism", "--json")
    running.until(lambda: len(pairs(work)) >= len(wanted))
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.status == 0, done
    found = pairs(work)
    assert Counter(found) == Counter(wanted), (set(wanted) - set(found), set(found) - set(wanted))
    assert work.dead() == []
    books = done.record["books"]["near"]
    assert (books["in"] + books["added"], done.record["rejected"]) == (books["out"] + books["merged"], 0), books
