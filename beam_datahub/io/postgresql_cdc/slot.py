"""The replication slot and the publication of a source: made, looked at, moved on, and removed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from beam_datahub.component.database import TableName
from beam_datahub.errors import AccessDenied, DataHubError, InvalidValue, SourceMissing, Transient, UnreadableData
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql_cdc.options import PostgresqlCdcOptions
from beam_datahub.io.postgresql_cdc.position import Position, lsn_text

ANEW = "read everything again: beam-datahub run SPEC --full, with `write_mode: overwrite` or into an empty destination"


@dataclass(frozen=True)
class Slot:
    """A slot as the server has it: what was confirmed, where the server's log is kept from, and how much that is."""

    name: str
    confirmed: int
    restart: int
    lag: int
    status: str
    safe: int | None
    active: bool


def tables_of(session: PostgresqlSession, options: PostgresqlCdcOptions) -> list[TableName]:
    """The tables that are read, with their schemas. Raises SourceMissing, InvalidValue."""
    text = session.dialect.literal
    found: list[TableName] = []
    for name in [options.table] if options.table is not None else options.tables or []:
        if name.endswith(".*"):
            rows = session.fetch(
                "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') "
                f"AND NOT relispartition AND relpersistence = 'p' AND nspname = {text(name[:-2])} "
                "AND NOT starts_with(relname, '_beam_datahub_') AND NOT starts_with(relname, '_dh_') ORDER BY 2"
            )
        else:
            table = session.dialect.table(TableName.parse(name))
            rows = session.fetch(
                "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                f"WHERE c.oid = to_regclass({text(table)}) AND relkind IN ('r', 'p')"
            )
        if not rows:
            raise SourceMissing(f"there is no table '{name}'", hint="look at its name and its schema; views have no changes")
        found += [TableName(relname, schema) for schema, relname in rows]
    return list(dict.fromkeys(found))


def here(session: PostgresqlSession) -> int:
    """The end of the log: what is before it stays, whatever happens to the server."""
    rows = session.fetch(
        "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::int8"
    )
    return int(rows[0][0])


def slot_of(session: PostgresqlSession, name: str) -> Slot | None:
    """The slot of a name; None where there is none. Raises InvalidValue where it is of another kind or database."""
    end = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
    named = f"slot_name = {session.dialect.literal(name)}"
    rows = session.fetch(
        "SELECT (confirmed_flush_lsn - '0/0')::int8, (restart_lsn - '0/0')::int8, "
        f"({end} - coalesce(restart_lsn, confirmed_flush_lsn))::int8, coalesce(wal_status, 'reserved'), safe_wal_size::int8, "
        f"active, plugin, database = current_database() FROM pg_replication_slots WHERE {named}"
    )
    if not rows:
        return None
    confirmed, restart, lag, status, safe, active, plugin, mine = rows[0]
    if plugin != "pgoutput" or not mine:
        what = "is of another database" if plugin == "pgoutput" else f"is of the plugin {plugin or 'for whole servers'}"
        raise InvalidValue(f"the replication slot '{name}' {what}", hint="take another name for `slot`")
    return Slot(name, confirmed or 0, restart or 0, lag or 0, status, safe, active)


def refuse_impossible(session: PostgresqlSession) -> None:
    """Raise where this server or this role cannot give changes."""
    level, user, may = session.fetch(
        "SELECT current_setting('wal_level'), current_user, rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"
    )[0]
    if level != "logical":
        raise InvalidValue(
            f"the server keeps no logical log (its wal_level is {level})", hint="set wal_level = logical there, and restart it"
        )
    if not may and not _replicates_by_role(session):
        raise AccessDenied(f"the role '{user}' may not replicate", hint=f"ALTER ROLE {user} REPLICATION")


def _replicates_by_role(session: PostgresqlSession) -> bool:
    """Whether the right comes by a role that a provider's servers have for it."""
    rows = session.fetch(
        "SELECT bool_or(pg_has_role(oid, 'MEMBER')) FROM pg_roles WHERE rolname IN ('rds_replication', 'azure_pg_admin')"
    )
    return bool(rows[0][0])


def ready(
    session: PostgresqlSession, options: PostgresqlCdcOptions, tables: Sequence[TableName], *, patience_seconds: float
) -> Slot:
    """The slot, made with its publication where they are not there: a snapshot that is taken from now on and the log behind the
    slot leave nothing out. Raises SourceMissing, AccessDenied, UnreadableData, Transient.
    """
    refuse_impossible(session)
    _publish(session, options, tables)
    found = slot_of(session, options.slot)
    if found is not None:
        _settle(session, patience_seconds)
    else:
        if not options.create:
            raise SourceMissing(f"there is no replication slot '{options.slot}'", hint="make it, or allow `create: true`")
        try:
            session.execute(f"SELECT pg_create_logical_replication_slot({session.dialect.literal(options.slot)}, 'pgoutput')")
        except Transient as error:
            raise _waiting(error.reason) from error
        found = slot_of(session, options.slot)
        assert found is not None
    refuse_lost(found)
    return found


def _settle(session: PostgresqlSession, patience_seconds: float) -> None:
    """Wait until no transaction is open that began before its tables were published: the log would leave out its changes."""
    if session.fetch("SELECT pg_is_in_recovery()")[0][0]:
        return
    latest = int(session.fetch("SELECT pg_current_xact_id()::text::int8")[0][0])
    end = time.monotonic() + patience_seconds
    while int(session.fetch("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8")[0][0]) <= latest:
        if time.monotonic() > end:
            raise _waiting("the first snapshot has to wait for its end")
        time.sleep(0.05)


def _waiting(reason: str) -> Transient:
    hint = "look at pg_stat_activity for what is `idle in transaction`; `lock_timeout_seconds` is how long we wait"
    return Transient(f"a transaction has been open on the server for long: {reason}", hint=hint)


def refuse_lost(slot: Slot) -> None:
    """Raise where the server has thrown away what the slot was to keep."""
    if slot.status == "lost":
        raise UnreadableData(
            f"the server has removed the log that the replication slot '{slot.name}' had not read: changes are lost",
            hint=f"SELECT pg_drop_replication_slot('{slot.name}'), then {ANEW}; raise max_slot_wal_keep_size, or run more often",
        )


def _publish(session: PostgresqlSession, options: PostgresqlCdcOptions, tables: Sequence[TableName]) -> None:
    dialect, name = session.dialect, options.published_by
    listed = ", ".join(map(dialect.table, tables))
    whole = "pubinsert AND pubupdate AND pubdelete"
    there = session.fetch(f"SELECT {whole} FROM pg_publication WHERE pubname = {dialect.literal(name)}")
    if there and not there[0][0]:
        hint = f"ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"
        raise InvalidValue(f"the publication '{name}' leaves out inserts, updates or deletes", hint=hint)
    try:
        if not there:
            if not options.create:
                raise SourceMissing(f"there is no publication '{name}'", hint=f"CREATE PUBLICATION {name} FOR TABLE {listed}")
            # What is in partitions is told as being of the table that the user knows.
            session.execute(
                f"CREATE PUBLICATION {dialect.quoted(name)} FOR TABLE {listed} WITH (publish_via_partition_root = true)"
            )
            return
        rows = session.fetch(f"SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = {dialect.literal(name)}")
        published = {TableName(table, schema) for schema, table in rows}
        lacking = [table for table in tables if table not in published]
        if lacking:
            add = f"ALTER PUBLICATION {dialect.quoted(name)} ADD TABLE {', '.join(map(dialect.table, lacking))}"
            if not options.create:
                raise SourceMissing(f"the publication '{name}' does not have '{lacking[0]}'", hint=add)
            session.execute(add)
    except AccessDenied as error:
        error.hint = f"let who owns the tables run: CREATE PUBLICATION {name} FOR TABLE {listed}"
        raise


def go_on(session: PostgresqlSession, slot: Slot, position: Position) -> None:
    """Let the server forget what is before a position that is recorded. Raises UnreadableData where it has forgotten more."""
    if slot.confirmed > position.lsn:
        raise UnreadableData(
            f"the replication slot '{slot.name}' stands at {lsn_text(slot.confirmed)}, but was read up to "
            f"{lsn_text(position.lsn)} only: somebody else has read from it, or it was made anew",
            hint=f"give this source a slot of its own, and {ANEW}",
        )
    if slot.confirmed < position.lsn <= here(session):
        text = session.dialect.literal
        try:
            session.execute(f"SELECT pg_replication_slot_advance({text(slot.name)}, {text(lsn_text(position.lsn))})")
        except DataHubError as error:
            raise _explained(error, slot.name) from error


def _explained(error: DataHubError, slot: str) -> DataHubError:
    if re.search(r"is active for PID", error.reason):
        return Transient(f"somebody else reads from the replication slot '{slot}'", hint="each source needs a slot of its own")
    return error


def drop(session: PostgresqlSession, options: PostgresqlCdcOptions) -> list[str]:
    """Remove the slot, and the publication of its name; says what was removed."""
    done = []
    text = session.dialect.literal
    if slot_of(session, options.slot) is not None:
        session.execute(f"SELECT pg_drop_replication_slot({text(options.slot)})")
        done.append(f"the replication slot '{options.slot}'")
    # One with a name of its own is somebody else's.
    if options.publication is None and session.fetch(f"SELECT 1 FROM pg_publication WHERE pubname = {text(options.slot)}"):
        session.execute(f"DROP PUBLICATION {session.dialect.quoted(options.slot)}")
        done.append(f"the publication '{options.slot}'")
    return done


def size(count: int) -> str:
    """Bytes in words."""
    amount = float(max(count, 0))
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
