"""Runs keep their profiles, and a run that drifts from the earlier ones leaves violations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from beam_datahub.cli import main
from beam_datahub.store.location import locate
from beam_datahub.store.store import open_store

SPEC = """\
name: orders
source: {name: orders, connector: parquet, connection: {path: orders.parquet}}
transformations: [{id: all, type: filtering, config: {where: id >= 0}}]
destination: {id: out, connector: parquet, connection: {path: out/}, write_mode: overwrite}
profile: PROFILE
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEAM_DATAHUB_STORE", raising=False)
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD", raising=False)
    return tmp_path


def run(folder: Path, seed: int, profile: str, *, nulls: float = 0.1, rows: int = 500) -> str:
    result = invoke(folder, seed, profile, "--json", nulls=nulls, rows=rows)
    return str(json.loads(result.stdout)["run_id"])


def invoke(folder: Path, seed: int, profile: str, *options: str, nulls: float = 0.1, rows: int = 500) -> Result:
    random = np.random.default_rng(seed)
    status = pa.array(["paid", None], pa.string()).take(pa.array((random.random(rows) < nulls).astype(np.int8)))
    pq.write_table(pa.table({"id": np.arange(rows), "status": status}), folder / "orders.parquet")
    (folder / "s.yaml").write_text(SPEC.replace("PROFILE", profile))
    result = CliRunner().invoke(main, ["run", "s.yaml", *options])
    assert result.exit_code == 0, result.output
    return result


def test_profiles_are_kept_and_drift_becomes_a_violation(folder: Path) -> None:
    profile = "{drift: {runs: 2}}"
    runs = [run(folder, seed, profile) for seed in range(2)]
    drifted = run(folder, 9, profile, nulls=0.6)
    small = run(folder, 10, profile, rows=20)
    store = open_store(locate())
    try:
        kept = store.reader.profiles.of_run(runs[0])
        assert {(each.step, each.column) for each in kept} == {(s, c) for s in ("orders", "out") for c in ("id", "status")}
        assert next(each for each in kept if each.column == "status").summary["distinct"] == 1
        found = store.reader.violations.find()
        assert {each.status for each in found} == {"open"}
        told = {(each.run_id, each.kind, each.details["measure"], each.step) for each in found}
        assert (drifted, "drift", "null_ratio", "orders") in told
        assert (drifted, "drift", "null_ratio", "out") in told
        assert (small, "volume", "volume", "orders") in told
        assert not {each.run_id for each in found} & set(runs)
    finally:
        store.close()


def test_without_drift_nothing_is_compared_and_without_values_none_are_kept(folder: Path) -> None:
    profile = "{drift: false, values: false}"
    runs = [run(folder, seed, profile, nulls=0.1 + 0.2 * seed) for seed in range(4)]
    store = open_store(locate())
    try:
        assert store.reader.violations.find() == []
        assert "paid" not in json.dumps([dict(each.summary) for each in store.reader.profiles.of_run(runs[0])])
    finally:
        store.close()


def test_a_run_says_what_it_profiled_and_what_differs(folder: Path) -> None:
    profile = "{drift: {runs: 2}}"
    first = invoke(folder, 0, profile)
    assert "profiled: 4 columns of orders, out; too few earlier runs to compare with" in first.stdout
    run(folder, 1, profile)
    assert "no differences from 2 earlier runs (beam-datahub report" in " ".join(invoke(folder, 2, profile).stdout.split())
    shown = " ".join(invoke(folder, 3, profile, nulls=0.6).stdout.split())
    assert "differences from 3 earlier runs" in shown
    assert "of 'status' are null" in shown
    found = json.loads(invoke(folder, 4, profile, "--json", nulls=0.98).stdout)["deviations"]["out"]
    assert found["compared_with"] == 4
    assert {(each["column"], each["measure"]) for each in found["found"]} >= {("status", "null_ratio")}
    page = folder / "page.html"
    assert CliRunner().invoke(main, ["report", "last", "--html", str(page)]).exit_code == 0
    assert "Compared with 4 earlier runs" in page.read_text()
    assert "are null" in page.read_text()
    assert "profiled: 4 columns of orders, out\n" in invoke(folder, 5, profile, "--no-record").stdout


def test_a_run_that_reads_a_part_is_compared_with_none(folder: Path) -> None:
    profile = "{drift: {runs: 2}}"
    for seed in range(2):
        run(folder, seed, profile)
    limited = json.loads(invoke(folder, 2, profile, "--json", "--limit", "5").stdout)
    assert limited["profiles"]["orders"]["rows"] == 5
    assert limited["deviations"] == {}
    found = json.loads(invoke(folder, 3, profile, "--json").stdout)["deviations"]["orders"]
    assert found == {"compared_with": 2, "found": []}
