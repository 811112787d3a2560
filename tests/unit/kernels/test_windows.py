"""Windows cover time without gaps, also where clocks change, and their ends are found in advance."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ
from beam_datahub.kernels.windows import Unit, Window, bounds_sql, sliding

MINUTE = 60_000_000
# Clocks that skip midnight, show it twice, skip a whole day, or go back from midnight to the day before.
ZONES = ["Europe/Berlin", "America/Havana", "Asia/Beirut", "Pacific/Apia", "America/St_Johns", "Asia/Kolkata"]


@pytest.mark.parametrize("unit", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ZONES)
def test_calendar_windows_follow_one_another_through_all_changes_of_clocks(zone: str, unit: Unit) -> None:
    window = Window("calendar", unit=unit, zone=zone)
    start, end = bounds_sql(window, "t", TIMESTAMPTZ)
    with KernelSession(threads=1) as session:
        found = session.fetch(
            "WITH times AS (SELECT TIMESTAMPTZ '2006-01-01 00:00:00+00' + INTERVAL 15 MINUTE * i AS t FROM range(210000) r(i)), "
            f"placed AS (SELECT t, {start} AS s, {end} AS e FROM times) "
            "SELECT epoch_us(s) AS s, epoch_us(e) AS e, bool_and(s <= t AND t < e) AS holds FROM placed GROUP BY ALL ORDER BY s"
        )
    assert all(found["holds"].to_pylist())
    starts, ends = found["s"].to_pylist(), found["e"].to_pylist()
    assert starts[1:] == ends[:-1]
    assert [window.next_end(begin) for begin in starts] == ends


def test_a_day_has_23_or_25_hours_when_clocks_change() -> None:
    start, end = bounds_sql(Window("calendar", zone="Europe/Berlin"), "t", TIMESTAMP)
    days = ["2025-03-30 12:00:00", "2025-10-26 12:00:00", "2025-07-01 12:00:00"]
    with KernelSession(threads=1) as session:
        session.put("times", pa.table({"t": pa.array([datetime.fromisoformat(day) for day in days], TIMESTAMP)}))
        found = session.fetch(f"SELECT (epoch_us({end}) - epoch_us({start})) // 3600000000 AS hours FROM times")[
            "hours"
        ].to_pylist()
    assert found == [23, 25, 24]


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20), st.integers(1, 50), st.integers(1, 50), st.integers(0, 100))
def test_a_row_is_in_every_sliding_window_that_holds_it(seconds: list[int], size: int, period: int, offset: int) -> None:
    size, period = max(size, period), min(size, period)
    window = Window("sliding", size=size, period=period, offset=offset)
    rows, starts = sliding(pa.array(seconds, pa.timestamp("us")), window)
    first = [range(point - size + 1, point + 1) for point in seconds]
    expected = [(row, start) for row, span in enumerate(first) for start in span if (start - offset) % period == 0]
    assert list(zip(rows.tolist(), starts.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    "window",
    [
        Window("fixed", size=MINUTE, lateness=MINUTE // 4),
        Window("sliding", size=5 * MINUTE, period=2 * MINUTE, offset=7),
        Window("calendar", unit="month", zone="Europe/Berlin"),
    ],
)
def test_the_next_change_is_an_end_of_a_window_or_of_its_lateness(window: Window) -> None:
    point = int(datetime(2025, 1, 31, 22, tzinfo=UTC).timestamp()) * 1_000_000
    for _ in range(20):
        after = window.next_change(point)
        assert point < after
        assert after in (window.next_end(after - 1), window.next_end(after - 1 - window.lateness) + window.lateness)
        point = after
