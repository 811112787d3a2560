"""Parquet files from elsewhere: unusual types, damage, differing schemas."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import DataHubError, TargetUnusable, UnreadableData
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write


def stored(folder: Path, table: pa.Table, **options: Any) -> str:
    pq.write_table(table, folder / "x.parquet", **options)
    return str(folder / "x.parquet")


def test_foreign_types_become_canonical_ones(tmp_path: Path) -> None:
    some = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")
    moment = dt.datetime(2025, 1, 1, 10, 0, 0, 123456)
    table = pa.table(
        {
            "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
            "large": pa.array(["x", None, "y"], pa.large_string()),
            "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
            "half": pa.array([1.5, None, 2.5], pa.float16()),
            "nano": pa.array([moment, None, moment], pa.timestamp("ns", "Europe/Berlin")),
            "milli": pa.array([moment.replace(microsecond=0), None, None], pa.timestamp("ms")),
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([some.bytes, None, some.bytes], pa.binary(16))),
            "json": pa.ExtensionArray.from_storage(JSON, pa.array(['{"a": 1}', None, "2"])),
            "large_list": pa.array([[1, 2], None, [3, 4]], pa.large_list(pa.int64())),
            "time": pa.array([dt.time(1, 2, 3), None, None], pa.time32("s")),
            "nulls": pa.nulls(3),
        }
    )
    found = read(source("parquet", stored(tmp_path, table)))
    assert {field.name: field.type for field in found.table.schema} == {
        "dictionary": pa.string(), "large": pa.string(), "fixed": pa.binary(), "half": pa.float32(),
        "nano": pa.timestamp("us", "UTC"), "milli": pa.timestamp("us"), "uuid": pa.string(), "json": JSON,
        "large_list": pa.list_(pa.int64()), "time": pa.time64("us"), "nulls": pa.string(),
    }  # fmt: skip
    first = found.rows[0]
    assert (first["uuid"], first["json"], first["half"], first["large_list"]) == (str(some), '{"a": 1}', 1.5, [1, 2])
    assert first["nano"] == moment.replace(tzinfo=dt.UTC)
    assert all(value is None for value in found.rows[1].values())


def test_nanoseconds_are_cut_to_microseconds_and_int96_is_read(tmp_path: Path) -> None:
    table = pa.table({"t": pa.array([1_000_000_001], pa.timestamp("ns"))})
    for options in ({}, {"use_deprecated_int96_timestamps": True}):
        assert read(source("parquet", stored(tmp_path, table, **options))).rows == [{"t": dt.datetime(1970, 1, 1, 0, 0, 1)}]


def test_a_decimal_that_would_have_to_be_rounded_is_refused() -> None:
    given = pa.array([Decimal("1.005"), Decimal("2.500"), None, Decimal("-1.250")], pa.decimal128(12, 3))
    found, bad = fit_array(given, pa.decimal128(12, 2))
    assert found.to_pylist() == [None, Decimal("2.50"), None, Decimal("-1.25")]
    assert bad is not None
    assert bad.to_pylist() == [True, False, False, False]


def test_files_of_one_folder_are_matched_by_the_names_of_their_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": pa.array([2], pa.int64()), "c": [1.5]}), tmp_path / "2.parquet")
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    found = read(source("parquet", str(tmp_path)), schema)
    assert (found.rows, found.drifted) == ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], {"c"})
    assert source("parquet", str(tmp_path)).discover().schema.names == ["a", "b", "c"]


def test_a_huge_row_group_is_given_in_batches(tmp_path: Path) -> None:
    path = stored(tmp_path, pa.table({"a": range(100_000), "t": ["x" * 100] * 100_000}), row_group_size=100_000)
    origin = source("parquet", path)
    request = ReadRequest(origin.discover().schema, ("a", "t"), batch_bytes=1_000_000)
    sizes = [block.batch.nbytes for split in origin.splits(request) for block in origin.read(split, request)]
    assert len(sizes) > 5
    assert max(sizes) < 2_000_000


@pytest.mark.parametrize("cut", [0, 4, 100, -4, -50])
def test_a_truncated_file_is_a_clear_error(cut: int, tmp_path: Path) -> None:
    path = Path(stored(tmp_path, pa.table({"a": range(1000)})))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UnreadableData, match=r"x\.parquet"):
        read(source("parquet", str(path)))


def test_a_damaged_page_is_a_clear_error(tmp_path: Path) -> None:
    path = Path(
        stored(tmp_path, pa.table({"a": range(100_000)}), write_page_checksum=True, compression="none", use_dictionary=False)
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UnreadableData, match=r"x\.parquet"):
        read(source("parquet", str(path)))


def test_files_of_other_writers_have_as_many_rows_as_other_readers_find_or_are_a_clear_error(cases: Path) -> None:
    folder = cases / "parquet-testing"
    known = json.loads((folder / "oracle-duckdb.json").read_text())
    wrong = []
    for path in sorted(folder.rglob("*.parquet")):
        expected = known.get(path.relative_to(folder).as_posix(), {})
        try:
            rows = read(source("parquet", str(path))).table.num_rows
        except DataHubError:
            continue
        if "rows" in expected and expected["rows"] != rows:
            wrong.append((path.name, rows, expected["rows"]))
    assert wrong == []
    for path in (folder / "data").glob("alltypes*.parquet"):
        assert read(source("parquet", str(path))).table.num_rows > 0


def test_what_is_written_other_readers_read_as_it_was(tmp_path: Path) -> None:
    table = pa.table(
        {"k": ["a", "b"] * 5000, "v": range(10_000), "t": pa.array([dt.datetime(2025, 1, 1)] * 10_000, pa.timestamp("us"))}
    )
    for codec in ("snappy", "zstd", "gzip", "lz4", "none"):
        write(sink("parquet", str(tmp_path / f"{codec}.parquet"), codec=codec, row_group_rows=1000), table)
        assert duckdb.sql(f"FROM '{tmp_path}/{codec}.parquet'").to_arrow_table().cast(table.schema).equals(table)
        assert pq.ParquetFile(tmp_path / f"{codec}.parquet").num_row_groups == 10


def test_small_batches_do_not_become_small_row_groups(tmp_path: Path) -> None:
    write(sink("parquet", str(tmp_path / "x.parquet")), pa.concat_tables([pa.table({"a": [i]}) for i in range(500)]))
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 1


def test_row_groups_are_full_however_many_rows_come_at_once(tmp_path: Path) -> None:
    table = pa.table({"a": range(7300)})
    write(sink("parquet", str(tmp_path / "x.parquet"), row_group_rows=1000), *(table.slice(i, 730) for i in range(0, 7300, 730)))
    found = pq.ParquetFile(tmp_path / "x.parquet")
    assert [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)] == [1000] * 7 + [300]
    assert found.read()["a"].to_pylist() == list(range(7300))


def test_only_columns_whose_values_repeat_get_a_dictionary(tmp_path: Path) -> None:
    count = 50_000
    days = pa.array([n % 700 for n in range(count)], pa.int32()).cast(pa.date32())
    table = pa.table(
        {
            "day": days,
            "at": days.cast(pa.timestamp("us")),
            "few": pa.array([None if n % 3 else n % 9 for n in range(count)], pa.int64()),
            "country": ["de", "fr"] * (count // 2),
            "id": range(count),
            "rising": [n // 20 for n in range(count)],
            "none": pa.nulls(count, pa.int32()),
        }
    )
    path = str(tmp_path / "out.parquet")
    write(sink("parquet", path), table)
    group = pq.read_metadata(path).row_group(0)
    encoded = {group.column(i).path_in_schema for i in range(group.num_columns) if group.column(i).has_dictionary_page}
    assert encoded == {"day", "at", "few", "country", "none"}
    assert pq.read_table(path).equals(table)


def test_a_file_with_other_columns_is_not_appended_to(tmp_path: Path) -> None:
    write(sink("parquet", str(tmp_path / "x.parquet")), pa.table({"a": [1]}), run="one")
    with pytest.raises(TargetUnusable, match="other columns"):
        write(sink("parquet", str(tmp_path / "x.parquet")), pa.table({"b": [1]}), run="two")
    assert read(source("parquet", str(tmp_path / "x.parquet"))).rows == [{"a": 1}]
