"""What a value means, whatever form it has: how an expected value of a YAML file is compared with one of a column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from beam_datahub.kernels.types import JSON

# Sums of floating point depend on the order of their terms in the last bits.
DIGITS = 12


@dataclass(frozen=True)
class _Truth:
    """A boolean that is not equal to the numbers 0 and 1."""

    value: bool


def meant(value: Any, kind: pa.DataType | None, digits: int = DIGITS) -> Any:
    """`value`, of a column of type `kind` or as a file says it, in a hashable form that is equal for equal meanings.

    A value that cannot be of that type stays as it is, and so differs from every one that is. Without a type, a value is
    what it is: true is not 1, a text is no number, and a date is its ISO text. Numbers that are not exact keep `digits`.
    """
    if value is None:
        return None
    if kind is None:
        return _loose(value, digits)
    if kind == JSON:
        return _json(value, digits)
    if pa.types.is_floating(kind):
        return _number(value, digits)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return _number(value, None)
    if pa.types.is_timestamp(kind):
        return _moment(value, zoned=kind.tz is not None)
    if pa.types.is_struct(kind):
        if not isinstance(value, Mapping):
            return _loose(value, digits)
        names = dict.fromkeys([*(field.name for field in kind), *value])
        types = {field.name: field.type for field in kind}
        return tuple((name, meant(value.get(name), types.get(name), digits)) for name in names)
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, Mapping) else value
        return frozenset((meant(key, kind.key_type, digits), meant(each, kind.item_type, digits)) for key, each in pairs)
    if pa.types.is_list(kind):
        return (
            tuple(meant(each, kind.value_type, digits) for each in value)
            if isinstance(value, list | tuple)
            else _loose(value, digits)
        )
    return _loose(value, digits)


def shown(value: Any) -> str:
    """A value that `meant` gave, as it could stand in a YAML file."""
    if value is None:
        return "null"
    if isinstance(value, _Truth):
        return "true" if value.value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, tuple):
        if value and all(isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str) for each in value):
            return "{" + ", ".join(f"{name}: {shown(each)}" for name, each in value) + "}"
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(f"{shown(key)}: {shown(each)}" for key, each in value)) + "}"
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, str) else str(value)


def _number(value: Any, digits: int | None) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return _loose(value, DIGITS)
    try:
        exact = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        return value
    if exact.is_nan():
        return "nan"
    if not exact.is_finite():
        return str(float(exact))
    return exact.normalize() + 0 if digits is None else Decimal(f"{exact:.{digits}g}").normalize() + 0


def _moment(value: Any, *, zoned: bool) -> Any:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
    except ValueError:
        return value
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC) if zoned else value
    return value.astimezone(UTC) if zoned else value.astimezone(UTC).replace(tzinfo=None)


def _json(value: Any, digits: int) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return _loose(value, digits)


def _loose(value: Any, digits: int) -> Any:
    """A value of no known type, hashable; true is not 1."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _loose(each, digits)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_loose(each, digits) for each in value)
    if isinstance(value, bool):
        return _Truth(value)
    if isinstance(value, int | float | Decimal):
        return _number(value, digits)
    if isinstance(value, date | time):
        return value.isoformat()
    return value
