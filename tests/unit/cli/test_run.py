"""`run` runs a spec and says what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import SPEC, Run, rows


def test_the_books_the_rejected_and_the_output_are_shown(shop: Path, cli: Run) -> None:
    done = cli("run", "shop.yaml")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["orders", "4", "·", "3", "·", "1", "✓"] in lines
    assert ["paid", "·", "3", "2", "1", "·", "✓"] in lines
    assert any(line[:3] == ["orders", "type_mismatch", "1"] and "'oops'" in line for line in lines)
    assert any(line[:2] == ["out", "2"] and line[-1] == "out.jsonl" for line in lines)
    assert rows(shop / "out.jsonl") == [{"id": 1, "gross": 12.6}, {"id": 3, "gross": 5.1}]


def test_rejected_records_of_a_spec_without_dead_letter_are_kept_here(shop: Path, cli: Run) -> None:
    cli("run", "shop.yaml")
    letters = [letter for file in (shop / ".beam-datahub/dead-letter/shop").glob("*.jsonl") for letter in rows(file)]
    assert [(letter["step"], letter["reason"], letter["line"]) for letter in letters] == [("orders", "type_mismatch", 5)]


def test_json_is_the_only_thing_on_standard_output(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(
        SPEC.replace("connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite", "connector: console")
    )
    done = cli("run", "shop.yaml", "--json")
    record = json.loads(done.stdout)
    assert (record["status"], record["read"], record["rejected"]) == ("completed_with_errors", 4, 1)
    assert record["startup_seconds"] > 0
    assert record["run_seconds"] > 0
    assert record["error"] is None


def test_an_error_is_json_too(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC.replace("status = 'paid'", "statsu = 1").replace("amount * 1.2", "amuont"))
    done = cli("run", "shop.yaml", "--json")
    assert done.exit_code == 3
    record = json.loads(done.stdout)
    assert record["status"] == "failed"
    assert [each["code"] for each in record["error"]["errors"]] == ["DH106", "DH106"]


def test_too_many_rejected_records_stop_the_run_before_it_publishes(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC + "max_rejected: 0\n")
    done = cli("run", "shop.yaml")
    assert done.exit_code == 6
    assert "1 record was rejected, 0 are allowed [DH302]" in done.stderr
    assert "nothing was written" in done.stdout
    assert not (shop / "out.jsonl").exists()
    record = json.loads(cli("run", "shop.yaml", "--json").stdout)
    assert (record["status"], record["error"]["code"]) == ("failed", "DH302")


def test_a_dry_run_shows_the_plan_and_touches_nothing(shop: Path, cli: Run) -> None:
    before = sorted(shop.rglob("*"))
    done = cli("run", "shop.yaml", "--dry-run")
    assert done.exit_code == 0
    assert "orders → paid → priced" in done.stdout
    assert json.loads(cli("run", "shop.yaml", "--dry-run", "--json").stdout)["status"] == "dry_run"
    assert sorted(shop.rglob("*")) == before


def test_limit_reads_only_the_first_records(shop: Path, cli: Run) -> None:
    cli("run", "shop.yaml", "--limit", "1")
    assert [row["id"] for row in rows(shop / "out.jsonl")] == [1]


def test_quiet_says_nothing(shop: Path, cli: Run) -> None:
    done = cli("run", "shop.yaml", "--quiet")
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("arguments", [("--memory", "4 apples"), ("--threads", "0"), ("--set", "novalue"), ("--limit", "0")])
def test_options_that_cannot_be_are_refused(shop: Path, cli: Run, arguments: tuple[str, ...]) -> None:
    assert cli("run", "shop.yaml", *arguments).exit_code == 2


def test_sizes_take_units(shop: Path, cli: Run) -> None:
    assert cli("run", "shop.yaml", "--memory", "512MB", "--threads", "1").exit_code == 0


def test_an_unknown_engine_is_refused(shop: Path, cli: Run) -> None:
    done = cli("run", "shop.yaml", "--engine", "dirct")
    assert done.exit_code == 3
    assert "did you mean 'direct'?" in done.stderr
