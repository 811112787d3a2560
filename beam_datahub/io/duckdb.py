"""DuckDB: databases in one file, read and written through Arrow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import duckdb
import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_file import make_folder
from beam_datahub.component.database_pool import close_pool, pooled
from beam_datahub.component.database_sink import DATABASE_MODES, DatabaseSink, DatabaseWriteOptions
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource
from beam_datahub.component.dataset import DatasetName, file_dataset
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, WriteRequest
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    InvalidValue,
    SourceMissing,
    TargetUnusable,
    Transient,
    UnreadableData,
)
from beam_datahub.kernels.session import rebased
from beam_datahub.kernels.types import from_duckdb, sql_type

_BATCH_ROWS = 122_880


class DuckdbConnection(Config):
    """A DuckDB database."""

    path: str
    """Its file; a destination makes one that is not there."""

    def resolved(self, folder: str) -> DuckdbConnection:
        """With the path as seen from the spec's folder."""
        return self.model_copy(update={"path": os.path.join(folder, self.path)})

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A connection that only reads, as others may at the same time. Raises ConnectorError."""
        if not os.path.exists(self.path):
            raise SourceMissing(f"there is no file '{self.path}'")
        try:
            session = DuckdbSession(self.path, read_only=True)
        except Transient:
            # This process writes to it: then its connections must all be of that kind.
            session = DuckdbSession(self.path, read_only=False)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A connection that writes; it is kept until `release`, as the file is one process's. Raises ConnectorError."""
        with pooled(self, lambda: DuckdbSession(self.path, read_only=False), limit=8, wait_seconds=600) as session:
            yield session

    def release(self) -> None:
        """Leave the file to others."""
        close_pool(self)


class DuckdbDialect(Dialect):
    """DuckDB's SQL."""

    def declared(self, data_type: pa.DataType) -> str:
        return sql_type(data_type)

    def as_text(self, value: str) -> str:
        return f"CAST({value} AS VARCHAR)"

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        # One text a column: thousands of literals would take longer to parse than to find.
        lists = (f"from_json({self.literal(json.dumps(texts))}, '[\"VARCHAR\"]')" for _, texts in keys)
        values = (f"CAST(unnest({each}) AS {sql_type(column.type)})" for (column, _), each in zip(keys, lists, strict=True))
        return f"({', '.join(self.asked(column) for column, _ in keys)}) IN (SELECT {', '.join(values)})"

    def asked(self, column: TableColumn) -> str:
        name = self.quoted(column.name)
        return f"CAST({name} AS VARCHAR)" if column.type == pa.string() and column.declared != "VARCHAR" else name


class DuckdbSession(Session):
    """A connection to a DuckDB file."""

    dialect = DuckdbDialect()

    def __init__(self, path: str, *, read_only: bool) -> None:
        with self.telling():
            self._connection = duckdb.connect(path, read_only=read_only, config={"python_enable_replacements": "false"})
            self._connection.execute("SET TimeZone='UTC'; SET enable_progress_bar=false")

    def failure(self, error: Exception) -> Exception | None:
        if not isinstance(error, duckdb.Error):
            return None
        text = str(error)
        said = text.partition(": ")[2].split("\n")[0] or text
        if isinstance(error, duckdb.ConversionException | duckdb.ConstraintException | duckdb.OutOfRangeException):
            return RowsRefused(said)
        if isinstance(error, duckdb.CatalogException):
            return SourceMissing(said)
        if isinstance(error, duckdb.ParserException | duckdb.BinderException):
            return InvalidValue(said)
        if isinstance(error, duckdb.PermissionException) or "Permission denied" in text:
            return AccessDenied(said)
        if "lock" in text or isinstance(error, duckdb.TransactionException | duckdb.ConnectionException):
            return Transient(said, hint="another process has the file open; DuckDB lets only one write")
        if "not a valid DuckDB database" in text or isinstance(error, duckdb.SerializationException):
            return UnreadableData(said)
        return ConnectorError(said)

    def _execute(self, sql: str) -> int:
        found = self._connection.execute(sql)
        if not sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            return -1
        row = found.fetchone()
        return int(row[0]) if row else -1

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        try:
            self._connection.close()
        except Exception:
            self.broken = True

    def interrupt(self) -> None:
        self._connection.interrupt()

    def _where(self, table: TableName) -> str:
        schema = "current_schema()" if table.schema is None else self.dialect.literal(table.schema)
        return (
            f"database_name = current_database() AND schema_name = {schema} AND table_name = {self.dialect.literal(table.name)}"
        )

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        facts = self.fetch(
            "SELECT column_name, data_type, is_nullable, column_default IS NOT NULL FROM duckdb_columns() "
            f"WHERE {self._where(table)} ORDER BY column_index"
        )
        if not facts:
            return None
        types = {column.name: column.type for column in self.describe(Relation(table=table))}
        return tuple(TableColumn(name, declared, types[name], nullable, filled) for name, declared, nullable, filled in facts)

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        where = self._where(beside).rpartition(" AND ")[0]
        rows = self.fetch(
            f"SELECT table_name FROM duckdb_tables() WHERE {where} AND starts_with(table_name, {self.dialect.literal(prefix)})"
        )
        return [beside.beside(name) for (name,) in rows]

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        rows = self.fetch(
            f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {self._where(table)} "
            "AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') ORDER BY constraint_type"
        )
        return [frozenset(names) for (names,) in rows]

    def checks(self, table: TableName) -> list[str]:
        rows = self.fetch(f"SELECT expression FROM duckdb_constraints() WHERE {self._where(table)} AND constraint_type = 'CHECK'")
        return [text for (text,) in rows]

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        names = self.dialect.names([column.name for column in columns])
        with self.telling(refused=None):
            self._connection.register("dh_given", pa.Table.from_batches([rebased(batch)]))
            try:
                self._connection.execute(f"INSERT INTO {self.dialect.table(table)} ({names}) SELECT * FROM dh_given")
            finally:
                self._connection.unregister("dh_given")

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        with self.telling():
            found = self._connection.sql(f"SELECT * FROM {relation.sql(self.dialect)} LIMIT 0")
            return tuple(
                TableColumn(name, str(kind), from_duckdb(kind)) for name, kind in zip(found.columns, found.types, strict=True)
            )

    def size(self, relation: Relation) -> tuple[int | None, int | None]:
        if relation.table is None:
            return None, None
        rows = self.fetch(f"SELECT estimated_size FROM duckdb_tables() WHERE {self._where(relation.table)}")
        return (int(rows[0][0]), None) if rows else (None, None)

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        items = ", ".join(self._item(column) for column in columns)
        conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
        limited = f" LIMIT {limit}" if limit is not None else ""
        with self.telling(refused=UnreadableData):
            found = self._connection.sql(f"SELECT {items} FROM {relation.sql(self.dialect)}{conditions}{limited}")
            yield from found.to_arrow_reader(_BATCH_ROWS)

    def _item(self, column: TableColumn) -> str:
        name = self.dialect.quoted(column.name)
        # What has no type of its own outside of DuckDB becomes text there.
        return f"CAST({name} AS VARCHAR) AS {name}" if column.type == pa.string() and column.declared != "VARCHAR" else name


@register("source", "duckdb", since="0.1.0")
class DuckdbSource(DatabaseSource):
    """Reads a table, view or query of a DuckDB file."""

    Connection: ClassVar[type[Config]] = DuckdbConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, lookup=True)
    examples = (Example("A query", {"connection": {"path": "shop.duckdb"}, "query": "select id, total from orders"}),)
    dialect = DuckdbDialect()

    connection: DuckdbConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.reading()

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection.path, self.relation.table)


@register("sink", "duckdb", since="0.1.0")
class DuckdbSink(DatabaseSink):
    """Writes a table of a DuckDB file; the engine's workers must be one process, as DuckDB lets no other one write."""

    Connection: ClassVar[type[Config]] = DuckdbConnection
    Options = DatabaseWriteOptions
    capabilities = SinkCapabilities(
        write_modes=DATABASE_MODES,
        rejects=True,
        erase=True,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
            "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ",
            "INTERVAL", "JSON", "VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)",
        ),
    )  # fmt: skip
    examples = (
        Example("Replace a table", {"connection": {"path": "out/shop.duckdb"}, "table": "orders", "write_mode": "overwrite"}),
    )
    dialect = DuckdbDialect()

    connection: DuckdbConnection

    def connected(self) -> AbstractContextManager[Session]:
        folder = os.path.dirname(self.connection.path)
        if folder and not os.path.isdir(folder):
            raise TargetUnusable(f"there is no folder '{folder}'", hint="a run makes it")
        return self.connection.writing()

    @property
    def place(self) -> str:
        return f"{self.connection.path}: {self.target}"

    def prepare(self, request: WriteRequest) -> None:
        make_folder(self.connection.path)
        super().prepare(request)

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection.path, self.target)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        done = super().commit(request, receipts)
        self.connection.release()
        return done

    def abort(self, request: WriteRequest) -> None:
        super().abort(request)
        self.connection.release()

    def erase(self, request: WriteRequest, subject: Subject) -> Held:
        try:
            return super().erase(request, subject)
        finally:
            self.connection.release()


def _datasets(path: str, table: TableName | None) -> tuple[DatasetName, ...]:
    found = file_dataset(path)
    return () if table is None else (DatasetName(found.namespace, f"{found.name}#{table}"),)
