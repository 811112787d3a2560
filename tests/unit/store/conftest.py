"""A store of the test's own: in a file, and in PostgreSQL."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beam_datahub.store.location import Location, locate
from beam_datahub.store.store import Store, open_store

_NUMBERS = itertools.count(1)
_GET_BITS, _SET_BITS, _NO_FIXUP = 27, 28, 4


@pytest.fixture
def in_file(tmp_path: Path) -> Location:
    """The place of a SQLite file that is not there yet."""
    return locate(tmp_path / "store.db")


@pytest.fixture
def in_postgresql(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A PostgreSQL database that nobody has used yet; the project is the test's folder."""
    import psycopg

    name = f"store_{next(_NUMBERS)}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    monkeypatch.chdir(tmp_path)
    return locate(f"{postgresql.rpartition('/')[0]}/{name}")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest) -> Location:
    """The place of a store that is not there yet."""
    found: Location = request.getfixturevalue("in_file" if request.param == "sqlite" else "in_postgresql")
    return found


@pytest.fixture
def store(location: Location) -> Iterator[Store]:
    """An open store, made by its first write."""
    with open_store(location, who="ada@here") as opened:
        yield opened


@pytest.fixture
def rights_hold(tmp_path: Path) -> Iterator[None]:
    """Let the rights of files hold for this user, also where it is root, in this thread and those that it starts."""
    with _without_overriding():
        probe = tmp_path / "probe"
        probe.touch(mode=0o400)
        may = os.access(probe, os.W_OK)
        probe.unlink()
        if may:
            pytest.skip("this user may write what is read-only")
        yield


@contextmanager
def _without_overriding() -> Iterator[None]:
    # Linux's capabilities 1 and 2 let root pass over the rights of files; they come back at the end.
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    header, before, without = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    library.capget(header, before)
    without[:] = before[:]
    without[0] &= ~0b110
    # And the bit of `prctl` lets access() go by them, too.
    bits = library.prctl(_GET_BITS)
    library.prctl(_SET_BITS, bits | _NO_FIXUP)
    library.capset(header, without)
    try:
        yield
    finally:
        library.capset(header, before)
        library.prctl(_SET_BITS, bits)
