"""What MySQL and MariaDB have that others have not, and what happens when the server goes away."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import AccessDenied, DataHubError, InvalidValue, LossyWrite, TargetUnusable, Transient
from beam_datahub.io.mysql.rows import load_texts
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import ROOT, service_output
from tests.unit.io.database_systems import System, mysql_client, new_mysql_database

NUMBERED = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture
def shop(mariadb: str) -> Iterator[System]:
    """An empty database."""
    yield System("mysql", {"url": new_mysql_database(mariadb)})
    close_pools()


def numbered(first: int, count: int = 5) -> pa.Table:
    return pa.table([range(first, first + count), [f"row {n}" for n in range(first, first + count)]], schema=NUMBERED)


def test_a_value_of_any_type_is_kept_and_written_back_as_the_same(shop: System) -> None:
    values = [
        ("tinyint unsigned", "255", "uint8", "255"),
        ("smallint unsigned", "65535", "uint16", "65535"),
        ("mediumint", "-8388608", "int32", "-8388608"),
        ("int unsigned", "4294967295", "uint32", "4294967295"),
        ("bigint unsigned", "18446744073709551615", "uint64", "18446744073709551615"),
        ("tinyint(1)", "1", "bool", "True"),
        ("bit(1)", "b'1'", "bool", "True"),
        ("bit(10)", "b'1000000001'", "uint64", "513"),
        ("float", "1.1", "float", "1.100000023841858"),
        ("double", "0.1", "double", "0.1"),
        ("decimal(10,2)", "12.50", "decimal128(10, 2)", "12.50"),
        ("decimal(38,10)", "1234567890123456789012345678.0123456789", "decimal128(38, 10)", None),
        ("decimal(65,30)", "1e34", "string", f"1{'0' * 34}.{'0' * 30}"),
        ("year", "2024", "int16", "2024"),
        ("date", "'0044-03-15'", "date32[day]", "0044-03-15"),
        ("time(6)", "'23:59:59.999999'", "time64[us]", "23:59:59.999999"),
        ("datetime(6)", "'9999-12-31 23:59:59.999999'", "timestamp[us]", "9999-12-31 23:59:59.999999"),
        ("timestamp(6) null", "'2024-01-02 03:04:05.5'", "timestamp[us, tz=UTC]", "2024-01-02 03:04:05.500000+00:00"),
        ("enum('x', 'yü')", "'yü'", "string", "yü"),
        ("set('p', 'q')", "'p,q'", "string", "p,q"),
        ("json", """'{"a": [1, null]}'""", "extension<arrow.json>", """{"a": [1, null]}"""),
        ("char(4)", "'ab'", "string", "ab"),
        ("varchar(9) character set latin1", "'é'", "string", "é"),
        ("varchar(9) collate utf8mb4_bin", "'😀'", "string", "😀"),
        ("varchar(99)", r"'\\N \t\n\\ \'\" \0'", "string", "\\N \t\n\\ '\" \0"),
        ("binary(4)", "'ab'", "binary", r"b'ab\x00\x00'"),
        ("longblob", "x'00ff5c09'", "binary", r"b'\x00\xff\\\t'"),
        ("inet6", "'::1'", "string", "::1"),
        ("point", "point(1, 2)", "binary", None),
    ]
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(values))
    shop.run(
        f"create table t ({columns})",
        f"insert into t values ({', '.join(value for _, value, *_ in values)}), ({', '.join('null' for _ in values)})",
        "create table back like t",
    )
    found = read(shop.source(table="t"))
    assert found.rejected == []
    for number, (kind, _, type_name, expected) in enumerate(values):
        field = found.table.schema.field(number)
        assert str(field.type).startswith(type_name), kind
        one, none = found.table[number].to_pylist()
        assert none is None, kind
        assert expected is None or str(one) == expected, kind
    shop.write(shop.sink(table="back"), found.table)
    again = read(shop.source(table="back"), found.table.schema)
    assert again.table.to_pylist() == found.table.to_pylist()
    with mysql_client(shop.connection["url"]) as server, server.cursor() as cursor:
        cursor.execute("select count(*) from t join back on st_equals(t.c28, back.c28) and t.c10 = back.c10")
        assert cursor.fetchone() == (1,)


def test_a_row_may_end_in_null_behind_a_text(shop: System) -> None:
    shop.run("create table t (name varchar(10), n bigint)", "insert into t values ('a', 1), ('b', null)")
    assert [row["n"] for row in read(shop.source(table="t")).rows] == [1, None]


def test_a_query_has_the_types_of_its_columns(shop: System) -> None:
    shop.run("create table t (a int unsigned, b decimal(10,2), c varchar(20), d datetime(3), e blob, f tinyint(1), g enum('x'))")
    kinds = [str(field.type) for field in shop.source(query="select * from t").discover().schema]
    assert kinds == ["uint32", "decimal128(10, 2)", "string", "timestamp[us]", "binary", "bool", "string"]
    found = read(shop.source(query="select count(*) as n, sum(a) as s, max(d) as d, 'a%b' as p from t"))
    assert found.rows[0] == {"n": 0, "s": None, "d": None, "p": "a%b"}


def test_what_is_no_date_no_time_of_day_and_no_truth_is_rejected_singly(shop: System) -> None:
    shop.run(
        "set sql_mode = ''",
        "create table t (id bigint, d date, s datetime(6), t time, b tinyint(1))",
        "insert into t values (1, '2024-02-29', '2024-02-29 10:00', '10:00:00', 0), (2, '0000-00-00', null, null, null), "
        "(3, null, '2024-05-00 10:00:00', null, null), (4, null, null, '100:00:00', null), (5, null, null, null, 7), "
        "(6, null, null, '-10:00:00', null)",
    )
    found = read(shop.source(table="t"))
    assert [row["id"] for row in found.rows] == [1]
    assert found.reasons == ["type_mismatch"] * 5
    texts = pa.schema([("id", pa.int64()), ("t", pa.string()), ("b", pa.int8())])
    kept = read(shop.source(table="t"), texts)
    assert kept.rejected == []
    assert [row["t"] for row in kept.rows if row["id"] in (4, 6)] == ["100:00:00", "-10:00:00"]
    assert kept.rows[4]["b"] == 7


@pytest.mark.parametrize("infile", [True, False], ids=["load data", "insert"])
def test_values_that_a_column_cannot_take_are_refused_singly(shop: System, infile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(
        "create table t (id bigint, small smallint, short varchar(3) character set latin1, day date, at datetime, "
        "kind enum('a'), percent int check (percent <= 100))"
    )
    rows = [
        (1, 7, "abc", "2024-02-29", "2024-01-01 10:00:00", "a", 100),
        (2, 70_000, "abc", None, None, None, None),
        (3, 1, "abcd", None, None, None, None),
        (4, 1, "😀", None, None, None, None),
        (5, 1, "", "never", None, None, None),
        (6, 1, "é", "0000-00-00", None, None, None),
        (7, 1, "é", None, "2024-01-01 10:00:00.5", None, None),
        (8, 1, "é", None, None, "b", None),
        (9, 1, "é", None, None, None, 101),
        (10, 1, "é", "2024-02-30", None, None, None),
        (11, 1, r"\N", None, None, None, None),
    ]
    names = ("id", "small", "short", "day", "at", "kind", "percent")
    given = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    given = given.set_column(4, "at", given["at"].cast(pa.timestamp("us")))
    sink, request = shop.sink(table="t"), shop.request(given.schema)
    sink.prepare(request)
    with sink.connected() as session:  # type: ignore[attr-defined]
        monkeypatch.setattr(type(session), "_infile", infile, raising=False)
        monkeypatch.delattr(session, "_infile")
    writer = sink.open(request)
    refused = writer.write(given.to_batches()[0])
    assert refused is not None
    assert refused["row"].to_pylist() == [*range(1, 10)]
    assert refused["column"].to_pylist()[:7] == ["small", "short", "short", "day", "day", "at", "kind"]
    assert not any("_dh_stage" in message for message in refused["message"].to_pylist())
    sink.commit(request, writer.close())
    assert [(row["id"], row["short"]) for row in shop.rows("t")] == [(1, "abc"), (11, r"\N")]


def test_merging_goes_by_the_named_key_also_where_another_one_is_met(shop: System) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20) unique)", "insert into t values (1, 'row 1'), (2, 'row 2')")
    given = pa.table([[2, 3], ["new", "row 1"]], schema=NUMBERED)
    with pytest.raises(TargetUnusable, match="Duplicate"):
        shop.write(shop.sink(table="t"), given, mode="merge", key=["id"])
    assert [tuple(row.values()) for row in shop.rows("t")] == [(1, "row 1"), (2, "row 2")]
    shop.write(shop.sink(table="t"), given.slice(0, 1), mode="merge", key=["id"], run="run2")
    assert [tuple(row.values()) for row in shop.rows("t")] == [(1, "row 1"), (2, "new")]


def test_a_merge_through_sqlalchemy_that_fails_changes_nothing(shop: System) -> None:
    # Tables that are made on the way would end the transaction there.
    system = System("sql", {"url": shop.connection["url"].replace("mysql://", "mysql+pymysql://")})
    shop.run("create table t (id bigint primary key, text varchar(20) unique)", "insert into t values (1, 'one'), (2, 'two')")
    with pytest.raises(TargetUnusable, match="Duplicate"):
        system.write(
            system.sink(table="t", last_by="text"), numbered(1, 1).set_column(1, "text", [["two"]]), mode="merge", key=["id"]
        )
    assert shop.rows("t") == [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
    two = pa.table([[1, 1], ["a", "b"]], schema=NUMBERED)
    system.write(system.sink(table="t", last_by="text"), two, run="again", mode="merge", key=["id"])
    assert shop.rows("t") == [{"id": 1, "text": "b"}, {"id": 2, "text": "two"}]


def test_texts_of_another_collation_are_merged_by_the_collation_of_their_table(shop: System) -> None:
    shop.run(
        "create table t (name varchar(20) character set latin1 collate latin1_german1_ci primary key, n bigint)",
        "insert into t values ('Ada', 1)",
    )
    given = pa.table({"name": ["ADA", "Bob"], "n": [2, 3]})
    shop.write(shop.sink(table="t", last_by="n"), given, mode="merge", key=["name"])
    assert [tuple(row.values()) for row in shop.rows("t")] == [("Ada", 2), ("Bob", 3)]


def test_views_grants_and_references_outlive_an_overwrite(shop: System) -> None:
    shop.run(
        "create table t (id bigint primary key, text text)",
        "create view seen as select count(*) as n from t",
        "create trigger counted after insert on t for each row set @n = 1",
    )
    shop.write(shop.sink(table="t"), numbered(0), mode="overwrite")
    shop.write(shop.sink(table="t"), numbered(3), run="run2", mode="overwrite")
    with mysql_client(shop.connection["url"]) as server, server.cursor() as cursor:
        cursor.execute("select n, (select count(*) from information_schema.triggers where trigger_name = 'counted' "
                       "and trigger_schema = database()) from seen")  # fmt: skip
        assert cursor.fetchone() == (5, 1)


def test_widening_makes_room_and_is_only_done_when_it_is_allowed(shop: System) -> None:
    shop.run("create table t (id int, amount decimal(10,2))", "insert into t values (1, 1.25)")
    given = pa.table({"id": [2**40], "amount": pa.array(["1.125"]).cast(pa.decimal128(12, 3))})
    with pytest.raises(LossyWrite, match="'amount'"):
        shop.write(shop.sink(table="t"), given)
    shop.write(shop.sink(table="t", evolve="widen"), given, run="run2")
    assert [(row["id"], str(row["amount"])) for row in shop.rows("t")] == [(1, "1.250"), (2**40, "1.125")]


@pytest.mark.parametrize("block_bytes", [1, 700, 1 << 20])
def test_texts_of_any_length_come_as_the_client_itself_reads_them(shop: System, block_bytes: int) -> None:
    lengths = [0, 1, 11, 12, 13, 250, 251, 252, 254, 255, 256, 65_535, 65_536, 100_000]
    shop.run("create table t (n int, a longblob, b longtext, c int)")
    with mysql_client(shop.connection["url"]) as server, server.cursor() as cursor:
        values: list[tuple[Any, ...]] = [
            (n, bytes(i % 256 for i in range(length)), "ü" * length, None) for n, length in enumerate(lengths)
        ]
        values += [(len(values) + n, None, "", n) for n in range(300)] + [(None, b"\xfe\xff\xfb", None, 0)]
        cursor.executemany("insert into t values (%s, %s, %s, %s)", values)
        cursor.execute("select * from t")
        wanted = [tuple(row) for row in cursor.fetchall()]
    source: Any = shop.source(table="t")
    with source.connected() as session:
        columns = session.describe(source.relation)
        batches = list(session.stream(columns, source.relation, (), None, block_bytes))
    found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    assert found == wanted
    assert len(found) == len(lengths) + 301
    assert (len(batches) > 1) == (block_bytes < 1000)


def test_a_row_that_takes_several_packets_is_one_row(shop: System) -> None:
    half = "repeat('x', 9000000)"
    shop.run("create table t (id bigint, data longblob, more longtext)")
    # Not into the log: of one with an event larger than a packet MariaDB tells no GTIDs, and others follow it.
    shop.run("set sql_log_bin = 0", f"insert into t values (1, 'a', 'b'), (2, {half}, {half}), (3, null, '')")
    rows = read(shop.source(table="t")).rows
    assert [(row["id"], len(row["data"] or b""), len(row["more"])) for row in rows] == [
        (1, 1, 1),
        (2, 9_000_000, 9_000_000),
        (3, 0, 0),
    ]
    assert set(rows[1]["data"]) == {ord("x")}
    assert set(rows[1]["more"]) == {"x"}


def test_an_error_behind_the_first_rows_is_told_and_the_connection_is_good_for_more(shop: System) -> None:
    shop.run("create table t (id bigint primary key, text varchar(200))")
    shop.run("insert into t select seq, repeat('x', 200) from seq_1_to_9000")
    once = "select id, text, (select seq from seq_1_to_2 s where t.id > 8000 or s.seq = 1) as one from t"
    with pytest.raises(InvalidValue, match="more than 1 row"):
        read(shop.source(query=once))
    assert len(read(shop.source(table="t")).rows) == 9000


def test_a_table_without_transactions_is_refused_before_anything_runs(shop: System) -> None:
    shop.run("create table t (id bigint, text varchar(9)) engine=MyISAM")
    with pytest.raises(TargetUnusable, match="no transactions") as raised:
        shop.sink(table="t").prepare(shop.request(NUMBERED))
    assert "ENGINE=InnoDB" in str(raised.value.hint)


def test_ranges_of_dates_give_each_row_once(shop: System) -> None:
    shop.run(
        "create table t (day datetime primary key) select timestamp('2024-01-01') + interval seq hour as day from seq_1_to_1000"
    )
    source = shop.source(table="t", split_by="day")
    request = ReadRequest(pa.schema([("day", pa.timestamp("us"))]), ("day",), split_bytes=1000)
    splits = list(source.splits(request))
    assert len(splits) == 8
    found = [sum(block.batch.num_rows for block in source.read(split, request)) for split in splits]
    assert sum(found) == 1000
    assert min(found) > 100


def test_what_is_wrong_with_a_connection_is_told_without_its_secrets(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = component("source", "mysql")
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
    connection = {**shop.connection, "password": Secret(["hunter2hunter2"], "hunter2hunter2")}

    def problem(**changed: Any) -> DataHubError:
        made = kind(kind.Connection(**{**connection, **changed}), kind.Options(table="t"))  # type: ignore[attr-defined]
        assert not made.check().fine
        with pytest.raises(DataHubError) as raised:
            made.discover()
        for text in (repr(made.connection), str(raised.value), str(raised.value.hint), str(made.check())):
            assert "hunter2" not in text
        return raised.value

    assert isinstance(problem(), AccessDenied)
    assert "nobody_at_all" in str(problem(user="nobody_at_all"))
    assert isinstance(problem(port=1), Transient)
    assert isinstance(problem(tls="require"), (AccessDenied, Transient))
    with pytest.raises(ValueError, match="in clear"):
        kind.Connection(url="mysql://ada:secret@localhost/shop")  # type: ignore[attr-defined]


def test_a_server_that_goes_down_while_it_is_read_and_written_doubles_and_loses_nothing() -> None:
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-mariadb-"))
    try:
        url = service_output("mariadb", "start", str(folder))
        shop = System("mysql", {"url": new_mysql_database(url)})
        shop.run("create table t as select seq as id, repeat('x', 100) as text from seq_1_to_5000")
        # From the three thousandth row on, the server takes its time.
        source, sink = shop.source(table="t", where="id <= 3000 or sleep(0.02) = 0"), shop.sink(table="copy")
        schema = source.discover().schema
        request = ReadRequest(schema, ("id", "text"), batch_bytes=1000)
        blocks = source.read(next(iter(source.splits(request))), request)
        first = next(blocks).batch
        write = shop.request(schema)
        sink.prepare(write)
        writer = sink.open(write)
        assert writer.write(first) is None
        service_output("mariadb", "stop", str(folder))
        script = ROOT / "tests" / "services" / "mariadb.sh"
        subprocess.run(["bash", script, "again", folder, url.rpartition(":")[2]], check=True)
        with pytest.raises(Transient, match="broke while"):
            list(blocks)
        assert read(shop.source(table="t"), schema).table.num_rows == 5000
        # What was staged was committed there: the run goes on.
        assert writer.write(first) is None
        sink.commit(write, writer.close())
        assert len(shop.rows("copy")) == 2 * first.num_rows
        assert shop.staging() == []
    finally:
        close_pools()
        service_output("mariadb", "stop", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def test_what_means_something_else_in_a_load_is_escaped_wherever_it_stands() -> None:
    texts = pa.array(["plain", "a\tb", None, "c\\", "d\ne", "plain"])
    alone = [b"".join(load_texts([texts.slice(at, 1)])) for at in range(6)]
    assert alone == [b"plain\n", b"a\\tb\n", b"\\N\n", b"c\\\\\n", b"d\\ne\n", b"plain\n"]
    assert b"".join(load_texts([texts])) == b"".join(alone)
    assert b"".join(load_texts([texts, pa.nulls(6, pa.string())])).count(b"\t\\N\n") == 6
