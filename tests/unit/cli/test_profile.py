"""`profile`: what the columns of a file hold, and of what passes through a spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from beam_datahub.cli import main

ORDERS = "id,status,note\n1,paid,AB-123\n2,open,\n3,paid,XY-987\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "s.yaml").write_text(
        "name: s\nsource: {name: orders, connector: csv, connection: {path: orders.csv}}\n"
        "transformations: [{id: paid, type: filtering, config: {where: status = 'paid'}}]\n"
        "destination: {id: out, connector: parquet, connection: {path: out/}}\nprofile: true\n"
    )
    return tmp_path


def profiles(*arguments: str) -> list[dict]:
    result = CliRunner().invoke(main, ["profile", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["profiles"]


def test_a_file_is_profiled(folder: Path) -> None:
    (found,) = profiles("orders.csv")
    assert found["rows"] == 3
    assert {name: (each["nulls"], each["distinct"]) for name, each in found["columns"].items()} == {
        "id": (0, 3),
        "status": (0, 2),
        "note": (1, 2),
    }
    assert found["columns"]["note"]["patterns"]["top"] == [{"pattern": "AA-999", "count": 2}]


def test_a_spec_is_profiled_and_nothing_is_written(folder: Path) -> None:
    found = {each["name"]: each["rows"] for each in profiles("s.yaml")}
    assert found == {"orders": 3, "out": 2}
    assert {each["name"]: each["rows"] for each in profiles("s.yaml", "--step", "paid")} == {"paid": 2}
    assert not (folder / "out").exists()


def test_a_run_profiles_on_its_way(folder: Path) -> None:
    result = CliRunner().invoke(main, ["run", "s.yaml", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["profiles"]
    assert (found["orders"]["rows"], found["out"]["rows"]) == (3, 2)
    assert found["out"]["columns"]["status"]["top"] == [{"value": "paid", "count": 2}]


@pytest.mark.parametrize("arguments", [["orders.csv", "--columns", "statu"], ["s.yaml", "--step", "payd"]])
def test_unknown_names_are_refused_with_a_guess(folder: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["profile", *arguments])
    assert result.exit_code == 3
    assert "did you mean" in result.output


def test_the_table_fits_eighty_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(main, ["profile", "orders.csv", "--details"])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "paid" in result.stdout


def test_pages_show_histograms_and_escape_what_comes_from_data(folder: Path) -> None:
    (folder / "orders.csv").write_text(ORDERS + "4,<script>alert(1)</script>,\n")
    profiles("orders.csv", "--html", "page.html")
    page = (folder / "page.html").read_text()
    assert "<svg" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
