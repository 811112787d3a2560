"""What a user can rely on when topics are read."""

from __future__ import annotations

import io
import json
import socket
import threading
from dataclasses import replace
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beam_datahub.component.messages import decoding
from beam_datahub.component.messages.decoders import decoder_of
from beam_datahub.component.messages.registry import SchemaRegistry
from beam_datahub.component.retry import Attempts
from beam_datahub.component.source import Contract, Drift, ReadRequest, Split
from beam_datahub.errors import AccessDenied, InvalidValue, SourceMissing, Transient, UnreadableData
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import KafkaBroker
from tests.unit.io.kafka_topics import Topic, reached, registry

NUMBERED = pa.schema([("n", pa.int64())])


def numbers(source: Any, before: dict[str, Any] | None = None, **more: Any) -> list[int]:
    return sorted(read(source, NUMBERED, reached=before or {}, **more).table["n"].to_pylist())


def rows(*values: int) -> list[dict[str, int]]:
    return [{"n": n} for n in values]


def test_a_run_reads_what_is_there_and_the_next_one_only_what_came_since(kafka: KafkaBroker) -> None:
    topic = Topic(kafka, partitions=2)
    topic.send(*rows(1, 2))
    topic.send(*rows(3), partition=1)
    source = topic.source()
    assert numbers(source) == [1, 2, 3]
    at = reached(source, NUMBERED)
    assert at == {"0": 2, "1": 1}
    assert numbers(source, at) == []
    topic.send(*rows(4), partition=1)
    assert numbers(source, at) == [4]


def test_a_partition_that_came_later_is_read_from_its_beginning_whatever_start_says(kafka: KafkaBroker) -> None:
    from confluent_kafka.admin import NewPartitions

    topic = Topic(kafka)
    topic.send(*rows(1))
    source = topic.source(start="latest")
    at = reached(source, NUMBERED)
    assert at == {"0": 1}
    assert numbers(source) == []
    topic.admin.create_partitions([NewPartitions(topic.name, 2)])[topic.name].result()
    topic.send(*rows(2), partition=1)
    assert numbers(source, at) == [2]


def test_the_first_run_can_begin_at_a_time(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(*rows(1), timestamp=1_700_000_000_000)
    topic.send(*rows(2), timestamp=1_700_000_060_000)
    assert numbers(topic.source(start="2023-11-14T22:14:00Z")) == [2]
    assert numbers(topic.source(start="2023-11-14T22:14:00")) == [2]
    assert numbers(topic.source(start="2030-01-01T00:00:00Z")) == []


def test_only_committed_messages_are_read_and_markers_are_passed_over(kafka: KafkaBroker) -> None:
    from confluent_kafka import Producer

    topic = Topic(kafka)
    topic.send(*rows(1, 2), transaction="commit")
    topic.send(*rows(3), transaction="abort")
    source = topic.source()
    assert numbers(source) == [1, 2]
    # A marker stands behind each transaction.
    assert reached(source, NUMBERED) == {"0": 5}
    assert numbers(topic.source(isolation="uncommitted")) == [1, 2, 3]
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": topic.name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic.name, b'{"n": 4}')
    producer.flush(30)
    topic.send(*rows(5))
    assert reached(source, NUMBERED) == {"0": 5}
    producer.commit_transaction(30)
    assert numbers(source, {"0": 5}) == [4, 5]


def test_what_cannot_be_decoded_is_rejected_with_its_offset_and_the_others_stay(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(*rows(0), transaction="commit")
    topic.send(b"nonsense", b'{"n":\n 2}', b"", b"  ", b"\xff", b"[3]", {"n": "x"}, b' {"n": 7} ', keys=[b"k"] * 8)
    source = topic.source(metadata=["key", "offset"])
    result = read(source, source.completed(NUMBERED))
    assert result.rows == [
        {"n": 0, "_key": None, "_offset": 0},
        {"n": 2, "_key": "k", "_offset": 3},
        {"n": 7, "_key": "k", "_offset": 9},
    ]
    assert [(row["row"], row["reason"]) for row in result.rejected] == [
        (2, "malformed"), (4, "malformed"), (5, "malformed"), (6, "encoding"), (7, "malformed"), (8, "type_mismatch"),
    ]  # fmt: skip
    assert [row["original"] for row in result.rejected] == [
        "nonsense", "", "  ", "\\xff", "[3]", '{"_key": "k", "_offset": 8, "n": "x"}',
    ]  # fmt: skip
    split = next(iter(source.splits(_request(NUMBERED))))
    block = next(iter(source.read(split, _request(NUMBERED))))
    assert (block.origin.file, block.origin.first_row) == (f"{topic.name}/0", 0)


def _request(schema: pa.Schema) -> Any:
    from beam_datahub.component.source import ReadRequest

    return ReadRequest(schema, tuple(schema.names))


def test_metadata_becomes_columns(kafka: KafkaBroker) -> None:
    topic = Topic(kafka, partitions=2)
    topic.send({"n": 1}, partition=1, keys=["ü"], timestamp=1_700_000_000_000, headers=[("a", b"1"), ("b", None), ("a", b"2")])
    topic.send(None, partition=1, keys=[b"\xff"], timestamp=1_700_000_000_000)
    every = ["topic", "partition", "offset", "timestamp", "key", "headers", "tombstone"]
    result = read(topic.source(metadata=every))
    assert result.rows[0]["_headers"] == [("a", "2"), ("b", None)]
    assert str(result.rows[0]["_timestamp"]) == "2023-11-14 22:13:20+00:00"
    assert {k: v for k, v in result.rows[0].items() if k not in ("_headers", "_timestamp")} == {
        "n": 1, "_topic": topic.name, "_partition": 1, "_offset": 0, "_key": "ü", "_tombstone": False,
    }  # fmt: skip
    assert [(row["row"], row["reason"], row["column"]) for row in result.rejected] == [(1, "encoding", "_key")]
    deleted = read(topic.source(metadata=["key", "tombstone"], key_format="bytes")).rows[1]
    assert deleted == {"n": None, "_key": b"\xff", "_tombstone": True}
    assert read(topic.source(tombstones="reject")).reasons == ["malformed"]
    only = read(topic.source(metadata=every), pa.schema([("n", pa.int64()), ("_offset", pa.int64())]), columns=["_offset"])
    assert only.rows == [{"_offset": 0}, {"_offset": 1}]


def test_messages_that_were_deleted_unread_fail_the_run_unless_they_may_be_skipped(kafka: KafkaBroker) -> None:
    from confluent_kafka import TopicPartition

    topic = Topic(kafka)
    topic.send(*rows(*range(10)))
    for future in topic.admin.delete_records([TopicPartition(topic.name, 0, 6)]).values():
        future.result()
    assert numbers(topic.source()) == [6, 7, 8, 9]
    with pytest.raises(UnreadableData, match="deleted offsets 2 to 5"):
        numbers(topic.source(), {"0": 2})
    assert numbers(topic.source(missing="skip"), {"0": 2}) == [6, 7, 8, 9]
    with pytest.raises(UnreadableData, match="read up to offset 50, but ends at 10"):
        numbers(topic.source(), {"0": 50})


def test_messages_that_are_deleted_while_the_run_goes_on_are_told_as_well(kafka: KafkaBroker) -> None:
    from confluent_kafka import TopicPartition

    topic = Topic(kafka)
    topic.send(*rows(*range(10)))
    for choice in ("fail", "skip"):
        source = topic.source(missing=choice)
        splits = list(source.splits(_request(NUMBERED)))
        if choice == "fail":
            for future in topic.admin.delete_records([TopicPartition(topic.name, 0, 6)]).values():
                future.result()
            splits_then = splits
            with pytest.raises(UnreadableData, match="deleted offsets 0 to 5"):
                list(source.read(splits[0], _request(NUMBERED)))
        else:
            blocks = list(source.read(splits_then[0], _request(NUMBERED)))
            assert [n for block in blocks for n in block.batch["n"].to_pylist()] == [6, 7, 8, 9]


def test_a_follower_tells_that_it_has_reached_a_seam_and_takes_nothing_across_it(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(*rows(*range(10)))
    source = topic.source()
    (partition,) = source.partitions(replace(_request(NUMBERED), reached={"0": 2}))
    follower = source.follow(replace(partition, seam=6), _request(NUMBERED))
    arrivals = []
    for _ in range(60):
        arrivals.append(follower.take(1.0, 1_000_000))
        if arrivals[-1].position == 10:
            break
    follower.close()
    taken = [(each.position <= 6, n) for each in arrivals if each.block for n in each.block.batch["n"].to_pylist()]
    assert taken == [(n < 6, n) for n in range(2, 10)]
    assert [each.position for each in arrivals if each.at_seam] == [6]


def test_several_topics_are_read_by_name_or_by_pattern(kafka: KafkaBroker) -> None:
    first, second = Topic(kafka), Topic(kafka)
    first.send(*rows(1))
    second.send(*rows(2))
    both = first.source(topic=[first.name, second.name])
    assert numbers(both) == [1, 2]
    assert reached(both, NUMBERED) == {f"{first.name}/0": 1, f"{second.name}/0": 1}
    assert numbers(both, {f"{first.name}/0": 1}) == [2]
    assert numbers(first.source(pattern=f"{first.name}|{second.name}")) == [1, 2]
    with pytest.raises(SourceMissing, match="no topic matches 'none-such"):
        numbers(first.source(pattern="none-such.*"))


def test_text_and_bytes_make_one_column(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send("ü".encode(), b"\xff", None, b"")
    text = read(topic.source(format="text"))
    assert text.table["value"].to_pylist() == ["ü", None, ""]
    assert [(row["row"], row["reason"], row["original"]) for row in text.rejected] == [(1, "encoding", '{"value": "\\\\xff"}')]
    assert read(topic.source(format="bytes")).table["value"].to_pylist() == ["ü".encode(), b"\xff", None, b""]
    short = read(topic.source(format="bytes", max_record_bytes=1))
    assert [(row["row"], row["reason"]) for row in short.rejected] == [(0, "malformed")]
    numeric = Topic(kafka)
    numeric.send(b"1", b"x")
    counted = read(numeric.source(format="text"), pa.schema([("value", pa.int64())]))
    assert counted.table["value"].to_pylist() == [1]
    assert counted.reasons == ["type_mismatch"]
    with pytest.raises(InvalidValue, match="has the one column 'value'"):
        topic.source(format="text").completed(NUMBERED)


def test_csv_has_the_columns_of_the_schema_in_its_order(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(b'1,"a, b"', b'2,"two\nlines"', b'3,"', b"4", b"x,c", None, b"5,\xff", b"6,d\n7,e", b'8,""\r\n')
    source = topic.source(format="csv", metadata=["offset"])
    schema = source.completed(pa.schema([("n", pa.int64()), ("t", pa.string())]))
    result = read(source, schema)
    assert result.rows == [
        {"n": 1, "t": "a, b", "_offset": 0},
        {"n": 2, "t": "two\nlines", "_offset": 1},
        {"n": None, "t": None, "_offset": 5},
        {"n": 8, "t": "", "_offset": 8},
    ]
    assert [(row["row"], row["reason"], row["original"]) for row in result.rejected] == [
        (2, "malformed", '3,"'),
        (3, "ragged", "4"),
        (4, "type_mismatch", '{"_offset": 4, "n":"x","t":"c"}'),
        (6, "encoding", "5,\\xff"),
        (7, "ragged", "6,d\n7,e"),
    ]
    assert read(source, schema, columns=["t"]).table["t"].to_pylist()[:2] == ["a, b", "two\nlines"]
    with pytest.raises(InvalidValue, match="do not tell their columns"):
        source.discover()


def test_avro_is_read_by_the_schema_that_each_message_names(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    first = {"type": "record", "name": "row", "fields": [{"name": "n", "type": "long"}]}
    second = {**first, "fields": [*first["fields"], {"name": "t", "type": ["null", "string"]}]}

    def message(number: int, schema: dict[str, Any], row: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, row)
        return b"\0" + number.to_bytes(4) + stream.getvalue()

    with registry() as (url, schemas):
        schemas.update({1: json.dumps(first), 2: json.dumps(second)})
        good = message(2, second, {"n": 2, "t": "x"})
        topic.send(message(1, first, {"n": 1}), good, good[:-1], good + b"!", message(9, first, {"n": 1}), b"{}", None)
        source = topic.source(format="avro", connection={"registry": {"url": url}}, metadata=["offset"])
        result = read(source)
    assert result.rows == [
        {"n": 1, "t": None, "_offset": 0},
        {"n": 2, "t": "x", "_offset": 1},
        {"n": None, "t": None, "_offset": 6},
    ]
    assert [(row["row"], row["reason"]) for row in result.rejected] == [(i, "malformed") for i in (2, 3, 4, 5)]
    assert "does not have schema 9" in result.rejected[2]["message"]


def test_a_message_of_another_schema_is_rejected_alone_where_the_contract_discards_such_rows(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    first = {"type": "record", "name": "row", "fields": [{"name": "n", "type": "long"}]}
    second = {**first, "fields": [*first["fields"], {"name": "extra", "type": "long"}]}
    with registry() as (url, schemas):
        schemas.update({1: json.dumps(first), 2: json.dumps(second)})
        topic.send(b"\0\0\0\0\1\2", b"\0\0\0\0\2\4\4", b"\0\0\0\0\1\6")
        source = topic.source(format="avro", connection={"registry": {"url": url}})
        result = read(source, NUMBERED, contract=Contract(columns=Drift.DISCARD_ROW))
    assert result.table["n"].to_pylist() == [1, 3]
    assert [(row["row"], row["reason"], row["column"]) for row in result.rejected] == [(1, "contract", "extra")]


def test_a_registry_is_asked_again_for_a_schema_that_comes_late(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    schema = {"type": "record", "name": "row", "fields": [{"name": "n", "type": "long"}]}

    def message(number: int, n: int) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, {"n": n})
        return b"\0" + number.to_bytes(4) + stream.getvalue()

    pause = {"initial_interval": "1 ms", "max_interval": "1 ms"}
    with registry() as (url, schemas):
        schemas.update(dict.fromkeys((1, 2, 3), json.dumps(schema)))
        # The third comes only after it was given up.
        schemas.late.update({2: 2, 3: 3})
        settings = {"url": url, "retry": {"attempts": 3, "backoff": pause}}
        source = topic.source(format="avro", connection={"registry": settings})
        topic.send(message(1, 1), message(2, 2), message(3, 3))
        result = read(source, pa.schema([("n", pa.int64())]))
        assert result.table["n"].to_pylist() == [1, 2]
        assert [(row["row"], row["reason"], row["attempts"]) for row in result.rejected] == [(2, "malformed", 3)]


@pytest.mark.parametrize(("seconds", "found"), [(3600.0, []), (0.0, [1])])
def test_a_registry_that_did_not_have_a_schema_is_not_asked_for_it_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch, seconds: float, found: list[int]
) -> None:
    monkeypatch.setattr(decoding, "_ASK_AGAIN_SECONDS", seconds)
    schema = {"type": "record", "name": "row", "fields": [{"name": "n", "type": "long"}]}
    with registry() as (url, schemas):
        schemas.update({1: json.dumps(schema)})
        schemas.late.update({1: 1})
        settings = SchemaRegistry(url=url, retry=Attempts(attempts=1))
        decoder = decoder_of("avro", ReadRequest(NUMBERED, ("n",)), "here", 1000, settings, ",")
        assert decoder.decode([b"\0\0\0\0\1\2"]).batch.num_rows == 0
        assert decoder.decode([b"\0\0\0\0\1\2"]).batch["n"].to_pylist() == found


def test_a_registry_that_is_away_is_an_outage_that_may_pass() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = SchemaRegistry(url=f"http://127.0.0.1:{nobody.getsockname()[1]}", retry=Attempts(attempts=1))
        decoder = decoder_of("avro", ReadRequest(NUMBERED, ("n",)), "here", 1000, settings, ",")
        with pytest.raises(Transient, match="does not answer"):
            decoder.decode([b"\0\0\0\0\1\2"])


PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Order {
  int64 id = 1;
  optional string note = 2;
  enum Status { OPEN = 0; PAID = 1; }
  Status status = 3;
  repeated Line lines = 4;
  map<string, int64> counts = 5;
  google.protobuf.Timestamp at = 6;
  message Line { string sku = 1; uint64 quantity = 2; }
}
message Other { int64 id = 1; }
"""


def test_protobuf_is_read_by_the_schema_and_message_that_each_value_names(kafka: KafkaBroker) -> None:
    from google.protobuf.message_factory import GetMessageClass

    from beam_datahub.schemas.document import Document, Format
    from beam_datahub.schemas.protobuf_model import validate_protobuf

    file: Any = validate_protobuf(Document(Format.PROTOBUF, PROTO))
    order_kind, other_kind = (GetMessageClass(file.message_types_by_name[name]) for name in ("Order", "Other"))
    order = order_kind(id=-(2**60), note="", status=1, lines=[{"sku": "a", "quantity": 2**63}], counts={"x": 1})
    order.at.seconds = 1_700_000_000
    topic = Topic(kafka)
    prefix = b"\0" + (1).to_bytes(4, "big")
    good = prefix + b"\0" + order.SerializeToString()
    # Places of messages are written as zigzag numbers: two of them would lead to a message in a message.
    other = prefix + bytes([2, 2]) + other_kind(id=7).SerializeToString()
    with registry() as (url, schemas):
        schemas[1] = PROTO
        topic.send(good, prefix + b"\0", other, good[:-2], prefix + bytes([2, 40]), None)
        result = read(topic.source(format="protobuf", connection={"registry": {"url": url}}))
    first, empty, second, deleted = result.rows
    assert str(first.pop("at")) == "2023-11-14 22:13:20+00:00"
    assert first == {
        "id": -(2**60), "note": "", "status": "PAID", "lines": [{"sku": "a", "quantity": 2**63}], "counts": [("x", 1)],
    }  # fmt: skip
    assert empty == {"id": 0, "note": None, "status": "OPEN", "lines": [], "counts": [], "at": None}
    assert (second["id"], second["status"]) == (7, None)
    assert set(deleted.values()) == {None}
    assert [(row["row"], row["reason"]) for row in result.rejected] == [(3, "malformed"), (4, "malformed")]


def test_a_login_is_needed_where_the_cluster_asks_for_one(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(*rows(1))
    login = {"bootstrap_servers": kafka.login_address, "security": "sasl_plaintext", "user": "etl"}

    def source(password: str) -> Any:
        return topic.source(connection={**login, "password": Secret(password)})

    assert numbers(source("right")) == [1]
    with pytest.raises(AccessDenied, match=r"(?i)authentication failed") as failure:
        numbers(source("hidden-word"))
    assert "hidden-word" not in str(failure.value)
    assert not source("hidden-word").check().fine
    assert source("right").check().lines[1][2] == "1 partition, at most 1 message"


def test_a_cluster_or_topic_that_is_not_there_is_named(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    with pytest.raises(SourceMissing, match="'nowhere'"):
        numbers(topic.source(topic="nowhere"))
    with pytest.raises(Transient, match=r"no broker answers at 127\.0\.0\.1:9 within 1 s.*refused"):
        numbers(topic.source(connection={"bootstrap_servers": "127.0.0.1:9", "connect_timeout_seconds": 1}))
    with pytest.raises(InvalidValue, match=r"no\.such\.setting"):
        numbers(topic.source(connection={"extra": {"no.such.setting": 1}}))
    with pytest.raises(UnreadableData, match="holds no message yet"):
        topic.source().discover()


def test_a_position_is_set_by_partition_and_offset(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    assert topic.source().position("0", "17") == 17
    assert topic.source(pattern="x.*").position("x/3", "17") == 17
    for partition, text in (("", "1"), ("x/0", "1"), ("0", "-1"), ("0", "now")):
        with pytest.raises(InvalidValue):
            topic.source().position(partition, text)


def test_offsets_of_the_group_follow_only_when_that_is_wanted(kafka: KafkaBroker) -> None:
    from confluent_kafka import Consumer, TopicPartition

    topic = Topic(kafka)
    topic.send(*rows(1, 2))

    def committed() -> int:
        consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": topic.name})
        (found,) = consumer.committed([TopicPartition(topic.name, 0)], timeout=30)
        consumer.close()
        return int(found.offset)

    numbers(topic.source(group=topic.name))
    assert committed() < 0
    numbers(topic.source(group=topic.name, commit_offsets=True))
    assert committed() == 2


def test_a_broker_that_dies_and_comes_back_in_the_middle_costs_nothing(kafka: KafkaBroker) -> None:
    topic = Topic(kafka)
    topic.send(*[{"n": n, "pad": "x" * 500} for n in range(60_000)])
    source = topic.source()
    request = _request(NUMBERED)
    split: Split = next(iter(source.splits(request)))
    narrow = type(request)(request.schema, request.columns, batch_bytes=1_000_000)
    found: list[int] = []
    again = threading.Thread(target=kafka.start)
    for block in source.read(split, narrow):
        if not found:
            kafka.kill()
            again.start()
        found += block.batch["n"].to_pylist()
    again.join()
    assert found == list(range(60_000))
