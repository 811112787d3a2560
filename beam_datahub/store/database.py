"""Connections to the store's database, and what its errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from beam_datahub.errors import (
    AccessDenied,
    DataHubError,
    MissingDependency,
    StoreBusy,
    StoreDamaged,
    StoreUnusable,
)
from beam_datahub.security import redact
from beam_datahub.security.secret import known
from beam_datahub.store.location import Location
from beam_datahub.store.types import to_json

# How long a writer waits for another one before it gives up.
BUSY_SECONDS = 30.0

# The tables' own place in a PostgreSQL database that may hold other things.
SCHEMA = "beam_datahub"


def engine(location: Location, *, writes: bool, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine for readers or for writers. Raises MissingDependency without PostgreSQL's driver."""
    if location.path is not None:
        return _sqlite(location.path, writes=writes, busy_seconds=busy_seconds)
    return _postgresql(location.url or "", writes=writes, busy_seconds=busy_seconds)


def _sqlite(path: Path, *, writes: bool, busy_seconds: float) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = _opened(path, writes=writes, busy_seconds=busy_seconds)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            # In WAL mode a crash of the process loses nothing; one of the machine at most the last commits.
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    # A connection is opened in well under a millisecond; none kept means none shared by a fork or left open at the end.
    made = create_engine("sqlite://", creator=connect, poolclass=NullPool, json_serializer=to_json)
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(made, "begin")
    def start(connection: Connection) -> None:
        # A writer takes its turn at the start: one that began by reading could not wait for another writer.
        connection.exec_driver_sql(begin)

    return made


def _opened(path: Path, *, writes: bool, busy_seconds: float) -> sqlite3.Connection:
    # Without an isolation level sqlite3 leaves transactions to us.
    def opened(mode: str) -> sqlite3.Connection:
        place = f"file:{quote(str(path))}?mode={mode}"
        return sqlite3.connect(place, timeout=busy_seconds, isolation_level=None, uri=True, check_same_thread=False)

    if writes:
        return opened("rwc")
    if not path.exists():
        raise StoreUnusable(f"there is no store at {path}", hint="`beam-datahub store init` makes one, as does the first run")
    # A store on a read-only disk has no room for the files beside it through which processes meet.
    log = path.with_name(path.name + "-wal")
    if not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        return opened("ro&immutable=1")
    if not os.access(path, os.W_OK):
        return opened("ro")
    # A reader that may write can tidy up what a killed writer left.
    return opened("rw")


def _postgresql(url: str, *, writes: bool, busy_seconds: float) -> Engine:
    try:
        import psycopg  # noqa: F401 - SQLAlchemy's own message names no remedy
    except ImportError as error:
        hint = "pip install 'beam-datahub[postgresql]'"
        raise MissingDependency("a store in PostgreSQL needs the module 'psycopg'", hint=hint) from error
    password = urlsplit(url).password
    if password:
        known.add(unquote(password))
    options = f"-c search_path={SCHEMA} -c lock_timeout={int(busy_seconds * 1000)} -c timezone=UTC"
    if not writes:
        options += " -c default_transaction_read_only=on"
    arguments = {"options": options, "connect_timeout": 10, "application_name": "beam-datahub"}
    return create_engine(url, pool_size=2, pool_pre_ping=True, json_serializer=to_json, connect_args=arguments)


@contextmanager
def understood(location: Location) -> Iterator[None]:
    """Turn what the database says into the project's errors."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _translated(error, location) from error


def _translated(error: Exception, location: Location) -> DataHubError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    words = redact(str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__)
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, words, location)
    state = str(getattr(cause, "sqlstate", None) or "")
    if state in ("28P01", "28000", "42501"):
        return AccessDenied(f"the store {location} refused us: {words}")
    if state in ("55P03", "40001", "40P01", "57014"):
        return StoreBusy(f"the store {location} is held by another process: {words}")
    if state == "25006":
        return StoreUnusable(f"the store {location} is read-only: {words}")
    if isinstance(error, OperationalError):
        hint = "is the server running, and its address right?"
        return StoreUnusable(f"the store {location} cannot be reached: {words}", hint=hint)
    return StoreUnusable(f"the store {location} failed: {words}")


def _of_sqlite(cause: sqlite3.Error, words: str, location: Location) -> DataHubError:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"another process holds the store {location}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"the file {location} is damaged or is no store: {words}")
    if code == sqlite3.SQLITE_READONLY:
        hint = "this user needs the right to write the file and its folder"
        return StoreUnusable(f"the store {location} is read-only", hint=hint)
    if code == sqlite3.SQLITE_FULL:
        return StoreUnusable(f"the disk of the store {location} is full", hint="make room, or `beam-datahub store prune`")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnusable(f"the store {location} cannot be opened", hint=_why_not(location))
    return StoreUnusable(f"the store {location} failed: {words}")


def _why_not(location: Location) -> str | None:
    folder = location.path.parent if location.path else None
    with suppress(OSError):
        if location.path is not None and location.path.is_dir():
            return "it is a folder: name a file, or a folder that holds store.db"
        if folder is not None and not folder.is_dir():
            return f"there is no folder {folder}"
        if folder is not None and not os.access(folder, os.W_OK):
            return f"this user may not write to {folder}"
    return None
