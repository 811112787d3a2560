"""`diff`: what a change of a spec changes in what it gives, on one sample, with nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

MORE = """\
quality_rules:
  - {name: dear, step: priced, type: consistency, that: gross < 12}
tests:
  - name: small
    given: {orders: [{id: 7, status: paid, amount: 1}]}
    rejected: 0
"""


@pytest.fixture
def two(shop: Path) -> Callable[..., None]:
    """Writes old.yaml, and new.yaml with texts replaced."""

    def write(*changes: tuple[str, str]) -> None:
        text = (shop / "shop.yaml").read_text() + MORE
        (shop / "old.yaml").write_text(text)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (shop / "new.yaml").write_text(text)

    return write


def compared(cli: Run, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = cli("diff", "old.yaml", "new.yaml", "--json", *options)
    assert found.exit_code == 1, found.output
    record = json.loads(found.output)
    return record, record["destinations"][0]


def test_versions_that_give_the_same_are_the_same(two: Any, cli: Run) -> None:
    two(("  - {id: paid", "  # a remark\n  - {id: paid"))
    found = cli("diff", "old.yaml", "new.yaml")
    assert found.exit_code == 0, found.output
    assert "nothing differs" in found.output
    assert not Path("out.jsonl").exists()


def test_rows_are_added_removed_and_changed_by_what_tells_them_apart(two: Any, cli: Run) -> None:
    two(("status = 'paid'", "id < 3"), ("amount * 1.2", "amount * 2"))
    record, out = compared(cli)
    assert record["sampled"] == {"orders": 3}
    assert out["rows"] == {"old": 2, "new": 2}
    shown = cli("diff", "old.yaml", "new.yaml").output
    assert "out: 2 → 2 rows" in shown
    two(("amount * 1.2", "amount * 2"))
    _, out = compared(cli)
    assert out["changed"] == [
        {"key": {"id": "1"}, "columns": {"gross": {"old": "12.6", "new": "21"}}},
        {"key": {"id": "3"}, "columns": {"gross": {"old": "5.1", "new": "8.5"}}},
    ]
    assert (out["added"], out["removed"]) == ([], [])
    two(("status = 'paid'", "status is not null"))
    _, out = compared(cli)
    assert out["added"] == ["{id: 2, gross: 3.6}"]


def test_columns_and_their_lineage_differ(two: Any, cli: Run) -> None:
    two(("fields: {id: id,", "fields: {id: customer, note: note,"))
    _, out = compared(cli)
    assert out["columns"] == {"note": {"old": None, "new": "VARCHAR"}}
    assert out["lineage"] == {
        "id": {"old": ["orders.id"], "new": ["orders.customer"]},
        "note": {"old": [], "new": ["orders.note"]},
    }
    assert out["decided_by"] == {}
    shown = cli("diff", "old.yaml", "new.yaml").output
    assert "+ column note VARCHAR  ← orders.note" in shown
    assert "~ lineage of id: orders.id → orders.customer" in shown
    assert "lineage of note" not in shown


def test_what_decides_over_rows_differs_even_where_the_rows_are_the_same(two: Any, cli: Run) -> None:
    two(("status = 'paid'", "status = 'paid' and id > 0"))
    record, out = compared(cli)
    assert (record["same"], out["same"], out["added"], out["removed"]) == (False, False, [], [])
    assert out["decided_by"] == {"old": ["orders.status (filter)"], "new": ["orders.id (filter)", "orders.status (filter)"]}
    shown = cli("diff", "old.yaml", "new.yaml")
    assert "~ its rows are decided by orders.status (filter) → orders.id (filter), orders.status (filter)" in shown.output
    assert shown.exit_code == 1


def test_rejects_and_violations_are_counted(two: Any, cli: Run) -> None:
    two(("amount * 1.2", "cast(note as integer) * 1.2"))
    record, _ = compared(cli)
    assert record["rejected"] == [{"step": "priced", "reason": "expression_failed", "old": 0, "new": 1}]
    two(("that: gross < 12", "that: gross < 1"))
    record, out = compared(cli)
    assert out["same"] is True
    assert record["violations"] == {"dear": {"old": 1, "new": 2}}


def test_the_sample_is_bounded_or_a_file_or_what_a_test_gives(two: Any, cli: Run) -> None:
    two(("amount * 1.2", "amount * 2"))
    assert compared(cli, "--sample", "1")[0]["sampled"] == {"orders": 1}
    Path("other.csv").write_text("id,customer,status,amount,note\n8,1,paid,1,\n")
    assert compared(cli, "--data", "orders=other.csv")[1]["changed"][0]["key"] == {"id": "8"}
    assert compared(cli, "--test", "small")[1]["changed"][0]["key"] == {"id": "7"}
    assert cli("diff", "old.yaml", "new.yaml", "--test", "smal").exit_code == 3


def test_a_destination_that_goes_is_told(two: Any, cli: Run) -> None:
    two(("destination: {id: out,", "destination: {id: other,"))
    found = cli("diff", "old.yaml", "new.yaml")
    assert found.exit_code == 1
    assert "- destination out\n+ destination other" in found.output


def test_registered_versions_are_compared(two: Any, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD", raising=False)
    two(("amount * 1.2", "amount * 2"))
    for file in ("old.yaml", "new.yaml"):
        assert cli("apply", file, "--store", "store.db").exit_code == 0
    found = cli("diff", "shop@1", "shop@2", "--store", "store.db")
    assert found.exit_code == 1, found.output + found.stderr
    assert "gross: 12.6 → 21" in found.output
    assert cli("diff", "shop@1", "shop@9", "--store", "store.db").exit_code == 3
