"""MongoDB as a source: types, filters, ranges, misfits, and what a broken server does."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.decimal128 import Decimal128

from beam_datahub.component.source import Contract, Drift, ReadRequest, Since
from beam_datahub.errors import InvalidValue, SchemaDrift, SourceMissing, Transient, UnreadableData
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ
from beam_datahub.testing.connectors import read
from tests.conftest import MongodbServer
from tests.unit.io.mongodb_collections import Store

MOMENT = dt.datetime(2025, 3, 3, 8, 0, 0, 123000, dt.UTC)
IDENTITY = bson.ObjectId("65f0a1b2c3d4e5f601020304")
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def store(mongodb: MongodbServer) -> Iterator[Store]:
    found = Store(mongodb)
    yield found
    found.client.close()


def test_every_type_of_bson_comes_as_the_column_that_holds_it(store: Store) -> None:
    store.database["in"].insert_one(
        {
            "_id": IDENTITY,
            "small": 5,
            "large": bson.Int64(2**40),
            "x": 0.5,
            "text": "é",
            "yes": True,
            "at": MOMENT,
            "exact": Decimal128("12.340"),
            "raw": b"\x00\xff",
            "uid": bson.Binary.from_uuid(UUID),
            "nothing": None,
            "place": {"city": "Bonn", "zip": 53111, "at": [1.5, 2.5]},
            "tags": ["a", "b"],
            "items": [{"sku": "A", "n": 1}, {"sku": "B"}],
            "odd": bson.Regex("^a"),
        }
    )
    found = read(store.source())
    schema = {field.name: field.type for field in found.table.schema}
    assert schema == {
        "_id": pa.string(),
        "small": pa.int64(),
        "large": pa.int64(),
        "x": pa.float64(),
        "text": pa.string(),
        "yes": pa.bool_(),
        "at": TIMESTAMPTZ,
        "exact": pa.decimal128(38, 3),
        "raw": pa.binary(),
        "uid": pa.string(),
        "nothing": pa.string(),
        "place": pa.struct([("city", pa.string()), ("zip", pa.int64()), ("at", pa.list_(pa.field("item", pa.float64())))]),
        "tags": pa.list_(pa.field("item", pa.string())),
        "items": pa.list_(pa.field("item", pa.struct([("sku", pa.string()), ("n", pa.int64())]))),
        "odd": JSON,
    }
    (row,) = found.rows
    assert row["_id"] == str(IDENTITY)
    assert (row["small"], row["large"], row["x"], row["text"], row["yes"], row["at"]) == (5, 2**40, 0.5, "é", True, MOMENT)
    assert (str(row["exact"]), row["raw"], row["uid"], row["nothing"]) == ("12.340", b"\x00\xff", str(UUID), None)
    assert row["place"] == {"city": "Bonn", "zip": 53111, "at": [1.5, 2.5]}
    assert row["items"] == [{"sku": "A", "n": 1}, {"sku": "B", "n": None}]
    assert "$regularExpression" in row["odd"]
    assert found.rejected == []


def test_what_is_mixed_is_json_and_whole_numbers_beside_fractions_are_doubles(store: Store) -> None:
    store.database["in"].insert_many([{"_id": 1, "a": 1, "b": 1}, {"_id": 2, "a": "x", "b": 0.5}, {"_id": 3, "a": [IDENTITY]}])
    found = read(store.source())
    assert found.table.schema.field("a").type == JSON
    assert found.table["a"].to_pylist() == ["1", '"x"', '[{"$oid": "65f0a1b2c3d4e5f601020304"}]']
    assert found.table["b"].to_pylist() == [1.0, 0.5, None]


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (5.0, pa.int64(), 5),
        (5.5, pa.int64(), None),
        (math.nan, pa.int64(), None),
        (True, pa.int64(), None),
        ("12", pa.int64(), 12),
        ("x", pa.int64(), None),
        (2**53 + 1, pa.float64(), None),
        (7, pa.float64(), 7.0),
        (True, pa.float64(), None),
        (5, pa.string(), "5"),
        (0.5, pa.string(), "0.5"),
        ({"a": 1}, pa.string(), '{"a": 1}'),
        ("one", pa.list_(pa.field("item", pa.string())), None),
        ([1, "x"], pa.list_(pa.field("item", pa.int64())), None),
        (3, pa.struct([("a", pa.int64())]), None),
        ({"a": "x"}, pa.struct([("a", pa.int64())]), None),
        (Decimal128("1.239"), pa.decimal128(10, 2), None),
        (Decimal128("NaN"), pa.decimal128(10, 2), None),
        (bson.MinKey(), pa.int64(), None),
        (MOMENT, pa.int64(), None),
        (bson.datetime_ms.DatetimeMS(-(2**62)), TIMESTAMPTZ, None),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_a_rejected_document(
    store: Store, value: Any, kind: pa.DataType, fits: Any
) -> None:
    store.database["in"].insert_many([{"_id": 1, "v": None}, {"_id": 2, "v": value}, {"_id": 3}])
    found = read(store.source(), pa.schema([("_id", pa.int64()), ("v", kind)]))
    if fits is None:
        assert found.reasons == ["type_mismatch"]
        assert (found.rejected[0]["row"], found.rejected[0]["column"]) == (1, "v")
        assert '"_id": 2' in found.rejected[0]["original"]
        assert found.table["_id"].to_pylist() == [1, 3]
    else:
        assert found.rejected == []
        assert found.table["v"].to_pylist() == [None, fits, None]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5.5, pa.int64()), (True, pa.int64()), (2**53 + 1, pa.float64()), (math.nan, pa.string()), ("é", pa.int64())],
)
def test_the_fast_way_leaves_what_it_would_bend_to_the_exact_one(value: Any, kind: pa.DataType) -> None:
    from beam_datahub.io.mongodb.fast import FastColumns

    fast = FastColumns(pa.schema([("v", kind)]), frozenset())
    fine: Any = {pa.int64(): 1, pa.float64(): 0.5, pa.string(): "a"}[kind]
    raw = [bson.encode({"v": fine}), bson.encode({"w": 1}), bson.encode({"v": value})]
    columns = fast.columns(b"".join(raw[:2]))
    assert columns is not None
    assert columns[0].to_pylist() == [fine, None]
    assert fast.columns(b"".join(raw)) is None


def test_the_fast_way_gives_what_the_exact_one_gives() -> None:
    from beam_datahub.io.mongodb.fast import FastColumns
    from beam_datahub.io.mongodb.values import CODEC, column_of

    documents = [
        {"_id": bson.ObjectId(), "n": n, "x": n / 8, "t": f"é{n}", "b": n % 2 == 0, "at": MOMENT + dt.timedelta(hours=n)}
        for n in range(-50, 50)
    ] + [{"_id": bson.ObjectId(), "n": None, "x": math.inf}]
    schema = pa.schema(
        [("_id", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("t", pa.string()), ("b", pa.bool_()), ("at", TIMESTAMPTZ)]
    )
    for some in (documents[:-1], documents):
        raw = b"".join(map(bson.encode, some))
        fast = FastColumns(schema, frozenset(["_id"])).columns(raw)
        decoded = bson.decode_all(raw, CODEC)
        exact = [column_of([each.get(field.name) for each in decoded], field.type)[0] for field in schema]
        assert fast is None or fast == exact
    assert FastColumns(schema, frozenset(["_id"])).columns(b"".join(map(bson.encode, documents[:-1]))) == exact_of(
        documents[:-1], schema
    )


def exact_of(documents: list[dict[str, Any]], schema: pa.Schema) -> list[pa.Array]:
    from beam_datahub.io.mongodb.values import column_of

    return [column_of([each.get(field.name) for each in documents], field.type)[0] for field in schema]


def test_a_document_with_a_text_that_is_no_utf8_is_rejected_alone(store: Store) -> None:
    from beam_datahub.io.mongodb.reading import Reading

    schema = pa.schema([("_id", pa.int64()), ("t", pa.string())])
    broken = bson.encode({"_id": 2, "t": "abc"}).replace(b"abc", b"\xff\xfe\xfd")
    raw = bson.encode({"_id": 1, "t": "a"}) + broken + bson.encode({"_id": 3, "t": "c"})
    block = Reading(ReadRequest(schema, ("_id", "t")), "in").block(raw)
    assert block.batch.column(0).to_pylist() == [1, 3]
    assert block.rejected is not None
    assert block.rejected["reason"].to_pylist() == ["malformed"]
    assert block.originals is not None
    assert '"_id": 2' in block.originals([1])[0]


def test_the_server_applies_the_filter_with_extended_json(store: Store) -> None:
    others = [{"_id": bson.ObjectId(), "n": n} for n in range(5)]
    store.database["in"].insert_many([{"_id": IDENTITY, "n": 9}, *others])
    schema = pa.schema([("n", pa.int64())])
    assert read(store.source(query={"_id": {"$oid": str(IDENTITY)}}), schema).rows == [{"n": 9}]
    assert read(store.source(query='{"n": {"$gt": 3}}'), schema).table["n"].to_pylist() == [9, 4]


def test_a_pipeline_is_read_as_it_comes_out(store: Store) -> None:
    store.database["in"].insert_many([{"_id": 1, "items": [{"n": 1}, {"n": 2}]}, {"_id": 2, "items": [{"n": 3}]}])
    source = store.source(pipeline=[{"$unwind": "$items"}, {"$project": {"_id": 0, "n": "$items.n"}}])
    assert read(source).rows == [{"n": 1}, {"n": 2}, {"n": 3}]
    with pytest.raises(ValueError, match="only reads"):
        store.source(pipeline=[{"$out": "x"}])
    with pytest.raises(ValueError, match="begin the pipeline"):
        store.source(pipeline=[], query={"a": 1})


def test_several_collections_are_sources_of_their_own(store: Store) -> None:
    for name in ("shop_orders", "shop_items", "shop_old", "other", "_beam_datahub_ledger"):
        store.database[name].insert_one({"_id": 1})
    source = store.source(None, collections=["shop_*", "other"], exclude="*_old")
    parts = source.several()
    assert parts is not None
    assert [(part.name, part.options, part.key) for part in parts] == [
        (name, {"collection": name}, ("_id",)) for name in ("shop_items", "shop_orders", "other")
    ]
    assert source.check().fine
    assert store.source().several() is None
    with pytest.raises(SourceMissing, match="no collection matches 'x_\\*'"):
        store.source(None, collections="x_*").several()
    with pytest.raises(SourceMissing, match="all excluded"):
        store.source(None, collections="other", exclude="o*").several()
    with pytest.raises(ValueError, match="and not both"):
        store.source(collections="x")


def test_columns_that_nobody_uses_are_not_sent(store: Store) -> None:
    store.database["in"].insert_one({"_id": 1, "a": 1, "b": "x"})
    schema = pa.schema([("_id", pa.int64()), ("a", pa.int64()), ("b", pa.string())])
    found = read(store.source(), schema, columns=["a"], contract=Contract(types=Drift.DISCARD_VALUE))
    assert found.rows == [{"a": 1}]
    assert read(store.source(), schema, columns=[]).table.num_rows == 1


def test_ranges_hold_every_document_once_whatever_its_id(store: Store) -> None:
    from beam_datahub.io.mongodb.source import even_bounds, ranges

    mixed = [*range(50), *[f"t{n}" for n in range(30)], *[bson.ObjectId() for _ in range(20)]]
    store.database["in"].insert_many([{"_id": each} for each in mixed])
    conditions = ranges(even_bounds(mixed, 5))
    assert len(conditions) == 5
    found = [each["_id"] for condition in conditions for each in store.database["in"].find(condition)]
    assert len(found) == 100
    assert set(found) == set(mixed)
    assert ranges(even_bounds([{"a": 1}, {"a": 2}], 2)) == [None]


def test_a_large_collection_is_parted_without_counting(store: Store) -> None:
    store.database["in"].insert_many([{"_id": n} for n in range(41_000)])
    source, schema = store.source(), pa.schema([("_id", pa.int64())])
    wanted = ReadRequest(schema, ("_id",), split_bytes=200_000)
    splits = list(source.splits(wanted))
    assert len(splits) == 3
    sizes = [sum(block.batch.num_rows for block in source.read(split, wanted)) for split in splits]
    assert sum(sizes) == 41_000
    assert min(sizes) > 0


def test_only_what_may_be_new_is_sent_and_strangers_in_the_cursor_are(store: Store) -> None:
    from beam_datahub.io.mongodb.reading import since_condition

    store.database["in"].insert_many([{"_id": n, "n": n} for n in range(5)] + [{"_id": 8, "n": "x"}, {"_id": 9}])
    since = Since("n", pa.int64(), "3", None, nulls=False)
    assert [each["_id"] for each in store.database["in"].find(since_condition(since))] == [3, 4, 8]
    both = Since("n", pa.int64(), "1", "3", nulls=True)
    assert [each["_id"] for each in store.database["in"].find(since_condition(both))] == [1, 2, 8, 9]


def test_a_cursor_of_moments_is_compared_in_milliseconds(store: Store) -> None:
    from beam_datahub.io.mongodb.reading import since_condition

    store.database["in"].insert_many([{"_id": n, "at": MOMENT + dt.timedelta(milliseconds=n)} for n in range(4)])
    since = Since("at", TIMESTAMPTZ, "2025-03-03 08:00:00.124500+00", "2025-03-03 08:00:00.125500+00", nulls=False)
    # What is within the bounds is among them; that 124 ms is before the floor is seen when the value itself is compared.
    assert [each["_id"] for each in store.database["in"].find(since_condition(since))] == [1, 2]
    ids = Since("_id", pa.string(), str(IDENTITY), None, nulls=False)
    assert since_condition(ids) == {"$and": [{"_id": {"$not": {"$lt": IDENTITY}}}, {"_id": {"$ne": None}}]}


def test_a_field_that_the_schema_lacks_is_told_or_refused(store: Store) -> None:
    store.database["in"].insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 2, "new": 3}])
    schema = pa.schema([("_id", pa.int64()), ("a", pa.int64())])
    assert read(store.source(), schema).drifted == {"new"}
    refused = read(store.source(), schema, contract=Contract(columns=Drift.DISCARD_ROW))
    assert refused.table["_id"].to_pylist() == [1]
    assert refused.reasons == ["contract"]
    with pytest.raises(SchemaDrift, match="'new'"):
        read(store.source(), schema, contract=Contract(columns=Drift.FREEZE))


def test_a_rejected_document_can_be_read_again_from_its_original(store: Store, tmp_path: Any) -> None:
    store.database["in"].insert_one({"_id": IDENTITY, "at": MOMENT, "n": "x"})
    source = store.source()
    schema = pa.schema([("_id", pa.string()), ("at", TIMESTAMPTZ), ("n", pa.int64())])
    (rejected,) = read(source, schema).rejected
    (part,) = source.parts_of(None, [rejected["original"]], schema, str(tmp_path))
    mended = pa.schema([("_id", pa.string()), ("at", TIMESTAMPTZ), ("n", pa.string())])
    (block,) = part.source.read(part.split, ReadRequest(mended, ("_id", "at", "n")))
    assert block.batch.to_pylist() == [{"_id": str(IDENTITY), "at": MOMENT, "n": "x"}]


def test_what_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(SourceMissing, match="no collection 'in'"):
        store.source().discover()
    store.database.create_collection("in")
    with pytest.raises(UnreadableData, match="holds no document"):
        store.source().discover()
    assert read(store.source(), pa.schema([("a", pa.int64())])).table.num_rows == 0
    store.database["in"].insert_one({"_id": 1, "A": 1, "a": 2})
    with pytest.raises(InvalidValue, match="differ only in case"):
        store.source().discover()


def test_checks_say_what_is_there_and_no_password_is_shown(store: Store) -> None:
    store.database["in"].insert_one({"_id": 1})
    assert store.source().check().fine
    gone = store.source(connection={"url": "mongodb://127.0.0.1:9", "connect_timeout_seconds": 1})
    assert not gone.check().fine
    with pytest.raises(ValueError, match="password in clear") as caught:
        store.source(connection={"url": "mongodb://etl:hunter2@127.0.0.1:9"})
    assert "DatabaseError" not in str(caught.value)


def test_a_server_that_dies_in_the_middle_of_a_read_fails_it_as_a_short_outage(store: Store, mongodb: MongodbServer) -> None:
    store.database["in"].insert_many([{"_id": n} for n in range(2_000)])
    source = store.source(batch_documents=200, connection={"connect_timeout_seconds": 2})
    schema = pa.schema([("_id", pa.int64())])
    wanted = ReadRequest(schema, ("_id",))
    (split,) = source.splits(wanted)
    blocks = source.read(split, wanted)
    next(blocks)
    mongodb.kill()
    try:
        with pytest.raises(Transient, match="broke while 'in' was read"):
            list(blocks)
    finally:
        mongodb.start()
