"""`preview` shows the first rows after any step."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import SPEC, Run


def test_the_rows_after_a_step_and_what_was_rejected_before_it(shop: Path, cli: Run) -> None:
    done = cli("preview", "shop.yaml", "priced")
    assert done.exit_code == 0, done.output
    assert "priced: 2 rows" in done.stdout
    assert "12.60" in done.stdout
    assert "Rejected: 1" in done.stdout
    assert "'oops' is not a DECIMAL(8,2)" in done.stdout
    assert not (shop / "out.jsonl").exists()


def test_rows_bounds_how_many_are_shown(shop: Path, cli: Run) -> None:
    assert "orders: 1 of 3 rows" in cli("preview", "shop.yaml", "orders", "--rows", "1").stdout


def test_without_a_step_it_is_the_last_one(shop: Path, cli: Run) -> None:
    assert "priced: 2 rows" in cli("preview", "shop.yaml").stdout


def test_a_destination_shows_what_it_would_get(shop: Path, cli: Run) -> None:
    assert "priced: 2 rows" in cli("preview", "shop.yaml", "out").stdout


def test_a_step_can_be_seen_while_a_later_one_is_half_written(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC.replace("round(amount * 1.2, 2)", "round(amout"))
    assert cli("preview", "shop.yaml").exit_code == 3
    assert "paid: 2 rows" in cli("preview", "shop.yaml", "paid").stdout


def test_an_unknown_step_is_guessed_at(shop: Path, cli: Run) -> None:
    done = cli("preview", "shop.yaml", "prized")
    assert done.exit_code == 3
    assert "did you mean 'priced'?" in done.stderr


def test_wide_rows_stand_below_each_other_on_a_narrow_terminal(shop: Path, cli: Run) -> None:
    lines = cli("preview", "shop.yaml", "orders", env={"COLUMNS": "30"}).stdout.splitlines()
    assert "row 1" in lines
    assert "  amount    10.50" in lines


def test_a_budget_for_rejected_records_hides_no_rows(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(SPEC + "max_rejected: 0\n")
    assert "priced: 2 rows" in cli("preview", "shop.yaml").stdout
