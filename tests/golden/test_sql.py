"""The SQL that databases get of which no server is here, through their real SQLAlchemy dialects, frozen.

`BEAM_DATAHUB_GOLDEN=update` writes the files anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database import Relation, Session, TableColumn, TableName
from beam_datahub.component.database_dialect import LEDGER
from beam_datahub.component.database_options import table_key, table_schema
from beam_datahub.component.database_shape import new_table
from beam_datahub.component.database_source import key_ranges
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.component.source import Since
from beam_datahub.io.sql.session import selecting
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ

TARGET = TableName("orders", "sales")
FOLDER = Path(__file__).with_name("sql")
URLS = {
    "mssql": "mssql+pymssql://etl@db/shop",
    "oracle": "oracle+oracledb://etl@db:1521/?service_name=shop",
}
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("amount", pa.decimal128(12, 2)),
        ("at", TIMESTAMP),
        ("seen", TIMESTAMPTZ),
        ("day", pa.date32()),
        ("ok", pa.bool_()),
        ("raw", pa.binary()),
    ]
)
SHORT = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", TIMESTAMP), ("gone", pa.bool_())])


class Written(Session):
    """A connection that writes down what it is told, and answers as a server with one table would."""

    def __init__(self, dialect: Any, there: Sequence[TableColumn] | None, keys: Sequence[frozenset[str]]) -> None:
        self.dialect, self._there, self._keys = dialect, there, list(keys)
        self.lines: list[str] = []
        # What the table has once it is made, or changed; and how many rows are staged.
        self.made: Sequence[TableColumn] = ()
        self.staged = 3
        self._ledger = False

    def failure(self, error: Exception) -> Exception | None:
        return None

    def _execute(self, sql: str) -> int:
        self._ledger = self._ledger or LEDGER in sql
        if sql.startswith(tuple(f"{verb} TABLE {self.dialect.table(TARGET)} " for verb in ("CREATE", "ALTER"))):
            self._there = self.made
        self.lines.append(f"{_steady(sql)};" if not sql.endswith(";") else _steady(sql))
        return 1 if sql.startswith("UPDATE") and LEDGER in sql else -1

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        self.lines.append(f"{_steady(sql)};")
        if LEDGER in sql or "HAVING" in sql:
            return []
        return [(1, 1_000_000)] if "min(" in sql else [(0,)] if "CASE WHEN" in sql else [(self.staged,)]

    def begin(self) -> None:
        self.lines.append("-- begin")

    def commit(self) -> None:
        self.lines.append("-- commit")

    def rollback(self) -> None:
        self.lines.append("-- roll back")

    def close(self) -> None:
        pass

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        if table.name == LEDGER:
            return (TableColumn("run_id", "", pa.string()),) if self._ledger else None
        return tuple(self._there) if self._there is not None else None

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        return []

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        return self._keys

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        self.lines.append(f"-- {batch.num_rows} rows into {self.dialect.table(table)}")

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        return tuple(self._there or ())

    def stream(self, *arguments: Any) -> Iterator[pa.RecordBatch]:
        yield from ()


def _steady(sql: str) -> str:
    """A statement without what is of one run and machine."""
    sql = re.sub(r"'\{\"host\".*?\}'", "'OWNER'", sql)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "MOMENT", sql)


def written(
    name: str,
    mode: str,
    schema: pa.Schema = SCHEMA,
    there: pa.Schema | None = None,
    keys: Sequence[frozenset[str]] = (),
    key: tuple[str, ...] = (),
    bundles: int = 1,
    **options: Any,
) -> list[str]:
    """What a run sends that writes three rows."""
    kind: Any = component("sink", "sql")
    sink = kind(kind.Connection(url=URLS[name]), kind.Options(table="sales.orders", **options))
    dialect = sink.dialect
    columns = None if there is None else [TableColumn(f.name, dialect.declared(f.type), f.type, f.name not in key) for f in there]
    session = Written(dialect, columns, keys)

    @contextmanager
    def connected() -> Iterator[Session]:
        yield session

    sink.connected = connected
    request = WriteRequest("run1", "out", schema, WriteMode(mode), key)
    session.made = new_table(dialect, TARGET, table_schema(sink.options, request), table_key(sink.options, request)).columns
    session.staged = 3 * bundles
    sink.plan_write(request)
    sink.prepare(request)
    receipts: list[Receipt] = []
    batch = pa.RecordBatch.from_arrays(
        [pa.nulls(3, f.type) if f.name not in (*key, "at") else _threes(f.type) for f in schema], schema=schema
    )
    for _ in range(bundles):
        writer = sink.open(request)
        assert writer.write(batch) is None
        receipts += writer.close()
    sink.commit(request, receipts)
    return session.lines


def _threes(kind: pa.DataType) -> pa.Array:
    return pa.array([1, 2, 3], pa.int64()).cast(kind)


def read(name: str) -> list[str]:
    """What a run sends that reads a table in ranges, and what is new of one."""
    kind: Any = component("source", "sql")
    source = kind(kind.Connection(url=URLS[name]), kind.Options(table="sales.orders", where="amount > 5"))
    columns = [TableColumn(f.name, "", f.type) for f in SCHEMA]
    session, relation = Written(source.dialect, columns, []), source.relation
    bounds = source.bounds(session, relation, "id", 3)
    lines = list(session.lines)
    parts = key_ranges(source.dialect.quoted("id"), bounds)
    lines += [f"{selecting(source.dialect, columns[:2], relation, ['amount > 5', each or '1 = 1'])};" for each in parts]
    known = {column.name: column for column in columns}
    floors = {"id": "7", "amount": "7.50", "day": "2025-01-01", "at": "2025-01-01 00:00:00", "seen": "2025-01-01 00:00:00+00"}
    for column, floor in floors.items():
        since = source._new(known, Since(column, known[column].type, floor, None, nulls=column == "id"))
        lines.append(f"-- what is new by {column}: {since or 'all is read, and compared here'}")
    query = Relation(query="select * from sales.orders where id = 1;")
    return [*lines, f"{selecting(source.dialect, columns[:2], query, [])};"]


def cases(name: str) -> dict[str, list[str]]:
    """Everything that is frozen, by what it does."""
    one = frozenset(["id"])
    unmarked = pa.schema([f for f in SHORT if f.name != "gone"])
    return {
        "append to a table that is not there": written(name, "append", bundles=2),
        "append to one that is there, with a new column": written(name, "append", there=pa.schema(list(SCHEMA)[:-1])),
        "overwrite": written(name, "overwrite", there=SCHEMA),
        "merge by the primary key": written(name, "merge", unmarked, unmarked, [one], ("id",)),
        "merge with last_by and delete_marker, in two bundles": written(
            name, "merge", SHORT, unmarked, [one], ("id",), 2, last_by="at", delete_marker="gone"
        ),
        "merge where nothing makes the key unique": written(name, "merge", unmarked, unmarked, (), ("id",)),
        "merge into a table that is not there": written(name, "merge", unmarked, None, (), ("id",)),
        "read": read(name),
        **modes(name),
    }


def modes(name: str) -> dict[str, list[str]]:
    """The modes that replace parts of a table, or keep its history."""
    unmarked = pa.schema([f for f in SHORT if f.name != "gone"])
    history = pa.schema(
        [*(f for f in unmarked if f.name != "at"), ("valid_from", TIMESTAMP), ("valid_to", TIMESTAMP), ("is_current", pa.bool_())]
    )
    previous = pa.schema([*unmarked, ("previous_name", pa.string())])
    one = frozenset(["id"])
    return {
        "delete_insert by key": written(name, "delete_insert", unmarked, unmarked, (), ("id",)),
        "delete_insert by a condition": written(name, "delete_insert", unmarked, unmarked, delete_where="id > 1"),
        "scd1": written(name, "scd1", unmarked, unmarked, [one], ("id",), effective_at="at"),
        "scd2": written(name, "scd2", unmarked, history, (), ("id",), effective_at="at"),
        "scd2 into a table that is not there": written(
            name, "scd2", SHORT, None, (), ("id",), effective_at="at", delete_marker="gone"
        ),
        "scd3": written(name, "scd3", unmarked, previous, [one], ("id",), effective_at="at", track=("name",)),
    }


@pytest.mark.parametrize("name", URLS)
def test_the_sql_of_a_database_is_what_was_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count=4: "0" * 2 * count)
    found = "\n\n".join("\n".join([f"-- {title}", *lines]) for title, lines in cases(name).items()) + "\n"
    path = FOLDER / f"{name}.sql"
    if os.environ.get("BEAM_DATAHUB_GOLDEN") == "update":
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")


def test_names_that_a_database_does_not_allow_are_refused_before_anything_runs() -> None:
    kind: Any = component("sink", "sql")
    for url in URLS.values():
        sink = kind(kind.Connection(url=url), kind.Options(table="t"))
        schema = pa.schema([("a" * 129, pa.int64())])
        with pytest.raises(Exception, match="longer than the 128 bytes"):
            sink.plan_write(WriteRequest("run1", "out", schema))
