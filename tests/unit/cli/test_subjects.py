from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SPEC = """\
name: bound
source:
  name: orders
  connector: jsonl
  connection: {path: in.jsonl}
  subject: SOURCE
  contract: {columns: CONTRACT}
transformations:
  - {id: m, type: mapping, config: {keep: all, fields: {big: "id * 10"}}}
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite, subject: TARGET}
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: None) -> Path:
    """A project with a store of its own and two orders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAM_DATAHUB_STORE", str(tmp_path / "store.db"))
    (tmp_path / "in.jsonl").write_text('{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n')
    return tmp_path


def spec(folder: Path, source: str = "orders-value", target: str = "out-value", contract: str = "evolve") -> str:
    (folder / "s.yaml").write_text(SPEC.replace("SOURCE", source).replace("TARGET", target).replace("CONTRACT", contract))
    return "s.yaml"


def register(cli: Any, folder: Path, subject: str, schema: Any, name: str = "a.avsc") -> None:
    (folder / name).write_text(json.dumps(schema))
    assert cli("schemas", "register", name, "-s", subject).exit_code == 0


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Order", "fields": [{"name": name, "type": kind} for name, kind in fields]}


ORDER = record(("id", "long"), ("name", "string"))


def versions(cli: Any, subject: str) -> list[int]:
    found = json.loads(cli("schemas", "list", "--json").stdout)
    return next((each["versions"] for each in found if each["subject"] == subject), [])


def violations(cli: Any) -> list[dict[str, Any]]:
    found = json.loads(cli("violations", "list", "--json").stdout)
    return list(found["violations"] if isinstance(found, dict) else found)


def test_a_source_has_the_columns_of_its_subject_and_new_ones_become_its_next_version(work: Path, cli: Any) -> None:
    named = spec(work)
    missing = cli("validate", named)
    assert (missing.exit_code, "s.yaml:6 (source.subject): unknown subject 'orders-value'" in missing.stderr) == (3, True)
    register(cli, work, "orders-value", ORDER)
    with (work / "in.jsonl").open("a") as file:
        file.write('{"id":3,"name":"c","extra":1.5}\n')
    assert cli("run", named).exit_code == 0
    assert versions(cli, "orders-value") == [1, 2]
    fields = json.loads(cli("schemas", "show", "orders-value").stdout)["fields"]
    assert fields[:2] == ORDER["fields"]
    assert fields[2] == {"name": "extra", "type": ["null", "double"], "default": None}
    assert "extra" not in (work / "out.jsonl").read_text()
    assert cli("run", named).exit_code == 0
    assert '"extra":1.5' in (work / "out.jsonl").read_text()
    assert versions(cli, "orders-value") == [1, 2]
    assert versions(cli, "out-value") == [1, 2]
    assert violations(cli) == []


def test_a_frozen_contract_fails_and_registers_nothing(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    (work / "in.jsonl").write_text('{"id":3,"name":"c","extra":1.5}\n')
    failed = cli("run", spec(work, contract="freeze"))
    assert (failed.exit_code, "[DH203]" in failed.stderr) == (4, True)
    assert versions(cli, "orders-value") == [1]
    assert versions(cli, "out-value") == []
    [found] = violations(cli)
    assert (found["kind"], found["step"], found["action"], found["rule"]) == (
        "schema_drift",
        "orders",
        "fail",
        "subject orders-value",
    )
    assert "has the key 'extra', which the schema does not have" in found["message"]


def test_data_of_another_type_than_a_frozen_subject_says_is_a_violation(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    (work / "in.jsonl").write_text('{"id":"x","name":"c"}\n')
    assert cli("run", spec(work, contract="evolve, types: freeze")).exit_code == 4
    [found] = violations(cli)
    assert "column 'id': \"x\" is not of type BIGINT" in found["message"]


def test_drift_that_the_subject_refuses_is_a_violation(work: Path, cli: Any) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}
    register(cli, work, "orders-value", schema, "a.json")
    (work / "in.jsonl").write_text('{"id":3,"name":"c","extra":1.5}\n')
    assert cli("run", spec(work)).exit_code == 0
    assert versions(cli, "orders-value") == [1]
    [found] = violations(cli)
    assert found["step"] == "orders"
    assert "'orders' has the new column extra" in found["message"]


def test_a_source_that_asks_for_one_version_stays_with_it(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", record(("id", "long")))
    register(cli, work, "orders-value", {**ORDER, "fields": [ORDER["fields"][0], {**ORDER["fields"][1], "default": ""}]})
    assert cli("run", spec(work, source="{name: orders-value, version: 1}")).exit_code == 0
    assert json.loads((work / "out.jsonl").read_text().splitlines()[0]) == {"id": 1, "big": 10}
    assert versions(cli, "orders-value") == [1, 2]
    assert [each["step"] for each in violations(cli)] == ["orders"]


def test_a_destination_that_would_break_its_readers_is_refused_before_anything_runs(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    register(cli, work, "out-value", record(("id", "string"), ("name", "string"), ("big", "long")))
    refused = cli("validate", spec(work))
    assert refused.exit_code == 3
    assert "s.yaml:10 (destination.subject): the subject 'out-value' is backward compatible" in refused.stderr
    assert "/fields/0/type: no type in the union of the new schema reads the string of version 1" in refused.stderr
    assert cli("run", "s.yaml").exit_code == 3
    assert not (work / "out.jsonl").exists()


def test_a_destination_keeps_the_words_and_rules_of_the_schema_it_follows(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    told = {"type": "string", "maxLength": 9, "description": "who"}
    first: dict[str, Any] = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": told},
        "additionalProperties": False,
    }
    register(cli, work, "out-value", first, "a.json")
    assert cli("run", spec(work)).exit_code == 0
    properties = json.loads(cli("schemas", "show", "out-value").stdout)["properties"]
    assert properties == {**first["properties"], "big": {"type": ["integer", "null"]}}


def test_a_destination_writes_what_readers_of_the_one_version_it_asks_for_can_read(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    register(cli, work, "out-value", record(("id", "double"), ("name", "string")))
    assert cli("validate", spec(work, target="{name: out-value, version: 1}")).exit_code == 3
    register(cli, work, "wide", record(("id", ["null", "long"]), ("name", ["null", "string"])))
    assert cli("run", spec(work, target="{name: wide, version: 1}")).exit_code == 0
    assert versions(cli, "wide") == [1]


def test_the_first_version_has_the_format_that_is_asked_for(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    assert cli("run", spec(work, target="{name: out-value, format: protobuf}")).exit_code == 0
    assert "optional int64 big = 3;" in cli("schemas", "show", "out-value").stdout


def test_a_failed_run_registers_nothing(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    (work / "in.jsonl").write_text('{"id":"x","name":"c"}\n')
    (work / "s.yaml").write_text((work / spec(work)).read_text() + "max_rejected: 0\n")
    assert cli("run", "s.yaml").exit_code == 6
    assert versions(cli, "out-value") == []


def test_a_schema_and_a_subject_are_not_both_taken(work: Path, cli: Any) -> None:
    named = spec(work)
    (work / named).write_text((work / named).read_text().replace("  contract:", "  schema: {id: bigint}\n  contract:"))
    both = cli("validate", named)
    assert (both.exit_code, "a `schema` or a `subject`, not both" in both.stderr) == (3, True)


@pytest.mark.parametrize(
    ("source", "target", "place", "words"),
    [
        ("ordres-value", "out-value", "6 (source.subject)", "did you mean 'orders-value'?"),
        ("{name: orders-value, version: 7}", "out-value", "6 (source.subject)", "known: 1, 2"),
        ("{name: orders-value, format: json}", "out-value", "6 (source.subject)", "is of avro, not of json"),
        ("text", "out-value", "6 (source.subject)", "is not a record"),
        ("''", "out-value", "6 (source.subject", "empty"),
        ("orders-value", "{name: out-value, version: 1}", "10 (destination.subject)", "unknown subject 'out-value'"),
        ("orders-value", "{name: orders-value, format: protobuf}", "10 (destination.subject)", "is of avro, not of protobuf"),
        ("orders-value", "text", "10 (destination.subject)", "is not a record"),
    ],
)
def test_a_subject_that_cannot_be_kept_to_is_told_by_validate(
    work: Path, cli: Any, source: str, target: str, place: str, words: str
) -> None:
    register(cli, work, "orders-value", ORDER)
    register(cli, work, "orders-value", {**ORDER, "doc": "second"})
    register(cli, work, "text", "string")
    refused = cli("validate", spec(work, source, target))
    assert refused.exit_code == 3
    assert f"s.yaml:{place}" in refused.stderr
    assert words in refused.stderr


def test_without_a_store_there_are_no_subjects(work: Path, cli: Any) -> None:
    assert "unknown subject 'orders-value'" in cli("validate", spec(work)).stderr
    assert not (work / "store.db").exists()


def test_a_deleted_subject_is_no_longer_kept_to(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    assert cli("validate", spec(work)).exit_code == 0
    assert cli("schemas", "delete", "orders-value").exit_code == 0
    assert cli("validate", "s.yaml").exit_code == 3


@pytest.mark.parametrize(("level", "fits"), [("forward", True), ("forward_transitive", False), ("none", True)])
def test_a_transitive_level_holds_a_destination_to_all_versions(work: Path, cli: Any, level: str, fits: bool) -> None:
    register(cli, work, "orders-value", ORDER)
    cli("schemas", "register", "a.avsc", "-s", "out-value")
    cli("schemas", "compatibility", "out-value", "none")
    register(cli, work, "out-value", record(("id", "string"), ("name", "string"), ("gone", "int")))
    register(cli, work, "out-value", record(("id", ["null", "long"]), ("name", ["null", "string"])))
    cli("schemas", "compatibility", "out-value", level)
    found = cli("validate", spec(work))
    assert found.exit_code == (0 if fits else 3)
    assert ("version 2" in found.stderr) is not fits


def test_a_column_that_goes_is_refused_where_older_readers_need_it(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    register(cli, work, "out-value", record(("id", ["null", "long"]), ("name", ["null", "string"]), ("gone", "long")))
    assert cli("validate", spec(work)).exit_code == 0
    cli("schemas", "compatibility", "out-value", "full")
    refused = cli("validate", "s.yaml")
    assert (refused.exit_code, "the field 'gone' of version 1 has no default" in refused.stderr) == (3, True)


def test_what_a_dry_look_finds_is_not_registered(work: Path, cli: Any) -> None:
    register(cli, work, "orders-value", ORDER)
    assert cli("validate", spec(work)).exit_code == 0
    assert cli("plan", "s.yaml").exit_code == 0
    assert cli("run", "s.yaml", "--no-record").exit_code == 0
    assert versions(cli, "out-value") == []
