"""The doctor says what is here, what is missing and how to get it."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BEAM_DATAHUB_STORE", "BEAM_DATAHUB_KEY", "BEAM_DATAHUB_KEY_FILE", "BEAM_DATAHUB_PRISM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEAM_DATAHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("beam_datahub.cli.doctor._lacking", lambda extra: ["pandas<4,>=2.2"] if extra == "pandas" else [])


def found(cli: Run, *arguments: str, status: int = 0) -> dict[str, dict[str, Any]]:
    done = cli("doctor", "--json", *arguments)
    assert done.exit_code == status
    return {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_what_is_optional_may_be_missing_and_has_a_hint(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = found(cli)
    assert findings["Python"]["state"] == findings["engine direct"]["state"] == findings["extra codecs"]["state"] == "fine"
    assert findings["extra pandas"]["hint"] == "pip install 'beam-datahub[pandas]'"
    for what in ("extra pandas", "engine prism", "engine flink", "engine spark", "store", "key"):
        assert findings[what]["state"] == "missing"
        assert findings[what]["hint"]
    assert not (tmp_path / ".beam-datahub").exists()


def test_a_store_and_a_key_are_found(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("store", "init").exit_code == 0
    monkeypatch.setenv("BEAM_DATAHUB_KEY", KEY)
    findings = found(cli)
    assert findings["store"]["state"] == findings["key"]["state"] == "fine"
    assert KEY not in str(findings)
    monkeypatch.setenv("BEAM_DATAHUB_KEY", "no key")
    assert found(cli, status=1)["key"]["state"] == "broken"


def test_a_key_that_sealed_secrets_is_missed(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "example")
    options = ("--set", "host=db.example", "--set", "user=etl", "--set", "database=crm", "--secret-env", "password=PASSWORD")
    assert cli("connections", "add", "crm", "postgresql", *options).exit_code == 0
    assert found(cli)["key"]["state"] == "fine"
    (tmp_path / ".beam-datahub" / "store.key").unlink()
    missing = found(cli, status=1)["key"]
    assert missing["state"] == "broken"
    assert "crm" in missing["found"]
    monkeypatch.setenv("BEAM_DATAHUB_KEY", KEY)
    wrong = found(cli, status=1)["key"]
    assert wrong["state"] == "broken"
    assert "crm" in wrong["found"]


def test_a_damaged_store_is_broken(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("no database " * 100)
    assert found(cli, "--store", "other.db", status=1)["store"]["state"] == "broken"


def test_a_package_that_runs_need_is_broken_where_it_lacks(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_datahub.cli.doctor._lacking", lambda extra: [] if extra else ["duckdb==2.0.*"])
    assert "duckdb" in found(cli, status=1)["packages"]["hint"]


def test_without_a_temporary_folder_nothing_runs(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "no usable folder")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert found(cli, status=1)["temporary space"]["hint"]


def test_lines_fit_80_columns(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = cli("doctor")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
