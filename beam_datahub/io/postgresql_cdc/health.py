"""What a person should know of tables and slots before it matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beam_datahub.component.database import TableName
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql_cdc import slot as slots


def identities(session: PostgresqlSession, tables: Sequence[TableName]) -> Iterator[tuple[str, bool, str]]:
    """What the log does not tell of some tables."""
    for table in tables:
        literal = session.dialect.literal(session.dialect.table(table))
        identity, key, large = session.fetch(
            "SELECT relreplident, EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary), EXISTS (SELECT 1 FROM "
            "pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attstorage <> 'p' AND attlen = -1 AND "
            f"atttypid <> 'numeric'::regtype) FROM pg_class c WHERE c.oid = to_regclass({literal})"
        )[0]
        if identity == "n" or (identity == "d" and not key):
            yield str(table), False, f"the log does not tell which rows change: ALTER TABLE {table} REPLICA IDENTITY FULL"
        elif identity != "f" and large:
            full = f"ALTER TABLE {table} REPLICA IDENTITY FULL keeps them"
            yield str(table), True, f"values past 2 kB that a change leaves alone are not in the log: {full}"


def lag_text(session: PostgresqlSession, slot: slots.Slot) -> str:
    """How much of the log waits for a slot, and what bounds it."""
    most = session.fetch("SELECT current_setting('max_slot_wal_keep_size', true)")[0][0]
    bounded = f"at most {most} are kept" if most not in (None, "-1") else "max_slot_wal_keep_size sets no bound"
    safe = "" if slot.safe is None else f", {slots.size(slot.safe)} more before it is lost"
    return f"'{slot.name}' keeps {slots.size(slot.lag)} of WAL ({slot.status}; {bounded}{safe})"
