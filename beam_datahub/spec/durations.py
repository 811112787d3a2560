"""Lengths of time as a spec says them."""

from __future__ import annotations

import re
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


Seconds = Annotated[
    float,
    BeforeValidator(seconds_of),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _PATTERN}]}),
]
