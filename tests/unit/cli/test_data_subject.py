"""`export` and `erase`: one person's records in all that integrations wrote."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run

PEOPLE = "id,email,firm,amount\n1,ada@x.org,a,10\n2,bob@x.org,b,20\n3,ada@x.org,b,oops\n4,cyd@x.org,b,oops\n5,ada@x.org,b,30\n"
ADA = ("--subject", "email=ada@x.org")

SPEC = """\
name: people
source:
  name: people
  connector: csv
  connection: {path: people.csv}
  schema: {id: bigint, email: varchar, firm: varchar, amount: "decimal(8,2)"}
  pii: {email: email}
transformations:
  - {id: masked, type: mask, input: people, config: {fields: {email: hash}, key: "${secret.KEY}"}}
  - {id: contact, type: mapping, input: people, config: {fields: {id: id, who: lower(email)}}}
quality_rules:
  - {name: few, step: people, type: validity, field: amount, max: 15, action: report}
"""
MORE_STEPS = """\
  - {id: part, type: mask, input: people, config: {fields: {email: email}}}
  - {id: per_firm, type: aggregation, input: people, config: {by: [firm], measures: {n: count(*)}}}
quality_rules:
"""
DESTINATIONS = """\
destinations:
  - {id: parted, input: people, connector: parquet, connection: {path: out/parted}, partition_by: [firm], clearance: all}
  - {id: avro, input: contact, connector: avro, connection: {path: out/contact.avro}, clearance: all}
  - {id: orc, input: contact, connector: orc, connection: {path: out/contact.orc}, clearance: all}
  - {id: hashed, input: masked, connector: csv, connection: {path: out/hashed.csv.gz}}
  - {id: lines, input: masked, connector: jsonl, connection: {path: out/lines, compression: zstd}, partition_by: [firm]}
  - {id: table, input: contact, connector: sqlite, connection: {path: out/people.sqlite}, table: people, clearance: all}
"""
LETTERS = "dead_letter: {connector: jsonl, connection: {path: out/rejected/}, sealed: true}\n"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_KEY", "a-key-of-more-than-sixteen")
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD", raising=False)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "people.yaml").write_text(SPEC + DESTINATIONS + LETTERS)
    return tmp_path


def run(cli: Run) -> None:
    done = cli("run", "people.yaml", "-q")
    assert done.exit_code == 0, done.output


def report(cli: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli(*arguments, "--json").stdout)
    return found


def by_place(found: dict[str, Any], fact: str = "found") -> dict[str, Any]:
    return {place["name"]: place[fact] for place in found["places"]}


def test_all_records_of_a_person_are_handed_out_and_removed(people: Path, cli: Run) -> None:
    run(cli)
    done = cli("export", "people.yaml", *ADA)
    assert done.exit_code == 0, done.output
    assert "sources were not looked through" in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(record["place"] for record in records) == sorted(
        [*["parted", "avro", "orc", "hashed", "lines", "table"] * 2, "dead_letter"]
    )
    letter = next(record["record"] for record in records if record["place"] == "dead_letter")
    assert json.loads(letter["original"])["id"] == "3", "a sealed original is handed out in clear"

    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--dry-run"))["parted"] == 2
    # Violations show the address masked: by their number, they are found as well.
    assert by_place(report(cli, "erase", "people.yaml", "--subject", "id=5", "--dry-run"))["violations"] == 1
    done = cli("erase", "people.yaml", *ADA, "--yes")
    assert done.exit_code == 0, done.output
    assert "erased 13 records" in done.stdout
    assert "ada@x.org" not in done.stdout
    left = report(cli, "export", "people.yaml", *ADA, "--to", "left.jsonl")
    assert (left["found"], left["complete"], (people / "left.jsonl").read_text()) == (0, True, "")
    bob = by_place(report(cli, "erase", "people.yaml", "--subject", "id=2", "--dry-run"))
    assert {bob[name] for name in ("parted", "avro", "orc", "hashed", "lines", "table")} == {1}


def test_rejected_records_in_a_database_are_found_sealed_and_unsealed(people: Path, cli: Run) -> None:
    letters = "dead_letter: {connector: sqlite, connection: {path: out/rejected.sqlite}, table: rejected, clearance: [email]}\n"
    sealed = letters.replace("clearance: [email]", "sealed: true")
    for text in (letters, sealed):
        (people / "people.yaml").write_text(SPEC + DESTINATIONS + text)
        run(cli)
    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--yes"))["dead_letter"] == 2
    with sqlite3.connect(people / "out" / "rejected.sqlite") as file:
        assert file.execute("select count(*) from rejected").fetchall() == [(2,)]
    file.close()
    assert report(cli, "export", "people.yaml", *ADA, "--to", "left.jsonl")["complete"]


def test_what_nobody_can_tell_or_remove_is_said(people: Path, cli: Run) -> None:
    more = "  - {id: part_out, input: part, connector: jsonl, connection: {path: out/part.jsonl}}\n"
    more += "  - {id: firms, input: per_firm, connector: csv, connection: {path: out/firms.csv}}\n"
    more += "  - {id: screen, input: masked, connector: console}\n"
    (people / "people.yaml").write_text(SPEC.replace("quality_rules:\n", MORE_STEPS) + DESTINATIONS + more + LETTERS)
    run(cli)
    done = cli("erase", "people.yaml", *ADA, "--yes", "--report", "report.json")
    assert done.exit_code == 1
    found = json.loads((people / "report.json").read_text())
    states = by_place(found, "state")
    assert (states["part_out"], states["firms"], states["screen"]) == ("unsearchable", "unrelated", "unrelated")
    assert "only a part of it is there" in by_place(found, "reason")["part_out"]
    assert by_place(found, "reason")["firms"] == "none of its columns comes from email; of people it has firm"
    assert "ada" not in json.dumps(found)
    # By another column, the person can be told there as well.
    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--subject", "id=1", "--dry-run"))["part_out"] == 1


def test_an_integration_that_is_cleared_no_more_can_still_be_searched(people: Path, cli: Run) -> None:
    run(cli)
    cli("apply", "people.yaml")
    newer = (SPEC + DESTINATIONS + LETTERS).replace(", clearance: all", "").replace("sealed: true", "clearance: []")
    (people / "people.yaml").write_text(newer.replace("out/contact.avro", "out/other.avro"))
    assert cli("validate", "people.yaml").exit_code == 3
    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--dry-run"))["parted"] == 2


def test_older_versions_are_looked_through_and_sources_may_be_gone(people: Path, cli: Run) -> None:
    run(cli)
    assert cli("apply", "people.yaml").exit_code == 0
    text = (SPEC + DESTINATIONS + LETTERS).replace("out/contact.avro", "out/other.avro")
    (people / "people.yaml").write_text(text)
    assert cli("apply", "people.yaml").exit_code == 0
    (people / "people.csv").unlink()
    found = report(cli, "erase", "--all", *ADA, "--yes")
    erased = [place["where"][0].rpartition("/")[2] for place in found["places"] if place["erased"]]
    assert "contact.avro" in erased
    assert found["erased"] == 13


def test_the_audit_keeps_who_asked_and_a_hash(people: Path, cli: Run) -> None:
    run(cli)
    assert cli("erase", "people.yaml", *ADA, "--yes").exit_code == 0
    rows = (
        sqlite3.connect(people / ".beam-datahub" / "store.db").execute("select action, kind, name, details from audit").fetchall()
    )
    (entry,) = [row for row in rows if row[1] == "data subject"]
    assert entry[0] == "erase"
    assert len(entry[2]) == 32
    assert "ada" not in str(rows)


def test_records_that_are_no_json_are_reported_and_removed_on_demand(people: Path, cli: Run) -> None:
    (people / "people.yaml").write_text((SPEC + DESTINATIONS + LETTERS).replace("sealed: true", "clearance: all"))
    (people / "people.csv").write_text(PEOPLE + "6,ada@x.org,too,many,fields,here\n")
    run(cli)
    letters = next((people / "out" / "rejected").glob("*.jsonl"))
    done = cli("erase", "people.yaml", *ADA, "--yes")
    assert (done.exit_code, "mention the value" in done.stdout) == (1, True)
    assert "6,ada@x.org" in letters.read_text()
    assert cli("erase", "people.yaml", *ADA, "--yes", "--mentions").exit_code == 0
    assert "ada" not in letters.read_text()
    assert "cyd" in letters.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["people.yaml", "--subject", "emal=ada@x.org", "--yes"], 3, "did you mean 'email'?"),
        (["people.yaml", "--subject", "id=ada", "--yes"], 4, "the subject's id is BIGINT"),
        (["people.yaml", "--subject", "email=ada@x.org"], 2, "Nobody can be asked here"),
        (["--subject", "email=ada@x.org", "--yes"], 2, "Name a spec"),
        (["people.yaml", "--subject", "email=", "--yes"], 3, "the subject's email is empty"),
    ],
)
def test_a_wrong_request_changes_nothing(people: Path, cli: Run, arguments: list[str], status: int, says: str) -> None:
    done = cli("erase", *arguments)
    assert (done.exit_code, says in done.output) == (status, True), done.output


def test_reports_of_runs_lose_the_value(people: Path, cli: Run) -> None:
    run(cli)
    page = next((people / ".beam-datahub" / "runs").glob("*/report.html"))
    page.write_text(page.read_text() + "<p>ada@x.org</p>")
    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--yes"), "state")["reports and logs of runs"] == "erased"
    assert "ada@x.org" not in page.read_text()


def test_a_source_that_is_gone_has_the_columns_of_the_last_run(people: Path, cli: Run) -> None:
    source = "name: people\nsource: {name: people, connector: csv, connection: {path: people.csv}}\n"
    step = "transformations:\n  - {id: contact, type: mapping, config: {fields: {who: upper(email)}}}\n"
    (people / "people.yaml").write_text(source + step + "destination: {id: out, connector: orc, connection: {path: out.orc}}\n")
    run(cli)
    (people / "people.csv").unlink()
    assert by_place(report(cli, "erase", "people.yaml", *ADA, "--yes"), "erased") == {"out": 3, "dead_letter": 0}
