"""Personal data that nothing masked stays out of what runs leave beside their destinations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

SPEC = """\
name: people
source:
  name: people
  connector: csv
  connection: {path: people.csv}
  schema: {id: bigint, email: varchar, born: date, firm: varchar}
  pii: {email: email, born: date_of_birth}
quality_rules:
  - {name: known, step: people, type: validity, field: firm, in: [a], action: report}
profile: PROFILE
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, clearance: all}
dead_letter: {connector: jsonl, connection: {path: rejected/}, sealed: true}
"""
STEP = "transformations: [{id: few, type: filtering, config: {where: id > 1}}]\n"
PEOPLE = "id,email,born,firm\n1,ada@x.org,1815-12-10,a\n2,bob@x.org,1912-06-23,b\n3,cyd@x.org,never,b\n"
RAW = ("ada@x.org", "bob@x.org", "cyd@x.org", "1815-12-10", "1912-06-23")


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD", raising=False)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "people.yaml").write_text(SPEC.replace("PROFILE", "true"))
    return tmp_path


def left(folder: Path) -> dict[str, bytes]:
    """What runs left in their folders and in the store."""
    return {path.name: path.read_bytes() for path in (folder / ".beam-datahub").rglob("*") if path.is_file()}


def test_violations_profiles_and_reports_hold_no_personal_data_as_it_is(people: Path, cli: Run) -> None:
    done = cli("run", "people.yaml")
    assert done.exit_code == 0, done.output
    (violation,) = [
        json.loads(line)
        for file in (people / ".beam-datahub").rglob("violations/*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert json.loads(violation["record"]) == {"id": 2, "email": "b***@x.org", "born": "***", "firm": "b"}
    assert {"report.json", "report.html", "store.db"} <= set(left(people))
    assert [(name, raw) for name, data in left(people).items() for raw in RAW if raw.encode() in data] == []
    assert not any(raw in done.output for raw in RAW)
    report = json.loads(left(people)["report.json"])
    columns = report["profiles"]["people"]["columns"]
    assert (columns["email"]["distinct"], "top" in columns["email"]) == (2, False)
    assert "top" in columns["firm"]


def test_a_spec_may_ask_for_profiles_with_values(people: Path, cli: Run) -> None:
    (people / "people.yaml").write_text(SPEC.replace("PROFILE", "{values: true}"))
    assert cli("run", "people.yaml", "-q").exit_code == 0
    assert b"ada@x.org" in left(people)["report.json"]


def test_violations_show_what_the_dead_letter_may_hold(people: Path, cli: Run) -> None:
    text = SPEC.replace("PROFILE", "false").replace("sealed: true", "clearance: [email], sealed: true")
    (people / "people.yaml").write_text(text)
    assert cli("run", "people.yaml", "-q").exit_code == 0
    (file,) = (people / ".beam-datahub").rglob("violations/*.jsonl")
    assert json.loads(json.loads(file.read_text())["record"]) == {"id": 2, "email": "bob@x.org", "born": "***", "firm": "b"}


def test_samples_on_a_terminal_are_masked(people: Path, cli: Run) -> None:
    shown = cli("preview", "people.yaml", "people").output
    assert "b***@x.org" in shown
    assert "the column at fault is born" in shown
    assert not any(raw in shown for raw in RAW)
    assert all(raw in cli("preview", "people.yaml", "people", "--unmasked").output for raw in RAW)
    assert not any(raw in cli("profile", "people.yaml", "--details").output for raw in RAW)


def test_a_comparison_of_versions_is_masked(people: Path, cli: Run) -> None:
    (people / "newer.yaml").write_text((people / "people.yaml").read_text().replace("destination:", STEP + "destination:"))
    shown = cli("diff", "people.yaml", "newer.yaml").output
    assert "1 removed" in shown
    assert "email: '***'" in shown
    assert not any(raw in shown for raw in RAW)
