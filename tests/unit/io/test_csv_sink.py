"""Writing CSV files: what stands in them, and that reading gives back what was written."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.files import FileConnection
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import LossyWrite
from beam_datahub.io.csv import CsvReadOptions, CsvSink, CsvSource, CsvWriteOptions
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, sql_type

NOON = dt.datetime(2025, 1, 31, 12, 0, 0, 250_000)
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "BOOLEAN": (pa.bool_(), [True, False, None]),
    "TINYINT": (pa.int8(), [-128, 127, None]),
    "SMALLINT": (pa.int16(), [-(2**15), 2**15 - 1, None]),
    "INTEGER": (pa.int32(), [-(2**31), 2**31 - 1, None]),
    "BIGINT": (pa.int64(), [-(2**63), 2**63 - 1, None]),
    "UTINYINT": (pa.uint8(), [0, 255, None]),
    "USMALLINT": (pa.uint16(), [0, 2**16 - 1, None]),
    "UINTEGER": (pa.uint32(), [0, 2**32 - 1, None]),
    "UBIGINT": (pa.uint64(), [0, 2**64 - 1, None]),
    "FLOAT": (pa.float32(), [0.5, float("-inf"), 3.4028234663852886e38, None]),
    "DOUBLE": (pa.float64(), [0.1, 1e300, 5e-324, float("inf"), -0.0, None]),
    "DECIMAL(18,4)": (pa.decimal128(18, 4), [Decimal("-99999999999999.9999"), Decimal("0.0001"), None]),
    "VARCHAR": (pa.string(), ["", "plain", 'q"uote', "a,b", "l\r\nine", "\rx", " blank ", "NULL", "ünï", "#", '"', None]),
    "BLOB": (pa.binary(), [b"", b"\x00\xff\"',\\x", b"text\n", None]),
    "DATE": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "TIME": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999_999), None]),
    "TIMESTAMP": (TIMESTAMP, [NOON, dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), dt.datetime(1, 1, 1), None]),
    "TIMESTAMPTZ": (TIMESTAMPTZ, [NOON.replace(tzinfo=dt.UTC), dt.datetime(1970, 1, 1, tzinfo=dt.UTC), None]),
    "INTERVAL": (pa.month_day_nano_interval(), [(14, 3, 5_000_000_000), (-1, 0, 0), (0, 0, 0), None]),
    "JSON": (JSON, ['{"a": [1, "x,y"]}', "[]", '"text"', "null", None]),
}


def array(kind: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.ExtensionArray.from_storage(JSON, pa.array(values, pa.string())) if kind == JSON else pa.array(values, kind)


def write(path: Path, batch: pa.RecordBatch, mode: WriteMode = WriteMode.OVERWRITE, run: str = "r", **options: Any) -> None:
    sink = CsvSink(FileConnection(path=str(path)), CsvWriteOptions(**options))
    request = WriteRequest(run, "out", batch.schema, mode)
    sink.plan_write(request)
    sink.prepare(request)
    writer = sink.open(request)
    writer.write(batch)
    sink.commit(request, writer.close())


def read(path: Path, schema: pa.Schema, **options: Any) -> pa.Table:
    source = CsvSource(FileConnection(path=str(path)), CsvReadOptions(**options))
    request = ReadRequest(schema, tuple(schema.names), declared=True)
    blocks = [block for split in source.splits(request) for block in source.read(split, request)]
    assert all(block.rejected is None for block in blocks), [block.rejected.to_pylist() for block in blocks if block.rejected]
    return pa.Table.from_batches([block.batch for block in blocks], schema)


def test_every_type_that_is_claimed_has_values_here() -> None:
    assert set(VALUES) == set(CsvSink.capabilities.types) == {sql_type(kind) for kind, _ in VALUES.values()}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("options", [{}, {"quoting": "all"}, {"null_word": "NULL", "delimiter": "\t", "line_end": "\r\n"}])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
def test_every_type_reads_back_as_it_was_written(name: str, options: dict[str, Any], alone: bool, tmp_path: Path) -> None:
    kind, values = VALUES[name]
    columns = {"v": array(kind, values)}
    if not alone:
        columns = {"n": pa.array(range(len(values)), pa.int64()), **columns, "t": pa.array(["x"] * len(values))}
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    write(tmp_path / "a.csv", batch, **options)
    given = {"delimiter": options.get("delimiter", ","), "null_words": (options.get("null_word", ""),), "header": True}
    found = read(tmp_path / "a.csv", batch.schema, **given)
    assert found.column("v").to_pylist() == batch.column(batch.schema.names.index("v")).to_pylist()


def test_only_what_needs_it_is_quoted(tmp_path: Path) -> None:
    batch = pa.record_batch(
        {
            "a": ["x", "", None, "p,q", 'say "hi"'],
            "b": pa.array([1.5, None, 2.0, 3.0, 4.0]),
            "c,d": pa.array([NOON.replace(microsecond=0)] * 5),
        }
    )
    write(tmp_path / "a.csv", batch)
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        'a,b,"c,d"',
        "x,1.5,2025-01-31 12:00:00",
        '"",,2025-01-31 12:00:00',
        ",2,2025-01-31 12:00:00",
        '"p,q",3,2025-01-31 12:00:00',
        '"say ""hi""",4,2025-01-31 12:00:00',
    ]


def test_a_slice_of_a_batch_is_written_alone(tmp_path: Path) -> None:
    batch = pa.record_batch({"a": ["a,", "b", "c", "d,"], "n": [1, 2, 3, 4]}).slice(1, 2)
    write(tmp_path / "a.csv", batch, header=False)
    assert (tmp_path / "a.csv").read_text() == "b,2\nc,3\n"


def test_how_a_value_is_written_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    moments = pa.record_batch({"t": pa.array([NOON, NOON.replace(microsecond=0)], TIMESTAMP), "s": ["a,b", "c"]})
    write(tmp_path / "whole.csv", moments, header=False)
    write(tmp_path / "part.csv", moments.slice(1), header=False)
    assert (tmp_path / "whole.csv").read_text().endswith((tmp_path / "part.csv").read_text())


def test_appending_adds_no_second_header(tmp_path: Path) -> None:
    batch = pa.record_batch({"a": [1, 2]})
    for run in ("one", "two"):
        write(tmp_path / "a.csv", batch, WriteMode.APPEND, run)
    assert (tmp_path / "a.csv").read_text() == "a\n1\n2\n1\n2\n"


def test_nested_columns_are_refused_before_anything_runs(tmp_path: Path) -> None:
    sink = CsvSink(FileConnection(path=str(tmp_path / "a.csv")), CsvWriteOptions())
    with pytest.raises(LossyWrite, match="'tags'") as failure:
        sink.plan_write(WriteRequest("r", "out", pa.schema([pa.field("tags", pa.list_(pa.string()))])))
    assert "to_json(tags)" in (failure.value.hint or "")
    sink.plan_write(WriteRequest("r", "out", pa.schema([pa.field("doc", JSON)])))


def test_a_whole_batch_with_every_type_survives(tmp_path: Path) -> None:
    with KernelSession(threads=1) as session:
        table = session.query(
            "SELECT i, i / 7 AS d, CAST(i AS VARCHAR) || ',' AS s, TIMESTAMP '2025-01-01' + to_seconds(i * 977) AS t,"
            " i % 3 = 0 AS b FROM range(10000) r(i)"
        )
    write(tmp_path / "a.csv", single_batch(table))
    assert read(tmp_path / "a.csv", table.schema).equals(table)


@pytest.mark.parametrize("options", [{"delimiter": '"'}, {"null_word": "a,b"}, {"line_end": "\r"}, {"quote": ""}])
def test_options_that_could_not_be_read_back_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CsvWriteOptions(**options)
