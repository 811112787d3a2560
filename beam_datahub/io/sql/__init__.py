"""Any database that SQLAlchemy has a dialect for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Session, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_sink import DATABASE_MODES, DatabaseSink
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Writer, WriteRequest
from beam_datahub.component.source import Line
from beam_datahub.io.sql.connection import SqlConnection, SqlDialect, dialect_of
from beam_datahub.io.sql.session import connected, reached
from beam_datahub.io.sql.writing import SqlWriteOptions, SqlWriter


@register("source", "sql", since="0.1.0")
class SqlSource(DatabaseSource):
    """Reads a table, view or query of any database that SQLAlchemy knows, through a cursor on the server's side."""

    Connection: ClassVar[type[Config]] = SqlConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range", lookup=True)
    examples = (Example("A table of SQL Server", {"connection": {"url": "mssql+pymssql://etl@db/shop"}, "table": "dbo.orders"}),)

    connection: SqlConnection

    @property
    def dialect(self) -> Dialect:  # type: ignore[override]
        """The SQL of the system behind the URL."""
        return dialect_of(self.connection)

    def connected(self) -> AbstractContextManager[Session]:
        return connected(self.connection)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection, self.relation.table)


@register("sink", "sql", since="0.1.0")
class SqlSink(DatabaseSink):
    """Writes a table of any database that SQLAlchemy knows, by inserts of many rows; merging removes and adds by key."""

    Connection: ClassVar[type[Config]] = SqlConnection
    Options = SqlWriteOptions
    capabilities = SinkCapabilities(
        write_modes=DATABASE_MODES,
        rejects=True,
        erase=True,
        nested=False,
        types=("SMALLINT", "BIGINT", "DOUBLE", "DECIMAL(12,2)", "VARCHAR", "BLOB", "DATE", "TIMESTAMP"),
    )
    examples = (
        Example(
            "Upsert by key", {"connection": {"url": "sqlite:///shop.db"}, "table": "orders", "write_mode": "merge", "key": ["id"]}
        ),
    )

    connection: SqlConnection
    options: SqlWriteOptions

    @property
    def dialect(self) -> SqlDialect:  # type: ignore[override]
        """The SQL of the system behind the URL."""
        return dialect_of(self.connection)

    def open(self, request: WriteRequest) -> Writer:
        asked = self.dialect.empty_is_null and self.options.empty_text == "reject"
        return SqlWriter(self, request) if asked else super().open(request)

    def connected(self) -> AbstractContextManager[Session]:
        return connected(self.connection)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection, self.target)


def _datasets(connection: SqlConnection, table: TableName | None) -> tuple[DatasetName, ...]:
    if table is None:
        return ()
    url = connection.full()
    host = f"{url.host}:{url.port}" if url.port else url.host or ""
    name = f"{url.database}.{table}" if url.database else str(table)
    return (DatasetName(f"{url.get_backend_name()}://{host}", name),)
