"""MySQL's types: the canonical type of each column, and how it is selected so that nothing is lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_datahub.component.database import TableColumn
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ

_MOST_DIGITS = 38


@dataclass(frozen=True)
class ColumnDetail:
    """How a column is selected (`as is`, `text`, `double`, `bits`, `shape`), and the collation of its texts."""

    form: str
    collation: str | None = None


_PLAIN = {
    "tinyint": (pa.int8(), pa.uint8()),
    "smallint": (pa.int16(), pa.uint16()),
    "mediumint": (pa.int32(), pa.uint32()),
    "int": (pa.int32(), pa.uint32()),
    "bigint": (pa.int64(), pa.uint64()),
}
_KINDS: dict[str, tuple[pa.DataType, str]] = {
    "float": (pa.float32(), "double"),
    "double": (pa.float64(), "as is"),
    "year": (pa.int16(), "as is"),
    "date": (pa.date32(), "as is"),
    "datetime": (TIMESTAMP, "as is"),
    "timestamp": (TIMESTAMPTZ, "as is"),
    "time": (pa.time64("us"), "text"),
    "json": (JSON, "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), (pa.binary(), "as is")),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), (pa.string(), "as is")),
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection"),
        (pa.binary(), "shape"),
    ),
}


def column_of(
    name: str, declared: str, nullable: bool = True, *, filled: bool = False, computed: bool = False, collation: str | None = None
) -> TableColumn:
    """A column as MySQL declares it: `int(10) unsigned`, `decimal(10,2)`, `enum('a','b')`."""
    kind, form = _kind(declared)
    return TableColumn(name, declared, kind, nullable, filled, computed, ColumnDetail(form, collation))


def _kind(declared: str) -> tuple[pa.DataType, str]:
    found = re.match(r"(\w+)(?:\(([^)]*)\))?(.*)", declared.lower())
    assert found is not None
    name, size, rest = found[1], found[2] or "", found[3]
    if name == "tinyint" and size == "1" and "unsigned" not in rest:
        return pa.bool_(), "as is"
    if name in _PLAIN:
        return _PLAIN[name]["unsigned" in rest], "as is"
    if name == "decimal":
        precision, _, scale = size.partition(",")
        return _decimal(int(precision or 10), int(scale or 0))
    if name == "bit":
        return (pa.bool_() if size in ("", "1") else pa.uint64()), "bits"
    return _KINDS.get(name, (pa.string(), "text"))


def _decimal(precision: int, scale: int) -> tuple[pa.DataType, str]:
    if precision > _MOST_DIGITS:
        return pa.string(), "text"
    return pa.decimal128(precision, scale), "as is"


# What the protocol says of a query's columns: the numbers of its types, and flags.
_UNSIGNED, _ENUM, _SET, _REQUIRED = 32, 256, 2048, 1
_BINARY_CHARSET = 63
_NUMBERED = {
    1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 8: "bigint", 9: "mediumint", 7: "timestamp", 10: "date",
    11: "time", 12: "datetime", 13: "year", 14: "date", 16: "bit", 245: "json", 255: "geometry",
}  # fmt: skip


def column_of_field(field: Any) -> TableColumn:
    """A column of a query as the server describes its result: PyMySQL's FieldDescriptorPacket."""
    code, flags = field.type_code, field.flags
    nullable = not flags & _REQUIRED
    if code in (0, 246):
        # The length counts the sign and the point.
        digits = field.length - (field.scale > 0) - (0 if flags & _UNSIGNED else 1)
        return column_of(field.name, f"decimal({max(digits, field.scale, 1)},{field.scale})", nullable)
    if code in _NUMBERED:
        sized = {1: "(1)" if field.length == 1 else "", 16: f"({field.length})"}.get(code, "")
        return column_of(
            field.name, _NUMBERED[code] + sized + (" unsigned" if flags & _UNSIGNED and code != 16 else ""), nullable
        )
    if flags & (_ENUM | _SET) or field.charsetnr != _BINARY_CHARSET:
        return column_of(field.name, "longtext", nullable)
    return column_of(field.name, "longblob", nullable)


def select_item(column: TableColumn, dialect: Dialect) -> str:
    """SQL for a column whose text loses nothing."""
    name = dialect.quoted(column.name)
    # As text, a FLOAT has only six digits.
    forms = {"double": f"{name} + 0E0", "bits": f"CAST({name} AS UNSIGNED)", "shape": f"ST_AsBinary({name})"}
    return forms.get(column.detail.form, name)
