"""A standalone Flink cluster with two slots, whose workers are other processes, gives what the direct engine gives."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from beam_datahub.cli import main
from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.engines.flink import flink_jar
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.runtime.streams import StreamRequest, StreamState, run_stream
from beam_datahub.spec import loads
from beam_datahub.testing import oracle
from tests.conftest import FlinkCluster, KafkaBroker, obtained
from tests.matrix.test_engines import SPECS, differences
from tests.unit.io.kafka_topics import Topic

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


STREAM = """
name: views
type: real-time
stream: {{commit_every: 500 ms, latency: 200 ms}}
source:
  name: views
  connector: kafka
  connection: {{bootstrap_servers: "{address}"}}
  topic: {topic}
  schema: {{n: bigint, page: varchar, at: timestamp}}
  event_time: {{column: at, idle_after: 1 s}}
transformations:
  - {{id: mapped, type: mapping, config: {{fields: {{n: n, page: upper(page)}}}}}}
  - id: counted
    type: aggregation
    input: views
    window: {{type: fixed, size: 1 minute, on: at}}
    config: {{by: page, measures: {{views: count(*)}}}}
destinations:
  - {{id: lake, input: mapped, connector: parquet, connection: {{path: "{folder}/lake/"}}, write_mode: append}}
  - {{id: counts, input: counted, connector: jsonl, connection: {{path: "{folder}/counts/"}}, write_mode: append}}
"""


def test_a_stream_of_kafka_with_windows_runs_on_a_cluster_and_leaves_nothing_there(
    flink_cluster: FlinkCluster, kafka: KafkaBroker, tmp_path: Path
) -> None:
    obtained(flink_jar)
    topic, shared = Topic(kafka, partitions=2), tmp_path / "shared"
    shared.mkdir()
    for partition, page in enumerate(("/", "/shop")):
        times = [f"2025-03-01 12:{n // 20:02d}:{n % 20:02d}" for n in range(60)]
        topic.send(*({"n": n, "page": page, "at": at} for n, at in enumerate(times)), partition=partition)
    run_id, stopped = new_run_id(), []
    document = loads(STREAM.format(address=kafka.address, topic=topic.name, folder=tmp_path))
    plan = build(document, BuildOptions(run_id=run_id, dead_letter_folder=str(tmp_path / "dead")))

    def show(state: StreamState) -> None:
        if (state.written.get("lake"), state.written.get("counts")) == (120, 6):
            stopped.append(True)

    options = EngineOptions(shards=2, options=(*flink_cluster.options, f"--temp_location={shared}"))
    request = RunRequest(run_id, "flink", options)
    how, times_of = plan.metadata["stream"], plan.metadata["event_times"]
    result = run_stream(plan, StreamRequest(request, how, times_of, show=show, stop=lambda: bool(stopped), seconds=600))
    assert (result.status, result.read, result.rejected) == ("completed", 120, 0)
    lake = pq.read_table(tmp_path / "lake").to_pylist()
    assert sorted((row["page"], row["n"]) for row in lake) == [(page, n) for page in ("/", "/SHOP") for n in range(60)]
    lines = [json.loads(line) for path in tmp_path.glob("counts/*.jsonl") for line in path.read_text().splitlines()]
    found = sorted((row["page"], row["window_start"][11:16], row["views"]) for row in lines)
    assert found == [(page, f"12:{minute:02d}", 20) for page in ("/", "/shop") for minute in range(3)]
    jobs = httpx.get(f"http://{flink_cluster.address}/jobs/overview", timeout=60).json()["jobs"]
    # The engine must not take open windows for complete: it is cancelled, and the slots are free again.
    assert [job["state"] for job in jobs if job["name"] == f"views-{run_id}-1"] == ["CANCELED"]
    assert list(shared.iterdir()) == []


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
