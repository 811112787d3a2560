"""Incremental runs as a user sees them: what is new is read once, ranges on demand, and `state` tells how far it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.unit.cli.conftest import Run, rows

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: news
source: {{name: orders, connector: csv, connection: {{path: in/*.csv}}, {more}incremental: {incremental}}}
transformations:
  - {{id: few, type: mapping, config: {{fields: {{id: id}}}}}}
destination: {{id: out, connector: jsonl, connection: {{path: out.jsonl}}, write_mode: append}}
"""


@pytest.fixture
def news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three orders, two of them of the same moment."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("id,at,n\n1,2025-01-01T10:00:00,5\n2,2025-01-02T10:00:00,6\n3,2025-01-02T10:00:00,7\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec(incremental: str = "at", more: str = "") -> None:
    Path("news.yaml").write_text(SPEC.format(incremental=incremental, more=more))


def run(cli: Run, *arguments: str) -> Any:
    done = cli("run", "news.yaml", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def ids() -> list[int]:
    return sorted(row["id"] for row in rows(Path("out.jsonl")))


def refused(done: Result, code: str, *parts: str) -> None:
    assert done.exit_code not in (0, 1, 70), done.output
    for part in (code, *parts):
        assert part in done.output, done.output


def test_a_run_reads_what_is_new_and_the_books_count_the_rest_as_filtered(news: Path, cli: Run) -> None:
    spec()
    assert run(cli)["cursors"] == {"orders": {"column": "at", "last": "2025-01-02 10:00:00"}}
    (news / "in/b.csv").write_text("id,at,n\n4,2025-01-02T10:00:00,8\n5,2025-01-03T10:00:00,9\n")
    second = run(cli)
    assert {name: second["books"]["orders"][name] for name in ("read", "filtered", "out")} == {"read": 5, "filtered": 3, "out": 2}
    assert run(cli)["cursors"] == {}
    assert ids() == [1, 2, 3, 4, 5]
    kinds = [each["kind"] for each in json.loads(cli("runs", "list", "--json").stdout)]
    assert kinds == ["incremental"] * 3


def test_the_first_run_begins_with_the_initial_value(news: Path, cli: Run) -> None:
    spec("{column: at, initial: 2025-01-02}")
    assert "what is new by at, from 2025-01-02 00:00:00 on at first" in cli("plan", "news.yaml").stdout
    run(cli)
    assert ids() == [2, 3]


def test_a_named_range_is_read_and_the_cursor_stays(news: Path, cli: Run) -> None:
    spec()
    run(cli)
    part = run(cli, "--since", "2025-01-01", "--until", "2025-01-02")
    assert (part["written"]["out"]["rows"], part["cursors"]) == (1, {})
    assert json.loads(cli("runs", "show", "last", "--json").stdout)["kind"] == "partial"
    assert run(cli)["written"]["out"]["rows"] == 0
    assert run(cli, "--full")["written"]["out"]["rows"] == 3


def test_a_run_with_a_limit_moves_no_cursor(news: Path, cli: Run) -> None:
    spec()
    assert run(cli, "--limit", "1")["cursors"] == {}
    assert run(cli)["written"]["out"]["rows"] == 3


def test_a_failed_run_moves_no_cursor(news: Path, cli: Run) -> None:
    spec()
    rule = "quality_rules: [{name: few, step: few, type: row_count, max: 1, action: fail}]\n"
    text = Path("news.yaml").read_text()
    Path("news.yaml").write_text(text + rule)
    assert cli("run", "news.yaml", "-q").exit_code == 8
    Path("news.yaml").write_text(text)
    assert run(cli)["written"]["out"]["rows"] == 3


def test_records_without_a_value_are_rejected_with_their_line(news: Path, cli: Run) -> None:
    (news / "in/b.csv").write_text("id,at,n\n4,,8\n")
    spec()
    text = Path("news.yaml").read_text()
    Path("news.yaml").write_text(text + "dead_letter: {connector: jsonl, connection: {path: dead/}}\n")
    assert run(cli)["rejected"] == 1
    letter = rows(next(Path("dead").glob("*.jsonl")))[0]
    assert (letter["reason"], letter["column"], letter["line"]) == ("no_cursor", "at", 2)
    assert json.loads(letter["original"])["n"] == "8"


def test_state_shows_sets_and_resets_where_the_next_run_goes_on(news: Path, cli: Run) -> None:
    spec()
    run(cli, "--since", "2025-01-01", "--until", "2025-01-02")
    assert "nothing was read yet" in cli("state").stdout
    run(cli)
    assert "2025-01-02 10:00:00" in cli("state", "show", "news").stdout
    assert json.loads(cli("state", "show", "news.yaml", "--json").stdout)[0]["source"] == "orders"
    assert "from at = 2025-01-02 00:00:00 on" in cli("state", "set", "news.yaml", "orders", "2025-01-02").stdout
    assert run(cli)["written"]["out"]["rows"] == 2
    for answer in ("n\n", ""):
        refused(cli("state", "reset", "news.yaml", input=answer), "DH305", "nothing was changed")
    assert "reads all of orders" in cli("state", "reset", "news.yaml", "--yes").stdout
    assert run(cli)["written"]["out"]["rows"] == 3
    refused(cli("state", "set", "news.yaml", "orders", "soon"), "DH102", "'soon' is not a TIMESTAMP")
    refused(cli("state", "set", "news.yaml", "ordes", "2025-01-02"), "DH101", "did you mean 'orders'?")
    refused(cli("state", "set", "news.yaml", "orders", "2025-01-02", "--partition", "3"), "DH102", "has no partitions")
    refused(cli("state", "reset", "newz", "--yes"), "DH101", "did you mean 'news'?")


def test_another_column_needs_a_new_beginning(news: Path, cli: Run) -> None:
    spec()
    run(cli)
    spec("n")
    refused(cli("run", "news.yaml"), "DH102", "was read by the column 'at' so far, not by 'n'", "state reset news orders")


def test_without_a_store_only_a_named_range_can_be_read(news: Path, cli: Run) -> None:
    spec()
    refused(cli("run", "news.yaml", "--no-record"), "DH103", "--since")
    assert run(cli, "--no-record", "--since", "2025-01-02")["written"]["out"]["rows"] == 2
    Path("plain.yaml").write_text(Path("news.yaml").read_text().replace(", incremental: at", ""))
    refused(cli("run", "plain.yaml", "--since", "2025-01-02"), "DH102", "has no incremental source")


@pytest.mark.parametrize(
    ("incremental", "more", "says"),
    [
        ("wen", "", "unknown column 'wen'"),
        ("{column: at, key: idd}", "", "did you mean 'id'?"),
        ("{column: at, lag: soon}", "", "'soon' is no length of time"),
        ("{column: at, initial: soon}", "", "'soon' is not a TIMESTAMP"),
        ("n", "schema: {id: bigint, at: timestamp, n: double}, ", "is DOUBLE, which cannot tell new records from old ones"),
        ("{column: at, nuls: skip}", "", "nulls"),
        ("{lag: 5 minutes}", "", "column"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(incremental: str, more: str, says: str, news: Path, cli: Run) -> None:
    spec(incremental, more)
    done = cli("validate", "news.yaml")
    assert done.exit_code == 3, done.output
    assert says in done.output
    assert "news.yaml:2" in done.output
