"""Named connections; their secrets are sealed before they come here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import delete, select, update

from beam_datahub.errors import Conflict, UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, insert_new, now
from beam_datahub.store.records import Connection
from beam_datahub.store.tables import connections

_COLUMNS = columns_of(connections, Connection)


class ConnectionReader:
    """Reads named connections."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def all(self) -> list[Connection]:
        """All named connections, by name."""
        with self._reading.snapshot() as connection:
            return [Connection(*row) for row in connection.execute(select(*_COLUMNS).order_by(connections.c.name))]

    def get(self, name: str) -> Connection:
        """The connection of a name. Raises UnknownName."""
        with self._reading.snapshot() as connection:
            return _found(connection, name)


class ConnectionWriter:
    """Keeps named connections."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def put(self, new: Connection, *, replace: bool = False) -> Connection:
        """Keep a connection under its name. Raises Conflict where the name is taken and `replace` is not given."""
        with self._writing.transaction() as connection:
            moment = now(connection)
            told = {
                "connector": new.connector,
                "options": dict(new.options),
                "sealed": dict(new.sealed),
                "description": new.description,
                "updated_at": moment,
                "updated_by": self._writing.who,
            }
            untested: dict[str, Any] = {"tested_at": None, "test_passed": None, "test_message": None}
            if insert_new(connection, connections, {"name": new.name, "created_at": moment, **told}) != 1:
                if not replace:
                    raise Conflict(f"there is a connection '{new.name}' already", hint="give --replace to change it")
                connection.execute(update(connections).where(connections.c.name == new.name).values(**told, **untested))
            options = sorted({*new.options, *new.sealed})
            self._writing.audit(connection, "put", "connection", new.name, connector=new.connector, options=options)
            return _found(connection, new.name)

    def reseal(self, name: str, sealed: Mapping[str, str]) -> None:
        """Put other sealed texts of the same secrets in place, after a change of key. Raises UnknownName."""
        with self._writing.transaction() as connection:
            _found(connection, name)
            connection.execute(update(connections).where(connections.c.name == name).values(sealed=dict(sealed)))
            self._writing.audit(connection, "reseal", "connection", name)

    def tested(self, name: str, *, passed: bool, message: str | None) -> None:
        """Keep how a test of a connection went. Raises UnknownName."""
        with self._writing.transaction() as connection:
            _found(connection, name)
            told = {"tested_at": now(connection), "test_passed": passed, "test_message": message}
            connection.execute(update(connections).where(connections.c.name == name).values(told))

    def remove(self, name: str) -> None:
        """Forget a connection and its secrets. Raises UnknownName."""
        with self._writing.transaction() as connection:
            _found(connection, name)
            connection.execute(delete(connections).where(connections.c.name == name))
            self._writing.audit(connection, "remove", "connection", name)


def _found(connection: DatabaseConnection, name: str) -> Connection:
    row = connection.execute(select(*_COLUMNS).where(connections.c.name == name)).one_or_none()
    if row is None:
        raise UnknownName("connection", name, connection.execute(select(connections.c.name)).scalars())
    return Connection(*row)
