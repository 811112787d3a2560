"""Follows a collection's changes without end: what has come since the last look becomes one block, never half a transaction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from beam_datahub.component.change_events import ANEW, whole_table
from beam_datahub.component.source import Arrival, Follower, ReadRequest
from beam_datahub.io.mongodb_cdc.log import EventReader, decoded
from beam_datahub.io.mongodb_cdc.position import Position
from beam_datahub.io.mongodb_cdc.server import Watching, unconfirmed

if TYPE_CHECKING:
    from beam_datahub.io.mongodb_cdc.source import MongodbCdcSource


class StreamFollower(Follower):
    """A collection behind a position; nothing at the server tells how far it was read."""

    def __init__(self, source: MongodbCdcSource, position: str, request: ReadRequest) -> None:
        self._source, self._request, self._position = source, request, position
        self._name = str(source.options.collection)
        self._blocks = source.blocks(request)
        self._watching: Watching | None = None
        self._reader: EventReader | None = None
        self._next: tuple[dict[str, Any], str | None, int] | None = None

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        if self._position == ANEW:
            found = whole_table(self._source, self._request, self._name)
            self._position = str(found.position)
            return found
        until = time.monotonic() + seconds
        if self._watching is None or self._reader is None:
            start = Position.parse(self._position)
            self._watching = self._source.watching([self._name], start)
            self._reader = self._source.reader({self._name: start}, self._blocks)
        watching, reader = self._watching, self._reader
        last: Position | None = None
        if self._next is not None:
            last = Position.of(self._next[0]["clusterTime"])
            reader.take(*self._next)
            self._next = None
        while True:
            raw = watching.next()
            if raw is not None:
                event, wrong = decoded(raw)
                moment = Position.of(event["clusterTime"])
                if last is not None and moment > last and (reader.size >= batch_bytes or time.monotonic() >= until):
                    # What comes next is of another moment: the block ends between two transactions.
                    self._next = (event, wrong, len(raw))
                    return self._arrival(last, 1)
                reader.take(event, wrong, len(raw))
                last = moment
            elif watching.reached is not None:
                reached = max(watching.reached, Position.parse(self._position))
                if last is not None and reached < last:
                    # Other shards have not come as far.
                    if time.monotonic() > until + self._source.connection.timeout_seconds:
                        raise unconfirmed(last)
                elif reader.count or time.monotonic() >= until:
                    return self._arrival(reached, 0)

    def _arrival(self, reached: Position, behind: int) -> Arrival:
        assert self._reader is not None
        self._position = str(reached)
        changes, convert = self._reader.changes()
        return Arrival(self._blocks.block(changes, convert), self._position, behind)

    def published(self, position: Any) -> None:
        return None

    def close(self) -> None:
        if self._watching is not None:
            self._watching.close()
