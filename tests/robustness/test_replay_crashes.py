"""A replay that is killed: its records arrive once, whether it died before, while or after it published."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: shop
source: {{name: orders, connector: csv, connection: {{path: orders.csv}}, schema: {{id: bigint, amount: varchar}}}}
transformations:
  - {{id: priced, type: mapping, config: {{fields: {{id: id, amount: "cast({amount} as integer)"}}}}}}
destinations:
  - {{id: one, connector: jsonl, connection: {{path: one.jsonl}}, write_mode: append}}
  - {{id: two, connector: jsonl, connection: {{path: two}}, write_mode: append}}
dead_letter: {{connector: jsonl, connection: {{path: dead/}}}}
"""


@pytest.fixture
def rejected(work: Any) -> str:
    """A run that has rejected two of four records; the spec is mended since. Gives the run's id."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "orders.csv").write_text("id,amount\n1,10\n2,x20\n3,30\n4,x40\n")
    (work.folder / "shop.yaml").write_text(SPEC.format(amount="amount"))
    done = work.bh("run", "shop.yaml", "--json")
    assert done.status == 0, done
    (work.folder / "shop.yaml").write_text(SPEC.format(amount="replace(amount, 'x', '')"))
    return str(done.record["run_id"])


def arrived(work: Any, name: str) -> list[int]:
    path = work.folder / name
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return sorted(json.loads(line)["id"] for file in files for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("before the journal", 2),
        ("between two destinations", 0),
        ("before the marks", 0),
        ("before the end is recorded", 0),
    ],
)
def test_records_of_a_killed_replay_arrive_once(place: str, left: int, work: Any, rejected: str) -> None:
    assert work.killed_at(place, "replay", rejected) == -signal.SIGKILL
    again = work.bh("replay", rejected, "--json")
    assert again.status == 0, again
    assert (again.record["replayed"], again.record["already_replayed"]) == (left, 2 - left)
    assert arrived(work, "one.jsonl") == [1, 2, 3, 4]
    assert arrived(work, "two") == [1, 2, 3, 4]
    assert work.staged() == []
    third = work.bh("replay", rejected, "--json").record
    assert (third["replayed"], third["already_replayed"]) == (0, 2)
    runs = json.loads(work.bh("runs", "list", "--json").out)
    assert {run["status"] for run in runs} <= {"completed", "completed_with_errors", "failed"}


def test_a_run_finishes_a_replay_that_died_while_it_published(work: Any, rejected: str) -> None:
    work.killed_at("between two destinations", "replay", rejected)
    (work.folder / "orders.csv").write_text("id,amount\n5,50\n")
    assert work.bh("run", "shop.yaml", "-q").status == 0
    assert arrived(work, "one.jsonl") == [1, 2, 3, 4, 5]
    assert arrived(work, "two") == [1, 2, 3, 4, 5]
