from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beam_datahub.cli.commands import main
from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.errors import DataHubError, ErrorGroup, QualityFailed
from beam_datahub.runtime.launch import RunRequest, RunResult, run
from beam_datahub.runtime.report import html_report
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import load, loads

PEOPLE = [
    {"id": 1, "email": "ada@example.org", "age": 36, "country": "DE"},
    {"id": 2, "email": "bo", "age": 41, "country": "DE"},
    {"id": 3, "email": "cy@example.org", "age": None, "country": "FR"},
    {"id": 4, "email": "dee@example.org", "age": 200, "country": "XX"},
    {"id": 4, "email": None, "age": 20, "country": "DE"},
    {"id": 5, "email": "eve@", "age": 300, "country": "DE"},
]
EMAIL = {"name": "email", "step": "people", "type": "validity", "field": "email", "format": "email"}
AGE = {"name": "age", "step": "people", "type": "validity", "field": "age", "max": 150}
ID = {"name": "id", "step": "people", "type": "uniqueness", "field": "id"}
COUNTRY = {"name": "country", "step": "people", "type": "consistency", "with": "countries", "on": {"country": "code"}}


def integration(folder: Path, *rules: dict[str, Any], steps: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PEOPLE))
    (folder / "countries.csv").write_text("code\nDE\nFR\n")
    sources: dict[str, Any] = {"people": {"connector": "jsonl", "connection": {"path": str(folder / "people.jsonl")}}}
    if any("with" in rule for rule in rules):
        sources["countries"] = {"connector": "csv", "connection": {"path": str(folder / "countries.csv")}}
    return {
        "name": "people",
        "sources": sources,
        "transformations": steps or [{"id": "same", "type": "filtering", "input": "people", "config": {"where": "true"}}],
        "quality_rules": list(rules),
        "destinations": [
            {"id": "out", "connector": "jsonl", "connection": {"path": str(folder / "out.jsonl")}, "write_mode": "overwrite"}
        ],
        "dead_letter": {"connector": "jsonl", "connection": {"path": str(folder / "letters.jsonl")}},
        **more,
    }


class Ran:
    def __init__(self, folder: Path, *rules: dict[str, Any], engine: str = "direct", **more: Any) -> None:
        run_id = new_run_id()
        options = BuildOptions(run_id=run_id, threads=1, violations_folder=str(folder / "violations"))
        plan = build(loads(json.dumps(integration(folder, *rules, **more))), options)
        self.result: RunResult = run(plan, RunRequest(run_id, engine))
        self.letters = lines(folder / "letters.jsonl")
        self.out = lines(folder / "out.jsonl")
        self.violations = [row for file in sorted((folder / "violations").glob("*.jsonl")) for row in lines(file)]
        self.rules = {rule["name"]: rule for rule in self.result.quality}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def of(records: list[dict[str, Any]], key: str = "record") -> list[tuple[int, list[str] | str]]:
    told = [(json.loads(row[key])["id"], row.get("rules", row["message"])) for row in records]
    return sorted(told, key=lambda each: (each[0], str(each[1])))


def test_a_broken_rule_is_reported_and_all_records_go_on(tmp_path: Path) -> None:
    ran = Ran(tmp_path, EMAIL, {**AGE, "threshold": 0.6})
    assert (ran.result.status, len(ran.out), ran.letters) == ("completed", 6, [])
    assert of(ran.violations) == [(2, ["email"]), (4, ["age"]), (5, ["email", "age"])]
    email, age = ran.rules["email"], ran.rules["age"]
    assert (email["checked"], email["failed"], email["ratio"], email["passed"]) == (5, 2, 0.6, False)
    assert (age["checked"], age["failed"], age["ratio"], age["passed"]) == (5, 2, 0.6, True)


def test_a_violation_tells_where_the_record_stands(tmp_path: Path) -> None:
    (found,) = Ran(tmp_path, {**EMAIL, "where": "id = 5"}).violations
    assert (found["step"], found["source"], found["line"], found["row"]) == ("people", "people", 6, 5)
    assert found["file"].endswith("people.jsonl")
    assert json.loads(found["record"]) == PEOPLE[5]


def test_a_record_behind_a_filter_is_still_told_by_its_line(tmp_path: Path) -> None:
    keep = [{"id": "old", "type": "filtering", "input": "people", "config": {"where": "age > 100"}}]
    ran = Ran(tmp_path, {**EMAIL, "step": "old"}, {**AGE, "step": "out", "name": "late"}, steps=keep)
    assert sorted((row["step"], row["line"]) for row in ran.violations) == [("old", 6), ("out", 4), ("out", 6)]


def test_a_rejected_record_is_one_letter_with_the_names_of_all_its_rules(tmp_path: Path) -> None:
    ran = Ran(tmp_path, {**EMAIL, "action": "reject"}, AGE, {**COUNTRY, "action": "reject"}, {**ID, "action": "reject"})
    assert ran.result.status == "completed_with_errors"
    assert sorted(row["id"] for row in ran.out) == [1, 3]
    found = of(ran.letters, "original")
    assert [number for number, _ in found] == [2, 4, 4, 5]
    names = [[part.split(":")[0] for part in str(message).split("; ")] for _, message in found]
    assert sorted(names) == sorted([["email"], ["age", "country", "id"], ["id"], ["email", "age"]])
    assert {row["reason"] for row in ran.letters} == {"quality_rule"}
    # What is rejected and fails a rule that reports, too, is a violation as well.
    assert of(ran.violations) == [(4, ["age", "country", "id"]), (5, ["email", "age"])]
    assert ran.result.reasons == [{"step": "people", "reason": "quality_rule", "records": 4}]


def test_records_that_must_meet_others_carry_all_names_beside_those_that_are_rejected(tmp_path: Path) -> None:
    ran = Ran(tmp_path, EMAIL, {**AGE, "action": "reject"}, ID, COUNTRY)
    assert sorted(row["id"] for row in ran.out) == [1, 2, 3, 4]
    assert of(ran.violations) == [(2, ["email"]), (4, ["age", "id", "country"]), (4, ["id"]), (5, ["email", "age"])]
    assert {name: (rule["checked"], rule["failed"]) for name, rule in ran.rules.items()} == {
        "email": (5, 2),
        "age": (5, 2),
        "id": (6, 2),
        "country": (6, 1),
    }


def test_a_rule_that_fails_the_run_leaves_the_destinations_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"id": 0}\n')
    ran = Ran(tmp_path, {**EMAIL, "action": "fail"}, {**AGE, "action": "reject"})
    assert ran.result.status == "failed"
    assert isinstance(ran.result.error, QualityFailed)
    assert "email (people): 2 of 5 records failed" in ran.result.error.reason
    assert ran.out == [{"id": 0}]
    assert (len(ran.letters), len(ran.violations)) == (2, 2)


@pytest.mark.parametrize(
    ("threshold", "passed"),
    [(0.6, True), (0.61, False), ("60%", True), ({"failures": 2}, True), ({"failures": 1}, False), (0, True), (1, False)],
)
def test_a_threshold_is_a_share_or_a_count(tmp_path: Path, threshold: Any, passed: bool) -> None:
    ran = Ran(tmp_path, {**EMAIL, "threshold": threshold, "action": "fail"})
    assert (ran.rules["email"]["passed"], ran.result.status) == (passed, "completed" if passed else "failed")


def test_all_failing_records_are_kept(tmp_path: Path) -> None:
    many = [
        {"id": "many", "type": "sql", "input": "people", "config": {"query": "select id, unnest(range(5000)) as n from input"}}
    ]
    rule = {"name": "none", "step": "many", "type": "consistency", "that": "n < 0"}
    assert len(Ran(tmp_path, rule, steps=many).violations) == 6 * 5000


def test_a_rule_that_breaks_on_a_record_counts_it_as_failed(tmp_path: Path) -> None:
    cast = {"name": "cast", "step": "people", "type": "consistency", "that": "cast(email as integer) > 0"}
    where = {**EMAIL, "name": "where", "where": "cast(email as integer) > 0"}
    ran = Ran(tmp_path, cast, where)
    assert (ran.rules["cast"]["checked"], ran.rules["cast"]["failed"]) == (6, 6)
    assert (ran.rules["where"]["checked"], ran.rules["where"]["failed"]) == (5, 5)
    assert ran.result.status == "completed"


def test_rules_of_a_branch_and_of_a_destination(tmp_path: Path) -> None:
    route = [
        {"id": "way", "type": "route", "input": "people", "config": {"branches": {"german": "country = 'DE'"}, "default": "rest"}}
    ]
    outputs = [
        {"id": name, "input": f"way.{name}", "connector": "jsonl", "connection": {"path": str(tmp_path / f"{name}.jsonl")}}
        for name in ("german", "rest")
    ]
    rules = [
        {**EMAIL, "step": "way.german", "action": "reject"},
        {"name": "some", "step": "rest", "type": "row_count", "min": 2},
        {**AGE, "step": "rest", "action": "reject"},
        {"name": "few", "step": "german", "type": "row_count", "max": 2},
    ]
    ran = Ran(tmp_path, *rules, steps=route, destinations=outputs)
    assert [row["id"] for row in lines(tmp_path / "german.jsonl")] == [1, 4]
    assert [row["id"] for row in lines(tmp_path / "rest.jsonl")] == [3]
    assert {name: rule["passed"] for name, rule in ran.rules.items()} == {"email": False, "some": True, "age": False, "few": True}
    assert (ran.result.books["way.german"]["in"], ran.result.books["way.german"]["out"]) == (4, 2)


def test_a_rule_sees_columns_that_nobody_else_reads(tmp_path: Path) -> None:
    few = [{"id": "few", "type": "mapping", "input": "people", "config": {"fields": {"id": "id"}}}]
    ran = Ran(tmp_path, EMAIL, ID, steps=few)
    assert (ran.rules["email"]["failed"], ran.rules["id"]["failed"]) == (2, 2)
    assert {tuple(json.loads(row["record"])) for row in ran.violations} == {("id", "email")}


def test_an_empty_table_meets_every_rule_about_records(tmp_path: Path) -> None:
    none = [{"id": "none", "type": "filtering", "input": "people", "config": {"where": "id > 99"}}]
    fresh = {"name": "any", "step": "none", "type": "row_count", "min": 1}
    ran = Ran(tmp_path, {**EMAIL, "step": "none"}, {**ID, "step": "none"}, fresh, steps=none)
    assert {name: rule["passed"] for name, rule in ran.rules.items()} == {"email": True, "id": True, "any": False}


def test_an_exploding_pattern_takes_no_longer_than_others(tmp_path: Path) -> None:
    wide = [
        {"id": "wide", "type": "mapping", "input": "people", "config": {"fields": {"id": "id", "t": "repeat('a', 20000) || '!'"}}}
    ]
    rule = {"name": "bomb", "step": "wide", "type": "validity", "field": "t", "pattern": "^(a+)+$"}
    assert Ran(tmp_path, rule, steps=wide).rules["bomb"]["failed"] == 6


@pytest.mark.prism
def test_prism_finds_what_the_direct_engine_finds(tmp_path: Path, prism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_PRISM", prism)
    mean = {"name": "mean", "step": "people", "type": "statistics", "field": "age", "figure": "mean", "max": 50}
    rules = [EMAIL, {**AGE, "action": "reject"}, ID, COUNTRY, mean]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = Ran(tmp_path / "a", *rules), Ran(tmp_path / "b", *rules, engine="prism")
    assert ours.result.quality == theirs.result.quality
    assert of(ours.violations) == of(theirs.violations)
    assert of(ours.letters, "original") == of(theirs.letters, "original")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({**EMAIL, "field": "emial"}, "field", "unknown column 'emial'"),
    ({**EMAIL, "type": "validty"}, "type", "unknown quality rule 'validty'"),
    ({**EMAIL, "step": "peple"}, "step", "unknown source, step or destination 'peple'"),
    ({**EMAIL, "format": "emial"}, "format", "unknown format 'emial'"),
    ({**EMAIL, "fomat": "email"}, "fomat", "unknown option 'fomat'"),
    ({**EMAIL, "where": "age"}, "where", "a condition is true or false"),
    ({**EMAIL, "where": "age >"}, "where", "syntax error"),
    ({**EMAIL, "threshold": 5}, "threshold", "{failures: 5}"),
    ({**EMAIL, "threshold": "150%"}, "threshold", "or a count such as {failures: 10}"),
    ({**EMAIL, "severity": "urgent"}, "severity", "must be"),
    ({**EMAIL, "pattern": "(", "format": None}, "pattern", "missing )"),
    ({**EMAIL, "pattern": "(?<!a)b", "format": None}, "pattern", "not a regular expression that can be used"),
    ({**AGE, "pattern": "^1"}, "pattern", "a pattern is for text, and 'age' is BIGINT"),
    ({**AGE, "max": "old"}, "max", "whose limit is a number"),
    ({**AGE, "in": ["a"]}, "in", "BIGINT"),
    ({**COUNTRY, "with": "countrys"}, "with", "unknown step 'countrys'"),
    ({**COUNTRY, "on": {"country": "cod"}}, "on", "unknown column 'cod'"),
    ({**COUNTRY, "on": {"id": "code"}}, "on", "can never be equal"),
    ({**ID, "field": []}, "field", "no column"),
    ({"name": "n", "step": "people", "type": "row_count", "min": 1, "action": "reject"}, "action", "judges the table as a whole"),
    ({"name": "n", "step": "people", "type": "row_count", "min": 1, "threshold": 0.9}, "threshold", "holds or not"),
    ({"name": "n", "step": "people", "type": "row_count"}, "quality_rules", "there is no number"),
    ({"name": "n", "step": "people", "type": "schema", "columns": ["id"], "where": "id > 1"}, "where", "looks at no record"),
    ({"name": "n", "step": "people", "type": "freshness", "field": "id", "max_age": "1 day"}, "field", "dates and timestamps"),
    ({"name": "n", "step": "people", "type": "freshness", "field": "id", "max_age": "soon"}, "max_age", "no length of time"),
    ({"name": "n", "step": "people", "type": "consistency", "that": "uper(email) = email"}, "that", "uper"),
]


@pytest.mark.parametrize(("rule", "key", "words"), WRONG, ids=[f"{key}-{words}" for _, key, words in WRONG])
def test_what_is_wrong_with_a_rule_is_told_before_anything_runs(
    tmp_path: Path, rule: dict[str, Any], key: str, words: str
) -> None:
    spec = integration(tmp_path, {k: v for k, v in rule.items() if v is not None})
    with pytest.raises(DataHubError) as caught:
        build(loads(json.dumps(spec)))
    errors = caught.value.errors if isinstance(caught.value, ErrorGroup) else (caught.value,)
    assert any(
        words in error.reason + str(error.hint) and key in (error.place.path if error.place else ()) for error in errors
    ), errors


def test_all_wrong_rules_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    rules = [{**EMAIL, "field": "emial"}, {**AGE, "name": "b", "max": "x"}, {**ID, "name": "c", "field": "idd"}]
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(integration(tmp_path, *rules), indent=1))
    with pytest.raises(ErrorGroup) as caught:
        build(load(file))
    assert len(caught.value.errors) == 3
    assert all(error.place is not None and error.place.line for error in caught.value.errors)


def test_a_rule_cannot_reject_by_what_comes_from_its_own_records(tmp_path: Path) -> None:
    rule = {**COUNTRY, "with": "same", "on": {"id": "id"}, "action": "reject"}
    with pytest.raises(DataHubError, match="which comes from them"):
        build(loads(json.dumps(integration(tmp_path, rule))))


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataHubError, match="there is another quality rule 'email'"):
        loads(json.dumps(integration(tmp_path, EMAIL, EMAIL)))


@pytest.mark.usefixtures("recording")
def test_the_command_shows_the_rules_and_ends_with_their_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(integration(tmp_path, {**EMAIL, "action": "fail"}, AGE)))
    found = CliRunner().invoke(main, ["run", "spec.json", "--store", str(tmp_path / "store.db")])
    assert found.exit_code == 8, found.output
    assert "2 of 5 records failed, 100% wanted" in found.output
    assert "[DH320]" in found.output
    shown = CliRunner().invoke(main, ["report", "last", "--store", str(tmp_path / "store.db")])
    assert shown.exit_code == 0, shown.output
    assert "2 of 5 records failed" in shown.output
    told = CliRunner().invoke(main, ["report", "--json", "--store", str(tmp_path / "store.db")])
    assert [rule["name"] for rule in json.loads(told.output)["quality"]] == ["email", "age"]
    written = CliRunner().invoke(main, ["report", "--html", "page.html", "--store", str(tmp_path / "store.db")])
    assert written.exit_code == 0, written.output
    assert "2 of 5 records failed" in (tmp_path / "page.html").read_text()


@pytest.mark.usefixtures("recording")
def test_a_run_leaves_its_page_and_its_violations_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(integration(tmp_path, EMAIL)))
    found = CliRunner().invoke(main, ["run", "spec.json"])
    assert found.exit_code == 0, found.output
    (folder,) = (tmp_path / ".beam-datahub" / "runs").iterdir()
    assert {"report.json", "report.html", "violations"} <= {path.name for path in folder.iterdir()}, found.output
    assert sum(len(lines(file)) for file in (folder / "violations").glob("*.jsonl")) == 2


def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>&\"'"
    record = Ran(tmp_path, {**EMAIL, "name": nasty, "description": nasty, "where": "email <> '<b>'"}).result.as_record()
    page = html_report({**record, "integration": nasty, "error": {"reason": nasty, "code": "DH320", "hint": nasty}})
    assert nasty not in page
    assert "<script" not in page
    assert "<b>'" not in page
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|https?://""", page)
