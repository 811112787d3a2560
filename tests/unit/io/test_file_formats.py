"""What all file formats promise alike."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.registry import component
from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import LossyWrite, SchemaDrift, SourceMissing, UnreadableData
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write

FORMATS = ("parquet", "jsonl", "json", "avro", "orc", "xml")
UTC = dt.UTC

VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "TINYINT": [-128, 127],
    "SMALLINT": [-32768, 32767],
    "INTEGER": [-(2**31), 2**31 - 1],
    "BIGINT": [-(2**63), 2**63 - 1, 9007199254740993],
    "UTINYINT": [0, 255],
    "USMALLINT": [0, 65535],
    "UINTEGER": [0, 2**32 - 1],
    "UBIGINT": [0, 2**64 - 1],
    "FLOAT": [0.1, -1.5, float("inf")],
    "DOUBLE": [0.1, 1e300, -5e-324, float("-inf")],
    "DECIMAL(18,4)": [decimal.Decimal("12345678901234.5678"), decimal.Decimal("-0.0001"), decimal.Decimal("1.5000")],
    "DECIMAL(38,10)": [decimal.Decimal("1234567890123456789012345678.0123456789"), decimal.Decimal("-0.0000000001")],
    "VARCHAR": ["", "null", 'a"b\\c\nd\te', "Zoë 🚲", "\x01\x00x", "12"],
    "BLOB": [b"", b"\x00\xff\n", b"abc"],
    "DATE": [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    "TIME": [dt.time(0), dt.time(23, 59, 59, 999999)],
    "TIMESTAMP": [dt.datetime(1, 1, 1), dt.datetime(2025, 3, 30, 2, 30, 0, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)],
    "TIMESTAMPTZ": [dt.datetime(2025, 10, 26, 0, 30, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)],
    "JSON": ['{"a":[1,{"b":null}]}', '"text"', "1", "[]"],
    "VARCHAR[]": [[], ["a", None, 'q"'], ["é"]],
    "STRUCT(a BIGINT, b VARCHAR)": [{"a": 1, "b": None}, {"a": None, "b": "x"}],
    "STRUCT(a BIGINT)[]": [[{"a": 1}, {"a": None}], []],
    "MAP(VARCHAR, BIGINT)": [[("a", 1), ("b", None)], []],
}

NARROWER: dict[tuple[str, str], list[Any]] = {
    # XML holds no control characters; to write one is an error.
    ("xml", "VARCHAR"): ["", "null", 'a"b\\c\nd\te', "Zoë 🚲", "12", " a\r\n", "<&>]]>"],
    # Arrow's ORC reader holds moments in nanoseconds, which reach from 1677 to 2262.
    ("orc", "TIMESTAMP"): [dt.datetime(1677, 9, 22), dt.datetime(2025, 3, 30, 2, 30, 0, 1), dt.datetime(2262, 4, 11)],
}


def table(name: str, kind: str) -> pa.Table:
    """A row number and a column of the type, with a null first and last."""
    target = data_type(kind)
    values = [None, *NARROWER.get((name, kind), VALUES[kind]), None]
    if target == JSON:
        array: pa.Array = pa.ExtensionArray.from_storage(JSON, pa.array(values, pa.string()))
    else:
        array = pa.array(values, target)
    return pa.table({"n": pa.array(range(len(values)), pa.int64()), "v": array})


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in FORMATS for kind in component("sink", name).capabilities.types]
)
def test_every_type_that_a_destination_claims_comes_back_as_it_was_written(name: str, kind: str, tmp_path: Path) -> None:
    given = table(name, kind)
    write(sink(name, str(tmp_path / f"out.{name}")), given)
    found = read(source(name, str(tmp_path / f"out.{name}")), given.schema)
    assert found.rejected == []
    assert found.rows == given.to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_nan_comes_back_as_nan(name: str, tmp_path: Path) -> None:
    write(sink(name, str(tmp_path / f"out.{name}")), pa.table({"v": [1.5, float("nan")]}))
    found = read(source(name, str(tmp_path / f"out.{name}")), pa.schema([("v", pa.float64())]))
    assert [str(row["v"]) for row in found.rows] == ["1.5", "nan"]


@pytest.mark.parametrize("name", FORMATS)
def test_splits_of_any_size_give_every_row_just_once(name: str, tmp_path: Path) -> None:
    given = pa.table({"n": range(5000), "t": [f"row {i} " * (i % 7) for i in range(5000)]})
    options = {"row_group_rows": 500} if name == "parquet" else {}
    write(sink(name, str(tmp_path / f"out.{name}"), **options), given)
    origin = source(name, str(tmp_path / f"out.{name}"))
    for size in (1, 1000, 4096, 100_000_000) if name in ("parquet", "orc") else (700, 4096, 100_000_000):
        assert read(origin, given.schema, split_bytes=size).table.sort_by("n").equals(given), size


@pytest.mark.parametrize("name", FORMATS)
def test_rows_do_not_depend_on_threads_or_the_size_of_batches(name: str, tmp_path: Path) -> None:
    # An empty list is no element at all in XML, and comes back as null.
    fewest = 1 if name == "xml" else 0
    nested = [{"x": i, "l": [{"y": str(i)}] * max(fewest, i % 3)} if i % 5 else None for i in range(20_000)]
    given = pa.table({"n": range(20_000), "t": [f"é{i}" for i in range(20_000)], "o": nested})
    write(sink(name, str(tmp_path / f"out.{name}")), given.slice(0, 9000), given.slice(9000))
    origin = source(name, str(tmp_path / f"out.{name}"))
    for request in ({}, {"threads": 2}, {"batch_bytes": 1000}, {"threads": 2, "batch_bytes": 20_000}):
        assert read(origin, given.schema, **request).table.equals(given), request


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_columns_asked_for_are_given_also_when_there_are_none(name: str, tmp_path: Path) -> None:
    given = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    write(sink(name, str(tmp_path / f"out.{name}")), given)
    origin = source(name, str(tmp_path / f"out.{name}"))
    assert read(origin, given.schema, columns=["b"]).rows == [{"b": "x"}, {"b": "y"}, {"b": "z"}]
    assert read(origin, given.schema, columns=[]).table.num_rows == 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_limit_ends_the_reading(name: str, tmp_path: Path) -> None:
    write(sink(name, str(tmp_path / f"out.{name}")), pa.table({"a": range(1000)}))
    assert read(source(name, str(tmp_path / f"out.{name}")), limit=7).rows == [{"a": i} for i in range(7)]


@pytest.mark.parametrize("name", FORMATS)
def test_discovery_finds_types_rows_and_bytes(name: str, tmp_path: Path) -> None:
    given = pa.table({"a": range(1000), "s": ["x"] * 1000, "n": [{"q": 1.5}] * 1000})
    write(sink(name, str(tmp_path / f"out.{name}")), given)
    found = source(name, str(tmp_path / f"out.{name}")).discover()
    assert found.schema.equals(given.schema)
    assert found.rows is not None
    assert 900 <= found.rows <= 1100
    assert found.bytes == (tmp_path / f"out.{name}").stat().st_size


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_result_overwrites_what_was_there(name: str, tmp_path: Path) -> None:
    given = pa.table({"a": [1]})
    destination = sink(name, str(tmp_path / f"out.{name}"))
    write(destination, given, run="one")
    write(destination, run="two", mode="overwrite", schema=given.schema)
    assert read(source(name, str(tmp_path / f"out.{name}")), given.schema).table.num_rows == 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_value_that_does_not_fit_is_handled_as_the_contract_says(name: str, tmp_path: Path) -> None:
    write(sink(name, str(tmp_path / f"out.{name}")), pa.table({"n": [1, 2, 3], "v": ["1", "x", "3"]}))
    origin, schema = source(name, str(tmp_path / f"out.{name}")), pa.schema([("n", pa.int64()), ("v", pa.int64())])
    found = read(origin, schema)
    assert found.rows == [{"n": 1, "v": 1}, {"n": 3, "v": 3}]
    assert [(row["reason"], row["row"], row["column"]) for row in found.rejected] == [("type_mismatch", 1, "v")]
    assert '"x"' in found.rejected[0]["original"]
    assert read(origin, schema, contract=Contract(types=Drift.DISCARD_ROW)).reasons == ["contract"]
    kept = read(origin, schema, contract=Contract(types=Drift.DISCARD_VALUE))
    assert (kept.reasons, [row["v"] for row in kept.rows]) == ([], [1, None, 3])
    with pytest.raises(SchemaDrift, match="v"):
        read(origin, schema, contract=Contract(types=Drift.FREEZE))


@pytest.mark.parametrize("name", FORMATS)
def test_a_column_beyond_the_schema_is_handled_as_the_contract_says(name: str, tmp_path: Path) -> None:
    write(sink(name, str(tmp_path / f"out.{name}")), pa.table({"n": [1, 2], "new": ["x", "y"]}))
    origin, schema = source(name, str(tmp_path / f"out.{name}")), pa.schema([("n", pa.int64())])
    found = read(origin, schema)
    assert (found.table.num_rows, found.drifted) == (2, {"new"})
    assert read(origin, schema, contract=Contract(columns=Drift.DISCARD_VALUE)).table.num_rows == 2
    assert read(origin, schema, contract=Contract(columns=Drift.DISCARD_ROW)).reasons == ["contract", "contract"]
    with pytest.raises(SchemaDrift, match="new"):
        read(origin, schema, contract=Contract(columns=Drift.FREEZE))


@pytest.mark.parametrize("name", FORMATS)
def test_a_column_that_the_file_lacks_is_null(name: str, tmp_path: Path) -> None:
    write(sink(name, str(tmp_path / f"out.{name}")), pa.table({"n": [1]}))
    schema = pa.schema([("n", pa.int64()), ("late", pa.string())])
    assert read(source(name, str(tmp_path / f"out.{name}")), schema).rows == [{"n": 1, "late": None}]


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_of_another_kind_are_a_clear_error(name: str, tmp_path: Path) -> None:
    for number, data in enumerate((b"\x00\xff\xfe garbage \x80" * 50, b"just text, no data at all\n" * 20)):
        path = tmp_path / f"{number}.{name}"
        path.write_bytes(data)
        with pytest.raises(UnreadableData, match=str(path)):
            read(source(name, str(path)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_file_is_a_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nothing"):
        source(name, str(tmp_path / f"nothing.{name}")).discover()
    assert not source(name, str(tmp_path / f"nothing.{name}")).check().fine


@pytest.mark.parametrize("name", ["parquet", "avro", "orc"])
def test_a_column_that_the_format_cannot_keep_is_refused_before_the_run(name: str, tmp_path: Path) -> None:
    schema = pa.schema([("gap", pa.month_day_nano_interval())])
    with pytest.raises(LossyWrite, match="INTERVAL"):
        write(sink(name, str(tmp_path / "out")), schema=schema)
