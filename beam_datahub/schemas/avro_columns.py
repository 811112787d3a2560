"""The columns of an Avro record schema, what they do not say of it, and the schema that follows another version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidSchema
from beam_datahub.schemas.avro import avro_schema, column_of
from beam_datahub.schemas.avro_model import AvroSchema, parse_avro
from beam_datahub.schemas.document import Document

Lost = Callable[[str, str], None]
_SAME_UNIT = ("date", "time-micros", "timestamp-micros", "local-timestamp-micros", "decimal", "duration")


def avro_columns(schema: AvroSchema, lost: Lost) -> pa.Schema:
    """The columns of a record. Raises InvalidSchema for a schema of another type."""
    root = schema.resolve(schema.root)
    if not isinstance(root, dict) or root["type"] != "record":
        raise InvalidSchema("the Avro schema is not a record, so there are no columns")
    if not root["fields"]:
        raise InvalidSchema("the Avro record has no fields, so there are no columns")
    found = []
    for each in root["fields"]:
        if "default" in each and each["default"] is not None:
            lost(each["name"], "the default")
        for path, what in _losses(each["type"], each["name"], schema, (root["name"],), within=False):
            lost(path, what)
        found.append(pa.field(each["name"], column_of(each["type"], schema.named, (root["name"],)).type))
    return pa.schema(found)


def avro_of(schema: pa.Schema, name: str, before: Document | None = None) -> str:
    """The text of a record schema for rows of these columns, named as the version `before`. Raises LossyWrite."""
    made = avro_schema(schema, _name(name))
    if before is not None:
        root = parse_avro(before).root
        if isinstance(root, dict) and root.get("type") == "record":
            made["name"] = root["name"]
    return json.dumps(made, indent=2, ensure_ascii=False)


def _name(text: str) -> str:
    made = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)
    return made if made[:1].isalpha() or made[:1] == "_" else f"_{made}"


def _losses(
    kind: Any, path: str, schema: AvroSchema, inside: tuple[str, ...], *, within: bool = True
) -> Iterator[tuple[str, str]]:
    """What columns do not say of a type; `within` a union it may be null as well."""
    kind = schema.resolve(kind)
    if not within and kind != "null" and not (isinstance(kind, list) and "null" in kind):
        yield path, "that it is never null"
    if isinstance(kind, list):
        some = [each for each in kind if schema.resolve(each) != "null"]
        if len(some) > 1:
            yield path, "which type of a union a value has"
        for each in some if len(some) == 1 else ():
            yield from _losses(each, path, schema, inside)
        return
    if not isinstance(kind, Mapping):
        if kind == "null":
            yield path, "that every value is null"
        return
    if kind["type"] == "record":
        if kind["name"] in inside:
            yield path, "the types inside, since the record holds itself"
            return
        for each in kind["fields"]:
            if each.get("default") is not None:
                yield f"{path}.{each['name']}", "the default"
            yield from _losses(each["type"], f"{path}.{each['name']}", schema, (*inside, kind["name"]), within=False)
    elif kind["type"] == "enum":
        yield path, "the values that are allowed"
    elif kind["type"] == "fixed" and kind.get("logicalType") not in ("decimal", "duration"):
        yield path, f"that values have {kind['size']} bytes"
    elif kind["type"] in ("array", "map"):
        yield from _losses(kind.get("items", kind.get("values")), f"{path}[]", schema, inside, within=False)
    elif kind.get("logicalType") in ("time-millis", "timestamp-millis", "local-timestamp-millis"):
        yield path, "that times are whole milliseconds"
    elif "logicalType" in kind and kind["logicalType"] not in _SAME_UNIT:
        yield path, f"the logical type {kind['logicalType']}"
