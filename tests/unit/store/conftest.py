"""A store in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_datahub.store.location import Location, locate
from beam_datahub.store.store import Store, open_store


@pytest.fixture
def location(tmp_path: Path) -> Location:
    """The place of a store that is not there yet."""
    return locate(tmp_path / "store.db")


@pytest.fixture
def store(location: Location) -> Iterator[Store]:
    """An open store, made by its first write."""
    with open_store(location, who="ada@here") as opened:
        yield opened
