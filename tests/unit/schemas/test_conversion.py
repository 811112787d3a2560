from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.errors import InvalidSchema, InvalidValue, LossyWrite
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ
from beam_datahub.schemas.compatibility import differences, validate
from beam_datahub.schemas.conversion import from_columns, strict, to_columns
from beam_datahub.schemas.document import Document, Format
from beam_datahub.schemas.sql_columns import DIALECTS, arrow_of_neutral, create_table, neutral_type, sql_columns
from beam_datahub.schemas.sql_table import table_columns

SCALARS = [
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.binary(),
    pa.date32(),
    pa.time64("us"),
    TIMESTAMP,
    TIMESTAMPTZ,
    JSON,
    pa.decimal128(12, 2),
    pa.decimal128(38, 0),
]


def kinds() -> st.SearchStrategy[pa.DataType]:
    def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
        fields = st.lists(st.tuples(st.sampled_from("abc"), inner), min_size=1, max_size=2, unique_by=lambda pair: pair[0])
        return st.one_of(
            inner.map(lambda each: pa.list_(pa.field("item", each))),
            inner.map(lambda each: pa.map_(pa.string(), each)),
            fields.map(lambda pairs: pa.struct([pa.field(name, each) for name, each in pairs])),
        )

    return st.recursive(st.sampled_from(SCALARS), nested, max_leaves=4)


SCHEMAS = st.lists(kinds(), min_size=1, max_size=4).map(
    lambda found: pa.schema([(f"c{i}", each) for i, each in enumerate(found)])
)


@given(SCHEMAS)
@settings(max_examples=80, deadline=None)
@pytest.mark.parametrize("kind", list(Format))
def test_columns_come_back_as_they_were_or_are_told(kind: Format, schema: pa.Schema) -> None:
    made = from_columns(schema, kind, "row")
    document = Document(kind, made.text)
    validate(document)
    back = to_columns(document).schema
    told = {each.partition(":")[0] for each in made.lossy}
    assert back.names == schema.names
    assert {field.name for field in schema if back.field(field.name).type != field.type} == told
    # What came back is kept from then on, so that nothing is lost twice.
    again = from_columns(back, kind, "row")
    assert to_columns(Document(kind, again.text)).schema.equals(back)


RULES: dict[str, dict[str, Any]] = {
    "string": {"minLength": 1, "maxLength": 9, "pattern": "x", "format": "ipv4", "enum": ["x"], "not": {"const": "y"}},
    "integer": {"minimum": 1, "exclusiveMaximum": 9, "multipleOf": 3, "enum": [3], "default": 3, "if": {"const": 4}},
    "array": {"minItems": 1, "maxItems": 9, "uniqueItems": True, "contains": {"const": 1}},
    "object": {
        "minProperties": 1,
        "required": ["x"],
        "propertyNames": {"maxLength": 9},
        "patternProperties": {"^y": {}},
        "dependencies": {"x": ["y"]},
    },
}
INNER: dict[str, dict[str, Any]] = {"array": {"items": {"type": "integer"}}, "object": {"properties": {"x": {"type": "integer"}}}}


@pytest.mark.parametrize(("kind", "rule"), [(kind, rule) for kind, rules in RULES.items() for rule in rules])
@pytest.mark.parametrize("place", ["at the top", "in a list", "in a struct", "beside null"])
def test_no_rule_of_a_json_schema_goes_without_a_word(kind: str, rule: str, place: str) -> None:
    closed = {"additionalProperties": False} if kind == "object" else {}
    inner = {"type": kind, **INNER.get(kind, {}), **closed}

    def told(schema: Any) -> tuple[str, ...]:
        if place == "in a list":
            schema = {"type": "array", "items": schema}
        elif place == "in a struct":
            schema = {"type": "object", "properties": {"in": schema}, "additionalProperties": False}
        elif place == "beside null":
            schema = {**schema, "type": [kind, "null"]}
        whole = {"type": "object", "properties": {"c": schema}, "additionalProperties": False}
        return to_columns(Document(Format.JSON, json.dumps(whole))).lossy

    assert told(inner) == ()
    lossy = told({**inner, rule: RULES[kind][rule]})
    assert lossy
    assert all(each.startswith({"in a list": "c[]: ", "in a struct": "c.in: "}.get(place, "c: ")) for each in lossy)


def test_what_holds_of_whole_rows_is_told_as_well() -> None:
    schema = {"properties": {"a": {"type": "string"}}, "required": ["a"], "minProperties": 1, "allOf": [{"maxProperties": 3}]}
    told = to_columns(Document(Format.JSON, json.dumps(schema))).lossy
    assert told == ("further rules", "minProperties", "properties that are not named", "that a must be there")


def test_that_a_value_is_always_there_is_told() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long"}]}
    fields = [
        {"name": "a", "type": "long"},
        {"name": "b", "type": ["null", "long"]},
        {"name": "c", "type": {"type": "array", "items": ["null", inner]}},
    ]
    found = to_columns(Document(Format.AVRO, json.dumps({"type": "record", "name": "R", "fields": fields})))
    assert found.lossy == ("a: that it is never null", "c: that it is never null", "c[].x: that it is never null")
    text = 'syntax = "proto2"; message M { required int64 a = 1; optional int64 b = 2 [default = 3]; optional int64 c = 3; }'
    assert to_columns(Document(Format.PROTOBUF, text)).lossy == ("a: that it must be there", "b: the default")


INTERVAL = pa.month_day_nano_interval()


@pytest.mark.parametrize(
    ("kind", "column", "place"),
    [
        (Format.AVRO, INTERVAL, "c: "),
        (Format.AVRO, pa.list_(pa.struct([("x", INTERVAL)])), "c[].x: "),
        (Format.AVRO, pa.struct([("x", pa.map_(pa.int64(), pa.string()))]), "c.x: "),
        (Format.AVRO, pa.struct([("a b", pa.int64())]), "c.a b: "),
        (Format.PROTOBUF, pa.list_(pa.struct([("x", INTERVAL)])), "c[].x: "),
        (Format.PROTOBUF, pa.struct([("x", pa.map_(pa.date32(), pa.string()))]), "c.x: "),
        (Format.PROTOBUF, pa.struct([("a b", pa.int64())]), "c.a b: "),
        (Format.JSON, pa.map_(pa.string(), pa.struct([])), "c[]: "),
    ],
)
def test_what_a_format_has_no_place_for_is_refused_with_its_own(kind: Format, column: pa.DataType, place: str) -> None:
    with pytest.raises(LossyWrite) as caught:
        from_columns(pa.schema([("c", column)]), kind)
    assert str(caught.value).startswith(place)


def test_lists_in_protobuf_are_told_to_be_never_null() -> None:
    made = from_columns(pa.schema([("a", pa.int64()), ("b", pa.list_(pa.int64()))]), Format.PROTOBUF)
    assert (made.lossy, made.values) == ((), ("b: whether a list is null or empty, and items that are null",))


def test_json_schema_keeps_every_type() -> None:
    schema = pa.schema([(f"c{i}", each) for i, each in enumerate(SCALARS)])
    assert from_columns(schema, Format.JSON).lossy == ()


def test_what_a_schema_says_and_columns_do_not_is_told() -> None:
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["paid", "open"]},
            "zip": {"type": ["string", "null"], "pattern": "^[0-9]{5}$"},
            "at": {"type": "string", "format": "date-time"},
            "any": {"oneOf": [{"type": "string"}, {"type": "object"}]},
            "self": {"$ref": "#"},
        },
    }
    found = to_columns(Document(Format.JSON, json.dumps(schema)))
    assert found.schema.field("at").type == TIMESTAMPTZ
    assert found.schema.field("zip").type == pa.string()
    assert found.schema.field("any").type == JSON
    assert {"status: the values that are allowed", "zip: pattern"} <= set(found.lossy)
    with pytest.raises(LossyWrite, match="zip: pattern"):
        strict(found.lossy, "it")


def test_a_recursive_message_and_the_types_everyone_has_become_columns() -> None:
    text = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
    message Node { string name = 1; Node next = 2; google.protobuf.Timestamp at = 3; map<string, Kind> kinds = 4;
      oneof x { int64 a = 5; bytes b = 6; } enum Kind { A = 0; } }"""
    found = to_columns(Document(Format.PROTOBUF, text))
    assert found.schema.field("at").type == TIMESTAMPTZ
    assert found.schema.field("kinds").type == pa.map_(pa.string(), pa.string())
    assert any(each.startswith(("next.next:", "next:")) for each in found.lossy)
    assert "a: that only one field of x is set" in found.lossy


def test_a_protobuf_version_keeps_the_numbers_of_the_one_before_and_reserves_those_that_went() -> None:
    first = from_columns(pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.bool_())]), Format.PROTOBUF, "order")
    before = Document(Format.PROTOBUF, first.text)
    second = from_columns(pa.schema([("c", pa.bool_()), ("d", pa.int64()), ("a", pa.int64())]), Format.PROTOBUF, "x", before)
    after = Document(Format.PROTOBUF, second.text)
    assert [(each.code, each.path) for each in differences(after, before)] == [
        ("FIELD_REMOVED", "#/Order/2"),
        ("FIELD_ADDED", "#/Order/4"),
    ]
    assert "reserved 2;" in second.text


@pytest.mark.parametrize("kind", list(Format))
def test_added_columns_are_a_backward_compatible_version(kind: Format) -> None:
    before = Document(kind, from_columns(pa.schema([("a", pa.int64())]), kind, "row").text)
    after = Document(kind, from_columns(pa.schema([("a", pa.int64()), ("b", pa.string())]), kind, "row", before).text)
    assert all(each.compatible for each in differences(after, before))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Format.AVRO, '"string"'),
        (Format.AVRO, '{"type": "record", "name": "R", "fields": []}'),
        (Format.JSON, "true"),
        (Format.JSON, '{"type": "array"}'),
        (Format.PROTOBUF, 'syntax = "proto3"; message M {}'),
        (Format.PROTOBUF, 'syntax = "proto3"; enum E { A = 0; }'),
    ],
)
def test_a_schema_without_columns_is_refused(kind: Format, text: str) -> None:
    with pytest.raises(InvalidSchema, match="no columns"):
        to_columns(Document(kind, text))


@pytest.mark.parametrize("kind", [Format.AVRO, Format.PROTOBUF])
def test_a_name_that_the_format_does_not_allow_is_refused(kind: Format) -> None:
    with pytest.raises(LossyWrite, match="a b"):
        from_columns(pa.schema([("a b", pa.int64())]), kind)


@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_a_neutral_sql_type_holds_every_value(kind: pa.DataType) -> None:
    back = arrow_of_neutral(neutral_type(kind))
    if pa.types.is_integer(kind) and pa.types.is_integer(back):
        assert back.bit_width >= kind.bit_width + pa.types.is_unsigned_integer(kind)
    elif not pa.types.is_integer(kind):
        assert back == kind


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_every_type_and_tells_what_it_does_not_keep(dialect: str) -> None:
    told: list[str] = []
    schema = pa.schema([(f"c{i}", each) for i, each in enumerate([*SCALARS, pa.list_(pa.int64())])])
    text = create_table(schema, 'a"b', dialect, lambda path, what: told.append(path))
    assert text.count("\n  ") == len(schema)
    assert (told == []) is (dialect == "duckdb")
    assert len(set(told)) == len(told)


def test_a_dialect_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidValue, match="dbase"):
        sql_columns(pa.schema([("a", pa.int64())]), "dbase", lambda path, what: None)


def test_sqlite_is_not_given_decimals_that_it_would_round() -> None:
    told: dict[str, Any] = {}
    assert sql_columns(pa.schema([("a", pa.decimal128(30, 2))]), "sqlite", told.__setitem__) == {"a": "TEXT"}
    assert "no digit is lost" in told["a"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_comes_back_as_the_columns_that_it_was_made_for_or_is_told(dialect: str) -> None:
    told: dict[str, str] = {}
    schema = pa.schema([(f"c{i}", each) for i, each in enumerate(SCALARS)])
    text = create_table(schema, "t", dialect, lambda path, what: told.update({path: what}))
    back = table_columns(text, dialect, lambda path, what: told.update({path: what}))
    assert back.names == schema.names
    for field in schema:
        came = back.field(field.name).type
        same = came == field.type
        wider = any(kind(field.type) and kind(came) for kind in (pa.types.is_integer, pa.types.is_floating))
        wider = wider and came.bit_width >= field.type.bit_width
        assert same or wider or field.name in told, (field, came)


def test_what_columns_do_not_say_of_a_table_is_told() -> None:
    text = "create table t (id bigint primary key, v varchar(9) not null default 'x', n numeric, e text null, unique (v))"
    told: list[str] = []
    found = table_columns(text, "postgresql", lambda path, what: told.append(f"{path}: {what}"))
    assert found == pa.schema([("id", pa.int64()), ("v", pa.string()), ("n", pa.float64()), ("e", pa.string())])
    assert told == [
        "id: that it is the key",
        "v: that it is never null",
        "v: the default",
        "v: that it has at most 9 characters",
        "n: digits beyond the 15th, since it has no precision",
        ": the constraint UNIQUE (v)",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("select 1", "no CREATE TABLE"),
        ("create table t as select 1", "no CREATE TABLE"),
        ("create table t (a", "no SQL of postgresql"),
        ("create table t (a geometry)", "a: the type GEOMETRY"),
    ],
)
def test_what_is_no_table_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidSchema, match=words):
        table_columns(text, "postgresql", lambda path, what: None)
