"""The tables that a pattern finds on servers: those of a schema, each once, without views and without ours."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from tests.unit.io.database_systems import System, new_database, new_mysql_database


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Connections end with their test."""
    yield
    close_pools()


def found(system: System, *patterns: str, exclude: tuple[str, ...] = ()) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each table with the text that names it and its key."""
    parts = system.source(tables=patterns, exclude=exclude).several()
    assert parts is not None
    return {part.name: (part.options["table"], part.key) for part in parts}


def test_a_partitioned_table_is_one_and_schemas_are_told_apart(postgresql: str) -> None:
    system = System("postgresql", {"url": new_database(postgresql)})
    system.run(
        "create schema sales",
        "create table sales.orders (b bigint, a bigint, primary key (a, b)) partition by range (a)",
        "create table sales.orders_1 partition of sales.orders for values from (0) to (9)",
        'create table sales."Order Lines" (n bigint)',
        "create table people (id bigint primary key)",
        "create view seen as select * from people",
    )
    system.write(system.sink(table="sales.written"), pa.table({"n": [1]}))
    assert found(system, "sales.*", "*", exclude=("sales.w*",)) == {
        "Order Lines": ('sales."Order Lines"', ()),
        "orders": ("sales.orders", ("b", "a")),
        "people": ("people", ("id",)),
    }


def test_views_are_no_tables_of_mysql(mariadb: str) -> None:
    system = System("mysql", {"url": new_mysql_database(mariadb)})
    system.run("create table people (id bigint primary key)", "create view seen as select * from people")
    system.write(system.sink(table="written"), pa.table({"n": [1]}))
    assert found(system, "*") == {"people": ("people", ("id",)), "written": ("written", ())}
