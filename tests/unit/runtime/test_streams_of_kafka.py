"""Streams from Kafka on Prism: what becomes of messages that cannot be processed, and of messages that change their form."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.component.messages import decoding
from beam_datahub.errors import SchemaDrift
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest, RunResult
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.runtime.streams import StreamRequest, StreamState, run_stream
from beam_datahub.spec import loads
from tests.conftest import KafkaBroker
from tests.unit.io.kafka_topics import Topic, registry

Stream = Callable[..., RunResult]


@pytest.fixture
def stream(prism: str, tmp_path: Path) -> Stream:
    """A function that follows what a spec says until all is published, or until `stop`, which is asked again and again."""

    def work(spec: dict[str, Any], stop: Callable[[StreamState], bool] | None = None) -> RunResult:
        stream = {"commit_every": "200ms", "latency": "100ms"}
        document = loads(json.dumps({"name": "orders", "type": "real-time", "stream": stream, **spec}))
        run_id = new_run_id()
        plan = build(document, BuildOptions(run_id=run_id, dead_letter_folder=str(tmp_path / "dead")))
        stopped: list[bool] = []

        def show(state: StreamState) -> None:
            if stop is not None and stop(state):
                stopped.append(True)

        request = StreamRequest(
            RunRequest(run_id, "prism", EngineOptions(shards=1, options=(f"--prism_location={prism}",))),
            plan.metadata["stream"],
            plan.metadata["event_times"],
            None,
            until_idle=stop is None,
            show=show,
            stop=lambda: bool(stopped),
            seconds=600,
        )
        return run_stream(plan, request)

    return work


def source(topic: Topic, **options: Any) -> dict[str, Any]:
    connection = {"bootstrap_servers": topic.broker.address, **options.pop("connection", {})}
    return {"name": "orders", "connector": "kafka", "connection": connection, "topic": topic.name, **options}


def lake(tmp_path: Path) -> dict[str, Any]:
    return {"id": "lake", "connector": "jsonl", "connection": {"path": f"{tmp_path}/lake/"}, "write_mode": "append"}


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """What was written, by `n`."""
    lines = [line for path in (tmp_path / "lake").glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((json.loads(line) for line in lines), key=lambda row: row["n"])


ASKS = """
asked = []

def rate(row):
    asked.append(row["n"])
    if row["n"] == 2 and asked.count(2) == 1:
        raise TimeoutError("no answer")
    if row["n"] == 3:
        raise ConnectionError("refused")
    return row
"""


def test_what_cannot_be_processed_goes_to_a_topic_with_its_origin_and_the_number_of_attempts(
    stream: Stream, kafka: KafkaBroker, tmp_path: Path
) -> None:
    topic, dead = Topic(kafka), Topic(kafka)
    topic.send({"n": 1}, {"n": 2}, {"n": 3}, b'{"n": ')
    policy = {"attempts": 3, "backoff": {"initial_interval": "1 ms", "max_interval": "1 ms"}}
    step = {"id": "asked", "type": "python", "config": {"code": ASKS, "function": "rate", "retry": policy}}
    cluster = {"bootstrap_servers": kafka.address, "staging": str(tmp_path / "staging")}
    letter = {"connector": "kafka", "connection": cluster, "topic": dead.name}
    spec = {"transformations": [step], "destinations": [lake(tmp_path)], "dead_letter": letter}
    result = stream({"source": source(topic, schema={"n": "bigint"}), **spec})
    assert (result.status, result.rejected, [row["n"] for row in rows(tmp_path)]) == ("completed_with_errors", 2, [1, 2])
    letters = {each["row"]: each for each in dead.values()}
    assert {
        row: (each["step"], each["reason"], each["original"], each["attempts"], each["source"]) for row, each in letters.items()
    } == {
        2: ("asked", "python_failed", '{"n": 3}', 3, "orders"),
        3: ("orders", "malformed", '{"n": ', 1, "orders"),
    }
    assert topic.name in letters[2]["file"]
    assert letters[2]["message"] == "ConnectionError: refused"


def avro(number: int, schema: dict[str, Any], row: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, row)
    return b"\0" + number.to_bytes(4) + stream.getvalue()


def record(**fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


FIRST = record(n="long", t="long")
# A field is new, and another one has another type.
SECOND = record(n="long", t="string", extra="string")
CHANGED = {"n": 2, "t": "x", "extra": "new"}

CONTRACTS: dict[str, tuple[dict[str, str], list[dict[str, Any]], list[str]]] = {
    "evolve": ({"columns": "evolve", "types": "evolve"}, [{"n": 1, "t": 1}], ["type_mismatch"]),
    "values": ({"columns": "discard_value", "types": "discard_value"}, [{"n": 1, "t": 1}, {"n": 2, "t": None}], []),
    "rows": ({"columns": "discard_row", "types": "discard_row"}, [{"n": 1, "t": 1}], ["contract"]),
    "frozen columns": ({"columns": "freeze", "types": "evolve"}, [{"n": 1, "t": 1}], []),
    "frozen types": ({"columns": "evolve", "types": "freeze"}, [{"n": 1, "t": 1}], []),
}


@pytest.mark.parametrize(
    ("contract", "form"),
    [*itertools.product(("evolve", "values", "rows"), ("json", "avro")), ("frozen columns", "json"), ("frozen types", "avro")],
)
def test_a_stream_meets_a_new_field_and_a_changed_type_as_its_contract_says(
    stream: Stream, kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, contract: str
) -> None:
    monkeypatch.setattr(decoding, "_LOOK_EVERY_SECONDS", 0.0)
    said, wanted, reasons = CONTRACTS[contract]
    topic, sent = Topic(kafka), []

    with registry() as (url, schemas):
        schemas.update({1: json.dumps(FIRST), 2: json.dumps(SECOND)})
        topic.send({"n": 1, "t": 1} if form == "json" else avro(1, FIRST, {"n": 1, "t": 1}))

        def changed(state: StreamState) -> bool:
            """Once the first message is published, another one comes that is of another form."""
            if state.written.get("lake") and not sent:
                sent.append(topic.send(CHANGED if form == "json" else avro(2, SECOND, CHANGED)))
            return state.read >= 2 and state.waiting == 0

        connection = {"registry": {"url": url}} if form == "avro" else {}
        given = source(topic, format=form, connection=connection, schema={"n": "bigint", "t": "bigint"}, contract=said)
        spec = {"source": given, "destinations": [lake(tmp_path)]}
        if "frozen" in contract:
            with pytest.raises(SchemaDrift):
                stream(spec, changed)
        else:
            result = stream(spec, changed)
            assert [each["reason"] for each in result.reasons] == reasons
            assert [each["column"] for each in result.drifted] == (["extra"] if contract in ("evolve", "values") else [])
    assert sent
    assert rows(tmp_path) == wanted
