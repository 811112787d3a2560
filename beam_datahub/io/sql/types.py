"""SQLAlchemy's types and ours, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, canonical, sql_type

if TYPE_CHECKING:
    import sqlalchemy as sa


def roomy(found: pa.DataType) -> pa.DataType:
    """A sampled type with room for what may come later."""
    return pa.decimal128(38, found.scale) if pa.types.is_decimal(found) and found.precision <= 38 else canonical(found)


def column_type(data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
    """SQLAlchemy's type that keeps every value of a canonical type; None where there is none that all dialects have."""
    import sqlalchemy as sa

    t = pa.types
    if t.is_decimal(data_type):
        return sa.Numeric(data_type.precision, data_type.scale)
    if t.is_nested(data_type):
        return sa.JSON()
    kinds: dict[str, sa.types.TypeEngine[Any]] = {
        "BOOLEAN": sa.Boolean(),
        "TINYINT": sa.SmallInteger(),
        "SMALLINT": sa.SmallInteger(),
        "UTINYINT": sa.SmallInteger(),
        "INTEGER": sa.Integer(),
        "USMALLINT": sa.Integer(),
        "BIGINT": sa.BigInteger(),
        "UINTEGER": sa.BigInteger(),
        "UBIGINT": sa.Numeric(20, 0),
        "FLOAT": sa.Float(),
        "DOUBLE": sa.Double(),
        "VARCHAR": sa.Text(),
        "BLOB": sa.LargeBinary(),
        "DATE": sa.Date(),
        "TIME": sa.Time(),
        "TIMESTAMP": sa.DateTime(),
        "TIMESTAMPTZ": sa.DateTime(timezone=True),
        "JSON": sa.JSON(),
    }
    return kinds.get(sql_type(data_type))


def canonical_of(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    """The canonical type of what a reflected column gives; text where SQLAlchemy does not know it."""
    from sqlalchemy import types

    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        precision, scale = kind.precision or 38, kind.scale
        return pa.decimal128(min(precision, 38), scale if scale is not None else 9 if kind.precision is None else 0)
    known: tuple[tuple[type, pa.DataType], ...] = (
        (types.Boolean, pa.bool_()),
        (types.SmallInteger, pa.int16()),
        (types.BigInteger, pa.int64()),
        (types.Integer, pa.int64()),
        (types.Float, pa.float64()),
        (types.Date, pa.date32()),
        (types.Time, pa.time64("us")),
        (types._Binary, pa.binary()),
        (types.JSON, JSON),
    )
    if isinstance(kind, types.DateTime):
        return TIMESTAMPTZ if kind.timezone else TIMESTAMP
    return next((found for each, found in known if isinstance(kind, each)), pa.string())
