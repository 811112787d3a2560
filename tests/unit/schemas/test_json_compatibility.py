from __future__ import annotations

import json
from typing import Any

import pytest

from beam_datahub.schemas.compatibility import check, differences
from beam_datahub.schemas.difference import Level
from beam_datahub.schemas.document import Document, Format

MODERN = "https://json-schema.org/draft/2020-12/schema"
CLOSED: dict[str, Any] = {"additionalProperties": False}


def js(schema: Any, **references: Any) -> Document:
    return Document(Format.JSON, json.dumps(schema), {name: json.dumps(text) for name, text in references.items()})


def told(old: Any, new: Any) -> list[str]:
    """Each difference as `CODE path`, harmful ones marked with a `!`."""
    return [f"{'' if each.compatible else '!'}{each.code} {each.path}" for each in differences(js(new), js(old))]


def obj(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties or {}, **more}


TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (TEXT, TEXT, []),
        (TEXT, WHOLE, ["!TYPE_CHANGED #/"]),
        (WHOLE, NUMBER, ["TYPE_EXTENDED #/"]),
        (NUMBER, WHOLE, ["!TYPE_NARROWED #/"]),
        (TEXT, {"type": "string", "title": "t", "description": "d", "default": "x"}, 3),
        (TEXT, {"type": "string", "minLength": 1}, ["!MIN_LENGTH_ADDED #/minLength"]),
        ({"type": "string", "minLength": 2}, {"type": "string", "minLength": 1}, ["MIN_LENGTH_DECREASED #/minLength"]),
        ({"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}, ["!PATTERN_CHANGED #/pattern"]),
        ({"type": "number", "maximum": 3}, {"type": "number", "maximum": 4}, ["MAXIMUM_INCREASED #/maximum"]),
        ({"type": "number", "multipleOf": 2}, {"type": "number", "multipleOf": 4}, ["!MULTIPLE_OF_EXPANDED #/multipleOf"]),
        ({"type": "number", "multipleOf": 0.3}, {"type": "number", "multipleOf": 0.1}, ["MULTIPLE_OF_REDUCED #/multipleOf"]),
        ({"enum": [1, 2]}, {"enum": [2, 1, 3]}, ["ENUM_ARRAY_EXTENDED #/enum"]),
        ({"enum": [1, True]}, {"enum": [1]}, ["!ENUM_ARRAY_NARROWED #/enum"]),
        ({"const": 1}, {"const": 2}, ["!ENUM_ARRAY_CHANGED #/const"]),
        ({"enum": [1, [2]]}, {"enum": [1.0, [2.0]]}, []),
        ({"type": "number", "multipleOf": 1e-200}, {"type": "number", "multipleOf": 1e200}, 1),
        ({"not": NUMBER}, {"not": WHOLE}, ["NOT_TYPE_NARROWED #/not"]),
        ({"not": WHOLE}, {"not": NUMBER}, ["!NOT_TYPE_EXTENDED #/not"]),
        (TEXT, {}, []),
        ({}, TEXT, ["!TYPE_CHANGED #/"]),
        (False, TEXT, []),
    ],
)
def test_values_and_their_bounds(old: Any, new: Any, expected: Any) -> None:
    found = told(old, new)
    assert (len(found) if isinstance(expected, int) else found) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (obj(), obj({"a": TEXT}), ["!OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL #/properties/a"]),
        (obj(), obj({"a": {}}), ["PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL #/properties/a"]),
        (obj({"a": TEXT}), obj(), ["PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL #/properties/a"]),
        (obj(**CLOSED), obj({"a": TEXT}, **CLOSED), ["OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL #/properties/a"]),
        (
            obj(**CLOSED),
            obj({"a": TEXT}, required=["a"], **CLOSED),
            ["!REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL #/properties/a"],
        ),
        (
            obj(**CLOSED),
            obj({"a": {**TEXT, "default": ""}}, required=["a"], **CLOSED),
            ["REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_UNOPEN_CONTENT_MODEL #/properties/a"],
        ),
        (obj({"a": TEXT}, **CLOSED), obj(**CLOSED), ["!PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL #/properties/a"]),
        (
            obj({"a": False}, **CLOSED),
            obj(**CLOSED),
            ["PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL #/properties/a"],
        ),
        (
            obj(additionalProperties=TEXT),
            obj({"a": TEXT}, additionalProperties=TEXT),
            [
                "PROPERTY_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL #/properties/a",
                "OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL #/properties/a",
            ],
        ),
        (
            obj({"x_a": WHOLE}, patternProperties={"^x_": TEXT}, **CLOSED),
            obj(patternProperties={"^x_": TEXT}, **CLOSED),
            [
                "!TYPE_CHANGED #/properties/x_a",
                "!PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL #/properties/x_a",
            ],
        ),
        (obj(**CLOSED), obj(), ["ADDITIONAL_PROPERTIES_ADDED #/additionalProperties"]),
        (obj(), obj(**CLOSED), ["!ADDITIONAL_PROPERTIES_REMOVED #/additionalProperties"]),
        (obj({"a": TEXT}), obj({"a": TEXT}, required=["a"]), ["!REQUIRED_ATTRIBUTE_ADDED #/required/a"]),
        (obj({"a": TEXT}, required=["a"]), obj({"a": TEXT}), ["REQUIRED_ATTRIBUTE_REMOVED #/required/a"]),
        (
            obj(dependencies={"a": ["b"]}),
            obj(dependencies={"a": ["b", "c"]}),
            ["!DEPENDENCY_ARRAY_EXTENDED #/dependencies/a"],
        ),
    ],
)
def test_properties_by_content_model(old: Any, new: Any, expected: list[str]) -> None:
    assert told(old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (TEXT, {"oneOf": [TEXT, WHOLE]}, ["SUM_TYPE_EXTENDED #/"]),
        ({"oneOf": [TEXT, WHOLE]}, TEXT, ["!TYPE_CHANGED #/"]),
        ({"oneOf": [TEXT, WHOLE]}, {"oneOf": [NUMBER, TEXT]}, ["TYPE_EXTENDED #/oneOf/1"]),
        ({"oneOf": [TEXT, WHOLE]}, {"oneOf": [TEXT]}, ["!SUM_TYPE_NARROWED #/"]),
        ({"oneOf": [TEXT, WHOLE]}, {"anyOf": [TEXT, WHOLE]}, ["COMBINED_TYPE_EXTENDED #/"]),
        ({"anyOf": [TEXT, WHOLE]}, {"oneOf": [TEXT, WHOLE]}, ["!COMBINED_TYPE_CHANGED #/"]),
        ({"allOf": [TEXT]}, {"allOf": [TEXT, {"minLength": 1}]}, ["!PRODUCT_TYPE_EXTENDED #/"]),
        ({"allOf": [NUMBER, WHOLE]}, WHOLE, ["PRODUCT_TYPE_NARROWED #/"]),
        ({"oneOf": [TEXT, TEXT]}, {"oneOf": [TEXT]}, []),
        ({"oneOf": [TEXT, WHOLE]}, {"oneOf": [TEXT, {"type": "null"}]}, ["!COMBINED_TYPE_SUBSCHEMAS_CHANGED #/"]),
        (TEXT, {"type": ["string", "null"]}, ["SUM_TYPE_EXTENDED #/"]),
    ],
)
def test_unions_and_products(old: Any, new: Any, expected: list[str]) -> None:
    found = told(old, new)
    if expected == ["TYPE_EXTENDED #/oneOf/1"]:
        assert expected[0] in found
        assert not [each for each in found if each.startswith("!")]
    elif any(each.startswith("!PRODUCT") for each in expected):
        assert expected[0] in found
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}, ["!TYPE_CHANGED #/items"]),
        ({"items": [TEXT]}, {"items": [TEXT, WHOLE]}, ["!ITEM_ADDED_TO_OPEN_CONTENT_MODEL #/items/1"]),
        (
            {"items": [TEXT], "additionalItems": False},
            {"items": [TEXT, WHOLE], "additionalItems": False},
            ["ITEM_ADDED_TO_CLOSED_CONTENT_MODEL #/items/1"],
        ),
        (
            {"$schema": MODERN, "prefixItems": [TEXT, WHOLE], "items": False},
            {"$schema": MODERN, "prefixItems": [TEXT], "items": False},
            ["!ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL #/items/1"],
        ),
        ({"type": "array"}, {"type": "array", "uniqueItems": True}, ["!UNIQUE_ITEMS_ADDED #/uniqueItems"]),
        (
            {"$schema": MODERN, "type": "object"},
            {"$schema": MODERN, "type": "object", "unevaluatedProperties": False},
            ["!UNEVALUATED_PROPERTIES_REMOVED #/unevaluatedProperties"],
        ),
    ],
)
def test_arrays_and_what_is_not_evaluated(old: Any, new: Any, expected: list[str]) -> None:
    assert told(old, new) == expected


def test_a_reference_is_followed_into_another_schema_and_into_itself() -> None:
    schema = obj({"at": {"$ref": "address.json#/definitions/street"}, "child": {"$ref": "#"}})
    old = js(schema, **{"address.json": {"definitions": {"street": TEXT}}})
    new = js(schema, **{"address.json": {"definitions": {"street": WHOLE}}})
    found = {(each.code, each.path) for each in differences(new, old)}
    assert ("TYPE_CHANGED", "#/properties/at") in found
    assert ("TYPE_CHANGED", "#/properties/child/properties/at") in found
    assert differences(old, old) == []


def test_a_difference_behind_a_cycle_is_not_hidden_by_it() -> None:
    def nodes(kind: str) -> Any:
        return {
            "definitions": {
                "a": obj({"b": {"$ref": "#/definitions/b"}, "value": {"type": kind}}),
                "b": obj({"a": {"$ref": "#/definitions/a"}}),
            },
            "oneOf": [{"$ref": "#/definitions/b"}, {"$ref": "#/definitions/a"}],
        }

    assert [each for each in told(nodes("string"), nodes("integer")) if each.startswith("!")]
    assert told(nodes("string"), nodes("string")) == []


def test_many_definitions_that_all_refer_to_each_other_are_compared_in_time() -> None:
    names = [f"d{index}" for index in range(12)]
    definitions = {
        name: obj({other: {"oneOf": [{"$ref": f"#/definitions/{each}"} for each in names]} for other in ("x", "y")})
        for name in names
    }
    schema = {"definitions": definitions, "$ref": "#/definitions/d0"}
    assert told(schema, schema) == []


def test_a_refused_version_gets_a_schema_that_is_not() -> None:
    old = obj({"a": {"type": "string", "maxLength": 3}, "gone": TEXT}, **CLOSED)
    new = obj({"a": {"type": "string", "maxLength": 2}, "b": WHOLE}, required=["a", "b"], **CLOSED)
    verdict = check(js(new), [(1, js(old))], Level.BACKWARD)
    assert {problem.code for problem in verdict.problems} == {
        "REQUIRED_ATTRIBUTE_ADDED",
        "MAX_LENGTH_DECREASED",
        "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL",
        "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL",
    }
    assert verdict.proposal is not None
    mended = json.loads(verdict.proposal)
    assert mended == obj({"a": {"type": "string", "maxLength": 3}, "b": WHOLE, "gone": TEXT}, **CLOSED)
