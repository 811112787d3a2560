"""What PostgreSQL has that others have not, and what happens when it goes away."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import AccessDenied, DataHubError, LossyWrite, TargetUnusable, Transient, UnreadableData
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read, stage
from tests.conftest import ROOT, service_output
from tests.unit.io.database_systems import System, new_database

NUMBERED = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture
def shop(postgresql: str) -> Iterator[System]:
    """An empty database."""
    yield System("postgresql", {"url": new_database(postgresql)})
    close_pools()


def numbered(first: int, count: int = 5) -> pa.Table:
    return pa.table([range(first, first + count), [f"row {n}" for n in range(first, first + count)]], schema=NUMBERED)


def value(shop: System, expression: str) -> Any:
    """What the source gives of one expression."""
    found = read(shop.source(query=f"select {expression} as v"))
    assert found.rejected == []
    return found.table["v"]


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ("12.50::numeric(10,2)", "decimal128(10, 2)", "12.50"),
        ("0.125::numeric", "decimal128(38, 3)", "0.125"),
        ("1e39::numeric", "string", "1000000000000000000000000000000000000000"),
        ("1234::numeric(2,-2)", "decimal128(4, 0)", "1200"),
        ("'12.34'::money", "decimal128(19, 2)", "12.34"),
        ("'ab'::char(4)", "string", "ab  "),
        ("b'101'::bit(3)", "string", "101"),
        ("'10.0.0.1/8'::inet", "string", "10.0.0.1/8"),
        ("'10:00+02'::timetz", "string", "10:00:00+02"),
        ("'11111111-2222-3333-4444-555555555555'::uuid", "string", "11111111-2222-3333-4444-555555555555"),
        ("'[1,5)'::int4range", "string", "[1,5)"),
        ("4294967295::oid", "int64", "4294967295"),
        ("'{1,null}'::int[]", "list<item: int32>", "[1, None]"),
        ("'{1.50,null}'::numeric(5,2)[]", "list<item: decimal128(5, 2)>", "[Decimal('1.50'), None]"),
        ('\'{a,"b,c",""}\'::text[]', "list<item: string>", "['a', 'b,c', '']"),
        ("'0044-03-15 BC'::date", "date32[day]", None),
    ],
)
def test_a_value_of_any_type_is_kept(shop: System, expression: str, kind: str, expected: str | None) -> None:
    found = value(shop, expression)
    assert str(found.type) == kind
    if expected is not None:
        assert str(found[0].as_py()) == expected
    # What was read is written back as the same.
    shop.write(shop.sink(table="back"), pa.table({"v": found}))
    again = read(shop.source(table="back"), pa.schema([("v", found.type)]))
    assert again.table["v"].equals(found)


def test_types_that_users_define_are_read(shop: System) -> None:
    shop.run(
        "create type mood as enum ('ok', 'bad')",
        "create domain price as numeric(10,2) check (value > 0)",
        "create type pair as (a int, b text)",
        "create table t (m mood, p price, r pair, ms mood[])",
        "insert into t values ('ok', 9.99, row(1, 'x'), '{ok,bad}')",
    )
    found = read(shop.source(table="t"))
    row = found.rows[0]
    assert (row["m"], str(row["p"]), row["ms"]) == ("ok", "9.99", ["ok", "bad"])
    assert row["r"].replace(" ", "") == '{"a":1,"b":"x"}'
    sink, request = shop.sink(table="t"), shop.request(pa.schema([("m", pa.string()), ("p", pa.decimal128(10, 2))]))
    sink.prepare(request)
    writer = sink.open(request)
    prices = pa.array(["1", "0", "2"]).cast(pa.decimal128(10, 2))
    refused = writer.write(pa.table({"m": ["ok", "ok", "odd"], "p": prices}).to_batches()[0])
    assert refused is not None
    assert refused["row"].to_pylist() == [1, 2]
    assert "price_check" in refused["message"][0].as_py()
    assert "odd" in refused["message"][1].as_py()


def test_infinite_dates_stay_infinite(shop: System) -> None:
    shop.run(
        "create table t (d date, s timestamp, z timestamptz)",
        "insert into t values ('infinity', '-infinity', 'infinity'), ('2024-01-01', '2024-01-01 10:00', '2024-01-01 10:00+00')",
    )
    found = read(shop.source(table="t"))
    assert found.rejected == []
    shop.write(shop.sink(table="back"), found.table)
    with psycopg.connect(shop.connection["url"]) as server:
        assert server.execute("select * from t except select * from back").fetchall() == []


def test_what_no_column_can_hold_is_rejected_or_refused_and_never_changed(shop: System) -> None:
    shop.run("create table t (n numeric(10,2))", "insert into t values (1.50), ('NaN'), (null)")
    found = read(shop.source(table="t"))
    assert [str(row["n"]) for row in found.rows] == ["1.50", "None"]
    assert found.reasons == ["type_mismatch"]
    assert found.rejected[0]["message"] == "'NaN' is not of type DECIMAL(10,2)"
    numbers = read(shop.source(query="values (0.5::numeric), ('Infinity'), (-12345678.00012), ('-Infinity'), (0), (1e-20)"))
    assert [str(row["column1"]) for row in numbers.rows] == [
        "0.50000000000000000000",
        "-12345678.00012000000000000000",
        "0E-20",
        "1E-20",
    ]
    assert [each["message"].split()[0] for each in numbers.rejected] == ["'Infinity'", "'-Infinity'"]
    assert read(shop.source(query="select '24:00'::time as t")).reasons == ["type_mismatch"]
    with pytest.raises(UnreadableData, match="several dimensions"):
        value(shop, "array[[1,2],[3,4]]")


def test_values_that_a_column_cannot_take_are_refused_singly(shop: System) -> None:
    shop.run("create table t (id bigint, small smallint, short varchar(3), day date)")
    sink = shop.sink(table="t")
    rows = [
        (1, 7, "abc", "2024-02-29"),
        (2, 70_000, "abc", None),
        (3, 1, "abcd", None),
        (4, 1, "a\0b", None),
        (5, 1, "", "never"),
    ]
    given = pa.Table.from_pylist([dict(zip(("id", "small", "short", "day"), row, strict=True)) for row in rows])
    request = shop.request(given.schema)
    sink.prepare(request)
    writer = sink.open(request)
    refused = writer.write(given.to_batches()[0])
    assert refused is not None
    assert refused["row"].to_pylist() == [1, 2, 3, 4]
    assert refused["column"].to_pylist()[:2] == ["small", "short"]
    sink.commit(request, writer.close())
    assert [row["id"] for row in shop.rows("t")] == [1]


def test_widening_makes_room_and_is_only_done_when_it_is_allowed(shop: System) -> None:
    shop.run("create table t (id integer, amount numeric(10,2))", "insert into t values (1, 1.25)")
    given = pa.table({"id": [2**40], "amount": pa.array(["1.125"]).cast(pa.decimal128(12, 3))})
    with pytest.raises(LossyWrite, match="'amount'") as raised:
        shop.write(shop.sink(table="t"), given)
    assert "`evolve: widen` makes it numeric(12,3)" in str(raised.value.hint)
    shop.write(shop.sink(table="t", evolve="widen"), given, run="run2")
    assert [(row["id"], str(row["amount"])) for row in shop.rows("t")] == [(1, "1.250"), (2**40, "1.125")]


def test_views_grants_and_references_outlive_an_overwrite(shop: System) -> None:
    shop.run(
        "create table t (id bigint primary key, text text)",
        "create view seen as select count(*) as n from t",
        "grant select on t to public",
        "create table other (t_id bigint references t deferrable initially deferred)",
    )
    shop.write(shop.sink(table="t"), numbered(0), mode="overwrite")
    shop.write(shop.sink(table="t"), numbered(3), run="run2", mode="overwrite")
    with psycopg.connect(shop.connection["url"]) as server:
        assert server.execute("select n from seen").fetchone() == (5,)
        found = server.execute("select has_table_privilege('public', 't', 'select')").fetchone()
    assert found == (True,)


def test_a_constraint_that_only_the_whole_table_knows_fails_the_run_and_publishes_nothing(shop: System) -> None:
    shop.run("create table t (id bigint primary key, text text)", "insert into t values (3, 'there')")
    with pytest.raises(TargetUnusable, match="duplicate key"):
        shop.write(shop.sink(table="t"), numbered(0))
    assert [row["id"] for row in shop.rows("t")] == [3]


def test_all_splits_see_one_moment_also_while_others_write(shop: System) -> None:
    shop.write(shop.sink(table="t"), numbered(0, 3000))
    shop.run("alter table t add primary key (id)", "analyze t")
    source = shop.source(table="t", split_by="id")
    request = ReadRequest(NUMBERED, ("id", "text"), split_bytes=1000)
    splits = list(source.splits(request))
    assert len(splits) == 8
    found: list[int] = []
    for number, split in enumerate(splits):
        shop.run(f"update t set id = id + 100000 where id = {number * 300 + 5}", f"insert into t values ({-number - 1}, 'new')")
        for block in source.read(split, request):
            found += block.batch["id"].to_pylist()
    assert sorted(found) == list(range(3000))


def test_what_is_wrong_with_a_connection_is_told_without_its_secrets(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = component("source", "postgresql")
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
    connection = {**shop.connection, "password": Secret(["hunter2hunter2"], "hunter2hunter2")}

    def problem(**changed: Any) -> DataHubError:
        made = kind(kind.Connection(**{**connection, **changed}), kind.Options(table="t"))  # type: ignore[attr-defined]
        report = made.check()
        assert not report.fine
        with pytest.raises(DataHubError) as raised:
            made.discover()
        for text in (repr(made.connection), str(raised.value), str(raised.value.hint), str(report)):
            assert "hunter2" not in text
        return raised.value

    assert isinstance(problem(user="nobody_at_all"), AccessDenied)
    assert "nobody_at_all" in str(problem(user="nobody_at_all"))
    assert "does not exist" in str(problem(database="no_such_database"))
    assert isinstance(problem(port=1), Transient)
    assert isinstance(problem(tls="require"), AccessDenied)


def test_a_password_in_clear_is_refused() -> None:
    kind = component("source", "postgresql")
    with pytest.raises(ValueError, match="in clear"):
        kind.Connection(url="postgresql://ada:secret@localhost/shop")  # type: ignore[attr-defined]


def test_a_lock_that_somebody_holds_is_waited_for_and_then_told(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = System("postgresql", {"url": new_database(postgresql), "lock_timeout_seconds": 1})
    shop.run("create table t (id bigint, text text)")
    sink, request = shop.sink(table="t"), shop.request(NUMBERED)
    sink.prepare(request)
    receipts = stage(sink, request, [numbered(0)])
    with psycopg.connect(shop.connection["url"]) as other, monkeypatch.context() as patch:
        other.execute("lock table t in share mode")
        patch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
        with pytest.raises(Transient, match="lock timeout"):
            sink.commit(request, receipts)
    assert sink.commit(request, receipts).rows == 5
    assert sink.commit(request, receipts).rows == 5
    assert [row["id"] for row in shop.rows("t")] == list(range(5))
    close_pools()


def test_a_table_that_is_altered_during_the_run_loses_nothing(shop: System) -> None:
    shop.run("create table t (id bigint, text text)")
    sink, request = shop.sink(table="t"), shop.request(NUMBERED)
    sink.prepare(request)
    receipts = stage(sink, request, [numbered(0)])
    shop.run("alter table t add other int default 7", "alter table t rename id to number")
    sink.commit(request, receipts)
    with psycopg.connect(shop.connection["url"]) as server:
        assert server.execute("select sum(id), sum(other) from t").fetchone() == (10, 35)


@pytest.fixture
def own_server() -> Iterator[tuple[System, Path]]:
    """A server that a test may stop, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-postgresql-"))
    try:
        url = service_output("postgresql", "start", str(folder))
        yield System("postgresql", {"url": url}), folder
        close_pools()
        service_output("postgresql", "stop", str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def restart(folder: Path, url: str) -> None:
    """Stop the server at once, as a crash would, and start it again at its port."""
    service_output("postgresql", "stop", str(folder))
    port = url.rpartition(":")[2].partition("/")[0]
    subprocess.run(["bash", ROOT / "tests" / "services" / "postgresql.sh", "again", folder, port], check=True)


def test_a_server_that_goes_down_while_it_is_read_fails_the_read_and_no_row_is_doubled(
    own_server: tuple[System, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, folder = own_server
    shop.run("create table t as select n as id, repeat('x', 1000) as text from generate_series(1, 60000) n")
    source = shop.source(table="t")
    schema = source.discover().schema
    request = ReadRequest(schema, ("id", "text"), batch_bytes=100_000)
    blocks = source.read(next(iter(source.splits(request))), request)
    next(blocks)
    restart(folder, shop.connection["url"])
    with pytest.raises(Transient, match="broke while"):
        list(blocks)
    assert read(source, schema).table.num_rows == 60_000


def test_a_server_that_restarts_between_two_batches_is_waited_for(own_server: tuple[System, Path]) -> None:
    shop, folder = own_server
    sink, request = shop.sink(table="t"), shop.request(NUMBERED)
    sink.prepare(request)
    writer = sink.open(request)
    for number in range(3):
        assert writer.write(numbered(number * 5).to_batches()[0]) is None
        restart(folder, shop.connection["url"])
    assert sink.commit(request, writer.close()).rows == 15
    assert [row["id"] for row in sorted(shop.rows("t"), key=lambda row: row["id"])] == list(range(15))
    assert shop.staging() == []


def test_a_server_that_crashes_with_staged_rows_fails_the_run_and_the_next_one_is_right(own_server: tuple[System, Path]) -> None:
    shop, folder = own_server
    shop.run("create table t (id bigint, text text)")
    sink, request = shop.sink(table="t"), shop.request(NUMBERED)
    sink.prepare(request)
    receipts = stage(sink, request, [numbered(0)])
    restart(folder, shop.connection["url"])
    with pytest.raises(TargetUnusable, match="lost"):
        sink.commit(request, receipts)
    sink.abort(request)
    shop.write(shop.sink(table="t"), numbered(0), run="run2")
    assert [row["id"] for row in shop.rows("t")] == list(range(5))
    assert shop.staging() == []
