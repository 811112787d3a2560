"""MongoDB as a destination: modes, refused rows, commits that are repeated, and runs that died."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest

from beam_datahub.component.sink import Receipt
from beam_datahub.component.subject import Subject
from beam_datahub.errors import InvalidValue, LossyWrite, TargetUnusable, UnknownColumn
from beam_datahub.io.mongodb import ledger as ledgers
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ
from beam_datahub.testing.connectors import read
from tests.conftest import MongodbServer
from tests.unit.io.mongodb_collections import Store, request, staged, write

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


@pytest.fixture
def store(mongodb: MongodbServer) -> Iterator[Store]:
    found = Store(mongodb)
    yield found
    found.client.close()


def rows(*numbers: int, text: str = "a") -> pa.Table:
    return pa.table([list(numbers), [text] * len(numbers)], schema=SCHEMA)


def numbers(store: Store) -> list[int]:
    return sorted(each["n"] for each in store.documents())


def test_appending_adds_and_a_repeated_run_does_not(store: Store) -> None:
    write(store.sink(), request(SCHEMA), rows(1, 2), rows(3))
    assert numbers(store) == [1, 2, 3]
    write(store.sink(), request(SCHEMA, run="run2"), rows(4), rows(5))
    wanted = request(SCHEMA, run="run2")
    assert store.sink().commit(wanted, [Receipt("gone", 2)]).rows == 2
    assert numbers(store) == [1, 2, 3, 4, 5]
    assert store.left == []


def test_overwriting_replaces_all_and_keeps_the_indices(store: Store) -> None:
    store.database["out"].insert_many([{"n": 8}, {"n": 9}])
    store.database["out"].create_index([("n", -1)], unique=True, name="by_n")
    write(store.sink(), request(SCHEMA, "overwrite"), rows(1), rows(2))
    assert numbers(store) == [1, 2]
    assert store.database["out"].index_information()["by_n"]["unique"]
    with pytest.raises(TargetUnusable, match="duplicate key"):
        write(store.sink(), request(SCHEMA, "overwrite", run="run2"), rows(3, 3))
    assert numbers(store) == [1, 2]
    write(store.sink(), request(SCHEMA, "overwrite", run="run3"))
    assert numbers(store) == []


def test_merging_changes_adds_and_removes_by_key(store: Store) -> None:
    store.database["out"].insert_many([{"n": 1, "text": "old", "mine": True}, {"n": 2, "text": "old"}])
    schema = pa.schema([*SCHEMA, ("at", pa.int64()), ("gone", pa.bool_())])
    table = pa.table(
        [[1, 1, 2, 3, 1], ["b", "c", "x", "new", "a"], [2, 3, 1, 1, None], [False, None, True, False, False]], schema=schema
    )
    sink = store.sink(last_by="at", delete_marker="gone")
    wanted = request(schema, "merge", key=("n",))
    write(sink, wanted, table.slice(0, 2), table.slice(2))
    assert store.rows() == [{"n": 1, "text": "c", "mine": True, "at": 3}, {"n": 3, "text": "new", "at": 1}]
    sink.commit(wanted, [])
    assert len(store.rows()) == 2
    assert store.left == []


def test_a_key_that_comes_twice_fails_the_merge_before_anything_is_changed(store: Store) -> None:
    store.database["out"].insert_one({"n": 1, "text": "old"})
    sink, wanted = store.sink(), request(SCHEMA, "merge", key=("n",))
    with pytest.raises(TargetUnusable, match=r"same key \(n 1\)"):
        write(sink, wanted, rows(1, 2), rows(1))
    assert store.rows() == [{"n": 1, "text": "old"}]
    sink.abort(wanted)
    assert store.left == []


def test_of_rows_that_come_at_once_the_same_wins_however_they_are_bundled(store: Store) -> None:
    schema = pa.schema([*SCHEMA, ("at", pa.int64())])
    table = pa.table([[1] * 4, ["d", "a", "c", "b"], [5] * 4], schema=schema)
    for run, parts in enumerate(([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])):
        wanted = request(schema, "merge", run=f"run{run}", key=("n",))
        write(store.sink(last_by="at"), wanted, *[table.slice(i, 1) for i in parts])
        assert [each["text"] for each in store.rows()] == ["a"]


def test_nulls_are_kept_or_left_out(store: Store) -> None:
    table = pa.table([[1], [None]], schema=SCHEMA)
    write(store.sink(), request(SCHEMA), table)
    assert store.rows() == [{"n": 1, "text": None}]
    write(store.sink(nulls="leave_out"), request(SCHEMA, "merge", run="run2", key=("n",)), table)
    assert store.rows() == [{"n": 1}]


def test_values_keep_their_types(store: Store) -> None:
    moment = dt.datetime(2025, 3, 3, 8, 0, 0, 123000, dt.UTC)
    identity = "65f0a1b2c3d4e5f601020304"
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "_id": (pa.string(), identity),
        "small": (pa.int32(), 5),
        "large": (pa.int64(), 5),
        "exact": (pa.decimal128(38, 10), Decimal("1.5000000000")),
        "raw": (pa.binary(), b"\x00\xff"),
        "at": (TIMESTAMPTZ, moment),
        "day": (pa.date32(), dt.date(2025, 3, 3)),
        "time": (pa.time64("us"), dt.time(1, 2, 3)),
        "tags": (pa.list_(pa.field("item", pa.string())), ["a", None]),
        "place": (pa.struct([("city", pa.string()), ("n", pa.list_(pa.field("item", pa.int64())))]), {"city": "b", "n": [1]}),
        "map": (pa.map_(pa.string(), pa.int64()), [("k", 1)]),
        "doc": (JSON, '{"a": {"$oid": "65f0a1b2c3d4e5f601020304"}}'),
        "uid": (pa.string(), "12345678-1234-5678-1234-567812345678"),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    arrays = [
        pa.ExtensionArray.from_storage(JSON, pa.array([value])) if kind == JSON else pa.array([value], kind)
        for kind, value in columns.values()
    ]
    write(store.sink(types={"_id": "objectId", "uid": "uuid"}), request(schema), pa.table(arrays, schema=schema))
    raw = store.database["out"].with_options(codec_options=bson.CodecOptions(document_class=bson.raw_bson.RawBSONDocument))
    (document,) = store.documents()
    assert document["_id"] == bson.ObjectId(identity)
    assert type(document["small"]) is int
    assert type(document["large"]) is bson.Int64
    assert str(document["exact"]) == "1.5000000000"
    assert (document["raw"], document["at"], document["time"]) == (b"\x00\xff", moment, "01:02:03")
    assert document["day"] == dt.datetime(2025, 3, 3, tzinfo=dt.UTC)
    assert document["tags"] == ["a", None]
    assert (document["place"], document["map"]) == ({"city": "b", "n": [1]}, {"k": 1})
    assert document["doc"] == {"a": bson.ObjectId(identity)}
    assert str(document["uid"]) == "12345678-1234-5678-1234-567812345678"
    assert raw.find_one() is not None


def test_what_is_claimed_comes_back_as_it_was_written(store: Store) -> None:
    import duckdb

    from beam_datahub.kernels.session import conform
    from beam_datahub.kernels.types import canonical_schema

    values = {
        "BOOLEAN": "true", "BIGINT": "9223372036854775807", "DOUBLE": "0.1",
        "DECIMAL(38,10)": "123456789012345678901234.0123456789", "VARCHAR": "'a\"b,''ü'", "BLOB": "'\\x00\\xff'::blob",
        "TIMESTAMPTZ": "timestamptz '2024-02-29 12:34:56.789+00'", "VARCHAR[]": "['a', null]",
        "STRUCT(a BIGINT, b VARCHAR)": "{a: 1, b: 'x'}", "STRUCT(a BIGINT)[]": "[{a: 1}]",
    }  # fmt: skip
    sink = store.sink()
    assert set(sink.capabilities.types) == set(values)
    with duckdb.connect(":memory:") as session:
        select = ", ".join(f"CAST({text} AS {kind}) AS c{i}" for i, (kind, text) in enumerate(values.items()))
        table = session.sql(f"SELECT 0 AS c, {select} UNION ALL SELECT 1, {', '.join('NULL' for _ in values)}").to_arrow_table()
    table = conform(table, canonical_schema(table.schema))
    write(sink, request(table.schema), table)
    found = read(store.source("out"), table.schema)
    assert found.rejected == []
    assert found.table.sort_by("c").to_pylist() == table.to_pylist()


@pytest.mark.parametrize(
    ("kind", "value", "options", "said"),
    [
        (pa.uint64(), 2**63, {}, "64 bits"),
        (pa.decimal128(38, 0), Decimal("9" * 38), {}, "34 digits"),
        (TIMESTAMPTZ, dt.datetime(2025, 1, 1, 0, 0, 0, 1, dt.UTC), {}, "milliseconds"),
        (pa.string(), "xyz", {"types": {"v": "objectId"}}, "no objectId"),
        (pa.string(), "xyz", {"types": {"v": "uuid"}}, "no uuid"),
        (pa.map_(pa.string(), pa.string()), [("a\0b", "x")], {}, "NULL byte"),
        (pa.string(), "x" * (17 * 1024 * 1024), {}, "16777216 are allowed"),
    ],
)
def test_a_row_that_no_document_can_hold_is_refused_alone(
    store: Store, kind: pa.DataType, value: Any, options: dict[str, Any], said: str
) -> None:
    schema = pa.schema([("n", pa.int64()), ("v", kind)])
    table = pa.table([pa.array([1, 2, 3]), pa.array([None, value, None], kind)], schema=schema)
    (rejected,) = write(store.sink(**options), request(schema), table)
    assert (rejected["row"], rejected["reason"]) == (1, "refused")
    assert said in rejected["message"]
    assert numbers(store) == [1, 3]


def test_the_server_refuses_rows_singly(store: Store) -> None:
    schema = pa.schema([("_id", pa.int64()), ("n", pa.int64())])
    table = pa.table([[1, 1, 2], [1, 2, 3]], schema=schema)
    (rejected,) = write(store.sink(), request(schema), table)
    assert rejected["row"] == 1
    assert "duplicate key" in rejected["message"]
    assert "_dh_stage" not in rejected["message"]
    assert numbers(store) == [1, 3]


def test_an_id_that_is_there_fails_the_run_before_anything_is_added(store: Store) -> None:
    store.database["out"].insert_one({"_id": 2, "n": 0})
    schema = pa.schema([("_id", pa.int64()), ("n", pa.int64())])
    with pytest.raises(TargetUnusable, match="_id 2 already"):
        write(store.sink(), request(schema), pa.table([[1, 2], [1, 2]], schema=schema))
    with pytest.raises(TargetUnusable, match="have the _id 5"):
        write(store.sink(), request(schema, run="b"), pa.table([[5], [1]], schema=schema), pa.table([[5], [2]], schema=schema))
    assert numbers(store) == [0]


def test_what_a_unique_index_refuses_takes_all_of_the_run_back(store: Store) -> None:
    store.database["out"].create_index("n", unique=True)
    store.database["out"].insert_one({"n": 5})
    sink, wanted = store.sink(), request(SCHEMA)
    with pytest.raises(TargetUnusable, match="duplicate key"):
        write(sink, wanted, rows(1, 2), rows(5, 6))
    assert numbers(store) == [5]
    sink.abort(wanted)
    assert store.left == []


@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
@pytest.mark.parametrize("seed", range(2))
def test_bundles_and_commits_that_are_repeated_at_random_change_nothing(store: Store, mode: str, seed: int) -> None:
    draw = random.Random(seed)
    store.database["out"].insert_one({"n": -1, "text": "there"})
    sink, wanted = store.sink(), request(SCHEMA, mode, key=("n",) if mode == "merge" else ())
    sink.prepare(wanted)
    receipts: list[Receipt] = []
    for bundle in range(4):
        while True:
            writer = sink.open(wanted)
            writer.write(rows(*range(bundle * 5, bundle * 5 + 5)).to_batches()[0])
            fate = draw.choice(["discarded", "lost", "kept"])
            if fate == "discarded":
                writer.discard()
            else:
                found = writer.close()
                if fate == "kept":
                    receipts += found
                    break
    for _ in range(draw.randint(1, 3)):
        assert sink.commit(wanted, receipts).rows == 20
    assert numbers(store) == ([] if mode == "overwrite" else [-1]) + list(range(20))
    assert store.left == []


class Died(BaseException):
    """What a process does that is killed."""


class Countdown:
    """Lets the process die at one of its calls, before it where the number is odd, else after it."""

    def __init__(self, count: int) -> None:
        self.left, self.after = count, count % 2 == 0

    def dying(self, original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == -1 and not self.after:
                raise Died
            found = original(*arguments, **more)
            if self.left == -1:
                raise Died
            return found

        return call


@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
@pytest.mark.parametrize("there", [True, False])
def test_a_commit_that_dies_after_any_step_is_brought_to_its_end(
    store: Store, mode: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymongo.synchronous.collection import Collection
    from pymongo.synchronous.database import Database

    steps = [(Collection, "bulk_write"), (Collection, "rename"), (Collection, "update_one"), (Database, "drop_collection")]
    for died_at in range(40):
        store.client.drop_database(store.name)
        if there:
            store.database["out"].insert_one({"n": -1, "text": "there"})
        sink, wanted = store.sink(), request(SCHEMA, mode, run=f"run{died_at}", key=("n",) if mode == "merge" else ())
        sink.prepare(wanted)
        receipts, _ = staged(sink, wanted, rows(1, 2), rows(3))
        countdown = Countdown(died_at)

        completed = False
        with monkeypatch.context() as patch:
            for kind, name in steps:
                patch.setattr(kind, name, countdown.dying(getattr(kind, name)))
            try:
                sink.commit(wanted, receipts)
                completed = True
            except Died:
                pass
        expected = sorted(([-1] if there and mode != "overwrite" else []) + [1, 2, 3])
        if completed:
            assert died_at > 3
            assert numbers(store) == expected
            return
        entry = store.database[ledgers.LEDGER].find_one({"run_id": wanted.run_id})
        assert entry is not None
        if died_at % 3 and entry["state"] == "publishing":
            # Its process is gone: another run meets what it left.
            store.database[ledgers.LEDGER].update_one({"_id": entry["_id"]}, {"$set": {"owner.started": "long ago"}})
            store.sink().prepare(request(SCHEMA, mode, run="next", key=wanted.key))
        assert sink.commit(wanted, receipts).rows == 3
        assert numbers(store) == expected, died_at
        assert store.left == []
    pytest.fail("it never came to its end")


def test_what_a_dead_run_staged_is_swept_and_that_of_a_living_one_is_not(store: Store) -> None:
    sink = store.sink()
    for run in ("dead", "alive"):
        sink.prepare(request(SCHEMA, run=run))
        staged(sink, request(SCHEMA, run=run), rows(1))
    assert len(store.left) == 2
    store.database[ledgers.LEDGER].update_one({"run_id": "dead"}, {"$set": {"owner.started": "long ago"}})
    sink.prepare(request(SCHEMA, run="next"))
    assert len(store.left) == 1
    with pytest.raises(TargetUnusable, match="swept"):
        sink.commit(request(SCHEMA, run="dead"), [])
    sink.abort(request(SCHEMA, run="alive"))
    assert store.left == []


def test_of_two_runs_that_meet_a_dead_one_one_brings_it_to_its_end(store: Store) -> None:
    sink, wanted = store.sink(), request(SCHEMA, run="dead")
    sink.prepare(wanted)
    staged(sink, wanted, rows(1))
    entries = store.database[ledgers.LEDGER]
    entries.update_one({"run_id": "dead"}, {"$set": {"owner.started": "long ago", "state": "publishing"}})
    met = [ledgers.Ledger(store.database, "out", request(SCHEMA, run=f"run{n}")).begin() for n in range(2)]
    assert [len(each) for each in met] == [1, 0]
    # What the living one is about to publish is not swept.
    assert len(store.left) == 1


def test_a_write_that_cannot_be_right_is_refused_beforehand(store: Store) -> None:
    def plan(schema: pa.Schema, mode: str = "append", key: tuple[str, ...] = (), **options: Any) -> None:
        store.sink(**options).plan_write(request(schema, mode, key=key))

    nested = pa.schema([("a", pa.list_(pa.int64()))])
    with pytest.raises(LossyWrite, match=r"'a\.b'"):
        plan(pa.schema([("a.b", pa.int64())]))
    with pytest.raises(UnknownColumn):
        plan(SCHEMA, types={"x": "uuid"})
    with pytest.raises(InvalidValue, match="for write_mode merge"):
        plan(SCHEMA, last_by="n")
    with pytest.raises(InvalidValue, match="needs the columns"):
        plan(SCHEMA, "merge")
    with pytest.raises(InvalidValue, match="is nested"):
        plan(nested, "merge", ("a",))
    with pytest.raises(InvalidValue, match="cannot be changed"):
        plan(pa.schema([("_id", pa.int64()), *SCHEMA]), "merge", ("n",))
    with pytest.raises(InvalidValue, match="not BOOLEAN"):
        plan(SCHEMA, "merge", ("n",), delete_marker="text")


def test_a_server_that_restarts_in_the_middle_of_a_write_fails_it_without_half_of_it(
    store: Store, mongodb: MongodbServer, tmp_path: Path
) -> None:
    sink, wanted = store.sink(), request(SCHEMA)
    sink.prepare(wanted)
    writer = sink.open(wanted)
    writer.write(rows(1).to_batches()[0])
    mongodb.kill()
    mongodb.start()
    writer.write(rows(2).to_batches()[0])
    # This server forgets what it had: what is staged is not what was sent.
    with pytest.raises(TargetUnusable, match="are there"):
        sink.commit(wanted, writer.close())
    assert store.documents() == []


def test_the_documents_of_one_person_are_found_and_removed(store: Store) -> None:
    identity = bson.ObjectId()
    store.database["out"].insert_many(
        [
            {"_id": 1, "id": 7, "name": "ada"},
            {"_id": 2, "id": 7.0},
            {"_id": 3, "id": "7"},
            {"_id": 4, "id": 77, "note": "7"},
            {"_id": 5, "owner": identity},
            {"_id": 6, "doc": {"id": 7}},
            {"_id": 7, "doc": "order 7 of ada"},
        ]
    )
    sink, wanted = store.sink(), request(SCHEMA)
    lines: list[bytes] = []
    held = sink.find(wanted, Subject("7", ("id",), others=(("owner", str(identity)),)), lines.append)
    assert (held.rows, held.locations) == (4, (f"{store.name}.out",))
    assert b'{"_id": 1, "id": 7, "name": "ada"}\n' in lines
    inside = sink.find(wanted, Subject("7", ("id",), inside="doc"))
    assert (inside.rows, inside.uncertain) == (1, 1)
    assert sink.find(wanted, Subject("7", ("id",), inside="doc", mentions=True)).rows == 2
    assert sink.erase(wanted, Subject("7", ("id",))).rows == 3
    assert [each["_id"] for each in store.documents()] == [4, 5, 6, 7]
    assert sink.erase(wanted, Subject("8", ("id",))).rows == 0


def test_checks_say_what_may_be_written(store: Store) -> None:
    report = store.sink().check()
    assert report.fine
    assert ("out", True, "will be made") in [line[:3] for line in report.findings]
    assert store.left == []
