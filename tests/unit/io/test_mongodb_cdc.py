"""Changes of MongoDB's collections: each comes once, in its order, after all that was there."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import bson
import pyarrow as pa
import pytest

from beam_datahub.component.change_events import ROW_FIELDS, changes_schema
from beam_datahub.component.registry import component
from beam_datahub.component.source import Contract, Drift, ReadRequest, Source
from beam_datahub.errors import InvalidValue, SourceMissing, UnreadableData
from beam_datahub.io.mongodb_cdc import server
from beam_datahub.io.mongodb_cdc.log import SOURCE, EventReader
from beam_datahub.io.mongodb_cdc.options import MongodbCdcOptions
from beam_datahub.io.mongodb_cdc.position import Position
from tests.conftest import MongodbServer
from tests.unit.io.change_logs import Runs
from tests.unit.io.mongodb_collections import Store

ONE = pa.schema([("_id", pa.int64()), ("name", pa.string()), ("amount", pa.float64())])
ROWS = pa.schema([*ONE, *ROW_FIELDS])


class Shop(Store):
    """A database of a test's own, whose changes are read."""

    def changes(self, **options: Any) -> Source:
        kind: Any = component("source", "mongodb_cdc")
        options = {"changes": "rows", **({} if "collections" in options else {"collection": "t"}), **options}
        return kind(kind.Connection(**self.connection), kind.Options(**options))  # type: ignore[no-any-return]

    @property
    def t(self) -> Any:
        return self.database["t"]


@pytest.fixture
def shop(mongodb: MongodbServer) -> Iterator[Shop]:
    found = Shop(mongodb)
    found.t.insert_many([{"_id": 1, "name": "one", "amount": 1.5}, {"_id": 2, "name": "two", "amount": 2.5}])
    yield found
    found.client.drop_database(found.name)
    found.client.close()


def brief(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["__op"], row["_id"], row["name"]) for row in rows]


def test_the_first_run_reads_all_documents_and_later_ones_each_change_once(shop: Shop) -> None:
    runs = Runs(shop.changes())
    assert brief(runs.rows()) == [("r", 1, "one"), ("r", 2, "two")]
    assert runs.rows() == []
    shop.t.insert_many([{"_id": 3, "name": "three"}, {"_id": 4, "name": "four"}])
    shop.t.update_one({"_id": 1}, {"$set": {"name": "uno"}, "$unset": {"amount": 1}})
    shop.t.replace_one({"_id": 2}, {"name": "dos"})
    shop.t.delete_one({"_id": 4})
    found = runs.rows(schema=ROWS)
    assert brief(found) == [("c", 3, "three"), ("c", 4, "four"), ("u", 1, "uno"), ("u", 2, "dos"), ("d", 4, None)]
    assert [row["amount"] for row in found] == [None] * 5
    assert [row["__deleted"] for row in found] == [False] * 4 + [True]
    of_four = [row["__position"] for row in found if row["_id"] == 4]
    assert of_four[0] < of_four[1]
    assert runs.rows() == []


def test_a_run_that_did_not_end_is_read_again(shop: Shop) -> None:
    runs = Runs(shop.changes())
    runs.rows()
    shop.t.insert_one({"_id": 3, "name": "three"})
    assert brief(runs.rows(moves=False)) == [("c", 3, "three")]
    shop.t.insert_one({"_id": 4, "name": "four"})
    assert brief(runs.rows()) == [("c", 3, "three"), ("c", 4, "four")]


def test_what_changes_once_a_run_has_begun_comes_with_the_next(shop: Shop) -> None:
    runs = Runs(shop.changes())
    runs.rows()
    shop.t.insert_one({"_id": 3, "name": "three"})
    request = ReadRequest(schema := runs.source.discover().schema, tuple(schema.names), reached=dict(runs.reached))
    (split,) = runs.source.splits(request)
    shop.t.insert_one({"_id": 4, "name": "four"})
    found = [row for block in runs.source.read(split, request) for row in block.batch.to_pylist()]
    assert brief(found) == [("c", 3, "three")]
    runs.reached = dict(split.reached)
    assert brief(runs.rows()) == [("c", 4, "four")]


def test_what_changes_while_documents_are_read_comes_again_as_a_change(shop: Shop) -> None:
    runs = Runs(shop.changes())
    request = ReadRequest(schema := runs.source.discover().schema, tuple(schema.names))
    (split,) = runs.source.splits(request)
    shop.t.update_one({"_id": 1}, {"$set": {"name": "uno"}})
    first = [row for block in runs.source.read(split, request) for row in block.batch.to_pylist()]
    runs.reached = dict(split.reached)
    (again,) = runs.rows()
    assert brief([again]) == [("u", 1, "uno")]
    assert again["__position"] > max(row["__position"] for row in first)


def test_where_the_server_can_documents_are_read_as_they_were_at_one_moment(shop: Shop, monkeypatch: Any) -> None:
    from pymongo import monitoring

    asked: list[dict[str, Any]] = []

    class Listener(monitoring.CommandListener):
        def started(self, event: Any) -> None:
            if event.command_name == "find" and event.database_name == shop.name:
                asked.append(dict(event.command))

        def succeeded(self, event: Any) -> None:
            return None

        failed = succeeded

    import pymongo

    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        f"mongodb://{shop.server.address}", event_listeners=[Listener()]
    )
    with client:
        monkeypatch.setattr(server, "reads_the_past", lambda database: True)
        found = list(server.documents(client[shop.name], "t", Position(1_795_299_484, 7), None))
    assert [bson.decode(raw)["_id"] for raw in found] == [1, 2]
    assert asked[0]["readConcern"] == {"level": "snapshot", "atClusterTime": bson.Timestamp(1_795_299_484, 7)}


def test_an_envelope_has_what_debezium_tells(shop: Shop) -> None:
    runs = Runs(shop.changes(changes="envelope"))
    first = runs.rows()[0]
    shop.t.update_one({"_id": 1}, {"$set": {"name": "uno"}})
    shop.t.delete_one({"_id": 2})
    shop.t.drop()
    update, delete, truncate = runs.rows(schema=changes_schema(MongodbCdcOptions(collection="t"), ONE, SOURCE))
    assert (first["op"], first["before"], first["after"]["name"], first["source"]["snapshot"]) == ("r", None, "one", "true")
    # Whoever asks for a document that is gone by now learns its key alone.
    assert (update["op"], update["before"], update["after"]) == ("u", {"_id": 1, "name": None, "amount": None}, None)
    assert (delete["op"], delete["before"], delete["after"]) == ("d", {"_id": 2, "name": None, "amount": None}, None)
    assert (truncate["op"], truncate["before"], truncate["after"]) == ("t", None, None)
    place = update["source"]
    assert (place["connector"], place["db"], place["collection"], place["snapshot"]) == ("mongodb", shop.name, "t", "false")
    assert update["ts_ms"] >= first["ts_ms"] > 1_600_000_000_000


def test_stored_images_are_those_of_their_moment(shop: Shop) -> None:
    runs = Runs(shop.changes(changes="envelope", images="stored"))
    runs.rows()
    shop.t.update_one({"_id": 1}, {"$set": {"name": "first"}})
    shop.t.update_one({"_id": 1}, {"$set": {"name": "second"}})
    shop.t.delete_one({"_id": 1})
    found = [(row["op"], (row["before"] or {}).get("name"), (row["after"] or {}).get("name")) for row in runs.rows()]
    assert found == [("u", "one", "first"), ("u", "first", "second"), ("d", "second", None)]


def test_a_change_whose_document_the_server_did_not_keep_is_rejected() -> None:
    reader = EventReader("shop", {"t": Position(1)}, MongodbCdcOptions(collection="t", images="stored"), None)
    event = {"operationType": "update", "ns": {"db": "shop", "coll": "t"}, "clusterTime": bson.Timestamp(5, 1)}
    reader.take({**event, "documentKey": {"_id": 1}}, None, 1)
    (changes,), _ = reader.changes()
    reason, said, _ = changes.refused[0]
    assert reason == "missing_image"
    assert "changeStreamPreAndPostImages" in said


def test_changes_of_one_document_in_one_transaction_keep_their_order() -> None:
    reader = EventReader("shop", {"t": Position(1)}, MongodbCdcOptions(collection="t"), None)
    event = {"operationType": "update", "ns": {"db": "shop", "coll": "t"}, "clusterTime": bson.Timestamp(5, 1), "txnNumber": 3}
    for key in (1, 2, 1):
        reader.take({**event, "documentKey": {"_id": key}, "fullDocument": {"_id": key}}, None, 1)
    reader.take({**event, "clusterTime": bson.Timestamp(5, 2), "documentKey": {"_id": 1}}, None, 1)
    (changes,), _ = reader.changes()
    first, other, second, later = changes.positions.tolist()
    assert first == other < second < later
    assert changes.source["txnNumber"].to_pylist() == [3] * 4


def test_an_update_of_a_document_that_is_gone_leaves_the_removal_alone(shop: Shop) -> None:
    runs = Runs(shop.changes())
    runs.rows()
    shop.t.update_one({"_id": 1}, {"$set": {"name": "uno"}})
    shop.t.delete_one({"_id": 1})
    assert brief(runs.rows()) == [("d", 1, None)]


def test_several_collections_come_in_the_order_of_their_changes_and_one_may_join(shop: Shop) -> None:
    shop.database["tags"].insert_one({"_id": "a", "of": [1, 2]})
    shop.database["other"].insert_one({"_id": 1})
    runs = Runs(shop.changes(changes="envelope", collections="t*", exclude="tmp*"))
    assert [(row["source"]["collection"], json.loads(row["after"])) for row in runs.rows()][2] == (
        "tags",
        {"_id": "a", "of": [1, 2]},
    )
    shop.t.insert_one({"_id": 3, "at": bson.ObjectId("65f0c0ffee0123456789abcd")})
    shop.database["tags"].delete_one({"_id": "a"})
    shop.t.update_one({"_id": 3}, {"$set": {"name": "three"}})
    shop.database["other"].insert_one({"_id": 2})
    shop.database["tmp"].insert_one({"_id": 2})
    shop.database["trees"].insert_one({"_id": 1})
    found = [(row["op"], row["source"]["collection"], row["before"], row["after"]) for row in runs.rows()]
    three = '{"_id": 3, "at": {"$oid": "65f0c0ffee0123456789abcd"}, "name": "three"}'
    assert found == [
        ("r", "trees", None, '{"_id": 1}'),
        ("c", "t", None, '{"_id": 3, "at": {"$oid": "65f0c0ffee0123456789abcd"}}'),
        ("d", "tags", '{"_id": "a"}', None),
        ("u", "t", None, three),
    ]
    assert set(runs.reached) == {"t", "tags", "trees"}
    shop.database["trees"].drop()
    assert [(row["op"], row["source"]["collection"]) for row in runs.rows()] == [("t", "trees")]


def test_a_collection_that_is_dropped_fails_rows_unless_that_is_skipped(shop: Shop) -> None:
    runs, skipping = Runs(shop.changes()), Runs(shop.changes(truncates="skip"))
    runs.rows(), skipping.rows()
    schema = runs.source.discover().schema
    shop.t.drop()
    with pytest.raises(UnreadableData, match="emptied"):
        runs.read(schema=schema)
    assert skipping.rows(schema=schema) == []
    shop.t.insert_one({"_id": 9, "name": "anew"})
    assert brief(skipping.rows(schema=schema)) == [("c", 9, "anew")]


def test_a_position_that_the_log_does_not_reach_is_told_with_what_to_do(shop: Shop) -> None:
    runs = Runs(shop.changes())
    runs.rows()
    runs.reached[""] = runs.source.position("", "2020-01-01T00:00:00Z")
    with pytest.raises(UnreadableData, match="has removed its log behind 2020-01-01T00:00:00Z #0") as told:
        runs.rows()
    assert "--full" in str(told.value.hint)
    assert "replSetResizeOplog" in str(told.value.hint)


def test_positions_are_written_as_they_are_read() -> None:
    position = Position(1_795_299_484, 3)
    assert str(position) == "2026-11-21T22:18:04Z #3"
    assert Position.parse(str(position)) == position
    assert Position.parse("2026-11-21 22:18:04") == Position(1_795_299_484) < position
    assert Position(5, 0).before < Position(5, 0)
    with pytest.raises(InvalidValue, match="no moment"):
        Position.parse("2026-13-41T22:18:04Z")
    # The token of MongoDB 7's own that stands for a moment, and one of another server.
    assert Position.of_token({"_data": "826B02189C000000032B0429296E1404"}) == position
    with pytest.raises(UnreadableData, match="how far"):
        Position.of_token({"_data": b"\x01\x02"})


def test_nothing_may_come_first_but_what_changes(shop: Shop) -> None:
    runs = Runs(shop.changes(snapshot="never"))
    assert runs.rows() == []
    shop.t.delete_one({"_id": 1})
    assert brief(runs.rows()) == [("d", 1, None)]


def test_values_that_do_not_fit_and_broken_texts_are_rejected_with_their_originals(shop: Shop) -> None:
    runs = Runs(shop.changes())
    schema = runs.source.discover().schema
    runs.rows()
    shop.t.insert_many([{"_id": 3, "name": "three", "amount": "much"}, {"_id": 4, "name": "four", "amount": 4}])
    found = runs.rows(schema=schema)
    assert brief(found) == [("c", 4, "four")]
    assert [(each["reason"], each["column"]) for each in runs.rejected] == [("type_mismatch", "amount")]
    strict = Contract(columns=Drift.DISCARD_ROW)
    shop.t.insert_many([{"_id": 5, "name": "five", "new": 1}])
    assert runs.rows(schema=schema, contract=strict) == []
    assert runs.rejected[-1]["reason"] == "contract"
    shop.t.update_one({"_id": 5}, {"$set": {"name": "V"}})
    assert brief(runs.rows(schema=schema)) == [("u", 5, "V")]
    assert runs.drifted == {"new"}


def test_a_look_leaves_nothing_and_only_what_is_wanted_is_read(shop: Shop) -> None:
    runs = Runs(shop.changes())
    assert len(runs.rows(limit=1)) == 1
    assert runs.reached == {}
    assert runs.rows(columns=["name", "__op"])[0] == {"name": "one", "__op": "r"}
    shop.t.delete_one({"_id": 1})
    assert runs.rows(columns=["__deleted"]) == [{"__deleted": True}]


def test_what_cannot_be_followed_is_told(shop: Shop, monkeypatch: Any) -> None:
    report = shop.changes().check()
    assert report.fine, report
    assert [each.what for each in report.findings] == ["reach", "log", "collections", "change stream"]
    missing = shop.changes(collection="absent").check()
    assert not missing.fine
    with pytest.raises(SourceMissing, match="absent"):
        shop.changes(collection="absent").discover()
    for options, said in (
        ({"collection": "t", "key": ["name"]}, "_id"),
        ({"collection": "t", "exclude": "a"}, "exclude"),
        ({"collections": "t*", "changes": "rows"}, "one `collection`"),
        ({}, "needs a"),
    ):
        with pytest.raises(ValueError, match=said):
            MongodbCdcOptions(**options)

    class Alone:
        def command(self, name: str) -> dict[str, Any]:
            return {"ok": 1.0}

    with pytest.raises(InvalidValue, match="replica set") as told:
        server.here(Alone())  # type: ignore[arg-type]
    assert "--replSet" in str(told.value.hint)


def test_random_changes_make_the_same_collection_again(shop: Shop) -> None:
    dice = random.Random(7)
    runs, replica = Runs(shop.changes()), dict[int, Any]()
    last: dict[int, int] = {}
    for _ in range(8):
        for _ in range(dice.randint(0, 60)):
            key = dice.randint(1, 30)
            kind = dice.choice(["insert", "update", "replace", "delete", "many"])
            if kind == "insert":
                shop.t.update_one({"_id": key}, {"$setOnInsert": {"name": f"new {key}"}}, upsert=True)
            elif kind == "update":
                shop.t.update_one({"_id": key}, {"$set": {"amount": dice.random()}})
            elif kind == "replace":
                shop.t.replace_one({"_id": key}, {"name": f"again {dice.randint(1, 9)}"})
            elif kind == "delete":
                shop.t.delete_one({"_id": key})
            else:
                shop.t.update_many({"_id": {"$gt": key}}, {"$set": {"name": "many"}})
        for row in runs.rows(schema=ROWS):
            assert row["__position"] > last.get(row["_id"], 0)
            last[row["_id"]] = row["__position"]
            replica[row["_id"]] = None if row["__deleted"] else (row["name"], row["amount"])
        there = {each["_id"]: (each.get("name"), each.get("amount")) for each in shop.documents("t")}
        assert {key: value for key, value in replica.items() if value is not None} == there


# streams


def followed(source: Source, reached: dict[str, Any]) -> tuple[Any, ReadRequest]:
    request = ReadRequest(schema := source.discover().schema, tuple(schema.names), reached=reached)
    return next(source.partitions(request)), request


def arrivals(follower: Any, count: int) -> tuple[list[tuple[Any, ...]], Any]:
    """So many changes, however many looks they take, and the position behind them."""
    found: list[tuple[Any, ...]] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        arrival = follower.take(0.5, 2**20)
        if arrival.block is not None:
            found += brief(arrival.block.batch.to_pylist())
    return found, arrival.position


def test_a_stream_reads_all_documents_and_then_follows_the_changes(shop: Shop) -> None:
    source = shop.changes()
    follower = source.follow(*followed(source, {}))
    assert arrivals(follower, 2)[0] == [("r", 1, "one"), ("r", 2, "two")]
    assert follower.take(0.0, 2**20).block is None
    shop.t.insert_one({"_id": 3, "name": "three"})
    shop.t.update_one({"_id": 1}, {"$set": {"name": "uno"}})
    found, position = arrivals(follower, 2)
    assert found == [("c", 3, "three"), ("u", 1, "uno")]
    follower.published(position)
    shop.t.delete_one({"_id": 2})
    assert arrivals(follower, 1)[0] == [("d", 2, None)]
    follower.close()
    another = source.follow(*followed(source, {"": position}))
    assert arrivals(another, 1)[0] == [("d", 2, None)]
    another.close()


def test_a_stream_goes_on_from_each_of_its_positions_and_halves_no_transaction(shop: Shop) -> None:
    source = shop.changes(snapshot="never")
    partition, request = followed(source, {})
    for number in range(10):
        shop.t.insert_many([{"_id": 10 * number + each, "name": "many"} for each in range(10, 13)])
    follower, whole, positions = source.follow(partition, request), list[Any](), [(0, partition.position)]
    end = time.monotonic() + 60
    while len(whole) < 30 and time.monotonic() < end:
        arrival = follower.take(0.0, 1)
        if arrival.block is not None:
            whole += brief(arrival.block.batch.to_pylist())
            # All documents of an insert are of one moment.
            assert len(whole) % 3 == 0
        positions.append((len(whole), arrival.position))
    follower.close()
    assert [key for _, key, _ in whole] == [10 * number + each for number in range(10) for each in range(10, 13)]
    assert len({seen for seen, _ in positions}) > 5
    for seen, position in positions[1:-1:3]:
        another = source.follow(type(partition)("", position), request)
        assert arrivals(another, 30 - seen)[0] == whole[seen:]
        another.close()


def test_a_stream_that_sees_nothing_moves_on_all_the_same(shop: Shop) -> None:
    source = shop.changes(snapshot="never")
    partition, request = followed(source, {})
    follower = source.follow(partition, request)
    shop.database["other"].insert_one({"_id": 1})
    arrival = follower.take(0.0, 2**20)
    assert arrival.block is None
    assert Position.parse(arrival.position) > Position.parse(partition.position)
    follower.close()
    with pytest.raises(InvalidValue, match="one `collection`"):
        followed(shop.changes(changes="envelope", collections="*"), {})
