"""A standalone Flink cluster with two slots, whose workers are other processes, gives what the direct engine gives."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pyarrow.csv as pa_csv
import pytest
from click.testing import CliRunner

from beam_datahub.cli import main
from beam_datahub.runtime.engines.flink import flink_jar
from beam_datahub.testing import oracle
from tests.conftest import FlinkCluster, obtained
from tests.matrix.test_engines import SPECS, differences

# What filters and maps, what groups, and what joins.
NAMES = ["template lake", "template orders", "template legacy"]
ROWS = 5000
MODULE = """
import logging
import pyarrow as pa

def doubled(batch):
    logging.getLogger("mine").warning("a word from a worker")
    return pa.RecordBatch.from_arrays([pa.array([2 * each for each in batch["id"].to_pylist()])], names=["id"])
"""


@pytest.fixture(scope="module")
def python_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec with a module of the user's, which the workers have not got."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mine.py").write_text(MODULE)
    (folder / "data.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
    spec = folder / "integration.yaml"
    spec.write_text(
        "name: doubled\n"
        "parameters: {output: {type: string, default: .}}\n"
        f"source: {{connector: csv, connection: {{path: {folder}/data.csv}}, schema: {{id: bigint}}}}\n"
        "transformations:\n"
        "  - {id: doubled, type: python, config: {module: mine.py, function: doubled, over: arrow, schema: {id: bigint}}}\n"
        'destination: {id: out, connector: csv, connection: {path: "${param.output}/out.csv"}, write_mode: overwrite}\n'
    )
    return spec


def test_specs_give_the_same_on_a_cluster_with_external_workers(
    flink_cluster: FlinkCluster, python_spec: Path, tmp_path: Path
) -> None:
    obtained(flink_jar)
    shared = tmp_path / "shared"
    shared.mkdir()
    paths = {**{name: SPECS[name] for name in NAMES}, "python": python_spec}

    def given(engine: str) -> list[tuple[Path, dict[str, str]]]:
        return [(path, {"output": str(tmp_path / engine / name)}) for name, path in paths.items()]

    options = [*flink_cluster.options, f"--temp_location={shared}"]
    found = oracle.run_specs(given("flink"), engine="flink", options=options)
    direct = [oracle.run_spec(*each) for each in given("direct")]
    apart = {name: differences(one, other) for name, one, other in zip(paths, found, direct, strict=True)}
    assert {name: told for name, told in apart.items() if told} == {}
    assert [each.name for each in shared.glob("*-progress")] == []
    assert "a word from a worker" in Path(flink_cluster.folder, "taskmanager.log").read_text()


def test_a_job_jar_runs_on_a_cluster_by_itself_and_publishes_once(
    flink_cluster: FlinkCluster, python_spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtained(flink_jar)
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "integration.yaml"
    spec.write_text(python_spec.read_text().replace('out.csv"}, write_mode: overwrite', 'out/"}, write_mode: append'))
    (tmp_path / "mine.py").write_text(MODULE)
    options = [*flink_cluster.options[1:], f"--temp_location={tmp_path}"]
    given = [part for option in options for part in ("--engine-option", option)]
    done = CliRunner().invoke(main, ["build", "jar", str(spec), "--set", f"output={tmp_path}", "-o", "job.jar", *given])
    assert done.exit_code == 0, done.output
    report = Path(done.stdout.split("report will be ")[1].strip())
    with httpx.Client(base_url=f"http://{flink_cluster.address}", timeout=300) as flink:
        with open("job.jar", "rb") as jar:
            answer = flink.post("/jars/upload", files={"jarfile": ("job.jar", jar, "application/x-java-archive")})
        program = Path(answer.json()["filename"]).name
        for _ in range(2):
            job = flink.post(f"/jars/{program}/run", json={}).json()["jobid"]
            assert ended(flink, job) == "FINISHED"
            assert json.loads(report.read_text())["written"]["out"]["rows"] == ROWS
            found = [row["id"] for file in tmp_path.glob("out/*.csv") for row in pa_csv.read_csv(file).to_pylist()]
            assert sorted(found) == [2 * number for number in range(ROWS)]


def ended(flink: httpx.Client, job: str) -> str:
    """How a job ended."""
    end = time.monotonic() + 180
    while (state := str(flink.get(f"/jobs/{job}").json()["state"])) not in ("FINISHED", "FAILED", "CANCELED"):
        assert time.monotonic() < end, state
        time.sleep(0.1)
    return state


def test_a_job_jar_needs_workers_that_are_there_without_the_launcher() -> None:
    done = CliRunner().invoke(main, ["build", "jar", str(SPECS["template lake"]), "--engine-option", "--temp_location=/tmp"])
    assert done.exit_code == 3
    assert "environment_type=EXTERNAL" in done.stderr
