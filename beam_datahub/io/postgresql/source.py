"""PostgreSQL as a source."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, Session
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource, Range
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Line, ReadRequest
from beam_datahub.io.postgresql.checks import reached
from beam_datahub.io.postgresql.connection import PostgresqlConnection
from beam_datahub.io.postgresql.dialect import PostgresqlDialect
from beam_datahub.io.postgresql.session import PostgresqlSession

# Connections whose open transaction keeps a snapshot for splits, and how many of them are still to be read in this process.
_exporting: dict[str, tuple[Any, int]] = {}
_lock = threading.Lock()


@register("source", "postgresql", since="0.1.0")
class PostgresqlSource(DatabaseSource):
    """Reads a table, view or query of PostgreSQL through Arrow, in one consistent snapshot also where workers share the work."""

    Connection: ClassVar[type[Config]] = PostgresqlConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range", lookup=True)
    examples = (
        Example(
            "A table", {"connection": {"host": "db.example.com", "database": "shop", "user": "etl"}, "table": "sales.orders"}
        ),
        Example(
            "A query",
            {
                "connection": {"url": "postgresql://etl@db.example.com/shop"},
                "query": "select id, total from orders where total > 0",
            },
        ),
    )
    dialect = PostgresqlDialect()

    connection: PostgresqlConnection

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        table = self.relation.table
        if table is None:
            return ()
        server, database = self.connection.where()
        return (DatasetName(f"postgres://{server}", f"{database}.{table.schema or 'public'}.{table.name}"),)

    def reached(self, session: Session) -> Sequence[Line]:
        return reached(session)

    def ranges(self, request: ReadRequest) -> Sequence[Range]:
        found = super().ranges(request)
        if len(found) < 2:
            return found
        # A connection of its own: the snapshot lives as long as its transaction.
        holder = self.connection.open()
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = str(holder.fetch("SELECT pg_export_snapshot()")[0][0])
        with _lock:
            _exporting[snapshot] = (holder, len(found))
        return [Range(part.where, snapshot) for part in found]

    def bounds(self, session: Session, relation: Relation, key: str, count: int) -> Sequence[str]:
        if relation.table is not None:
            text = self.dialect.literal
            rows = session.fetch(
                "SELECT s.bound, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid "
                "JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_stats p ON p.schemaname = nspname AND p.tablename = relname "
                "AND p.attname = a.attname CROSS JOIN unnest(histogram_bounds::text::text[]) WITH ORDINALITY s (bound, place) "
                f"WHERE c.oid = to_regclass({text(self.dialect.table(relation.table))}) AND a.attname = {text(key)} "
                "ORDER BY s.place"
            )
            if len(rows) > count:
                places = [len(rows) * number // count for number in range(1, count)]
                return list(dict.fromkeys(f"{text(rows[place][0])}::{rows[place][1]}" for place in places))
        return super().bounds(session, relation, key, count)

    @contextmanager
    def reading(self, part: Range) -> Iterator[Session]:
        if part.snapshot is None:
            with self.connected() as session:
                yield session
            return
        try:
            with self.connected() as session:
                assert isinstance(session, PostgresqlSession)
                session.enter(part)
                yield session
                session.tell_arrow("COMMIT")
        finally:
            _release(part.snapshot)


def _release(snapshot: str) -> None:
    """Let go of a snapshot once this process has read all of its splits; those that others read end with the process."""
    with _lock:
        holder, left = _exporting.get(snapshot, (None, 0))
        if holder is None:
            return
        if left > 1:
            _exporting[snapshot] = (holder, left - 1)
            return
        del _exporting[snapshot]
    holder.close()


@atexit.register
def _release_all() -> None:
    for holder, _ in _exporting.values():
        holder.close()
