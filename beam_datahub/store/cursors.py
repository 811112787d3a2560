"""Cursors: how far incremental sources have been read."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from beam_datahub.errors import Conflict
from beam_datahub.store.access import Reading, Writing, columns_of, insert_new, now
from beam_datahub.store.records import Cursor
from beam_datahub.store.tables import cursors

_COLUMNS = columns_of(cursors, Cursor)


class CursorReader:
    """Reads cursors."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def find(self, integration: str | None = None, source: str | None = None) -> list[Cursor]:
        """The cursors of an integration and source, by source and partition."""
        query = select(*_COLUMNS).order_by(cursors.c.integration, cursors.c.source, cursors.c.partition)
        if integration is not None:
            query = query.where(cursors.c.integration == integration)
        if source is not None:
            query = query.where(cursors.c.source == source)
        with self._reading.snapshot() as connection:
            return [Cursor(*row) for row in connection.execute(query)]

    def get(self, integration: str, source: str, partition: str = "") -> Cursor | None:
        """The cursor of one partition of a source; None where nothing was read yet."""
        of_it = (cursors.c.integration == integration, cursors.c.source == source, cursors.c.partition == partition)
        with self._reading.snapshot() as connection:
            row = connection.execute(select(*_COLUMNS).where(*of_it)).one_or_none()
            return Cursor(*row) if row is not None else None


class CursorWriter:
    """Moves cursors."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def move(self, cursor: Cursor) -> Cursor:
        """Set a cursor that was at `cursor.revision` (0: there was none); the cursor with its new revision.

        Raises Conflict where another run has moved it since: two runs must not skip each other's records.
        """
        with self._writing.transaction() as connection:
            moment = now(connection)
            row = {**cursor.__dict__, "revision": cursor.revision + 1, "updated_at": moment}
            if cursor.revision == 0:
                moved = insert_new(connection, cursors, row)
            else:
                of_it = (
                    cursors.c.integration == cursor.integration,
                    cursors.c.source == cursor.source,
                    cursors.c.partition == cursor.partition,
                    cursors.c.revision == cursor.revision,
                )
                moved = connection.execute(update(cursors).where(*of_it).values(row)).rowcount
            if moved != 1:
                part = f", partition '{cursor.partition}'," if cursor.partition else ""
                raise Conflict(
                    f"the cursor of '{cursor.source}'{part} of '{cursor.integration}' was moved by another run",
                    hint="let one run of an integration end before the next one begins",
                )
            if cursor.run_id is None:
                self._writing.audit(connection, "set", "cursor", cursor.integration, source=cursor.source, value=cursor.value)
            return Cursor(**row)

    def reset(self, integration: str, source: str | None = None) -> int:
        """Forget the cursors of an integration (or of one source), so that the next run reads all; how many there were."""
        query = delete(cursors).where(cursors.c.integration == integration)
        if source is not None:
            query = query.where(cursors.c.source == source)
        with self._writing.transaction() as connection:
            count = connection.execute(query).rowcount
            self._writing.audit(connection, "reset", "cursor", integration, source=source, cursors=count)
            return count
