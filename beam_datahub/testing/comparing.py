"""Compares rows as a user means them: order and representation do not matter, values do."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:
    """`value` in the form that YAML and JSON have for it: dates as ISO text, numbers by value, JSON text as its content."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return plain(float(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(sep=" ")
        return text.removesuffix(" 00:00:00") if value.tzinfo is None else f"{text}+00:00"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value)


def _number(value: float) -> Any:
    if math.isnan(value) or math.isinf(value):
        return str(value)
    # The last bits of a sum depend on the order of its terms.
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.10g}")


def comparable(row: Mapping[str, Any]) -> str:
    """A row as one text that is equal for equal rows."""
    return json.dumps(plain(row), sort_keys=True, ensure_ascii=False)


def differences(expected: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """(missing, unexpected) rows, each as JSON text, counted as often as they occur."""
    wanted, given = Counter(map(comparable, expected)), Counter(map(comparable, found))
    return sorted((wanted - given).elements()), sorted((given - wanted).elements())
