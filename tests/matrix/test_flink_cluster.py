"""A standalone Flink cluster with two slots, whose workers are other processes, gives what the direct engine gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.runtime.engines.flink import flink_jar
from beam_datahub.testing import oracle
from tests.conftest import FlinkCluster, obtained
from tests.matrix.test_engines import SPECS, differences

# What filters and maps, what groups, and what joins.
NAMES = ["template lake", "template orders", "template legacy"]
MODULE = """
import pyarrow as pa

def doubled(batch):
    return pa.RecordBatch.from_arrays([pa.array([2 * each for each in batch["id"].to_pylist()])], names=["id"])
"""


@pytest.fixture(scope="module")
def python_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec with a module of the user's, which the workers have not got."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mine.py").write_text(MODULE)
    (folder / "data.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(5000)))
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
