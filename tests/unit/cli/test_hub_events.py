"""The hub's own events: what topics get of runs and integrations, and what becomes of events when the bus is down."""

from __future__ import annotations

import itertools
import json
import os
import socket
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from beam_datahub.runtime.hub_events import ENVELOPE, TYPES
from tests.conftest import KafkaBroker
from tests.unit.cli.conftest import Run
from tests.unit.io.kafka_topics import Topic

pytestmark = pytest.mark.usefixtures("recording")

_numbers = itertools.count()
PEOPLE = """\
name: people
source:
  name: people
  connector: csv
  connection: {path: people.csv}
  schema: {id: bigint, mail: varchar, code: varchar, amount: bigint}
  pii: {code: name}
destination: {id: out, connector: jsonl, connection: {path: out/}, write_mode: overwrite, clearance: [all]}
dead_letter: {connector: jsonl, connection: {path: dead/}, clearance: [all]}
quality_rules:
  - {name: small, step: people, type: validity, field: amount, max: 6, severity: high}
"""


@pytest.fixture
def prefix() -> str:
    """What the topics of one test begin with."""
    return f"hub{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> Path:
    """A project whose events go to the connection `bus`, which is not stored yet."""
    (tmp_path / "people.csv").write_text(
        "id,mail,code,amount\n" + "".join(f"{n},p{n}@example.com,Jane Doe,{n}\n" for n in range(1, 9)) + "9,a@b.org,Jo,oops\n"
    )
    (tmp_path / "people.yaml").write_text(PEOPLE)
    (tmp_path / ".beam-datahub" / "runs").mkdir(parents=True)
    (tmp_path / ".beam-datahub" / "events.yaml").write_text(f"events: {{connection: bus, prefix: {prefix}}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connect(cli: Run, address: str, seconds: int = 60) -> None:
    settings = ("--set", f"bootstrap_servers={address}", "--set", f"connect_timeout_seconds={seconds}", "--replace")
    done = cli("connections", "add", "bus", "kafka", *settings)
    assert done.exit_code == 0, done.output


def sent(kafka: KafkaBroker, topic: str) -> list[dict[str, Any]]:
    return Topic(kafka, name=topic, make=False).values()


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_topics_are_told_what_a_run_did_without_personal_data(people: Path, cli: Run, kafka: KafkaBroker, prefix: str) -> None:
    connect(cli, kafka.address)
    assert cli("apply", "people.yaml").exit_code == 0
    done = cli("run", "people.yaml", "--json")
    assert (done.exit_code, "warning" in done.stderr) == (0, False), done.output
    run = json.loads(done.stdout)["run_id"]

    found = sent(kafka, f"{prefix}.events")
    assert [each["type"].removeprefix(f"{prefix}.") for each in found] == [
        "integration.created", "sync.completed", "quality.violation", "raw-data", "data.received",
    ]  # fmt: skip
    for each in found:
        jsonschema.validate(each, ENVELOPE)
        assert sent(kafka, each["type"]) == [each]
    created, completed, violation, raw, received = found
    assert len({each["id"] for each in found}) == 5
    assert (created["correlationid"], created["data"]["version"]) == (created["id"], 1)
    assert {(each["correlationid"], each["causationid"], each["aggregateid"]) for each in found[1:]} == {(run, run, "people")}
    assert (completed["data"]["read"], completed["data"]["rejected"]) == (9, 1)
    assert completed["data"]["destinations"][0] | {"bytes": 0} == {"name": "out", "rows": 8, "bytes": 0}
    assert (violation["subject"], violation["data"]["failed"]) == ("people/small", 2)
    assert raw["data"]["datasets"] == [{"namespace": "file", "name": str(people / "people.csv")}]
    # What the spec declares is masked as usual, what only looks personal as a whole.
    assert received["data"]["sample"] == [{"id": n, "mail": "***", "code": "J*** D***", "amount": n} for n in range(1, 6)]
    assert not [text for text in ("Jane", "example.com", "oops") if text in json.dumps(found)]

    listed = json.loads(cli("events", "list", "--json").stdout)
    assert [each["document"]["id"] for each in reversed(listed)] == [each["id"] for each in found]
    assert cli("events", "list", "--waiting").stdout == "no events\n"
    assert json.loads(cli("events", "show", received["id"][:12]).stdout)["id"] == received["id"]
    assert json.loads(cli("schemas", "show", f"{prefix}.events-value").stdout) == ENVELOPE
    assert received["dataschema"] == f"{prefix}.events-value/versions/1"


def test_events_wait_for_a_bus_that_is_down_and_are_sent_in_their_order(
    people: Path, cli: Run, kafka: KafkaBroker, prefix: str
) -> None:
    types = "[sync.completed, errors]"
    (people / ".beam-datahub/events.yaml").write_text(f"events: {{connection: bus, prefix: {prefix}, types: {types}}}\n")
    connect(cli, nobody(), seconds=1)
    done = cli("run", "people.yaml")
    assert (done.exit_code, "events of the hub are not sent, and wait in the store" in done.stderr) == (0, True), done.output
    assert "waits" in cli("events").stdout
    failed = cli("events", "send")
    assert (failed.exit_code, "0 events were sent, the others wait" in failed.stderr) == (4, True), failed.output

    connect(cli, kafka.address)
    (people / "people.yaml").write_text(PEOPLE.replace("{path: people.csv}", "{path: gone.csv}"))
    assert cli("run", "people.yaml", "-q").exit_code == 4
    completed, error = sent(kafka, f"{prefix}.events")
    assert (completed["type"], error["type"]) == (f"{prefix}.sync.completed", f"{prefix}.errors")
    assert (error["data"]["error"], error["data"]["code"]) == ("SourceMissing", "DH201")
    assert cli("events", "send").stdout == "0 sent\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("events: {connection: bus, types: [sync.complete]}", "there is no type 'sync.complete'"),
        ("events: {connection: elsewhere}", "elsewhere"),
        ("events: {connection: files}", "'jsonl' is none"),
        ("bus: kafka", "must be `events:`"),
    ],
)
def test_a_bus_that_is_set_up_wrongly_is_warned_of_and_fails_no_run(people: Path, cli: Run, text: str, told: str) -> None:
    (people / ".beam-datahub/events.yaml").write_text(text)
    assert cli("connections", "add", "files", "jsonl", "--set", "path=out").exit_code == 0
    done = cli("run", "people.yaml")
    assert (done.exit_code, told in done.stderr) == (0, True), done.output
    assert cli("events", "send").exit_code != 0


def test_without_a_bus_nothing_is_kept_to_be_sent(people: Path, cli: Run) -> None:
    (people / ".beam-datahub/events.yaml").unlink()
    assert cli("run", "people.yaml", "-q").exit_code == 0
    assert cli("events").stdout == "no events\n"
    assert "there is no" in cli("events", "send").stderr


def test_each_type_has_a_place_in_the_schema() -> None:
    assert all(name in ENVELOPE["properties"]["type"]["description"] for name in TYPES)
