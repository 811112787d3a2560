"""Connections under a name: stored, listed, tried, sealed anew, and used by specs."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import Result

from beam_datahub.errors import InvalidValue
from beam_datahub.runtime.connections import ConnectionLookup
from beam_datahub.security import Secrets
from beam_datahub.store.location import locate
from tests.unit.cli.conftest import SPEC, Run, rows

PASSWORD = "correct horse battery"


def listed(cli: Run) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(cli("connections", "list", "--json").stdout)}


def add_warehouse(cli: Run, monkeypatch: pytest.MonkeyPatch, name: str = "warehouse", *more: str) -> Result:
    monkeypatch.setenv("WAREHOUSE_PASSWORD", PASSWORD)
    options = ("--set", "host=127.0.0.1", "--set", "port=1", "--set", "user=etl", "--set", "database=dwh")
    return cli("connections", "add", name, "postgresql", *options, "--secret-env", "password=WAREHOUSE_PASSWORD", *more)


def stored_secret(shop: Path) -> str:
    with sqlite3.connect(shop / ".beam-datahub/store.db") as connection:
        (found,) = connection.execute("select sealed from connections where name = 'warehouse'").fetchone()
    connection.close()
    return str(json.loads(found)["password"])


def test_a_spec_names_a_stored_connection_in_every_command_that_reads_it(shop: Path, cli: Run) -> None:
    assert cli("connections", "add", "orders", "csv", "--set", "path=orders.csv").exit_code == 0
    case = "tests: [{name: paid only, given: {orders: []}, expect: {out: []}}]\n"
    (shop / "shop.yaml").write_text(SPEC.replace("connection: {path: orders.csv}", "connection: orders") + case)
    for command in (
        ("validate", "shop.yaml"),
        ("plan", "shop.yaml"),
        ("test", "shop.yaml"),
        ("lineage", "show", "shop.yaml"),
        ("lineage", "impact", "out.jsonl", "shop.yaml"),
        ("apply", "shop.yaml"),
        ("run", "shop.yaml", "-q"),
        ("lineage", "show", "shop.yaml", "--store", ".beam-datahub/store.db"),
    ):
        done = cli(*command)
        assert "unknown connection" not in done.output
        assert done.exit_code in ((0, 3) if command[1] == "impact" else (0,)), (command, done.output)
    assert [row["id"] for row in rows(shop / "out.jsonl")] == [1, 3]


def test_a_connection_of_another_connector_is_refused(shop: Path, cli: Run) -> None:
    cli("connections", "add", "orders", "jsonl", "--set", "path=orders.csv")
    (shop / "shop.yaml").write_text(SPEC.replace("connection: {path: orders.csv}", "connection: orders"))
    done = cli("validate", "shop.yaml")
    assert done.exit_code == 3
    assert "the connection 'orders' is one of 'jsonl', not of 'csv'" in done.output


def test_a_databases_connection_reaches_its_log_as_well(shop: Path, cli: Run) -> None:
    assert cli("connections", "add", "db", "postgresql", "--set", "host=db.example.com").exit_code == 0
    found = ConnectionLookup(locate(None)).settings("db", "postgresql_cdc", Secrets())
    assert found["host"] == "db.example.com"
    with pytest.raises(InvalidValue, match="is one of 'postgresql'"):
        ConnectionLookup(locate(None)).settings("db", "mysql_cdc", Secrets())


def test_a_name_that_is_not_stored_is_guessed(shop: Path, cli: Run) -> None:
    cli("connections", "add", "orders", "csv", "--set", "path=orders.csv")
    (shop / "shop.yaml").write_text(SPEC.replace("connection: {path: orders.csv}", "connection: ordres"))
    for command in (("validate", "shop.yaml"), ("connections", "test", "ordres"), ("connections", "show", "ordres")):
        done = cli(*command)
        assert (done.exit_code, "did you mean 'orders'?" in done.output) == (3, True), done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "pth=orders.csv"], ["unknown option 'pth'", "did you mean 'path'?"]),
        (["--set", "pth=orders.csv", "--set", "zzz=1"], ["unknown option 'pth'", "unknown option 'zzz'"]),
        ([], ["`path` is missing"]),
        (["--set", "path=${env.NOT_SET_ANYWHERE}"], ["NOT_SET_ANYWHERE"]),
        (["--set", "path=x", "--secret-env", "password=HOME"], ["'password' is not a secret option", "use --set"]),
        (["--set", "path=x", "--secret-env", "password=NOT_SET_ANYWHERE"], ["NOT_SET_ANYWHERE is not set"]),
    ],
    ids=["misspelt", "two misspelt", "missing", "variable", "no secret", "secret from nowhere"],
)
def test_options_that_the_connector_does_not_take_are_told_and_nothing_is_stored(
    shop: Path, cli: Run, options: list[str], said: list[str]
) -> None:
    done = cli("connections", "add", "orders", "csv", *options)
    assert done.exit_code == 3
    assert all(words in done.output for words in said), done.output
    assert "is missing" not in done.output or "pth" not in " ".join(options)
    assert "there are no connections" in cli("connections", "list").output


def test_an_unknown_connector_and_an_unfit_name_are_refused(shop: Path, cli: Run) -> None:
    unknown = cli("connections", "add", "orders", "cvs")
    assert (unknown.exit_code, "did you mean 'csv'?" in unknown.output) == (3, True)
    assert cli("connections", "add", "my orders", "csv", "--set", "path=x").exit_code == 2


def test_a_name_is_given_once_unless_it_is_to_be_replaced(shop: Path, cli: Run) -> None:
    cli("connections", "add", "orders", "csv", "--set", "path=orders.csv")
    taken = cli("connections", "add", "orders", "csv", "--set", "path=other.csv")
    assert (taken.exit_code, "[DH215]" in taken.output, "--replace" in taken.output) == (4, True, True)
    assert listed(cli)["orders"]["options"] == {"path": "orders.csv"}
    assert cli("connections", "add", "orders", "csv", "--set", "path=other.csv", "--replace").exit_code == 0
    assert listed(cli)["orders"]["options"] == {"path": "other.csv"}
    assert cli("connections", "remove", "orders").exit_code == 0
    assert cli("connections", "remove", "orders").exit_code == 3
    assert [json.loads(cli("store", "audit", "--kind", "connection", "--json").stdout)[i]["action"] for i in range(3)] == [
        "remove",
        "put",
        "put",
    ]


def test_a_secret_is_sealed_and_shown_nowhere(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    added = add_warehouse(cli, monkeypatch)
    assert (added.exit_code, "sealed: password" in added.output) == (0, True), added.output
    shown = [cli(*command).output for command in (("connections", "list"), ("connections", "show", "warehouse"))]
    shown += [cli(*command, "--json").output for command in (("connections", "list"), ("connections", "show", "warehouse"))]
    assert PASSWORD not in "".join([added.output, *shown])
    for file in (shop / ".beam-datahub").iterdir():
        assert PASSWORD.encode() not in file.read_bytes(), file
    key = shop / ".beam-datahub/store.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_secret_comes_from_standard_input_or_is_asked_for(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--set", "host=h", "--set", "user=etl", "--set", "database=dwh")
    done = cli("connections", "add", "piped", "postgresql", *options, "--secret-stdin", "password", input=f"{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    on_line = cli("connections", "add", "typed", "postgresql", *options, "--set", f"password={PASSWORD}")
    assert (on_line.exit_code, "others can see it" in on_line.stderr, PASSWORD in on_line.output) == (0, True, False)
    assert [sorted(each["secrets"]) for each in listed(cli).values()] == [["password"], ["password"]]


def test_a_new_key_seals_all_secrets_and_the_old_one_is_kept(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add_warehouse(cli, monkeypatch)
    before = stored_secret(shop)
    done = cli("connections", "rotate")
    assert (done.exit_code, "sealed again: warehouse" in done.output) == (0, True), done.output
    assert stored_secret(shop) != before
    keys = [line for line in (shop / ".beam-datahub/store.key").read_text().splitlines() if not line.startswith("#")]
    assert len(keys) == 2
    assert "nothing is wrong" in cli("store", "check").output
    assert "sealed again: nothing" in cli("connections", "rotate", "--same-keys").output


def test_there_is_no_key_to_change_where_nothing_was_ever_sealed(shop: Path, cli: Run) -> None:
    cli("connections", "add", "orders", "csv", "--set", "path=orders.csv")
    for more in ((), ("--same-keys",)):
        done = cli("connections", "rotate", *more)
        assert (done.exit_code, "no secret was ever sealed" in done.output) == (0, True), done.output
    assert not (shop / ".beam-datahub/store.key").exists()


def test_a_wrong_or_open_key_changes_nothing(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add_warehouse(cli, monkeypatch)
    key, before = shop / ".beam-datahub/store.key", stored_secret(shop)
    good = key.read_text()

    def refused(*words: str) -> None:
        for command in (("connections", "rotate"), ("connections", "test", "warehouse")):
            done = cli(*command)
            assert (done.exit_code, "[DH214]" in done.output) == (4, True), done.output
            assert all(word in done.output for word in words), done.output
        check = cli("store", "check")
        assert (check.exit_code, "the connection 'warehouse'" in check.output) == (4, True)
        assert stored_secret(shop) == before

    key.chmod(0o644)
    refused("others can read", "chmod 600")
    key.chmod(0o600)
    key.write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    refused("key")
    key.write_text("this is no key\n")
    refused("store.key")
    key.unlink()
    refused("there is no key")
    key.write_text(good)
    key.chmod(0o600)
    assert "nothing is wrong" in cli("store", "check").output


def test_a_test_reaches_out_and_its_outcome_is_kept(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("connections", "add", "orders", "csv", "--set", "path=orders.csv")
    done = cli("connections", "test", "orders")
    assert (done.exit_code, "✓ reading, files: 1 file" in done.output) == (0, True), done.output
    assert listed(cli)["orders"]["test_passed"] is True
    add_warehouse(cli, monkeypatch)
    lost = cli("connections", "test", "warehouse", "--json")
    assert lost.exit_code == 4
    assert json.loads(lost.stdout)["passed"] is False
    assert (listed(cli)["warehouse"]["test_passed"], PASSWORD in lost.output) == (False, False)
    assert "failed" in cli("connections", "list").output


def test_a_test_of_a_database_needs_no_table(shop: Path, cli: Run, postgresql: str) -> None:
    place = urlsplit(postgresql)
    options = ("--set", f"host={place.hostname}", "--set", f"port={place.port}", "--set", "user=postgres")
    cli("connections", "add", "db", "postgresql", *options, "--set", "database=postgres")
    done = cli("connections", "test", "db")
    assert (done.exit_code, "✓ login: postgres at postgres" in done.output) == (0, True), done.output


def test_a_test_says_what_is_missing_and_what_to_do(shop: Path, cli: Run, postgresql: str) -> None:
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as server:
        server.execute("create table if not exists kept (k int)")
        server.execute("create role looker login")
    try:
        place = urlsplit(postgresql)
        options = ("--set", f"host={place.hostname}", "--set", f"port={place.port}", "--set", "user=looker")
        cli("connections", "add", "look", "postgresql", *options, "--set", "database=postgres")
        done = cli("connections", "test", "look")
        assert done.exit_code == 0, done.output
        assert "! replication: looker may not replicate" in done.output
        assert '    hint: alter role "looker" replication; only change data capture' in done.output
        refused = cli("connections", "test", "look", "--table", "kept")
        assert refused.exit_code == 4
        assert "✗ reading, kept: permission denied for table kept" in refused.output
        told = json.loads(cli("connections", "test", "look", "--table", "kept", "--json").stdout)
        found = {(each["for"], each["what"]): each for each in told["checks"]}
        assert (told["passed"], found["reading", "kept"]["fine"], found["", "replication"]["needed"]) == (False, False, False)
        assert found["reading", "kept"]["hint"] == "grant the role the right"
        # What both roles find of the server is told once.
        assert [each["what"] for each in told["checks"]].count("server") == 1
    finally:
        with psycopg.connect(postgresql, autocommit=True) as server:
            server.execute("drop table kept")
            server.execute("drop role looker")
