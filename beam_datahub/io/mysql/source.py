"""MySQL as a source."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import ClassVar

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, Session, TableName
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Line
from beam_datahub.io.mysql.checks import reached
from beam_datahub.io.mysql.connection import MysqlConnection
from beam_datahub.io.mysql.dialect import MysqlDialect


@register("source", "mysql", since="0.1.0")
class MysqlSource(DatabaseSource):
    """Reads a table, view or query of MySQL or MariaDB; each range of the key is one consistent read."""

    Connection: ClassVar[type[Config]] = MysqlConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range", lookup=True)
    examples = (
        Example("A table", {"connection": {"host": "db.example.com", "database": "shop", "user": "etl"}, "table": "orders"}),
        Example(
            "A query",
            {"connection": {"url": "mysql://etl@db.example.com/shop"}, "query": "select id, total from orders where total > 0"},
        ),
    )
    dialect = MysqlDialect()

    connection: MysqlConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        return datasets(self.connection, self.relation.table)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)

    def bounds(self, session: Session, relation: Relation, key: str, count: int) -> Sequence[str]:
        name = self.dialect.quoted(key)
        low, high = session.fetch(f"SELECT min({name}), max({name}) FROM {relation.sql(self.dialect)}")[0]
        if isinstance(low, date) and isinstance(high, date):
            width = (high - low) / count
            found = (low + width * number for number in range(1, count))
            kept = dict.fromkeys(each.isoformat(" ") if isinstance(each, datetime) else each.isoformat() for each in found)
            return [self.dialect.literal(each) for each in kept]
        return super().bounds(session, relation, key, count)


def datasets(connection: MysqlConnection, table: TableName | None) -> tuple[DatasetName, ...]:
    """The table as catalogues name it."""
    server, database = connection.where()
    return () if table is None else (DatasetName(f"mysql://{server}", f"{table.schema or database}.{table.name}"),)
