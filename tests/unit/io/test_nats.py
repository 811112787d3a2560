"""What a user can rely on when NATS streams are read and written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pyarrow as pa
import pytest
from nats.aio.client import Client
from nats.errors import Error

from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import (
    AccessDenied,
    InvalidValue,
    SourceMissing,
    TargetUnusable,
    Transient,
    UnknownColumn,
    UnreadableData,
)
from beam_datahub.io.nats.connection import NatsConnection, Session
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import Server
from tests.unit.io.queues import NUMBERED, Taken, broken_off, fresh, sink_of, source_of, staged, taken_by, written


class Stream:
    """A stream of a test's own, which takes all below one subject."""

    def __init__(self, server: Server, *, make: bool = True, **config: Any) -> None:
        self.server, self.name = server, fresh("S")
        if make:
            self.ask(lambda js: js.add_stream(name=self.name, subjects=[f"{self.name}.>"], **config))

    def ask(self, what: Any) -> Any:
        """Do something with NATS's own client."""
        import nats

        async def work() -> Any:
            client = await nats.connect(f"nats://{self.server.address}")
            try:
                return await what(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(work())

    def send(self, *bodies: Any, subject: str = "a", headers: dict[str, str] | None = None) -> None:
        async def work(js: Any) -> None:
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                await js.publish(f"{self.name}.{subject}", data, headers=headers)

        self.ask(work)

    def numbers(self, *numbers: int) -> None:
        self.send(*({"n": n} for n in numbers))

    def messages(self) -> list[Any]:
        async def work(js: Any) -> list[Any]:
            state = (await js.stream_info(self.name)).state
            return [await js.get_msg(self.name, number) for number in range(state.first_seq, state.last_seq + 1)]

        found: list[Any] = self.ask(work)
        return found

    @property
    def connection(self) -> dict[str, Any]:
        return {"servers": f"nats://{self.server.address}"}

    def source(self, **options: Any) -> Any:
        return source_of("nats", {**self.connection, **options.pop("connection", {})}, **{"stream": self.name, **options})

    def sink(self, staging: Any, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        return sink_of("nats", connection, staging, **{"stream": self.name, "message_subject": f"{self.name}.out", **options})


@pytest.fixture
def stream(nats: Server) -> Stream:
    return Stream(nats)


def test_a_run_reads_what_is_there_and_the_next_one_only_what_came_since(stream: Stream) -> None:
    source = stream.source()
    assert Taken(source, NUMBERED).numbers == []
    stream.numbers(1, 2)
    first = Taken(source, NUMBERED)
    assert (first.numbers, first.reached, first.messages) == ([1, 2], {stream.name: 3}, [])
    assert Taken(source, NUMBERED, first.reached).numbers == []
    stream.numbers(3)
    assert Taken(source, NUMBERED, first.reached).numbers == [3]


def test_the_first_run_begins_where_start_says(stream: Stream) -> None:
    stream.numbers(1, 2, 3)
    assert Taken(stream.source(start=2), NUMBERED).numbers == [2, 3]
    assert Taken(stream.source(start="latest"), NUMBERED).numbers == []
    assert Taken(stream.source(start="2000-01-01T00:00:00Z"), NUMBERED).numbers == [1, 2, 3]
    assert Taken(stream.source(start="2100-01-01T00:00:00"), NUMBERED).numbers == []
    assert stream.source().position("", "7") == 7
    with pytest.raises(InvalidValue, match="is no sequence"):
        stream.source().position("", "x")


def test_only_wanted_subjects_are_read_and_what_is_known_of_a_message_becomes_columns(stream: Stream) -> None:
    stream.send({"n": 1}, subject="eu.paid", headers={"Nats-Msg-Id": "x1", "trace": "t"})
    stream.send({"n": 2}, subject="us.open")
    stream.send({"n": 3}, b"{", subject="us.paid")
    every = ["id", "timestamp", "sequence", "subject", "headers", "delivery_count"]
    source = stream.source(subjects=f"{stream.name}.*.paid", metadata=every)
    result = read(source)
    assert [(row["n"], row["_sequence"], row["_subject"]) for row in result.rows] == [
        (1, 1, f"{stream.name}.eu.paid"),
        (3, 3, f"{stream.name}.us.paid"),
    ]
    assert result.rows[0]["_id"] == "x1"
    assert dict(result.rows[0]["_headers"])["trace"] == "t"
    assert result.rows[0]["_timestamp"].year > 2000
    assert [(each["row"], each["reason"]) for each in result.rejected] == [(3, "malformed")]
    both = stream.source(subjects=[f"{stream.name}.eu.>", f"{stream.name}.us.open"])
    assert Taken(both, NUMBERED).numbers == [1, 2]


def test_messages_that_were_deleted_unread_fail_the_run_unless_they_may_be_skipped(stream: Stream) -> None:
    stream.numbers(*range(1, 6))
    stream.ask(lambda js: js.purge_stream(stream.name, seq=4))
    with pytest.raises(UnreadableData, match="deleted sequences 2 to 3"):
        Taken(stream.source(), NUMBERED, {stream.name: 2})
    assert Taken(stream.source(missing="skip"), NUMBERED, {stream.name: 2}).numbers == [4, 5]
    with pytest.raises(UnreadableData, match="made anew"):
        Taken(stream.source(), NUMBERED, {stream.name: 50})


def test_a_work_queue_is_read_by_a_consumer_which_is_told_what_is_published(nats: Server) -> None:
    queue = Stream(nats, retention="workqueue")
    queue.numbers(1, 2)
    with pytest.raises(InvalidValue, match="removes messages once"):
        Taken(queue.source(), NUMBERED)
    source = queue.source(consumer="c", metadata=["delivery_count"])
    schema = pa.schema([*NUMBERED, ("_delivery_count", pa.int64())])
    Taken(source, schema).give_up()
    again = Taken(source, schema)
    assert [(row["n"], row["_delivery_count"]) for row in again.rows] == [(1, 2), (2, 2)]
    again.publish()
    assert Taken(source, schema).rows == []
    assert queue.ask(lambda js: js.stream_info(queue.name)).state.messages == 0


def test_looking_takes_nothing_from_a_consumer(stream: Stream) -> None:
    stream.numbers(1, 2, 3)
    source = stream.source(consumer="c")
    assert read(source, NUMBERED, limit=2).table["n"].to_pylist() == [1, 2]
    assert stream.ask(lambda js: js.stream_info(stream.name)).state.consumer_count <= 1
    taken = Taken(source, NUMBERED)
    assert taken.numbers == [1, 2, 3]
    taken.publish()
    assert read(source, NUMBERED).table.num_rows == 0


def test_another_process_can_acknowledge_what_a_run_that_died_had_published(stream: Stream) -> None:
    stream.numbers(1, 2)
    taken = Taken(stream.source(consumer="c"), NUMBERED)
    other = stream.source(consumer="c")
    messages = json.loads(json.dumps(taken.messages))
    other.acknowledge(messages)
    other.acknowledge(messages)
    assert Taken(other, NUMBERED).numbers == []


def test_a_hold_that_ran_out_fails_the_run_before_it_publishes(stream: Stream) -> None:
    from beam_datahub.component.messages.lease import Lease

    lease = Lease("queue", 0.0, lambda tokens: None, lambda tokens: None)
    lease.add(["x"])
    with pytest.raises(Transient, match="ran out before they were published"):
        lease.check()
    lease.release()


def test_what_is_written_is_read_again(stream: Stream, tmp_path: Any) -> None:
    table = pa.table({"n": [1, 2, None], "name": ["a\nb", "", 'c,"d"']})
    for form in ("json", "csv"):
        there = Stream(stream.server)
        written(there.sink(tmp_path, format=form), table)
        assert read(there.source(format=form), table.schema).table.to_pylist() == table.to_pylist(), form
    text = Stream(stream.server)
    lines = pa.table(
        {"line": ["x", "y"], "where": ["eu.paid", None], "h": pa.array([[("k", "v")], []], pa.map_("string", "string"))}
    )
    written(text.sink(tmp_path, format="text", subject_column="where", headers="h"), lines)
    found = text.messages()
    assert [(each.subject, each.data) for each in found] == [(f"{text.name}.out.eu.paid", b"x"), (f"{text.name}.out", b"y")]
    assert found[0].headers["k"] == "v"
    with pytest.raises(UnknownColumn):
        stream.sink(tmp_path, subject_column="nothing").plan_write(WriteRequest("r", "out", NUMBERED))


def test_a_commit_that_breaks_off_sends_the_rest_and_a_repeated_one_nothing_however_late(nats: Server, tmp_path: Any) -> None:
    # The stream itself forgets ids at once.
    stream = Stream(nats, duplicate_window=0.1)
    sink = stream.sink(tmp_path)
    request, receipts = staged(sink, pa.table({"n": list(range(2500))}))
    broken_off(sink, request, receipts, after=1)
    stream.ask(lambda js: asyncio.sleep(0.3))
    assert sink.commit(request, receipts).rows == 2500
    assert sink.commit(request, receipts).rows == 2500
    assert sorted(Taken(stream.source(), NUMBERED).numbers) == list(range(2500))


def test_a_server_that_is_killed_in_the_middle_of_a_read_loses_and_doubles_nothing(stream: Stream, tmp_path: Any) -> None:
    written(stream.sink(tmp_path), pa.table({"n": list(range(2500))}))
    source = stream.source()
    wanted = ReadRequest(NUMBERED, ("n",), takes=True, batch_bytes=1)
    found: list[int] = []
    for split in source.splits(wanted):
        for number, block in enumerate(source.read(split, wanted)):
            found += block.batch["n"].to_pylist()
            if number == 0:
                stream.server.kill()
                stream.server.start()
    assert found == list(range(2500))


@pytest.mark.parametrize("lost", [slice(3, 4), slice(7, None)], ids=["one amid others", "the last ones"])
def test_messages_that_are_lost_with_a_connection_are_asked_for_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, lost: slice
) -> None:
    from nats.js import JetStreamContext

    fetch = JetStreamContext.PullSubscription.fetch
    losses: list[int] = []

    async def losing(self: Any, *arguments: Any, **named: Any) -> Any:
        found = await fetch(self, *arguments, **named)
        if len(found) > 3 and not losses:
            losses.extend(range(*lost.indices(len(found))))
            del found[lost]
        return found

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", losing)
    monkeypatch.setattr("beam_datahub.io.nats.following._DOUBT_SECONDS", 0.1)
    stream.numbers(*range(10))
    source = stream.source()
    assert Taken(source, NUMBERED).numbers == list(range(10))
    assert losses
    losses.clear()
    wanted = ReadRequest(NUMBERED, ("n",))
    (partition,) = source.partitions(wanted)
    follower = source.follow(partition, wanted)
    try:
        assert taken_by(follower, 10).numbers == list(range(10))
    finally:
        follower.close()
    assert losses


def test_what_is_wrong_with_a_server_or_a_stream_is_said(stream: Stream, tmp_path: Any) -> None:
    with pytest.raises(SourceMissing, match="stream not found"):
        stream.source(stream="nothing").discover()
    wrong = stream.source(connection={"user": "etl", "password": Secret("wr0ngpass")})
    with pytest.raises(AccessDenied) as denied:
        Taken(wrong, NUMBERED)
    assert "wr0ngpass" not in str(denied.value)
    assert not wrong.check().fine
    stream.numbers(1)
    right = stream.source(connection={"user": "etl", "password": Secret("right")})
    assert right.check().lines[-1] == (stream.name, True, "1 message")
    with pytest.raises(Transient, match="does not answer"):
        stream.source(connection={"servers": "nats://127.0.0.1:1", "connect_timeout_seconds": 1}).discover()
    new = Stream(stream.server, make=False)
    with pytest.raises(TargetUnusable, match="there is no stream"):
        new.sink(tmp_path).prepare(WriteRequest("r", "out", NUMBERED))
    written(new.sink(tmp_path, make_stream=True), pa.table({"n": [1]}))
    assert Taken(new.source(), NUMBERED).numbers == [1]


def test_a_refused_login_is_told_whatever_comes_of_trying_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(client: Client, servers: list[str], *, error_cb: Callable[[Exception], Awaitable[None]], **_: Any) -> None:
        await error_cb(Error("nats: 'Authorization Violation'"))
        await error_cb(ConnectionResetError(104, "Connection reset by peer"))
        await asyncio.Event().wait()

    monkeypatch.setattr(Client, "connect", connect)
    with pytest.raises(AccessDenied, match="Authorization Violation"):
        Session(NatsConnection(servers="nats://127.0.0.1:1"))


def test_a_stream_is_followed_from_where_it_was_left_also_when_its_server_was_away(stream: Stream) -> None:
    stream.numbers(1, 2)
    source = stream.source()
    wanted = ReadRequest(NUMBERED, ("n",))
    (partition,) = source.partitions(wanted)
    follower = source.follow(partition, wanted)
    try:
        first = taken_by(follower, 2)
        assert first.numbers == [1, 2]
        stream.server.kill()
        stream.server.start()
        stream.numbers(3, 4)
        assert taken_by(follower, 2).numbers == [3, 4]
        assert follower.take(0.01, 1 << 20).block is None
    finally:
        follower.close()
    (later,) = source.partitions(ReadRequest(NUMBERED, ("n",), reached={stream.name: first.position}))
    again = source.follow(later, wanted)
    try:
        assert taken_by(again, 2).numbers == [3, 4]
    finally:
        again.close()
    with pytest.raises(InvalidValue, match="a position of its own"):
        list(stream.source(consumer="x").partitions(wanted))
