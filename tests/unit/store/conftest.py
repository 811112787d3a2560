"""A store of the test's own: in a file, and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_datahub.store.database import SCHEMA
from beam_datahub.store.location import Location, locate
from beam_datahub.store.store import Store, open_store


@pytest.fixture
def in_file(tmp_path: Path) -> Location:
    """The place of a SQLite file that is not there yet."""
    return locate(tmp_path / "store.db")


@pytest.fixture
def in_postgresql(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A PostgreSQL database that nobody has used yet; the project is the test's folder."""
    import psycopg

    # One database for all tests, emptied: making one takes as long as a test.
    with psycopg.connect(postgresql, autocommit=True) as connection:
        # A process that a test killed may hold locks for a moment yet.
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'beam-datahub'")
        connection.execute(f"drop schema if exists {SCHEMA} cascade")
    monkeypatch.chdir(tmp_path)
    return locate(postgresql)


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
