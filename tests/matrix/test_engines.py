"""The same spec gives the same rows, the same rejected records and the same books on every engine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.runtime.launch import RunResult
from beam_datahub.spec import content_folder
from beam_datahub.testing import oracle

COOKBOOK = Path(__file__).resolve().parents[1] / "cookbook"
FORMS = ("parquet", "csv", "jsonl")


def both(
    spec: Path, parameters: dict[str, Any], folder: Path, prism: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, RunResult]:
    monkeypatch.setenv("BEAM_DATAHUB_PRISM", prism)
    return {
        engine: oracle.run_spec(spec, {**parameters, "output": str(folder / engine)}, engine=engine)
        for engine in ("direct", "prism")
    }


def assert_the_same(results: dict[str, RunResult]) -> None:
    direct, prism = results["direct"], results["prism"]
    assert prism.engine == "prism"
    assert prism.books == direct.books
    assert oracle.reasons(prism) == oracle.reasons(direct)
    assert set(prism.written) == set(direct.written)
    for destination, line in direct.written.items():
        assert prism.written[destination]["rows"] == line["rows"]
        if destination != "dead_letter" and line["locations"] and line["locations"][0].endswith(FORMS):
            assert oracle.differences(oracle.written(prism, destination), oracle.written(direct, destination)) == "", destination


def letters(result: RunResult) -> Counter[tuple[Any, ...]]:
    told = ("step", "reason", "message", "column", "source", "file", "line", "original")
    files = result.written["dead_letter"]["locations"]
    records = [json.loads(line) for file in files for line in Path(file).read_text("utf-8").split("\n") if line]
    return Counter(tuple(record[name] for name in told) for record in records)


@pytest.mark.prism
@pytest.mark.parametrize("recipe", ["flights_between_states", "tpch_q10"])
def test_a_recipe_that_shuffles_gives_the_same_on_prism(
    recipe: str, cases: Path, tmp_path: Path, prism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_the_same(both(COOKBOOK / f"{recipe}.yaml", {"cases": str(cases)}, tmp_path, prism, monkeypatch))


@pytest.mark.prism
def test_a_template_full_of_defects_gives_the_same_on_prism(tmp_path: Path, prism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = both(content_folder("templates") / "orders" / "integration.yaml", {}, tmp_path, prism, monkeypatch)
    assert_the_same(results)
    assert letters(results["prism"]) == letters(results["direct"])
