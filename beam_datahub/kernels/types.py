"""The column types that flow on edges: one canonical Arrow type for each DuckDB type, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

JSON = pa.json_(pa.string())
TIMESTAMP = pa.timestamp("us")
TIMESTAMPTZ = pa.timestamp("us", tz="UTC")

# Hidden columns that the compiler carries along an edge start so; no user column may.
HIDDEN = "__dh_"

_SCALARS: dict[pa.DataType, str] = {
    pa.null(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    TIMESTAMP: "TIMESTAMP",
    TIMESTAMPTZ: "TIMESTAMPTZ",
    pa.month_day_nano_interval(): "INTERVAL",
    JSON: "JSON",
}


def sql_type(data_type: pa.DataType) -> str:
    """The DuckDB type that holds every value of a canonical Arrow type."""
    data_type = canonical(data_type)
    if data_type in _SCALARS:
        return _SCALARS[data_type]
    if pa.types.is_decimal(data_type):
        return f"DECIMAL({data_type.precision},{data_type.scale})"
    if pa.types.is_list(data_type):
        return f"{sql_type(data_type.value_type)}[]"
    if pa.types.is_map(data_type):
        return f"MAP({sql_type(data_type.key_type)}, {sql_type(data_type.item_type)})"
    if pa.types.is_struct(data_type):
        return f"STRUCT({', '.join(f'{quoted(f.name)} {sql_type(f.type)}' for f in data_type)})"
    raise TypeError(f"no SQL type holds {data_type}")


_BY_DUCKDB_ID: dict[str, pa.DataType] = {
    **{name.lower(): arrow for arrow, name in _SCALARS.items() if arrow != pa.null()},
    "hugeint": pa.decimal128(38, 0),
    "uhugeint": pa.decimal128(38, 0),
    "timestamp with time zone": TIMESTAMPTZ,
    "timestamp_s": TIMESTAMP,
    "timestamp_ms": TIMESTAMP,
    "timestamp_ns": TIMESTAMP,
    "variant": JSON,
}


def from_duckdb(duckdb_type: Any) -> pa.DataType:
    """The canonical Arrow type of a DuckDBPyType; what has none of its own (uuid, enum, bit, timetz) becomes text."""
    if str(duckdb_type) == "JSON":
        return JSON
    if duckdb_type.id == "decimal":
        sizes = dict(duckdb_type.children)
        return pa.decimal128(sizes["precision"], sizes["scale"])
    if duckdb_type.id in ("list", "array"):
        return pa.list_(pa.field("item", from_duckdb(dict(duckdb_type.children)["child"])))
    if duckdb_type.id == "map":
        sides = dict(duckdb_type.children)
        return pa.map_(from_duckdb(sides["key"]), from_duckdb(sides["value"]))
    if duckdb_type.id == "struct":
        return pa.struct([pa.field(name, from_duckdb(child)) for name, child in duckdb_type.children])
    return _BY_DUCKDB_ID.get(duckdb_type.id, pa.string())


def canonical(data_type: pa.DataType) -> pa.DataType:
    """The one Arrow type that edges use for what `data_type` can hold.

    Large, view and dictionary layouts become the plain one; times become microseconds, zoned ones UTC; integers of 128
    bits become decimal(38, 0); uuids and enums become strings.
    """
    t = pa.types
    if data_type == JSON or (isinstance(data_type, pa.BaseExtensionType) and data_type.extension_name == "arrow.json"):
        return JSON
    if isinstance(data_type, pa.BaseExtensionType):
        return _canonical_extension(data_type)
    if t.is_dictionary(data_type) or t.is_run_end_encoded(data_type):
        return canonical(data_type.value_type)
    if t.is_large_string(data_type) or t.is_string_view(data_type):
        return pa.string()
    if t.is_large_binary(data_type) or t.is_binary_view(data_type) or t.is_fixed_size_binary(data_type):
        return pa.binary()
    if t.is_timestamp(data_type):
        return TIMESTAMPTZ if data_type.tz else TIMESTAMP
    if t.is_date64(data_type):
        return pa.date32()
    if t.is_time(data_type):
        return pa.time64("us")
    if t.is_float16(data_type):
        return pa.float32()
    if t.is_null(data_type):
        return pa.string()
    if t.is_duration(data_type):
        return pa.month_day_nano_interval()
    if t.is_decimal(data_type):
        if data_type.precision > 38:
            raise TypeError(f"a decimal holds at most 38 digits, not {data_type.precision}")
        return pa.decimal128(data_type.precision, data_type.scale)
    if t.is_list(data_type) or t.is_large_list(data_type) or t.is_fixed_size_list(data_type) or t.is_list_view(data_type):
        return pa.list_(pa.field("item", canonical(data_type.value_type)))
    if t.is_map(data_type):
        return pa.map_(canonical(data_type.key_type), canonical(data_type.item_type))
    if t.is_struct(data_type):
        return pa.struct([pa.field(f.name, canonical(f.type)) for f in data_type])
    if data_type in _SCALARS:
        return data_type
    raise TypeError(f"no column can hold {data_type}")


def _canonical_extension(data_type: pa.BaseExtensionType) -> pa.DataType:
    if data_type.extension_name == "arrow.bool8":
        return pa.bool_()
    if data_type.extension_name == "arrow.uuid":
        return pa.string()
    if data_type.extension_name == "arrow.opaque":
        return pa.decimal128(38, 0) if "hugeint" in str(data_type) else pa.string()
    return canonical(data_type.storage_type)


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` with canonical types, every column nullable, and no metadata."""
    return pa.schema([pa.field(f.name, canonical(f.type)) for f in schema])


def with_article(data_type: pa.DataType) -> str:
    """The SQL type in a sentence: "a BIGINT", "an INTEGER"."""
    name = sql_type(data_type)
    return f"{'an' if name.startswith('I') else 'a'} {name}"


def quoted(name: str) -> str:
    """`name` as a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """`value` as a DuckDB text literal."""
    return "'" + value.replace("'", "''") + "'"


def nameless(schema: Iterable[pa.Field]) -> list[str]:
    """The names of columns, and of the fields inside them, that no query can say: those with a NUL character."""
    found = []
    for field in schema:
        inner = [field.type.field(i) for i in range(field.type.num_fields)]
        found += [field.name] * ("\0" in field.name) + nameless(inner)
    return found


def is_hidden(name: str) -> bool:
    """Whether a column is one of the compiler's own."""
    return name.startswith(HIDDEN)


def visible(schema: pa.Schema) -> pa.Schema:
    """`schema` without the compiler's own columns."""
    return pa.schema([f for f in schema if not is_hidden(f.name)])


def empty_table(schema: pa.Schema) -> pa.Table:
    """A table of `schema` without rows, also where JSON stands inside lists and structs, of which pyarrow's own makes none."""
    return pa.Table.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def without_json(data_type: pa.DataType) -> pa.DataType:
    """`data_type` with text in place of JSON at every depth."""
    if data_type == JSON:
        return pa.string()
    if pa.types.is_list(data_type):
        return pa.list_(without_json(data_type.value_type))
    if pa.types.is_map(data_type):
        return pa.map_(data_type.key_type, without_json(data_type.item_type))
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(f.name, without_json(f.type)) for f in data_type])
    return data_type
