from __future__ import annotations

import pytest

from beam_datahub.schemas.compatibility import check, differences, validate
from beam_datahub.schemas.difference import Level
from beam_datahub.schemas.document import Document, Format

HEAD = 'syntax = "proto3"; package shop; '


def proto(text: str, **references: str) -> Document:
    return Document(Format.PROTOBUF, text if text.startswith(("syntax", "edition")) else HEAD + text, references)


def told(old: str, new: str) -> list[str]:
    """Each difference as `CODE path`, harmful ones marked with a `!`."""
    validate(proto(old))
    validate(proto(new))
    return [f"{'' if each.compatible else '!'}{each.code} {each.path}" for each in differences(proto(new), proto(old))]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("message M { string a = 1; }", "message M { string a = 1; int32 b = 2; }", ["FIELD_ADDED #/M/2"]),
        ("message M { string a = 1; int32 b = 2; }", "message M { string a = 1; }", ["FIELD_REMOVED #/M/2"]),
        ("message M { string a = 1; }", "message M { string b = 1; }", ["FIELD_NAME_CHANGED #/M/1"]),
        ("message M { int32 a = 1; }", "message M { uint64 a = 1; }", []),
        ("message M { int32 a = 1; }", "message M { sint32 a = 1; }", ["!FIELD_SCALAR_KIND_CHANGED #/M/1"]),
        ("message M { string a = 1; }", "message M { bytes a = 1; }", []),
        ("message M { int32 a = 1; }", "message M { E a = 1; } enum E { X = 0; }", ["ENUM_ADDED #/E"]),
        (
            "message M { string a = 1; } message N {}",
            "message M { N a = 1; } message N {}",
            ["!FIELD_KIND_CHANGED #/M/1"],
        ),
        (
            "message M { N a = 1; } message N {} message O {}",
            "message M { O a = 1; } message N {} message O {}",
            ["!FIELD_NAMED_TYPE_CHANGED #/M/1"],
        ),
        ("message M { map<string, int32> a = 1; }", "message M { map<string, int64> a = 1; }", []),
        (
            "message M { map<string, int32> a = 1; }",
            "message M { map<string, string> a = 1; }",
            ["!FIELD_SCALAR_KIND_CHANGED #/M/1"],
        ),
        (
            "message M { optional int32 a = 1; optional string b = 2; }",
            "message M { repeated int32 a = 1; repeated string b = 2; }",
            ["!FIELD_NUMERIC_LABEL_CHANGED #/M/1", "FIELD_STRING_OR_BYTES_LABEL_CHANGED #/M/2"],
        ),
        ("message M {} message N {}", "message M {}", ["!MESSAGE_REMOVED #/N"]),
        ("message M {}", "message N {} message M {}", ["MESSAGE_MOVED #/M", "MESSAGE_ADDED #/N"]),
        ("message M { message N { int32 a = 1; } }", "message M { message N { float a = 1; } }", 1),
        ("enum E { A = 0; B = 1; }", "enum E { A = 0; C = 1; D = 2; }", ["ENUM_CONST_CHANGED #/E/1", "ENUM_CONST_ADDED #/E/2"]),
    ],
)
def test_fields_messages_and_enums(old: str, new: str, expected: list[str] | int) -> None:
    found = told(old, new)
    assert (len(found) if isinstance(expected, int) else found) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("string a = 1; int32 b = 2;", "oneof x { string a = 1; } int32 b = 2;", ["ONEOF_ADDED #/M/x"]),
        (
            "string a = 1; int32 b = 2;",
            "oneof x { string a = 1; int32 b = 2; }",
            ["!MULTIPLE_FIELDS_MOVED_TO_ONEOF #/M/x", "ONEOF_ADDED #/M/x"],
        ),
        (
            "oneof x { string a = 1; } int32 b = 2;",
            "oneof x { string a = 1; int32 b = 2; }",
            ["!FIELD_MOVED_TO_EXISTING_ONEOF #/M/x"],
        ),
        ("oneof x { string a = 1; int32 b = 2; }", "oneof x { string a = 1; }", ["!ONEOF_FIELD_REMOVED #/M/x/2"]),
        ("oneof x { string a = 1; }", "oneof x { string a = 1; int32 b = 2; }", ["ONEOF_FIELD_ADDED #/M/x/2"]),
        ("oneof x { string a = 1; } int32 b = 2;", "int32 b = 2;", ["ONEOF_REMOVED #/M/x"]),
        ("oneof x { string a = 1; }", "string a = 1;", ["ONEOF_REMOVED #/M/x", "ONEOF_FIELD_MOVED_TO_TOP_LEVEL #/M/1"]),
    ],
)
def test_fields_in_and_out_of_a_oneof(old: str, new: str, expected: list[str]) -> None:
    assert told(f"message M {{ {old} }}", f"message M {{ {new} }}") == expected


def test_a_required_field_may_neither_come_nor_go() -> None:
    def proto2(fields: str) -> str:
        return f'syntax = "proto2"; message M {{ {fields} }}'

    assert told(proto2(""), proto2("required int32 a = 1;")) == ["!REQUIRED_FIELD_ADDED #/M/1"]
    assert told(proto2("required int32 a = 1;"), proto2("")) == ["!REQUIRED_FIELD_REMOVED #/M/1"]


def test_another_package_is_refused() -> None:
    assert told('syntax = "proto3"; package a;', 'syntax = "proto3"; package b;') == ["!PACKAGE_CHANGED #/"]


def test_a_message_of_an_imported_file_is_compared_where_it_is_used() -> None:
    text = 'import "item.proto"; message M { Item item = 1; .shop.Item other = 2; }'
    old = proto(text, **{"item.proto": HEAD + "message Item { int32 a = 1; }"})
    new = proto(text, **{"item.proto": HEAD + "message Item { string a = 1; }"})
    validate(old)
    found = [(each.code, each.path) for each in differences(new, old)]
    assert ("FIELD_SCALAR_KIND_CHANGED", "#/Item/1") in found
    assert ("FIELD_NAMED_TYPE_CHANGED", "#/M/1") in found
    assert differences(old, old) == []


def test_well_known_types_and_recursive_messages_need_nothing_else() -> None:
    text = 'import "google/protobuf/timestamp.proto"; message M { google.protobuf.Timestamp at = 1; M child = 2; }'
    assert told(text, text) == []


def test_reasons_and_fixes_are_said_of_the_right_side() -> None:
    verdict = check(
        proto("message M { oneof x { string a = 1; } }"),
        [(4, proto("message M { oneof x { string a = 1; int32 b = 2; } }"))],
        Level.FULL,
    )
    [problem] = verdict.problems
    assert problem.reason == "the new schema lacks a field that the oneof of version 4 has"
    assert problem.fix == "keep the field in the oneof"
