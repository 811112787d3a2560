"""A store of the test's own: in a file, and in PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_datahub.store.location import Location, locate
from beam_datahub.store.store import Store, open_store

_NUMBERS = itertools.count(1)


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
