"""PostgreSQL as a destination."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from beam_datahub.component.capabilities import SinkCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Session
from beam_datahub.component.database_sink import DATABASE_MODES, DatabaseSink, DatabaseWriteOptions
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Line
from beam_datahub.io.postgresql.checks import reached
from beam_datahub.io.postgresql.connection import PostgresqlConnection
from beam_datahub.io.postgresql.dialect import PostgresqlDialect


@register("sink", "postgresql", since="0.1.0")
class PostgresqlSink(DatabaseSink):
    """Writes a table of PostgreSQL: COPY into unlogged staging tables, then one transaction that publishes them all."""

    Connection: ClassVar[type[Config]] = PostgresqlConnection
    Options = DatabaseWriteOptions
    capabilities = SinkCapabilities(
        write_modes=DATABASE_MODES,
        rejects=True,
        erase=True,
        nested=False,
        types=(
            "BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB",
            "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL", "JSON", "VARCHAR[]", "BIGINT[]",
        ),
    )  # fmt: skip
    examples = (
        Example(
            "Upsert by key",
            {
                "connection": {"host": "db.example.com", "database": "shop", "user": "etl"},
                "table": "sales.orders",
                "write_mode": "merge",
                "key": ["id"],
            },
        ),
    )
    dialect = PostgresqlDialect()

    connection: PostgresqlConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        server, database = self.connection.where()
        target = self.target
        return (DatasetName(f"postgres://{server}", f"{database}.{target.schema or 'public'}.{target.name}"),)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)
