"""Which version a store is of, and bringing it to this one. Alembic is imported only where there is something to do."""

from __future__ import annotations

import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from beam_datahub.errors import StoreDamaged, StoreVersion
from beam_datahub.store.database import SCHEMA
from beam_datahub.store.location import Location

MIGRATIONS = Path(__file__).parent / "migrations"

# Revisions are numbered, so that a store of a later one is recognised without knowing it.
HEAD = "0002"

# Both of these make a database a store.
_TABLES = {"alembic_version", "run_steps"}

# PostgreSQL's lock under which one process at a time creates or upgrades a store: any fixed number.
_LOCK = 4_150_628_317


def version_of(connection: Connection, location: Location) -> str | None:
    """The revision of a store, None for an empty database. Raises StoreDamaged for a database of something else."""
    if connection.dialect.name == "postgresql":
        # Asking for two names takes a fraction of listing all; others may keep their tables beside the store's.
        there = text("select count(to_regclass(name)) from unnest(array['alembic_version', 'run_steps']) as name")
        if connection.execute(there).scalar_one() < 2:
            return None
        names = _TABLES
    else:
        names = set(inspect(connection).get_table_names())
    if names >= _TABLES:
        version = connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()
        if version is None:
            raise StoreDamaged(f"the store {location} has lost its version")
        return str(version)
    if names - {"alembic_version"}:
        raise foreign(location)
    return None


def foreign(location: Location) -> StoreDamaged:
    """The error that a file is a database of something else."""
    return StoreDamaged(f"the file {location} is a database, but no store of beam-datahub", hint="name another file")


def check(version: str, location: Location) -> None:
    """Refuse a store that this version cannot use. Raises StoreVersion."""
    if version > HEAD or not re.fullmatch(r"\d{4}", version):
        raise StoreVersion(
            f"the store {location} was made by a newer beam-datahub (its version is {version}, this one knows {HEAD})",
            hint="upgrade beam-datahub, or name another store with --store",
        )
    if version < HEAD:
        raise StoreVersion(
            f"the store {location} is of the older version {version}, not {HEAD}",
            hint="`beam-datahub store upgrade` brings it up to date",
        )


def prepare(engine: Engine, location: Location, *, upgrade: bool) -> tuple[str | None, str]:
    """Create what is missing, and with `upgrade` bring an older store to HEAD; the version before and after.

    All of it is one transaction: a crash leaves the store as it was. Raises StoreVersion, StoreDamaged.
    """
    if engine.dialect.name == "sqlite":
        before = _glance(engine, location)
        if before == HEAD:
            return before, before
        if before is None:
            _write_ahead(engine)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if connection.execute(text("select to_regnamespace(:name)"), {"name": SCHEMA}).scalar_one() is None:
                connection.execute(text(f"create schema {SCHEMA}"))
        before = version_of(connection, location)
        if before is not None and (before >= HEAD or not upgrade):
            check(before, location)
            return before, before
        _migrate(connection, HEAD)
        if before is None:
            _remember_birth(connection)
    return before, HEAD


def _glance(engine: Engine, location: Location) -> str | None:
    """The version of a SQLite file as far as it shows without a transaction, so that this never waits for a writer."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        names = {row[0] for row in cursor.execute("select name from sqlite_master where type = 'table'")}
        if not names:
            return None
        if not names >= _TABLES:
            raise foreign(location)
        row = cursor.execute("select version_num from alembic_version").fetchone()
        if row is None:
            raise StoreDamaged(f"the store {location} has lost its version")
        return str(row[0])
    finally:
        raw.close()


def _write_ahead(engine: Engine) -> None:
    """Switch a new SQLite file to WAL. SQLite does not wait for that by itself when several processes begin at once."""
    raw = engine.raw_connection()
    try:
        for attempt in range(200):
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == 199:
                    raise
                time.sleep(0.02)
    finally:
        raw.close()


def _remember_birth(connection: Connection) -> None:
    from beam_datahub import __version__
    from beam_datahub.store.tables import settings

    now = datetime.now(UTC).isoformat(timespec="seconds")
    connection.execute(settings.insert().values(name="created", value={"at": now, "by": f"beam-datahub {__version__}"}))


def _migrate(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
