"""What a user can rely on when Redis streams are read and written."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Contract, Drift, ReadRequest
from beam_datahub.errors import (
    AccessDenied,
    InvalidValue,
    LossyWrite,
    MissingValue,
    SourceMissing,
    TargetUnusable,
    Transient,
    UnreadableData,
)
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import Server
from tests.unit.io.kafka_topics import registry
from tests.unit.io.queues import NUMBERED, Taken, broken_off, fresh, sink_of, source_of, staged, taken_by, written


class Stream:
    """A stream of a test's own."""

    def __init__(self, server: Server) -> None:
        import redis

        self.server, self.name = server, fresh("stream")
        self.client: Any = redis.Redis(host=server.host, port=server.port)

    @property
    def connection(self) -> dict[str, Any]:
        return {"host": self.server.host, "port": self.server.port}

    def add(self, *entries: dict[str, Any], **more: Any) -> list[str]:
        return [self.client.xadd(self.name, entry, **more).decode() for entry in entries]

    def numbers(self, *numbers: int) -> list[str]:
        return self.add(*({"n": n} for n in numbers))

    def entries(self) -> list[dict[str, str]]:
        return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in self.client.xrange(self.name)]

    def source(self, **options: Any) -> Any:
        return source_of("redis_stream", {**self.connection, **options.pop("connection", {})}, **{"stream": self.name, **options})

    def sink(self, staging: Any, **options: Any) -> Any:
        connection = {**self.connection, **options.pop("connection", {})}
        return sink_of("redis_stream", connection, staging, **{"stream": self.name, **options})


@pytest.fixture
def stream(redis: Server) -> Stream:
    return Stream(redis)


def test_a_run_reads_what_is_there_and_the_next_one_only_what_came_since(stream: Stream) -> None:
    ids = stream.numbers(1, 2)
    source = stream.source()
    first = Taken(source, NUMBERED)
    assert (first.numbers, first.reached, first.messages) == ([1, 2], {stream.name: ids[-1]}, [])
    assert Taken(source, NUMBERED, first.reached).numbers == []
    stream.numbers(3)
    assert Taken(source, NUMBERED, first.reached).numbers == [3]
    assert Taken(source, NUMBERED, {stream.name: ids[0]}).numbers == [2, 3]


def test_the_first_run_begins_where_start_says(stream: Stream) -> None:
    ids = stream.numbers(1, 2, 3)
    assert Taken(stream.source(start=ids[0]), NUMBERED).numbers == [2, 3]
    latest = Taken(stream.source(start="latest"), NUMBERED)
    assert (latest.numbers, latest.reached) == ([], {stream.name: ids[-1]})
    with pytest.raises(ValueError, match="`start` is `earliest`, `latest` or an id"):
        stream.source(start="yesterday")
    assert stream.source().position("", "17") == "17-0"
    with pytest.raises(InvalidValue, match="is no id"):
        stream.source().position("", "x")


def test_several_streams_have_their_own_positions(stream: Stream) -> None:
    other = Stream(stream.server)
    stream.numbers(1)
    other.numbers(2)
    source = stream.source(stream=[stream.name, other.name])
    found = Taken(source, NUMBERED)
    assert (found.numbers, set(found.reached)) == ([1, 2], {stream.name, other.name})
    other.numbers(3)
    assert Taken(source, NUMBERED, found.reached).numbers == [3]


def test_a_member_of_a_group_acknowledges_what_is_published_and_gets_again_what_is_not(stream: Stream) -> None:
    stream.numbers(1, 2)
    source = stream.source(group="g", metadata=["delivery_count"])
    schema = pa.schema([*NUMBERED, ("_delivery_count", pa.int64())])
    Taken(source, schema).give_up()
    stream.numbers(3)
    again = Taken(source, schema)
    assert [(row["n"], row["_delivery_count"]) for row in again.rows] == [(1, 2), (2, 2), (3, 1)]
    again.publish()
    assert stream.client.xpending(stream.name, "g")["pending"] == 0
    assert Taken(source, schema).rows == []


def test_a_member_of_a_group_gets_only_what_others_do_not_have_unless_they_have_kept_it_too_long(stream: Stream) -> None:
    stream.numbers(1, 2, 3)
    stream.client.xgroup_create(stream.name, "g", id="0")
    stream.client.xreadgroup("g", "somebody", {stream.name: ">"}, count=1)
    source = stream.source(group="g")
    mine = Taken(source, NUMBERED)
    assert mine.numbers == [2, 3]
    mine.publish()
    stream.client.xclaim(stream.name, "g", "somebody", 0, [stream.client.xrange(stream.name)[0][0]], idle=3_600_000)
    patient = Taken(stream.source(group="g", claim_idle_seconds=60), NUMBERED)
    assert patient.numbers == [1]


def test_looking_at_a_group_takes_nothing(stream: Stream) -> None:
    stream.numbers(1, 2)
    source = stream.source(group="g")
    assert read(source, NUMBERED).table["n"].to_pylist() == [1, 2]
    assert read(source, NUMBERED, limit=1).table["n"].to_pylist() == [1]
    assert stream.client.xinfo_groups(stream.name) == []
    Taken(source, NUMBERED).publish()
    assert read(source, NUMBERED).table.num_rows == 0


def test_an_entry_that_was_removed_after_its_delivery_is_acknowledged_without_a_record(stream: Stream) -> None:
    ids = stream.numbers(1, 2)
    source = stream.source(group="g")
    Taken(source, NUMBERED).give_up()
    stream.client.xdel(stream.name, *ids)
    gone = Taken(source, NUMBERED)
    assert gone.numbers == []
    gone.publish()
    assert stream.client.xpending(stream.name, "g")["pending"] == 0


def test_fields_are_columns_in_the_types_of_the_schema_and_misfits_are_rejected(stream: Stream) -> None:
    (good, *_) = stream.add({"n": 1, "name": "Zoë"}, {"n": "x", "name": "b"}, {"n": 3}, {"n": 4, "name": b"\xff"}, {"extra": 1})
    schema = pa.schema(
        [("n", pa.int64()), ("name", pa.string()), ("_id", pa.string()), ("_timestamp", pa.timestamp("us", "UTC"))]
    )
    source = stream.source(metadata=["id", "timestamp"])
    assert source.discover().schema.names == ["extra", "n", "name", "_id", "_timestamp"]
    result = read(source, schema)
    assert [(row["n"], row["name"]) for row in result.rows] == [(1, "Zoë"), (3, None), (None, None)]
    assert result.rows[0]["_id"] == good
    assert result.rows[0]["_timestamp"].timestamp() * 1000 == pytest.approx(int(good.split("-")[0]))
    assert [(each["row"], each["reason"]) for each in result.rejected] == [(1, "type_mismatch"), (3, "encoding")]
    assert json.loads(result.rejected[0]["original"])["n"] == "x"
    assert result.drifted == {"extra"}


def test_an_entry_with_another_field_is_rejected_alone_where_the_contract_discards_such_rows(stream: Stream) -> None:
    stream.add({"n": 1}, {"n": 2, "extra": "x"}, {"n": 3})
    found = read(stream.source(), NUMBERED, contract=Contract(columns=Drift.DISCARD_ROW))
    assert found.table["n"].to_pylist() == [1, 3]
    assert [(row["reason"], row["column"]) for row in found.rejected] == [("contract", "extra")]


def test_one_field_can_hold_json_csv_text_or_bytes(stream: Stream) -> None:
    stream.add({"body": '{"n": 1, "who": {"name": "a"}}', "trace": "t"}, {"body": "{"}, {"other": 1})
    source = stream.source(format="json", field="body", metadata=["headers"])
    result = read(source)
    assert result.table.schema.names == ["n", "who", "_headers"]
    assert [(row["n"], row["_headers"]) for row in result.rows] == [(1, [("trace", "t")]), (None, [("other", "1")])]
    assert result.reasons == ["malformed"]
    other = Stream(stream.server)
    other.add({"value": "1,a"}, {"value": "2,"}, {"value": "x,b"})
    csv = read(other.source(format="csv"), pa.schema([("n", pa.int64()), ("t", pa.string())]))
    assert (csv.rows, csv.reasons) == ([{"n": 1, "t": "a"}, {"n": 2, "t": None}], ["type_mismatch"])
    assert read(other.source(format="text")).table["value"].to_pylist() == ["1,a", "2,", "x,b"]
    assert read(other.source(format="bytes")).table["value"].to_pylist() == [b"1,a", b"2,", b"x,b"]


def test_what_is_written_is_read_again(stream: Stream, tmp_path: Any) -> None:
    table = pa.table({"n": [1, 2, None], "name": ["a\nb", "", 'c,"d"'], "at": pa.array([0, 1, 2], pa.timestamp("us", "UTC"))})
    for form in ("fields", "json", "csv"):
        there = Stream(stream.server)
        sink = there.sink(tmp_path, format=form)
        done = written(sink, table)
        assert (done.rows, done.locations) == (3, (there.name,))
        assert read(there.source(format=form), table.schema).table.to_pylist() == table.to_pylist(), form
    text = Stream(stream.server)
    written(text.sink(tmp_path, format="text", field="line"), table.select(["name"]))
    assert [entry["line"] for entry in text.entries()] == ["a\nb", "", 'c,"d"']
    nested = pa.schema([("s", pa.list_(pa.int64()))])
    with pytest.raises(LossyWrite, match="is nested"):
        stream.sink(tmp_path).plan_write(WriteRequest("r", "out", nested))


def test_a_commit_that_breaks_off_adds_the_rest_and_a_repeated_one_nothing(stream: Stream, tmp_path: Any) -> None:
    sink = stream.sink(tmp_path)
    request, receipts = staged(sink, pa.table({"n": list(range(3500))}))
    broken_off(sink, request, receipts, after=1)
    assert stream.client.xlen(stream.name) == 2000
    assert sink.commit(request, receipts).rows == 3500
    assert sink.commit(request, receipts).rows == 3500
    assert [int(entry["n"]) for entry in stream.entries()] == list(range(3500))
    assert not list(tmp_path.rglob("*.arrow"))
    written(sink, pa.table({"n": [1]}), run="run2")
    assert stream.client.xlen(stream.name) == 3501


def test_a_server_that_is_killed_in_the_middle_of_a_commit_and_of_a_read_loses_and_doubles_nothing(
    stream: Stream, tmp_path: Any
) -> None:
    sink = stream.sink(tmp_path)
    request, receipts = staged(sink, pa.table({"n": list(range(2500))}))
    with sink.sending(request) as sender:
        from beam_datahub.component.messages.sink import _chunks

        for number, first, messages in _chunks(receipts, 1000):
            if number == 1:
                stream.server.kill()
                stream.server.start()
            sender.send(number, first, messages)
    assert stream.client.xlen(stream.name) == 2500
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


def test_a_stream_can_be_kept_short(stream: Stream, tmp_path: Any) -> None:
    written(stream.sink(tmp_path, maximum_length=100), pa.table({"n": list(range(5000))}))
    assert 100 <= stream.client.xlen(stream.name) < 500


def test_what_is_wrong_with_a_server_or_a_key_is_said(stream: Stream, tmp_path: Any) -> None:
    with pytest.raises(SourceMissing, match="there is no stream"):
        stream.source().discover()
    wrong = stream.source(connection={"user": "etl", "password": Secret("wr0ngpass")})
    with pytest.raises(AccessDenied) as denied:
        Taken(wrong, NUMBERED)
    assert "wr0ngpass" not in str(denied.value)
    assert not wrong.check().fine
    stream.numbers(1)
    right = stream.source(connection={"user": "etl", "password": Secret("right")})
    assert right.check().lines[-1] == (stream.name, True, "1 message")
    with pytest.raises(Transient, match="does not answer"):
        stream.source(connection={"port": 1, "connect_timeout_seconds": 1}).discover()
    plain = fresh("key")
    stream.client.set(plain, 1)
    with pytest.raises(UnreadableData, match="WRONGTYPE"):
        stream.source(stream=plain).discover()
    with pytest.raises(TargetUnusable, match="not a stream"):
        stream.sink(tmp_path, stream=plain).prepare(WriteRequest("r", "out", NUMBERED))
    assert stream.sink(tmp_path, stream=fresh("new")).check().lines[-1][2] == "will be made"


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
    with pytest.raises(InvalidValue, match="positions of its own"):
        list(stream.source(group="x").partitions(wanted))


def test_avro_by_a_registry_is_written_and_read_again_and_finds_its_columns(stream: Stream, tmp_path: Any) -> None:
    table = pa.table({"n": [1, None], "names": [["a"], []], "at": pa.array([0, 1], pa.timestamp("us", "UTC"))})
    with registry() as (url, schemas):
        connection = {"registry": {"url": url}}
        written(stream.sink(tmp_path, format="avro", connection=connection), table)
        assert len(schemas) == 1
        stream.add({"value": b"\x00\x00\x00\x00\x01\xff"}, {"value": b"none"})
        source = stream.source(format="avro", connection=connection)
        assert source.discover().schema.names == ["n", "names", "at"]
        result = read(source)
        assert result.table.to_pylist() == table.to_pylist()
        assert result.reasons == ["malformed", "malformed"]
    with pytest.raises(MissingValue, match="needs a schema registry"):
        stream.sink(tmp_path, format="avro").plan_write(WriteRequest("r", "out", NUMBERED))


def test_a_plan_tells_how_a_source_goes_on(stream: Stream) -> None:
    alone, member = stream.source().capabilities, stream.source(group="g").capabilities
    assert (alone.resumes, alone.acknowledges, alone.unbounded, alone.delivery) == ("id", None, True, "exactly_once")
    assert (member.resumes, member.acknowledges, member.unbounded, member.delivery) == (None, "anywhere", False, "at_least_once")
