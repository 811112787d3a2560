"""Follows a table's changes without end: what was committed since the last look becomes one block, never half a transaction."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.change_events import ANEW, whole_table
from beam_datahub.component.source import Arrival, Block, Follower, ReadRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.postgresql_cdc import slot as slots
from beam_datahub.io.postgresql_cdc.messages import MessageReader
from beam_datahub.io.postgresql_cdc.position import Position, lsn_text

if TYPE_CHECKING:
    from beam_datahub.component.change_events import Changes
    from beam_datahub.io.postgresql_cdc.source import PostgresqlCdcSource

# Changes after which a look ends, between two transactions; and how often the server is asked for more.
_MOST = 50_000
_PAUSE_SECONDS = 0.1


class SlotFollower(Follower):
    """A table behind a position. It reads from a passing copy of the slot, which goes ahead; the slot itself stays until what was
    taken is published.
    """

    def __init__(self, source: PostgresqlCdcSource, position: str, request: ReadRequest) -> None:
        self._source, self._request, self._position = source, request, position
        self._options = source.options
        self._session = source.connection.open()
        self._reader, self._end = MessageReader(), 0
        self._copy: str | None = None
        try:
            self._table = slots.tables_of(self._session, self._options)[0]
            self._blocks = source.blocks(request)
            self._keys = source.keys(self._session, [str(self._table)])
            self._convert = source.converting(self._session, self._table)
        except BaseException:
            self._session.close()
            raise

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        if self._position == ANEW:
            return self._all()
        until = time.monotonic() + seconds
        if self._copy is None:
            self._open()
        while True:
            end = slots.here(self._session)
            if end > self._end:
                block, more = self._look(end)
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

    def _open(self) -> None:
        slot = self._source.waited_for(self._session)
        slots.go_on(self._session, slot, Position.parse(self._position))
        name = f"{self._options.slot[:50]}_{secrets.token_hex(4)}"
        text = self._session.dialect.literal
        self._rows(f"SELECT 1 FROM pg_copy_logical_replication_slot({text(self._options.slot)}, {text(name)}, true)")
        self._session.tell_arrow("SET client_encoding = 'UTF8'")
        self._copy, self._reader = name, MessageReader()

    def _rows(self, sql: str) -> list[pa.RecordBatch]:
        with self._session.telling(), self._session.arrow().cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetch_record_batch())

    def _look(self, end: int) -> tuple[Block | None, bool]:
        """What is there up to `end`, and whether there may be more."""
        text = self._session.dialect.literal
        publication = text(self._session.dialect.quoted(self._options.published_by))
        batches = self._rows(
            f"SELECT (lsn - '0/0')::int8, data FROM pg_logical_slot_get_binary_changes({text(self._copy or '')}, "
            f"{text(lsn_text(end))}, {_MOST}, 'proto_version', '1', 'publication_names', {publication})"
        )
        position = Position.parse(self._position)
        reading = replace(self._source.reading(end, {str(self._table): position}, self._request), keys=self._keys)
        parts: list[Changes] = []
        count = 0
        for number, batch in enumerate(batches):
            count += batch.num_rows
            for logged in self._reader.read(batch.column(0), batch.column(1)):
                changes = reading.changes(logged, self._session)
                if changes is not None:
                    assert changes.order is not None
                    parts.append(replace(changes, order=changes.order + (number << 40)))
        more = count >= _MOST
        # A look that ends early ends behind a commit.
        reached = min(end, self._reader.last_commit + 1) if more else end
        self._end = 0 if more else end
        self._position = str(position.moved(reached))
        return self._blocks.block(parts, self._convert), more

    def published(self, position: Any) -> None:
        if position != ANEW:
            slot = slots.slot_of(self._session, self._options.slot)
            if slot is not None and slot.confirmed < Position.parse(position).lsn:
                slots.go_on(self._session, slot, Position.parse(position))

    def close(self) -> None:
        with suppress(DataHubError):
            self._session.close()
