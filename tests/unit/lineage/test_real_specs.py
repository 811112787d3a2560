"""Over real specs, lineage finds just the columns that the compiler says are used, and tells how."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.compiler.origins import column_origins
from beam_datahub.lineage.tracing import step_lineage
from beam_datahub.spec import load

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT.parent / "shared" / "cases"
SPECS = sorted([*(ROOT / "templates").glob("*/integration.yaml"), *(ROOT / "tests" / "cookbook").glob("*.yaml")])


@pytest.mark.parametrize("file", SPECS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_origins_of_every_column_are_those_of_the_compiler(file: Path, tmp_path: Path) -> None:
    given = {}
    if file.parent.name == "cookbook":
        if not CASES.is_dir():
            pytest.skip("the real data is not here")
        given = {"cases": str(CASES), "output": str(tmp_path)}
    plan = build(load(file, parameters=given))
    traced = step_lineage(plan)
    for node, columns in column_origins(plan).items():
        for name, origin in columns.items():
            assert {each for each, _ in traced[node].get(name, ())} == set(origin.sources), f"{node}.{name}"
