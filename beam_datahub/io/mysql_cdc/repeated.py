"""Events of the binary log that come again and again, told from their bytes: what the client makes of each costs more than rows.

A small transaction has four events, and only the first of a table tells anything new of it. What was not seen before, is not
whole in what has arrived, or is no event at all stays with the client.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from beam_datahub.component.change_events import CREATED, DELETED, UPDATED

# The length and number of a packet, a byte that says that it is an event, and the event's moment, type, server, length and end.
_HEADER = struct.Struct("<IBIBIIIH")
_MARIADB_GTID = struct.Struct("<QI")
_WHOLE_PACKET = 0xFFFFFF
_BYTES = 1 << 17
# The log's numbers of events: those that say nothing (the end of a transaction, the text of a statement), and those that do.
_SILENT = {16, 29, 34, 160}
_TABLE, _GTID = 19, 162
# By number: what rows mean, and whether more precedes them than the table.
_ROWS = {
    23: (CREATED, False), 24: (UPDATED, False), 25: (DELETED, False),
    30: (CREATED, True), 31: (UPDATED, True), 32: (DELETED, True),
}  # fmt: skip


@dataclass(slots=True)
class Began:
    """A transaction begins at a place of the log."""

    gtid: str | None
    start: int


@dataclass(slots=True)
class Rows:
    """Rows of one table in an event; `there` is the client's table, `is_whole` whether they have all of its columns."""

    kind: int
    table_id: int
    there: Any
    body: bytes
    is_whole: bool
    start: int
    end: int
    time: int
    server: int


def told(event: Any) -> Any:
    """An event of the client's in these words; those that have none here as they are."""
    from pymysqlreplication.event import GtidEvent, MariadbGtidEvent
    from pymysqlreplication.row_event import DeleteRowsEvent, RowsEvent, UpdateRowsEvent

    packet = event.packet
    start = packet.log_pos - packet.event_size
    if isinstance(event, (GtidEvent, MariadbGtidEvent)):
        return Began(event.gtid, start)
    if not isinstance(event, RowsEvent):
        return event
    kind = UPDATED if isinstance(event, UpdateRowsEvent) else DELETED if isinstance(event, DeleteRowsEvent) else CREATED
    there = event.table_map[event.table_id]
    bitmaps = [event.columns_present_bitmap] + ([event.columns_present_bitmap2] if kind == UPDATED else [])
    is_whole = all(sum(map(int.bit_count, bitmap)) >= len(there.columns) for bitmap in bitmaps)
    body = packet.read(event.event_size - packet.read_bytes)
    return Rows(kind, event.table_id, there, body, is_whole, start, packet.log_pos, packet.timestamp, packet.server_id)


def widened(connection: Any) -> Any:
    """A connection of the client's that takes more at once; it is not in the middle of anything."""
    connection._rfile.close()
    connection._rfile = connection._sock.makefile("rb", _BYTES)
    return connection


class Repeated:
    """Takes from a client's stream of events those that need no client."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._tables: Any = None
        self._seen: set[bytes] = set()
        self._next: bytes | None = None
        self._tail: int | None = None
        """How many bytes of each event are its checksum; None where that is not known yet."""

    def learn(self, event: Any) -> None:
        """See what the client made of the event behind those that were taken."""
        if self._stream.table_map is not self._tables:
            # The numbers of tables begin anew with a file that the server began when it started.
            self._tables = self._stream.table_map
            self._seen.clear()
        elif self._next is not None:
            self._seen.add(self._next)
        self._next = None
        packet = event.packet
        if packet.event_type == _TABLE:
            self._tail = packet.event_size - _HEADER.size + 5 - event.event_size

    def take(self, end: int | None) -> tuple[list[Began | Rows], bool]:
        """What has arrived up to the first event that the client must see; whether that reaches `end`, a place of this file."""
        tail = self._tail
        if tail is None:
            return [], False
        connection = self._stream._stream_connection
        data = connection._rfile.peek()
        found: list[Began | Rows] = []
        at, size, turn, unpack, position = 0, len(data), connection._next_seq_id, _HEADER.unpack_from, 0
        is_end = False
        while at + _HEADER.size <= size and not is_end:
            packet, state, time, kind, server, length, place, _ = unpack(data, at)
            stop = at + 5 + length
            if state or packet != (turn << 24) + length + 1 or length + 1 >= _WHOLE_PACKET or stop > size:
                break
            is_end = end is not None and place >= end
            if end is None or place <= end:
                body = at + _HEADER.size
                if kind == _TABLE:
                    self._next = data[body : stop - tail]
                    if self._next not in self._seen:
                        is_end = False
                        break
                    self._next = None
                elif kind in _ROWS:
                    table_id = int.from_bytes(data[body : body + 6], "little")
                    # Of tables that nobody asked for the client keeps nothing.
                    there = self._tables.get(table_id)
                    if there is not None:
                        meaning = _ROWS[kind][0]
                        first = _first_row(data, body, kind, len(there.columns))
                        if first is None:
                            is_end = False
                            break
                        rows = data[first : stop - tail]
                        found.append(Rows(meaning, table_id, there, rows, True, place - length, place, time, server))
                elif kind == _GTID:
                    number, domain = _MARIADB_GTID.unpack_from(data, body)
                    found.append(Began(f"{domain}-{server}-{number}", place - length))
                elif kind not in _SILENT:
                    is_end = False
                    break
            at, turn, position = stop, (turn + 1) % 256, place
        if at:
            connection._rfile.read(at)
            connection._next_seq_id = turn
            self._stream.log_pos = position
        return found, is_end


def _first_row(data: bytes, at: int, kind: int, columns: int) -> int | None:
    """Where the rows of an event begin that has all columns; None where the client must see it."""
    meaning, has_more = _ROWS[kind]
    # Behind flags, and what else a server may tell.
    at += 8 + (int.from_bytes(data[at + 8 : at + 10], "little") if has_more else 0)
    if columns > 250 or data[at] != columns:
        return None
    at, size, every = at + 1, (columns + 7) // 8, (1 << columns) - 1
    for _ in range(2 if meaning == UPDATED else 1):
        if int.from_bytes(data[at : at + size], "little") & every != every:
            return None
        at += size
    return at
