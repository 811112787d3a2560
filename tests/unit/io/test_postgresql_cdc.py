"""Changes of PostgreSQL's tables: each committed one comes once, in its order, after all that was there."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pyarrow.compute as pc
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Contract, Drift, ReadRequest, Source
from beam_datahub.errors import AccessDenied, InvalidValue, SchemaDrift, SourceMissing, UnreadableData
from beam_datahub.testing.connectors import stage
from tests.unit.io.change_logs import Runs, workload
from tests.unit.io.database_systems import System, made, new_database

_numbers = itertools.count()


class Shop:
    """A database of a test's own with the slots that it makes."""

    def __init__(self, url: str) -> None:
        self.url, self.client = url, psycopg.connect(url, autocommit=True)
        self.other = psycopg.connect(url)

    def run(self, *statements: str) -> None:
        for each in statements:
            self.client.execute(each.encode())

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self.client.execute(sql.encode()).fetchall()

    def source(self, url: str | None = None, **options: Any) -> Source:
        kind: Any = component("source", "postgresql_cdc")
        options = {"table": "t", "slot": f"slot_{next(_numbers)}", "changes": "rows", **options}
        if options["table"] is None:
            del options["table"]
        return kind(kind.Connection(url=url or self.url), kind.Options(**options))  # type: ignore[no-any-return]

    def slots(self) -> list[str]:
        rows = self.fetch("select slot_name from pg_replication_slots where database = current_database() order by 1")
        return [name for (name,) in rows]

    def close(self) -> None:
        self.other.close()
        close_pools()
        for name in self.slots():
            self.run(f"select pg_drop_replication_slot('{name}')")
        self.client.close()


@pytest.fixture
def shop(postgresql: str) -> Iterator[Shop]:
    """A database with the empty table t (id, name, amount, note)."""
    found = Shop(new_database(postgresql))
    found.run("create table t (id int primary key, name text, amount numeric(12,2), note text)")
    yield found
    found.close()


def brief(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["__op"], row["id"], row["name"]) for row in rows]


def test_the_first_run_reads_all_rows_and_later_ones_each_change_once(shop: Shop) -> None:
    shop.run("insert into t select n, 'row ' || n, n, null from generate_series(1, 3) n")
    runs = Runs(shop.source())
    assert brief(runs.rows()) == [("r", 1, "row 1"), ("r", 2, "row 2"), ("r", 3, "row 3")]
    assert runs.rows() == []
    shop.run(
        "insert into t values (4, 'row 4', 4.25, null)",
        "update t set name = 'changed' where id = 1",
        "delete from t where id = 2",
    )
    found = runs.rows()
    assert brief(found) == [("c", 4, "row 4"), ("u", 1, "changed"), ("d", 2, None)]
    assert [row["__deleted"] for row in found] == [False, False, True]
    positions = [row["__position"] for row in found]
    assert positions == sorted(set(positions))
    assert runs.rows() == []


def test_a_change_of_a_key_is_a_row_that_goes_and_one_that_comes(shop: Shop) -> None:
    shop.run("insert into t values (1, 'one', 1, null), (2, 'two', 2, null)")
    runs = Runs(shop.source())
    runs.rows()
    shop.run("update t set id = id + 10")
    assert brief(runs.rows()) == [("d", 1, None), ("c", 11, "one"), ("d", 2, None), ("c", 12, "two")]


def test_keys_that_change_are_known_also_where_the_log_has_whole_rows(shop: Shop) -> None:
    shop.run("alter table t replica identity full", "insert into t values (1, 'one', 1, 'n')")
    runs = Runs(shop.source())
    runs.rows()
    shop.run("update t set id = 5", "update t set name = 'five'", "delete from t")
    assert brief(runs.rows()) == [("d", 1, "one"), ("c", 5, "one"), ("u", 5, "five"), ("d", 5, "five")]


def test_an_envelope_has_what_debezium_tells(shop: Shop) -> None:
    shop.run("alter table t replica identity full", "insert into t values (1, 'one', 1.5, null)")
    runs = Runs(shop.source(changes="envelope", slot="envelopes"))
    first = runs.rows()[0]
    shop.run("update t set name = 'uno'", "delete from t", "truncate t")
    update, delete, truncate = runs.rows()
    assert (first["op"], first["before"], first["after"]["name"], first["source"]["snapshot"]) == ("r", None, "one", "true")
    assert (update["op"], update["before"]["name"], update["after"]["name"]) == ("u", "one", "uno")
    assert (delete["op"], delete["before"]["name"], delete["after"]) == ("d", "uno", None)
    assert (truncate["op"], truncate["before"], truncate["after"]) == ("t", None, None)
    assert {name: update["source"][name] for name in ("connector", "name", "schema", "table", "snapshot")} == {
        "connector": "postgresql",
        "name": "envelopes",
        "schema": "public",
        "table": "t",
        "snapshot": "false",
    }
    assert first["source"]["lsn"] <= update["source"]["lsn"] < delete["source"]["lsn"] < truncate["source"]["lsn"]
    assert update["source"]["txId"] < delete["source"]["txId"]
    assert abs(update["ts_ms"] - float(shop.fetch("select extract(epoch from now()) * 1000")[0][0])) < 600_000


def test_only_what_is_committed_comes_and_whole_transactions_in_their_order(shop: Shop) -> None:
    runs = Runs(shop.source())
    assert runs.rows() == []
    shop.other.execute("insert into t values (1, 'early', 0, null)")
    shop.run("insert into t values (2, 'between', 0, null)")
    assert brief(runs.rows()) == [("c", 2, "between")]
    shop.other.execute("insert into t values (3, 'late', 0, null)")
    shop.other.commit()
    shop.other.execute("insert into t values (4, 'never', 0, null)")
    shop.other.rollback()
    shop.run(
        "begin; insert into t values (5, 'kept', 0, null); savepoint s; insert into t values (6, 'undone', 0, null); "
        "rollback to s; insert into t values (7, 'kept too', 0, null); commit"
    )
    assert brief(runs.rows()) == [("c", 1, "early"), ("c", 3, "late"), ("c", 5, "kept"), ("c", 7, "kept too")]


def test_what_is_open_while_the_snapshot_is_taken_comes_when_it_is_committed(shop: Shop) -> None:
    source = shop.source()
    Runs(source).rows()  # The slot is there: the next snapshot waits for nobody who began before.
    shop.run("insert into t values (1, 'seen', 0, null)")
    runs = Runs(source)
    schema = source.discover().schema

    request = ReadRequest(schema, tuple(schema.names))
    splits = list(source.splits(request))
    shop.other.execute("insert into t values (2, 'after the snapshot', 0, null)")
    shop.other.commit()
    found = [row for split in splits for block in source.read(split, request) for row in block.batch.to_pylist()]
    assert brief(found) == [("r", 1, "seen")]
    for split in splits:
        runs.reached.update(split.reached)
    assert "snapshot" in runs.reached[""]
    assert brief(runs.rows()) == [("c", 2, "after the snapshot")]
    assert "snapshot" not in runs.reached[""]


def test_a_run_that_did_not_end_is_read_again(shop: Shop) -> None:
    shop.run("insert into t values (1, 'one', 0, null)")
    runs = Runs(shop.source())
    assert brief(runs.rows(moves=False)) == brief(runs.rows()) == [("r", 1, "one")]
    shop.run("insert into t values (2, 'two', 0, null)")
    assert brief(runs.rows(moves=False)) == [("c", 2, "two")]
    shop.run("insert into t values (3, 'three', 0, null)")
    assert brief(runs.rows()) == [("c", 2, "two"), ("c", 3, "three")]
    assert runs.rows() == []


def test_the_slot_moves_only_to_what_is_recorded(shop: Shop) -> None:
    runs = Runs(shop.source(slot="slow"))
    runs.rows()
    at = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'slow'"
    shop.run("insert into t values (1, 'one', 0, null)")
    runs.rows()
    before = shop.fetch(at)
    runs.rows(moves=False)
    assert shop.fetch(at) == [(runs.reached[""],)] != before


def test_large_values_that_stay_are_refused_where_the_log_does_not_have_them(shop: Shop) -> None:
    shop.run(
        "alter table t alter note set storage external", "insert into t values (1, 'one', 0, repeat('x', 5000)), (2, 'b', 0, '')"
    )
    runs = Runs(shop.source())
    runs.rows()
    shop.run("update t set name = 'changed'")
    assert brief(runs.rows()) == [("u", 2, "changed")]
    (refused,) = runs.rejected
    assert (refused["reason"], refused["column"]) == ("unchanged_value", "note")
    assert "REPLICA IDENTITY FULL" in refused["message"]
    assert json.loads(refused["original"])["id"] == 1


def test_large_values_that_stay_do_not_matter_where_they_are_not_read(shop: Shop) -> None:
    shop.run("alter table t alter note set storage external", "insert into t values (1, 'one', 0, repeat('x', 5000))")
    runs = Runs(shop.source())
    runs.rows()
    shop.run("update t set name = 'changed'")
    assert brief(runs.rows(columns=("id", "name", "__op"))) == [("u", 1, "changed")]


def test_large_values_that_stay_are_carried_over_from_the_old_row(shop: Shop) -> None:
    shop.run("alter table t replica identity full", "alter table t alter note set storage external")
    shop.run("insert into t values (1, 'one', 0, repeat('x', 5000))")
    runs = Runs(shop.source())
    runs.rows()
    shop.run("update t set name = 'changed'", "update t set id = 2")
    found = runs.rows()
    assert brief(found) == [("u", 1, "changed"), ("d", 1, "changed"), ("c", 2, "changed")]
    assert [row["note"] for row in found] == ["x" * 5000] * 3


def test_a_truncate_fails_rows_unless_it_is_left_out(shop: Shop) -> None:
    runs, skipping = Runs(shop.source()), Runs(shop.source(truncates="skip"))
    runs.rows(), skipping.rows()
    shop.run("insert into t values (1, 'one', 0, null)", "truncate t", "insert into t values (2, 'two', 0, null)")
    with pytest.raises(UnreadableData, match="TRUNCATE") as caught:
        runs.rows()
    assert "--full" in str(caught.value.hint)
    assert brief(skipping.rows()) == [("c", 1, "one"), ("c", 2, "two")]


def test_a_table_that_is_altered_in_between_is_read_as_it_was(shop: Shop) -> None:
    runs = Runs(shop.source())
    runs.rows()
    shop.run(
        "insert into t values (1, 'before', 1, null)",
        "alter table t add column more int, alter column name type varchar(50)",
        "insert into t values (2, 'after', 2, null, 7)",
        "alter table t drop column note",
        "insert into t values (3, 'last', 3, 8)",
    )
    found = runs.rows()
    assert [(row["id"], row["name"], row["more"]) for row in found] == [(1, "before", None), (2, "after", 7), (3, "last", 8)]


def test_a_new_column_is_told_of_or_refused_as_the_contract_says(shop: Shop) -> None:
    runs = Runs(shop.source())
    schema = runs.source.discover().schema
    runs.rows()
    shop.run("alter table t add column more int", "insert into t values (1, 'one', 1, null, 7)")
    assert brief(runs.rows(schema=schema, moves=False)) == [("c", 1, "one")]
    assert runs.drifted == {"more"}
    with pytest.raises(SchemaDrift, match="more"):
        runs.rows(schema=schema, contract=Contract(columns=Drift.FREEZE))


def test_a_value_that_fits_no_more_is_a_rejected_record(shop: Shop) -> None:
    runs = Runs(shop.source())
    schema = runs.source.discover().schema
    runs.rows()
    shop.run("alter table t alter id type bigint, alter amount type text", "insert into t values (1, 'a', 'much', null)")
    shop.run("insert into t values (2, 'b', '3.50', null)", "insert into t values (5000000000, 'c', '1', null)")
    assert brief(runs.rows(schema=schema)) == [("c", 2, "b")]
    assert [(each["reason"], each["column"]) for each in runs.rejected] == [("type_mismatch", "amount"), ("type_mismatch", "id")]
    assert json.loads(runs.rejected[0]["original"])["amount"] == "much"


# Each value comes from the log as it comes from the table.
VALUES = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int8": ["9223372036854775807"],
    "float4": ["1.5", "'NaN'", "'-Infinity'"],
    "float8": ["0.1", "1e300", "'Infinity'"],
    "numeric": ["1.50", "12345.678"],
    "numeric(40,2)": ["12345678901234567890123456789012345678.25"],
    "money": ["1234.50", "-0.01"],
    "text": ["''", "'ü \"quoted\" \\ '", "E'line\\nbreak\\ttab'"],
    "char(4)": ["'ab'"],
    "bytea": ["''", "'\\x00ff41'"],
    "date": ["'2024-02-29'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12024-01-01'"],
    "time": ["'10:11:12.123456'", "'00:00'"],
    "timestamp": ["'2024-02-29 10:11:12.5'", "'infinity'", "'1969-12-31 23:59:59'"],
    "timestamptz": ["'2024-02-29 10:11:12.5+02'", "'-infinity'"],
    "timetz": ["'10:00+02'"],
    "interval": ["'1 year 2 mons -3 days 04:05:06.7'", "'-1 day'", "'-1 year +2 mons -04:05:06'"],
    "uuid": ["'11111111-2222-3333-4444-555555555555'"],
    "json": ["'{\"a\": [1, null]}'"],
    "jsonb": ["'[1, 2]'", "'null'"],
    "inet": ["'10.0.0.1'", "'10.0.0.1/8'", "'::1'"],
    "cidr": ["'10.0.0.0/8'"],
    "int4range": ["'[1,5)'"],
    "bit(3)": ["b'101'"],
    "mood": ["'glad'"],
    "pair": ["row(1, 'x y')"],
    "small": ["7"],
    "int4[]": ["'{1,null,3}'", "'{}'"],
    "text[]": ["array['a', 'b\"c', 'd,e', null, '', 'null']"],
    "numeric(5,2)[]": ["'{1.5,null}'"],
    "timestamptz[]": ["'{2024-02-29 10:00+00}'"],
    "bool[]": ["'{t,f,null}'"],
    "jsonb[]": ["array['{\"a\": 1}'::jsonb]"],
    "mood[]": ["'{glad,sad}'"],
    "oid": ["4294967295"],
}


def test_every_type_comes_from_the_log_as_from_the_table(shop: Shop) -> None:
    shop.run(
        "create type mood as enum ('glad', 'sad')",
        "create type pair as (a int, b text)",
        "create domain small as int check (value < 9)",
    )
    names = {f"c{number}": kind for number, kind in enumerate(VALUES)}
    shop.run(f"create table v (id int primary key, {', '.join(f'{name} {kind}' for name, kind in names.items())})")
    for row in range(1 + max(map(len, VALUES.values()))):
        values = [f"{given[row]}" if row < len(given) else "null" for given in VALUES.values()]
        shop.run(
            f"insert into v values ({row}, {', '.join(f'({value})::{kind}' for value, kind in zip(values, VALUES, strict=True))})"
        )
    log = Runs(shop.source(table="v", snapshot="never"))
    log.rows()
    shop.run("update v set id = id + 100", "update v set id = id - 100")
    logged = log.read()
    assert log.rejected == []
    created = pc.and_(pc.equal(logged["__op"], "c"), pc.less(logged["id"], 100))
    logged = logged.filter(created).sort_by("id")
    there = Runs(shop.source(table="v")).read().sort_by("id")
    assert logged.num_rows == there.num_rows > 3
    for name, kind in names.items():
        # NaN is no other value than itself only as text.
        both = [str(each[name].to_pylist()) if "float" in kind else each[name].combine_chunks() for each in (logged, there)]
        assert both[0] == both[1], kind


def test_what_the_types_of_edges_cannot_hold_is_rejected(shop: Shop) -> None:
    shop.run("create table v (id int primary key, n numeric(5,2), t time, a int[])")
    log = Runs(shop.source(table="v"))
    log.rows()
    shop.run(
        "insert into v values (1, 'NaN', null, null), (2, null, '24:00', null), "
        "(3, null, null, '{{1,2},{3,4}}'), (4, 1, '10:00', '{1}')"
    )
    assert [row["id"] for row in log.rows()] == [4]
    assert [(each["column"], each["reason"]) for each in log.rejected] == [(name, "type_mismatch") for name in ("n", "t", "a")]


def test_several_tables_share_a_slot_and_keep_the_order_of_their_changes(shop: Shop) -> None:
    shop.run("create table u (code text primary key)", "insert into u values ('x')", "insert into t values (1, 'one', 1, null)")
    runs = Runs(shop.source(table=None, tables=["t", "u"], changes="envelope"))
    first = runs.rows()
    assert [(row["source"]["table"], json.loads(row["after"])) for row in first] == [
        ("t", {"id": 1, "name": "one", "amount": 1, "note": None}),
        ("u", {"code": "x"}),
    ]
    shop.run(
        "begin; insert into u values ('y'); insert into t values (2, 'two', 2, null); delete from u where code = 'x'; "
        "update t set name = 'uno' where id = 1; commit"
    )
    found = runs.rows()
    assert [(row["op"], row["source"]["table"]) for row in found] == [("c", "u"), ("c", "t"), ("d", "u"), ("u", "t")]
    assert runs.reached.keys() == {"public.t", "public.u"}


def test_a_table_that_joins_later_is_read_whole_while_the_others_go_on(shop: Shop) -> None:
    shop.run("create table u (code text primary key)", "insert into u values ('x')")
    runs = Runs(shop.source(table=None, tables=["public.*"], changes="envelope"))
    assert len(runs.rows()) == 1
    shop.run("create table w (n int primary key)", "insert into w values (1), (2)", "insert into u values ('y')")
    found = sorted((row["op"], row["source"]["table"]) for row in runs.rows())
    assert found == [("c", "u"), ("r", "w"), ("r", "w")]
    shop.run("insert into w values (3)", "insert into u values ('z')")
    assert [(row["op"], row["source"]["table"]) for row in runs.rows()] == [("c", "w"), ("c", "u")]
    assert runs.rows() == []


def test_a_partitioned_table_is_read_as_one(shop: Shop) -> None:
    shop.run("create table p (id int primary key, v text) partition by range (id)")
    shop.run(
        "create table p1 partition of p for values from (0) to (10)",
        "create table p2 partition of p for values from (10) to (20)",
    )
    shop.run("insert into p values (1, 'a'), (11, 'b')")
    runs = Runs(shop.source(table="p"))
    assert sorted((row["__op"], row["id"]) for row in runs.rows()) == [("r", 1), ("r", 11)]
    shop.run("update p set id = 12 where id = 1")
    assert [(row["__op"], row["id"]) for row in runs.rows()] == [("d", 1), ("c", 12)]


def test_columns_that_the_server_computes_are_no_part_of_changes(shop: Shop) -> None:
    shop.run("create table g (id int primary key, twice int generated always as (id * 2) stored)")
    assert "twice" not in Runs(shop.source(table="g")).source.discover().schema.names


def test_who_only_looks_leaves_no_slot_behind(shop: Shop) -> None:
    shop.run("insert into t select n, 'x', n, null from generate_series(1, 50) n")
    source = shop.source()
    runs = Runs(source)
    assert len(runs.rows(limit=7)) == 7
    assert source.check().fine
    assert shop.slots() == []
    runs.reached = {}
    runs.rows()
    shop.run("update t set name = 'y'")
    assert len(runs.rows(limit=7, moves=False)) == 7
    assert len(runs.rows()) == 50


def test_a_slot_that_is_gone_or_moved_on_is_told(shop: Shop) -> None:
    runs = Runs(shop.source(slot="gone"))
    runs.rows()
    shop.run("insert into t values (1, 'one', 1, null)")
    close_pools()
    shop.run(
        "select count(*) from pg_logical_slot_get_binary_changes('gone', null, null, 'proto_version', '1', "
        "'publication_names', 'gone')"
    )
    with pytest.raises(UnreadableData, match="somebody else has read from it"):
        runs.rows()
    shop.run("select pg_drop_replication_slot('gone')")
    with pytest.raises(UnreadableData, match="is gone") as caught:
        runs.rows()
    assert "--full" in str(caught.value.hint)
    runs.reached = {}
    assert brief(runs.rows()) == [("r", 1, "one")]


def test_a_role_that_may_not_replicate_is_told_so(shop: Shop) -> None:
    role = f"reader_{next(_numbers)}"
    shop.run(f"create role {role} login", f"grant select on t to {role}")
    source = shop.source(shop.url.replace("postgres@", f"{role}@"))
    with pytest.raises(AccessDenied, match="may not replicate") as caught:
        Runs(source).rows()
    assert "REPLICATION" in str(caught.value.hint)
    assert source.check().findings[-1][:2] == ("replication", False)
    shop.run(f"alter role {role} replication")
    with pytest.raises(AccessDenied) as caught:
        Runs(source).rows()
    assert "CREATE PUBLICATION" in str(caught.value.hint)
    assert shop.slots() == []


def test_without_create_nothing_is_made(shop: Shop) -> None:
    source = shop.source(create=False, slot="mine")
    with pytest.raises(SourceMissing, match="publication"):
        Runs(source).rows()
    shop.run("create publication mine for all tables")
    with pytest.raises(SourceMissing, match="slot"):
        Runs(source).rows()
    shop.run("select pg_create_logical_replication_slot('mine', 'pgoutput')", "insert into t values (1, 'one', 1, null)")
    assert brief(Runs(source).rows()) == [("r", 1, "one")]


def test_a_publication_that_leaves_out_changes_is_refused(shop: Shop) -> None:
    shop.run("create publication half for table t with (publish = 'insert')")
    with pytest.raises(InvalidValue, match="leaves out"):
        Runs(shop.source(slot="half")).rows()


def test_a_slot_of_another_kind_is_not_touched(shop: Shop) -> None:
    shop.run("select pg_create_logical_replication_slot('theirs', 'test_decoding')")
    with pytest.raises(InvalidValue, match="test_decoding"):
        Runs(shop.source(slot="theirs")).rows()
    assert shop.slots() == ["theirs"]


def test_check_and_the_log_of_a_run_tell_how_much_waits(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    source = shop.source(slot="waiting", lag_warning="1 KiB")
    runs = Runs(source)
    runs.rows()
    shop.run("insert into t select n, repeat('x', 100), n, null from generate_series(1, 500) n")
    line = next(line for line in source.check().findings if line.what == "slot")
    assert not line[1]
    assert "of WAL" in line[2]
    assert "max_slot_wal_keep_size sets no bound" in line[2]
    caplog.clear()
    assert len(runs.rows()) == 500
    assert "'waiting' is far behind" in caplog.text


def test_check_tells_what_the_log_leaves_out(shop: Shop) -> None:
    shop.run("create table bare (a int)")
    lines = {what: (fine, text) for what, fine, text, *_ in shop.source(table="bare").check().findings}
    assert lines["public.bare"][0] is False
    assert "REPLICA IDENTITY FULL" in lines["public.bare"][1]
    assert shop.source().check().fine


def test_what_a_source_keeps_at_the_server_is_removed(shop: Shop) -> None:
    source: Any = shop.source(slot="passing")
    Runs(source).rows()
    assert shop.slots() == ["passing"]
    close_pools()
    assert source.forget() == ["the replication slot 'passing'", "the publication 'passing'"]
    assert shop.slots() == []
    assert shop.fetch("select * from pg_publication") == []
    assert source.forget() == []


@pytest.mark.parametrize("text", ["nowhere", "0/", "12", "0/XYZ"])
def test_a_position_that_is_none_is_refused(shop: Shop, text: str) -> None:
    with pytest.raises(InvalidValue, match="no place"):
        shop.source().position("", text)


@pytest.mark.parametrize(("name", "seed"), [("postgresql", 1), ("sqlite", 2), ("duckdb", 3)])
def test_a_replica_equals_its_table_after_any_changes(shop: Shop, name: str, seed: int, tmp_path: Any, request: Any) -> None:
    shop.run("alter table t replica identity full", "insert into t select n, 'row ' || n, n, null from generate_series(1, 300) n")
    target: System = made(name, tmp_path, request)
    runs = Runs(shop.source())
    sink = target.sink(table="t", last_by="__position", delete_marker="__deleted")
    number = 0

    def replicate(*, lost: bool) -> None:
        nonlocal number
        number += 1
        rows = runs.read(moves=not lost, batch_bytes=50_000)
        if lost:
            return
        wanted = WriteRequest(f"run{number}", "out", rows.schema, WriteMode.MERGE, ("id",))
        sink.plan_write(wanted)
        sink.prepare(wanted)
        sink.commit(wanted, stage(sink, wanted, [rows]))

    replicate(lost=False)
    for step, (statements, kept) in enumerate(workload(seed, 60)):
        # Two sessions whose transactions overlap, some of them given up.
        if step % 2:
            for each in statements:
                shop.other.execute(each.encode())
            if step % 4 == 1:
                replicate(lost=step % 8 == 1)
            shop.other.commit() if kept else shop.other.rollback()
        else:
            shop.run("begin", *statements, "commit" if kept else "rollback")
        if step % 10 == 9:
            replicate(lost=False)
    replicate(lost=False)
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
    end = time.monotonic() + 60
    position = None
    while len(found) < count and time.monotonic() < end:
        arrival = follower.take(0.5, 2**20)
        position = arrival.position
        if arrival.block is not None:
            found += brief(arrival.block.batch.to_pylist())
    return found, position


def test_a_stream_reads_all_rows_and_then_follows_the_changes(shop: Shop) -> None:
    shop.run("insert into t values (1, 'one', 1, null)")
    source = shop.source(slot="stream")
    partition, request = followed(source, {})
    follower = source.follow(partition, request)
    assert arrivals(follower, 1)[0] == [("r", 1, "one")]
    shop.run("insert into t values (2, 'two', 2, null)", "update t set id = 10 where id = 1")
    found, position = arrivals(follower, 3)
    assert found == [("c", 2, "two"), ("d", 1, None), ("c", 10, "one")]
    assert follower.take(0.0, 2**20).block is None
    kept = shop.fetch("select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'stream'")
    follower.published(position)
    assert shop.fetch("select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'stream'") != kept
    shop.run("delete from t where id = 2")
    assert arrivals(follower, 1)[0] == [("d", 2, None)]
    follower.close()
    # What was not published is to be had again, by whoever follows from that position.
    partition, request = followed(source, {"": position})
    follower = source.follow(partition, request)
    assert arrivals(follower, 1)[0] == [("d", 2, None)]
    follower.close()
    # A run goes on from there as well.
    runs = Runs(source, {"": position})
    assert brief(runs.rows()) == [("d", 2, None)]
    assert shop.slots() == ["stream"]


def test_a_stream_takes_many_changes_in_looks_that_end_between_transactions(shop: Shop, monkeypatch: Any) -> None:
    monkeypatch.setattr("beam_datahub.io.postgresql_cdc.following._MOST", 20)
    source = shop.source(snapshot="never")
    partition, request = followed(source, {})
    for number in range(10):
        shop.run(f"insert into t select {number} * 100 + n, 'x', n, null from generate_series(1, 15) n")
    shop.run("alter table t add column more int", "insert into t values (5000, 'y', 1, null, 2)")
    follower = source.follow(partition, request)
    sizes, positions = [], [partition.position]
    while sum(sizes) < 151:
        arrival = follower.take(0.0, 2**20)
        sizes.append(arrival.block.batch.num_rows if arrival.block is not None else 0)
        positions.append(arrival.position)
    follower.close()
    assert len(sizes) > 3
    # From each position the rest is to be had, neither more nor less.
    for number in (1, 3):
        another = source.follow(type(partition)("", positions[number]), request)
        assert len(arrivals(another, 151 - sum(sizes[:number]))[0]) == 151 - sum(sizes[:number])
        another.close()
