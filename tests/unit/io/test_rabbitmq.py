"""What a user can rely on when RabbitMQ's queues are read and written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.describe import describe
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import AccessDenied, DataHubError, SourceMissing, TargetUnusable, Transient
from beam_datahub.runtime.engines import engine
from beam_datahub.security import Secret
from beam_datahub.spec import load, loads
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


class Queue:
    """A queue of a test's own."""

    def __init__(self, server: Server, kind: str | None = "quorum") -> None:
        self.server, self.name = server, fresh("queue")
        if kind is not None:
            with self.channel() as channel:
                channel.queue_declare(self.name, durable=True, arguments={"x-queue-type": kind})

    @contextmanager
    def channel(self) -> Iterator[Any]:
        import pika

        connection = pika.BlockingConnection(pika.ConnectionParameters(self.server.host, self.server.port))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def send(self, *bodies: Any, exchange: str = "", route: str | None = None, **properties: Any) -> None:
        import pika

        with self.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                channel.basic_publish(exchange, route or self.name, data, pika.BasicProperties(delivery_mode=2, **properties))

    def numbers(self, *numbers: int) -> None:
        self.send(*({"n": n} for n in numbers))

    def waiting(self) -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(self.name, passive=True).method.message_count)

    def messages(self) -> list[Any]:
        """All messages, which are taken away."""
        found = []
        with self.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(self.name, auto_ack=True)
                if method is None:
                    return found
                found.append((method, properties, body))

    @property
    def connection(self) -> dict[str, Any]:
        return {"host": self.server.host, "port": self.server.port}

    def source(self, **options: Any) -> Any:
        return source_of("rabbitmq", {**self.connection, **options.pop("connection", {})}, **{"queue": self.name, **options})

    def sink(self, staging: Any, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        chosen = {} if "exchange" in options else {"queue": self.name}
        return sink_of("rabbitmq", connection, staging, **{**chosen, **options})


@pytest.fixture
def queue(rabbitmq: Server) -> Queue:
    return Queue(rabbitmq)


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_what_is_published_is_acknowledged_and_what_is_not_comes_again(rabbitmq: Server, kind: str) -> None:
    queue = Queue(rabbitmq, kind)
    queue.numbers(1, 2, 3)
    source = queue.source(metadata=["redelivered"])
    schema = pa.schema([*NUMBERED, ("_redelivered", pa.bool_())])
    failed = Taken(source, schema)
    assert [(row["n"], row["_redelivered"]) for row in failed.rows] == [(1, False), (2, False), (3, False)]
    queue.numbers(4)
    failed.give_up()
    again = Taken(source, schema)
    assert sorted((row["n"], row["_redelivered"]) for row in again.rows) == [(1, True), (2, True), (3, True), (4, False)]
    again.publish()
    assert Taken(source, schema).rows == []
    assert queue.waiting() == 0


def test_a_run_takes_what_is_there_when_it_starts_and_at_most_what_it_may(queue: Queue) -> None:
    queue.numbers(1, 2, 3, 4)
    some = Taken(queue.source(maximum_messages=3), NUMBERED)
    assert some.numbers == [1, 2, 3]
    queue.numbers(5)
    some.publish()
    assert queue.waiting() == 2


def test_looking_leaves_the_messages_where_they_are(queue: Queue) -> None:
    queue.numbers(1, 2, 3)
    source = queue.source()
    assert source.discover().schema == NUMBERED
    assert read(source, NUMBERED, limit=2).table.num_rows == 2
    assert sorted(Taken(source, NUMBERED).numbers) == [1, 2, 3]


def test_a_queue_can_be_made_and_bound_and_what_is_known_of_a_message_becomes_columns(rabbitmq: Server) -> None:
    queue, exchange = Queue(rabbitmq, None), fresh("exchange")
    with queue.channel() as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
    options = {"make_queue": "quorum", "exchange": exchange, "routing_keys": ["*.paid", "all.#"]}
    source = queue.source(
        **options, metadata=["id", "timestamp", "exchange", "routing_key", "queue", "headers", "delivery_count"]
    )
    with pytest.raises(SourceMissing):
        source.waiting()
    assert Taken(source, NUMBERED).numbers == []
    sent = {"exchange": exchange, "message_id": "m1", "timestamp": 1_700_000_000, "headers": {"a": 1, "b": "x"}}
    queue.send({"n": 1}, route="eu.paid", **sent)
    queue.send({"n": 2}, route="eu.open", exchange=exchange)
    queue.send(b"{", route="all.of.it", exchange=exchange)
    schema = pa.schema([*NUMBERED, *source.metadata])
    found = Taken(source, schema)
    (row,) = found.rows
    assert {name: row[name] for name in ("n", "_id", "_exchange", "_routing_key", "_queue")} == {
        "n": 1, "_id": "m1", "_exchange": exchange, "_routing_key": "eu.paid", "_queue": queue.name,
    }  # fmt: skip
    assert row["_timestamp"].timestamp() == 1_700_000_000
    assert dict(row["_headers"]) == {"a": "1", "b": "x"}
    assert [(each["reason"], each["original"]) for each in found.rejected] == [("malformed", "{")]
    found.publish()


def test_a_stream_acknowledges_what_is_published_and_gives_the_rest_back(queue: Queue) -> None:
    queue.numbers(*range(250))
    queue.send(b"{")
    one = followed(queue.source(maximum_messages=10_000))
    # The server sends some ahead, and more when those wait for their commit.
    first = taken_by(one, 250)
    assert (first.numbers, queue.waiting()) == (list(range(250)), 0)
    queue.numbers(250, 251)
    second = taken_by(one, 2)
    assert second.numbers == [250, 251]
    one.published(first.position)
    assert one.owes
    one.close()
    until(lambda: queue.waiting() == 2)
    two = followed(queue.source(), second.position)
    again = taken_by(two, 2)
    assert again.numbers == [250, 251]
    two.published(second.position)
    assert two.owes
    two.published(again.position)
    assert (two.owes, two.take(0.0, 1).behind) == (False, 0)
    two.close()
    assert queue.waiting() == 0


def test_no_more_is_taken_ahead_than_fills_a_batch(queue: Queue) -> None:
    body = b"x" * 400_000
    queue.send(*[body] * 60)
    source = queue.source(format="bytes", maximum_messages=50)
    one = followed(source, schema=pa.schema([("value", pa.binary())]))
    taken, arrival = 0, one.take(1.0, 2_000_000)
    while arrival.block is not None:
        taken += arrival.block.batch.num_rows
        arrival = one.take(1.0, 2_000_000)
    assert (taken, arrival.behind) == (50, 1)
    one.published(arrival.position)
    assert taken_by_rows(one, 10) == 10
    one.close()


def taken_by_rows(follower: Any, count: int) -> int:
    found = 0
    while found < count:
        block = follower.take(1.0, 1 << 20).block
        found += 0 if block is None else block.batch.num_rows
    return found


def test_a_connection_that_is_lost_fails_the_run_before_it_publishes_and_loses_nothing(rabbitmq: Server) -> None:
    queue = Queue(rabbitmq, "classic")
    queue.numbers(1, 2)
    taken = Taken(queue.source(), NUMBERED)
    queue.server.kill()
    try:
        with pytest.raises(Transient, match="is gone"):
            taken.publish()
    finally:
        queue.server.start()
        taken.give_up()
    # A queue comes back a little later than its server.
    end = time.monotonic() + 60
    while queue.waiting() < 2 and time.monotonic() < end:
        time.sleep(0.1)
    again = Taken(queue.source(), NUMBERED)
    assert again.numbers == [1, 2]
    again.publish()


def test_another_process_cannot_acknowledge_and_says_so(queue: Queue, caplog: Any) -> None:
    queue.numbers(1)
    taken = Taken(queue.source(), NUMBERED)
    taken.give_up()
    queue.source().acknowledge(taken.messages)
    assert "come again" in caplog.text
    assert Taken(queue.source(), NUMBERED).numbers == [1]


def test_a_queue_can_be_followed_but_not_behind_a_backfill(queue: Queue, tmp_path: Any) -> None:
    connection = f"{{host: {queue.server.host}, port: {queue.server.port}}}"
    spec = (
        "name: a\ntype: KIND\n"
        f"source: {{name: in, connector: rabbitmq, connection: {connection}, queue: {queue.name}, schema: {{n: bigint}}}}\n"
        f"destination: {{connector: jsonl, connection: {{path: {tmp_path}}}, write_mode: append}}\n"
    )
    document = loads(spec.replace("KIND", "real-time"))
    engine("prism").check(document)
    assert "at least once" in str(describe(build(document, BuildOptions(run_id="r"))))
    with pytest.raises(DataHubError, match="nobody knows how far the backfill"):
        build(loads(spec.replace("KIND", "hybrid")), BuildOptions(run_id="r"))


def test_engines_whose_workers_are_other_processes_are_refused(tmp_path: Any) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: a\nsource: {name: in, connector: rabbitmq, connection: {host: h}, queue: q, schema: {n: bigint}}\n"
        "destination: {connector: jsonl, connection: {path: out}}\n"
    )
    engine("direct").check(load(spec))
    with pytest.raises(Exception, match="cannot read from 'rabbitmq'"):
        engine("spark").check(load(spec))


def test_what_is_written_is_read_again(queue: Queue, tmp_path: Any) -> None:
    table = pa.table({"n": [1, 2, None], "name": ["a\nb", "", 'c,"d"']})
    for form in ("json", "csv"):
        written(queue.sink(tmp_path, format=form), table, run=form)
        taken = Taken(queue.source(format=form), table.schema)
        assert taken.table.to_pylist() == table.to_pylist(), form
        taken.publish()
    exchange = fresh("exchange")
    sink = queue.sink(tmp_path, exchange=exchange, make_exchange="topic", format="text", routing_key_column="where")
    lines = pa.table({"line": ["x", "y"], "where": ["eu.paid", "us.paid"]})
    request, receipts = staged(sink, lines)
    with pytest.raises(TargetUnusable, match="no queue is bound"):
        sink.commit(request, receipts)
    with queue.channel() as channel:
        channel.queue_bind(queue.name, exchange, "#.paid")
    sink.commit(request, receipts)
    found = queue.messages()
    assert [(method.routing_key, body) for method, _, body in found] == [("eu.paid", b"x"), ("us.paid", b"y")]
    assert [properties.message_id for _, properties, _ in found] == ["run1.out.0", "run1.out.1"]


def test_a_commit_that_breaks_off_sends_at_most_a_chunk_again_by_which_it_can_be_known(queue: Queue, tmp_path: Any) -> None:
    sink = queue.sink(tmp_path)
    request, receipts = staged(sink, pa.table({"n": list(range(2500))}))
    broken_off(sink, request, receipts, after=1)
    assert sink.commit(request, receipts).rows == 2500
    assert sink.commit(request, receipts).rows == 2500
    taken = Taken(queue.source(metadata=["id"]), pa.schema([*NUMBERED, ("_id", pa.string())]))
    assert len(taken.rows) == 3500
    assert len({row["_id"] for row in taken.rows}) == 2500
    assert sorted({row["n"] for row in taken.rows}) == list(range(2500))
    taken.publish()


def test_what_is_wrong_with_a_server_or_a_queue_is_said(queue: Queue, tmp_path: Any) -> None:
    with pytest.raises(SourceMissing, match="no queue"):
        queue.source(queue="nothing").discover()
    wrong = queue.source(connection={"user": "guest", "password": Secret("wr0ngpass")})
    with pytest.raises(AccessDenied) as denied:
        Taken(wrong, NUMBERED)
    assert "wr0ngpass" not in str(denied.value)
    assert not wrong.check().fine
    with pytest.raises(AccessDenied):
        queue.source(connection={"virtual_host": "nowhere"}).discover()
    queue.numbers(1)
    right = queue.source(connection={"user": "guest", "password": Secret("guest")})
    assert right.check().lines[-1] == (queue.name, True, "1 message")
    with pytest.raises(Transient, match="does not answer"):
        queue.source(connection={"port": 1, "connect_timeout_seconds": 1}).discover()
    new = Queue(queue.server, None)
    with pytest.raises(TargetUnusable, match="there is no"):
        new.sink(tmp_path).prepare(WriteRequest("r", "out", NUMBERED))
    written(new.sink(tmp_path, make_queue="classic"), pa.table({"n": [1]}))
    assert new.waiting() == 1
