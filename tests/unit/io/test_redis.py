"""Redis as a source and a destination: kinds of keys, commits that are repeated, wrong logins, and servers that go away."""

from __future__ import annotations

import itertools
import json
import random
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis as redis_client

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt, Sink, WriteRequest
from beam_datahub.component.source import Contract, Drift, ReadRequest, Source
from beam_datahub.errors import AccessDenied, InvalidValue, LossyWrite, TargetUnusable, Transient, UnknownColumn, UnreadableData
from beam_datahub.io.redis.scanning import matching
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read, stage
from tests.conftest import Server

_numbers = itertools.count()
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("total", pa.decimal128(12, 2))])


class Keys:
    """Keys of a test's own, in a database that it finds empty: they all begin with `prefix`."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.prefix = f"t{next(_numbers)}:"
        self.client: Any = redis_client.Redis(server.host, server.port, db=5)

    def _reach(self, **more: Any) -> dict[str, Any]:
        return {"host": self.server.host, "port": self.server.port, "database": 5, "staging": str(self.folder), **more}

    def source(self, **options: Any) -> Source:
        kind: Any = component("source", "redis")
        reach = kind.Connection(**self._reach(**options.pop("connection", {})))
        return kind(reach, kind.Options(**{"pattern": f"{self.prefix}*", **options}))  # type: ignore[no-any-return]

    def sink(self, **options: Any) -> Sink:
        kind: Any = component("sink", "redis")
        reach = kind.Connection(**self._reach(**options.pop("connection", {})))
        return kind(reach, kind.Options(**{"key_template": self.prefix + "{id}", **options}))  # type: ignore[no-any-return]

    def names(self) -> list[str]:
        return sorted(key.decode().removeprefix(self.prefix) for key in self.client.scan_iter(f"{self.prefix}*"))

    def hash(self, name: object) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.client.hgetall(f"{self.prefix}{name}").items()}


@pytest.fixture
def keys(redis: Server, tmp_path: Path) -> Iterator[Keys]:
    found = Keys(redis, tmp_path)
    found.client.flushdb()
    yield found
    found.client.close()


def request(schema: pa.Schema = SCHEMA, run: str = "run1", key: tuple[str, ...] = ("id",)) -> WriteRequest:
    return WriteRequest(run, "out", schema, WriteMode.MERGE, key)


def rows(*ids: int, name: str | None = "a") -> pa.Table:
    return pa.table([list(ids), [name] * len(ids), [Decimal("1.50")] * len(ids)], schema=SCHEMA)


def write(sink: Sink, *tables: pa.Table, run: str = "run1", **more: Any) -> None:
    wanted = request(tables[0].schema, run, **more)
    sink.plan_write(wanted)
    sink.prepare(wanted)
    sink.commit(wanted, stage(sink, wanted, tables))


def test_hashes_are_read_by_field_with_what_cannot_be_rejected(keys: Keys) -> None:
    keys.client.hset(keys.prefix + "1", mapping={"id": "1", "name": "é", "more": "x"})
    keys.client.hset(keys.prefix + "2", mapping={"id": "x", "name": "b"})
    keys.client.hset(keys.prefix + "3", mapping={"id": "3"})
    keys.client.hset(keys.prefix + "4", mapping={"id": "4", "name": b"\xff"})
    keys.client.set(keys.prefix + "text", "no hash")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("_key", pa.string())])
    found = read(keys.source(), schema)
    assert sorted(found.rows, key=str) == [
        {"id": 1, "name": "é", "_key": f"{keys.prefix}1"},
        {"id": 3, "name": None, "_key": f"{keys.prefix}3"},
    ]
    assert sorted(found.reasons) == ["encoding", "type_mismatch"]
    assert any(json.loads(each["original"]).get("id") == "x" for each in found.rejected)
    assert found.drifted == {"more"}
    with pytest.raises(Exception, match="'more'"):
        read(keys.source(), schema, contract=Contract(columns=Drift.FREEZE))


def test_the_columns_of_hashes_are_found(keys: Keys) -> None:
    keys.client.hset(keys.prefix + "1", mapping={"b": "1", "a": "2"})
    assert keys.source(metadata=["key", "ttl"]).discover().schema.names == ["a", "b", "_key", "_ttl"]
    with pytest.raises(UnreadableData, match="no key that holds a json"):
        keys.source(format="json").discover()


def test_json_documents_keep_their_types_and_their_end(keys: Keys) -> None:
    keys.client.set(keys.prefix + "1", json.dumps({"n": 1, "tags": ["a"], "in": {"x": 0.5}}), ex=1000)
    keys.client.set(keys.prefix + "2", "not json")
    keys.client.set(keys.prefix + "3", json.dumps({"n": 3}))
    schema = pa.schema([("n", pa.int64()), ("tags", pa.list_(pa.field("item", pa.string()))), ("_ttl", pa.float64())])
    found = read(keys.source(format="json", metadata=["ttl"]), schema)
    one, three = sorted(found.rows, key=lambda row: row["n"])
    assert (one["tags"], three["tags"], three["_ttl"]) == (["a"], None, None)
    assert 900 < one["_ttl"] <= 1000
    assert found.reasons == ["malformed"]
    assert found.rejected[0]["original"].strip() == "not json"


def test_other_kinds_give_a_record_for_each_element(keys: Keys) -> None:
    keys.client.set(keys.prefix + "s", "text")
    keys.client.rpush(keys.prefix + "l", "a", "b")
    keys.client.sadd(keys.prefix + "m", "y", "x")
    keys.client.zadd(keys.prefix + "z", {"x": 1.5, "y": float("inf")})
    options: dict[str, Any] = {"metadata": []}
    assert read(keys.source(format="string", **options)).rows == [{"value": "text"}]
    assert read(keys.source(format="list", **options)).rows == [{"position": 0, "value": "a"}, {"position": 1, "value": "b"}]
    assert read(keys.source(format="set", **options)).rows == [{"member": "x"}, {"member": "y"}]
    assert read(keys.source(format="zset", **options)).rows == [
        {"member": "x", "score": 1.5},
        {"member": "y", "score": float("inf")},
    ]


def test_each_key_is_read_once_though_the_table_of_keys_grows_meanwhile(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    scan: Any = redis_client.Redis.scan
    before: list[bytes] = []

    def again(self: Any, *arguments: Any, **more: Any) -> Any:
        cursor, found = scan(self, *arguments, **more)
        # What a server does whose table shrinks.
        told = found + before[:5]
        before[:] = found
        return cursor, told

    monkeypatch.setattr(redis_client.Redis, "scan", again)

    def add(low: int, high: int) -> None:
        with keys.client.pipeline(transaction=False) as pipe:
            for n in range(low, high):
                pipe.hset(f"{keys.prefix}{n}", "n", n)
            pipe.execute()

    add(0, 3_000)
    schema = pa.schema([("n", pa.int64())])
    source, wanted = keys.source(batch_keys=100, metadata=[]), ReadRequest(schema, ("n",))
    (split,) = source.splits(wanted)
    found: list[int] = []
    for number, block in enumerate(source.read(split, wanted)):
        found += block.batch.column(0).to_pylist()
        if number == 3:
            add(3_000, 12_000)
    assert len(found) == len(set(found))
    assert set(range(3_000)) <= set(found)
    assert len(read(source, schema, limit=7).rows) == 7


def looked_up(source: Source, names: list[str], schema: pa.Schema, columns: list[str] | None = None) -> list[dict[str, Any]]:
    request = ReadRequest(schema, tuple(columns or schema.names), declared=True)
    wanted = pa.table({"_key": pa.array(names, pa.string())})
    return [row for block in source.lookup(wanted, request) for row in block.batch.to_pylist()]


def test_only_the_keys_that_are_asked_for_are_read_and_missing_ones_are_left_out(keys: Keys) -> None:
    p = keys.prefix
    keys.client.hset(f"{p}1", mapping={"name": "ada", "total": "1.50", "more": "x"})
    keys.client.hset(f"{p}2", mapping={"name": "bo"})
    keys.client.set(f"{p}3", "no hash")
    keys.client.hset("elsewhere:1", mapping={"name": "not of the pattern"})
    schema = pa.schema([("name", pa.string()), ("total", pa.decimal128(12, 2)), ("_key", pa.string()), ("_ttl", pa.float64())])
    source = keys.source(metadata=["key", "ttl"])
    assert source.asks_by("_key", pa.string())
    assert not source.asks_by("name", pa.string())
    assert not keys.source(metadata=[]).asks_by("_key", pa.string())
    found = looked_up(source, [f"{p}2", f"{p}3", f"{p}none", "elsewhere:1", f"{p}1"], schema)
    assert found == [
        {"name": "bo", "total": None, "_key": f"{p}2", "_ttl": None},
        {"name": "ada", "total": Decimal("1.50"), "_key": f"{p}1", "_ttl": None},
    ]
    keys.client.delete("elsewhere:1")


def test_json_and_texts_are_looked_up_with_one_question_for_many(keys: Keys) -> None:
    p = keys.prefix
    keys.client.mset({f"{p}{number}": f'{{"id": {number}, "name": "n{number}"}}' for number in range(30)})
    keys.client.lpush(f"{p}list", "a", "b")
    keys.client.set(f"{p}ends", '{"id": 99, "name": "soon"}', px=60_000)
    keys.client.set(f"{p}broken", "{")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("_key", pa.string())])
    before = keys.client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0)
    names = [f"{p}{number}" for number in range(40)] + [f"{p}list"]
    found = looked_up(keys.source(format="json", batch_keys=25), names, schema)
    assert [row["id"] for row in found] == list(range(30))
    assert keys.client.info("commandstats")["cmdstat_mget"]["calls"] - before == 2
    request = ReadRequest(schema, tuple(schema.names), declared=True)
    (block,) = keys.source(format="json").lookup(pa.table({"_key": [f"{p}broken", f"{p}1"]}), request)
    assert block.rejected is not None
    assert (block.rejected["reason"].to_pylist(), block.batch.num_rows) == (["malformed"], 1)
    ends = pa.schema([*schema, ("_ttl", pa.float64())])
    (ending,) = looked_up(keys.source(format="json", metadata=["key", "ttl"]), [f"{p}ends"], ends)
    assert 0 < ending["_ttl"] <= 60
    texts = pa.schema([("value", pa.string()), ("_key", pa.string())])
    assert looked_up(keys.source(format="string"), [f"{p}broken"], texts) == [{"value": "{", "_key": f"{p}broken"}]
    elements = pa.schema([("position", pa.int64()), ("value", pa.string()), ("_key", pa.string())])
    assert [row["value"] for row in looked_up(keys.source(format="list"), [f"{p}1", f"{p}list"], elements)] == ["b", "a"]


def test_a_lookup_meets_the_keys_that_a_scan_of_its_pattern_finds(keys: Keys) -> None:
    p = keys.prefix
    for name in ("a", "ab", "a-b", "b", "c", "^", "[a]", "a*", "\\", "é", "a\nb", "]"):
        keys.client.set(f"{p}{name}", "1")
    there = sorted(keys.client.keys(f"{p}*"))
    patterns = ["*", "a*", "a?", "?", "??", "[ab]", "[^ab]", "[a-c]*", "\\[a\\]", "a\\*", "[\\]a]", "\\\\", "[é]*", "a?b", "[a"]
    for pattern in patterns:
        found = matching(p + pattern)
        assert [key for key in there if found.fullmatch(key)] == sorted(keys.client.keys(p + pattern)), pattern
    with pytest.raises(InvalidValue, match="class of nothing"):
        matching("a[]")


def test_a_lookup_that_takes_too_long_is_told(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
    schema = pa.schema([("value", pa.string()), ("_key", pa.string())])
    request = ReadRequest(schema, tuple(schema.names), declared=True)
    wanted = pa.table({"_key": [f"{keys.prefix}1"]})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = keys.source(format="string", connection={"host": "127.0.0.1", "port": silent.getsockname()[1]})
        with pytest.raises(Transient, match="does not answer"):
            list(source.lookup(wanted, request, timeout_seconds=0.2))


def test_a_server_that_is_started_anew_in_the_middle_of_a_read_is_told(keys: Keys, redis: Server) -> None:
    with keys.client.pipeline(transaction=False) as pipe:
        for n in range(2_000):
            pipe.hset(f"{keys.prefix}{n}", "n", n)
        pipe.execute()
    source, wanted = keys.source(batch_keys=50, metadata=[]), ReadRequest(pa.schema([("n", pa.int64())]), ("n",))
    (split,) = source.splits(wanted)
    blocks = source.read(split, wanted)
    next(blocks)
    redis.kill()
    redis.start()
    with pytest.raises(Transient, match="started anew"):
        list(blocks)


def test_rows_become_hashes_and_what_is_not_written_stays(keys: Keys) -> None:
    keys.client.hset(keys.prefix + "1", mapping={"mine": "kept", "name": "old"})
    write(keys.sink(), rows(1, 2), rows(3, name=None))
    assert keys.hash(1) == {"mine": "kept", "id": "1", "name": "a", "total": "1.50"}
    assert keys.hash(3) == {"id": "3", "total": "1.50"}
    write(keys.sink(), rows(1, name=None), run="run2")
    assert keys.hash(1) == {"mine": "kept", "id": "1", "total": "1.50"}


def test_a_repeated_commit_changes_nothing(keys: Keys) -> None:
    sink, wanted = keys.sink(), request()
    sink.prepare(wanted)
    receipts = stage(sink, wanted, [rows(1)])
    assert sink.commit(wanted, receipts).rows == 1
    keys.client.hset(keys.prefix + "1", "name", "changed since")
    assert sink.commit(wanted, receipts).rows == 1
    assert keys.hash(1)["name"] == "changed since"


def test_json_and_single_values(keys: Keys) -> None:
    write(keys.sink(format="json"), rows(1))
    assert keys.client.get(keys.prefix + "1") == b'{"id":1,"name":"a","total":1.50}'
    schema = pa.schema([("id", pa.int64()), ("raw", pa.binary())])
    write(keys.sink(format="string"), pa.table([[2, 3], [b"\x00\xff", None]], schema=schema), run="run2")
    assert keys.client.get(keys.prefix + "2") == b"\x00\xff"
    assert keys.names() == ["1", "2"]


def test_keys_end_as_the_options_say(keys: Keys) -> None:
    schema = pa.schema([*SCHEMA, ("seconds", pa.int64())])
    table = pa.table([[1, 2, 3], ["a"] * 3, [None] * 3, [1000, None, 0]], schema=schema)
    sink, wanted = keys.sink(ttl="seconds", ttl_seconds=5000), request(schema)
    sink.prepare(wanted)
    writer = sink.open(wanted)
    found = writer.write(table.to_batches()[0])
    sink.commit(wanted, writer.close())
    assert found is not None
    assert found.to_pylist()[0]["message"] == "a key lives at least a second"
    one, two = (keys.client.ttl(f"{keys.prefix}{n}") for n in (1, 2))
    assert 0 < one <= 1000 < two <= 5000
    assert "seconds" not in keys.hash(1)
    write(keys.sink(), rows(1), run="run2")
    assert 0 < keys.client.ttl(keys.prefix + "1") <= 1000


def test_the_last_one_wins_and_marked_keys_go(keys: Keys) -> None:
    keys.client.hset(keys.prefix + "2", "id", "2")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.int64()), ("gone", pa.bool_())])
    table = pa.table(
        [[1, 1, 2, 1, 1], ["b", "c", "x", "a", "d"], [2, 3, 1, None, 3], [None, False, True, None, None]], schema=schema
    )
    names = set()
    for run, parts in enumerate(([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])):
        sink = keys.sink(last_by="at", delete_marker="gone")
        write(sink, *[table.slice(i, 1) for i in parts], run=f"run{run}")
        assert keys.names() == ["1"]
        assert keys.hash(1)["at"] == "3"
        names.add(keys.hash(1)["name"])
    # Of rows that come at once the same one wins, whatever their order.
    assert len(names) == 1


def test_what_would_be_lost_or_is_unclear_fails_before_anything_is_changed(keys: Keys) -> None:
    keys.client.rpush(keys.prefix + "2", "a list")
    with pytest.raises(TargetUnusable, match="holds a list"):
        write(keys.sink(), rows(1, 2))
    with pytest.raises(TargetUnusable, match=r"2 of the written rows have the same key \(.*:5\)"):
        write(keys.sink(), rows(5), rows(5), run="run2")
    assert keys.names() == ["2"]


def test_rows_without_a_key_or_with_too_much_are_refused_alone(keys: Keys) -> None:
    sink, wanted = keys.sink(max_value_bytes=100), request()
    sink.prepare(wanted)
    writer = sink.open(wanted)
    table = pa.table([[1, None, 3, 4], ["a", "a", "x" * 200, "b"], [None] * 4], schema=SCHEMA)
    found = writer.write(table.to_batches()[0])
    sink.commit(wanted, writer.close())
    assert found is not None
    assert [(each["row"], each["column"]) for each in found.to_pylist()] == [(1, "id"), (2, None)]
    assert keys.names() == ["1", "4"]


def test_bundles_and_commits_that_are_repeated_at_random_change_nothing(keys: Keys) -> None:
    for seed in range(3):
        draw = random.Random(seed)
        sink, wanted = keys.sink(), request(run=f"run{seed}")
        sink.prepare(wanted)
        receipts: list[Receipt] = []
        for bundle in range(4):
            while True:
                writer = sink.open(wanted)
                writer.write(rows(*range(bundle * 700, bundle * 700 + 700)).to_batches()[0])
                fate = draw.choice(["discarded", "lost", "kept"])
                if fate == "discarded":
                    writer.discard()
                else:
                    found = writer.close()
                    if fate == "kept":
                        receipts += found
                        break
        for _ in range(draw.randint(1, 3)):
            assert sink.commit(wanted, receipts).rows == 2_800
        assert len(keys.names()) == 2_800


@pytest.mark.parametrize("killed", ["client", "server", "connection"])
def test_a_commit_that_dies_between_two_chunks_goes_on_behind_the_first(
    keys: Keys, redis: Server, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    from beam_datahub.io.redis.applying import Applying

    class Died(BaseException):
        pass

    given: list[int] = []
    give = Applying._give

    def dying(self: Applying, number: int, chunk: Any) -> None:
        give(self, number, chunk)
        given.append(number)
        if len(given) == 1 and killed == "client":
            raise Died
        if len(given) == 1 and killed == "server":
            redis.kill()
            redis.start()
        if len(given) == 1 and killed == "connection":
            keys.client.client_kill_filter(_type="normal", skipme=True)

    monkeypatch.setattr(Applying, "_give", dying)
    sink, wanted = keys.sink(), request()
    sink.prepare(wanted)
    receipts = stage(sink, wanted, [rows(*range(2_500))])
    if killed == "client":
        with pytest.raises(Died):
            sink.commit(wanted, receipts)
        keys.client.hset(keys.prefix + "7", "name", "changed since")
    assert sink.commit(wanted, receipts).rows == 2_500
    assert given == [0, 1, 2]
    assert len(keys.names()) == 2_500
    assert keys.hash(7)["name"] == ("changed since" if killed == "client" else "a")


def test_a_server_without_memory_fails_the_run_and_the_next_one_is_whole(keys: Keys) -> None:
    sink, wanted = keys.sink(), request()
    sink.prepare(wanted)
    receipts = stage(sink, wanted, [rows(*range(2_500))])
    keys.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(TargetUnusable) as raised:
            sink.commit(wanted, receipts)
        assert "no memory left" in str(raised.value.hint)
    finally:
        keys.client.config_set("maxmemory", 0)
    sink.abort(wanted)
    assert keys.names() == []
    write(keys.sink(), rows(*range(2_500)), run="next")
    assert len(keys.names()) == 2_500


def test_a_server_that_stands_still_for_a_while_is_waited_for(keys: Keys) -> None:
    sink, wanted = keys.sink(), request()
    sink.prepare(wanted)
    receipts = stage(sink, wanted, [rows(*range(2_500))])
    keys.client.client_pause(500)
    assert sink.commit(wanted, receipts).rows == 2_500
    assert len(keys.names()) == 2_500


def test_what_is_claimed_comes_back_as_it_was_written(keys: Keys) -> None:
    import duckdb

    from beam_datahub.kernels.session import conform
    from beam_datahub.kernels.types import canonical_schema

    values = {
        "BOOLEAN": "true", "TINYINT": "-3", "SMALLINT": "-7", "INTEGER": "-5", "BIGINT": "9223372036854775807",
        "UTINYINT": "200", "USMALLINT": "60000", "UINTEGER": "4000000000", "UBIGINT": "18446744073709551615",
        "FLOAT": "1.1", "DOUBLE": "0.1", "DECIMAL(18,4)": "-12345678901234.5678",
        "DECIMAL(38,10)": "1234567890123456789012345678.0123456789", "VARCHAR": "'a\"b,''ü\n :x'", "BLOB": "'\\x00\\xff'::blob",
        "DATE": "date '2024-02-29'", "TIME": "time '12:34:56.789012'", "TIMESTAMP": "timestamp '2024-02-29 12:34:56.789012'",
        "TIMESTAMPTZ": "timestamptz '2024-02-29 12:34:56.789012+00'", "JSON": "'{\"a\": [1, null]}'::json",
    }  # fmt: skip
    sink = keys.sink()
    assert set(sink.capabilities.types) == set(values)
    with duckdb.connect(":memory:") as session:
        session.execute("SET TimeZone = 'UTC'")
        select = ", ".join(f"CAST({text} AS {kind}) AS c{i}" for i, (kind, text) in enumerate(values.items()))
        table = session.sql(
            f"SELECT 0::BIGINT AS id, {select} UNION ALL SELECT 1, {', '.join('NULL' for _ in values)}"
        ).to_arrow_table()
    table = conform(table, canonical_schema(table.schema))
    write(sink, table)
    found = read(keys.source(metadata=[]), table.schema)
    assert found.rejected == []
    assert found.table.sort_by("id").to_pylist() == table.to_pylist()


def test_a_write_that_cannot_be_right_is_refused_beforehand(keys: Keys) -> None:
    def plan(
        schema: pa.Schema = SCHEMA, mode: WriteMode = WriteMode.MERGE, key: tuple[str, ...] = ("id",), **options: Any
    ) -> None:
        keys.sink(**options).plan_write(WriteRequest("run1", "out", schema, mode, key))

    with pytest.raises(InvalidValue, match="write_mode append"):
        plan(mode=WriteMode.APPEND)
    with pytest.raises(InvalidValue, match="needs the columns"):
        plan(key=())
    with pytest.raises(InvalidValue, match="`key_template` names id, and `key` name"):
        plan(key=("name",))
    with pytest.raises(UnknownColumn):
        plan(ttl="x")
    with pytest.raises(InvalidValue, match="no whole seconds"):
        plan(ttl="name")
    with pytest.raises(InvalidValue, match="format string writes one column"):
        plan(format="string")
    with pytest.raises(LossyWrite, match="holds bytes"):
        plan(pa.schema([("id", pa.int64()), ("raw", pa.binary())]), format="json")
    with pytest.raises(ValueError, match="without the name of a column"):
        keys.sink(key_template="user:{}")


def test_a_wrong_password_is_told_at_once_and_not_shown(keys: Keys) -> None:
    wrong = {"user": "etl", "password": Secret("wr0ng-secret")}
    report = keys.source(connection=wrong).check()
    assert not report.fine
    assert "wr0ng-secret" not in str(report)
    with pytest.raises(AccessDenied):
        keys.sink(connection=wrong).prepare(request())
    assert keys.source(connection={"user": "etl", "password": Secret("right")}).check().fine
    assert keys.sink().check().fine


def test_nested_columns_become_json_in_hashes(keys: Keys) -> None:
    schema = pa.schema([("id", pa.int64()), ("tags", pa.list_(pa.field("item", pa.int64()))), ("at", TIMESTAMPTZ), ("doc", JSON)])
    table = pa.table([pa.array([1]), pa.array([[1, 2]], schema.field("tags").type), pa.array([0]).cast(TIMESTAMPTZ),
                      pa.ExtensionArray.from_storage(JSON, pa.array(['{"a":1}']))], schema=schema)  # fmt: skip
    write(keys.sink(), table)
    assert keys.hash(1) == {"id": "1", "tags": "[1,2]", "at": "1970-01-01 00:00:00+00", "doc": '{"a":1}'}
