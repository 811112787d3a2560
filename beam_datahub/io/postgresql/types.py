"""PostgreSQL's types: the canonical type of each, and how a column is selected so that nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from beam_datahub.component.database import Relation, TableColumn
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.io.postgresql.arrays import FOLDED
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ

Fetch = Callable[[str], list[tuple[Any, ...]]]

# What ADBC reads as it is.
_PLAIN: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMPTZ,
    "interval": pa.month_day_nano_interval(),
}
# What is cast to another of its types first; everything else to text.
_CAST: dict[str, tuple[pa.DataType, str]] = {
    "oid": (pa.int64(), "int8"),
    "money": (pa.decimal128(19, 2), "numeric(19,2)"),
    "json": (JSON, "text"),
    "jsonb": (JSON, "text"),
}
# The well-known binary form of shapes.
_SHAPES = ("geometry", "geography")
_MOST_DIGITS = 38
# How many rows tell of decimals that have no declared size; and what is added to their scale when there are more rows.
_SAMPLE, _SCALE = 1000, 9


class Catalogue:
    """The types of one server, looked up as they are met."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: dict[int, tuple[str, str, int, int, int]] = {}

    def _type(self, oid: int) -> tuple[str, str, int, int, int]:
        """Name, kind (b, c, d, e, …), element, base type and its modifier."""
        if oid not in self._known:
            rows = self._fetch(
                "SELECT typname, typtype::text, CASE WHEN typcategory = 'A' THEN typelem ELSE 0 END::bigint, "
                f"typbasetype::bigint, typtypmod FROM pg_type WHERE oid = {oid}"
            )
            self._known[oid] = rows[0] if rows else ("unknown", "b", 0, 0, -1)
        return self._known[oid]

    def column(self, name: str, oid: int, modifier: int) -> TableColumn:
        """A column of a type; its `detail` says how it is selected and read, None: as it is."""
        written = self._fetch(f"SELECT format_type({oid}, {modifier})")[0][0]
        kind = self._type(oid)
        while kind[1] == "d":
            modifier = kind[4]
            oid = kind[3]
            kind = self._type(oid)
        found, detail = self._read(kind, modifier)
        return TableColumn(name, written, found, detail=detail)

    def _read(self, kind: tuple[str, str, int, int, int], modifier: int) -> tuple[pa.DataType, str]:
        name, sort, element, _, _ = kind
        if element:
            inner = self._type(element)
            while inner[1] == "d":
                inner = self._type(inner[3])
            item, detail = self._read(inner, modifier)
            if name in ("int2vector", "oidvector") or pa.types.is_list(item):
                return pa.string(), "::text"
            listed = pa.list_(pa.field("item", item))
            return listed, "list" if detail == "as is" else "list::text[]"
        if name == "numeric":
            return _decimal(modifier), "numeric"
        if name in _PLAIN:
            return _PLAIN[name], "as is"
        if name in _CAST:
            found, cast = _CAST[name]
            return found, f"::{cast}"
        if name in _SHAPES:
            return pa.binary(), "shape"
        if sort == "c":
            return JSON, "record"
        return pa.string(), "::text"

    def sized(self, column: TableColumn, relation: Relation, dialect: Dialect, fetch: Fetch) -> TableColumn:
        """A column of decimals without a declared size, with the size of those that come first."""
        if column.detail != "numeric" or pa.types.is_decimal(column.type):
            return column
        name = dialect.quoted(column.name)
        finite = f"{name} NOT IN ('NaN'::numeric)"
        rows = fetch(
            f"SELECT max(scale({name})), max(length(trunc(abs({name}))::text)), count(*) FROM (SELECT {name} FROM "
            f"{relation.sql(dialect)} LIMIT {_SAMPLE}) AS s WHERE {finite} AND abs({name}) < 1e40"
        )
        scale, whole, count = rows[0]
        scale, whole = scale or 0, whole or 1
        if whole + scale > _MOST_DIGITS:
            return TableColumn(column.name, column.declared, pa.string(), column.nullable, detail="numeric")
        if count == _SAMPLE or not count:
            scale = max(scale, min(_SCALE, _MOST_DIGITS - whole))
        return TableColumn(column.name, column.declared, pa.decimal128(_MOST_DIGITS, scale), column.nullable, detail="numeric")


def _decimal(modifier: int) -> pa.DataType:
    """The type of numeric(p,s); text where it has no size, or more digits than a decimal can have."""
    if modifier < 4:
        return pa.string()
    precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
    scale = scale - 2048 if scale >= 1024 else scale
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return pa.decimal128(precision, scale) if precision <= _MOST_DIGITS else pa.string()


def select_item(column: TableColumn, dialect: Dialect) -> str:
    """What stands in SELECT for a column."""
    name, detail = dialect.quoted(column.name), str(column.detail)
    if detail.startswith("list"):
        folded = f"coalesce(array_ndims({name}) > 1, false) AS {dialect.quoted(FOLDED + column.name)}"
        return f"{name}{detail[4:]} AS {name}, {folded}"
    if detail.startswith("::"):
        return f"{name}{detail} AS {name}"
    if detail == "numeric" and not pa.types.is_decimal(column.type):
        return f"{name}::text AS {name}"
    if detail == "shape":
        return f"ST_AsBinary({name}) AS {name}"
    if detail == "record":
        return f"to_jsonb({name})::text AS {name}"
    return name


def as_decimal(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Numbers as text in an exact decimal type, and a mask of those that it cannot hold, NaN and infinity among them."""
    try:
        return texts.cast(target), None
    except pa.ArrowInvalid:
        # Only a batch with a misfit goes value by value.
        found = [_exact(text, target) for text in texts.to_pylist()]
        bad = [value is None and text is not None for value, text in zip(found, texts.to_pylist(), strict=True)]
        return pa.array(found, target), pa.array(bad)


def _exact(text: str | None, target: pa.DataType) -> Decimal | None:
    if text is None:
        return None
    try:
        return pa.scalar(Decimal(text), target).as_py()  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, InvalidOperation, ValueError):
        return None
