"""JSON documents: arrays, single records, records inside, and the torture that parsers get."""

from __future__ import annotations

import decimal
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError, InvalidValue, UnreadableData
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import Result, read, sink, source, write


def document(folder: Path, text: str | bytes, schema: pa.Schema | None = None, name: str = "x.json", **options: Any) -> Result:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(source("json", str(folder / name), **options), schema)


def test_an_array_gives_its_elements_and_an_object_itself(tmp_path: Path) -> None:
    assert document(tmp_path, '[\n {"a": 1},\n {"a": 2, "b": "x\\ny"}\n]').rows == [{"a": 1, "b": None}, {"a": 2, "b": "x\ny"}]
    assert document(tmp_path, '{\n "a": 1,\n "b": [\n1]}').rows == [{"a": 1, "b": [1]}]
    assert document(tmp_path, "[]").rows == []


def test_records_are_found_where_the_path_says(tmp_path: Path) -> None:
    text = '{"data": {"items": [{"a": 1}, {"a": 2}], "one": {"a": 3}, "we/ird ~key": [[], [{"a": 4}]], "none": null}}'
    assert document(tmp_path, text, records="$.data.items").rows == [{"a": 1}, {"a": 2}]
    assert document(tmp_path, text, records="$.data.one").rows == [{"a": 3}]
    assert document(tmp_path, text, records="$.data['we/ird ~key'][1]").rows == [{"a": 4}]
    exact = pa.schema([("a", pa.decimal128(30, 2))])
    assert document(tmp_path, text, exact, records="$.data['we/ird ~key'][1]").rows == [{"a": decimal.Decimal("4.00")}]
    for schema in (None, exact):
        with pytest.raises(UnreadableData, match=r"nothing at \$\.data\.item"):
            document(tmp_path, text, schema, records="$.data.item")
    for path in ("$.data.*", "$..items", "data.items", "$.data[-1]", "$['a','b']"):
        with pytest.raises(InvalidValue, match="records"):
            document(tmp_path, text, records=path)


def test_elements_that_are_no_objects_become_a_column(tmp_path: Path) -> None:
    assert document(tmp_path, "[1, 2, null]").rows == [{"value": 1}, {"value": 2}, {"value": None}]
    assert document(tmp_path, '"text"').rows == [{"value": "text"}]
    mixed = document(tmp_path, '[1, "x", {"a": 1}, null, [2]]')
    assert (mixed.table.schema, mixed.rejected) == (pa.schema([("value", JSON)]), [])
    assert [row["value"] for row in mixed.rows] == ["1", '"x"', '{"a":1}', None, "[2]"]


def test_one_bad_element_among_records_is_rejected_alone(tmp_path: Path) -> None:
    found = document(tmp_path, '[{"a": 1}, null, {"a": 2}, 7, {"a": 3}]')
    assert [row["a"] for row in found.rows] == [1, 2, 3]
    assert [(row["reason"], row["row"], row["original"]) for row in found.rejected] == [
        ("malformed", 1, "null"),
        ("malformed", 3, "7"),
    ]


def test_every_digit_of_a_declared_decimal_is_kept(tmp_path: Path) -> None:
    schema = pa.schema([("m", pa.decimal128(38, 10)), ("t", pa.string())])
    text = '[{"m": 1234567890123456789012345678.0123456789, "t": "[1, 2] \\u00e9 {"}, {"m": "0.1"}, {"m": 5}]'
    assert [str(row["m"]) for row in document(tmp_path, text, schema).rows] == [
        "1234567890123456789012345678.0123456789", "0.1000000000", "5.0000000000",
    ]  # fmt: skip


def test_json_lines_under_the_name_of_a_document_get_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData) as caught:
        document(tmp_path, '{"a": 1}\n{"a": 2}\n')
    assert "jsonl" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text", ["", "  \n ", "[1, 2", '{"a": 1', "[1,]", "[1] x", "nope", "[NaN]", b"\xff\xfe[1]", '["\\ud800"]']
)
def test_what_is_no_json_is_a_clear_error(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match=r"x\.json"):
        document(tmp_path, text)


def test_documents_of_other_encodings_with_marks_and_compressed_are_read(tmp_path: Path) -> None:
    text = '[{"a": "é"}]'
    assert document(tmp_path, text.encode("utf-8-sig")).rows == [{"a": "é"}]
    assert document(tmp_path, text.encode("utf-16"), encoding="utf-16").rows == [{"a": "é"}]
    assert document(tmp_path, gzip.compress(text.encode()), name="x.json.gz").rows == [{"a": "é"}]


def test_a_large_document_is_read_in_blocks_and_checked_as_a_small_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("w") as stream:
        stream.write("[")
        for i in range(60_000):
            stream.write(json.dumps({"n": i, "t": "x" * 300}) + ",\n")
        stream.write('{"n": "bad"}]')
    schema = pa.schema([("n", pa.int64())])
    found = read(source("json", str(path)), schema, threads=2)
    assert found.table.column("n").to_pylist() == list(range(60_000))
    assert [(row["row"], row["original"]) for row in found.rejected][-1][1] == '{"n":"bad"}'
    with path.open("r+") as stream:
        stream.seek(0, 2)
        stream.write("]")
    with pytest.raises(UnreadableData, match="not a JSON document"):
        read(source("json", str(path)), schema)


def test_what_is_written_is_one_array(tmp_path: Path) -> None:
    destination = sink("json", str(tmp_path / "x.json"))
    write(destination, pa.table({"a": [1, 2]}), pa.table({"a": [3]}), run="one")
    write(destination, pa.table({"a": [4]}), run="two")
    assert json.loads((tmp_path / "x.json").read_text()) == [{"a": i} for i in (1, 2, 3, 4)]
    write(destination, schema=pa.schema([("a", pa.int64())]), run="three", mode="overwrite")
    assert json.loads((tmp_path / "x.json").read_text()) == []
    write(destination, pa.table({"a": [5]}), run="four")
    assert json.loads((tmp_path / "x.json").read_text()) == [{"a": 5}]


def test_parsing_suite(cases: Path, tmp_path: Path) -> None:
    """y_ is accepted, n_ is refused or rejected, i_ is either; nothing crashes, and declared types change none of it."""
    wrong = []
    for path in sorted((cases / "json-parsing-suite" / "test_parsing").glob("*.json")):
        for schema in (None, pa.schema([("value", JSON)]), pa.schema([("a", pa.decimal128(38, 9))])):
            try:
                found = read(source("json", str(path)), schema)
                verdict = "rejected" if found.rejected else "accepted"
            except DataHubError:
                verdict = "refused"
            accepted = path.name.startswith("y_")
            if (accepted and schema is None and verdict != "accepted") or (accepted and verdict == "refused"):
                wrong.append((path.name, verdict))
            if path.name.startswith("n_") and verdict == "accepted":
                wrong.append((path.name, verdict))
    assert wrong == []


def test_vega_datasets_give_the_known_answers(cases: Path) -> None:
    folder = cases / "vega-datasets" / "data"
    known = {
        check["name"]: check["expected"]
        for check in json.loads((folder.parent / "expected-aggregates.json").read_text())["checks"]
    }
    penguins = read(source("json", str(folder / "penguins.json")))
    for row in known["penguins"]:
        mine = [p for p in penguins.rows if p["Species"] == row["Species"]]
        masses = [p["Body Mass (g)"] for p in mine if p["Body Mass (g)"] is not None]
        assert (len(mine), sum(p["Sex"] is None for p in mine)) == (row["n"], row["null_sex"])
        assert sum(masses) / len(masses) == pytest.approx(row["mean_mass"])
    movies = read(source("json", str(folder / "movies.json")))
    (expected,) = known["movies"]
    assert (movies.table.num_rows, movies.table.column("IMDB Rating").null_count) == (expected["n"], expected["null_rating"])
    assert max(row["Worldwide Gross"] or 0 for row in movies.rows) == expected["max_gross"]
    quakes = read(source("json", str(folder / "earthquakes.json"), records="$.features"))
    assert (quakes.table.num_rows, quakes.rejected) == (1707, [])
    assert all(len(row["geometry"]["coordinates"]) == 3 for row in quakes.rows)


def test_webhook_payloads_are_one_nested_record_each(cases: Path) -> None:
    found = read(source("json", str(cases / "github-webhooks" / "payload-examples")))
    files = list((cases / "github-webhooks" / "payload-examples").rglob("*.json"))
    assert (found.table.num_rows + len(found.rejected)) >= len(files)
    assert found.rejected == []
    assert {"action", "sender", "repository"} <= set(found.table.schema.names)
