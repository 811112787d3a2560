"""Follows a table's changes without end: what was committed since the last look becomes one block, never half a transaction."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beam_datahub.component.change_events import ANEW, whole_table
from beam_datahub.component.source import Arrival, Block, Follower, ReadRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.mysql_cdc import server
from beam_datahub.io.mysql_cdc.position import Position

if TYPE_CHECKING:
    from beam_datahub.component.change_events import Changes
    from beam_datahub.io.mysql_cdc.source import MysqlCdcSource

_PAUSE_SECONDS = 0.2


class LogFollower(Follower):
    """A table behind a position; nothing at the server tells how far it was read."""

    def __init__(self, source: MysqlCdcSource, position: str, request: ReadRequest) -> None:
        self._source, self._request, self._position = source, request, position
        self._session = source.connection.open()
        try:
            self._table = server.tables_of(self._session, source.options)[0]
            self._blocks = source.blocks(request)
            self._convert = source.converting(self._session, self._table)
        except BaseException:
            self._session.close()
            raise

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        if self._position == ANEW:
            return self._all()
        until = time.monotonic() + seconds
        while True:
            end = server.here(self._session)
            if end.place != Position.parse(self._position).place:
                block, more = self._look(end, batch_bytes)
                if block is not None or more:
                    return Arrival(block, self._position, int(more))
            if time.monotonic() >= until:
                return Arrival(None, self._position, 0)
            time.sleep(min(_PAUSE_SECONDS, max(0.0, until - time.monotonic())))

    def _all(self) -> Arrival:
        """The table as it is, as one block."""
        found = whole_table(self._source, self._request, str(self._table))
        self._position = str(found.position)
        return found

    def _look(self, end: Position, batch_bytes: int) -> tuple[Block | None, bool]:
        """What is there up to `end`, and whether there is more than was taken."""
        start = Position.parse(self._position)
        parts: list[Changes] = []
        reached: Position | None = None
        mariadb = server.is_mariadb(self._session)
        for number, (group, place) in enumerate(self._source.looks({self._table: start}, end, batch_bytes)):
            parts += [replace(each, order=each.order + (number << 52)) for each in group if each.order is not None]
            if place is not None and mariadb:
                reached = server.with_gtid(self._session, place)
                break
        self._position = str(reached or end)
        return self._blocks.block(parts, self._convert), reached is not None

    def published(self, position: Any) -> None:
        return None

    def close(self) -> None:
        with suppress(DataHubError):
            self._session.close()
