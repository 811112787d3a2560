"""Opens a store, and gives what reads it and what writes it.

`open_store(locate(...))` makes the store where there is none, and brings a file of an older version up to date. Its
`reader` and `writer` are two classes: what only looks cannot change anything.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Self

from sqlalchemy import Engine

from beam_datahub.errors import StoreUnusable
from beam_datahub.store.access import Reading, Writing
from beam_datahub.store.connections import ConnectionReader, ConnectionWriter
from beam_datahub.store.cursors import CursorReader, CursorWriter
from beam_datahub.store.database import BUSY_SECONDS, engine, understood
from beam_datahub.store.events import EventReader, EventWriter
from beam_datahub.store.integrations import IntegrationReader, IntegrationWriter
from beam_datahub.store.journal import JournalReader, JournalWriter
from beam_datahub.store.lineage import LineageReader, LineageWriter
from beam_datahub.store.location import Location
from beam_datahub.store.profiles import ProfileReader, ProfileWriter
from beam_datahub.store.runs import RunReader, RunWriter
from beam_datahub.store.subjects import SubjectReader, SubjectWriter
from beam_datahub.store.versions import HEAD, check, prepare, version_of
from beam_datahub.store.views import ViewReader
from beam_datahub.store.violations import ViolationReader, ViolationWriter


class StoreReader:
    """Reads a store; nothing that it does changes it. Every call sees one state; none waits for a writer."""

    def __init__(self, reading: Reading) -> None:
        self.integrations = IntegrationReader(reading)
        self.connections = ConnectionReader(reading)
        self.runs = RunReader(reading)
        self.cursors = CursorReader(reading)
        self.violations = ViolationReader(reading)
        self.subjects = SubjectReader(reading)
        self.lineage = LineageReader(reading)
        self.profiles = ProfileReader(reading)
        self.journal = JournalReader(reading)
        self.events = EventReader(reading)
        self.views = ViewReader(reading)


class StoreWriter:
    """Writes a store. Every call is a transaction of its own, unless it is inside `together`. Safe to share by threads."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self.integrations = IntegrationWriter(writing)
        self.connections = ConnectionWriter(writing)
        self.runs = RunWriter(writing)
        self.cursors = CursorWriter(writing)
        self.violations = ViolationWriter(writing)
        self.subjects = SubjectWriter(writing)
        self.lineage = LineageWriter(writing)
        self.profiles = ProfileWriter(writing)
        self.journal = JournalWriter(writing)
        self.events = EventWriter(writing)

    @property
    def who(self) -> str:
        """Who the audit says makes the changes."""
        return self._writing.who

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make all that this thread writes inside one transaction: kept as a whole at the end, or not at all."""
        with self._writing.transaction():
            yield


class Store:
    """An open store. Close it, or use it in a `with`."""

    def __init__(self, location: Location, *, who: str | None = None, busy_seconds: float = BUSY_SECONDS) -> None:
        self.location = location
        self._who = who or current_user()
        self._busy_seconds = busy_seconds
        self._engines: list[Engine] = []

    @cached_property
    def reader(self) -> StoreReader:
        """What reads it. Raises StoreVersion where the store is of another version, StoreUnusable where it is not there."""
        made = self._engine(writes=False)
        with understood(self.location), made.connect() as connection:
            version = version_of(connection, self.location)
            if version is None:
                hint = "`beam-datahub store init` makes one, as does the first run"
                raise StoreUnusable(f"there is no store at {self.location}", hint=hint)
            check(version, self.location)
        return StoreReader(Reading(made, self.location))

    @cached_property
    def writer(self) -> StoreWriter:
        """What writes it; makes it where there is none. Raises StoreVersion, StoreUnusable, StoreDamaged."""
        return StoreWriter(self.writing)

    @cached_property
    def writing(self) -> Writing:
        """The transactions below the writer, for what looks after the store as a whole."""
        # A store on a server is shared with others, whose beam-datahub may be older still: a person upgrades that one.
        made = self.prepared(upgrade=self.location.path is not None)[0]
        return Writing(made, self.location, self._who)

    def prepared(self, *, upgrade: bool) -> tuple[Engine, str | None, str]:
        """An engine for writing a store that is there and of this version; with the version before (None: none) and after."""
        if self.location.path is not None:
            _make_folder(self.location)
        made = self._engine(writes=True)
        with understood(self.location):
            before, after = prepare(made, self.location, upgrade=upgrade)
        return made, before, after

    def _engine(self, *, writes: bool) -> Engine:
        made = engine(self.location, writes=writes, busy_seconds=self._busy_seconds)
        self._engines.append(made)
        return made

    def close(self) -> None:
        """Close all connections."""
        for made in self._engines:
            made.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(location: Location, *, who: str | None = None, busy_seconds: float = BUSY_SECONDS) -> Store:
    """The store at a location (see `beam_datahub.store.location.locate`); nothing is touched before it is read or written.

    `who` is named in the audit, by default this user; `busy_seconds` is how long to wait for another writer.
    """
    return Store(location, who=who, busy_seconds=busy_seconds)


def current_user() -> str:
    """This user and machine, as the audit names them."""
    name = "unknown"
    with suppress(Exception):  # there may be no such user in a container
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"


def _make_folder(location: Location) -> None:
    folder = location.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not location.explicit and not ignore.exists():
            # What runs leave is no part of a project.
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreUnusable(f"the folder of the store cannot be made: {folder}: {error.strerror}") from error


__all__ = ["HEAD", "Store", "StoreReader", "StoreWriter", "open_store"]
