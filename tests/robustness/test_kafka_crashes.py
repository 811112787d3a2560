"""Runs from topic to topic that are killed: each message arrives once, wherever the run died."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.conftest import KafkaBroker
from tests.unit.io.kafka_topics import Topic

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: relay
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
PLACES = ("before the journal", "between two destinations", "before the end is recorded")


@pytest.fixture
def relay(work: Any, kafka: KafkaBroker) -> Any:
    """Two topics, and a spec that takes what is new from one to the other."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.source, work.target = Topic(kafka, partitions=2), Topic(kafka)
    spec = SPEC.format(address=kafka.address, source=work.source.name, target=work.target.name)
    (work.folder / "relay.yaml").write_text(spec)
    return work


def arrived(work: Any) -> list[list[int]]:
    """The numbers at each destination, in order."""
    files = sorted((work.folder / "two").glob("*.jsonl"))
    lines = [json.loads(line)["n"] for file in files for line in file.read_text().splitlines()]
    return [sorted(each["n"] for each in work.target.values()), sorted(lines)]


def test_messages_arrive_once_though_a_run_is_killed_at_each_of_its_last_steps(relay: Any) -> None:
    wanted: list[int] = []
    for number, place in enumerate(PLACES, start=1):
        relay.source.send({"n": 10 * number}, partition=0)
        relay.source.send({"n": 10 * number + 1}, {"n": "x"}, partition=1)
        wanted += [10 * number, 10 * number + 1]
        assert relay.killed_at(place, "run", "relay.yaml") == -signal.SIGKILL
        done = relay.bh("run", "relay.yaml", "--json")
        assert done.status == 0, done
        assert arrived(relay) == [wanted, wanted], place
        assert relay.staged() == []
    state = json.loads(relay.bh("state", "show", "--json").out)
    assert {each["partition"]: each["value"] for each in state} == {"0": 3, "1": 6}


def test_a_message_that_is_rejected_can_be_replayed_once_it_fits(relay: Any) -> None:
    relay.source.send({"n": 1}, {"n": "12x"}, keys=["a", "b"])
    spec = relay.folder / "relay.yaml"
    spec.write_text(spec.read_text().replace("schema: {n: bigint}", "schema: {n: bigint}\n  metadata: [key, offset]"))
    first = relay.bh("run", "relay.yaml", "--json")
    assert first.record["rejected"] == 1
    letters = [json.loads(line) for file in relay.folder.rglob("*.jsonl") for line in file.read_text().splitlines()]
    (letter,) = [each for each in letters if each.get("reason")]
    assert (letter["file"], letter["row"], letter["source"]) == (f"{relay.source.name}/0", 1, "in")
    assert json.loads(letter["original"]) == {"_key": "b", "_offset": 1, "n": "12x"}
    spec.write_text(
        spec.read_text().replace("schema: {n: bigint}", "schema: {n: varchar}").replace("where: n > 0", "where: n is not null")
    )
    done = relay.bh("replay", first.record["run_id"], "--json")
    assert done.status == 0, done
    assert {"n": "12x", "_key": "b", "_offset": 1} in relay.target.values()
