"""Lengths of time as a spec says them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "millisecond": 0.001, "s": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_UNITS |= {"d": 86400, "day": 86400}
_PATTERN = r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|(?:millisecond|second|minute|hour|day)s?)\s*$"


def seconds_of(value: Any) -> float:
    """A length of time in seconds: a number of them, or a text such as `10 s` or `5 minutes`. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = re.match(_PATTERN, value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"'{value}' is no length of time: write it as `10 s`, `5 minutes` or `1 hour`")
    unit = found[2] if found[2] in _UNITS else found[2].rstrip("s")
    return float(found[1]) * _UNITS[unit]


def moment_of(value: Any) -> datetime:
    """A point in time, of a date or a timestamp as YAML reads them or as text; one without a zone is UTC. Raises ValueError."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)
    if not isinstance(found, datetime):
        raise ValueError(f"'{value}' is no point in time: write it as 2025-01-31 12:00:00")
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(moment_of), WithJsonSchema({"type": "string", "minLength": 1})]
Seconds = Annotated[
    float,
    BeforeValidator(seconds_of),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _PATTERN}]}),
]
