"""The same shops in every database: the same answers, and the same rows wherever they are copied."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.testing import oracle
from beam_datahub.testing.connectors import read
from tests.unit.io.database_systems import SYSTEMS, System, made, new_database

CHINOOK = {
    "counts": """select (select count(*) from artist) "Artist", (select count(*) from album) "Album",
        (select count(*) from track) "Track", (select count(*) from invoice) "Invoice",
        (select count(*) from invoiceline) "InvoiceLine", (select count(*) from customer) "Customer",
        (select count(*) from playlisttrack) "PlaylistTrack\"""",
    "revenue-by-country-top5": """select billingcountry "BillingCountry", round(sum(total), 2)::double total, count(*) n
        from invoice group by 1 order by total desc, 1 limit 5""",
    "revenue-by-genre-top5": """select g.name "Name", round(sum(l.unitprice * l.quantity), 2)::double total from invoiceline l
        join track t using (trackid) join genre g using (genreid) group by 1 order by 2 desc limit 5""",
    "tracks-never-sold": "select count(*) n from track anti join invoiceline using (trackid)",
    "null-composer": "select count(*) n from track where composer is null",
    "yearly": """select year(invoicedate)::varchar y, round(sum(total), 2)::double total from invoice group by 1
        order by 1""",
}
TABLES = ("artist", "album", "track", "genre", "invoice", "invoice_line", "customer", "playlist_track")


def plain(name: str) -> str:
    """A name as all of the databases may spell it."""
    return name.replace("_", "").lower()


def loaded(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """The tables where any query can be asked."""
    connection = duckdb.connect()
    for name, table in tables.items():
        connection.register("given", table.rename_columns([plain(each) for each in table.schema.names]))
        connection.execute(f"create table {plain(name)} as from given")
    return connection


def answers_of(connection: duckdb.DuckDBPyConnection, queries: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """What the queries give."""
    return {name: connection.sql(sql).to_arrow_table().to_pylist() for name, sql in queries.items()}


@pytest.fixture(scope="module")
def shops(postgresql: str, cases: Path) -> Iterator[System]:
    """Chinook and Northwind in PostgreSQL, as their own scripts make them."""
    url = new_database(postgresql)
    script = (cases / "chinook" / "Chinook_PostgreSql.sql").read_text("utf-8")
    script = re.sub(r"(?m)^(DROP DATABASE|CREATE DATABASE|\\c ).*$", "", script)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("create schema northwind; create schema chinook; set search_path to chinook")
        server.execute(script.encode())
        server.execute("set search_path to northwind")
        server.execute((cases / "northwind" / "northwind.sql").read_bytes())
    yield System("postgresql", {"url": url})
    close_pools()


def expected(cases: Path, shop: str, names: list[str]) -> dict[str, Any]:
    """The answers that stand beside the data."""
    checks = json.loads((cases / shop / "expected-aggregates.json").read_text("utf-8"))["checks"]
    return {check["name"]: check["expected"] for check in checks if check["name"] in names}


def test_chinook_has_the_same_answers_in_each_database(
    shops: System, cases: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = expected(cases, "chinook", list(CHINOOK))
    tables = {name: read(shops.source(table=f"chinook.{name}")).table for name in TABLES}
    assert answers_of(loaded(tables), CHINOOK) == wanted
    # SQLite's own file of it, whose names and types are others.
    shutil.copy(cases / "chinook" / "Chinook_Sqlite.sqlite", tmp_path / "chinook.sqlite")
    file = System("sqlite", {"path": str(tmp_path / "chinook.sqlite")})
    names = {plain(name): name.title().replace("_", "") for name in TABLES}
    found = {name: read(file.source(table=theirs)) for name, theirs in names.items()}
    assert not any(each.rejected for each in found.values())
    assert answers_of(loaded({name: each.table for name, each in found.items()}), CHINOOK) == wanted
    for name in SYSTEMS:
        copy = _in_folder(name, tmp_path, request)
        for table, rows in tables.items():
            copy.write(copy.sink(table=table), rows, run=table)
        again = {table: read(copy.source(table=table), rows.schema).table for table, rows in tables.items()}
        for table in tables:
            assert ordered(again[table]) == ordered(tables[table]), (name, table)
        assert answers_of(loaded(again), CHINOOK) == wanted


def ordered(table: pa.Table) -> list[Any]:
    """The rows in an order of their own."""
    return duckdb.from_arrow(table).order("all").fetchall()


def _in_folder(name: str, folder: Path, request: pytest.FixtureRequest) -> System:
    own = folder / plain(name).replace(" ", "-")
    own.mkdir()
    return made(name, own, request)


def test_northwind_has_its_answers(shops: System, cases: Path) -> None:
    queries = {
        "counts": "select "
        + ", ".join(
            f"(select count(*) from {plain(name)}) {name}" for name in expected(cases, "northwind", ["counts"])["counts"][0]
        ),
        "customers-without-orders": "select customerid customer_id from customers anti join orders using (customerid) order by 1",
        "unshipped": "select count(*) n from orders where shippeddate is null",
        "discontinued": "select count(*) n, sum(unitsinstock)::bigint stock from products where discontinued = 1",
    }
    wanted = expected(cases, "northwind", list(queries))
    tables = {name: read(shops.source(table=f"northwind.{name}")).table for name in wanted["counts"][0]}
    assert answers_of(loaded(tables), queries) == wanted


def test_a_run_from_files_through_a_database_to_files_gives_the_known_customers(
    shops: System, cases: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for name in ("postgresql", "sqlite", "duckdb"):
        system = _in_folder(name, tmp_path, request)
        for table in ("raw_customers", "raw_orders", "raw_payments"):
            _run(
                tmp_path,
                source={"connector": "csv", "connection": {"path": str(cases / "jaffle-shop" / "seeds" / f"{table}.csv")}},
                destination=_reached(system, table=table, write_mode="merge", key=["id"]),
            )
        query = """select c.id as customer_id, first_name, last_name, min(o.order_date) as first_order,
            max(o.order_date) as most_recent_order, count(distinct o.id) as number_of_orders,
            sum(p.amount) / 100 as customer_lifetime_value
            from raw_customers c left join raw_orders o on o.user_id = c.id left join raw_payments p on p.order_id = o.id
            group by c.id, first_name, last_name"""
        _run(
            tmp_path,
            source=_reached(system, query=query),
            destination={"connector": "csv", "connection": {"path": str(tmp_path / f"{name}.csv")}, "write_mode": "overwrite"},
        )
        known = duckdb.connect()
        given = known.sql(f"from read_csv('{cases}/jaffle-shop/expected/customers.csv') order by 1")
        types = ", ".join(f'"{column}"::{kind} as "{column}"' for column, kind in zip(given.columns, given.types, strict=True))
        found = known.sql(f"select {types} from read_csv('{tmp_path}/{name}.csv') order by 1")
        zero = "coalesce(number_of_orders, 0) as number_of_orders"
        assert found.columns == given.columns
        both = [each.query("rows", f"select * replace ({zero}) from rows").fetchall() for each in (found, given)]
        assert both[0] == both[1]


def _reached(system: System, **options: Any) -> dict[str, Any]:
    return {"connector": system.connector, "connection": system.connection, **options}


def _run(folder: Path, **spec: Any) -> None:
    path = folder / "spec.yaml"
    path.write_text(json.dumps({"name": "shop", **spec}), "utf-8")
    result = oracle.run_spec(path, {})
    assert result.status == "completed"
    assert result.rejected == 0


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb"])
def test_what_a_database_refuses_goes_to_the_dead_letter_and_the_rest_is_loaded(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    system = made(name, tmp_path, request)
    system.run("create table t (id bigint primary key, amount bigint check (amount > 0))")
    path = tmp_path / "spec.yaml"
    spec = {
        "name": "shop",
        "source": {"connector": "inline", "rows": [{"id": n, "amount": 5 - n} for n in range(10)]},
        "destination": _reached(system, id="shop", table="t", write_mode="merge", key=["id"]),
        "dead_letter": {"connector": "jsonl", "connection": {"path": str(tmp_path / "rejected") + "/"}},
    }
    path.write_text(json.dumps(spec), "utf-8")
    result = oracle.run_spec(path, {})
    assert (result.status, result.rejected) == ("completed_with_errors", 5)
    assert oracle.reasons(result) == {("shop", "refused"): 5}
    assert {key: result.books["shop"][key] for key in ("in", "rejected")} == {"in": 10, "rejected": 5}
    assert [row["id"] for row in system.rows("t")] == [0, 1, 2, 3, 4]
    letters = [json.loads(line) for file in (tmp_path / "rejected").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(json.loads(letter["original"])["id"] for letter in letters) == [5, 6, 7, 8, 9]
    assert sorted(letter["row"] for letter in letters) == [5, 6, 7, 8, 9]
    assert all("CHECK" in letter["message"].upper() for letter in letters)
    assert not any("_dh_stage" in letter["message"] for letter in letters)
    assert system.staging() == []
    close_pools()
