"""Points in time as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """`2025-03-01`, `2025-03-01T12:00`, or how long ago: `30m`, `12h`, `7d`, `2w`."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The point in time, in UTC. Fails for a text that is none."""
        if isinstance(value, datetime):
            return value
        found = re.fullmatch(r"\s*(\d+)\s*([smhdw])\s*", str(value))
        try:
            if found is not None:
                return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
            given = datetime.fromisoformat(str(value).strip())
        except (ValueError, OverflowError):
            self.fail(f"'{value}' is not a time such as 2025-03-01, 2025-03-01T12:00, 12h or 7d", param, ctx)
        return (given if given.tzinfo is not None else given.astimezone()).astimezone(UTC)


def day_and_time(moment: datetime | None) -> str:
    """A point in time in the zone of this machine."""
    return "·" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def ago(moment: datetime | None) -> str:
    """How long ago something was, roughly."""
    if moment is None:
        return "·"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
