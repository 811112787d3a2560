"""The small packaged integrations write what they promise of their sample data, and reject just what was planted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from beam_datahub.runtime.launch import RunResult
from beam_datahub.spec import content_folder
from beam_datahub.testing import oracle

TEMPLATES = content_folder("templates")


def run(name: str, folder: Path) -> RunResult:
    return oracle.run_spec(TEMPLATES / name / "integration.yaml", {"output": str(folder)})


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_no_personal_data_of_the_customers_is_written(tmp_path: Path) -> None:
    result = run("customers-masked", tmp_path)
    assert oracle.reasons(result) == {("customers", "type_mismatch"): 2}
    written = lines(tmp_path / "customers.jsonl")
    given = (TEMPLATES / "customers-masked" / "data" / "customers.csv").read_text("utf-8").splitlines()[1:]
    assert len(written) == len(given) - 2
    text = (tmp_path / "customers.jsonl").read_text("utf-8")
    for line in given:
        _, name, email, phone, card, born, postcode, _, _ = line.split(",")
        shown = [value for value in (name, email, phone, card, postcode) if value and f'"{value}"' in text]
        assert shown == []
        assert f'"{born}"' not in text or born.endswith("-01-01")


def test_the_lake_is_partitioned_typed_and_summed_up(tmp_path: Path) -> None:
    result = run("lake", tmp_path)
    assert oracle.reasons(result) == {("typed", "cast_failed"): 3}
    folders = sorted(each.parent.relative_to(tmp_path).as_posix() for each in (tmp_path / "readings").rglob("*.parquet"))
    assert folders == [f"readings/day=2025-06-0{day}/site={site}" for day in (1, 2, 3) for site in ("north", "south")]
    expected = oracle.query(f"""
        SELECT CAST(try_cast(taken_at AS TIMESTAMP) AS DATE) AS day, site, count(*) AS readings,
               count(DISTINCT sensor) AS sensors,
               min(CAST(temperature AS DECIMAL(5,1))) AS coldest, max(CAST(temperature AS DECIMAL(5,1))) AS warmest,
               round(avg(CAST(humidity AS SMALLINT)), 1) AS humidity
        FROM read_csv('{TEMPLATES}/lake/data/readings.csv', all_varchar = true)
        WHERE temperature <> 'ERR' AND try_cast(taken_at AS TIMESTAMP) IS NOT NULL GROUP BY ALL
    """)
    assert oracle.differences(pq.read_table(tmp_path / "site_days.parquet"), expected) == ""


def test_the_catalogue_keeps_what_is_only_reported_and_not_what_is_rejected(tmp_path: Path) -> None:
    result = run("quality", tmp_path)
    assert oracle.reasons(result) == {("latest", "quality_rule"): 4}
    products = {each["sku"]: each for each in lines(tmp_path / "products.jsonl")}
    assert len(products) == 26
    assert {"P-013", "P-016", "P-017", "P-021"} < set(products)
    assert not {"P-004", "P-009", "P-006", "25"} & set(products)
    assert products["P-001"]["updated_at"] == "2025-04-29"


def test_the_invoices_keep_their_cents_and_find_their_suppliers(tmp_path: Path) -> None:
    result = run("legacy", tmp_path)
    assert oracle.reasons(result) == {("invoices", "contract"): 2, ("invoices", "ragged"): 1}
    written = oracle.written(result, "invoice_rows").to_pylist()
    given = (TEMPLATES / "legacy" / "data" / "invoices.txt").read_text("utf-8").splitlines()[1:-2]
    good = [line for line in given if line[12:21].isdigit() and line[21:29] != "20250532"]
    assert {int(each["invoice"]): round(float(each["amount"]) * 100) for each in written} == {
        int(line[1:7]): int(line[12:21]) for line in good
    }
    assert [int(each["supplier_id"]) for each in written if each["supplier"] == "unknown"] == [999]


def test_the_database_has_the_newest_state_of_each_article_and_every_state_once(tmp_path: Path) -> None:
    result = run("database", tmp_path)
    assert oracle.reasons(result) == {("exports", "no_cursor"): 1, ("exports", "type_mismatch"): 1}
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database:
        articles = database.execute("SELECT article, stock FROM articles ORDER BY article").fetchall()
        (states,) = database.execute("SELECT count(DISTINCT (article || updated_at)) FROM history").fetchone()
        (rows,) = database.execute("SELECT count(*) FROM history").fetchone()
    assert articles == [("A-100", 12), ("A-101", 3), ("A-200", 78), ("A-201", 17), ("A-300", 7), ("A-301", 31), ("A-400", 20)]
    assert (states, rows) == (11, 11)
