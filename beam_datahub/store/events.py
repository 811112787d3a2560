"""The outbox of the hub's own events: written together with what they tell of, taken out once they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update

from beam_datahub.errors import UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, now
from beam_datahub.store.records import HubEvent
from beam_datahub.store.tables import events

_COLUMNS = columns_of(events, HubEvent)
# How long those that were sent are kept for people to look at.
_KEPT = timedelta(days=7)


class EventReader:
    """Reads the outbox."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def waiting(self, limit: int) -> list[HubEvent]:
        """The oldest events that were not sent."""
        query = select(*_COLUMNS).where(events.c.sent_at.is_(None)).order_by(events.c.id).limit(limit)
        with self._reading.snapshot() as connection:
            return [HubEvent(*row) for row in connection.execute(query)]

    def find(self, *, kind: str | None = None, is_waiting: bool = False, limit: int | None = None) -> list[HubEvent]:
        """Events, the newest first."""
        query = select(*_COLUMNS).order_by(events.c.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(events.c.type == kind)
        if is_waiting:
            query = query.where(events.c.sent_at.is_(None))
        with self._reading.snapshot() as connection:
            return [HubEvent(*row) for row in connection.execute(query)]

    def get(self, event_id: str) -> HubEvent:
        """The event of an id, or of the beginning of one. Raises UnknownName."""
        query = select(*_COLUMNS).where(events.c.event_id.startswith(event_id, autoescape=True)).order_by(events.c.id).limit(2)
        with self._reading.snapshot() as connection:
            found = [HubEvent(*row) for row in connection.execute(query)]
        if len(found) != 1:
            raise UnknownName("event", event_id, [each.event_id for each in found])
        return found[0]


class EventWriter:
    """Fills and empties the outbox."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def add(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Put events in, by their documents; they must hold no secret."""
        with self._writing.transaction() as connection:
            moment = now(connection)
            rows = [
                {"event_id": each["id"], "type": each["type"], "document": dict(each), "created_at": moment} for each in found
            ]
            if rows:
                connection.execute(events.insert(), rows)

    def sent(self, event_ids: Sequence[str]) -> None:
        """Note that events were sent; those that were sent long ago go."""
        with self._writing.transaction() as connection:
            moment = now(connection)
            connection.execute(update(events).where(events.c.event_id.in_(event_ids)).values(sent_at=moment))
            connection.execute(delete(events).where(events.c.sent_at < moment - _KEPT))
