"""Connections of a process: limited, kept, and not kept once something broke."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database import Relation, Session, TableColumn, TableName
from beam_datahub.component.database_pool import close_pools, pooled
from beam_datahub.errors import Transient


class Connection(Session):
    """A connection to nothing."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.closed = False

    def failure(self, error: Exception) -> Exception | None:
        return None

    def _execute(self, sql: str) -> int:
        return 0

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return [(1,)]

    def close(self) -> None:
        self.closed = True

    def columns(self, table: TableName) -> None:
        return None

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        return []

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        return []

    def load(self, table: TableName, columns: Any, batch: pa.RecordBatch) -> None:
        """There is nowhere to put it."""

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        return ()

    def stream(self, *_: Any) -> Iterator[pa.RecordBatch]:
        return iter(())


def test_a_connection_is_used_again_and_a_broken_one_is_not() -> None:
    with pooled("again", Connection, limit=2, wait_seconds=1) as first:
        pass
    with pooled("again", Connection, limit=2, wait_seconds=1) as second:
        assert second is first
        with pooled("again", Connection, limit=2, wait_seconds=1) as other:
            assert other is not first
            with pytest.raises(Transient, match="all 2 connections"), pooled("again", Connection, limit=2, wait_seconds=0):
                pass
    with pytest.raises(KeyError), pooled("again", Connection, limit=2, wait_seconds=1) as third:
        raise KeyError
    assert isinstance(third, Connection)
    assert third.closed


def test_what_an_outage_broke_is_not_used_again() -> None:
    with pooled("outage", Connection, limit=3, wait_seconds=1) as first:
        with pooled("outage", Connection, limit=3, wait_seconds=1) as second:
            pass
        assert isinstance(second, Connection)
        assert not second.closed
    with pytest.raises(Transient), pooled("outage", Connection, limit=3, wait_seconds=1):
        raise Transient("the server went away")
    assert isinstance(first, Connection)
    assert first.closed
    assert second.closed
    close_pools()


def test_connections_that_rested_for_long_are_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    with pooled("rest", Connection, limit=1, wait_seconds=1) as first:
        pass
    monkeypatch.setattr("beam_datahub.component.database_pool._RESTED_SECONDS", -1.0)
    monkeypatch.setattr(Connection, "is_alive", lambda self: False)
    with pooled("rest", Connection, limit=1, wait_seconds=1) as second:
        assert second is not first
    assert isinstance(first, Connection)
    assert first.closed
