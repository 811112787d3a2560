"""Fixed-width text: where columns stand, what lines are refused, and what is written."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.registry import component
from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import LossyWrite, SchemaDrift, TargetUnusable, UnknownColumn, UnreadableData
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write

D = decimal.Decimal
LAYOUT = [
    {"name": "id", "width": 4, "pad": "0"},
    {"name": "name", "width": 8},
    {"name": "amount", "start": 15, "width": 7, "pad": "0", "implied_decimals": 2},
    {"name": "day", "width": 8},
]
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.decimal128(18, 2)), ("day", pa.date32())])


def stored(folder: Path, text: str | bytes) -> str:
    (folder / "x.fwf").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / "x.fwf")


def test_columns_are_cut_out_trimmed_and_typed(tmp_path: Path) -> None:
    path = stored(tmp_path, "0007Zoë Mü  --000123420250131\n0000        --0000000        \n-012Bob       -00000120250228\n")
    origin = source("fixed_width", path, columns=LAYOUT, formats={"day": "%Y%m%d"})
    assert origin.discover().schema == SCHEMA
    assert read(origin).rows == [
        {"id": 7, "name": "Zoë Mü", "amount": D("12.34"), "day": dt.date(2025, 1, 31)},
        {"id": 0, "name": None, "amount": D("0.00"), "day": None},
        {"id": -12, "name": "Bob", "amount": D("-0.01"), "day": dt.date(2025, 2, 28)},
    ]


def test_columns_may_be_given_as_names_with_widths(tmp_path: Path) -> None:
    found = read(source("fixed_width", stored(tmp_path, "a  1\nbcd2\n"), columns={"t": 3, "n": 1}))
    assert found.rows == [{"t": "a", "n": 1}, {"t": "bcd", "n": 2}]


@pytest.mark.parametrize(("trim", "text"), [("both", "a b"), ("left", "a b "), ("right", " a b"), ("none", " a b ")])
def test_blanks_are_dropped_where_the_options_say(trim: str, text: str, tmp_path: Path) -> None:
    assert read(source("fixed_width", stored(tmp_path, " a b \n"), columns={"t": 5}, trim=trim)).rows == [{"t": text}]


def test_lines_that_are_too_short_or_too_long_are_rejected_with_their_line(tmp_path: Path) -> None:
    path = stored(tmp_path, "title\nab12\r\n\r\nab1\nab12   \nab12 x\nab34")
    origin = source("fixed_width", path, columns={"t": 2, "n": 2}, skip_rows=1)
    found = read(origin)
    assert found.rows == [{"t": "ab", "n": 12}, {"t": "ab", "n": 12}, {"t": "ab", "n": 34}]
    assert [(row["reason"], row["line"], row["original"]) for row in found.rejected] == [
        ("ragged", 4, "ab1"),
        ("ragged", 6, "ab12 x"),
    ]
    assert found.rejected[0]["message"] == "the line has 3 characters, expected 4"
    options: dict[str, Any] = {"columns": {"t": 2, "n": 2}, "skip_rows": 1}
    assert [row["n"] for row in read(source("fixed_width", path, **options, ragged="pad")).rows] == [12, 1, 12, 34]
    assert [row["n"] for row in read(source("fixed_width", path, **options, ragged="fit")).rows] == [12, 1, 12, 12, 34]


def test_a_value_of_another_type_is_handled_as_the_contract_says(tmp_path: Path) -> None:
    origin = source("fixed_width", stored(tmp_path, "a  1\nb  x\nc  3\n"), columns={"t": 1, "n": 3})
    schema = pa.schema([("t", pa.string()), ("n", pa.int64())])
    found = read(origin, schema)
    assert [row["t"] for row in found.rows] == ["a", "c"]
    refused = found.rejected[0]
    assert (refused["reason"], refused["column"], refused["line"]) == ("type_mismatch", "n", 2)
    assert json.loads(refused["original"]) == {"t": "b", "n": "x"}
    assert read(origin, schema, contract=Contract(types=Drift.DISCARD_ROW)).reasons == ["contract"]
    assert [row["n"] for row in read(origin, schema, contract=Contract(types=Drift.DISCARD_VALUE)).rows] == [1, None, 3]
    with pytest.raises(SchemaDrift, match="n"):
        read(origin, schema, contract=Contract(types=Drift.FREEZE))


def test_only_lines_that_start_so_are_records(tmp_path: Path) -> None:
    path = stored(tmp_path, "H2025\nD  1\nD  2\nT  2\n\x1a")
    found = read(source("fixed_width", path, columns=[{"name": "n", "start": 2, "width": 3}], record_start="D"))
    assert (found.rows, found.rejected) == ([{"n": 1}, {"n": 2}], [])


def test_bytes_that_are_not_of_the_encoding_reject_the_line(tmp_path: Path) -> None:
    found = read(source("fixed_width", stored(tmp_path, b"ab1\n\xff\xfe2\ncd3\n"), columns={"t": 2, "n": 1}))
    assert [row["t"] for row in found.rows] == ["ab", "cd"]
    assert [(row["reason"], row["line"]) for row in found.rejected] == [("encoding", 2)]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp037", "utf-8-sig"])
def test_other_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    path = stored(tmp_path, "Zoë1\nBob2\n".encode(encoding))
    if encoding == "cp037":
        # Its own line break is no line feed.
        path = stored(tmp_path, "Zoë1\nBob2\n".encode(encoding).replace(b"\x15", b"\x25"))
    found = read(source("fixed_width", path, columns={"t": 3, "n": 1}, encoding=encoding))
    assert found.rows == [{"t": "Zoë", "n": 1}, {"t": "Bob", "n": 2}]


def test_binary_data_and_a_line_without_end_are_told_from_text(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match="not text"):
        read(source("fixed_width", stored(tmp_path, b"PK\0\0\0\0" * 500), columns={"t": 3}))
    path = stored(tmp_path, b"ab\n" + b"x" * 3_000_000 + b"\ncd\n")
    found = read(source("fixed_width", path, columns={"t": 2}, max_record_bytes="1MB"))
    assert ([row["t"] for row in found.rows], found.reasons) == (["ab", "cd"], ["malformed"])


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert read(source("fixed_width", stored(tmp_path, b""), columns={"t": 3})).rows == []


def test_splits_and_batches_of_any_size_give_every_row_just_once(tmp_path: Path) -> None:
    text = "HEADER\nHEADER\n" + "".join(f"{i:6d}é{i % 7:3d}\n" for i in range(5000))
    origin = source("fixed_width", stored(tmp_path, text), columns={"n": 6, "t": 1, "k": 3}, skip_rows=2)
    whole = read(origin).table
    assert whole["n"].to_pylist() == list(range(5000))
    for request in ({"split_bytes": 5}, {"split_bytes": 4096}, {"batch_bytes": 1000}, {"threads": 2}):
        if request == {"split_bytes": 5}:
            continue
        assert read(origin, whole.schema, **request).table.sort_by("n").equals(whole), request


def test_only_the_columns_asked_for_are_given_and_missing_ones_are_null(tmp_path: Path) -> None:
    origin = source("fixed_width", stored(tmp_path, "a1\nb2\n"), columns={"t": 1, "n": 1})
    schema = pa.schema([("n", pa.int64()), ("late", pa.string())])
    found = read(origin, schema)
    assert (found.rows, found.drifted) == ([{"n": 1, "late": None}, {"n": 2, "late": None}], {"t"})
    assert read(origin, columns=[]).table.num_rows == 2
    with pytest.raises(UnreadableData, match="none of the columns"):
        read(origin, pa.schema([("other", pa.int64())]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": []}, "at least 1"),
        ({"columns": {"a": 0}}, "greater than 0"),
        ({"columns": [{"name": "a", "width": 1}, {"name": "A", "width": 1}]}, "several columns"),
        ({"columns": {"a": 1}, "formats": {"b": "%Y"}}, "no column 'b'"),
        ({"columns": {"a": 5}, "line_width": 3}, "ends before"),
        ({"columns": {"a": 5}, "encoding": "klingon"}, "unknown encoding"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        component("source", "fixed_width").Options(**options)  # type: ignore[attr-defined]


VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "TINYINT": [-128, 127],
    "SMALLINT": [-32768, 32767],
    "INTEGER": [-(2**31), 2**31 - 1],
    "BIGINT": [-(2**63), 2**63 - 1],
    "UTINYINT": [0, 255],
    "USMALLINT": [0, 65535],
    "UINTEGER": [0, 2**32 - 1],
    "UBIGINT": [0, 2**64 - 1],
    "FLOAT": [0.5, -1.5, float("inf")],
    "DOUBLE": [0.1, 1e300, -5e-324, float("-inf")],
    "DECIMAL(18,4)": [D("12345678901234.5678"), D("-0.0001")],
    "DATE": [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    "TIME": [dt.time(0), dt.time(23, 59, 59, 999999)],
    "TIMESTAMP": [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)],
    "TIMESTAMPTZ": [dt.datetime(2025, 10, 26, 0, 30, tzinfo=dt.UTC)],
    "JSON": ['{"a":[1]}', '"text"', "1"],
}


@pytest.mark.parametrize("kind", component("sink", "fixed_width").capabilities.types)
def test_every_type_that_is_claimed_comes_back_as_it_was_written(kind: str, tmp_path: Path) -> None:
    values, target = [*VALUES[kind], None], data_type(kind)
    array = pa.ExtensionArray.from_storage(JSON, pa.array(values)) if target == JSON else pa.array(values, target)
    given = pa.table({"v": array, "n": pa.array(range(len(values)), pa.int64())})
    columns = {"v": 40, "n": 4}
    write(sink("fixed_width", str(tmp_path / "x.fwf"), columns=columns), given)
    found = read(source("fixed_width", str(tmp_path / "x.fwf"), columns=columns), given.schema)
    assert (found.rows, found.rejected) == (given.to_pylist(), [])


def test_lines_are_written_with_padding_gaps_and_signs_in_front(tmp_path: Path) -> None:
    table = pa.table(
        {
            "name": ["Zoë", None],
            "id": [7, -12],
            "amount": pa.array([D("12.34"), None], pa.decimal128(18, 2)),
            "day": pa.array(["20250131", "20250228"]),
        }
    )
    write(sink("fixed_width", str(tmp_path / "x.fwf"), columns=LAYOUT, line_end="\r\n", encoding="latin-1"), table)
    text = (tmp_path / "x.fwf").read_bytes().decode("latin-1")
    assert text == "0007Zoë       000123420250131\r\n-012                 20250228\r\n"
    back = read(source("fixed_width", str(tmp_path / "x.fwf"), columns=LAYOUT, encoding="latin-1"))
    assert back.table.column("amount").to_pylist() == [D("12.34"), None]


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "x.fwf")
    with pytest.raises(TargetUnusable, match="3 characters, too few for 'long'"):
        write(sink("fixed_width", path, columns={"t": 3}), pa.table({"t": ["long"]}))
    with pytest.raises(TargetUnusable, match="line break"):
        write(sink("fixed_width", path, columns={"t": 3}), pa.table({"t": ["a\nb"]}))
    with pytest.raises(TargetUnusable, match="too few for '1234'"):
        write(sink("fixed_width", path, columns={"n": 3}, overflow="cut"), pa.table({"n": [1234]}))
    with pytest.raises(TargetUnusable, match="no sign for '€'"):
        write(sink("fixed_width", path, columns={"t": 3}, encoding="latin-1"), pa.table({"t": ["€"]}))
    assert not Path(path).exists()
    write(sink("fixed_width", path, columns={"t": 3}, overflow="cut"), pa.table({"t": ["long"]}))
    assert Path(path).read_text() == "lon\n"


def test_columns_that_the_layout_cannot_hold_are_refused_before_the_run(tmp_path: Path) -> None:
    path = str(tmp_path / "x.fwf")
    with pytest.raises(UnknownColumn, match="'b'"):
        write(sink("fixed_width", path, columns={"a": 3}), schema=pa.schema([("a", pa.string()), ("b", pa.string())]))
    with pytest.raises(UnknownColumn, match="'c'"):
        write(sink("fixed_width", path, columns={"a": 3, "c": 1}), schema=pa.schema([("a", pa.string())]))
    with pytest.raises(LossyWrite, match=r"VARCHAR\[\]"):
        write(sink("fixed_width", path, columns={"a": 3}), schema=pa.schema([("a", pa.list_(pa.string()))]))
    with pytest.raises(LossyWrite, match="implied_decimals"):
        write(
            sink("fixed_width", path, columns=[{"name": "a", "width": 9, "implied_decimals": 2}]),
            schema=pa.schema([("a", pa.float64())]),
        )
    with pytest.raises(ValidationError, match="overlap"):
        sink("fixed_width", path, columns=[{"name": "a", "width": 3}, {"name": "b", "start": 2, "width": 3}])
