"""Every spec in this folder, over real data, gives what the query beside it gives.

`NAME.yaml` is the spec, with the parameters `cases` (the folder of real data) and `output`; `NAME.sql` holds one query for each
destination under a line `-- rows: DESTINATION`, in which `{cases}` stands for the folder, and may say which records are
rejected: `-- rejected: STEP REASON COUNT`. Adding a case adds these two files.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beam_datahub.testing import oracle

FOLDER = Path(__file__).parent
SPECS = sorted(FOLDER.glob("*.yaml"))


def queries(text: str) -> dict[str, str]:
    """The query of each destination."""
    parts = re.split(r"^-- rows: *(\S+) *$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def expected_rejects(text: str) -> dict[tuple[str, str], int]:
    """The number of rejected records by step and reason."""
    found = re.findall(r"^-- rejected: *(\S+) +(\S+) +(\d+) *$", text, flags=re.MULTILINE)
    return {(step, reason): int(count) for step, reason, count in found}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_recipe_gives_what_its_query_gives(spec: Path, cases: Path, tmp_path: Path) -> None:
    text = spec.with_suffix(".sql").read_text("utf-8")
    result = oracle.run_spec(spec, {"cases": str(cases), "output": str(tmp_path)})
    assert oracle.reasons(result) == expected_rejects(text)
    found = queries(text)
    assert found, "the .sql file has no line `-- rows: DESTINATION`"
    for destination, sql in found.items():
        expected = oracle.query(sql.replace("{cases}", str(cases)))
        assert oracle.differences(oracle.written(result, destination), expected) == "", destination


def test_the_recipes_use_every_type_of_transformation() -> None:
    from beam_datahub.component.registry import names

    used = {kind for spec in SPECS for kind in re.findall(r"\btype: *(\w+)", spec.read_text("utf-8"), re.MULTILINE)}
    assert set(names("transform")) - used == set()
