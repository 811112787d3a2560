"""MySQL as a destination."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Session
from beam_datahub.component.database_shape import Shape
from beam_datahub.component.database_sink import DATABASE_MODES, DatabaseSink, DatabaseWriteOptions
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import let_go
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, Writer, WriteRequest
from beam_datahub.component.source import Line
from beam_datahub.errors import TargetUnusable
from beam_datahub.io.mysql.checks import reached
from beam_datahub.io.mysql.connection import MysqlConnection
from beam_datahub.io.mysql.dialect import MysqlDialect
from beam_datahub.io.mysql.packed import PackedWriter
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql.source import datasets


@register("sink", "mysql", since="0.1.0")
class MysqlSink(DatabaseSink):
    """Writes a table of MySQL or MariaDB: LOAD DATA into staging tables, then one transaction that publishes them all."""

    Connection: ClassVar[type[Config]] = MysqlConnection
    Options = DatabaseWriteOptions
    capabilities = SinkCapabilities(
        write_modes=DATABASE_MODES,
        rejects=True,
        erase=True,
        nested=False,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
            "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON",
        ),
    )  # fmt: skip
    examples = (
        Example(
            "Upsert by key",
            {
                "connection": {"host": "db.example.com", "database": "shop", "user": "etl"},
                "table": "orders",
                "write_mode": "merge",
                "key": ["id"],
            },
        ),
    )
    dialect = MysqlDialect()

    connection: MysqlConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        return datasets(self.connection, self.target)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)

    def open(self, request: WriteRequest) -> Writer:
        if request.mode in (WriteMode.APPEND, WriteMode.OVERWRITE):
            return PackedWriter(self, request)
        return super().open(request)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        found = super().commit(request, receipts)
        for receipt in receipts:
            let_go(receipt.location)
        return found

    def refuse(self, session: Session, request: WriteRequest, shape: Shape) -> None:
        super().refuse(session, request, shape)
        assert isinstance(session, MysqlSession)
        if not session.keeps_transactions(self.target):
            hint = f"ALTER TABLE {self.dialect.table(self.target)} ENGINE=InnoDB"
            raise TargetUnusable(f"the engine of '{self.target}' keeps no transactions: a run could not be taken back", hint=hint)
