"""What a user can rely on when Google Pub/Sub is read and written, as far as an emulator shows it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import SourceMissing, TargetUnusable, Transient
from beam_datahub.testing.connectors import read
from tests.conftest import Server
from tests.unit.io.queues import NUMBERED, Taken, broken_off, fresh, sink_of, source_of, staged, written


class Topic:
    """A topic of a test's own, with a subscription."""

    def __init__(self, server: Server, *, make: bool = True) -> None:
        self.server, self.name, self.subscription = server, fresh("topic"), fresh("subscription")
        self.path = f"projects/tests/topics/{self.name}"
        if make:
            with self._connection.publisher() as client:
                client.create_topic(name=self.path)
            with self._connection.subscriber() as client:
                name = f"projects/tests/subscriptions/{self.subscription}"
                client.create_subscription(name=name, topic=self.path)

    @property
    def _connection(self) -> Any:
        from beam_datahub.io.pubsub.connection import PubsubConnection

        return PubsubConnection(**self.connection)

    @property
    def connection(self) -> dict[str, Any]:
        return {"project": "tests", "emulator": self.server.address}

    def send(self, *bodies: Any, **more: Any) -> None:
        messages = [
            {"data": body if isinstance(body, bytes) else json.dumps(body).encode(), "attributes": more} for body in bodies
        ]
        with self._connection.publisher() as client:
            client.publish(topic=self.path, messages=messages)

    def numbers(self, *numbers: int) -> None:
        self.send(*({"n": n} for n in numbers))

    def source(self, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        return source_of("pubsub", connection, **{"subscription": self.subscription, "wait_seconds": 2, **options})

    def sink(self, staging: Any, **options: Any) -> Any:
        return sink_of("pubsub", self.connection, staging, **{"topic": self.name, **options})


@pytest.fixture
def topic(pubsub: Server) -> Topic:
    return Topic(pubsub)


def test_what_is_published_is_acknowledged_and_what_is_not_comes_again(topic: Topic) -> None:
    topic.numbers(*range(25))
    source = topic.source()
    failed = Taken(source, NUMBERED)
    assert failed.numbers == list(range(25))
    failed.give_up()
    again = Taken(source, NUMBERED)
    assert again.numbers == list(range(25))
    again.publish()
    assert Taken(source, NUMBERED).numbers == []


def test_another_process_can_acknowledge_what_a_run_that_died_had_published(topic: Topic) -> None:
    topic.numbers(1, 2)
    taken = Taken(topic.source(), NUMBERED)
    other = topic.source()
    messages = json.loads(json.dumps(taken.messages))
    other.acknowledge(messages)
    other.acknowledge(messages)
    taken.give_up()
    assert Taken(other, NUMBERED).numbers == []


def test_looking_leaves_the_messages_where_they_are(topic: Topic) -> None:
    topic.numbers(1, 2, 3)
    source = topic.source()
    assert source.discover().schema == NUMBERED
    assert read(source, NUMBERED, limit=2).table.num_rows == 2
    taken = Taken(source, NUMBERED)
    assert taken.numbers == [1, 2, 3]
    taken.publish()


def test_a_subscription_can_be_made_and_a_run_takes_at_most_what_it_may(topic: Topic) -> None:
    options = {"subscription": fresh("made"), "topic": topic.name}
    assert Taken(topic.source(**options), NUMBERED).numbers == []
    topic.numbers(*range(30))
    some = Taken(topic.source(**options, maximum_messages=20), NUMBERED)
    assert len(some.rows) == 20
    some.publish()
    rest = Taken(topic.source(**options), NUMBERED)
    assert sorted(some.numbers + rest.numbers) == list(range(30))
    rest.publish()


def test_what_is_known_of_a_message_becomes_columns_and_misfits_are_rejected(topic: Topic, tmp_path: Any) -> None:
    written(topic.sink(tmp_path), pa.table({"n": [1], "k": ["a"]}), key=("k",))
    topic.send(b"{", trace="t")
    source = topic.source(metadata=["id", "timestamp", "subscription", "headers", "key"])
    found = Taken(source, pa.schema([*NUMBERED, *source.metadata]))
    (row,) = found.rows
    assert (row["n"], row["_subscription"], row["_key"]) == (1, topic.subscription, "a")
    assert dict(row["_headers"]) == {"id": "run1.out.0"}
    assert row["_id"]
    assert row["_timestamp"].year > 2000
    assert [(each["reason"], each["original"]) for each in found.rejected] == [("malformed", "{")]
    found.publish()


def test_what_is_written_is_read_again(topic: Topic, tmp_path: Any) -> None:
    table = pa.table({"n": list(range(35)), "name": ["a\nb", "", 'c,"d"', None, "é"] * 7})
    for form in ("json", "csv"):
        written(topic.sink(tmp_path, format=form), table, run=form)
        taken = Taken(topic.source(format=form), table.schema)
        assert sorted(taken.rows, key=lambda row: row["n"]) == table.to_pylist(), form
        taken.publish()


def test_a_commit_that_breaks_off_sends_at_most_a_chunk_again_by_which_it_can_be_known(topic: Topic, tmp_path: Any) -> None:
    sink = topic.sink(tmp_path)
    sink.chunk_rows = 20
    request, receipts = staged(sink, pa.table({"n": list(range(60))}))
    broken_off(sink, request, receipts, after=1)
    assert sink.commit(request, receipts).rows == 60
    taken = Taken(topic.source(metadata=["headers"]), pa.schema([*NUMBERED, ("_headers", pa.map_(pa.string(), pa.string()))]))
    assert len(taken.rows) == 80
    assert len({dict(row["_headers"])["id"] for row in taken.rows}) == 60
    taken.publish()


def test_what_is_wrong_with_a_service_or_a_name_is_said(topic: Topic, tmp_path: Any) -> None:
    with pytest.raises(SourceMissing):
        topic.source(subscription="nothing").discover()
    assert topic.source().check().lines[-1] == (topic.subscription, True, "is there")
    with pytest.raises(Transient):
        topic.source(connection={"emulator": "127.0.0.1:1", "connect_timeout_seconds": 1}).discover()
    new = Topic(topic.server, make=False)
    with pytest.raises(TargetUnusable, match="there is no topic"):
        new.sink(tmp_path).prepare(WriteRequest("r", "out", NUMBERED))
    assert new.sink(tmp_path, make_topic=True).check().lines[-1][2] == "will be made"
    written(new.sink(tmp_path, make_topic=True), pa.table({"n": [1]}))
    assert new.sink(tmp_path).check().lines[-1][2] == "is there"
