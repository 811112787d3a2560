"""JSON literals and other plain values as SQL."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from typing import Any

from beam_datahub.errors import InvalidExpression
from beam_datahub.kernels.types import literal, quoted


def literal_sql(value: Any) -> str:
    """The SQL of a plain value: whole numbers are BIGINT, fractions DOUBLE, lists and objects lists and structs.

    A list of values of several kinds, or an object without fields, is JSON. Raises InvalidExpression.
    """
    if value is None:
        return "CAST(NULL AS VARCHAR)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidExpression("a text literal cannot hold a NUL character")
        return f"CAST({literal(value)} AS VARCHAR)"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return f"CAST({literal(str(value))} AS DOUBLE)"
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime.datetime):
        return f"CAST({literal(value.isoformat(' '))} AS {'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMPTZ'})"
    if isinstance(value, datetime.date):
        return f"CAST({literal(value.isoformat())} AS DATE)"
    if isinstance(value, datetime.time):
        return f"CAST({literal(value.isoformat())} AS TIME)"
    if isinstance(value, bytes):
        return f"from_hex({literal(value.hex())})"
    if isinstance(value, list | tuple):
        return _list(list(value))
    if isinstance(value, dict):
        return _struct(value)
    raise InvalidExpression(f"{type(value).__name__} is no literal")


def _integer(value: int) -> str:
    if -(2**63) <= value < 2**63:
        return f"CAST({value} AS BIGINT)"
    if abs(value) < 10**38:
        return f"CAST({value} AS DECIMAL(38,0))"
    raise InvalidExpression(f"{value} is too large: a whole number has at most 38 digits")


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        return f"CAST({literal(str(value))} AS DOUBLE)"
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale + 1)
    if precision > 38:
        raise InvalidExpression(f"{value} is too long: a decimal has at most 38 digits")
    return f"CAST({literal(format(value, 'f'))} AS DECIMAL({precision},{scale}))"


def _list(values: list[Any]) -> str:
    if not values:
        return "CAST([] AS VARCHAR[])"
    if _mixed(values):
        return _json(values)
    return f"[{', '.join(literal_sql(value) if value is not None else 'NULL' for value in values)}]"


def _mixed(values: list[Any]) -> bool:
    kinds = {float if type(value) in (int, float) else type(value) for value in values if value is not None}
    if kinds == {dict}:
        return len({tuple(value) for value in values if value is not None}) > 1 or not any(values)
    return len(kinds) > 1 or (kinds == {list} and _mixed([item for value in values for item in value or ()]))


def _struct(value: dict[Any, Any]) -> str:
    names = [name for name in value if isinstance(name, str) and name]
    if not value or len(names) != len(value) or len({name.casefold() for name in names}) != len(names):
        return _json(value)
    return f"struct_pack({', '.join(f'{quoted(name)} := {literal_sql(item)}' for name, item in value.items())})"


def _json(value: Any) -> str:
    def default(item: Any) -> Any:
        if isinstance(item, datetime.date | datetime.time):
            return item.isoformat()
        if isinstance(item, Decimal):
            return int(item) if item == item.to_integral_value() else float(item)
        raise InvalidExpression(f"{type(item).__name__} has no place in a JSON literal")

    if any(isinstance(item, float) and not math.isfinite(item) for item in _leaves(value)):
        raise InvalidExpression("JSON holds no infinite numbers")
    return f"CAST({literal(json.dumps(value, ensure_ascii=False, default=default))} AS JSON)"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]
