"""What a user can rely on when MQTT topics are read and written."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import AccessDenied, InvalidValue, Transient, UnreadableData
from beam_datahub.io.mqtt.connection import Client
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import Server
from tests.unit.io.queues import (
    NUMBERED,
    Taken,
    broken_off,
    followed,
    fresh,
    sink_of,
    source_of,
    staged,
    taken_by,
    until,
    written,
)


class Topic:
    """A topic of a test's own, and all below it."""

    def __init__(self, server: Server) -> None:
        self.server, self.name = server, fresh("topic")

    def send(self, *bodies: Any, below: str = "a", retain: bool = False, qos: int = 1, headers: Any = ()) -> None:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties: Any = Properties(PacketTypes.PUBLISH)
        if headers:
            properties.UserProperty = list(headers)
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.connect(self.server.host, self.server.port)
        client.loop_start()
        for body in bodies:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            client.publish(f"{self.name}/{below}", data, qos, retain, properties).wait_for_publish(60)
        client.disconnect()
        client.loop_stop()

    def numbers(self, *numbers: int) -> None:
        self.send(*({"n": n} for n in numbers))

    @property
    def connection(self) -> dict[str, Any]:
        return {"host": self.server.host, "port": self.server.port}

    def source(self, **options: Any) -> Any:
        chosen = {"topic": f"{self.name}/#", "session": self.name, "quiet_seconds": 1.0, **options}
        return source_of("mqtt", {**self.connection, **chosen.pop("connection", {})}, **chosen)

    def sink(self, staging: Any, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        return sink_of("mqtt", connection, staging, **{"topic": f"{self.name}/out", **options})

    def subscribed(self, **options: Any) -> Any:
        """A source whose session the broker keeps from now on."""
        source = self.source(quiet_seconds=0.01, **options)
        Taken(source, NUMBERED).give_up()
        return self.source(**options)


@pytest.fixture
def topic(mosquitto: Server) -> Topic:
    return Topic(mosquitto)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_is_published_is_acknowledged_and_what_is_not_comes_again(topic: Topic, version: str) -> None:
    source = topic.subscribed(connection={"version": version}, metadata=["duplicate"])
    topic.numbers(1, 2, 3)
    schema = pa.schema([*NUMBERED, ("_duplicate", pa.bool_())])
    failed = Taken(source, schema)
    assert [(row["n"], row["_duplicate"]) for row in failed.rows] == [(1, False), (2, False), (3, False)]
    failed.give_up()
    again = Taken(source, schema)
    assert [(row["n"], row["_duplicate"]) for row in again.rows] == [(1, True), (2, True), (3, True)]
    again.publish()
    assert Taken(source, schema).rows == []


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_stream_acknowledges_what_is_published_and_the_rest_comes_again(topic: Topic, version: str) -> None:
    source = topic.subscribed(connection={"version": version})
    topic.numbers(1, 2)
    topic.send(b"{", {"n": 3}, qos=2)
    one = followed(source)
    first = taken_by(one, 3)
    topic.numbers(4)
    second = taken_by(one, 1)
    assert [*first.numbers, *second.numbers] == [1, 2, 3, 4]
    one.published(first.position)
    assert one.owes
    one.close()
    two = followed(source, second.position)
    again = taken_by(two, 1)
    assert again.numbers == [4]
    two.published(again.position)
    until(lambda: two.take(0.1, 1).behind == 0)
    two.close()
    assert Taken(source, NUMBERED).rows == []


def test_a_stream_takes_no_more_than_may_wait_for_its_commit(topic: Topic, tmp_path: Any) -> None:
    source = topic.subscribed(maximum_messages=40)
    written(topic.sink(tmp_path), pa.table({"n": list(range(100))}))
    one = followed(source)
    numbers: list[int] = []
    while len(numbers) < 100:
        some = taken_by(one, min(40, 100 - len(numbers)))
        assert len(some.numbers) <= 40
        numbers += some.numbers
        one.published(some.position)
    assert numbers == list(range(100))
    one.close()


def test_a_broker_that_is_away_is_waited_for_by_a_stream_and_what_it_brings_again_is_known(topic: Topic) -> None:
    source = topic.subscribed()
    one = followed(source)
    topic.numbers(1, 2)
    numbers = taken_by(one, 2).numbers
    # Somebody with the same name: the broker ends the connection, and keeps the session.
    other = Client(source.connection, topic.name, keep_seconds=60)
    other.close()
    topic.numbers(3)
    last = taken_by(one, 1)
    assert [*numbers, *last.numbers] == [1, 2, 3]
    one.published(last.position)
    assert not one.owes
    one.close()
    assert Taken(source, NUMBERED).rows == []


def test_what_a_broker_does_not_keep_is_refused_as_a_stream(topic: Topic) -> None:
    assert topic.source().capabilities.unbounded
    assert not topic.source(qos=0).capabilities.unbounded


def test_more_messages_than_a_broker_likes_to_have_under_way_are_taken(topic: Topic, tmp_path: Any) -> None:
    source = topic.subscribed()
    written(topic.sink(tmp_path), pa.table({"n": list(range(2500))}))
    some = Taken(topic.source(maximum_messages=1000), NUMBERED)
    assert some.numbers == list(range(1000))
    some.publish()
    rest = Taken(source, NUMBERED)
    assert rest.numbers == list(range(1000, 2500))
    rest.publish()


def test_wildcards_pick_topics_and_what_is_known_of_a_message_becomes_columns(topic: Topic) -> None:
    options = {"topic": [f"{topic.name}/+/paid", f"{topic.name}/all/#"]}
    topic.subscribed(**options)
    source = topic.source(**options, metadata=["id", "timestamp", "topic", "headers", "qos", "retained"])
    topic.send({"n": 1}, below="eu/paid", qos=2, headers=[("id", "m1"), ("trace", "t")])
    topic.send({"n": 2}, below="eu/open")
    topic.send(b"{", below="all/of/it")
    found = Taken(source, pa.schema([*NUMBERED, *source.metadata]))
    (row,) = found.rows
    assert (row["n"], row["_id"], row["_topic"], row["_retained"]) == (1, "m1", f"{topic.name}/eu/paid", False)
    assert (row["_qos"], dict(row["_headers"])) == (1, {"id": "m1", "trace": "t"})
    assert row["_timestamp"].year > 2000
    assert [(each["reason"], each["original"]) for each in found.rejected] == [("malformed", "{")]
    found.publish()


def test_looking_takes_nothing_and_finds_columns_in_what_is_retained(topic: Topic) -> None:
    with pytest.raises(UnreadableData, match="holds no message yet"):
        topic.source(quiet_seconds=0.2).discover()
    source = topic.subscribed()
    topic.send({"n": 1}, retain=True)
    assert source.discover().schema == NUMBERED
    assert read(source, NUMBERED, limit=1).table["n"].to_pylist() == [1]
    taken = Taken(source, NUMBERED)
    assert set(taken.numbers) == {1}
    taken.publish()
    topic.send(b"", retain=True)


def test_a_broker_that_is_killed_fails_the_run_before_it_publishes_and_loses_nothing(topic: Topic) -> None:
    source = topic.subscribed()
    topic.numbers(1, 2)
    taken = Taken(source, NUMBERED)
    topic.server.kill()
    try:
        with pytest.raises(Transient, match="is gone"):
            taken.publish()
    finally:
        topic.server.start()
        taken.give_up()
    again = Taken(source, NUMBERED)
    assert again.numbers == [1, 2]
    again.publish()


def test_another_process_cannot_acknowledge_and_says_so(topic: Topic, caplog: Any) -> None:
    source = topic.subscribed()
    topic.numbers(1)
    taken = Taken(source, NUMBERED)
    taken.give_up()
    source.acknowledge(taken.messages)
    assert "comes again" in caplog.text
    assert Taken(source, NUMBERED).numbers == [1]


def test_what_is_written_is_read_again(topic: Topic, tmp_path: Any) -> None:
    table = pa.table({"n": [1, 2, None], "name": ["a\nb", "", 'c,"d"']})
    for form in ("json", "csv"):
        there = Topic(topic.server)
        source = there.subscribed(format=form) if form == "json" else there.source(format=form)
        if form == "csv":
            Taken(there.source(format=form, quiet_seconds=0.01), table.schema).give_up()
        written(there.sink(tmp_path, format=form, qos=2), table, run=form)
        taken = Taken(source, table.schema)
        assert taken.table.to_pylist() == table.to_pylist(), form
        taken.publish()
    source = topic.subscribed(metadata=["id", "topic", "headers"])
    headers = pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string()))
    lines = pa.table({"n": ["1", "2"], "where": ["eu", None], "h": headers})
    written(topic.sink(tmp_path, topic_column="where", headers="h"), lines)
    found = Taken(source, pa.schema([*NUMBERED, *source.metadata]))
    assert [(row["n"], row["_topic"], row["_id"]) for row in found.rows] == [
        (1, f"{topic.name}/out/eu", "run1.out.0"),
        (2, f"{topic.name}/out", "run1.out.1"),
    ]
    assert dict(found.rows[0]["_headers"])["k"] == "v"
    found.publish()
    with pytest.raises(InvalidValue, match=r"3\.1\.1 has no headers"):
        topic.sink(tmp_path, headers="h", connection={"version": "3.1.1"}).plan_write(WriteRequest("r", "out", lines.schema))


def test_a_commit_that_breaks_off_sends_at_most_a_chunk_again_by_which_it_can_be_known(topic: Topic, tmp_path: Any) -> None:
    source = topic.subscribed(metadata=["id"])
    sink = topic.sink(tmp_path)
    request, receipts = staged(sink, pa.table({"n": list(range(1500))}))
    broken_off(sink, request, receipts, after=0)
    assert sink.commit(request, receipts).rows == 1500
    taken = Taken(source, pa.schema([*NUMBERED, ("_id", pa.string())]))
    assert len(taken.rows) == 2500
    assert len({row["_id"] for row in taken.rows}) == 1500
    taken.publish()


def test_what_is_wrong_with_a_broker_is_said(topic: Topic, tmp_path: Any) -> None:
    wrong = topic.source(connection={"user": "etl", "password": Secret("wr0ngpass")})
    with pytest.raises(AccessDenied) as denied:
        Taken(wrong, NUMBERED)
    assert "wr0ngpass" not in str(denied.value)
    assert not wrong.check().fine
    right = topic.source(connection={"user": "etl", "password": Secret("right")})
    assert right.check().lines[-1] == (f"{topic.name}/#", True, "is there")
    with pytest.raises(Transient, match="does not answer"):
        topic.source(connection={"port": 1, "connect_timeout_seconds": 1}).discover()
    assert topic.sink(tmp_path).check().fine
    with pytest.raises(ValueError, match="no wildcards"):
        topic.sink(tmp_path, topic="a/#")
