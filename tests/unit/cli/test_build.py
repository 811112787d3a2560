"""What cannot run by itself is refused before anything is made ready for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import SPEC, Run

EXTERNAL = ("--engine-option", "--environment_type=EXTERNAL", "--engine-option", "--environment_config=localhost:50000")


@pytest.mark.parametrize(
    ("change", "options", "status", "said"),
    [
        (("", ""), (), 3, "the workers of a job jar run where the job does"),
        (("", ""), ("-o", "job.zip", *EXTERNAL), 3, "'job.zip' is no name of a jar"),
        (("", ""), EXTERNAL, 3, "--temp_location"),
        (
            ("connection: {path: orders.csv}", "connection: {path: orders.csv}\n  incremental: {column: id}"),
            EXTERNAL,
            3,
            "since its last",
        ),
        (("name: shop", "name: shop\ntype: real-time"), EXTERNAL, 3, "need a launcher"),
    ],
)
def test_a_job_that_cannot_go_on_by_itself_is_refused(
    change: tuple[str, str], options: tuple[str, ...], status: int, said: str, shop: Path, cli: Run
) -> None:
    (shop / "shop.yaml").write_text(SPEC.replace(*change))
    done = cli("build", "jar", "shop.yaml", *options)
    assert done.exit_code == status, done.output
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert sorted(path.name for path in shop.iterdir()) == ["orders.csv", "shop.yaml"]
