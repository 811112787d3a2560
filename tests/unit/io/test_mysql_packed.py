"""Rows that surely fit a table of MySQL's are loaded once, when published; whatever may be refused goes the other way."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.database_sink import DatabaseWriter
from beam_datahub.component.held import release_held
from beam_datahub.errors import TargetUnusable, Transient
from beam_datahub.io.mysql.packed import sure_rows
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql.spool import Spool
from beam_datahub.testing.connectors import stage
from tests.unit.io.database_systems import System, new_mysql_database


@pytest.fixture
def shop(mariadb: str) -> Iterator[System]:
    """An empty database."""
    yield System("mysql", {"url": new_mysql_database(mariadb)})
    close_pools()


def staged(
    shop: System, given: pa.Table, table: str = "t", mode: str = "append", *, stays: bool = False
) -> tuple[Any, Any, list[str]]:
    """The sink with its request and receipts, and the tables in which the rows of one bundle wait."""
    sink, request = shop.sink(table=table), replace(shop.request(given.schema, mode=mode), stays=stays)
    sink.plan_write(request)
    sink.prepare(request)
    receipts = stage(sink, request, [given])
    return (sink, request), receipts, [each.rpartition("_")[2] for each in shop.staging() if "_stage_" in each]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_rows_that_surely_fit_are_in_no_table_before_they_are_published(shop: System, mode: str) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20), data varbinary(9), at datetime(6))")
    shop.run("insert into t values (0, 'there', null, null)")
    texts = ["", "a\tb", "a\nb", "\\N", "'\"", "ü", None]
    moment = datetime(2024, 2, 29, 1, 2, 3, 4)
    given = pa.table(
        {"id": range(1, 8), "text": texts, "data": [b"\x00\xff\\\n\t'", b"", *[None] * 5], "at": [moment, *[None] * 6]}
    )
    given = given.cast(pa.schema([("id", pa.int64()), ("text", pa.string()), ("data", pa.binary()), ("at", pa.timestamp("us"))]))
    (sink, request), receipts, kinds = staged(shop, given, mode=mode)
    assert kinds == ["packed"]
    sink.commit(request, receipts)
    sink.commit(request, receipts)
    rows = sorted(shop.rows("t"), key=lambda row: row["id"])
    assert rows[-7:] == given.to_pylist()
    assert len(rows) == (8 if mode == "append" else 7)
    assert not [each for each in shop.staging() if "_stage_" in each]


def test_a_key_that_is_there_already_fails_the_run_with_the_words_of_the_server_and_changes_nothing(shop: System) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20))", "insert into t values (2, 'there')")
    (sink, request), receipts, kinds = staged(shop, pa.table({"id": [1, 2, 3], "text": ["a", "b", "c"]}))
    assert kinds == ["packed"]
    with pytest.raises(TargetUnusable, match="Duplicate entry '2'"):
        sink.commit(request, receipts)
    assert shop.rows("t") == [{"id": 2, "text": "there"}]


def test_a_batch_of_which_no_answer_came_is_staged_once(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run("create table t (id bigint)")
    there = MysqlSession.commit
    told: list[bool] = []

    def unheard(self: MysqlSession) -> None:
        there(self)
        if not told:
            told.append(True)
            raise Transient("the answer was lost")

    monkeypatch.setattr(MysqlSession, "commit", unheard)
    (sink, request), receipts, kinds = staged(shop, pa.table({"id": [1, 2, 3]}))
    assert (told, kinds) == ([True], ["packed"])
    sink.commit(request, receipts)
    assert [row["id"] for row in shop.rows("t")] == [1, 2, 3]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the process has its temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# In batches of plain letters and of others, in turn.
LETTERS = pa.concat_tables(
    [pa.table({"id": [i, i + 1], "text": ["a\tb\\", text]}) for i, text in ((1, "c"), (3, "ü語"), (5, None))]
)


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_rows_that_nobody_else_publishes_reach_the_server_once_and_leave_no_files(shop: System, mode: str, scratch: Path) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20))", "insert into t values (0, 'there')")
    (sink, request), receipts, kinds = staged(shop, LETTERS, mode=mode, stays=True)
    assert kinds == []
    assert shop.rows("t") == [{"id": 0, "text": "there"}]
    assert len(list(scratch.iterdir())) == 3
    sink.commit(request, receipts)
    assert list(scratch.iterdir()) == []
    sink.commit(request, receipts)
    kept = [{"id": 0, "text": "there"}] if mode == "append" else []
    assert sorted(shop.rows("t"), key=lambda row: row["id"]) == kept + LETTERS.to_pylist()


def test_rows_for_which_the_process_has_no_room_are_packed_in_the_server(
    shop: System, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20))")
    monkeypatch.setattr(Spool, "most_bytes", Spool._all_bytes + 16)
    (sink, request), receipts, kinds = staged(shop, LETTERS, stays=True)
    assert kinds == ["packed"]
    assert [receipt.rows for receipt in receipts] == [2, 4]
    sink.commit(request, receipts)
    assert sorted(shop.rows("t"), key=lambda row: row["id"]) == LETTERS.to_pylist()
    assert list(scratch.iterdir()) == []


def test_of_a_batch_for_which_there_is_no_room_nothing_is_kept(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "most_bytes", Spool._all_bytes + 16)
    spool = Spool()
    assert spool.keep("latin1", [memoryview(b"first\n")])
    assert not spool.keep("latin1", [memoryview(b"second\n"), memoryview(b"third\n")])
    assert spool.keep("latin1", [memoryview(b"last\n")])
    spool.close()
    ((letters, path),) = spool.files
    assert (letters, Path(path).read_bytes()) == ("latin1", b"first\nlast\n")
    spool.release()
    assert list(scratch.iterdir()) == []


def test_a_bundle_that_failed_leaves_no_files_and_its_room_is_for_others(shop: System, scratch: Path) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20))")
    sink, request = shop.sink(table="t"), replace(shop.request(LETTERS.schema), stays=True)
    sink.prepare(request)
    taken = Spool._all_bytes
    writer = sink.open(request)
    for batch in LETTERS.to_batches():
        writer.write(batch)
    assert Spool._all_bytes > taken
    writer.discard()
    assert list(scratch.iterdir()) == []
    assert Spool._all_bytes == taken


def test_rows_of_a_process_that_is_gone_are_not_published_in_part(shop: System, scratch: Path) -> None:
    shop.run("create table t (id bigint primary key, text varchar(20))", "insert into t values (0, 'there')")
    (sink, request), receipts, _ = staged(shop, LETTERS, mode="overwrite", stays=True)
    release_held()
    assert list(scratch.iterdir()) == []
    with pytest.raises(TargetUnusable, match="a process that is gone"):
        sink.commit(request, receipts)
    assert shop.rows("t") == [{"id": 0, "text": "there"}]


_STAMP = pa.timestamp("us", "UTC")
_MOMENTS = [datetime(year, 1, 1, tzinfo=UTC) for year in (1969, 2024, 2200)]
EDGES: list[tuple[str, pa.DataType, list[Any]]] = [
    ("tinyint", pa.int64(), [-129, -128, 127, 128]),
    ("tinyint unsigned", pa.int64(), [-1, 0, 255, 256]),
    ("tinyint(1)", pa.bool_(), [True, False]),
    ("mediumint", pa.int32(), [-8_388_609, -8_388_608, 8_388_607, 8_388_608]),
    ("int unsigned", pa.int64(), [-1, 2**32 - 1, 2**32]),
    ("bigint", pa.uint64(), [2**63 - 1, 2**63]),
    ("bigint unsigned", pa.uint64(), [0, 2**64 - 1]),
    ("float", pa.float32(), [1.5, math.nan, math.inf]),
    ("double", pa.float64(), [5e-324, 1.7976931348623157e308, math.nan, -math.inf]),
    ("double unsigned", pa.float64(), [-1.0, 1.0]),
    ("decimal(4,2)", pa.decimal128(4, 2), [Decimal("-99.99"), Decimal("99.99")]),
    ("decimal(4,2) unsigned", pa.decimal128(4, 2), [Decimal("-99.99"), Decimal("99.99")]),
    ("varchar(3)", pa.string(), ["üüü", "abc", "abcd", "a  ", None]),
    ("varchar(3) character set latin1", pa.string(), ["abc", "ü", "語"]),
    ("varchar(3) not null", pa.string(), ["", None]),
    ("tinytext", pa.string(), ["x" * 255, "x" * 256]),
    ("char(3)", pa.string(), ["abc", "abcd"]),
    ("enum('a', 'b')", pa.string(), ["a", "c"]),
    ("varbinary(2)", pa.binary(), [b"\x00\xff", b"abc"]),
    ("date", pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    ("datetime(6)", pa.timestamp("us"), [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)]),
    ("datetime", pa.timestamp("us"), [datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 0, 1)]),
    ("timestamp(6) null", _STAMP, _MOMENTS),
]  # fmt: skip


def test_what_is_taken_for_sure_to_fit_is_what_the_server_takes(shop: System) -> None:
    both = 0
    shop.run(*(f"create table t{number} (v {declared})" for number, (declared, _, _) in enumerate(EDGES)))
    for number, (declared, kind, values) in enumerate(EDGES):
        given = pa.record_batch({"v": pa.array(values, kind)})
        sink: Any = shop.sink(table=f"t{number}")
        writer = DatabaseWriter(sink, shop.request(given.schema))
        refused = writer.write(given)
        writer.discard()
        with sink.connected() as session:
            columns = session.columns(sink.target)
        sure = [row for row in range(len(values)) if sure_rows(sink.dialect, columns, given.slice(row, 1), 1 << 20) is not None]
        assert not set(sure) & set(refused["row"].to_pylist() if refused is not None else ()), declared
        both += len(sure)
    assert both > 20
