"""What a user can rely on when topics are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.errors import InvalidValue, LossyWrite, MissingValue, SourceMissing, TargetUnusable, UnknownColumn
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing.connectors import read, stage
from tests.conftest import KafkaBroker
from tests.unit.io.kafka_topics import Topic, registry, written
from tests.unit.io.test_databases import VALUES

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
KEPT = component("sink", "kafka").capabilities.types  # type: ignore[attr-defined]


def table(*ids: int) -> pa.Table:
    return pa.table([list(ids), [f"row {n}, é" for n in ids]], schema=SCHEMA)


def publish(sink: Sink, *tables: pa.Table, run: str = "run1", key: tuple[str, ...] = ()) -> int:
    request = written(tables[0].schema, run, key)
    sink.plan_write(request)
    sink.prepare(request)
    return sink.commit(request, stage(sink, request, tables)).rows


def left(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file()]


def test_records_become_messages_and_nothing_stays_staged(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka, partitions=3)
    assert publish(topic.sink(tmp_path), table(1, 2), table(3)) == 3
    found = topic.messages()
    assert sorted(json.loads(each.value())["id"] for each in found) == [1, 2, 3]
    assert all(each.key() is None for each in found)
    assert left(tmp_path) == []


def test_nothing_is_to_be_seen_before_the_commit_nor_after_an_abort(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka)
    sink, request = topic.sink(tmp_path), written(SCHEMA)
    sink.prepare(request)
    stage(sink, request, [table(1)])
    assert topic.messages() == []
    sink.abort(request)
    assert topic.messages() == []
    assert left(tmp_path) == []
    assert sink.commit(request, []).rows == 0


def test_a_commit_that_is_repeated_changes_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka)
    sink, request = topic.sink(tmp_path), written(SCHEMA)
    sink.prepare(request)
    receipts = stage(sink, request, [table(1), table(2)])
    first = sink.commit(request, receipts)
    assert sink.commit(request, receipts) == first
    assert topic.sink(tmp_path).commit(request, receipts) == first
    assert [each["id"] for each in topic.values()] == [1, 2]
    publish(sink, table(1), run="run2")
    assert [each["id"] for each in topic.values()] == [1, 2, 1]


def test_a_commit_takes_over_from_one_that_hangs_in_the_middle(kafka: KafkaBroker, tmp_path: Path) -> None:
    from confluent_kafka import KafkaException, Producer

    topic = Topic(kafka)
    sink, request = topic.sink(tmp_path), written(SCHEMA, topic.name)
    sink.prepare(request)
    receipts = stage(sink, request, [table(1), table(2)])
    name = f"beam-datahub.{topic.name}.out"
    hanging = Producer({"bootstrap.servers": kafka.address, "transactional.id": name})
    hanging.init_transactions(30)
    hanging.begin_transaction()
    hanging.produce(topic.name, b'{"id": 1}')
    hanging.flush(30)
    assert sink.commit(request, receipts).rows == 2
    with pytest.raises(KafkaException):
        hanging.commit_transaction(30)
    assert [each["id"] for each in topic.values()] == [1, 2]


@pytest.mark.parametrize("form", ["json", "avro"])
def test_what_is_written_is_read_back_as_it_was(kafka: KafkaBroker, tmp_path: Path, form: str) -> None:
    with KernelSession(threads=1) as session:
        names = [f"c{i}" for i in range(len(KEPT))]
        wanted = ", ".join(f"{VALUES[kind]}::{kind} AS {name}" for kind, name in zip(KEPT, names, strict=True))
        nulls = ", ".join(f"NULL::{kind}" for kind in KEPT)
        rows = session.query(f"SELECT {wanted} UNION ALL SELECT {nulls}")
    topic = Topic(kafka)
    with registry() as (url, _):
        connection = {"registry": {"url": url}} if form == "avro" else {}
        publish(topic.sink(tmp_path, format=form, connection=connection), rows)
        found = read(topic.source(format=form, connection=connection), rows.schema)
    assert found.rejected == []
    assert [_values(row) for row in found.rows] == [_values(row) for row in rows.to_pylist()]


def _values(row: dict[str, Any]) -> dict[str, Any]:
    # JSON goes on with other blanks than it came with.
    as_json = f"c{KEPT.index('JSON')}"
    return {**row, as_json: row[as_json] and json.loads(row[as_json])}


def test_keys_headers_times_and_tombstones_come_from_columns(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka)
    moment = pa.timestamp("us", "UTC")
    schema = pa.schema([*SCHEMA, ("h", pa.map_(pa.string(), pa.string())), ("at", moment), ("gone", pa.bool_())])
    rows = pa.table(
        [[1, 2, None], ["a", "b", "c"], [[("x", "1"), ("y", None)], None, []], [1_700_000_000_000_000] * 3, [False, True, None]],
        schema=schema,
    )
    sink = topic.sink(tmp_path, headers="h", timestamp="at", tombstone="gone")
    publish(sink, rows, key=("id",))
    found = topic.messages()
    assert [each.key() for each in found] == [b"1", b"2", None]
    assert [each.value() is None for each in found] == [False, True, False]
    assert [each.headers() for each in found] == [[("x", b"1"), ("y", None)], None, None]
    assert {each.timestamp()[1] for each in found} == {1_700_000_000_000}
    assert json.loads(found[0].value()) == {"id": 1, "text": "a", "at": "2023-11-14T22:13:20Z"}
    publish(topic.sink(tmp_path), table(7), run="run2", key=("id", "text"))
    assert json.loads(topic.messages()[-1].key()) == {"id": 7, "text": "row 7, é"}


def test_a_key_goes_where_java_clients_put_it(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka, partitions=10)
    publish(topic.sink(tmp_path), table(21), key=("id",))
    # murmur2("21") by Kafka's own Utils, modulo 10.
    assert [each.partition() for each in topic.messages()] == [murmur2(b"21") % 10]


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, positive."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return (h ^ (h >> 15)) & 0x7FFFFFFF


def test_text_writes_one_column(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka)
    publish(topic.sink(tmp_path, format="text"), table(1, 2), key=("id",))
    assert [(each.key(), each.value().decode()) for each in topic.messages()] == [(b"1", "row 1, é"), (b"2", "row 2, é")]
    with pytest.raises(InvalidValue, match="writes one column, and there are 2"):
        topic.sink(tmp_path, format="text").plan_write(written(SCHEMA))


def test_a_record_that_is_too_large_is_refused_and_the_others_stay(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka)
    sink, request = topic.sink(tmp_path, max_message_bytes=1000), written(SCHEMA)
    sink.prepare(request)
    writer = sink.open(request)
    batch = pa.record_batch([[1, 2, 3], ["a", "b" * 2000, "c"]], schema=SCHEMA)
    refused = writer.write(batch)
    assert refused is not None
    assert [(row["row"], row["reason"]) for row in refused.to_pylist()] == [(1, "refused")]
    assert sink.commit(request, writer.close()).rows == 2
    assert [each["id"] for each in topic.values()] == [1, 3]


def test_a_topic_that_takes_less_than_the_run_was_told_gets_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka, **{"max.message.bytes": "500"})
    rows = pa.table([[1], ["".join(chr(33 + i * i % 90) for i in range(3000))]], schema=SCHEMA)
    with pytest.raises(TargetUnusable, match="takes no messages"):
        publish(topic.sink(tmp_path, compression="none"), rows)
    assert topic.messages() == []


def test_a_topic_is_made_only_where_that_is_wanted(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka, name=f"made-{tmp_path.name}", make=False)
    with pytest.raises(TargetUnusable, match="there is no topic"):
        publish(topic.sink(tmp_path), table(1))
    assert not topic.sink(tmp_path).check().fine
    assert topic.sink(tmp_path, partitions=2).check().fine
    with pytest.raises(SourceMissing):
        topic.source().discover()
    assert publish(topic.sink(tmp_path, partitions=2), table(1)) == 1
    assert topic.sink(tmp_path).check().lines[1] == (topic.name, True, "2 partitions")


def test_what_could_not_be_kept_is_refused_before_the_run(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = Topic(kafka, make=False)

    def plan(schema: pa.Schema = SCHEMA, mode: WriteMode = WriteMode.APPEND, **options: Any) -> None:
        topic.sink(tmp_path, **options).plan_write(WriteRequest("run1", "out", schema, mode))

    plan()
    with pytest.raises(InvalidValue, match="cannot be written with write_mode overwrite"):
        plan(mode=WriteMode.OVERWRITE)
    with pytest.raises(UnknownColumn):
        plan(headers="nope")
    for option in ("headers", "timestamp", "tombstone"):
        with pytest.raises(InvalidValue, match=f"'text' of `{option}` is not"):
            plan(**{option: "text"})
    with pytest.raises(LossyWrite, match="nested"):
        plan(pa.schema([("c", pa.list_(pa.int64()))]), format="text")
    with pytest.raises(MissingValue, match="needs a schema registry"):
        plan(format="avro")
