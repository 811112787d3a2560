from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.schemas.compatibility import check, differences
from beam_datahub.schemas.difference import Difference, Direction, Level
from beam_datahub.schemas.document import Document, Format

CASES = Path(__file__).parents[4] / "shared/cases/avro-compat"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the cases from outside are not here")


def avro(schema: Any) -> Document:
    return Document(Format.AVRO, json.dumps(schema))


def record(*fields: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields), **more}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def codes(found: list[Difference]) -> list[str]:
    return [difference.code for difference in found]


@needs_cases
def test_readers_and_writers_of_the_reference_implementation_get_its_verdicts_codes_and_places() -> None:
    for case in json.loads((CASES / "reader-writer-compat.json").read_text())["cases"]:
        found = differences(avro(case["reader"]), avro(case["writer"]))
        assert (not found) is case["compatible"], case["id"]
        if found:
            assert {code.lower() for code in codes(found)} == set(case["incompatibilities"]), case["id"]
            assert {difference.path for difference in found} <= set(case["locations"]), case["id"]


@needs_cases
def test_levels_get_the_verdicts_of_the_registry() -> None:
    cases = json.loads((CASES / "registry-levels.json").read_text())
    for case in cases["cases"]:
        history = [(at, avro(cases["schemas"][name])) for at, name in enumerate(case["history_oldest_first"], 1)]
        verdict = check(avro(cases["schemas"][case["new"]]), history, Level(case["level"].lower()))
        assert verdict.compatible is case["compatible"], case["id"]
    for name in cases["parses_ok_in_lenient_registry"]:
        assert not differences(avro(cases["schemas"][name]), avro(cases["schemas"][name]))


def test_a_new_field_without_a_default_is_refused_with_its_place_and_the_mended_schema() -> None:
    old, new = record(field("a", "int")), record(field("a", "int"), field("b", "string"))
    verdict = check(avro(new), [(3, avro(old))], Level.BACKWARD)
    [problem] = verdict.problems
    assert (problem.code, problem.path, problem.version) == ("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/1", 3)
    assert "'b' of the new schema has no default, and version 3 does not have" in problem.reason
    assert problem.fix == "give the new field a default"
    assert verdict.proposal is not None
    assert json.loads(verdict.proposal) == record(field("a", "int"), field("b", ["null", "string"], default=None))
    assert check(avro(json.loads(verdict.proposal)), [(3, avro(old))], Level.BACKWARD).compatible


def test_forward_the_old_version_reads_the_new_one() -> None:
    old, new = record(field("a", "int"), field("b", "string")), record(field("a", "int"))
    [problem] = check(avro(new), [(1, avro(old))], Level.FORWARD).problems
    assert problem.direction is Direction.FORWARD
    assert "'b' of version 1 has no default, and the new schema does not have the field" in problem.reason
    assert check(avro(new), [(1, avro(old))], Level.BACKWARD).compatible


@pytest.mark.parametrize("level", list(Level))
def test_only_transitive_levels_look_past_the_latest_version(level: Level) -> None:
    history = [(1, avro(record(field("a", "string")))), (2, avro(record(field("a", ["null", "int"]))))]
    verdict = check(avro(record(field("a", ["null", "int"]))), history, level)
    assert verdict.compatible is not level.transitive


def test_a_proposal_keeps_what_the_old_version_needs_and_what_the_new_one_adds() -> None:
    old = record(field("e", {"type": "enum", "name": "E", "symbols": ["A", "B"]}), field("gone", "int"))
    new = record(field("e", {"type": "enum", "name": "E", "symbols": ["B", "C"]}))
    verdict = check(avro(new), [(1, avro(old))], Level.BACKWARD)
    assert codes_of(verdict.problems) == ["MISSING_ENUM_SYMBOLS"]
    assert verdict.proposal is not None
    assert json.loads(verdict.proposal)["fields"][0]["type"]["symbols"] == ["B", "C", "A"]


def codes_of(problems: Any) -> list[str]:
    return [problem.code for problem in problems]


def test_no_schema_is_proposed_where_its_author_must_decide() -> None:
    assert check(avro("string"), [(1, avro("int"))], Level.BACKWARD).proposal is None


def test_a_recursive_record_is_compared_once_and_its_inner_change_is_found() -> None:
    def tree(kind: str) -> dict[str, Any]:
        return record(field("value", kind), field("next", ["null", "R"]))

    assert differences(avro(tree("long")), avro(tree("int"))) == []
    assert "TYPE_MISMATCH" in codes(differences(avro(tree("int")), avro(tree("string"))))


def test_records_that_hold_each_other_are_compatible_only_together() -> None:
    def pair(kind: str) -> dict[str, Any]:
        inner = {"type": "record", "name": "Inner", "fields": [field("up", ["null", "R"]), field("x", "int")]}
        return record(field("one", inner), field("two", ["null", "Inner"]), field("z", kind))

    assert codes(differences(avro(pair("int")), avro(pair("string"))))
    assert differences(avro(pair("long")), avro(pair("int"))) == []


def test_an_alias_of_a_field_or_a_record_finds_the_old_name() -> None:
    old = record(field("a", "int"))
    new = {**record(field("b", "int", aliases=["a"])), "name": "S", "aliases": ["R"]}
    assert differences(avro(new), avro(old)) == []
    assert codes(differences(avro({**new, "aliases": []}), avro(old))) == ["NAME_MISMATCH"]


def test_a_field_that_means_two_of_the_old_ones_is_refused() -> None:
    old = record(field("a", "int"), field("b", "int"))
    new = record(field("a", "int", aliases=["b"]))
    assert codes(differences(avro(new), avro(old))) == ["READER_FIELD_AMBIGUOUS"]
    assert differences(avro(new), avro(record(field("b", "int")))) == []
    assert differences(avro(record(field("a", "int", aliases=["a"]))), avro(old)) == []


@pytest.mark.parametrize(
    ("reader", "writer", "code"),
    [
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 3},
            "DECIMAL_MISMATCH",
        ),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            {"type": "long", "logicalType": "timestamp-millis"},
            "LOGICAL_TYPE_MISMATCH",
        ),
    ],
)
def test_a_logical_type_that_would_give_a_stored_number_another_value_is_refused(reader: Any, writer: Any, code: str) -> None:
    assert codes(differences(avro(reader), avro(writer))) == [code]
    assert differences(avro(reader), avro(writer["type"])) == []


def test_a_schema_may_use_types_of_others_in_any_order() -> None:
    references = {
        "order": json.dumps({"type": "record", "name": "Order", "fields": [field("by", "Person")]}),
        "person": json.dumps({"type": "record", "name": "Person", "fields": [field("name", "string")]}),
    }
    document = Document(Format.AVRO, json.dumps(record(field("order", "Order"))), references)
    assert differences(document, document) == []


_PLAIN = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
_SYMBOLS = ["A", "B", "C"]


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> Any:
    kind = draw(st.sampled_from([*_PLAIN, "enum", "fixed", "array", "map", "union", "record"] if depth else _PLAIN))
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from(_SYMBOLS), min_size=1, unique=True))
        default = draw(st.sampled_from([{}, {"default": symbols[0]}]))
        return {"type": "enum", "name": "E", "symbols": symbols, **default}
    if kind == "fixed":
        return {"type": "fixed", "name": "F", "size": draw(st.integers(1, 2))}
    if kind == "array":
        return {"type": "array", "items": draw(types(depth - 1))}
    if kind == "map":
        return {"type": "map", "values": draw(types(depth - 1))}
    if kind == "union":
        return draw(st.lists(st.sampled_from(_PLAIN), min_size=1, max_size=4, unique=True))
    if kind == "record":
        fields = []
        for name in draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True)):
            simple = draw(st.booleans())
            fields.append(
                field(name, draw(types(0)))
                if simple
                else field(name, ["null", "int"], **draw(st.sampled_from([{}, {"default": None}])))
            )
        return {"type": "record", "name": "Inner", "fields": fields}
    return kind


@st.composite
def records(draw: st.DrawFn) -> Any:
    fields: list[Any] = []
    used: set[str] = set()
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)):
        kind = draw(types())
        named = {part for part in ("E", "F", "Inner") if f'"name": "{part}"' in json.dumps(kind)}
        if named & used:
            kind = "int"
        used |= named
        fields.append(field(name, kind))
    return record(*fields)


def ascii_bytes(value: Any) -> Any:
    """Bytes that are text as well: Avro lets them be read as a string and leaves it to the data whether they are."""
    if isinstance(value, bytes):
        return b"a" * len(value)
    if isinstance(value, dict):
        return {key: ascii_bytes(each) for key, each in value.items()}
    return [ascii_bytes(each) for each in value] if isinstance(value, list) else value


@given(records(), records(), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_as_backward_compatible_is_read(old: Any, new: Any, data: st.DataObject) -> None:
    for each in new["fields"]:
        # A field under the same name is often of the same type, else few pairs would be compatible.
        same = next((one for one in old["fields"] if one["name"] == each["name"]), None)
        if same is not None and data.draw(st.booleans()):
            each["type"] = same["type"]
    try:
        found = differences(avro(new), avro(old))
    except Exception:  # the drawn types may clash in their names
        return
    if found:
        return
    from fastavro.utils import generate_one

    writer, reader = fastavro.parse_schema(old), fastavro.parse_schema(new)
    stored = io.BytesIO()
    fastavro.writer(stored, writer, [ascii_bytes(generate_one(writer)) for _ in range(3)])
    stored.seek(0)
    assert len(list(fastavro.reader(stored, reader_schema=reader))) == 3
