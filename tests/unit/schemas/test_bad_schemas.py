from __future__ import annotations

import json
from typing import Any

import pytest

from beam_datahub.errors import InvalidSchema, UnresolvedReference
from beam_datahub.schemas.compatibility import validate
from beam_datahub.schemas.document import Document, Format, format_of


def nested(depth: int) -> str:
    return '{"type":"array","items":' * depth + '"int"' + "}" * depth


def with_default(kind: Any, default: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind, "default": default}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "{",
        "5",
        "null",
        "NaN",
        '{"type": "record"}',
        '{"type": "record", "name": "R", "fields": 5}',
        '{"type": "record", "name": "R", "fields": [{"name": "a"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}',
        '{"type": "record", "name": "1R", "fields": []}',
        '{"type": "record", "name": "R", "fields": [{"name": "a b", "type": "int"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "self", "type": "R"}]}',
        '{"type": "record", "name": "R", "name": "S", "fields": []}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": "x"}]}',
        with_default(["long", "R"], None),
        with_default("int", 2**31),
        with_default("int", True),
        with_default("bytes", "€"),
        with_default({"type": "array", "items": "int"}, ["x"]),
        with_default({"type": "map", "values": "int"}, {"a": "x"}),
        with_default({"type": "fixed", "name": "F", "size": 2}, "a"),
        with_default({"type": "enum", "name": "E", "symbols": ["A"]}, "B"),
        with_default({"type": "record", "name": "S", "fields": [{"name": "x", "type": "int"}]}, {}),
        '[{"type": "fixed", "name": "x.F", "size": 1}, {"type": "enum", "name": "F", "namespace": "x", "symbols": ["A"]}]',
        '{"type": "enum", "name": "E", "symbols": ["A", "A"]}',
        '{"type": "fixed", "name": "F", "size": -1}',
        '{"type": "array"}',
        '["int", "int"]',
        '[["int"]]',
        nested(5000),
        nested(50_000),
        '{"x": "' + "a" * 5_000_000 + '"}',
    ],
)
def test_what_is_no_avro_schema_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidSchema) as caught:
        validate(Document(Format.AVRO, text))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "schema",
    [
        [],
        5,
        {"type": "strung"},
        {"properties": 5},
        {"properties": {"a": 5}},
        {"anyOf": {}},
        {"minimum": "3"},
        {"multipleOf": 0},
        {"type": "string", "minLength": -1},
        {"required": "a"},
        {"pattern": 5},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_what_is_no_json_schema_is_said_to_be_none(schema: Any) -> None:
    with pytest.raises(InvalidSchema):
        validate(Document(Format.JSON, json.dumps(schema)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "message {",
        "message M { string a = 1 }",
        "message M { optional string a = x; }",
        "message M { optional string a = 0; }",
        "message M { optional string a = 99999999999999999999; }",
        "message M { optional string a = 1; optional string b = 1; }",
        "message M { optional string a = 1; optional string a = 2; }",
        "message M { optional string a = 1; reserved 1; }",
        'message M { optional string a = 1; reserved "a"; }',
        'syntax = "proto3"; enum E { A = 1; }',
        'syntax = "proto4";',
        "message M {" * 300 + "}" * 300,
        "message M {} /* never closed",
    ],
)
def test_what_is_no_protobuf_schema_is_said_to_be_none(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidSchema):
        validate(Document(Format.PROTOBUF, text))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        (Format.AVRO, '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Person"}]}', "Person"),
        (Format.JSON, '{"$ref": "#/definitions/none"}', "#/definitions/none"),
        (Format.JSON, '{"$ref": "https://example.com/person.json"}', "https://example.com/person.json"),
        (Format.PROTOBUF, 'syntax = "proto3"; import "person.proto";', "person.proto"),
        (Format.PROTOBUF, 'syntax = "proto3"; message M { Person a = 1; }', "Person"),
    ],
)
def test_a_reference_to_what_is_not_there_is_named_and_nothing_is_fetched(kind: Format, text: str, name: str) -> None:
    with pytest.raises(UnresolvedReference, match=name):
        validate(Document(kind, text))


def test_imports_in_a_circle_are_refused() -> None:
    loop = {"a.proto": 'syntax = "proto3"; import "b.proto";', "b.proto": 'syntax = "proto3"; import "a.proto";'}
    with pytest.raises(InvalidSchema, match="cycle"):
        validate(Document(Format.PROTOBUF, 'syntax = "proto3"; import "a.proto";', loop))


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (Format.AVRO, '{"type": "array", "items": "int"}', '{ "items" : "int", "type":"array"}\n'),
        (Format.JSON, '{"type": "string", "title": "é"}', '{"title": "\\u00e9", "type": "string"}'),
        (Format.PROTOBUF, "message M { optional int32 a = 1; }", "// m\nmessage M {\n  optional int32 a = 1; /* a */\n}"),
    ],
)
def test_layout_is_no_part_of_a_schema(kind: Format, one: str, other: str) -> None:
    assert Document(kind, one).fingerprint == Document(kind, other).fingerprint
    assert Document(kind, one).fingerprint != Document(kind, one.replace("int", "float").replace("é", "e")).fingerprint


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.avsc", "{}", Format.AVRO),
        ("a.proto", "", Format.PROTOBUF),
        ("a.json", '{"type": "record", "name": "R", "fields": []}', Format.AVRO),
        ("a.json", '{"type": "object"}', Format.JSON),
        ("-", '"string"', Format.AVRO),
        ("-", "message M {}", Format.PROTOBUF),
    ],
)
def test_the_format_is_known_from_the_ending_or_the_text(name: str, text: str, kind: Format) -> None:
    assert format_of(name, text) is kind


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        (["null", "R"], None),
        (["int", "null"], None),
        ("double", 1),
        ("bytes", "\u00ff"),
        ({"type": "array", "items": "int"}, [1]),
        ({"type": "record", "name": "S", "fields": [{"name": "x", "type": "int", "default": 1}]}, {}),
    ],
)
def test_a_default_of_the_type_of_its_field_is_taken(kind: Any, default: Any) -> None:
    validate(Document(Format.AVRO, with_default(kind, default)))
