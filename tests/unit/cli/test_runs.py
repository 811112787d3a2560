"""Runs are recorded, listed, stopped and run again; a store that cannot be used stops no run that did not ask for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import SPEC, Run, rows

pytestmark = pytest.mark.usefixtures("recording")

# The user's function asks the store to stop the run that it is part of, and waits until that is heard.
CANCELLING = """
from beam_datahub.component.progress import PROGRESS
from beam_datahub.runtime.store_link import StoreHere, locate
import threading

def stop(batch):
    store = StoreHere(locate())
    store.writer.runs.request_cancel("last")
    store.close()
    while not PROGRESS.stopping:
        threading.Event().wait(0.01)
    return batch
"""


def listed(cli: Run, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("runs", "list", "--json", *arguments).stdout)
    return found


def test_a_run_leaves_its_books_report_and_log(shop: Path, cli: Run) -> None:
    record = json.loads(cli("run", "shop.yaml", "--json").stdout)
    (run,) = listed(cli)
    assert (run["run_id"], run["status"], run["read"]) == (record["run_id"], "completed_with_errors", 4)
    shown = json.loads(cli("runs", "show", "last", "--json").stdout)
    assert {step["step"]: (step["taken"], step["out"]) for step in shown["steps"]}["paid"] == (3, 2)
    assert json.loads(Path(shown["reports"]["report"]).read_text())["run_id"] == record["run_id"]
    assert "orders: 1 records rejected as type_mismatch" in Path(shown["reports"]["log"]).read_text()
    assert "orders: 1 records rejected as type_mismatch" in cli("runs", "logs", "last").output
    assert "type_mismatch" in cli("rejects", "last").output


def test_a_run_that_fails_is_recorded_with_its_error_and_can_be_resumed(shop: Path, cli: Run) -> None:
    (shop / "orders.csv").rename(shop / "gone.csv")
    assert cli("run", "shop.yaml").exit_code == 4
    (run,) = listed(cli, "--status", "failed")
    assert run["error"]["code"] == "DH201"
    (shop / "gone.csv").rename(shop / "orders.csv")
    (shop / "shop.yaml").write_text("name: something else\n")
    assert cli("runs", "resume", "last").exit_code == 0
    newest = listed(cli)[0]
    assert (newest["status"], newest["cause"], newest["parent"]) == ("completed_with_errors", "resume", run["run_id"])
    assert len(rows(shop / "out.jsonl")) == 2
    again = cli("runs", "resume", "last")
    assert again.exit_code == 5
    assert "DH351" in again.output


def test_a_run_of_the_first_records_is_a_partial_one_also_when_it_is_resumed(shop: Path, cli: Run) -> None:
    (shop / "orders.csv").rename(shop / "gone.csv")
    assert cli("run", "shop.yaml", "--limit", "1").exit_code == 4
    (shop / "gone.csv").rename(shop / "orders.csv")
    assert cli("runs", "resume", "last").exit_code == 0
    assert [(each["kind"], each["written"]) for each in listed(cli)] == [("partial", 1), ("partial", 0)]
    assert cli("run", "shop.yaml").exit_code == 0
    assert len(listed(cli, "--kind", "partial")) == 2
    assert listed(cli, "--kind", "full")[0]["written"] == 2


def test_nothing_is_recorded_where_that_is_not_wanted(shop: Path, cli: Run) -> None:
    assert cli("run", "shop.yaml", "--no-record").exit_code == 0
    assert cli("run", "shop.yaml", "--dry-run").exit_code == 0
    assert not (shop / ".beam-datahub/store.db").exists()


def test_a_damaged_store_is_told_of_and_the_run_goes_on(shop: Path, cli: Run) -> None:
    (shop / ".beam-datahub").mkdir()
    (shop / ".beam-datahub/store.db").write_bytes(b"this is no database" * 100)
    done = cli("run", "shop.yaml")
    assert done.exit_code == 0
    assert done.stderr.count("warning: the run is not recorded: ") == 1
    assert len(rows(shop / "out.jsonl")) == 2


def test_a_damaged_store_that_was_named_stops_the_run_before_it_begins(shop: Path, cli: Run) -> None:
    (shop / "named.db").write_bytes(b"this is no database" * 100)
    done = cli("run", "shop.yaml", "--store", "named.db")
    assert done.exit_code == 4
    assert "[DH212]" in done.stderr
    assert not (shop / "out.jsonl").exists()


def test_a_run_is_stopped_from_another_process_as_by_ctrl_c(shop: Path, cli: Run) -> None:
    (shop / "stopping.py").write_text(CANCELLING)
    step = "  - {id: stop, type: python, config: {module: stopping.py, function: stop, over: arrow}}\ndestination:"
    (shop / "shop.yaml").write_text(SPEC.replace("destination:", step))
    command = [sys.executable, "-c", "from beam_datahub.cli import main; main(prog_name='beam-datahub')", "run", "shop.yaml"]
    done = subprocess.run(command, cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert [run["status"] for run in listed(cli)] == ["cancelled"]
    assert not (shop / "out.jsonl").exists()
    assert threading.active_count() < 50


def test_a_secret_is_in_no_record_of_a_run(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_PASS", "hunter2secret")
    (shop / "shop.yaml").write_text(
        "parameters: {note: {default: x}}\n" + SPEC.replace("id: id,", "id: id, pw: \"'${secret.PASS}'\",")
    )
    cli("run", "shop.yaml", "--set", "note=hunter2secret")
    for file in (shop / ".beam-datahub").rglob("*"):
        if file.is_file() and "dead-letter" not in str(file):
            assert b"hunter2secret" not in file.read_bytes(), file


def test_an_integration_is_registered_once_a_version_and_runs_by_its_name(shop: Path, cli: Run) -> None:
    assert "version 1" in cli("apply", "shop.yaml").output
    assert "unchanged" in cli("apply", "shop.yaml").output
    (shop / "shop.yaml").write_text(SPEC.replace("'paid'", "'pending'"))
    changed = cli("apply", "shop.yaml").output
    assert "version 2" in changed
    assert "~ transformations.paid.config.where: status = 'paid' → status = 'pending'" in changed
    (shop / "shop.yaml").unlink()
    assert cli("run", "shop").exit_code == 0
    assert [row["id"] for row in rows(shop / "out.jsonl")] == [2]
    assert listed(cli)[0]["version"] == 2
    assert [each["version"] for each in json.loads(cli("integrations", "versions", "shop", "--json").stdout)] == [2, 1]
    assert cli("integrations", "remove", "shop").exit_code == 0
    assert "no integration is registered" in cli("integrations").output


def test_a_wrong_spec_is_not_registered_but_one_whose_data_is_elsewhere_is(shop: Path, cli: Run) -> None:
    text = (shop / "shop.yaml").read_text()
    (shop / "shop.yaml").write_text(text.replace("amount * 1.2", "amuont * 1.2"))
    refused = cli("apply", "shop.yaml")
    assert refused.exit_code == 3
    assert "did you mean 'amount'?" in refused.output
    assert "there is no store" in cli("integrations").output
    (shop / "shop.yaml").write_text(text)
    (shop / "orders.csv").unlink()
    far = cli("apply", "shop.yaml")
    assert far.exit_code == 0
    assert "version 1" in far.output


def test_a_name_that_is_neither_file_nor_integration_is_told(shop: Path, cli: Run) -> None:
    cli("apply", "shop.yaml")
    done = cli("run", "shpo")
    assert done.exit_code == 3
    assert "did you mean 'shop'?" in done.output


def test_violations_are_decided_on_and_who_did_so_is_kept(shop: Path, cli: Run) -> None:
    rule = "quality_rules: [{name: has a note, step: paid, type: completeness, field: note, severity: high, threshold: 1}]\n"
    (shop / "shop.yaml").write_text(SPEC + rule)
    assert cli("run", "shop.yaml").exit_code == 0
    (found,) = json.loads(cli("violations", "list", "--json").stdout)
    assert (found["rule"], found["status"]) == ("has a note", "open")
    assert cli("violations", "resolve", str(found["id"]), "--note", "notes are optional").exit_code == 0
    assert "no violations" in cli("violations").output
    shown = json.loads(cli("violations", "show", str(found["id"]), "--json").stdout)
    assert (shown["status"], shown["note"]) == ("resolved", "notes are optional")
    assert shown["history"][0]["action"] == "resolved"
    assert "DH101" in cli("violations", "resolve", "999").output
