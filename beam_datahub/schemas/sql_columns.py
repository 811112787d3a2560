"""Arrow columns as SQL types of the dialect families, and the neutral names that all of them know."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pyarrow as pa

from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, sql_type

Lost = Callable[[str, str], None]
DIALECTS = ("postgresql", "mysql", "sqlite", "mssql", "oracle", "duckdb")

# The names are those of SQLAlchemy's types.
_NEUTRAL: Mapping[pa.DataType, str] = {
    pa.bool_(): "Boolean",
    pa.int8(): "SmallInteger",
    pa.int16(): "SmallInteger",
    pa.int32(): "Integer",
    pa.int64(): "BigInteger",
    pa.uint8(): "SmallInteger",
    pa.uint16(): "Integer",
    pa.uint32(): "BigInteger",
    pa.uint64(): "Numeric(20, 0)",
    pa.float32(): "REAL",
    pa.float64(): "Double",
    pa.string(): "Text",
    pa.binary(): "LargeBinary",
    pa.date32(): "Date",
    pa.time64("us"): "Time",
    TIMESTAMP: "DateTime",
    TIMESTAMPTZ: "DateTime(timezone=True)",
    pa.month_day_nano_interval(): "Interval",
    JSON: "JSON",
}
_ARROW: Mapping[str, pa.DataType] = {
    "Boolean": pa.bool_(),
    "SmallInteger": pa.int16(),
    "Integer": pa.int32(),
    "BigInteger": pa.int64(),
    "REAL": pa.float32(),
    "Float": pa.float64(),
    "Double": pa.float64(),
    "Text": pa.string(),
    "String": pa.string(),
    "Unicode": pa.string(),
    "UnicodeText": pa.string(),
    "Uuid": pa.string(),
    "Enum": pa.string(),
    "LargeBinary": pa.binary(),
    "Date": pa.date32(),
    "Time": pa.time64("us"),
    "DateTime": TIMESTAMP,
    "DateTime(timezone=True)": TIMESTAMPTZ,
    "Interval": pa.month_day_nano_interval(),
    "JSON": JSON,
}
# By dialect, the type for a neutral name, and for each that the dialect does not keep, what comes back.
_DIALECTS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "Boolean": "BOOLEAN",
        "SmallInteger": "SMALLINT",
        "Integer": "INTEGER",
        "BigInteger": "BIGINT",
        "REAL": "REAL",
        "Double": "DOUBLE PRECISION",
        "Numeric": "NUMERIC({0}, {1})",
        "Text": "TEXT",
        "LargeBinary": "BYTEA",
        "Date": "DATE",
        "Time": "TIME",
        "DateTime": "TIMESTAMP",
        "DateTime(timezone=True)": "TIMESTAMP WITH TIME ZONE",
        "Interval": "INTERVAL",
        "JSON": "JSONB",
    },
    "mysql": {
        "Boolean": "BOOL",
        "SmallInteger": "SMALLINT",
        "Integer": "INTEGER",
        "BigInteger": "BIGINT",
        "REAL": "FLOAT",
        "Double": "DOUBLE",
        "Numeric": "NUMERIC({0}, {1})",
        "Text": "LONGTEXT",
        "LargeBinary": "LONGBLOB",
        "Date": "DATE",
        "Time": "TIME(6)",
        "DateTime": "DATETIME(6)",
        "DateTime(timezone=True)": "TIMESTAMP(6)",
        "Interval": "VARCHAR(64)",
        "JSON": "JSON",
    },
    "sqlite": {
        "Boolean": "BOOLEAN",
        "SmallInteger": "SMALLINT",
        "Integer": "INTEGER",
        "BigInteger": "BIGINT",
        "REAL": "FLOAT",
        "Double": "DOUBLE",
        "Numeric": "TEXT",
        "Text": "TEXT",
        "LargeBinary": "BLOB",
        "Date": "DATE",
        "Time": "TIME",
        "DateTime": "DATETIME",
        "DateTime(timezone=True)": "DATETIME",
        "Interval": "TEXT",
        "JSON": "JSON",
    },
    "mssql": {
        "Boolean": "BIT",
        "SmallInteger": "SMALLINT",
        "Integer": "INTEGER",
        "BigInteger": "BIGINT",
        "REAL": "REAL",
        "Double": "DOUBLE PRECISION",
        "Numeric": "NUMERIC({0}, {1})",
        "Text": "NVARCHAR(MAX)",
        "LargeBinary": "VARBINARY(MAX)",
        "Date": "DATE",
        "Time": "TIME(6)",
        "DateTime": "DATETIME2(6)",
        "DateTime(timezone=True)": "DATETIMEOFFSET(6)",
        "Interval": "NVARCHAR(64)",
        "JSON": "NVARCHAR(MAX)",
    },
    "oracle": {
        "Boolean": "NUMBER(1)",
        "SmallInteger": "NUMBER(5)",
        "Integer": "NUMBER(10)",
        "BigInteger": "NUMBER(19)",
        "REAL": "BINARY_FLOAT",
        "Double": "BINARY_DOUBLE",
        "Numeric": "NUMBER({0}, {1})",
        "Text": "CLOB",
        "LargeBinary": "BLOB",
        "Date": "DATE",
        "Time": "VARCHAR2(15)",
        "DateTime": "TIMESTAMP(6)",
        "DateTime(timezone=True)": "TIMESTAMP(6) WITH TIME ZONE",
        "Interval": "VARCHAR2(64)",
        "JSON": "CLOB",
    },
}
_COMES_BACK: Mapping[str, Mapping[str, str]] = {
    "mysql": {"Interval": "text"},
    "sqlite": {
        "Numeric": "text, so that no digit is lost",
        "DateTime(timezone=True)": "a time without its zone, in UTC",
        "Interval": "text",
    },
    "mssql": {"Interval": "text", "JSON": "text"},
    "oracle": {
        "Boolean": "a number",
        "SmallInteger": "a decimal",
        "Integer": "a decimal",
        "BigInteger": "a decimal",
        "Date": "a time stamp",
        "Time": "text",
        "Interval": "text",
        "JSON": "text",
    },
}
_NUMERIC = re.compile(r"Numeric\((\d+),\s*(\d+)\)\Z")
_SIZED = re.compile(r"(String|Unicode|LargeBinary)\((\d+)\)\Z")


def neutral_type(kind: pa.DataType) -> str:
    """The neutral name of the type that holds every value of a canonical Arrow type; nested ones are JSON."""
    if pa.types.is_decimal(kind):
        return f"Numeric({kind.precision}, {kind.scale})"
    return _NEUTRAL.get(kind, "JSON")


def arrow_of_neutral(name: str) -> pa.DataType:
    """The Arrow type of a neutral name such as `BigInteger` or `Numeric(12, 2)`. Raises InvalidValue."""
    numeric = _NUMERIC.match(name)
    if numeric is not None and 0 < int(numeric[1]) <= 38 and int(numeric[2]) <= int(numeric[1]):
        return pa.decimal128(int(numeric[1]), int(numeric[2]))
    sized = _SIZED.match(name)
    found = _ARROW.get(sized[1] if sized else name)
    if found is None:
        raise InvalidValue(f"'{name}' is no neutral SQL type", hint=f"known: {', '.join(_ARROW)}, Numeric(P, S)")
    return found


def sql_columns(schema: pa.Schema, dialect: str, lost: Lost) -> dict[str, str]:
    """The type of each column in a dialect. Raises InvalidValue for a dialect that is not known."""
    if dialect not in DIALECTS:
        raise InvalidValue(f"there is no dialect '{dialect}'", hint=f"known: {', '.join(DIALECTS)}")
    if dialect == "duckdb":
        return {field.name: sql_type(field.type) for field in schema}
    return {field.name: _column(field, dialect, lost) for field in schema}


def create_table(schema: pa.Schema, name: str, dialect: str, lost: Lost) -> str:
    """The text of a CREATE TABLE for rows of these columns."""
    columns = sql_columns(schema, dialect, lost)
    lines = [f"  {_quoted(column, dialect)} {kind}" for column, kind in columns.items()]
    return f"CREATE TABLE {_quoted(name, dialect)} (\n" + ",\n".join(lines) + "\n);\n"


def _column(field: pa.Field, dialect: str, lost: Lost) -> str:
    neutral = neutral_type(field.type)
    numeric = _NUMERIC.match(neutral)
    key = "Numeric" if numeric else neutral
    back = _COMES_BACK.get(dialect, {}).get(key)
    if back is not None:
        lost(field.name, f"{sql_type(field.type)}: {dialect} gives back {back}")
    elif arrow_of_neutral(neutral) != field.type:
        lost(field.name, f"{sql_type(field.type)}: it comes back as {sql_type(arrow_of_neutral(neutral))}")
    return _DIALECTS[dialect][key].format(*(numeric.groups() if numeric else ()))


def _quoted(name: str, dialect: str) -> str:
    first, last = {"mysql": ("`", "`"), "mssql": ("[", "]")}.get(dialect, ('"', '"'))
    return f"{first}{name.replace(last, last * 2)}{last}"
