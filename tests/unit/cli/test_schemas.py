from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Run = Any


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAM_DATAHUB_STORE", str(tmp_path / "store.db"))
    return tmp_path


def record(*fields: tuple[str, Any] | tuple[str, Any, Any]) -> str:
    found = [{"name": name, "type": kind, **({"default": rest[0]} if rest else {})} for name, kind, *rest in fields]
    return json.dumps({"type": "record", "name": "Order", "fields": found})


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


def test_a_schema_is_registered_once_and_grows_by_compatible_versions(work: Path, cli: Run) -> None:
    first = write(work, "a.avsc", record(("id", "int")))
    assert "registered version 1 of 'orders-value', id 1" in cli("schemas", "register", first, "-s", "orders-value").stdout
    (work / "a.avsc").write_text(json.dumps(json.loads(record(("id", "int"))), indent=4))
    assert "already there: version 1" in cli("schemas", "register", first, "-s", "orders-value").stdout
    second = write(work, "b.avsc", record(("id", "int"), ("name", "string", "")))
    told = json.loads(cli("schemas", "register", second, "-s", "orders-value", "--json").stdout)
    assert (told["version"], told["new"]) == (2, True)
    for first_version in (("orders-value", "--version", "1"), ("orders-value:1",)):
        assert cli("schemas", "show", *first_version).stdout.strip() == record(("id", "int"))
    assert json.loads(cli("schemas", "list", "--json").stdout) == [
        {"subject": "orders-value", "format": "avro", "versions": [1, 2], "compatibility": "backward", "deleted": False}
    ]


def test_the_same_schema_has_one_id_under_all_subjects(work: Path, cli: Run) -> None:
    file = write(work, "a.avsc", record(("id", "int")))
    ids = [json.loads(cli("schemas", "register", file, "-s", name, "--json").stdout)["id"] for name in ("one", "two")]
    assert ids[0] == ids[1]


def test_a_refused_version_says_why_and_what_would_do_and_registers_nothing(work: Path, cli: Run) -> None:
    cli("schemas", "register", write(work, "a.avsc", record(("id", "int"))), "-s", "s")
    file = write(work, "b.avsc", record(("id", "int"), ("name", "string")))
    checked = cli("schemas", "check", file, "-s", "s")
    assert checked.exit_code == 3
    assert "/fields/1: the field 'name' of the new schema has no default" in checked.stdout
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in checked.stdout
    refused = cli("schemas", "register", file, "-s", "s")
    assert refused.exit_code == 3
    assert "[DH122]" in refused.stderr
    assert json.loads(cli("schemas", "list", "--json").stdout)[0]["versions"] == [1]
    told = json.loads(cli("schemas", "check", file, "-s", "s", "--json").stdout)
    mended = write(work, "c.avsc", told["proposal"])
    assert cli("schemas", "check", mended, "-s", "s").exit_code == 0
    assert cli("schemas", "register", mended, "-s", "s").exit_code == 0


def test_a_level_is_set_for_one_subject_or_for_all(work: Path, cli: Run) -> None:
    cli("schemas", "register", write(work, "a.avsc", record(("id", "int"))), "-s", "s")
    other = write(work, "b.avsc", record(("id", "string")))
    assert cli("schemas", "check", other, "-s", "s").exit_code == 3
    assert cli("schemas", "check", other, "-s", "s", "--level", "none").exit_code == 0
    assert "'s': none" in cli("schemas", "compatibility", "s", "none").stdout
    assert cli("schemas", "register", other, "-s", "s").exit_code == 0
    cli("schemas", "compatibility", "--all", "full_transitive")
    assert "'s': none" in cli("schemas", "compatibility", "s").stdout
    assert "'s': full_transitive" in cli("schemas", "compatibility", "s", "default").stdout


def test_a_schema_that_another_one_refers_to_is_not_deleted(work: Path, cli: Run) -> None:
    person = write(work, "p.avsc", json.dumps({"type": "record", "name": "Person", "fields": []}))
    order = write(work, "o.avsc", record(("by", "Person")))
    missing = cli("schemas", "register", order, "-s", "order")
    assert (missing.exit_code, "[DH121]" in missing.stderr) == (3, True)
    cli("schemas", "register", person, "-s", "person")
    assert cli("schemas", "register", order, "-s", "order", "--reference", "Person=person:1").exit_code == 0
    kept = cli("schemas", "delete", "person")
    assert (kept.exit_code, "version 1 of 'order'" in kept.stderr) == (3, True)
    assert cli("schemas", "delete", "order").exit_code == 0
    assert cli("schemas", "delete", "person").exit_code == 0


def test_a_deleted_version_keeps_its_number_until_it_goes_for_good(work: Path, cli: Run) -> None:
    file = write(work, "a.avsc", record(("id", "int")))
    cli("schemas", "register", file, "-s", "s")
    cli("schemas", "delete", "s")
    assert json.loads(cli("schemas", "list", "--json").stdout) == []
    assert "version 2" in cli("schemas", "register", file, "-s", "s").stdout
    cli("schemas", "delete", "s", "--permanent")
    assert json.loads(cli("schemas", "list", "--deleted", "--json").stdout) == []


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("a.avsc", "{", "DH120"), ("a.proto", "message {", "DH120"), ("a.json", '{"$ref": "b.json"}', "DH121")],
)
def test_what_is_no_schema_is_not_registered(work: Path, cli: Run, name: str, text: str, code: str) -> None:
    refused = cli("schemas", "register", write(work, name, text), "-s", "s")
    assert (refused.exit_code, f"[{code}]" in refused.stderr) == (3, True)
    assert json.loads(cli("schemas", "list", "--json").stdout) == []


def test_a_diff_names_what_breaks_a_reader(work: Path, cli: Run) -> None:
    old = write(work, "a.proto", 'syntax = "proto3"; message M { int32 a = 1; }')
    new = write(work, "b.proto", 'syntax = "proto3"; message M { string a = 1; string b = 2; }')
    compared = cli("schemas", "diff", old, new)
    assert compared.exit_code == 1
    assert "✗ #/M/1: " in compared.stdout
    assert "· #/M/2: " in compared.stdout
    assert cli("schemas", "diff", old, old).stdout.strip() == "they say the same"


def test_a_subject_that_is_not_there_is_guessed(work: Path, cli: Run) -> None:
    cli("schemas", "register", write(work, "a.avsc", record(("id", "int"))), "-s", "orders-value")
    missing = cli("schemas", "show", "order-value")
    assert (missing.exit_code, "did you mean 'orders-value'?" in missing.stderr) == (3, True)


def test_a_schema_is_converted_and_what_is_not_kept_is_told_beside_it(work: Path, cli: Run) -> None:
    properties = {"id": {"type": "integer"}, "s": {"type": "string", "maxLength": 9}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    file = write(work, "order.json", json.dumps(schema))
    made = cli("schemas", "convert", file, "--to", "sql", "--dialect", "postgresql")
    assert made.stdout == 'CREATE TABLE "order" (\n  "id" BIGINT,\n  "s" TEXT\n);\n'
    assert made.stderr.strip() == "not kept: s: maxLength"
    assert cli("schemas", "convert", file, "--to", "avro", "--strict").exit_code == 3
    assert "optional int64 id = 1;" in cli("schemas", "convert", file, "--to", "protobuf").stdout
    assert cli("schemas", "convert", file, "--to", "arrow").stdout == "id: BIGINT\ns: VARCHAR\n"


def test_a_table_is_converted_from_one_dialect_to_a_schema_and_to_another(work: Path, cli: Run) -> None:
    file = write(work, "orders.sql", "CREATE TABLE `orders` (`id` BIGINT NOT NULL, `paid` DATETIME(6), `note` LONGTEXT)")
    made = cli("schemas", "convert", file, "--from-dialect", "mysql", "--to", "avro")
    assert [each["name"] for each in json.loads(made.stdout)["fields"]] == ["id", "paid", "note"]
    assert made.stderr.strip() == "not kept: id: that it is never null"
    made = cli("schemas", "convert", file, "--from-dialect", "mysql", "--to", "sql", "--dialect", "postgresql")
    assert made.stdout == 'CREATE TABLE "orders" (\n  "id" BIGINT,\n  "paid" TIMESTAMP,\n  "note" TEXT\n);\n'
    assert "there is no dialect 'db2'" in cli("schemas", "convert", file, "--from-dialect", "db2", "--to", "avro").stderr
