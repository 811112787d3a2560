"""`lineage`: trees, flowcharts and JSON, over one spec or a folder of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]

REPORT = """\
name: report
source: {connector: jsonl, connection: {path: out.jsonl}}
transformations: [{type: filtering, config: {where: gross > 1}}]
destination: {id: dear, connector: csv, connection: {path: dear.csv}}
"""


def test_a_spec_shows_what_its_columns_come_from(shop: Path, cli: Run) -> None:
    shown = cli("lineage", "show", "shop.yaml").output
    assert "orders.amount  transformation  priced: round(amount * 1.2, 2)" in shown
    assert "orders.status  filter  paid: status = 'paid'" in shown
    record = json.loads(cli("lineage", "show", "shop.yaml", "--format", "json").output)
    assert json.loads(cli("lineage", "show", "shop.yaml", "--json").output) == record
    assert [each["role"] for each in record["datasets"]] == ["source", "destination", "dead_letter"]
    assert cli("lineage", "show", "shop.yaml", "--format", "mermaid").output.startswith("flowchart LR")


def test_a_column_is_followed_over_a_folder(shop: Path, cli: Run) -> None:
    (shop / "report.yaml").write_text(REPORT)
    (shop / "broken.yaml").write_text("name: broken\nsource: {connector: csv}\ndestination: {connector: nothing}\n")
    found = cli("lineage", "downstream", "orders.amount", ".")
    assert found.exit_code == 0
    assert "dear.csv#gross" in found.output
    assert "broken.yaml" in found.stderr
    assert "orders.csv#amount" in cli("lineage", "upstream", "dear.csv#gross", ".").output


def test_impact_names_the_line_that_breaks_and_ends_with_1(shop: Path, cli: Run) -> None:
    (shop / "report.yaml").write_text(REPORT)
    found = cli("lineage", "impact", "orders.amount", "shop.yaml", "report.yaml")
    assert found.exit_code == 1
    assert "shop.yaml:11 (transformations[1].config.fields.gross): unknown column 'amount'" in found.output
    assert "gives nothing new to report" in found.output
    assert cli("lineage", "impact", "orders.note", "shop.yaml").exit_code == 0
    record = json.loads(cli("lineage", "impact", "orders.amount", "shop.yaml", "--format", "json").output)
    assert record["breaks"] is True


def test_impact_is_drawn_for_a_document(shop: Path, cli: Run) -> None:
    (shop / "report.yaml").write_text(REPORT)
    found = cli("lineage", "impact", "orders.amount", "shop.yaml", "report.yaml", "--format", "mermaid")
    assert found.exit_code == 1
    first, *lines = found.output.splitlines()
    assert first == "flowchart LR"
    [job] = [line for line in lines if "shop breaks" in line]
    assert "unknown column 'amount'" in job
    assert ":::broken" in job
    assert any("report gets nothing new" in line for line in lines)
    assert any('|"gross: transformation"|' in line for line in lines)
    harmless = cli("lineage", "impact", "orders.note", "shop.yaml", "--format", "mermaid")
    assert (harmless.exit_code, "shop goes on" in harmless.output) == (0, True)


def test_an_id_is_meant_before_a_file_of_that_name(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text((shop / "shop.yaml").read_text().replace("out.jsonl", "out/orders"))
    assert "orders.csv#amount" in cli("lineage", "downstream", "orders.amount", "shop.yaml").output
    assert "out/orders" in cli("lineage", "upstream", "out/orders", "shop.yaml").output


def test_a_wrong_name_is_refused_with_a_guess(shop: Path, cli: Run) -> None:
    found = cli("lineage", "upstream", "out.grss", "shop.yaml")
    assert found.exit_code == 3
    assert "did you mean 'gross'?" in found.stderr
