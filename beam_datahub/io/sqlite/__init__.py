"""SQLite: databases in one file, their values checked against the types that their columns declare."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Context, Decimal
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_file import make_folder
from beam_datahub.component.database_pool import pooled
from beam_datahub.component.database_rows import columns_of, python_rows
from beam_datahub.component.database_sink import DATABASE_MODES, DatabaseSink, DatabaseWriteOptions
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource
from beam_datahub.component.dataset import DatasetName, file_dataset
from beam_datahub.component.registry import register
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    InvalidValue,
    SourceMissing,
    TargetUnusable,
    Transient,
    UnreadableData,
)
from beam_datahub.io.sqlite.types import declared_type, stored_type

_BATCH_ROWS = 65_536
_SAMPLE_ROWS = 1000
# SQLite keeps numbers as 64-bit integers or doubles: these digits survive both.
_DOUBLE_DIGITS = 15


class SqliteConnection(Config):
    """A SQLite database."""

    path: str
    """Its file; a destination makes one that is not there."""

    lock_timeout_seconds: int = Field(default=30, gt=0)
    """How long to wait for others who write to the file."""

    def resolved(self, folder: str) -> SqliteConnection:
        """With the path as seen from the spec's folder."""
        return self.model_copy(update={"path": os.path.join(folder, self.path)})

    @contextmanager
    def connected(self, *, create: bool) -> Iterator[Session]:
        """A connection of the process's pool. Raises ConnectorError."""
        if not create and not os.path.exists(self.path):
            raise SourceMissing(f"there is no file '{self.path}'")
        with pooled((self, create), lambda: SqliteSession(self, writes=create), limit=8, wait_seconds=600) as session:
            yield session


class SqliteDialect(Dialect):
    """SQLite's SQL; a declared type says how the values of its column are to be read."""

    types: ClassVar[dict[str, str]] = {
        "BOOLEAN": "BOOLEAN",
        "TINYINT": "TINYINT",
        "SMALLINT": "SMALLINT",
        "INTEGER": "INTEGER",
        "BIGINT": "BIGINT",
        "UTINYINT": "SMALLINT",
        "USMALLINT": "INTEGER",
        "UINTEGER": "BIGINT",
        "UBIGINT": "TEXT_DECIMAL(20,0)",
        "FLOAT": "FLOAT",
        "DOUBLE": "DOUBLE",
        "VARCHAR": "TEXT",
        "BLOB": "BLOB",
        "DATE": "DATE",
        "TIME": "TIME",
        "TIMESTAMP": "TIMESTAMP",
        "TIMESTAMPTZ": "TIMESTAMPTZ",
        "INTERVAL": "TEXT_INTERVAL",
        "JSON": "JSON_TEXT",
    }
    true, false = "1", "0"

    def decimal(self, precision: int, scale: int) -> str:
        # As NUMERIC they would become doubles; text keeps all digits.
        return f"DECIMAL({precision},{scale})" if precision <= _DOUBLE_DIGITS else f"TEXT_DECIMAL({precision},{scale})"

    def widen_column(self, table: TableName, name: str, declared: str) -> str | None:
        return None

    def moment_as(self, text: str, declared: str) -> str:
        # Moments are texts; a cast to a type of which SQLite knows nothing would make a number of them.
        return self.literal(text)

    def same_number(self, column: TableColumn, value: Decimal) -> str:
        if not column.declared.upper().startswith("TEXT"):
            return super().same_number(column, value)
        # Decimals with many digits are texts with all of them.
        scale = getattr(column.type, "scale", 0)
        exact = value.quantize(Decimal(1).scaleb(-scale), context=Context(prec=76))
        return f"{self.quoted(column.name)} = {self.literal(f'{exact:f}')}" if exact == value else "1 = 0"

    def create_scratch(self, table: TableName, columns: Sequence[TableColumn], key: Sequence[str] = ()) -> list[str]:
        made = super().create_scratch(table, columns, key)
        index = TableName(f"{table.name}_key", table.schema)
        return [*made, f"CREATE INDEX {self.table(index)} ON {self.quoted(table.name)} ({self.names(key)})"] if key else made

    def delete_matching(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None = None) -> str:
        # Nothing else makes SQLite go from the few keys to the rows of the many by their index.
        met = "" if condition is None else f" WHERE {condition}"
        chosen = f"SELECT {self.names(key)} FROM {self.table(source)}{met}"
        return f"DELETE FROM {self.table(target)} WHERE ({self.names(key)}) IN ({chosen})"

    def orders(self, data_type: pa.DataType) -> bool:
        return bool(pa.types.is_integer(data_type))

    def asked(self, column: TableColumn) -> str:
        # Without an affinity of its own a column may keep 5 as well as '5', and both are read as what it was promised to be.
        text = column.type == pa.string()
        known = ("CHAR", "CLOB", "TEXT") if text else ("INT",)
        if any(word in column.declared.upper() for word in known):
            return self.quoted(column.name)
        return f"CAST({self.quoted(column.name)} AS {'TEXT' if text else 'INTEGER'})"

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        return super().having(keys) if len(keys) == 1 else self.rows_among(keys, "VALUES ")

    def literal(self, text: str) -> str:
        # A statement ends at a NUL.
        return super().literal(text) if "\0" not in text else f"CAST(X'{text.encode().hex()}' AS TEXT)"


class SqliteSession(Session):
    """A connection to a SQLite file."""

    dialect = SqliteDialect()

    def __init__(self, connection: SqliteConnection, *, writes: bool) -> None:
        with self.telling():
            # A batch may be read on another thread than it is asked for.
            self._connection = sqlite3.connect(
                connection.path, timeout=connection.lock_timeout_seconds, isolation_level=None, check_same_thread=False
            )
            self._connection.execute(f"PRAGMA foreign_keys = {int(writes)}")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if not writes:
                self._connection.execute("PRAGMA query_only = 1")

    def failure(self, error: Exception) -> Exception | None:
        if not isinstance(error, sqlite3.Error | OverflowError):
            return None
        said, name = str(error), getattr(error, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")) or isinstance(error, OverflowError):
            column = re.search(r"(?:NOT NULL|UNIQUE) constraint failed: [^.]+\.([^,]+)$", said)
            return RowsRefused(said, column[1] if column else None)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            hint = (
                "somebody else writes to it; a run that reads and writes one file needs it in WAL mode: PRAGMA journal_mode=WAL"
            )
            return Transient(said, hint=hint)
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return AccessDenied(said)
        if name.startswith("SQLITE_CANTOPEN"):
            return TargetUnusable(said, hint="does its folder exist, and may files be made there?")
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            return TargetUnusable(said)
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return UnreadableData(said)
        if "no such table" in said:
            return SourceMissing(said)
        if isinstance(error, sqlite3.OperationalError):
            return InvalidValue(said)
        return ConnectorError(said)

    def _execute(self, sql: str) -> int:
        return self._connection.execute(sql).rowcount

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def begin(self) -> None:
        # One that begins by reading could not be waited for when it goes on to write.
        self._execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        try:
            self._connection.close()
        except Exception:
            self.broken = True

    def interrupt(self) -> None:
        self._connection.interrupt()

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        schema = f"{self.dialect.quoted(table.schema)}." if table.schema else ""
        rows = self.fetch(f"PRAGMA {schema}table_xinfo({self.dialect.quoted(table.name)})")
        if not rows:
            return None
        keys = [row for row in rows if row[5]]
        found = []
        for _, name, declared, required, default, key, hidden in rows:
            # The one INTEGER PRIMARY KEY numbers its rows by itself.
            numbered = bool(key and len(keys) == 1 and declared.upper() == "INTEGER")
            kind = declared_type(declared) or pa.string()
            filled = default is not None or numbered
            found.append(TableColumn(name, declared, kind, not required, filled, hidden in (2, 3), declared))
        return tuple(found)

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        master = f"{self.dialect.quoted(beside.schema)}.sqlite_master" if beside.schema else "sqlite_master"
        length, text = len(prefix), self.dialect.literal(prefix)
        rows = self.fetch(f"SELECT name FROM {master} WHERE type = 'table' AND substr(name, 1, {length}) = {text}")
        return [beside.beside(name) for (name,) in rows]

    def listed(self, schema: str | None) -> list[TableName]:
        return [table for table in super().listed(schema) if not table.name.startswith("sqlite_")]

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        columns = self.fetch(f"PRAGMA table_xinfo({self.dialect.quoted(table.name)})")
        primary = frozenset(row[1] for row in columns if row[5])
        found = [primary] if primary else []
        for _, index, unique, _, partial in self.fetch(f"PRAGMA index_list({self.dialect.quoted(table.name)})"):
            names = [row[2] for row in self.fetch(f"PRAGMA index_info({self.dialect.quoted(index)})")]
            if unique and not partial and None not in names:
                found.append(frozenset(names))
        return found

    def checks(self, table: TableName) -> list[str]:
        import sqlglot
        from sqlglot import exp

        rows = self.fetch(f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = {self.dialect.literal(table.name)}")
        try:
            parsed = sqlglot.parse_one(rows[0][0], dialect="sqlite")
        except sqlglot.errors.SqlglotError:
            # They are still checked when the rows are published.
            return []
        found = parsed.find_all(exp.CheckColumnConstraint)
        return [check.this.sql(dialect="sqlite") for check in found]

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        names = self.dialect.names([column.name for column in columns])
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {self.dialect.table(table)} ({names}) VALUES ({marks})"
        rows = python_rows(batch)
        with self.telling(refused=None):
            self.begin()
            try:
                self._connection.executemany(statement, rows)
                self.commit()
            except BaseException:
                self.rollback()
                raise

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        with self.telling():
            # A view shows which columns of a query come straight from a table, with their declared types.
            # A statement that runs sees what others have changed of the tables; making a view does not.
            self._fetch(f"SELECT * FROM {relation.sql(self.dialect)} LIMIT 0")
            self._execute("PRAGMA query_only = 0")
            self._execute("DROP VIEW IF EXISTS temp.dh_described")
            self._execute(f"CREATE TEMP VIEW dh_described AS SELECT * FROM {relation.sql(self.dialect)}")
            try:
                facts = [(row[1], row[2] or "") for row in self._fetch("PRAGMA temp.table_info(dh_described)")]
            finally:
                self._execute("DROP VIEW temp.dh_described")
        found = {name: declared_type(declared) for name, declared in facts}
        unknown = [name for name, kind in found.items() if kind is None]
        if unknown:
            found |= self._sampled(relation, unknown)
        return tuple(TableColumn(name, declared, found[name] or pa.string(), detail=declared) for name, declared in facts)

    def _sampled(self, relation: Relation, names: Sequence[str]) -> dict[str, pa.DataType | None]:
        """The types of columns that declare none, by their first values."""
        items = ", ".join(f"group_concat(DISTINCT typeof({self.dialect.quoted(name)}))" for name in names)
        given = self.dialect.names(names)
        sql = f"SELECT {items} FROM (SELECT {given} FROM {relation.sql(self.dialect)} LIMIT {_SAMPLE_ROWS})"
        kinds = (set((each or "").split(",")) - {"null", ""} for each in self.fetch(sql)[0])
        return {name: stored_type(kind) for name, kind in zip(names, kinds, strict=True)}

    def size(self, relation: Relation) -> tuple[int | None, int | None]:
        if relation.table is None:
            return None, None
        # Statistics are there once somebody has run ANALYZE; the highest row number is an estimate, and quickly found.
        try:
            rows = self.fetch(f"SELECT max(rowid) FROM {relation.sql(self.dialect)}")
        except ConnectorError:
            return None, None
        except InvalidValue:
            return None, None
        return (rows[0][0] if isinstance(rows[0][0], int) else 0), None

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        names = self.dialect.names([column.name for column in columns])
        conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
        limited = f" LIMIT {limit}" if limit is not None else ""
        with self.telling(refused=UnreadableData):
            cursor = self._connection.execute(f"SELECT {names} FROM {relation.sql(self.dialect)}{conditions}{limited}")
            try:
                while rows := cursor.fetchmany(_BATCH_ROWS):
                    yield columns_of(rows, [(column.name, column.type) for column in columns])
            finally:
                cursor.close()

    def convert(self, column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        target = field.type
        if pa.types.is_decimal(target) and pa.types.is_floating(array.type):
            # What was written with so many digits is the nearest double: rounding gives it back.
            return fit_array(pc.round(array, target.scale).cast(pa.string()), target)
        if pa.types.is_boolean(target) and pa.types.is_integer(array.type):
            bad = pc.invert(pc.is_in(array, value_set=pa.array([0, 1, None], array.type)))
            found = pc.if_else(bad, pa.scalar(None, pa.bool_()), pc.equal(array, 1))
            return found, bad if pc.any(bad, min_count=0).as_py() else None
        return fit_array(array, target)


@register("source", "sqlite", since="0.1.0")
class SqliteSource(DatabaseSource):
    """Reads a table, view or query of a SQLite file; a value that is not what its column declares is rejected."""

    Connection: ClassVar[type[Config]] = SqliteConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range", lookup=True)
    examples = (Example("A table", {"connection": {"path": "shop.sqlite"}, "table": "orders"}),)
    dialect = SqliteDialect()

    connection: SqliteConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected(create=False)

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection.path, self.relation.table)


@register("sink", "sqlite", since="0.1.0")
class SqliteSink(DatabaseSink):
    """Writes a table of a SQLite file."""

    Connection: ClassVar[type[Config]] = SqliteConnection
    Options = DatabaseWriteOptions
    capabilities = SinkCapabilities(
        write_modes=DATABASE_MODES,
        rejects=True,
        erase=True,
        nested=False,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "BIGINT", "DOUBLE", "DECIMAL(12,2)", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR",
            "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON",
        ),
    )  # fmt: skip
    examples = (Example("Upsert by key", {"connection": {"path": "out/shop.sqlite"}, "table": "orders", "key": ["id"]}),)
    dialect = SqliteDialect()

    connection: SqliteConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected(create=True)

    @property
    def place(self) -> str:
        return f"{self.connection.path}: {self.target}"

    def prepare(self, request: WriteRequest) -> None:
        make_folder(self.connection.path)
        super().prepare(request)

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection.path, self.target)


def _datasets(path: str, table: TableName | None) -> tuple[DatasetName, ...]:
    found = file_dataset(path)
    return () if table is None else (DatasetName(found.namespace, f"{found.name}#{table}"),)
