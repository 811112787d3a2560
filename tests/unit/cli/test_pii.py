"""`pii` and `discover` show where personal data is, and none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

ROWS = "id,email,card\n1,ada@example.org,4111111111111111\n2,alan@example.com,5555555555554444\n"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(ROWS, "utf-8")
    Path("spec.yaml").write_text(
        "name: people\nsource: {name: people, connector: csv, connection: {path: people.csv}}\n"
        "destination: {connector: jsonl, connection: {path: out.jsonl}}\n",
        "utf-8",
    )
    return tmp_path


def test_columns_of_a_file_are_listed_without_their_values(cli: Run, people: Path) -> None:
    shown = cli("pii", "people.csv")
    assert shown.exit_code == 0
    assert "form of an e-mail address: 2 of 2 values" in shown.stdout
    assert "pii: {email: email, card: credit_card}" in shown.stdout
    assert "ada" not in shown.stdout
    assert "4111" not in shown.stdout


def test_the_sources_of_a_spec_are_looked_at(cli: Run, people: Path) -> None:
    found = json.loads(cli("pii", "spec.yaml", "--json").stdout)
    assert found["rows"] == {"people": 2}
    assert [(each["column"], each["kind"]) for each in found["findings"]["people"]] == [
        ("email", "email"),
        ("card", "credit_card"),
    ]


def test_nothing_is_said_to_be_found_where_nothing_is(cli: Run, people: Path) -> None:
    Path("plain.csv").write_text("id,amount\n1,2.5\n", "utf-8")
    assert "no personal data found" in cli("pii", "plain.csv").stdout


def test_discover_names_the_kinds(cli: Run, people: Path) -> None:
    shown = cli("discover", "spec.yaml").stdout
    assert "personal data" in shown
    assert "credit_card" in shown


def test_a_file_that_is_not_there_is_refused(cli: Run, people: Path) -> None:
    assert cli("pii", "nobody.csv").exit_code == 4
