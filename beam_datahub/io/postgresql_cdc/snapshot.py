"""Snapshots that the tables of a source are first read in, and what of the log they have seen already."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass

from beam_datahub.io.postgresql.connection import PostgresqlConnection
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql_cdc.slot import Slot

# Connections whose open transaction keeps a snapshot, and how many tables are still to be read in this process.
_exporting: dict[str, tuple[PostgresqlSession, int]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot. It has `seen` the transactions that the server's own text of it says, which all end before `until`;
    `lsn` is a place before all changes that it has not seen, `time` its moment in microseconds since 1970.
    """

    name: str
    seen: str
    until: int
    lsn: int
    time: int


def taken(connection: PostgresqlConnection, slot: Slot, readers: int) -> Snapshot:
    """A snapshot that stays until so many readers have released it. Raises ConnectorError."""
    holder = connection.open()
    try:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        name, seen, moment = holder.fetch(
            "SELECT pg_export_snapshot(), pg_current_snapshot()::text, (extract(epoch FROM now()) * 1000000)::int8"
        )[0]
        until = holder.fetch(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END "
            "- '0/0')::int8"
        )[0][0]
    except BaseException:
        holder.close()
        raise
    with _lock:
        _exporting[name] = (holder, readers)
    return Snapshot(name, seen, until, slot.restart, moment)


def released(name: str) -> None:
    """Let go of a snapshot once this process has read all of its tables; those that others read end with the process."""
    with _lock:
        holder, left = _exporting.get(name, (None, 0))
        if holder is None:
            return
        if left > 1:
            _exporting[name] = (holder, left - 1)
            return
        del _exporting[name]
    holder.close()


@atexit.register
def _release_all() -> None:
    for holder, _ in _exporting.values():
        holder.close()
