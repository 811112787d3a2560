"""The packaged integrations between databases copy, add and keep what they promise."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from beam_datahub.component.database_pool import close_pools
from beam_datahub.runtime.launch import RunResult
from beam_datahub.spec import content_folder
from beam_datahub.testing import oracle

TEMPLATES = content_folder("templates")


def run(name: str, folder: Path, **parameters: str) -> RunResult:
    """A run of a packaged integration into a folder."""
    try:
        return oracle.run_spec(TEMPLATES / name / "integration.yaml", {"output": str(folder), **parameters})
    finally:
        close_pools()


def test_the_replica_has_every_table_row_by_row_and_lets_go_of_what_is_gone(tmp_path: Path) -> None:
    script = (TEMPLATES / "replica" / "data" / "shop.sql").read_text("utf-8")
    given = tmp_path / "shop.sqlite"
    with (
        closing(sqlite3.connect(given)) as shop,
        closing(sqlite3.connect(TEMPLATES / "replica" / "data" / "shop.sqlite")) as data,
    ):
        shop.executescript(script)
        assert list(shop.iterdump()) == list(data.iterdump()), "the script says what the sample is"
    for change in ("", "delete from order_lines where line = 2"):
        with closing(sqlite3.connect(given)) as shop:
            shop.executescript(change)
            tables = ("articles", "customers", "order_lines", "orders")
            expected = {name: shop.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}
        assert run("replica", tmp_path, database=str(given)).rejected == 0
        with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as copy:
            found = {name: copy.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}  # type: ignore[index]
            listed = [name for (name,) in copy.execute("show tables").fetchall()]
            lines = copy.execute("select sku, price::varchar from articles order by 1").fetchall()
        assert found == expected
        assert [name for name in listed if not name.startswith("_")] == list(tables)
    assert lines == [("B-10", "89.50"), ("L-20", "24.00"), ("S-30", "19.95")]


def test_the_lake_has_the_orders_of_the_database_by_month(tmp_path: Path) -> None:
    result = run("database-to-lake", tmp_path)
    assert oracle.reasons(result) == {("placed", "missing_reference"): 1}
    found = {
        path.parent.name: sorted(pq.ParquetFile(path).read()["order_id"].to_pylist())
        for path in (tmp_path / "orders").rglob("*.parquet")
    }
    assert found == {"month=2025-04": [100], "month=2025-05": [101, 102, 103]}


def test_the_history_is_what_its_readme_shows_also_when_the_changes_come_again(tmp_path: Path) -> None:
    readme = (TEMPLATES / "history" / "README.md").read_text("utf-8")
    shown = [line.split() for line in readme.split("```\nid")[1].split("\n```")[0].splitlines()[1:]]
    for _ in range(2):
        assert oracle.reasons(run("history", tmp_path)) == {("changes", "type_mismatch"): 1}
        with duckdb.connect(str(tmp_path / "history.duckdb"), read_only=True) as database:
            columns = "id, name, city, tier, valid_from, coalesce(valid_to::varchar, ''), is_current"
            rows = database.execute(f"select {columns} from customers order by id, valid_from").fetchall()
        assert [" ".join(map(str, row)).lower().split() for row in rows] == [[each.lower() for each in line] for line in shown]
