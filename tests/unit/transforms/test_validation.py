from __future__ import annotations

import datetime
import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.json_schema import json_values, load_schema
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.steps import run_step
from beam_datahub.transforms.validation import JsonSchemaKernel


def test_a_row_is_rejected_once_with_all_the_rules_that_it_breaks() -> None:
    rules = {
        "id": {"required": True},
        "age": {"min": 0, "max": 150},
        "code": {"pattern": "^[A-Z]+$", "min_length": 2, "max_length": 3},
        "day": {"type": "date"},
        "state": {"in": ["new", "old"]},
        "tag": {"not_in": ["x", "y"], "message": "the tag is forbidden"},
    }
    good = {"id": 1, "age": 150, "code": "AB", "day": "2025-01-31", "state": "new", "tag": "a"}
    empty = dict.fromkeys(good) | {"id": 2}
    bad = {"id": None, "age": -1, "code": "abcd", "day": "2025-02-30", "state": "odd", "tag": "x"}
    found = run_step("validation", {"rules": rules}, {"input": [good, empty, bad]})
    assert found.rows == [good, empty]
    (record,) = found.rejected
    assert (record["reason"], record["column"]) == ("validation_failed", "id")
    assert record["message"] == (
        "'id' is missing; 'age' is less than 0; 'code' is longer than 3; 'code' does not match ^[A-Z]+$; "
        "'day' is no date; 'state' is not one of new, old; the tag is forbidden"
    )


def test_a_type_can_be_asked_of_text_and_json_without_converting_it() -> None:
    rows = [{"t": t, "j": j} for t, j in (("1", "1"), ("1.5", "null"), (None, None), ("x", "2"), ("2", '"x"'))]
    config = {"rules": {"t": {"type": "decimal(5,2)"}, "j": {"type": "integer"}}}
    found = run_step("validation", config, {"input": rows}, schema={"input": {"j": "json"}})
    assert [row["t"] for row in found.rows] == ["1", "1.5", None]
    assert sorted(record["message"] for record in found.rejected) == ["'j' is no integer", "'t' is no decimal(5,2)"]


def test_limits_of_decimals_and_times_are_exact() -> None:
    schema = {"input": {"price": "decimal(20,10)", "at": "timestamp", "on": "date"}}
    rules = {"price": {"max": 0.1}, "at": {"min": "2025-01-31 12:00:00"}, "on": {"min": "2025-01-31"}}
    rows = [
        {"price": "0.1000000000", "at": "2025-01-31 12:00:00", "on": "2025-01-31"},
        {"price": "0.1000000001", "at": "2025-01-31 11:59:59.999999", "on": "2025-01-30"},
    ]
    found = run_step("validation", {"rules": rules}, {"input": rows}, schema=schema)
    assert [row["price"] for row in found.rows] == [Decimal("0.1")]
    assert found.rejected[0]["message"].count(";") == 2


def test_a_condition_does_not_hold_where_it_is_null() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": None}, {"a": 2, "b": 1}]
    found = run_step("validation", {"rules": [{"that": "b > a"}]}, {"input": rows})
    assert found.rows == [{"a": 1, "b": 2}]
    assert {record["message"] for record in found.rejected} == {"not so: b > a"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "nothing to validate"),
        ({"rules": {"nmae": {"required": True}}}, "unknown column 'nmae'"),
        ({"rules": {"name": {"min": 3}}}, "'name' is VARCHAR, whose limit is a text, not 3"),
        ({"rules": {"id": {"max": "many"}}}, "whose limit is a number"),
        ({"rules": {"id": {"pattern": "a"}}}, "a pattern is for text"),
        ({"rules": {"name": {"pattern": "("}}}, "missing"),
        ({"rules": {"id": {"min_length": 1}}}, "a length is for text and lists"),
        ({"rules": {"id": {"in": ["a"]}}}, "which 'a' is not"),
        ({"rules": {"id": {"in": []}}}, "the list is empty"),
        ({"rules": [{"required": True}]}, "names no `field`"),
        ({"json_schema": {"type": "objekt"}}, "no valid JSON Schema"),
        ({"json_schema": {"$schema": "http://example.org/odd"}}, "unknown JSON Schema draft"),
        ({"json_schema": {"$ref": "http://example.org/other.json"}}, "which is not there"),
        ({"json_schema": {"$ref": "#/definitions/none"}}, "'#/definitions/none', which is not there"),
        ({"json_schema": "missing.json"}, "cannot read the JSON Schema"),
    ],
)
def test_a_wrong_validation_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(DataHubError, match=words.replace("(", r"\(")):
        run_step("validation", config, {"input": [{"id": 1, "name": "a"}]})


def test_a_schema_file_finds_the_files_that_it_refers_to_and_travels_with_them(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(
        json.dumps(
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "properties": {"id": {"$ref": "parts/id.yaml#/definitions/id"}, "far": {"$ref": "https://example.org/far.json"}},
            }
        )
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/id.yaml").write_text("definitions:\n  id: {type: integer, minimum: 1}\n")
    (tmp_path / "far.json").write_text('{"type": "string"}')
    source = load_schema(str(tmp_path / "order.json"), {"https://example.org/": str(tmp_path)})
    kernel = pickle.loads(pickle.dumps(JsonSchemaKernel(source, ("id", "far"), None, omit_nulls=True)))
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    with KernelSession(threads=1) as session:
        kernel.open(session)
        applied = kernel.apply(pa.record_batch({"id": [1, 0, 5], "far": ["x", "y", None]}), session)
    assert applied.batch.column("id").to_pylist() == [1, 5]
    assert applied.parents.to_pylist() == [0, 2]
    assert applied.rejected.to_pylist() == [
        {"row": 1, "reason": "validation_failed", "message": "$.id: 0 is less than the minimum of 1", "column": None}
    ]


def test_the_row_is_the_json_that_one_expects() -> None:
    batch = pa.record_batch(
        {
            "t": pa.array([datetime.datetime(2025, 1, 31, 10, 30)], pa.timestamp("us")),
            "z": pa.array([datetime.datetime(2025, 1, 31, 10, 30, tzinfo=datetime.UTC)], pa.timestamp("us", tz="UTC")),
            "c": pa.array([datetime.time(10, 30)], pa.time64("us")),
            "d": pa.array([Decimal("2.00")], pa.decimal128(5, 2)),
            "b": pa.array([b"\x00\xff"]),
            "l": pa.array([[datetime.date(2025, 1, 31), None]], pa.list_(pa.date32())),
            "s": pa.array([{"d": Decimal("2.5"), "n": None}], pa.struct([("d", pa.decimal128(5, 2)), ("n", pa.int64())])),
            "j": pa.ExtensionArray.from_storage(JSON, pa.array(['{"a": [1]}'])),
        }
    )
    values = {name: json_values(batch.column(name))[0] for name in batch.schema.names}
    assert values == {
        "t": "2025-01-31T10:30:00Z",
        "z": "2025-01-31T10:30:00Z",
        "c": "10:30:00Z",
        "d": 2,
        "b": "AP8=",
        "l": ["2025-01-31", None],
        "s": {"d": 2.5, "n": None},
        "j": {"a": [1]},
    }


def test_a_null_is_a_property_with_the_value_null_unless_it_counts_as_absent() -> None:
    config = {"json_schema": {"properties": {"a": {"type": "string"}}}}
    rows = [{"a": "x"}, {"a": None}]
    assert run_step("validation", config, {"input": rows}).rows == [{"a": "x"}]
    assert run_step("validation", {**config, "nulls": "absent"}, {"input": rows}).rows == rows


def test_one_json_column_can_be_validated_and_one_that_cannot_be_read_is_no_crash() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    kernel = JsonSchemaKernel(load_schema({"type": "array"}, {}), ("id", "doc"), "doc", omit_nulls=False)
    texts = pa.ExtensionArray.from_storage(JSON, pa.array(["[1]", "{}", deep, "[2]", '{"a": ']))
    with KernelSession(threads=1) as session:
        kernel.open(session)
        applied = kernel.apply(pa.record_batch({"id": pa.array([1, 2, 3, 4, 5]), "doc": texts}), session)
    assert applied.batch.column("id").to_pylist() == [1, 4]
    assert [record["column"] for record in applied.rejected.to_pylist()] == ["doc", "doc", "doc"]
    assert "nested too deeply" in applied.rejected["message"][1].as_py()
    assert "no JSON" in applied.rejected["message"][2].as_py()


@pytest.mark.parametrize(("pattern", "said"), [("^(a+)+$", "does not match"), ("^(?=a)(a+)+$", "takes too long")])
def test_a_pattern_that_explodes_in_a_json_schema_comes_to_an_end(
    pattern: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_datahub.kernels import json_schema

    monkeypatch.setattr(json_schema, "_PATTERN_SECONDS", 0.05)
    validator = json_schema.SchemaSource({"type": "string", "pattern": pattern}).validator()
    told = json_schema.broken(validator, "a" * 5000 + "!")
    assert told is not None
    assert said in "".join(error.message[-200:] for error in validator.iter_errors("a" * 5000 + "!"))
    assert json_schema.broken(validator, "aaa") is None


@pytest.mark.parametrize("keyword", ["patternProperties", "additionalProperties"])
def test_a_pattern_of_names_that_explodes_comes_to_an_end(keyword: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_datahub.kernels import json_schema

    monkeypatch.setattr(json_schema, "_PATTERN_SECONDS", 0.05)
    schema = {"type": "object", "patternProperties": {"^(a+)+$": {"type": "string"}}}
    if keyword == "additionalProperties":
        schema["additionalProperties"] = False
    validator = json_schema.SchemaSource(schema).validator()
    told = json_schema.broken(validator, {"a" * 5000 + "!": 1})
    assert (told is not None) == (keyword == "additionalProperties")
    assert json_schema.broken(validator, {"aa": "x"}) is None
    assert "is not of type 'string'" in str(json_schema.broken(validator, {"aa": 1}))
