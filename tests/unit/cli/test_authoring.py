"""`init`, `discover` and `test`: from a data file to a spec that is held to its word."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.cli.init import connector_for
from tests.unit.cli.conftest import SPEC, Run

TESTS = """
tests:
  - name: what is paid gets the tax
    given: {orders: [{id: 1, customer: 7, status: paid, amount: "10.00", note: null}, {id: 2, status: pending, amount: 1}]}
    expect: {out: [{id: 1, gross: 12}]}
  - name: an amount that is none is rejected
    given: {orders: [{id: 1, status: paid, amount: oops}]}
    expect: {out: []}
    rejected: [{step: orders, reason: type_mismatch, column: amount}]
"""


def test_init_writes_a_spec_that_runs(shop: Path, cli: Run) -> None:
    done = cli("init", "orders.csv", "-o", "new.yaml")
    assert done.exit_code == 0, done.output
    assert "beam-datahub run new.yaml" in done.stdout
    text = (shop / "new.yaml").read_text()
    assert "status: trim(status)" in text
    assert text.count("#") > 5
    assert cli("run", "new.yaml", "--quiet").exit_code == 0
    assert list((shop / "out/orders").rglob("*.parquet"))


def test_init_finds_its_way_from_another_folder(shop: Path, cli: Run) -> None:
    (shop / "specs").mkdir()
    cli("init", "orders.csv", "-o", "specs/new.yaml")
    assert "connection: {path: ../orders.csv}" in (shop / "specs/new.yaml").read_text()
    assert cli("validate", "specs/new.yaml").exit_code == 0


def test_init_replaces_nothing_unless_told_to(shop: Path, cli: Run) -> None:
    assert cli("init", "orders.csv", "-o", "shop.yaml").exit_code == 3
    assert (shop / "shop.yaml").read_text() == SPEC
    assert cli("init", "orders.csv", "-o", "shop.yaml", "--force").exit_code == 0


def test_init_skips_what_stands_above_the_header(shop: Path, cli: Run) -> None:
    (shop / "report.csv").write_text("2 rows\nid,amount\n1,2.5\n2,3\n")
    done = cli("init", "report.csv", "-o", "new.yaml")
    assert done.exit_code == 0, done.output
    assert "  skip_rows: 1\n  # id BIGINT, amount DOUBLE" in (shop / "new.yaml").read_text()
    assert cli("validate", "new.yaml").stderr == ""


def test_init_takes_names_that_need_quotes(shop: Path, cli: Run) -> None:
    (shop / "My Data #1.csv").write_text("First Name,größe: cm\n a ,1\n")
    done = cli("init", "My Data #1.csv", "-o", "new.yaml")
    assert done.exit_code == 0, done.output
    assert cli("validate", "new.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("name", "connector"),
    [("a.csv", "csv"), ("b.TSV.gz", "csv"), ("c.jsonl", "jsonl"), ("d.parquet", "parquet"), ("e.json", "json")],
)
def test_the_name_of_a_file_tells_the_connector(name: str, connector: str) -> None:
    assert connector_for(name) == connector


def test_init_says_which_names_it_knows(shop: Path, cli: Run) -> None:
    (shop / "a.xyz").write_text("x")
    done = cli("init", "a.xyz", "-o", "new.yaml")
    assert done.exit_code == 3
    assert ".parquet" in done.stderr


def test_init_looks_into_a_file_whose_name_may_stand_for_columns_of_fixed_width(shop: Path, cli: Run) -> None:
    (shop / "a.dat").write_text('1,"Goroka, New Guinea"\n2,Madang\n')
    assert "(csv, 2 columns" in cli("init", "a.dat", "-o", "new.yaml").stdout
    (shop / "b.dat").write_text("1750 5.0\n1751 11.0, and so on\n")
    done = cli("init", "b.dat", "-o", "other.yaml")
    assert done.exit_code == 3
    assert "--connector csv" in done.stderr
    assert "DH103" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "records"),
    [
        ("a.json", '{"3166-1": [{"n": 1}, {"n": 2}]}', 'records: $["3166-1"]'),
        ("b.json", '{"meta": {"page": 1}, "data": {"items": [{"n": 1}, {"n": 2}]}}', "records: $.data.items"),
        ("c.xml", "<feed><title>t</title><entries><entry><n>1</n></entry><entry><n>2</n></entry></entries></feed>", "//entry"),
    ],
)
def test_init_finds_the_records_inside_a_document(shop: Path, cli: Run, name: str, text: str, records: str) -> None:
    (shop / name).write_text(text)
    done = cli("init", name, "-o", "new.yaml")
    assert done.exit_code == 0, done.output
    assert "about 2 rows" in done.stdout
    assert records in (shop / "new.yaml").read_text()
    assert "2" in cli("preview", "new.yaml").stdout


def test_init_leaves_the_choice_where_a_document_has_several_lists_of_records(shop: Path, cli: Run) -> None:
    (shop / "a.json").write_text('{"nodes": [{"id": 1}], "links": [{"from": 1, "to": 1}]}')
    assert cli("init", "a.json", "-o", "new.yaml").exit_code == 0
    text = (shop / "new.yaml").read_text()
    assert "# records: $.nodes" in text
    assert "# records: $.links" in text


def test_discover_shows_the_types_and_pins_them(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text("\n".join(line for line in SPEC.splitlines() if "schema:" not in line) + "\n")
    done = cli("discover", "shop.yaml")
    assert done.exit_code == 0, done.output
    assert ["amount", "VARCHAR"] in [line.split() for line in done.stdout.splitlines()]
    assert cli("discover", "shop.yaml", "orders", "--pin").exit_code == 0
    assert "    amount: varchar\n" in (shop / "shop.yaml").read_text()
    assert cli("discover", "shop.yaml", "ordres").exit_code == 3


def test_tests_that_hold(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC + TESTS)
    done = cli("test", "shop.yaml")
    assert done.exit_code == 0, done.output
    assert "✓ what is paid gets the tax" in done.stdout
    assert "2 tests: 2 held, 0 failed" in done.stdout


def test_a_test_that_fails_shows_the_difference(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC + TESTS.replace("gross: 12}", "gross: 13}"))
    done = cli("test", "shop.yaml")
    assert done.exit_code == 1
    assert "✗ what is paid gets the tax  (shop.yaml:15" in done.stdout
    assert "      - {id: 1, gross: 13}\n      + {id: 1, gross: 12}\n          gross: 13 expected, 12 came\n" in done.stdout
    assert "[DH306]" in done.stderr


def test_all_specs_of_a_folder_are_tested_also_when_one_is_broken(shop: Path, cli: Run) -> None:
    (shop / "a.yaml").write_text(SPEC + TESTS)
    (shop / "b.yaml").write_text("name: b\nnonsense: 1\ntests: []\n")
    done = cli("test", ".")
    assert done.exit_code == 3
    assert "2 tests: 2 held" in done.stdout
    assert "b.yaml:2 (nonsense)" in done.stderr


def test_the_cases_of_a_reusable_transformation_run_by_its_name(cli: Run) -> None:
    done = cli("test", "split_name")
    assert done.exit_code == 0, done.output
    assert "✓ both ways to write a name" in done.stdout


def test_a_spec_without_tests_is_said_to_have_none(shop: Path, cli: Run) -> None:
    done = cli("test", "shop.yaml")
    assert done.exit_code == 3
    assert "there are no tests" in done.stderr
