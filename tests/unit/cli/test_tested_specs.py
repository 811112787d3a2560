"""`test`: rows from files, failures of quality rules, lineage and parameters; `--filter`, `--junit` and `--update`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result

Run = Callable[..., Result]

HEAD = """\
name: shop   # the shop
parameters: {factor: {type: number, description: what prices are multiplied by}}
source:
  name: orders
  connector: csv
  connection: {path: nowhere.csv}
  delimiter: ";"
  schema: {id: bigint, status: varchar, amount: "decimal(8,2)"}
transformations:
  - {id: paid,   type: filtering,   config: {where: status = 'paid'}}
  - id: priced
    type: mapping
    config: {fields: {id: id, gross: "round(amount * ${param.factor}, 2)"}}
quality_rules:
  - {name: not too dear, step: priced, type: consistency, that: gross < 100}
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}}
"""

TESTS = """\
tests:
  # What matters most.
  - name: a file is read as the source would
    parameters: {factor: 2}
    given: {orders: {file: given.csv}}
    expect:
      out:
        - {id: 1, gross: 7}     # the small one
        # the dear one
        - {id: 2, gross: 400.00}

    rejected: [{reason: type_mismatch, column: amount}]
    violations: {not too dear: [{id: 2}]}
    lineage: {out.gross: orders.amount, priced.id: [orders.id]}

  - name: another factor
    parameters: {factor: 10}
    given: {orders: [{id: 5, status: paid, amount: 1.5}]}
    expect: {out: {file: want.csv}}
    violations: 0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("given.csv").write_text("id;status;amount\n1;paid;3.50\n2;paid;200\n3;open;1\n4;paid;much\n")
    Path("want.csv").write_text("id,gross\n5,15\n")
    Path("shop.yaml").write_text(HEAD + TESTS)
    return tmp_path


def changed(old: str, new: str) -> None:
    text = Path("shop.yaml").read_text()
    assert old in text
    Path("shop.yaml").write_text(text.replace(old, new))


def test_everything_that_a_test_can_expect_holds(folder: Path, cli: Run) -> None:
    found = cli("test", "shop.yaml")
    assert found.exit_code == 0, found.output
    assert "2 tests: 2 held, 0 failed" in found.output
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("not too dear: [{id: 2}]", "not too dear: [{id: 1}]", "+ {id: 2"),
        ("not too dear: [{id: 2}]", "not too dear: 2", "violations of 'not too dear': 2 expected, 1 came"),
        ("violations: 0", "violations: 3", "violations: 3 expected, 0 came"),
        ("out.gross: orders.amount", "out.gross: [orders.id]", "- orders.id"),
        ("out.gross: orders.amount", "out.grss: [orders.amount]", "there is no column 'out.grss'"),
        ("factor: 10", "factor: 11", "gross: 15 expected, 16.5 came"),
        ("want.csv", "nowhere.csv", "nowhere.csv"),
        ("given.csv", "given.parquette", "given.parquette"),
    ],
)
def test_what_does_not_hold_is_told(old: str, new: str, told: str, folder: Path, cli: Run) -> None:
    changed(old, new)
    found = cli("test", "shop.yaml")
    assert found.exit_code != 0
    assert told in found.output + found.stderr


@pytest.mark.parametrize(
    ("old", "new", "guess"),
    [
        ("not too dear: [{id: 2}]", "not to dear: 1", "did you mean 'not too dear'?"),
        ("parameters: {factor: 10}", "parameters: {fctor: 10}", "did you mean 'factor'?"),
        ("out.gross: orders.amount", "oout.gross: orders.amount", "did you mean 'out'?"),
        ("out.gross: orders.amount", "out.gross: order.amount", "did you mean 'orders'?"),
    ],
)
def test_a_name_that_the_spec_lacks_is_refused(old: str, new: str, guess: str, folder: Path, cli: Run) -> None:
    changed(old, new)
    found = cli("test", "shop.yaml", "--set", "factor=1")
    assert found.exit_code == 3
    assert guess in found.stderr


def test_a_filter_chooses_tests_by_name(folder: Path, cli: Run) -> None:
    assert "1 test: 1 held" in cli("test", "shop.yaml", "--filter", "Another").output
    assert "1 test: 1 held" in cli("test", "shop.yaml", "--filter", "a file*").output
    assert cli("test", "shop.yaml", "--filter", "nothing").exit_code == 3


def test_continuous_integration_gets_junit_xml(folder: Path, cli: Run) -> None:
    changed("factor: 10", "factor: 11")
    assert cli("test", "shop.yaml", "--junit", "reports/junit.xml").exit_code == 1
    suite = ElementTree.parse("reports/junit.xml").getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    (failed,) = [case for case in suite if len(case)]
    assert failed.attrib["name"] == "another factor"
    assert "16.5 came" in (failed[0].text or "")


def test_an_update_changes_the_expectations_and_nothing_else(folder: Path, cli: Run) -> None:
    for old, new in [
        ("gross: 400.00", "gross: 399.00"),
        ("[{reason: type_mismatch, column: amount}]", "0"),
        ("not too dear: [{id: 2}]", "not too dear: 5"),
        ("out.gross: orders.amount", "out.gross: [orders.id]"),
    ]:
        changed(old, new)
    before = Path("shop.yaml").read_text()
    found = cli("test", "shop.yaml", "--update")
    assert found.exit_code == 0, found.output
    after = Path("shop.yaml").read_text()
    told = [line.strip() for line in found.output.splitlines() if line.strip().startswith(("+  ", "-  "))]
    assert len(told) == 8
    assert after.startswith(HEAD + "tests:\n  # What matters most.\n")
    assert "- {id: 1, gross: 7}     # the small one\n        # the dear one\n        - {id: 2, gross: 400" in after
    assert "    rejected: 1\n" in after
    assert after[after.index("  - name: another factor") :] == before[before.index("  - name: another factor") :]
    assert cli("test", "shop.yaml").exit_code == 0


def test_an_update_adds_and_drops_rows(folder: Path, cli: Run) -> None:
    changed("        # the dear one\n        - {id: 2, gross: 400.00}\n", "")
    assert cli("test", "shop.yaml", "--update").exit_code == 0
    assert "{id: 2, gross: 400}" in Path("shop.yaml").read_text()
    assert "# the small one" in Path("shop.yaml").read_text()
    changed("        - {id: 2, gross: 400}\n", "        - {id: 2, gross: 400}\n        - {id: 9, gross: 1}\n")
    assert cli("test", "shop.yaml", "--update").exit_code == 0
    assert "id: 9" not in Path("shop.yaml").read_text()


@pytest.mark.parametrize("before", ["id,gross\n5,16\n", "id,gross\nfive,16\n", None])
def test_an_update_changes_the_rows_of_a_file(folder: Path, cli: Run, before: str | None) -> None:
    Path("want.csv").unlink() if before is None else Path("want.csv").write_text(before)
    spec, files = Path("shop.yaml").read_text(), {"shop.yaml", "given.csv", "want.csv"}
    failed = cli("test", "shop.yaml")
    assert (failed.exit_code, failed.stdout.count("✗")) == (1, 1)
    found = cli("test", "shop.yaml", "--update")
    assert found.exit_code == 0
    assert "    +5,15.00" in found.stdout
    assert Path("want.csv").read_text() == "id,gross\n5,15.00\n"
    assert Path("shop.yaml").read_text() == spec
    assert {each.name for each in folder.iterdir()} == files
    changed("factor: 10", "factor: 20")
    assert cli("test", "shop.yaml", "--update").exit_code == 0
    assert Path("want.csv").read_text() == "id,gross\n5,30.00\n"
    assert cli("test", "shop.yaml").exit_code == 0


def test_an_update_makes_files_of_other_formats_in_new_folders(folder: Path, cli: Run) -> None:
    changed("{file: want.csv}", "{file: cases/new/want.parquet}")
    found = cli("test", "shop.yaml", "--update")
    assert (found.exit_code, "wrote cases/new/want.parquet" in found.stdout) == (0, True)
    assert cli("test", "shop.yaml").exit_code == 0


def test_an_update_leaves_a_file_that_no_connector_writes(folder: Path, cli: Run) -> None:
    Path("want.xyz").write_text("5 16\n")
    changed("{file: want.csv}", "{file: want.xyz}")
    refused = cli("test", "shop.yaml", "--update")
    assert (refused.exit_code, "no connector reads files like 'want.xyz'" in refused.stderr) == (3, True)
    assert Path("want.xyz").read_text() == "5 16\n"
