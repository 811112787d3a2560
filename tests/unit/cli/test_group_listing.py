"""A group of commands lists without a command; what changes a store makes none where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("recording")


@pytest.mark.parametrize("group", ["runs", "violations", "integrations", "connections", "schemas"])
def test_a_group_takes_the_options_of_its_list(cli: Run, tmp_path: Path, group: str) -> None:
    store = str(tmp_path / "store.db")
    assert cli("store", "init", "--store", store).exit_code == 0
    assert json.loads(cli(group, "--json", "--store", store).stdout) == []
    assert cli(group, "--store", store).output == cli(group, "list", "--store", store).output
    assert "Commands:" in cli(group, "--help").output


def test_state_shows_where_it_is_asked_for_nothing_else(cli: Run, tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    cli("store", "init", "--store", store)
    assert json.loads(cli("state", "--json", "--store", store).stdout) == []


@pytest.mark.parametrize(
    "command",
    [
        ("runs", "cancel", "last"),
        ("runs", "resume", "last"),
        ("replay", "last"),
        ("violations", "resolve", "1"),
        ("integrations", "remove", "shop"),
    ],
)
def test_no_store_is_made_by_what_changes_one(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*command)
    assert done.exit_code == 4
    assert "DH210" in done.output
    assert not (tmp_path / ".beam-datahub").exists()


def test_a_report_and_a_run_are_found_by_either_end_of_the_id(shop: Path, cli: Run) -> None:
    record = json.loads(cli("run", "shop.yaml", "--json").stdout)
    run = str(record["run_id"])
    for part in (run, run[:12], run[-8:]):
        assert json.loads(cli("report", part, "--json").stdout)["run_id"] == run
    cli("run", "shop.yaml", "-q")
    for command in (("report", run[:4]), ("runs", "show", run[:4])):
        several = cli(*command)
        assert several.exit_code == 3
        assert f"'{run[:4]}' may be several runs" in several.output
    unknown = cli("report", "nothing")
    assert unknown.exit_code == 3
    assert "unknown run 'nothing'" in unknown.output
