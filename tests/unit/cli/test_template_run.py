"""`templates run`: a packaged integration runs in a copy of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_template_is_copied_here_and_run_with_the_given_parameters(cli: Run, here: Path) -> None:
    ran = cli("templates", "run", "legacy", "--set", f"output={here / 'given'}")
    assert ran.exit_code == 0, ran.output
    assert (here / "legacy" / "data" / "invoices.txt").is_file()
    assert len((here / "given" / "invoices.csv").read_text("utf-8").splitlines()) == 1 + 28


def test_what_is_there_already_is_left_alone(cli: Run, here: Path) -> None:
    (here / "legacy").mkdir()
    refused = cli("templates", "run", "legacy")
    assert refused.exit_code == 3
    assert list((here / "legacy").iterdir()) == []


def test_a_wrong_parameter_leaves_no_folder_behind(cli: Run, here: Path) -> None:
    assert cli("templates", "run", "legacy", "--set", "outptu=x").exit_code == 3
    assert list(here.iterdir()) == []


def test_values_of_parameters_are_for_a_run_alone(cli: Run, here: Path) -> None:
    assert cli("templates", "legacy", "--set", "output=x").exit_code == 2
    assert cli("templates", "run").exit_code == 2
