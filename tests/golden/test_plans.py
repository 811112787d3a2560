"""What each pass makes of a plan, and how plans look, held in files; BEAM_DATAHUB_GOLDEN=update writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from beam_datahub.compiler.describe import describe
from beam_datahub.compiler.passes import PASSES
from beam_datahub.compiler.render import as_json, mermaid, tree
from tests.golden.dump import by_node, differences, dump, golden_plan

HERE = Path(__file__).resolve().parent
SPECS = sorted(HERE.glob("*.yaml"))


def hold(file: Path, text: str) -> None:
    """Compare `text` with what the file holds, or write it there."""
    if os.environ.get("BEAM_DATAHUB_GOLDEN") == "update":
        file.write_text(text + "\n", "utf-8")
    assert file.is_file(), f"{file.name} is not there yet: run with BEAM_DATAHUB_GOLDEN=update"
    assert text + "\n" == file.read_text("utf-8")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_each_pass_changes_what_its_file_says(spec: Path) -> None:
    plan = golden_plan(spec)
    parts = ["== the plan ==", dump(plan)]
    for each in PASSES:
        before, plan = by_node(plan), each(plan)
        parts += [f"\n== {each.__name__} ==", differences(before, by_node(plan))]
    hold(spec.with_suffix(".passes.txt"), "\n".join(parts))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
@pytest.mark.parametrize("columns", [False, True], ids=["steps", "columns"])
def test_the_tree_of_a_plan(spec: Path, columns: bool) -> None:
    view = describe(golden_plan(spec))
    hold(spec.with_suffix(".columns.txt" if columns else ".tree.txt"), tree(view, columns=columns, width=100))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_flowchart_of_a_plan(spec: Path) -> None:
    hold(spec.with_suffix(".mmd"), mermaid(describe(golden_plan(spec))))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_json_of_a_plan(spec: Path) -> None:
    found = json.dumps(as_json(describe(golden_plan(spec))), indent=1, ensure_ascii=False)
    hold(spec.with_suffix(".json"), found)
