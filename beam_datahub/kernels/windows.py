"""Windows over event time: which windows a row belongs to, and when a window's rows are complete; pure functions.

A point in time is a number of microseconds since 1970 in UTC; a timestamp without a zone is taken as UTC. A window holds its
start and not its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from beam_datahub.kernels.types import HIDDEN, TIMESTAMP, TIMESTAMPTZ, literal, quoted

# The window of a row, on edges inside a step.
START, END = f"{HIDDEN}window_start", f"{HIDDEN}window_end"
# Which of its window's results a row belongs to, and when that was given.
INDEX, TIMING = f"{HIDDEN}pane_index", f"{HIDDEN}pane_timing"

NUMBERS = (pa.field(INDEX, pa.int64()), pa.field(TIMING, pa.string()))

EARLY, ON_TIME, LATE = "early", "on_time", "late"

# Of a stream whose watermark has no end any more.
FOREVER = 2**62
# The years that both Python and SQL can tell.
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
_QUARTER = 900 * _SECOND

Unit = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Firing:
    """How often a window's result is given before it is complete, or once more after: every so many seconds, or new rows."""

    seconds: float | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Window:
    """Windows of one kind; `size`, `period`, `offset` and `lateness` in microseconds.

    `size` of a session is the gap that ends it. `early` None: a result is given only when the window is complete; `late`: when
    rows come after that, while the lateness lasts. `accumulate`: each result stands for all rows of the window so far, and takes
    the place of the one before; else just for the new ones. `panes`: the results are numbered. `match`: each row of a join by
    nearness in time has its own, in which it can match; `size` is how far apart two rows can lie that match the same one.
    """

    kind: Literal["fixed", "sliding", "session", "calendar", "match"]
    size: int = 0
    period: int = 0
    offset: int = 0
    unit: Unit = "day"
    zone: str = "UTC"
    lateness: int = 0
    early: Firing | None = None
    late: Firing = Firing(rows=1)
    accumulate: bool = True
    panes: bool = False

    @property
    def merges(self) -> bool:
        """Whether a row's window depends on other rows."""
        return self.kind == "session"

    @property
    def grain(self) -> int:
        """The distance at which ends of windows are looked for."""
        if self.kind == "calendar":
            return _QUARTER
        if self.kind == "session":
            return min(self.size, _SECOND)
        if self.kind == "match":
            return next((step for step in (_SECOND, 100_000, 10_000) if 10 * step <= self.size), 1_000)
        return self.period if self.kind == "sliding" else self.size

    def next_end(self, after: int) -> int:
        """The first point behind `after` at which a window may end."""
        if self.kind == "calendar":
            return _next_of_calendar(after, self.unit, self.zone)
        shift = (self.offset + (self.size if self.kind == "sliding" else 0)) if self.kind not in ("session", "match") else 0
        return after + self.grain - (after - shift) % self.grain

    def next_change(self, after: int) -> int:
        """The first point behind `after` at which a window may be complete, or takes no late rows any more."""
        return min(self.next_end(after), self.next_end(after - self.lateness) + self.lateness)


@dataclass(frozen=True)
class Windowing:
    """The windows in which an operator works; `streams`: they have results of their own as a stream goes on."""

    window: Window
    streams: bool = False

    @property
    def numbered(self) -> bool:
        """Whether the results come with their number and timing."""
        return self.streams and self.window.panes


def bounds_sql(window: Window, column: str, data_type: pa.DataType) -> tuple[str, str]:
    """The start and the end of the one window of a row, by its timestamp `column`; a session's is what it spans on its own."""
    time, zoned = quoted(column), data_type == TIMESTAMPTZ
    micros = f"epoch_us(CAST({time} AS TIMESTAMP))"
    if window.kind == "session":
        return f"CAST({time} AS {_sql(zoned)})", _point(f"{micros} + {window.size}", zoned)
    if window.kind == "fixed":
        start = f"({micros} - ((({micros} - {window.offset}) % {window.size}) + {window.size}) % {window.size})"
        return _point(start, zoned), _point(f"{start} + {window.size}", zoned)
    if window.kind == "calendar":
        zone, unit = literal(window.zone), window.unit
        instant = time if zoned else f"timezone('UTC', CAST({time} AS TIMESTAMP))"
        local = f"date_trunc('{unit}', timezone({zone}, {instant}))"
        following = f"{local} + INTERVAL 1 {unit}"
        # Where clocks are set back around midnight, a time by the clock comes again when its next day has begun.
        again = f"{instant} >= {_begin(following, zone)}"
        start = f"CASE WHEN {again} THEN {_begin(following, zone)} ELSE {_begin(local, zone)} END"
        end = f"CASE WHEN {again} THEN {_begin(f'{local} + INTERVAL 2 {unit}', zone)} ELSE {_begin(following, zone)} END"
        return (start, end) if zoned else (f"timezone('UTC', {start})", f"timezone('UTC', {end})")
    raise ValueError(f"a row has several windows of the kind {window.kind}")


def reach_sql(column: str, data_type: pa.DataType, reach: int) -> tuple[str, str]:
    """A row's own timestamp, and the first point at which it matches no more where it does for `reach` microseconds behind it."""
    zoned = data_type == TIMESTAMPTZ
    micros = f"epoch_us(CAST({quoted(column)} AS TIMESTAMP))"
    return f"CAST({quoted(column)} AS {_sql(zoned)})", _point(f"{micros} + {reach + 1}", zoned)


def _sql(zoned: bool) -> str:
    return "TIMESTAMPTZ" if zoned else "TIMESTAMP"


def _point(micros: str, zoned: bool) -> str:
    return f"CAST(make_timestamp({micros}) AS {_sql(zoned)})"


def _begin(local: str, zone: str) -> str:
    """The first instant at which clocks in a zone show at least `local`: of two midnights, the earlier one."""
    instant = f"timezone({zone}, {local})"
    return (
        f"CASE WHEN timezone({zone}, {instant} - INTERVAL 1 HOUR) >= {local} THEN {instant} - INTERVAL 1 HOUR ELSE {instant} END"
    )


def _next_of_calendar(after: int, unit: Unit, zone: str) -> int:
    if not FIRST + 40 * 86_400 * _SECOND < after < LAST - 400 * 86_400 * _SECOND:
        return after + 86_400 * _SECOND
    here = ZoneInfo(zone)
    local = (
        (_EPOCH + timedelta(microseconds=after)).astimezone(here).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    )
    # The day before as well: where clocks are set back over midnight, its end is yet to come.
    day = local - timedelta(days=1)
    while True:
        if unit == "day" or (unit == "week" and day.weekday() == 0) or (unit == "month" and day.day == 1):
            begin = _first_instant(day, here)
            if begin > after:
                return begin
        day += timedelta(days=1)


def _first_instant(local: datetime, zone: ZoneInfo) -> int:
    # Of two readings the earlier one; where clocks skip it, the instant at which they do.
    return (local.replace(tzinfo=zone, fold=0) - _EPOCH) // timedelta(microseconds=1)


def sliding(times: pa.Array, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """For points in time, none of them null: the row of each pair of row and window, ascending, and the window's start."""
    micros = np.asarray(times.cast(pa.int64()))
    latest = micros - (micros - window.offset) % window.period
    # How many windows that began earlier still hold the row.
    count = np.maximum((latest + window.size - micros - 1) // window.period + 1, 0)
    rows = np.repeat(np.arange(len(micros)), count)
    first = np.repeat(np.cumsum(count) - count, count)
    earlier = np.arange(len(rows)) - first
    back = np.repeat(count, count) - 1 - earlier
    return rows, latest[rows] - back * window.period


def points(micros: np.ndarray, data_type: pa.DataType) -> pa.Array:
    """Points in time as a column of timestamps."""
    return pa.array(micros, pa.int64()).cast(TIMESTAMPTZ if data_type == TIMESTAMPTZ else TIMESTAMP)


def sessions_sql(relation: str, keys: tuple[str, ...]) -> str:
    """`relation`, whose rows have windows of their own, with those that overlap among rows of equal `keys` made into one."""
    by = "".join(f"{key}, " for key in keys)
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    begins, group = f"{HIDDEN}begins", f"{HIDDEN}session"
    before = f"max({END}) OVER ({partition}ORDER BY {START}, {END} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    marked = f"SELECT *, CASE WHEN {START} >= {before} THEN 1 ELSE 0 END AS {begins} FROM {relation}"
    # A frame of peers: rows that begin at the same point belong together.
    counted = (
        f"SELECT *, sum({begins}) OVER ({partition}ORDER BY {START}, {END} ROWS UNBOUNDED PRECEDING) AS {group} FROM ({marked})"
    )
    whole = f"(PARTITION BY {by}{group})"
    return (
        f"SELECT * EXCLUDE ({begins}, {group}) REPLACE (min({START}) OVER {whole} AS {START}, max({END}) OVER {whole} AS {END}) "
        f"FROM ({counted})"
    )
