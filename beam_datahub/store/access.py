"""How the store's parts read and write: one transaction a call, or one around several."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, func, select

from beam_datahub.store.database import understood
from beam_datahub.store.location import Location
from beam_datahub.store.tables import audit


class Reading:
    """Snapshots of the store: a reader sees one state of it, and neither waits for a writer nor holds one up."""

    def __init__(self, engine: Engine, location: Location) -> None:
        self._engine = engine
        self._location = location

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection to read by. Raises the store's errors."""
        with understood(self._location), self._engine.begin() as connection:
            yield connection


class Writing:
    """Transactions on the store. `who` is named in the audit."""

    def __init__(self, engine: Engine, location: Location, who: str) -> None:
        self._engine = engine
        self._location = location
        self._here = threading.local()
        self.who = who

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection to write by: all of it is kept at the end, nothing when it raises. One inside another joins it."""
        current: Connection | None = getattr(self._here, "connection", None)
        if current is not None:
            yield current
            return
        with understood(self._location), self._engine.begin() as connection:
            self._here.connection = connection
            try:
                yield connection
            finally:
                self._here.connection = None

    def audit(self, connection: Connection, action: str, kind: str, name: str, **details: Any) -> None:
        """Keep who did what to which thing."""
        entry = {"at": now(connection), "who": self.who, "action": action, "kind": kind, "name": name, "details": details}
        connection.execute(audit.insert().values(entry))

    def audit_alone(self, action: str, kind: str, name: str, **details: Any) -> None:
        """Keep who did what, in a transaction of its own."""
        with self.transaction() as connection:
            self.audit(connection, action, kind, name, **details)


def now(connection: Connection) -> datetime:
    """The time on the store's own clock: hosts that share a store may disagree about it."""
    if connection.dialect.name == "postgresql":
        return connection.execute(select(func.clock_timestamp())).scalar_one().astimezone(UTC)  # type: ignore[no-any-return]
    return datetime.now(UTC)


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT with the `on_conflict_…` of the connection's dialect, which are the same for both."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as of_postgresql

        return of_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as of_sqlite

    return of_sqlite(table)


def insert_new(connection: Connection, table: Table, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that are not there yet; how many they were."""
    statement = insert_into(connection, table).values(rows).on_conflict_do_nothing()
    return int(connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount)


def columns_of(table: Table, record: type[Any], **other: Any) -> list[Column[Any]]:
    """The columns that make up a record, in the order of its fields; `other` gives those of another place."""
    return [other[each.name] if each.name in other else table.c[each.name] for each in fields(record)]
