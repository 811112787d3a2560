"""Incremental runs that are killed: each record arrives once at every destination, wherever the run died."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: news
source: {name: orders, connector: csv, connection: {path: in/}, incremental: at, schema: {id: bigint, at: timestamp}}
transformations:
  - {id: all, type: filtering, config: {where: id > 0}}
destinations:
  - {id: one, connector: jsonl, connection: {path: one.jsonl}, write_mode: append}
  - {id: two, connector: jsonl, connection: {path: two}, write_mode: append}
"""
PLACES = ("before the journal", "between two destinations", "before the end is recorded")


@pytest.fixture
def news(work: Any) -> Any:
    """A folder to which orders are added, and a spec that reads what is new."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "in").mkdir()
    (work.folder / "news.yaml").write_text(SPEC)
    return work


def add(work: Any, *rows: tuple[int, str]) -> None:
    lines = "".join(f"{number},{at}\n" for number, at in rows)
    (work.folder / "in" / f"{rows[0][0]}.csv").write_text("id,at\n" + lines)


def arrived(work: Any) -> list[list[int]]:
    """The ids at each destination, in order."""
    found = []
    for name in ("one.jsonl", "two"):
        path = work.folder / name
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        found.append(sorted(json.loads(line)["id"] for file in files for line in file.read_text().splitlines()))
    return found


def test_records_arrive_once_though_a_run_is_killed_at_each_of_its_last_steps(news: Any) -> None:
    add(news, (1, "2025-01-01"), (2, "2025-01-02"))
    assert news.bh("run", "news.yaml", "-q").status == 0
    wanted = [1, 2]
    for number, place in enumerate(PLACES, start=1):
        # One with the newest value so far, and one that is newer.
        add(news, (10 * number, f"2025-01-0{number + 1}"), (10 * number + 1, f"2025-01-0{number + 2}"))
        wanted += [10 * number, 10 * number + 1]
        assert news.killed_at(place, "run", "news.yaml") == -signal.SIGKILL
        done = news.bh("run", "news.yaml", "--json")
        assert done.status == 0, done
        assert arrived(news) == [wanted, wanted], place
        assert news.staged() == []
    again = news.bh("run", "news.yaml", "--json").record
    assert again["written"]["one"]["rows"] == 0
    assert arrived(news) == [wanted, wanted]
    runs = json.loads(news.bh("runs", "list", "--json").out)
    assert {run["status"] for run in runs} <= {"completed", "failed"}
    assert not list(news.folder.rglob("*.journal"))


def test_two_runs_at_once_do_not_read_the_same_records(news: Any) -> None:
    add(news, (1, "2025-01-01"))
    first = news.standing_at("before the journal", "run", "news.yaml")
    second = news.bh("run", "news.yaml")
    assert second.status == 4
    assert "is going on, and both would read the same new records" in second.err
    assert "beam-datahub runs cancel" in second.err
    first.signal(signal.SIGKILL)
    first.end()
    assert news.bh("run", "news.yaml", "-q").status == 0
    assert arrived(news) == [[1], [1]]


def test_a_run_of_a_named_range_leaves_what_a_killed_run_has_staged(news: Any) -> None:
    add(news, (1, "2025-01-01"), (2, "2025-01-02"))
    assert news.killed_at("between two destinations", "run", "news.yaml") == -signal.SIGKILL
    assert news.bh("run", "news.yaml", "-q", "--until", "2020-01-01").status == 0
    assert arrived(news) == [[1, 2], [1, 2]]
    assert news.bh("run", "news.yaml", "--json").record["written"]["two"]["rows"] == 0


def test_a_killed_run_is_brought_to_its_end_before_its_records_are_replayed(news: Any) -> None:
    add(news, (1, "2025-01-01"), (2, "2025-01-02"))
    (news.folder / "in" / "bad.csv").write_text("id,at\nx,2025-01-02\n")
    assert news.killed_at("between two destinations", "run", "news.yaml") == -signal.SIGKILL
    (news.folder / "in" / "bad.csv").unlink()
    done = news.bh("replay", "last", "--json")
    assert done.status == 0, done
    assert (done.record["replayed"], done.record["already_replayed"]) == (1, 0)
    assert arrived(news) == [[1, 2], [1, 2]]
