"""A job for Dataflow is built and checked without an account, and what every job needs is asked for before anything runs."""

from __future__ import annotations

import base64
import bz2
import contextlib
import json
import zlib
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

SPEC = """\
name: sums
source: {connector: csv, connection: {path: "gs://acme/orders/*.csv"}, schema: {country: varchar, amount: "decimal(8,2)"}}
transformations:
  - {id: per_country, type: aggregation, config: {by: [country], measures: {total: sum(amount)}}}
destination: {id: out, connector: parquet, connection: {path: gs://acme/out}}
dead_letter: {connector: jsonl, connection: {path: gs://acme/dead}}
"""
NEEDED = {
    "project": "acme",
    "region": "europe-west1",
    "temp_location": "gs://acme/tmp",
    "sdk_container_image": "europe-docker.pkg.dev/acme/hub:1",
}


@pytest.fixture(autouse=True)
def _spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.yaml").write_text(SPEC)


def options(**changed: str | None) -> list[str]:
    given = {**NEEDED, **changed}
    return [part for name, value in given.items() if value is not None for part in ("--engine-option", f"--{name}={value}")]


def test_a_dry_run_shows_the_job_and_sends_nothing(cli: Run, tmp_path: Path) -> None:
    done = cli("run", "sums.yaml", "--engine", "dataflow", "--dry-run", "--json", *options())
    assert done.exit_code == 0, done.stderr
    job = json.loads(done.stdout)["job"]
    assert job["job"]["type"] == "JOB_TYPE_BATCH"
    assert job["job"]["environment"]["workerPools"][0]["workerHarnessContainerImage"] == NEEDED["sdk_container_image"]
    assert {"per_country", "out", "dead_letter", "run/commit"} <= {step.split("/ParDo")[0] for step in job["steps"]}
    assert "pipeline" in job
    assert [path.name for path in tmp_path.iterdir()] == ["sums.yaml"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"project": None}, "--project"),
        ({"region": None}, "--region"),
        ({"temp_location": None}, "--temp_location"),
        ({"temp_location": "/tmp/here"}, "must be in Google Cloud Storage"),
        ({"sdk_container_image": None}, "workers need beam-datahub, too"),
    ],
)
def test_what_a_job_lacks_is_said_before_anything_is_sent(changed: dict[str, str | None], said: str, cli: Run) -> None:
    done = cli("run", "sums.yaml", "--engine", "dataflow", "--dry-run", *options(**changed))
    assert done.exit_code == 3
    assert said in done.stderr


def test_files_of_this_machine_are_refused_with_their_line(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "sums.yaml").write_text(SPEC.replace("gs://acme/out", "out"))
    done = cli("validate", "sums.yaml", "--engine", "dataflow")
    assert done.exit_code == 3
    assert "sums.yaml:5 (destination.connection.path): workers on Dataflow cannot reach 'out'" in done.stderr


def test_a_module_of_the_users_travels_in_the_job(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def doubled(row):\n    return {'amount': 2 * row['amount']}\n")
    step = "  - {id: twice, type: python, config: {module: mine.py, function: doubled, over: rows, schema: {amount: double}}}\n"
    spec = SPEC[: SPEC.index("  - {id: per_country")] + step + SPEC[SPEC.index("destination:") :]
    (tmp_path / "sums.yaml").write_text(spec)
    done = cli("run", "sums.yaml", "--engine", "dataflow", "--dry-run", "--json", *options())
    assert done.exit_code == 0, done.stderr
    graph = json.loads(done.stdout)["job"]["pipeline"]["components"]["transforms"]
    steps = [each["spec"] for each in graph.values() if "twice" in each.get("uniqueName", "")]
    payloads = [step["payload"] for step in steps if step.get("urn") == "beam:transform:pardo:v1"]
    assert any(b"def doubled" in unpacked(payload) for payload in payloads)


def unpacked(payload: str) -> bytes:
    """The pickled function in a step's payload, which Beam compresses."""
    from apache_beam.portability.api import beam_runner_api_pb2 as api

    pardo = api.ParDoPayload.FromString(base64.b64decode(payload))
    words = base64.b64decode(pardo.do_fn.payload, validate=False) if pardo.do_fn.payload else b""
    for compressed in (words, pardo.do_fn.payload):
        for open_up in (bz2.decompress, zlib.decompress):
            with contextlib.suppress(OSError, ValueError, zlib.error):
                return open_up(compressed)
    return pardo.do_fn.payload
