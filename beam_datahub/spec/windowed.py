"""The part of a step that says in which windows of event time it works, and when it gives their results."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from beam_datahub.errors import nearest
from beam_datahub.spec.durations import Seconds, seconds_of
from beam_datahub.spec.model import FiringSpec, SpecModel, WindowSpec

_FIRING = r"^\s*every\s+\S.*$"
_ROWS = r"\s*every\s+(?:(\d+)\s+rows?|row)\s*"
# What a kind of window is made of: what it needs, and what it may have.
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fixed": (("size",), ("offset",)),
    "sliding": (("size", "period"), ("offset",)),
    "session": (("gap",), ()),
    "calendar": (("unit",), ("zone",)),
}
_EXAMPLES = {"size": "1 minute", "period": "10 seconds", "gap": "30 minutes", "unit": "day"}


def _firing(value: Any) -> Any:
    if isinstance(value, FiringSpec):
        return value
    found = re.fullmatch(_ROWS, value) if isinstance(value, str) else None
    if found is not None and int(found[1] or 1) > 0:
        return FiringSpec(rows=int(found[1] or 1))
    length = re.fullmatch(r"\s*every\s+(.*)", value) if isinstance(value, str) else None
    try:
        seconds = seconds_of(length[1]) if length is not None else 0
    except ValueError:
        seconds = 0
    if not seconds:
        raise ValueError("must be a rhythm such as `every 10 seconds` or `every 1000 rows`")
    return FiringSpec(seconds=seconds)


def _zone(value: Any) -> Any:
    import zoneinfo

    known = zoneinfo.available_timezones()
    if not isinstance(value, str) or value not in known:
        guess = nearest(value, sorted(known)) if isinstance(value, str) else None
        more = f": did you mean '{guess}'?" if guess else ", such as Europe/Berlin"
        raise ValueError(f"'{value}' is no time zone of the IANA database{more}")
    ZoneInfo(value)
    return value


def _on(value: Any) -> Any:
    return {"": value} if isinstance(value, str) else value


_Firing = Annotated[FiringSpec, BeforeValidator(_firing), WithJsonSchema({"type": "string", "pattern": _FIRING})]
_Zone = Annotated[str, BeforeValidator(_zone), WithJsonSchema({"type": "string", "minLength": 1})]
_On = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(_on),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "minProperties": 1},
            ]
        }
    ),
]
_Length = Annotated[Seconds, Field(ge=0.001)]


class WrittenWindow(SpecModel):
    """The windows of event time in which a step works: each window has a result of its own.

    The output begins with the columns `window_start` and `window_end`; a window holds its start and not its end.
    """

    type: Literal["fixed", "sliding", "session", "calendar"]
    """The kind: `fixed` windows of one `size` follow one another; `sliding` ones of a `size` begin every `period`, and a row is
    in several of them; a `session` ends when there was no row of its key for a `gap`; `calendar` windows are days, weeks or
    months."""
    on: _On
    """The column with the time that counts: a date or a timestamp (without a zone it is taken as UTC). A row without a value is
    rejected. For a join, `{first input: column, second input: column}` where the columns have different names."""
    size: _Length | None = None
    """How long a window is, such as `1 minute`."""
    period: _Length | None = None
    """How often a sliding window begins, such as `10 seconds`; at most its `size`."""
    offset: Seconds | None = None
    """By how much the beginnings are moved from 1970-01-01 00:00 UTC."""
    gap: _Length | None = None
    """How long a session is silent before it ends, such as `30 minutes`."""
    unit: Literal["day", "week", "month"] | None = None
    """The calendar's unit; a week begins on Monday."""
    zone: _Zone | None = None
    """The time zone of the calendar, such as `Europe/Berlin`, in which days have 23 or 25 hours when clocks change; UTC when left
    out."""
    lateness: Seconds = 0.0
    """How long after a window's end, as the watermark tells it, rows are still taken; then they are rejected as `late`. For a
    session, how far a row may lie behind the watermark. A batch run has no late rows."""
    early: _Firing | None = None
    """How often a result is given before a window is complete: `every 10 seconds` or `every 1000 rows`, where there are new
    rows. A batch run gives complete windows only."""
    late: _Firing = FiringSpec(rows=1)
    """How often a result is given anew for late rows that are taken: `every row` (with each batch in which one comes), or as in
    `early`."""
    results: Literal["accumulate", "discard"] = "accumulate"
    """What a further result of a window stands for: all of its rows so far (write it with `merge`, it takes the place of the one
    before), or just the rows that are new."""
    panes: bool = False
    """Add the columns `pane_index` (0 for a window's first result) and `pane_timing` (`early`, `on_time` or `late`)."""

    @model_validator(mode="after")
    def _fits(self) -> WrittenWindow:
        needed, allowed = _PARTS[self.type]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.type} window needs `{name}`, such as `{name}: {_EXAMPLES[name]}`")
        for name in ("size", "period", "offset", "gap", "unit", "zone"):
            if getattr(self, name) is not None and name not in (*needed, *allowed):
                raise ValueError(f"a {self.type} window has no `{name}`: it takes {', '.join((*needed, *allowed))}")
        if self.type == "sliding" and (self.period or 0) > (self.size or 0):
            raise ValueError("the `period` is longer than the `size`: rows between the windows would be in none")
        if self.type == "session" and self.results == "discard":
            raise ValueError("a session grows with its rows: its results accumulate, `results: discard` does not go with it")
        return self


def window_spec(written: WrittenWindow | None) -> WindowSpec | None:
    """What a step says of windows, with its defaults filled in."""
    if written is None:
        return None
    return WindowSpec(
        type=written.type,
        on=written.on,
        size=written.gap or written.size or 0.0,
        period=written.period or 0.0,
        offset=written.offset or 0.0,
        unit=written.unit or "day",
        zone=written.zone or "UTC",
        lateness=written.lateness,
        early=written.early,
        late=written.late,
        accumulate=written.results == "accumulate",
        panes=written.panes,
    )
