"""Changes of MySQL's tables: each committed one comes once, in its order, after all that was there."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Contract, Drift, ReadRequest, Source
from beam_datahub.errors import AccessDenied, ConnectorError, InvalidValue, SchemaDrift, SourceMissing, UnreadableData
from beam_datahub.io.mysql_cdc import server
from beam_datahub.io.mysql_cdc.position import Position
from beam_datahub.io.mysql_cdc.repeated import told
from beam_datahub.io.mysql_cdc.row_images import LoggedColumn, row_images
from beam_datahub.io.mysql_cdc.values import valued
from beam_datahub.testing.connectors import stage
from tests.unit.io.change_logs import Runs, workload
from tests.unit.io.database_systems import System, made, mysql_client, new_mysql_database

_numbers = itertools.count()


class Shop:
    """A database of a test's own."""

    def __init__(self, url: str) -> None:
        self.url, self.name = url, url.rpartition("/")[2]
        self.client, self.other = mysql_client(url), mysql_client(url)
        self.other.autocommit(False)

    def run(self, *statements: str) -> None:
        with self.client.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        with self.client.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def aside(self, *statements: str) -> None:
        with self.other.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    def source(self, url: str | None = None, **options: Any) -> Source:
        kind: Any = component("source", "mysql_cdc")
        options = {"table": "t", "changes": "rows", **options}
        if options["table"] is None:
            del options["table"]
        return kind(kind.Connection(url=url or self.url), kind.Options(**options))  # type: ignore[no-any-return]


@pytest.fixture
def shop(mariadb: str) -> Iterator[Shop]:
    """A database with the empty table t (id, name, amount, note)."""
    found = Shop(new_mysql_database(mariadb))
    found.run("create table t (id int primary key, name varchar(50), amount decimal(12,2), note text) engine=innodb")
    yield found
    found.client.close()
    found.other.close()
    close_pools()


def brief(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["__op"], row["id"], row["name"]) for row in rows]


def test_the_first_run_reads_all_rows_and_later_ones_each_change_once(shop: Shop) -> None:
    shop.run("insert into t values (1, 'row 1', 1, null), (2, 'row 2', 2, null)")
    runs = Runs(shop.source())
    assert brief(runs.rows()) == [("r", 1, "row 1"), ("r", 2, "row 2")]
    assert runs.rows() == []
    shop.run(
        "insert into t values (4, 'row 4', 4.25, null), (5, 'row 5', -4.25, '')", "update t set name = 'changed' where id = 1"
    )
    shop.run("update t set id = 20 where id = 2", "delete from t where id = 4")
    found = runs.rows()
    assert brief(found) == [
        ("c", 4, "row 4"), ("c", 5, "row 5"), ("u", 1, "changed"), ("d", 2, "row 2"), ("c", 20, "row 2"), ("d", 4, "row 4"),
    ]  # fmt: skip
    positions = [row["__position"] for row in found]
    assert positions == sorted(set(positions))
    assert runs.rows() == []


def test_a_run_that_did_not_end_is_read_again(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    shop.run("insert into t values (2, 'two', 0, null)")
    assert brief(runs.rows(moves=False)) == [("c", 2, "two")]
    shop.run("insert into t values (3, 'three', 0, null)")
    assert brief(runs.rows()) == [("c", 2, "two"), ("c", 3, "three")]


def test_an_envelope_has_what_debezium_tells(shop: Shop) -> None:
    shop.run("insert into t values (1, 'one', 1.5, null)")
    runs = Runs(shop.source(changes="envelope"))
    first = runs.rows()[0]
    shop.run("update t set name = 'uno'", "delete from t", "truncate table t")
    update, delete, truncate = runs.rows()
    assert (first["op"], first["before"], first["after"]["name"], first["source"]["snapshot"]) == ("r", None, "one", "true")
    assert (update["op"], update["before"]["name"], update["after"]["name"]) == ("u", "one", "uno")
    assert (delete["op"], delete["before"]["name"], delete["after"]) == ("d", "uno", None)
    assert (truncate["op"], truncate["before"], truncate["after"]) == ("t", None, None)
    assert (update["source"]["connector"], update["source"]["db"], update["source"]["table"]) == ("mysql", shop.name, "t")
    assert update["source"]["gtid"].startswith("0-1-")
    assert update["source"]["file"].startswith("binlog.")
    assert first["source"]["pos"] < update["source"]["pos"] < delete["source"]["pos"]


def test_only_what_is_committed_comes_and_the_snapshot_fits_the_log(shop: Shop) -> None:
    shop.aside("insert into t values (1, 'open during the snapshot', 0, null)")
    shop.run("insert into t values (2, 'seen', 0, null)")
    runs = Runs(shop.source())
    request = ReadRequest(schema := runs.source.discover().schema, tuple(schema.names))
    splits = list(runs.source.splits(request))
    shop.run("insert into t values (3, 'after', 0, null)")
    shop.other.commit()
    found = [row for split in splits for block in runs.source.read(split, request) for row in block.batch.to_pylist()]
    assert brief(found) == [("r", 2, "seen")]
    runs.reached = dict(splits[0].reached)
    shop.aside("insert into t values (4, 'never', 0, null)")
    shop.other.rollback()
    assert brief(runs.rows()) == [("c", 3, "after"), ("c", 1, "open during the snapshot")]


def test_a_snapshot_under_a_lock_fits_the_log_where_the_server_does_not_tell(shop: Shop, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "is_mariadb", lambda session: False)
    shop.run("insert into t values (1, 'one', 0, null)")
    runs = Runs(shop.source())
    assert brief(runs.rows()) == [("r", 1, "one")]
    shop.run("insert into t values (2, 'two', 0, null)")
    assert brief(runs.rows()) == [("c", 2, "two")]


def test_the_log_is_found_by_gtids_on_a_server_that_has_other_files(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    position = Position.parse(runs.reached[""])
    shop.run("insert into t values (1, 'one', 0, null)")
    runs.reached[""] = str(Position("binlog.000001", position.offset + 1, position.gtid))
    assert brief(runs.rows()) == [("c", 1, "one")]


def test_a_log_that_was_removed_is_told(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    runs.reached[""] = "binlog.000000:4"
    with pytest.raises(UnreadableData, match="has removed its log") as caught:
        runs.rows()
    assert "--full" in str(caught.value.hint)


def test_a_log_that_the_server_cannot_send_from_a_place_is_not_said_to_be_gone(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    position = Position.parse(runs.reached[""])
    shop.run("insert into t values (1, 'one', 0, null)")
    # Not the start of an event: what stands there makes no sense.
    runs.reached[""] = str(Position(position.file, position.offset + 1))
    with pytest.raises(UnreadableData, match="cannot send its log") as caught:
        runs.rows()
    assert "start of an event" in str(caught.value.hint)


def test_changes_go_on_in_the_next_file_of_the_log(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    shop.run("insert into t values (1, 'one', 0, null)", "flush binary logs", "insert into t values (2, 'two', 0, null)")
    found = runs.rows()
    assert brief(found) == [("c", 1, "one"), ("c", 2, "two")]
    assert found[0]["__position"] < found[1]["__position"]
    shop.run("flush binary logs")
    assert runs.rows() == []
    shop.run("insert into t values (3, 'three', 0, null)")
    assert brief(runs.rows()) == [("c", 3, "three")]


def test_a_truncate_fails_rows_unless_it_is_left_out(shop: Shop) -> None:
    runs, skipping = Runs(shop.source()), Runs(shop.source(truncates="skip"))
    runs.rows(), skipping.rows()
    shop.run(
        "insert into t values (1, 'one', 0, null)", f"truncate `{shop.name}`.`t`", "insert into t values (2, 'two', 0, null)"
    )
    with pytest.raises(UnreadableData, match="TRUNCATE"):
        runs.rows()
    assert brief(skipping.rows()) == [("c", 1, "one"), ("c", 2, "two")]


def test_a_table_that_is_altered_in_between_is_read_as_it_was(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    shop.run(
        "insert into t values (1, 'before', 1, null)",
        "alter table t add column more int first, modify name varchar(200)",
        "insert into t values (7, 2, 'after', 2, null)",
        "alter table t drop column note",
        "insert into t values (8, 3, 'last', 3)",
    )
    found = runs.rows()
    assert [(row["id"], row["name"], row["more"]) for row in found] == [(1, "before", None), (2, "after", 7), (3, "last", 8)]


def test_a_new_column_is_refused_as_the_contract_says(shop: Shop) -> None:
    runs = Runs(shop.source())
    schema = runs.source.discover().schema
    runs.rows()
    shop.run("alter table t add column more int", "insert into t values (1, 'one', 1, null, 7)")
    assert brief(runs.rows(schema=schema, moves=False)) == [("c", 1, "one")]
    assert runs.drifted == {"more"}
    with pytest.raises(SchemaDrift, match="more"):
        runs.rows(schema=schema, contract=Contract(columns=Drift.FREEZE))


# Each value comes from the log as it comes from the table.
VALUES = {
    "tinyint(1)": ["0", "1"],
    "tinyint": ["-128", "127"],
    "tinyint unsigned": ["255"],
    "smallint": ["-32768"],
    "mediumint": ["-8388608", "8388607"],
    "mediumint unsigned": ["16777215"],
    "int unsigned": ["4294967295"],
    "bigint": ["-9223372036854775808"],
    "bigint unsigned": ["18446744073709551615"],
    "float": ["0.1", "-3.5e20"],
    "double": ["0.1", "-1e300"],
    "decimal(5,0)": ["-12345", "0"],
    "decimal(2,2)": ["0.25", "-0.01"],
    "decimal(10,4)": ["-1.5", "999999.9999", "0"],
    "decimal(27,9)": ["123456789012345678.123456789", "-0.000000001"],
    "decimal(38,12)": ["-12345678901234567890123456.000000000001"],
    "decimal(60,20)": ["-1234567890123456789012345678901234567890.5", "0.5"],
    "bit(1)": ["b'1'"],
    "bit(20)": ["b'10000000000000000001'"],
    "char(4)": ["'ab'", "''"],
    "varchar(300)": ["'ü ☃ 😀'", "repeat('x', 299)"],
    "varchar(20) character set latin1": ["'é€'"],
    "text": ["'line\\nbreak'"],
    "longtext": ["repeat('long ', 5000)"],
    "varbinary(20)": ["x'00ff'"],
    "blob": ["x''", "x'c3'"],
    "date": ["'2024-02-29'", "'1000-01-01'"],
    "datetime": ["'2024-02-29 10:11:12'", "'9999-12-31 23:59:59'"],
    "datetime(3)": ["'2024-02-29 10:11:12.345'"],
    "datetime(6)": ["'1969-12-31 23:59:59.999999'"],
    "timestamp": ["'2024-02-29 10:11:12'"],
    "timestamp(5)": ["'2024-02-29 10:11:12.34567'"],
    "time": ["'10:11:12'", "'00:00:00'"],
    "time(2)": ["'23:59:59.99'"],
    "time(6)": ["'00:00:00.000001'"],
    "year": ["2024", "1901"],
    "enum('small','large')": ["'large'"],
    "set('a','b','c')": ["'a,c'", "''"],
    "json": ["'{\"a\": [1, null]}'"],
    "point": ["ST_GeomFromText('POINT(1 2)')"],
}


def test_every_type_comes_from_the_log_as_from_the_table(shop: Shop) -> None:
    names = {f"c{number}": kind for number, kind in enumerate(VALUES)}
    shop.run("set time_zone = '+00:00'", "set names utf8mb4")
    listed = ", ".join(f"{name} {kind} null" for name, kind in names.items())
    shop.run(f"create table v (id int primary key, {listed}) default character set utf8mb4")
    log = Runs(shop.source(table="v", snapshot="never"))
    log.rows()
    for row in range(1 + max(map(len, VALUES.values()))):
        values = [given[row] if row < len(given) else "null" for given in VALUES.values()]
        shop.run(f"insert into v values ({row}, {', '.join(values)})")
    shop.run("update v set id = id + 100", "update v set id = id - 100")
    logged = log.read().sort_by("__position").slice(4 + 8)
    assert log.rejected == []
    created = [row for row in logged.to_pylist() if row["__op"] == "c" and row["id"] < 100]
    there = Runs(shop.source(table="v")).read().sort_by("id").to_pylist()
    assert len(created) == len(there) == 4
    for row, expected in zip(sorted(created, key=lambda each: each["id"]), there, strict=True):
        for name, kind in names.items():
            assert row[name] == expected[name], kind


def test_what_no_calendar_has_is_rejected_as_in_a_table(shop: Shop) -> None:
    shop.run(
        "set sql_mode = ''", "create table v (id int primary key, d date, m datetime, t time, b tinyint(1), s timestamp null)"
    )
    log = Runs(shop.source(table="v"))
    log.rows()
    shop.run(
        "insert into v values (1, '0000-00-00', null, null, 1, null), (2, null, '2024-00-00', null, 1, null), "
        "(3, null, null, '-10:00:00', 1, null), (4, null, null, '200:00:00', 1, null), (5, null, null, null, 7, null), "
        "(6, '2024-01-01', now(), '10:00', 0, now())"
    )
    assert [row["id"] for row in log.rows()] == [6]
    assert [(each["column"], each["reason"]) for each in log.rejected] == [
        (name, "type_mismatch") for name in ("d", "m", "t", "t", "b")
    ]
    original = json.loads(log.rejected[3]["original"])
    assert (original["id"], original["t"]) == (4, "200:00:00")


def test_several_tables_keep_the_order_of_their_changes(shop: Shop) -> None:
    shop.run(
        "create table u (code varchar(20) primary key, flag tinyint(1))",
        "insert into u values ('x', 1)",
        "insert into t values (1, 'one', 1, null)",
    )
    runs = Runs(shop.source(table=None, tables=[f"{shop.name}.*"], changes="envelope"))
    first = runs.rows()
    assert [(row["source"]["table"], json.loads(row["after"])) for row in first] == [
        ("t", {"id": 1, "name": "one", "amount": 1.0, "note": None}),
        ("u", {"code": "x", "flag": True}),
    ]
    shop.aside("insert into u values ('y', 0)", "insert into t values (2, 'two', 2, null)", "delete from u where code = 'x'")
    shop.aside("update t set name = 'uno' where id = 1")
    shop.other.commit()
    found = runs.rows()
    assert [(row["op"], row["source"]["table"]) for row in found] == [("c", "u"), ("c", "t"), ("d", "u"), ("u", "t")]
    shop.run("create table w (n int primary key)", "insert into w values (1), (2)", "insert into u values ('z', 1)")
    assert sorted((row["op"], row["source"]["table"]) for row in runs.rows()) == [("c", "u"), ("r", "w"), ("r", "w")]
    shop.run("insert into w values (3)", "insert into u values ('zz', 1)")
    assert [(row["op"], row["source"]["table"]) for row in runs.rows()] == [("c", "w"), ("c", "u")]


@pytest.mark.parametrize("size", [150, 4096, 1 << 17])
def test_small_changes_come_once_wherever_what_arrives_is_cut(shop: Shop, monkeypatch: Any, size: int) -> None:
    """Whatever of the log arrives at once: whole events, parts of them, events of other tables and large ones between."""
    monkeypatch.setattr("beam_datahub.io.mysql_cdc.repeated._BYTES", size)
    seen_by_client = list[Any]()

    def counted(event: Any) -> Any:
        seen_by_client.append(event)
        return told(event)

    monkeypatch.setattr("beam_datahub.io.mysql_cdc.stream.told", counted)
    shop.run("create table other (n int primary key, v longtext)")
    runs = Runs(shop.source())
    runs.rows()
    expected: list[tuple[str, int, str]] = []
    for number in range(40):
        shop.run(f"insert into t values ({number}, 'a{number}', 1, null)", f"insert into other values ({number}, 'x')")
        expected.append(("c", number, f"a{number}"))
        if number % 4 == 1:
            shop.run(f"update t set name = 'b{number}' where id = {number}", f"delete from t where id = {number - 1}")
            expected += [("u", number, f"b{number}"), ("d", number - 1, f"a{number - 1}")]
        if number == 20:
            shop.run("insert into other values (1000, repeat('x', 300000))", "flush binary logs")
            shop.run("alter table t add column more int", "alter table t drop column more")
    assert brief(runs.rows()) == expected
    shop.run("insert into t values (100, 'last', 1, null)")
    assert brief(runs.rows()) == [("c", 100, "last")]
    # What is alike is told without the client, which takes ten times as long.
    assert size < 2**17 or len(seen_by_client) < 80


def test_who_may_not_replicate_is_told_so(shop: Shop) -> None:
    user = f"reader_{next(_numbers)}"
    shop.run(f"create user {user}@'127.0.0.1'", f"grant select on {shop.name}.* to {user}@'127.0.0.1'")
    source = shop.source(shop.url.replace("root@", f"{user}@"))
    with pytest.raises(AccessDenied) as caught:
        Runs(source).rows()
    assert "REPLICATION SLAVE" in str(caught.value.hint)
    assert not source.check().fine
    shop.run(f"grant replication client, replication slave, binlog monitor on *.* to {user}@'127.0.0.1'")
    close_pools()
    runs = Runs(source)
    runs.rows()
    shop.run("insert into t values (1, 'one', 1, null)")
    assert brief(runs.rows()) == [("c", 1, "one")]


def test_a_log_that_does_not_say_all_is_refused(shop: Shop) -> None:
    shop.run("set global binlog_row_metadata = minimal")
    try:
        with pytest.raises(InvalidValue, match="binlog_row_metadata is MINIMAL") as caught:
            Runs(shop.source()).rows()
        assert "SET GLOBAL binlog_row_metadata = FULL" in str(caught.value.hint)
    finally:
        shop.run("set global binlog_row_metadata = full")


def test_a_table_without_transactions_and_one_that_is_not_there_are_refused(shop: Shop) -> None:
    shop.run("create table m (id int primary key) engine=myisam")
    with pytest.raises(InvalidValue, match="keeps no transactions"):
        Runs(shop.source(table="m")).rows()
    with pytest.raises(SourceMissing, match="no table 'nothing'"):
        Runs(shop.source(table="nothing")).rows()


def test_a_snapshot_of_another_process_is_told(shop: Shop) -> None:
    runs = Runs(shop.source())
    request = ReadRequest(schema := runs.source.discover().schema, tuple(schema.names))
    (split,) = runs.source.splits(request)
    server.released(split.detail.snapshot)
    with pytest.raises(ConnectorError, match="another one"):
        list(runs.source.read(split, request))


def test_who_only_looks_reads_some_rows(shop: Shop) -> None:
    shop.run("insert into t select seq, 'x', seq, null from seq_1_to_50")
    runs = Runs(shop.source())
    assert len(runs.rows(limit=7)) == 7
    runs.reached = {}
    runs.rows()
    shop.run("update t set name = 'y'")
    assert len(runs.rows(limit=7, moves=False)) == 7
    assert len(runs.rows()) == 50


def test_many_rows_of_one_event_and_many_events_are_cut_alike() -> None:
    columns = [
        LoggedColumn("n", 3, 4, False, False, None, (0, 0), 0, (), True),
        LoggedColumn("s", 15, 1, True, False, "utf8", (0, 0), 0, (), False),
    ]
    rows = [
        b"\0" + n.to_bytes(4, "little") + bytes([n % 5]) + b"x" * (n % 5) if n % 3 else b"\2" + n.to_bytes(4, "little")
        for n in range(60)
    ]
    expected = {"n": list(range(60)), "s": ["x" * (n % 5) if n % 3 else None for n in range(60)]}
    for size in (1, 7, 60):
        images = row_images([b"".join(rows[at : at + size]) for at in range(0, 60, size)], columns)
        assert {column.name: valued(images, number, column).to_pylist() for number, column in enumerate(columns)} == expected
        assert images.event.tolist() == [n // size for n in range(60)]
    with pytest.raises(UnreadableData):
        row_images([rows[1][:-1]], columns)


def test_binary_json_of_mysql_becomes_text() -> None:
    column = LoggedColumn("j", 245, 4, True, False, None, (0, 0), 0, (), False)
    # An object with one key `a` and the number 1, as MySQL stores it.
    value = bytes.fromhex("0001000c000b00010005010061")
    images = row_images([b"\0" + len(value).to_bytes(4, "little") + value, b"\1"], [column])
    assert valued(images, 0, column).storage.to_pylist() == ['{"a": 1}', None]


@pytest.mark.parametrize(("name", "seed"), [("sqlite", 1), ("mysql", 2), ("duckdb", 3)])
def test_a_replica_equals_its_table_after_any_changes(shop: Shop, name: str, seed: int, tmp_path: Any, request: Any) -> None:
    shop.run("insert into t select seq, concat('row ', seq), seq, null from seq_1_to_300")
    target: System = made(name, tmp_path, request)
    runs = Runs(shop.source())
    sink = target.sink(table="t", last_by="__position", delete_marker="__deleted")
    number = 0

    def replicate() -> None:
        nonlocal number
        number += 1
        rows: pa.Table = runs.read(batch_bytes=20_000)
        wanted = WriteRequest(f"run{number}", "out", rows.schema, WriteMode.MERGE, ("id",))
        sink.plan_write(wanted)
        sink.prepare(wanted)
        sink.commit(wanted, stage(sink, wanted, [rows]))

    replicate()
    for step, (statements, kept) in enumerate(workload(seed, 60)):
        shop.aside(*statements)
        if step % 4 == 1:
            replicate()
        shop.other.commit() if kept else shop.other.rollback()
    replicate()
    columns = ("id", "name", "amount", "note")
    there = sorted(tuple(row[column] for column in columns) for row in target.rows("t"))
    expected = [(key, text, float(amount), note) for key, text, amount, note in shop.fetch("select * from t order by id")]
    assert [(key, text, float(amount), note) for key, text, amount, note in there] == expected
    assert len(expected) > 100


def followed(source: Source, reached: dict[str, Any]) -> tuple[Any, ReadRequest]:
    request = ReadRequest(schema := source.discover().schema, tuple(schema.names), reached=reached)
    (partition,) = source.partitions(request)
    return partition, request


def arrivals(follower: Any, count: int) -> tuple[list[tuple[Any, ...]], Any]:
    """The next so many changes, and the position behind them."""
    found: list[tuple[Any, ...]] = []
    end, position = time.monotonic() + 60, None
    while len(found) < count and time.monotonic() < end:
        arrival = follower.take(0.5, 2**20)
        position = arrival.position
        if arrival.block is not None:
            found += brief(arrival.block.batch.to_pylist())
    return found, position


def test_a_stream_reads_all_rows_and_then_follows_the_changes(shop: Shop) -> None:
    shop.run("insert into t values (1, 'one', 1, null)")
    source = shop.source()
    partition, request = followed(source, {})
    follower = source.follow(partition, request)
    assert arrivals(follower, 1)[0] == [("r", 1, "one")]
    assert follower.take(0.0, 2**20).block is None
    shop.run("insert into t values (2, 'two', 2, null)", "update t set id = 10 where id = 1")
    found, position = arrivals(follower, 3)
    assert found == [("c", 2, "two"), ("d", 1, "one"), ("c", 10, "one")]
    follower.published(position)
    shop.run("delete from t where id = 2")
    assert arrivals(follower, 1)[0] == [("d", 2, "two")]
    follower.close()
    another = source.follow(*followed(source, {"": position}))
    assert arrivals(another, 1)[0] == [("d", 2, "two")]
    another.close()
    assert brief(Runs(source, {"": position}).rows()) == [("d", 2, "two")]


def test_a_stream_takes_many_changes_in_looks_that_end_between_transactions(shop: Shop, monkeypatch: Any) -> None:
    monkeypatch.setattr("beam_datahub.io.mysql_cdc.log._BATCH_EVENTS", 3)
    source = shop.source(snapshot="never")
    partition, request = followed(source, {})
    for number in range(10):
        shop.run(f"insert into t select {number} * 100 + seq, 'x', seq, null from seq_1_to_15")
    shop.run("alter table t add column more int", "insert into t values (5000, 'y', 1, null, 2)")
    follower = source.follow(partition, request)
    sizes, positions = list[int](), [partition.position]
    while sum(sizes) < 151:
        arrival = follower.take(0.0, 2**20)
        sizes.append(arrival.block.batch.num_rows if arrival.block is not None else 0)
        positions.append(arrival.position)
    follower.close()
    assert len(sizes) > 2
    # From each position the rest is to be had, neither more nor less.
    for number in (1, 2):
        another = source.follow(type(partition)("", positions[number]), request)
        left = 151 - sum(sizes[:number])
        assert len(arrivals(another, left)[0]) == left
        another.close()
