"""Avro schemas as Arrow types and back, with what each side's values need to become the other's."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_datahub.errors import LossyWrite
from beam_datahub.kernels.types import JSON, sql_type

Convert = Callable[[Any], Any]

_PRIMITIVE: dict[str, pa.DataType] = {
    "null": pa.string(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "fixed": pa.binary(),
    "enum": pa.string(),
}
_LOGICAL: dict[tuple[str, str], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time64("us"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("us"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("string", "uuid"): pa.string(),
}
# Unions whose members one type holds.
_WIDER: dict[frozenset[str], str] = {
    frozenset(("int", "long")): "long",
    frozenset(("float", "double")): "double",
    frozenset(("int", "double")): "double",
    frozenset(("int", "float")): "double",
}


@dataclass(frozen=True)
class Column:
    """How values of an Avro schema become a column: the Arrow type, and a conversion of fastavro's value where one is needed."""

    type: pa.DataType
    convert: Convert | None = None


def column_of(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Column:
    """The column for a schema as fastavro has parsed it. A union of several types, and a type inside itself, become JSON.

    `named`: the definitions by full name; `inside`: the records that this one stands in.
    """
    if isinstance(schema, list):
        return _union(schema, named, inside)
    if isinstance(schema, str) and schema not in _PRIMITIVE:
        return column_of(named[schema], named, inside)
    kind = schema if isinstance(schema, str) else schema["type"]
    if isinstance(kind, dict | list):
        return column_of(kind, named, inside)
    if kind in ("record", "error"):
        return _record(schema, named, inside)
    if kind == "array":
        item = column_of(schema["items"], named, inside)
        return Column(pa.list_(item.type), _each(item.convert))
    if kind == "map":
        value = column_of(schema["values"], named, inside)
        return Column(pa.map_(pa.string(), value.type), _each_value(value.convert))
    return _plain(kind, schema if isinstance(schema, dict) else {})


def _plain(kind: str, schema: Mapping[str, Any]) -> Column:
    logical = schema.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision, scale = schema.get("precision", 0), schema.get("scale", 0)
        if 0 < precision <= 38 and 0 <= scale <= precision:
            return Column(pa.decimal128(precision, scale))
        return Column(pa.string(), _text)
    if logical == "duration" and kind == "fixed" and schema.get("size") == 12:
        return Column(pa.month_day_nano_interval(), _duration)
    if logical == "uuid":
        return Column(pa.string(), _text)
    if schema.get("sqlType") == "JSON":
        return Column(JSON)
    return Column(_LOGICAL.get((kind, str(logical)), _PRIMITIVE[kind]))


def _record(schema: Mapping[str, Any], named: Mapping[str, Any], inside: tuple[str, ...]) -> Column:
    name = schema["name"]
    if name in inside or not schema["fields"]:
        return Column(JSON, _json)
    fields = {field["name"]: column_of(field["type"], named, (*inside, name)) for field in schema["fields"]}
    arrow = pa.struct([pa.field(name, column.type) for name, column in fields.items()])
    converts = {name: column.convert for name, column in fields.items() if column.convert is not None}
    if not converts:
        return Column(arrow)

    def convert(value: Any) -> Any:
        if value is None:
            return None
        return {**value, **{name: change(value[name]) for name, change in converts.items()}}

    return Column(arrow, convert)


def _union(schema: list[Any], named: Mapping[str, Any], inside: tuple[str, ...]) -> Column:
    members = [member for member in schema if member != "null"]
    if not members:
        return Column(pa.string())
    if len(members) == 1:
        return column_of(members[0], named, inside)
    wider = _WIDER.get(frozenset(member for member in members if isinstance(member, str)))
    if wider is not None and all(isinstance(member, str) for member in members):
        return Column(_PRIMITIVE[wider])
    return Column(JSON, _json)


def _each(change: Convert | None) -> Convert | None:
    if change is None:
        return None
    return lambda value: None if value is None else [change(item) for item in value]


def _each_value(change: Convert | None) -> Convert | None:
    if change is None:
        return None
    return lambda value: None if value is None else {key: change(item) for key, item in value.items()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _duration(value: bytes | None) -> pa.MonthDayNano | None:
    if value is None:
        return None
    months, days, millis = struct.unpack("<III", value)
    return pa.MonthDayNano([months, days, millis * 1_000_000])


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, default=_json_default, ensure_ascii=False)


def _json_default(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def avro_schema(schema: pa.Schema, name: str = "row") -> dict[str, Any]:
    """The Avro record schema that keeps every column of a canonical Arrow schema. Raises LossyWrite."""
    return _avro_record(list(schema), name, name, "")


def _avro_record(fields: list[pa.Field], name: str, place: str, path: str) -> dict[str, Any]:
    """A record; `place` is what the names of records in it begin with, `path` leads to it from the row."""
    found = []
    for field in fields:
        here = f"{path}.{field.name}" if path else field.name
        if not _NAME.match(field.name):
            raise LossyWrite(
                f"{here}: Avro allows letters, digits and underscores in names, not '{field.name}'",
                hint="rename the column in a mapping",
            )
        found.append({"name": field.name, "type": ["null", _avro(field.type, f"{place}_{field.name}", here)], "default": None})
    return {"type": "record", "name": name, "fields": found}


def _avro(data_type: pa.DataType, place: str, path: str) -> Any:
    t = pa.types
    if data_type == JSON:
        return {"type": "string", "sqlType": "JSON"}
    if t.is_decimal(data_type):
        return {"type": "bytes", "logicalType": "decimal", "precision": data_type.precision, "scale": data_type.scale}
    if data_type == pa.uint64():
        # No Avro integer is as wide.
        return {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0}
    if t.is_integer(data_type):
        return "int" if data_type.bit_width < 32 or data_type == pa.int32() else "long"
    if t.is_timestamp(data_type):
        return {"type": "long", "logicalType": "timestamp-micros" if data_type.tz else "local-timestamp-micros"}
    if t.is_struct(data_type) and data_type.num_fields:
        return _avro_record(list(data_type), place, place, path)
    if t.is_list(data_type):
        return {"type": "array", "items": ["null", _avro(data_type.value_type, f"{place}_item", f"{path}[]")]}
    if t.is_map(data_type) and data_type.key_type == pa.string():
        return {"type": "map", "values": ["null", _avro(data_type.item_type, f"{place}_value", f"{path}[]")]}
    found = _WRITTEN.get(data_type)
    if found is None:
        raise LossyWrite(
            f"{path}: Avro has no type that keeps {sql_type(data_type)}", hint="cast the column to varchar in a mapping"
        )
    return found


_WRITTEN: dict[pa.DataType, Any] = {
    pa.bool_(): "boolean",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "bytes",
    pa.date32(): {"type": "int", "logicalType": "date"},
    pa.time64("us"): {"type": "long", "logicalType": "time-micros"},
}
