"""`store`: made, looked at, backed up, pruned, brought up to date; and what a store that cannot be used does to a run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from beam_datahub.store import database, versions
from beam_datahub.store import store as store_module
from tests.unit.cli.conftest import SPEC, Run, rows

pytestmark = pytest.mark.usefixtures("recording")

STORE = ".beam-datahub/store.db"


def listed(cli: Run, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("runs", "list", "--json", *arguments).stdout)
    return found


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_a_store_is_made_once_and_told_of(shop: Path, cli: Run) -> None:
    assert "made a store of version 0002 at" in cli("store", "init").output
    again = cli("store", "init")
    assert (again.exit_code, "there is a store" in again.output) == (0, True)
    assert (shop / ".beam-datahub/.gitignore").read_text() == "*\n"
    cli("run", "shop.yaml", "-q")
    facts = json.loads(cli("store", "info", "--json").stdout)
    assert (facts["version"], facts["rows"]["runs"]) == ("0002", 1)
    assert facts["bytes"] > 10_000
    assert "run steps" in cli("store", "info").output
    assert "nothing is wrong" in cli("store", "check").output


def test_a_store_elsewhere_is_named_by_an_option_or_by_the_environment(
    shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", "shop.yaml", "-q", "--store", "one.db").exit_code == 0
    monkeypatch.setenv("BEAM_DATAHUB_STORE", str(shop / "one.db"))
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    assert len(listed(cli)) == 2
    assert not (shop / STORE).exists()


def test_a_backup_is_a_store_to_go_on_with(shop: Path, cli: Run) -> None:
    cli("run", "shop.yaml", "-q")
    assert "wrote copy.db" in cli("store", "backup", "copy.db").output
    taken = cli("store", "backup", "copy.db")
    assert (taken.exit_code, "[DH205]" in taken.output) == (4, True)
    assert cli("store", "backup", "copy.db", "--replace").exit_code == 0
    assert listed(cli, "--store", "copy.db") == listed(cli)


def test_pruning_says_what_would_go_before_it_goes(shop: Path, cli: Run) -> None:
    for _ in range(3):
        cli("run", "shop.yaml", "-q")
    ids = [each["run_id"] for each in listed(cli)]
    asked = cli("store", "prune", "--older-than", "0h", "--keep", "1", "--dry-run").output
    assert ("would let go of 2 runs" in asked, ids[2] in asked, ids[0] in asked) == (True, True, False)
    assert len(listed(cli)) == 3
    done = json.loads(cli("store", "prune", "--older-than", "0h", "--keep", "1", "--json").stdout)
    assert (sorted(done["runs"]), done["kept"]) == (sorted(ids[1:]), 1)
    assert [path.name for path in (shop / ".beam-datahub/runs").iterdir()] == [ids[0]]
    assert [each["run_id"] for each in listed(cli)] == [ids[0]]
    assert cli("store", "prune", "--older-than", "soon").exit_code == 2
    assert "prune" in cli("store", "audit", "--kind", "store").output


def test_the_audit_names_who_changed_what(shop: Path, cli: Run) -> None:
    cli("apply", "shop.yaml")
    cli("run", "shop", "-q")
    entries = json.loads(cli("store", "audit", "--json").stdout)
    assert [(each["action"], each["kind"]) for each in entries] == [("end", "run"), ("begin", "run"), ("apply", "integration")]
    assert all("@" in each["who"] for each in entries)
    assert len(json.loads(cli("store", "audit", "--kind", "run", "--limit", "1", "--json").stdout)) == 1
    assert "nothing of that kind" in cli("store", "audit", "--kind", "subject").output


def test_views_tell_how_integrations_connectors_and_rules_do(shop: Path, cli: Run) -> None:
    rule = "quality_rules: [{name: has a note, step: paid, type: completeness, field: note, severity: high, threshold: 1}]\n"
    (shop / "shop.yaml").write_text(SPEC + rule)
    assert "nothing has run yet" in cli("integrations", "health", "--store", store_of(cli)).output
    cli("run", "shop.yaml", "-q")
    (shop / "orders.csv").rename(shop / "gone.csv")
    cli("run", "shop.yaml", "-q")
    (health,) = json.loads(cli("integrations", "health", "--json").stdout)
    assert (health["runs"], health["completed_with_errors"], health["failed"], health["failures_since_success"]) == (2, 1, 1, 1)
    assert (health["records_read"], health["records_rejected"], health["open_violations"]) == (4, 1, 1)
    assert "failing (1)" in cli("integrations", "health", "shop").output
    used = {
        (each["connector"], each["role"]): each["records"]
        for each in json.loads(cli("integrations", "connectors", "--json").stdout)
    }
    assert used["csv", "source"] == 4
    assert used["jsonl", "destination"] == 2
    assert "destination" in cli("integrations", "connectors").output
    (broken,) = json.loads(cli("violations", "rules", "--json").stdout)
    assert (broken["rule"], broken["violations"], broken["open"], broken["records_failed"]) == ("has a note", 1, 1, 1)
    assert "has a note" in cli("violations", "rules").output
    shown = json.loads(cli("runs", "show", listed(cli)[1]["run_id"], "--json").stdout)
    assert ("rows_read", 4.0) in [(each["name"], each["value"]) for each in shown["metrics"]]
    assert (shown["kind"], shown["written"]) == ("full", 2)
    assert listed(cli, "--kind", "incremental") == []


def store_of(cli: Run) -> str:
    assert cli("store", "init").exit_code == 0
    return STORE


# a store that cannot be used


def unusable(shop: Path, how: str) -> Path:
    place = shop / ".beam-datahub"
    path = place / "store.db"
    if how == "below a file":
        place.write_text("mine")
        return path
    place.mkdir(exist_ok=True)
    if how == "a folder":
        path.mkdir()
    elif how == "damaged":
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    elif how == "something else":
        with opened(path) as other:
            other.execute("create table invoices (id integer)")
    elif how == "newer":
        with opened(path) as other:
            for table in ("alembic_version (version_num text)", "run_steps (run_id text)"):
                other.execute(f"create table {table}")
            other.execute("insert into alembic_version values ('9999')")
    return path


HOWS = {"a folder": "DH210", "damaged": "DH212", "something else": "DH212", "newer": "DH213"}


@pytest.mark.parametrize("how", HOWS)
def test_a_store_that_cannot_be_used_stops_only_a_run_that_named_it(shop: Path, cli: Run, how: str) -> None:
    path = unusable(shop, how)
    before = path.read_bytes() if path.is_file() else None
    done = cli("run", "shop.yaml")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("warning: the run is not recorded: ") == 1
    assert len(rows(shop / "out.jsonl")) == 2
    (shop / "out.jsonl").unlink()
    # A folder that is named holds store.db; that one is a folder here.
    refused = cli("run", "shop.yaml", "--store", str(path.parent))
    assert (refused.exit_code, f"[{HOWS[how]}]" in refused.stderr, "hint: " in refused.stderr) == (4, True, True), refused.output
    assert not (shop / "out.jsonl").exists()
    for command in (("runs", "list"), ("store", "info"), ("store", "backup", "copy.db"), ("connections", "list")):
        found = cli(*command)
        assert (found.exit_code, f"[{HOWS[how]}]" in found.stderr) == (4, True), (command, found.output)
    assert not (shop / "copy.db").exists()
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_store_that_cannot_be_made_is_what_is_told(shop: Path, cli: Run) -> None:
    (shop / "file").write_text("mine")
    done = cli("run", "shop.yaml", "--store", "file/deeper/store.db")
    assert (done.exit_code, "[DH210]" in done.stderr) == (4, True), done.output
    assert "the folder of the store cannot be made" in done.stderr
    assert not (shop / "out.jsonl").exists()
    assert (shop / "file").read_text() == "mine"


@pytest.mark.parametrize("named", ["mysql://here/it", "sqlite://", "sqlite:///:memory:"])
def test_a_place_that_can_hold_no_store_is_refused(shop: Path, cli: Run, named: str) -> None:
    done = cli("run", "shop.yaml", "--store", named)
    assert (done.exit_code, "[DH102]" in done.stderr, "hint: " in done.stderr) == (3, True, True), done.output


def test_a_server_that_does_not_answer_is_told_of_without_its_password(shop: Path, cli: Run) -> None:
    done = cli("run", "shop.yaml", "--store", "postgresql://etl:hunter2secret@127.0.0.1:1/hub")
    assert (done.exit_code, "[DH210]" in done.stderr, "is the server running" in done.stderr) == (4, True, True), done.output
    assert "hunter2secret" not in done.output
    assert not (shop / "out.jsonl").exists()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once where another process holds the store; the store is opened in this process."""
    defaults = store_module.open_store.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "busy_seconds", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_another_process_holds_stops_only_a_run_that_named_it(shop: Path, cli: Run) -> None:
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    with opened(shop / STORE) as other:
        other.execute("BEGIN IMMEDIATE")
        done = cli("run", "shop.yaml")
        assert (done.exit_code, "the run is not recorded: another process holds the store" in done.stderr) == (0, True)
        refused = cli("run", "shop.yaml", "--store", STORE)
        assert (refused.exit_code, "[DH211]" in refused.stderr) == (4, True), refused.output
        assert len(listed(cli)) == 1, "who only looks does not wait"
        other.execute("ROLLBACK")
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    assert [each["status"] for each in listed(cli)] == ["completed_with_errors"] * 2


@pytest.mark.usefixtures("rights_hold")
def test_a_read_only_store_can_be_read_and_stops_only_a_run_that_named_it(shop: Path, cli: Run) -> None:
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    (shop / STORE).chmod(0o400)
    done = cli("run", "shop.yaml")
    assert (done.exit_code, "the run is not recorded: " in done.stderr, "read-only" in done.stderr) == (0, True, True), (
        done.output
    )
    (shop / "out.jsonl").unlink()
    refused = cli("run", "shop.yaml", "--store", STORE)
    assert (refused.exit_code, "[DH210]" in refused.stderr, "read-only" in refused.stderr) == (4, True, True), refused.output
    assert not (shop / "out.jsonl").exists()
    assert len(listed(cli)) == 1


def test_a_full_disk_loses_no_run_that_was_recorded(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    real = database._opened

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*arguments, **options)
        # SQLite's own limit makes the error that a full disk makes.
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    with opened(shop / STORE) as other:
        # No page is free for what comes next.
        other.execute("VACUUM")
    with monkeypatch.context() as patch:
        patch.setattr(database, "_opened", small)
        done = cli("run", "shop.yaml")
        assert (done.exit_code, "disk of the store" in done.stderr) == (0, True), done.output
    assert "nothing is wrong" in cli("store", "check").output
    assert listed(cli)[-1]["status"] == "completed_with_errors"


# bringing a store up to date

MORE = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

def upgrade():
    op.add_column("runs", sa.Column("more", sa.String()))
    {then}
"""


@dataclass(frozen=True)
class Newer:
    """A beam-datahub with a further migration, which it takes on when `begin` is called."""

    file: Path
    begin: Callable[[], None]


@pytest.fixture
def newer(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Newer:
    """What a later release brings."""
    folder = tmp_path_factory.mktemp("newer") / "migrations"
    shutil.copytree(versions.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "versions" / "0003_more.py"
    file.write_text(MORE.format(then=""))

    def begin() -> None:
        monkeypatch.setattr(versions, "MIGRATIONS", folder)
        monkeypatch.setattr(versions, "HEAD", "0003")

    return Newer(file, begin)


def test_an_older_file_is_upgraded_whole_and_a_copy_kept(shop: Path, cli: Run, newer: Newer) -> None:
    cli("run", "shop.yaml", "-q")
    newer.begin()
    looked = cli("runs", "list")
    assert (looked.exit_code, "[DH213]" in looked.stderr, "store upgrade" in looked.stderr) == (4, True, True), looked.output
    newer.file.write_text(MORE.format(then="raise RuntimeError('cut off')"))
    assert cli("store", "upgrade").exit_code == 70
    newer.file.write_text(MORE.format(then=""))
    done = cli("store", "upgrade", "--backup", "before.db")
    assert "upgraded from version 0002 to 0003" in done.output, done.output
    assert "of the newest version 0003" in cli("store", "upgrade").output
    assert len(listed(cli)) == 1
    with opened(shop / "before.db") as copy:
        assert copy.execute("select version_num from alembic_version").fetchone() == ("0002",)


def test_an_older_file_is_upgraded_by_the_next_run(shop: Path, cli: Run, newer: Newer) -> None:
    cli("run", "shop.yaml", "-q")
    newer.begin()
    assert cli("run", "shop.yaml", "-q").exit_code == 0
    assert len(listed(cli)) == 2


def test_an_older_database_that_is_shared_waits_for_a_person(shop: Path, cli: Run, newer: Newer, server: str) -> None:
    cli("run", "shop.yaml", "-q", "--store", server)
    newer.begin()
    refused = cli("run", "shop.yaml", "-q", "--store", server)
    assert (refused.exit_code, "[DH213]" in refused.stderr, "store upgrade" in refused.stderr) == (4, True, True), refused.output
    assert "to 0003" in cli("store", "upgrade", "--store", server).output
    assert cli("run", "shop.yaml", "-q", "--store", server).exit_code == 0
    assert len(listed(cli, "--store", server)) == 2


# in PostgreSQL


@pytest.fixture
def server(postgresql: str) -> str:
    """The URL of a database that holds nothing."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("drop database if exists cli")
        connection.execute("create database cli")
    return f"{postgresql.rpartition('/')[0]}/cli"


def test_a_whole_run_in_a_shared_store(shop: Path, server: str) -> None:
    def call(*arguments: str) -> str:
        code = "from beam_datahub.cli import main; main(prog_name='beam-datahub')"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=shop, capture_output=True, text=True, check=False, env={**os.environ}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    record = json.loads(call("run", "shop.yaml", "--store", server, "--json"))
    shown = json.loads(call("runs", "show", "last", "--store", server, "--json"))
    assert (shown["run_id"], shown["status"], shown["read"]) == (record["run_id"], "completed_with_errors", 4)
    assert {step["step"]: step["rejected"] for step in shown["steps"]}["orders"] == 1
    assert not (shop / STORE).exists()


def test_a_shared_store_keeps_connections_integrations_and_a_copy_in_a_file(shop: Path, cli: Run, server: str) -> None:
    where = ("--store", server)
    assert cli("connections", "add", "orders", "csv", "--set", "path=orders.csv", *where).exit_code == 0
    (shop / "shop.yaml").write_text(SPEC.replace("connection: {path: orders.csv}", "connection: orders"))
    assert "version 1" in cli("apply", "shop.yaml", *where).output
    done = cli("run", "shop", "-q", *where)
    assert done.exit_code == 0, done.output
    assert "nothing is wrong" in cli("store", "check", *where).output
    assert "wrote copy.db" in cli("store", "backup", "copy.db", *where).output
    assert listed(cli, "--store", "copy.db") == listed(cli, *where)
    assert "would let go of 0 runs" in cli("store", "prune", "--dry-run", *where).output
