"""The store as a run reaches it: in a process of its own, or in this one where the database library is loaded anyway."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol, cast

from beam_datahub.errors import StoreUnusable
from beam_datahub.store.location import Location, locate

if TYPE_CHECKING:
    from beam_datahub.store.store import Store, StoreReader, StoreWriter

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
_END_SECONDS = 5.0

__all__ = ["Call", "Location", "StoreBeside", "StoreHere", "StoreLink", "later", "link_store", "locate", "opened_store"]


class StoreLink(Protocol):
    """A store to read and write; may be used by several threads."""

    @property
    def reader(self) -> StoreReader:
        """What reads it."""

    @property
    def writer(self) -> StoreWriter:
        """What writes it; several calls in one transaction go through `together`."""

    def together(self, calls: Sequence[Call]) -> list[Any]:
        """Make calls on the writer, such as `later("runs.end", …)`, in one transaction. Raises the store's errors."""

    def close(self) -> None:
        """Let go of it."""


def later(path: str, *arguments: Any, **options: Any) -> Call:
    """A call on the writer that is made together with others."""
    return (f"writer.{path}", arguments, options)


def link_store(location: Location, *, who: str | None = None) -> StoreLink:
    """A link to the store at `location`; opened when it is first asked for something."""
    if "sqlalchemy" in sys.modules:
        return StoreHere(location, who)
    return StoreBeside(location, who)


@contextmanager
def opened_store(named: str | None = None, *, is_there: bool = False) -> Iterator[StoreHere]:
    """The store that the user named, or the project's, for a command that looks at it or changes it.

    `is_there` is for one that changes what can only be in a store that is there: none is made for it. Raises StoreUnusable.
    """
    store = StoreHere(locate(named))
    try:
        yield store.there() if is_there else store
    finally:
        store.close()


class StoreHere:
    """The store in this process."""

    def __init__(self, location: Location, who: str | None = None) -> None:
        self._location, self._who = location, who
        self._lock = threading.Lock()
        self._opened: Store | None = None

    @property
    def location(self) -> Location:
        """Where it is."""
        return self._location

    def there(self) -> StoreHere:
        """This store, which is not made where there is none. Raises StoreUnusable."""
        _ = self.reader
        return self

    @property
    def _store(self) -> Store:
        with self._lock:
            if self._opened is None:
                from beam_datahub.store.store import open_store

                self._opened = open_store(self._location, who=self._who)
            return self._opened

    @property
    def reader(self) -> StoreReader:
        """What reads it."""
        return self._store.reader

    @property
    def writer(self) -> StoreWriter:
        """What writes it."""
        return self._store.writer

    def together(self, calls: Sequence[Call]) -> list[Any]:
        """Make calls on the writer in one transaction."""
        from beam_datahub.runtime.store_process import perform

        return perform(self._store, list(calls))

    def close(self) -> None:
        """Close its connections."""
        if self._opened is not None:
            self._opened.close()


class StoreBeside:
    """The store in a process of its own, which imports the database library while this one does its work."""

    def __init__(self, location: Location, who: str | None = None) -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "beam_datahub.runtime.store_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._link = Connection(ours.detach())
        self._link.send((location, who))
        self._owner = os.getpid()

    @property
    def reader(self) -> StoreReader:
        """What reads it."""
        return cast("StoreReader", _Calls(self._call, "reader"))

    @property
    def writer(self) -> StoreWriter:
        """What writes it."""
        return cast("StoreWriter", _Calls(self._call, "writer"))

    def together(self, calls: Sequence[Call]) -> list[Any]:
        """Make calls on the writer in one transaction."""
        return self._answer(list(calls)) if calls else []

    def _call(self, path: str, *arguments: Any, **options: Any) -> Any:
        return self._answer([(path, arguments, options)])[0]

    def _answer(self, calls: list[Call]) -> list[Any]:
        with self._lock:
            try:
                self._link.send(calls)
                fine, found = self._link.recv()
            except (EOFError, OSError) as error:
                raise StoreUnusable("the process that writes to the store has died") from error
        if not fine:
            raise found
        return cast("list[Any]", found)

    def close(self) -> None:
        """End its process."""
        with self._lock, suppress(OSError):
            self._link.close()
        if os.getpid() == self._owner:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)


class _Calls:
    """Names on the way to a method of the store, such as `runs` and then `beat`."""

    def __init__(self, call: Callable[..., Any], path: str) -> None:
        self._made, self._path = call, path

    def __getattr__(self, name: str) -> _Calls:
        return _Calls(self._made, f"{self._path}.{name}")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._made(self._path, *arguments, **options)
