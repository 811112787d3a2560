"""Over any number of runs, each record of a growing source is taken once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.errors import InvalidValue, RunError
from beam_datahub.kernels import increment as module
from beam_datahub.kernels.increment import Increment, Taking, can_order, check_lag, moved

DAY = datetime(2025, 1, 1, tzinfo=UTC)


def taken_by(increment: Increment, rows: pa.Table, slice_rows: int = 3, bundles: int = 2) -> tuple[list[int], Increment]:
    """The numbers of the rows that a run takes, and the increment of the next run."""
    found: list[int] = []
    parts = []
    takings = [Taking(increment) for _ in range(bundles)]
    for number, batch in enumerate(rows.to_batches(max_chunksize=slice_rows)):
        taking = takings[number % bundles]
        taken = taking.take(batch)
        found += (batch["n"] if taken.rows is None else batch["n"].take(taken.rows)).to_pylist()
    parts = [text for taking in takings if (text := taking.taken()) is not None]
    goal = moved(increment, parts)
    return sorted(found), increment if goal is None else increment.after(goal["last"], goal["seen"], 1)


def source(values: list[Any], data_type: pa.DataType) -> pa.Table:
    return pa.table({"n": pa.array(range(len(values)), pa.int64()), "at": pa.array(values, data_type)})


TYPES = [
    (pa.int64(), lambda n: n),
    (pa.decimal128(12, 2), lambda n: Decimal(n) / 4),
    (pa.date32(), lambda n: date(2025, 1, 1) + timedelta(n)),
    (pa.timestamp("us"), lambda n: datetime(2025, 1, 1) + timedelta(microseconds=n)),
    (pa.timestamp("us", tz="UTC"), lambda n: DAY + timedelta(hours=n)),
    (pa.string(), lambda n: f"{n:05}"),
]


@pytest.mark.parametrize(("data_type", "value"), TYPES, ids=[str(t) for t, _ in TYPES])
@settings(max_examples=8, deadline=None)
@given(steps=st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=5))
def test_each_record_is_taken_once_however_many_share_a_value(data_type: pa.DataType, value: Any, steps: list[list[int]]) -> None:
    # Each run finds all earlier records and some more, none of them older than the newest before.
    newest, values = 0, []
    increment = Increment("at", data_type, ("n", "at"))
    seen: list[int] = []
    for more in steps:
        for gap in sorted(more):
            newest += gap
            values.append(value(newest))
        found, increment = taken_by(increment, source(values, data_type))
        seen += found
    assert seen == list(range(len(values)))


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=5))
def test_records_that_come_late_within_the_lag_are_taken_once(steps: list[list[int]]) -> None:
    increment = Increment("at", pa.int64(), ("n", "at"), lag="10")
    values: list[int] = []
    seen: list[int] = []
    for late in steps:
        newest = max(values, default=0)
        values += [newest - each for each in late]
        values.append(newest + 1)
        found, increment = taken_by(increment, source(values, pa.int64()))
        seen += found
    assert sorted(seen) == list(range(len(values)))


def test_what_comes_later_than_the_lag_is_left_out() -> None:
    _, behind = taken_by(Increment("at", pa.int64(), ("n",), lag="10"), source([100], pa.int64()))
    assert taken_by(behind, source([100, 91, 90, 89], pa.int64()))[0] == [1, 2]


def test_a_key_tells_records_of_one_value_apart_whatever_else_changes() -> None:
    first = pa.table({"n": [1, 2], "at": [5, 5], "note": ["a", "b"]})
    again = pa.table({"n": [1, 2, 3], "at": [5, 5, 5], "note": ["changed", "b", "c"]})
    _, behind = taken_by(Increment("at", pa.int64(), ("n",)), first)
    assert taken_by(behind, again)[0] == [3]
    _, behind = taken_by(Increment("at", pa.int64(), ("n", "at", "note")), first)
    assert taken_by(behind, again)[0] == [1, 3]


def test_a_run_without_news_leaves_the_cursor_where_it_is() -> None:
    _, behind = taken_by(Increment("at", pa.int64(), ("n",)), source([1, 2], pa.int64()))
    found, same = taken_by(behind, source([1, 2], pa.int64()))
    assert not found
    assert same == behind


def test_a_range_is_closed_below_and_open_above() -> None:
    part = Increment("at", pa.int64(), ("n",), floor="2", until="4", moves=False)
    assert taken_by(part, source([1, 2, 3, 4, None], pa.int64()))[0] == [1, 2]


@pytest.mark.parametrize(("nulls", "taken", "refused"), [("reject", [1], [0]), ("skip", [1], []), ("read", [0, 1], [])])
def test_a_record_without_a_value_is_dealt_with_as_was_said(nulls: Any, taken: list[int], refused: list[int]) -> None:
    found = Taking(Increment("at", pa.int64(), ("n",), nulls=nulls)).take(source([None, 7], pa.int64()).to_batches()[0])
    assert (found.rows.to_pylist() if found.rows is not None else [0, 1]) == taken
    assert found.without.to_pylist() == refused


def test_a_cursor_under_which_too_many_records_lie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MARKS", 3)
    with pytest.raises(RunError, match="4 records have the newest values of 'at'"):
        taken_by(Increment("at", pa.int64(), ("n",)), source([7, 7, 7, 7], pa.int64()))


def test_only_exact_ordered_types_can_be_a_cursor() -> None:
    assert not can_order(pa.float64())
    assert not can_order(pa.bool_())
    with pytest.raises(InvalidValue, match="no length of time"):
        check_lag("soon", pa.timestamp("us"))
    with pytest.raises(InvalidValue, match="no number"):
        check_lag("5 minutes", pa.int64())
    with pytest.raises(InvalidValue, match="not a DATE"):
        Increment("at", pa.date32(), ("at",)).value("last week")
