"""Runs from queue to queue that are killed: nothing is lost wherever the run died, and nothing doubled where that is promised."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import Server
from tests.robustness.test_stream_crashes import STANDING as STANDING_STREAM
from tests.unit.io.test_nats import Stream as NatsStream
from tests.unit.io.test_rabbitmq import Queue
from tests.unit.io.test_redis_stream import Stream

pytestmark = pytest.mark.usefixtures("recording")

PLACES = ("before the journal", "between two destinations")
SPEC = """\
name: relay
source:
  name: in
{source}
  schema: {{n: bigint}}
transformations:
  - {{id: all, type: filtering, config: {{where: n > 0}}}}
destinations:
  - id: one
{target}
  - {{id: two, connector: jsonl, connection: {{path: two}}, write_mode: append}}
"""


class RedisRelay:
    """Two streams; `options` are of the source."""

    def __init__(self, server: Server, options: str = "") -> None:
        self.source, self.target = Stream(server), Stream(server)
        self.source.client.xadd(self.source.name, {"n": 0})
        connection = f"connection: {{host: {server.host}, port: {server.port}}}"
        self.spec = SPEC.format(
            source=f"  connector: redis_stream\n  {connection}\n  stream: {self.source.name}{options}",
            target=f"    connector: redis_stream\n    {connection}\n    stream: {self.target.name}",
        )

    def send(self, *numbers: int) -> None:
        self.source.numbers(*numbers)

    def arrived(self) -> list[int]:
        return sorted(int(entry["n"]) for entry in self.target.entries())


class NatsRelay:
    """Two streams; `options` are of the source."""

    def __init__(self, server: Server, options: str = "") -> None:
        self.source, self.target = NatsStream(server), NatsStream(server)
        connection = f'connection: {{servers: "nats://{server.address}"}}'
        self.spec = SPEC.format(
            source=f"  connector: nats\n  {connection}\n  stream: {self.source.name}{options}",
            target=f"    connector: nats\n    {connection}\n    stream: {self.target.name}\n"
            f"    message_subject: {self.target.name}.out",
        )

    def send(self, *numbers: int) -> None:
        self.source.numbers(*numbers)

    def arrived(self) -> list[int]:
        return sorted(json.loads(message.data)["n"] for message in self.target.messages())


def lines(work: Any) -> list[int]:
    """The numbers in the files."""
    found = [json.loads(line)["n"] for file in (work.folder / "two").glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted(found)


def killed_everywhere(work: Any, relay: Any, places: Sequence[str] = PLACES) -> list[int]:
    """Kill a run at each of its last steps, with a message more each time, and let the next one end; gives what was sent."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "relay.yaml").write_text(relay.spec)
    sent: list[int] = []
    for number, place in enumerate(places, start=1):
        fresh = [10 * number, 10 * number + 1]
        relay.send(*fresh)
        sent += fresh
        assert work.killed_at(place, "run", "relay.yaml") == -signal.SIGKILL
        done = work.bh("run", "relay.yaml", "--json")
        assert done.status == 0, done
    return sent


@pytest.mark.parametrize("options", ["", "\n  group: relay"], ids=["by position", "in a group"])
def test_entries_arrive_once_though_a_run_is_killed_at_each_of_its_last_steps(work: Any, redis: Server, options: str) -> None:
    relay = RedisRelay(redis, options)
    sent = killed_everywhere(work, relay, PLACES[1:] if options else PLACES)
    assert relay.arrived() == sent
    assert lines(work) == sent
    if options:
        assert relay.source.client.xpending(relay.source.name, "relay")["pending"] == 0
    else:
        (state,) = json.loads(work.bh("state", "show", "--json").out)
        assert state["value"] == relay.source.client.xinfo_stream(relay.source.name)["last-generated-id"].decode()


@pytest.mark.parametrize("options", ["", "\n  consumer: relay"], ids=["by position", "by a consumer"])
def test_messages_of_nats_arrive_once_though_a_run_is_killed(work: Any, nats: Server, options: str) -> None:
    relay = NatsRelay(nats, options)
    # What a run has been lent that dies before its journal comes again when the loan has run out.
    sent = killed_everywhere(work, relay, PLACES[1:])
    assert relay.arrived() == sent
    assert lines(work) == sent


def test_messages_of_rabbitmq_are_not_lost_and_known_by_their_ids_where_they_come_again(work: Any, rabbitmq: Server) -> None:
    source, target = Queue(rabbitmq), Queue(rabbitmq)
    connection = f"connection: {{host: {rabbitmq.host}, port: {rabbitmq.port}}}"
    spec = SPEC.format(
        source=f"  connector: rabbitmq\n  {connection}\n  queue: {source.name}\n  metadata: [id]",
        target=f"    connector: rabbitmq\n    {connection}\n    queue: {target.name}",
    )
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "relay.yaml").write_text(spec)
    source.numbers(1, 2)
    assert work.killed_at("between two destinations", "run", "relay.yaml") == -signal.SIGKILL
    done = work.bh("run", "relay.yaml", "--json")
    assert done.status == 0, done
    # The first run's channel is gone, and its messages came again; each run has sent them once.
    assert sorted(json.loads(body)["n"] for _, _, body in target.messages()) == [1, 1, 2, 2]
    assert lines(work) == [1, 1, 2, 2]
    assert source.waiting() == 0


def test_a_queue_is_followed_once_through_stops_and_at_least_once_through_a_kill(work: Any, rabbitmq: Server, prism: str) -> None:
    queue = Queue(rabbitmq)
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    spec = SPEC.format(
        source=f"  connector: rabbitmq\n  connection: {{host: {rabbitmq.host}, port: {rabbitmq.port}}}\n  queue: {queue.name}",
        target="    connector: sqlite\n    connection: {path: one.sqlite}\n    table: one\n    write_mode: merge\n    key: [n]",
    )
    (work.folder / "relay.yaml").write_text(spec + "type: real-time\nstream: {commit_every: 500ms, latency: 200ms}\n")
    (work.folder / "killed.py").write_text(STANDING_STREAM)

    def letters() -> list[str]:
        return [line for file in work.folder.rglob("dead-letter/**/*.jsonl") for line in file.read_text().splitlines()]

    queue.numbers(*range(1, 51))
    queue.send(b"{")
    running = work.start("run", "relay.yaml")
    running.until(lambda: lines(work) and letters())
    queue.numbers(*range(51, 101))
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.status == 0, done
    # What was read before the stop is published, and the queue was told of it.
    stopped = lines(work)
    assert stopped == list(range(1, len(stopped) + 1))
    assert queue.waiting() == 100 - len(stopped)
    running = work.start_python("killed.py", "run", "relay.yaml", STAND="between two destinations")
    queue.numbers(101)
    running.until((work.folder / "reached").exists)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    done = work.bh("run", "relay.yaml", "--until-idle", "--json")
    assert done.status == 0, done
    with closing(sqlite3.connect(work.folder / "one.sqlite")) as database:
        assert [n for (n,) in database.execute("select n from one order by n")] == list(range(1, 102))
    both = lines(work)
    assert both[: len(stopped)] == stopped
    assert sorted(set(both)) == list(range(1, 102))
    assert queue.waiting() == 0
    assert len(letters()) == 1


def test_a_stream_that_is_killed_while_it_publishes_loses_and_doubles_nothing(work: Any, redis: Server, prism: str) -> None:
    relay = RedisRelay(redis)
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    (work.folder / "relay.yaml").write_text(relay.spec + "type: real-time\nstream: {commit_every: 500ms, latency: 200ms}\n")
    (work.folder / "killed.py").write_text(STANDING_STREAM)
    relay.send(1, 2)
    running = work.start_python("killed.py", "run", "relay.yaml", "--engine", "prism", STAND="between two destinations")
    running.until((work.folder / "reached").exists)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    relay.send(3)
    done = work.bh("run", "relay.yaml", "--engine", "prism", "--until-idle", "--json")
    assert done.status == 0, done
    assert relay.arrived() == [1, 2, 3]
    assert lines(work) == [1, 2, 3]
