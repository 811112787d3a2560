"""Debezium's envelopes as rows."""

from __future__ import annotations

from typing import Any

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

PLACEHOLDER = "__debezium_unavailable_value"


def change(op: str | None, before: Any, after: Any, offset: int) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "_offset": offset}


def test_rows_of_all_kinds_and_what_rows_cannot_say() -> None:
    given = [
        change("r", None, {"id": 1, "at": 1709208000123456, "raw": "AP8=", "note": "x"}, 1),
        change("d", {"id": 1}, None, 2),
        change(None, None, None, 3),
        change("t", None, None, 4),
        change("u", None, {"id": 2, "at": None, "raw": None, "note": PLACEHOLDER}, 5),
    ]
    config = {"types": {"at": "timestamp", "raw": "blob"}}
    found = run_step("changes", config, {"input": given}, slice_rows=2)
    rows = sorted(found.rows, key=lambda row: row["__position"])
    assert [(row["id"], row["raw"], row["note"], row["__op"], row["__deleted"]) for row in rows] == [
        (1, b"\x00\xff", "x", "r", False),
        (1, None, None, "d", True),
    ]
    assert str(rows[0]["at"]) == "2024-02-29 12:00:00.123456"
    books = found.books["step"]
    assert (books["in"], books["out"], books["filtered"], books["rejected"]) == (5, 2, 1, 2)
    skipped = run_step("changes", {**config, "truncates": "skip"}, {"input": given})
    assert skipped.books["step"]["rejected"] == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"op": "c", "after": {"id": 1}}, "no column 'before'"),
        ({"op": "c", "before": None, "after": "text"}, "not known"),
        ({"op": "c", "before": None, "after": {"id": 1}}, "the order of its changes"),
    ],
)
def test_what_is_no_envelope_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("changes", {}, {"input": [row]})
