from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from beam_datahub.errors import DataHubError, UnknownColumn
from beam_datahub.testing.steps import run_step


def test_every_value_that_converts_is_exact_and_the_column_stays_in_place() -> None:
    rows = [{"d": "0.1", "t": "2025-01-31T10:00:00+02:00", "j": '{"a": [1]}', "n": 300}]
    found = run_step(
        "cast",
        {"types": {"D": "decimal(38,20)", "t": "timestamptz", "j": "json", "n": "utinyint"}, "on_error": "null"},
        {"input": rows},
    )
    assert found.schema.names == ["d", "t", "j", "n"]
    row = found.rows[0]
    assert row["d"] == Decimal("0.1")
    assert row["t"] == datetime.datetime(2025, 1, 31, 8, tzinfo=datetime.UTC)
    assert row["n"] is None


def test_only_the_row_that_does_not_convert_is_rejected() -> None:
    rows = [{"id": n, "v": str(n) if n % 7 else "?"} for n in range(1, 30)]
    found = run_step("cast", {"types": {"v": "smallint"}}, {"input": rows})
    assert sorted(row["id"] for row in found.rows) == [n for n in range(1, 30) if n % 7]
    assert {(record["reason"], record["column"]) for record in found.rejected} == {("cast_failed", "v")}
    assert len(found.rejected) == 4


def test_unknown_columns_and_types_are_refused_together() -> None:
    with pytest.raises(DataHubError) as raised:
        run_step("cast", {"types": {"amuont": "integer", "id": "intger"}}, {"input": [{"id": 1, "amount": 2}]})
    text = str(raised.value)
    assert "unknown column 'amuont'" in text
    assert "intger" in text
    with pytest.raises(UnknownColumn) as single:
        run_step("cast", {"types": {"amuont": "integer"}}, {"input": [{"id": 1, "amount": 2}]})
    assert single.value.hint == "did you mean 'amount'?"
