"""Streams that are killed: each message arrives once, wherever the stream died."""

from __future__ import annotations

import json
import signal
import textwrap
from typing import Any

import pytest

from tests.conftest import KafkaBroker
from tests.robustness.conftest import balanced
from tests.unit.io.kafka_topics import Topic

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: relay
type: real-time
stream: {{commit_every: 500ms, latency: 200ms}}
source:
  name: in
  connector: kafka
  connection: &cluster {{bootstrap_servers: "{address}"}}
  topic: {source}
  schema: {{n: bigint}}
transformations:
  - {{id: all, type: filtering, config: {{where: n > 0}}}}
destinations:
  - {{id: one, connector: kafka, connection: *cluster, topic: {target}, key: [n]}}
  - {{id: two, connector: jsonl, connection: {{path: two}}, write_mode: append}}
"""

# Stands still, where it is told to, once an epoch is on its way; the file `reached` tells that it stands.
STANDING = textwrap.dedent("""
    import os, sys, time
    from beam_datahub.cli import main
    from beam_datahub.runtime import stream_epochs

    def stand(*_, **__):
        open("reached", "w").close()
        time.sleep(600)

    place = os.environ["STAND"]
    publish, keep = stream_epochs.publish_epoch, stream_epochs.Publisher._keep
    if place == "before the journal":
        stream_epochs.write_journal = stand
    elif place == "behind the journal":
        stream_epochs.publish_epoch = stand
    elif place == "between two destinations":
        stream_epochs.publish_epoch = lambda chosen: (publish(chosen[:1]), stand())
    elif place == "before the cursors move":
        stream_epochs.publish_epoch = lambda chosen: (publish(chosen), stand())
    elif place == "before the journal goes":
        def moved(self, goal, report):
            keep(self, goal, report)
            if report:
                stand()
        stream_epochs.Publisher._keep = moved
    main(sys.argv[1:], prog_name="beam-datahub")
""")
PLACES = (
    "before the journal",
    "behind the journal",
    "between two destinations",
    "before the cursors move",
    "before the journal goes",
)


def arrived(work: Any) -> list[list[int]]:
    """The numbers at each destination, in order."""
    files = sorted((work.folder / "two").glob("*.jsonl"))
    lines = [json.loads(line)["n"] for file in files for line in file.read_text().splitlines()]
    return [sorted(each["n"] for each in work.target.values()), sorted(lines)]


def test_messages_arrive_once_though_a_stream_is_killed_at_each_step_of_an_epoch(
    work: Any, kafka: KafkaBroker, prism: str
) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    work.source, work.target = Topic(kafka, partitions=2), Topic(kafka)
    (work.folder / "relay.yaml").write_text(SPEC.format(address=kafka.address, source=work.source.name, target=work.target.name))
    (work.folder / "killed.py").write_text(STANDING)
    wanted: list[int] = []
    for number, place in enumerate(PLACES, start=1):
        work.source.send({"n": 10 * number}, partition=0)
        work.source.send({"n": 10 * number + 1}, {"n": "x"}, partition=1)
        wanted += [10 * number, 10 * number + 1]
        running = work.start_python("killed.py", "run", "relay.yaml", "--engine", "prism", STAND=place)
        running.until((work.folder / "reached").exists)
        (work.folder / "reached").unlink()
        running.signal(signal.SIGKILL)
        assert running.end().status == -signal.SIGKILL
    done = work.bh("run", "relay.yaml", "--engine", "prism", "--until-idle", "--json")
    assert done.status == 0, done
    assert arrived(work) == [wanted, wanted]
    assert work.staged() == []
    state = json.loads(work.bh("state", "show", "--json").out)
    assert {each["partition"]: each["value"] for each in state} == {"0": 5, "1": 10}
    letters = [json.loads(line) for file in work.folder.rglob("dead-letter/**/*.jsonl") for line in file.read_text().splitlines()]
    assert len(letters) == len(PLACES)


def test_a_stream_that_is_told_to_stop_publishes_what_it_has_read(work: Any, kafka: KafkaBroker, prism: str) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    work.source, work.target = Topic(kafka), Topic(kafka)
    spec = SPEC.format(address=kafka.address, source=work.source.name, target=work.target.name)
    (work.folder / "relay.yaml").write_text(spec)
    work.source.send(*({"n": n} for n in range(1, 51)))
    running = work.start("run", "relay.yaml", "--engine", "prism")
    running.until(lambda: list((work.folder / "two").glob("*.jsonl")))
    work.source.send(*({"n": n} for n in range(51, 101)))
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.status == 0, done
    one, two = arrived(work)
    assert one == two == list(range(1, len(one) + 1))
    assert "completed" in done.out
    state = json.loads(work.bh("state", "show", "--json").out)
    assert state[0]["value"] == len(one)


def test_a_backfill_and_the_stream_behind_it_meet_without_gap_or_double(work: Any, kafka: KafkaBroker, prism: str) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    topic = Topic(kafka, partitions=2)
    (work.folder / "old.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(100)))
    (work.folder / "both.yaml").write_text(
        f"""\
name: both
type: hybrid
stream: {{commit_every: 500ms, latency: 200ms}}
sources:
  old: {{connector: csv, connection: {{path: old.csv}}}}
  new: {{connector: kafka, connection: {{bootstrap_servers: "{kafka.address}"}}, topic: {topic.name}, schema: {{n: bigint}}}}
transformations:
  - {{id: all, type: union, input: [old, new]}}
destination: {{id: two, connector: jsonl, connection: {{path: two}}, write_mode: append}}
"""
    )
    topic.send(*({"n": n} for n in range(100, 150)), partition=0)
    for first in (150, 200):
        done = work.bh("run", "both.yaml", "--engine", "prism", "--until-idle")
        assert done.status == 0, done
        topic.send(*({"n": n} for n in range(first, first + 50)), partition=1)
    done = work.bh("run", "both.yaml", "--engine", "prism", "--until-idle", "--json")
    assert (done.status, done.record["read"]) == (0, 50), done
    lines = [json.loads(line)["n"] for file in (work.folder / "two").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(lines) == list(range(250))


WINDOWS = """\
name: sums
type: real-time
stream: {{commit_every: 500ms, latency: 200ms}}
source:
  name: in
  connector: kafka
  connection: &cluster {{bootstrap_servers: "{address}"}}
  topic: {source}
  schema: {{n: bigint, at: timestamptz}}
  event_time: {{column: at, idle_after: 1 hour}}
transformations:
  - id: sums
    type: aggregation
    window: {{type: fixed, size: 10 seconds, on: at}}
    config: {{measures: {{rows: count(*), total: sum(n)}}}}
destinations:
  - {{id: one, input: sums, connector: kafka, connection: *cluster, topic: {target}, key: [window_start]}}
  - {{id: two, input: in, connector: jsonl, connection: {{path: two}}, write_mode: append}}
"""

# Stands still when one destination has what an epoch with results of windows publishes, and the other has not.
STANDING_WITH_WINDOWS = textwrap.dedent("""
    import sys, time
    from beam_datahub.cli import main
    from beam_datahub.runtime import stream_epochs

    publish = stream_epochs.publish_epoch

    def publish_some(chosen):
        if all(target.request.step != "one" for target, _ in chosen):
            return publish(chosen)
        publish(chosen[:1])
        open("reached", "w").close()
        time.sleep(600)

    stream_epochs.publish_epoch = publish_some
    main(sys.argv[1:], prog_name="beam-datahub")
""")


def test_windows_come_once_though_their_stream_is_killed(work: Any, kafka: KafkaBroker, prism: str) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.environment["BEAM_DATAHUB_PRISM"] = prism
    topic, target = Topic(kafka, partitions=2), Topic(kafka)
    (work.folder / "sums.yaml").write_text(WINDOWS.format(address=kafka.address, source=topic.name, target=target.name))
    (work.folder / "killed.py").write_text(STANDING_WITH_WINDOWS)
    sent: list[int] = []

    def send(*seconds: int) -> None:
        for number in (0, 1):
            rows = [{"n": n, "at": f"2025-01-01T00:00:{n:02}Z"} for n in seconds if n % 2 == number]
            topic.send(*rows, partition=number)
        sent.extend(seconds)

    send(*range(24))
    running = work.start_python("killed.py", "run", "sums.yaml", "--engine", "prism")
    running.until((work.folder / "reached").exists)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    # One that is late indeed.
    send(3, *range(24, 47))
    done = work.bh("run", "sums.yaml", "--engine", "prism", "--until-idle", "--json")
    assert done.status == 0, done
    balanced(done)
    # The last window is open: its rows wait.
    wanted = [(f"2025-01-01 00:00:{first:02}", 10, sum(range(first, first + 10))) for first in range(0, 40, 10)]
    assert sorted((row["window_start"][:19].replace("T", " "), row["rows"], row["total"]) for row in target.values()) == wanted
    lines = [json.loads(line)["n"] for file in (work.folder / "two").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(sent)
    letters = [json.loads(line) for file in work.folder.rglob("dead-letter/**/*.jsonl") for line in file.read_text().splitlines()]
    assert [(each["reason"], json.loads(each["original"])["n"]) for each in letters] == [("late", 3)]
