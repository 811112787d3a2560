"""JSON Schema as Arrow columns and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidSchema
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ, sql_type
from beam_datahub.schemas.json_model import ABSENT, JsonSchema, Node

Lost = Callable[[str, str], None]
# The type of a column that no JSON type names stands in this annotation, which validators pass over.
ANNOTATION = "sqlType"
_FORMATS: Mapping[str, pa.DataType] = {"date": pa.date32(), "date-time": TIMESTAMPTZ, "time": pa.time64("us")}
_TEXT_RULES = ("minLength", "maxLength", "pattern")
_NUMBER_RULES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OBJECT_RULES = ("minProperties", "maxProperties")
_ARRAY_RULES = ("minItems", "maxItems", "minContains", "maxContains")
# Rules that no kind of column has a place for, whatever they stand beside.
_OTHER_RULES = (
    "contains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentMediaType",
    "not",
    "if",
)


def json_columns(schema: JsonSchema, lost: Lost) -> pa.Schema:
    """The columns of objects that a JSON Schema describes. Raises InvalidSchema where it describes none."""
    node = _object_of(schema.root.referred)
    if node is None or not node.facts["properties"]:
        raise InvalidSchema("the JSON Schema names no properties, so there are no columns", hint="a row is an object")
    root = schema.root.referred
    if node is not root and any(part.referred is not node for part in root.facts["nodes"]):
        lost("", "further rules")
    _others(root, "", lost)
    _of_object(node, "", lost)
    fields = [pa.field(name, _type(each, name, (id(node),), lost)) for name, each in node.facts["properties"].items()]
    return pa.schema(fields)


def json_schema_of(schema: pa.Schema, name: str) -> str:
    """The text of a JSON Schema (draft 7) for rows of these columns: each may be null or absent, and no other is allowed."""
    properties = {field.name: _nullable(_written(field.type)) for field in schema}
    value = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": name,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def _object_of(node: Node) -> Node | None:
    """The object that a schema describes, whatever else it says of it."""
    if node.kind == "object":
        return node
    if node.kind == "combined":
        for part in node.facts["nodes"]:
            found = _object_of(part.referred)
            if found is not None and found.facts["properties"]:
                return found
    return None


def _type(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    if node.default is not ABSENT:
        lost(path, "the default")
    node = node.referred
    if id(node) in inside:
        lost(path, "the types inside, since the schema holds itself")
        return JSON
    said = node.raw.get(ANNOTATION)
    if isinstance(said, str):
        return data_type(said)
    _others(node, path, lost)
    inside = (*inside, id(node))
    made = {
        "string": _text,
        "number": _number,
        "array": _array,
        "object": _object,
        "combined": _combined,
        "enum": _values,
        "const": _values,
    }.get(node.kind)
    if made is not None:
        return made(node, path, inside, lost)
    if node.kind == "boolean":
        return pa.bool_()
    if node.kind == "null":
        lost(path, "that every value is null")
        return pa.string()
    if not node.anything:
        lost(path, "its rules")
    return JSON


def _text(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    _told(node, path, _TEXT_RULES, lost)
    if node.raw.get("contentEncoding") == "base64":
        return pa.binary()
    kind = _FORMATS.get(str(node.raw.get("format")))
    if kind is None and "format" in node.raw:
        lost(path, f"the format {node.raw['format']}")
    return kind or pa.string()


def _number(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    _told(node, path, _NUMBER_RULES, lost)
    return pa.int64() if node.facts["integer"] else pa.float64()


def _array(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    _told(node, path, _ARRAY_RULES, lost)
    if node.facts["unique"]:
        lost(path, "uniqueItems")
    if node.facts["first"] or node.facts["items"] is None:
        if node.facts["first"]:
            lost(path, "the schemas of single items")
        return pa.list_(JSON)
    return pa.list_(_type(node.facts["items"], f"{path}[]", inside, lost))


def _object(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    facts = node.facts
    if facts["properties"]:
        _of_object(node, path, lost)
        return pa.struct(
            [pa.field(name, _type(each, f"{path}.{name}", inside, lost)) for name, each in facts["properties"].items()]
        )
    _told(node, path, _OBJECT_RULES, lost)
    if facts["required"]:
        lost(path, _required(facts["required"]))
    if facts["rest"] is not None and not facts["patterns"]:
        return pa.map_(pa.string(), _type(facts["rest"], f"{path}[]", inside, lost))
    return JSON


def _of_object(node: Node, path: str, lost: Lost) -> None:
    """Tell what columns do not say of an object whose properties are columns."""
    facts = node.facts
    _told(node, path, _OBJECT_RULES, lost)
    if facts["rest"] is not None or not facts["closed"]:
        lost(path, "properties that are not named")
    if facts["required"]:
        lost(path, _required(facts["required"]))


def _required(names: set[str]) -> str:
    return f"that {', '.join(sorted(names))} must be there"


def _others(node: Node, path: str, lost: Lost) -> None:
    for rule in _OTHER_RULES:
        if rule in node.raw:
            lost(path, rule)


def _combined(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    parts = [part.referred for part in node.facts["nodes"]]
    if node.facts["criterion"] == "allOf":
        parts = [_not_null(part) for part in parts]
        typed = [part for part in parts if part.kind in ("string", "number", "array", "object", "boolean")]
        if len(typed) == 1 or (typed and all(part.kind == typed[0].kind != "object" for part in typed)):
            for part in parts:
                if part is not typed[0]:
                    lost(path, "the values that are allowed" if part.kind in ("enum", "const") else "further rules (allOf)")
            # The format of a text and the like stand beside what made several parts of it.
            return _type(Node(typed[0].kind, typed[0].facts, raw={**node.raw, **typed[0].raw}), path, inside, lost)
        lost(path, "the rules of its parts (allOf)")
        return JSON
    some = [part for part in parts if part.kind != "null"]
    if len(some) == 1:
        only = some[0]
        beside = {key: each for key, each in node.raw.items() if key in ("format", "contentEncoding")}
        return _type(Node(only.kind, only.facts, raw={**beside, **only.raw}, target=only.target), path, inside, lost)
    if some and all(part.kind == "number" for part in some):
        for part in some:
            _told(part, path, _NUMBER_RULES, lost)
        return pa.float64()
    lost(path, f"which of several schemas a value meets ({node.facts['criterion']})")
    return JSON


def _not_null(node: Node) -> Node:
    """The one type of a union with null, since any column may be null; else the schema itself."""
    if node.kind == "combined" and node.facts["criterion"] != "allOf":
        some: list[Node] = [part.referred for part in node.facts["nodes"] if part.referred.kind != "null"]
        return some[0] if len(some) == 1 else node
    return node


def _values(node: Node, path: str, inside: tuple[int, ...], lost: Lost) -> pa.DataType:
    lost(path, "the values that are allowed")
    values = [value for value in node.facts.get("values", [node.facts.get("value")]) if value is not None]
    if values and all(isinstance(value, str) for value in values):
        return pa.string()
    if values and all(isinstance(value, bool) for value in values):
        return pa.bool_()
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return pa.int64()
    return JSON


def _told(node: Node, path: str, rules: tuple[str, ...], lost: Lost) -> None:
    for rule in rules:
        if rule in node.facts:
            lost(path, rule)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else schema


def _written(kind: pa.DataType) -> dict[str, Any]:
    t = pa.types
    if kind == JSON:
        return {ANNOTATION: "JSON"}
    if t.is_struct(kind) and kind.num_fields:
        properties = {field.name: _nullable(_written(field.type)) for field in kind}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    if t.is_list(kind):
        return {"type": "array", "items": _nullable(_written(kind.value_type))}
    if t.is_map(kind) and kind.key_type == pa.string():
        return {"type": "object", "additionalProperties": _nullable(_written(kind.item_type))}
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain
    said = {ANNOTATION: sql_type(kind)}
    if t.is_integer(kind):
        return {"type": "integer", **said, **_range(kind)}
    if t.is_floating(kind):
        return {"type": "number", **said}
    if t.is_decimal(kind) or t.is_timestamp(kind) or t.is_interval(kind):
        # Text, so that no reader makes an inexact number of it.
        return {"type": "string", **said}
    return said


def _range(kind: pa.DataType) -> dict[str, int]:
    signed = pa.types.is_signed_integer(kind)
    most = 2 ** (kind.bit_width - signed) - 1
    return {"minimum": -most - 1 if signed else 0, "maximum": most}


_PLAIN: Mapping[pa.DataType, dict[str, Any]] = {
    pa.bool_(): {"type": "boolean"},
    pa.int64(): {"type": "integer"},
    pa.float64(): {"type": "number"},
    pa.string(): {"type": "string"},
    pa.binary(): {"type": "string", "contentEncoding": "base64"},
    pa.date32(): {"type": "string", "format": "date"},
    pa.time64("us"): {"type": "string", "format": "time"},
    TIMESTAMPTZ: {"type": "string", "format": "date-time"},
}
