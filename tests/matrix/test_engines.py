"""The same spec gives the same rows, the same rejected records, books and quality verdicts on every engine.

Every template and every recipe of the cookbook runs on every engine. An engine takes longer to start than most of them to run,
so a batch of them is one job; what differs is listed spec by spec. No cell is left out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.runtime.engines.flink import flink_jar
from beam_datahub.runtime.engines.prism import prism_program
from beam_datahub.runtime.engines.spark import spark_jars
from beam_datahub.runtime.launch import RunResult
from beam_datahub.spec import content_folder
from beam_datahub.testing import oracle
from tests.conftest import obtained, service_output

COOKBOOK = Path(__file__).resolve().parents[1] / "cookbook"
TEMPLATES = content_folder("templates")
SPECS = {
    # Those that send their data to a server first are streams, which have tests of their own.
    **{
        f"template {path.parent.name}": path
        for path in sorted(TEMPLATES.glob("*/integration.yaml"))
        if not path.with_name("fill.yaml").exists()
    },
    **{path.stem: path for path in sorted(COOKBOOK.glob("*.yaml"))},
}
FORMS = (".parquet", ".csv", ".jsonl", ".json", ".avro", ".gz", ".zst")
NEEDS = {"prism": prism_program, "flink": flink_jar, "spark": spark_jars}
# How many specs one job takes. Flink and Spark plan every step of a job before the first runs.
TOGETHER = 15


def provide(engine: str) -> None:
    """Fetch or build what an engine needs."""
    if engine != "prism":
        service_output("java")
    obtained(NEEDS[engine])


def parts() -> list[list[str]]:
    """The names of all specs, in batches: the templates, which bring their data, and the recipes, which need the real data."""
    recipes = [name for name, path in SPECS.items() if path.parent == COOKBOOK]
    count = -(-len(recipes) // TOGETHER)
    return [[name for name in SPECS if name not in recipes], *(recipes[start::count] for start in range(count))]


def ran(names: list[str], engine: str, cases: Path | None, folder: Path) -> dict[str, RunResult]:
    """The results of specs on an engine, as one job."""
    given = []
    for name in names:
        here = {"output": str(folder / engine / name)}
        given.append((SPECS[name], {**here, "cases": str(cases)} if SPECS[name].parent == COOKBOOK else here))
    return dict(zip(names, oracle.run_specs(given, engine=engine), strict=True))


def differences(found: RunResult, direct: RunResult) -> list[str]:
    """What an engine does otherwise than the direct one."""
    told = [
        f"{what}: {getattr(found, what)}, and not {getattr(direct, what)}"
        for what in ("books", "read", "rejected", "status")
        if getattr(found, what) != getattr(direct, what)
    ]
    if oracle.reasons(found) != oracle.reasons(direct):
        told.append(f"rejected: {oracle.reasons(found)}, and not {oracle.reasons(direct)}")
    if verdicts(found) != verdicts(direct):
        told.append(f"quality: {verdicts(found)}, and not {verdicts(direct)}")
    if set(found.written) != set(direct.written):
        told.append(f"written: {sorted(found.written)}, and not {sorted(direct.written)}")
        return told
    for destination, line in direct.written.items():
        if found.written[destination]["rows"] != line["rows"]:
            told.append(f"{destination}: {found.written[destination]['rows']} rows, and not {line['rows']}")
        elif destination == "dead_letter":
            if letters(found) != letters(direct):
                told.append(f"dead_letter: {letters(found) - letters(direct)}, and not {letters(direct) - letters(found)}")
        elif line["locations"] and line["locations"][0].endswith(FORMS):
            apart = oracle.differences(oracle.written(found, destination), oracle.written(direct, destination))
            told += [f"{destination}: {apart}"] if apart else []
    return told


def verdicts(result: RunResult) -> list[tuple[Any, ...]]:
    """What came of each quality rule."""
    told = ("name", "step", "severity", "action", "passed", "checked", "failed", "outcome")
    return sorted(tuple(str(rule.get(name)) for name in told) for rule in result.quality)


def letters(result: RunResult) -> Counter[tuple[Any, ...]]:
    """The rejected records, with where they came from and why."""
    told = ("step", "reason", "message", "column", "source", "file", "line", "original")
    records = oracle.written(result, "dead_letter").to_pylist() if result.written["dead_letter"]["locations"] else []
    return Counter(tuple(str(record[name]) for name in told) for record in records)


CELLS = [
    pytest.param(engine, part, id=f"{engine} {number or 'templates'}", marks=pytest.mark.prism if engine == "prism" else ())
    for engine in NEEDS
    for number, part in enumerate(parts())
]


@pytest.mark.parametrize(("engine", "names"), CELLS)
def test_specs_give_the_same_on_an_engine_as_on_the_direct_one(
    engine: str, names: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cases = request.getfixturevalue("cases") if any(SPECS[name].parent == COOKBOOK for name in names) else None
    provide(engine)
    found = ran(names, engine, cases, tmp_path)
    direct = {name: ran([name], "direct", cases, tmp_path)[name] for name in names}
    apart = {name: differences(found[name], direct[name]) for name in names}
    assert {name: told for name, told in apart.items() if told} == {}
    assert {result.engine for result in found.values()} == {engine}
