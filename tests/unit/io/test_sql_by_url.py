"""What a user can rely on with a database that only the environment names, as one of SQL Server's or Oracle's.

`BEAM_DATAHUB_TEST_SQL_URL=mssql+pymssql://etl@db/scratch` names it, and `BEAM_DATAHUB_TEST_SQL_PASSWORD` has the password where
there is one. Tables get names of their own, and are dropped at the end.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_dialect import LEDGER
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import ReadRequest, Since
from beam_datahub.errors import LossyWrite, TargetUnusable
from beam_datahub.kernels.types import TIMESTAMP
from beam_datahub.testing.connectors import read, stage
from tests.unit.io.database_systems import System

URL = os.environ.get("BEAM_DATAHUB_TEST_SQL_URL")
pytestmark = pytest.mark.skipif(not URL, reason="BEAM_DATAHUB_TEST_SQL_URL names no database")

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.decimal128(12, 2)), ("at", TIMESTAMP)])
MOMENT = dt.datetime(2025, 3, 3, 8, 0, 0, 123456)


def rows(*ids: int, name: str | None = "é", at: dt.datetime | None = MOMENT) -> pa.Table:
    count = len(ids)
    return pa.table([list(ids), [name] * count, [Decimal("10.50")] * count, [at] * count], schema=SCHEMA)


class Table:
    """A table of a test's own."""

    def __init__(self, system: System) -> None:
        self.system, self.name = system, f"dh_test_{secrets.token_hex(4)}"

    def write(self, *tables: pa.Table, **more: Any) -> Any:
        options = {key: more.pop(key) for key in list(more) if key in ("last_by", "delete_marker", "evolve", "effective_at")}
        more["run"] = f"{self.name}-{more.get('run', 'run1')}"
        return self.system.write(self.system.sink(table=self.name, **options), *tables, **more)

    def request(self, run: str = "run1") -> WriteRequest:
        return self.system.request(SCHEMA, run=f"{self.name}-{run}")

    def ids(self) -> list[int]:
        return sorted(int(each["id"]) for each in self.rows())

    def rows(self) -> list[dict[str, Any]]:
        return read(self.system.source(table=self.name)).rows


@pytest.fixture
def table() -> Iterator[Table]:
    password = os.environ.get("BEAM_DATAHUB_TEST_SQL_PASSWORD")
    system = System("sql", {"url": URL, **({"password": password} if password else {})})
    found = Table(system)
    yield found
    sink: Any = system.sink(table=found.name)
    with sink.connected() as session:
        session.execute(sink.dialect.drop(sink.target))
        ledger = sink.dialect.table(sink.target.beside(LEDGER))
        session.execute(f"DELETE FROM {ledger} WHERE run_id LIKE '{found.name}-%'")


def test_values_come_back_as_they_were_written(table: Table) -> None:
    schema = pa.schema(
        [*SCHEMA, ("x", pa.float64()), ("day", pa.date32()), ("raw", pa.binary()), ("ok", pa.bool_()), ("long", pa.string())]
    )
    given = pa.table(
        [
            [1, 2],
            ["a ü 漢 ' \\ :x %s", None],
            [Decimal("-1234567890.07"), None],
            [MOMENT, None],
            [0.1, None],
            [dt.date(2024, 2, 29), None],
            [b"\x00\xff", None],
            [True, None],
            ["ü" * 1900, None],
        ],
        schema=schema,
    )
    table.write(given)
    found = read(table.system.source(table=table.name), schema)
    assert found.rejected == []
    assert found.table.sort_by("id").to_pylist() == given.to_pylist()


def test_appending_overwriting_and_repeating(table: Table) -> None:
    table.write(rows(1, 2), rows(3))
    table.write(rows(4), run="run2")
    sink = table.system.sink(table=table.name)
    again = table.request("run2")
    sink.commit(again, [])
    assert table.ids() == [1, 2, 3, 4]
    table.write(rows(9), run="run3", mode="overwrite")
    assert table.ids() == [9]
    assert [name for name in table.system.staging() if table.name in name] == []


def test_merging_with_the_last_one_winning_and_removals(table: Table) -> None:
    table.write(rows(1, 2, name="old"), mode="merge", key=["id"])
    schema = pa.schema([*SCHEMA, ("gone", pa.bool_())])
    later = MOMENT + dt.timedelta(microseconds=1)

    def changes(ident: int, name: str, at: dt.datetime, gone: bool) -> pa.Table:
        return pa.table([[ident], [name], [Decimal(1)], [at], [gone]], schema=schema)

    table.write(
        changes(1, "late", later, False),
        changes(1, "early", MOMENT, False),
        changes(2, "x", MOMENT, True),
        changes(3, "new", MOMENT, False),
        run="run2",
        mode="merge",
        key=["id"],
        last_by="at",
        delete_marker="gone",
    )
    assert {int(each["id"]): each["name"] for each in table.rows()} == {1: "late", 3: "new"}
    with pytest.raises(TargetUnusable, match="same key"):
        table.write(rows(5, 5), run="run3", mode="merge", key=["id"])
    assert table.ids() == [1, 3]


def test_keys_that_differ_in_case_are_two_rows(table: Table) -> None:
    schema = pa.schema([("k", pa.string()), ("n", pa.int64())])
    table.write(pa.table([["a", "A"], [1, 2]], schema=schema), mode="merge", key=["k"])
    table.write(pa.table([["A"], [3]], schema=schema), run="run2", mode="merge", key=["k"])
    assert {each["k"]: int(each["n"]) for each in table.rows()} == {"a": 1, "A": 3}


def test_versions_are_kept(table: Table) -> None:
    options: dict[str, Any] = {"mode": "scd2", "key": ["id"], "effective_at": "at"}
    table.write(rows(1, name="a"), **options)
    table.write(rows(1, name="A", at=MOMENT + dt.timedelta(days=1)), run="run2", **options)
    found = sorted(table.rows(), key=lambda each: each["valid_from"])
    assert [(each["name"], bool(each["is_current"])) for each in found] == [("a", False), ("A", True)]
    assert found[0]["valid_to"] == found[1]["valid_from"]


def test_a_new_column_is_added_and_a_narrower_one_refused(table: Table) -> None:
    table.write(rows(1))
    wider = pa.schema([*SCHEMA, ("more", pa.int64())])
    table.write(pa.table([*rows(2).columns, pa.array([7])], schema=wider), run="run2")
    assert {int(each["id"]): each["more"] for each in table.rows()} == {1: None, 2: 7}
    finer = pa.schema([("id", pa.int64()), ("amount", pa.decimal128(12, 4))])
    with pytest.raises(LossyWrite, match="would lose data"):
        table.write(pa.table([[3], [Decimal("1.2345")]], schema=finer), run="run3")


def test_a_row_that_the_database_refuses_is_refused_alone(table: Table) -> None:
    if str(URL).startswith("sqlite"):
        pytest.skip("SQLite keeps NULL in a primary key")
    table.write(rows(1), mode="merge", key=["id"])
    sink = table.system.sink(table=table.name)
    request = table.request("run2")
    sink.prepare(request)
    writer = sink.open(request)
    without_key = pa.table([[2, None, 3], ["a"] * 3, [Decimal(1)] * 3, [MOMENT] * 3], schema=SCHEMA)
    found = writer.write(without_key.combine_chunks().to_batches()[0])
    assert found is not None
    assert found.column("row").to_pylist() == [1]
    sink.commit(request, writer.close())
    assert table.ids() == [1, 2, 3]


def test_a_text_without_letters_never_becomes_null_without_a_word(table: Table) -> None:
    sink: Any = table.system.sink(table=table.name)
    request = table.request()
    sink.prepare(request)
    writer = sink.open(request)
    found = writer.write(rows(1, name="").combine_chunks().to_batches()[0])
    sink.commit(request, writer.close())
    if sink.dialect.empty_is_null:
        assert found.column("column").to_pylist() == ["name"]
    else:
        assert [each["name"] for each in table.rows()] == [""]


def test_ranges_and_what_is_new_leave_nothing_out(table: Table) -> None:
    table.write(rows(*range(500)))
    source = table.system.source(table=table.name, split_by="id")
    wanted = ReadRequest(source.discover().schema, ("id",), split_bytes=1000)
    splits = list(source.splits(wanted))
    assert len(splits) > 1
    found = [int(n.as_py()) for split in splits for block in source.read(split, wanted) for n in block.batch.column(0)]
    assert sorted(found) == list(range(500))
    kind = source.discover().schema.field("id").type
    since = Since("id", kind, "490", None, nulls=False)
    assert {490, 499} <= {int(each["id"]) for each in read(source, since=since).rows}


def test_a_run_that_is_given_up_leaves_nothing(table: Table) -> None:
    sink, request = table.system.sink(table=table.name), table.request()
    before = table.system.staging()
    sink.prepare(request)
    stage(sink, request, [rows(1)])
    assert len(table.system.staging()) == len(before) + 1
    sink.abort(request)
    assert table.system.staging() == before
    assert sink.check().fine
    table.write(rows(1), run="run2")
