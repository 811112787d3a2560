"""Literal values in options that stand beside a column: checked against its type, and written as SQL."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions.typing import typing_session
from beam_datahub.kernels.types import literal, sql_type
from beam_datahub.kernels.widening import is_number

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope


def typed_literal(value: Any, name: str, kind: pa.DataType, scope: Scope, *at: str | int) -> str | None:
    """`value` as SQL of the type `kind` of the column `name`; None, once the error is reported, where it is not of it."""
    if _fits(value, kind):
        sql = number_sql(value, kind) if is_number(kind) else f"CAST({literal(_text(value))} AS {sql_type(kind)})"
        try:
            typing_session().scalar(f"SELECT {sql}")
        except duckdb.Error:
            pass
        else:
            return sql
    scope.error(InvalidValue(f"'{name}' is {sql_type(kind)}, which {value!r} is not"), *at)
    return None


def number_sql(value: int | float | Decimal, kind: pa.DataType) -> str:
    """A number as SQL that compares exactly with a column of the type `kind`."""
    exact = Decimal(str(value))
    if pa.types.is_floating(kind) or not exact.is_finite() or len(exact.as_tuple().digits) > 38:
        return f"CAST({literal(str(value))} AS DOUBLE)"
    return f"{exact:f}"


def _fits(value: Any, kind: pa.DataType) -> bool:
    if isinstance(value, bool):
        return bool(pa.types.is_boolean(kind))
    if isinstance(value, int | float | Decimal):
        return is_number(kind)
    return isinstance(value, str | datetime.date | datetime.time) and not (
        is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind)
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
