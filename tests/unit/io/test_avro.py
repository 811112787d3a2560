"""Avro files from elsewhere: logical types, unions, recursion, codecs, damage."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError, LossyWrite, TargetUnusable, UnreadableData
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write


def stored(folder: Path, fields: list[dict[str, Any]], records: list[dict[str, Any]], **options: Any) -> str:
    with (folder / "x.avro").open("wb") as stream:
        fastavro.writer(stream, {"type": "record", "name": "r", "fields": fields}, records, **options)
    return str(folder / "x.avro")


def test_logical_types_become_columns_of_their_type(tmp_path: Path) -> None:
    moment = dt.datetime(2025, 1, 1, 10, 0, 0, 123000)
    money, many = ({"type": "bytes", "logicalType": "decimal", "precision": digits, "scale": 2} for digits in (10, 50))
    utc, maps = dt.UTC, {"type": "map", "values": "double"}
    facts: list[tuple[str, Any, Any, pa.DataType, Any]] = [
        ("m", money, decimal.Decimal("1.50"), pa.decimal128(10, 2), None),
        ("big", many, decimal.Decimal("1.50"), pa.string(), "1.50"),
        ("d", {"type": "int", "logicalType": "date"}, dt.date(2025, 1, 1), pa.date32(), None),
        ("tm", {"type": "int", "logicalType": "time-millis"}, dt.time(1, 2, 3), pa.time64("us"), None),
        ("tu", {"type": "long", "logicalType": "time-micros"}, dt.time(1, 2, 3, 4), pa.time64("us"), None),
        ("ts", {"type": "long", "logicalType": "timestamp-millis"}, moment.replace(tzinfo=utc), pa.timestamp("us", "UTC"), None),
        ("lo", {"type": "long", "logicalType": "local-timestamp-micros"}, moment, pa.timestamp("us"), None),
        ("u", {"type": "string", "logicalType": "uuid"}, uuid.UUID(int=5), pa.string(), str(uuid.UUID(int=5))),
        ("e", {"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", pa.string(), None),
        ("f", {"type": "fixed", "name": "f", "size": 2}, b"ab", pa.binary(), None),
        ("o", ["null", "string"], None, pa.string(), None),
        ("w", ["int", "long"], 5, pa.int64(), None),
        ("a", {"type": "array", "items": ["null", "int"]}, [1, None], pa.list_(pa.int32()), None),
        ("k", {"type": "map", "values": "long"}, {"x": 1}, pa.map_(pa.string(), pa.int64()), [("x", 1)]),
        ("x", ["null", "string", "long"], 7, JSON, "7"),
        ("lx", {"type": "array", "items": ["string", maps]}, ["é", {"q": 1.5}], pa.list_(JSON), ['"é"', '{"q": 1.5}']),
        ("gap", {"type": "fixed", "name": "g", "size": 12, "logicalType": "duration"}, b"\1\0\0\0\2\0\0\0\3\0\0\0",
         pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3_000_000])),
    ]  # fmt: skip
    path = stored(
        tmp_path, [{"name": name, "type": kind} for name, kind, *_ in facts], [{name: value for name, _, value, *_ in facts}]
    )
    found = read(source("avro", path))
    for name, _, value, kind, expected in facts:
        assert found.table.schema.field(name).type == kind, name
        assert found.rows[0][name] == (value if expected is None else expected), name


def test_a_type_inside_itself_becomes_json(tmp_path: Path) -> None:
    fields = [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "r"]}]
    path = stored(tmp_path, fields, [{"v": 1, "next": {"v": 2, "next": None}}])
    assert read(source("avro", path)).rows == [{"v": 1, "next": '{"v": 2, "next": null}'}]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_every_codec_is_read_and_written_and_cut_into_splits(codec: str, tmp_path: Path) -> None:
    table = pa.table({"n": range(3000)})
    write(sink("avro", str(tmp_path / "x.avro"), codec=codec), table)
    assert read(source("avro", str(tmp_path / "x.avro")), table.schema).table.equals(table)
    path = stored(tmp_path, [{"name": "n", "type": "long"}], table.to_pylist(), codec=codec, sync_interval=300)
    for size in (1, 37, 500, 4000):
        assert read(source("avro", path), table.schema, split_bytes=size).table.equals(table), size


def test_files_of_other_writers_give_the_known_rows_or_a_clear_error(cases: Path) -> None:
    seen, wrong = 0, []
    for folder in (cases / "avro", cases / "fastavro"):
        known = json.loads((folder / "oracle-avro.json").read_text())
        for name, expected in known.items():
            path = folder / name if (folder / name).is_file() else next(folder.rglob(Path(name).name), None)
            if path is None or not isinstance(expected, dict):
                continue
            seen += 1
            try:
                rows = read(source("avro", str(path))).table.num_rows
            except DataHubError:
                rows = None
            if rows != expected.get("rows"):
                wrong.append((name, rows, expected))
    assert wrong == []
    assert seen > 20


def test_damage_is_a_clear_error(tmp_path: Path) -> None:
    path = Path(stored(tmp_path, [{"name": "n", "type": "string"}], [{"n": "x" * 50}] * 1000, sync_interval=1000))
    whole = path.read_bytes()
    for data in (whole[:3], whole[:60], whole[:-7], whole[:2000] + b"\xff" * 40 + whole[2040:], b""):
        path.write_bytes(data)
        with pytest.raises(UnreadableData, match=r"x\.avro"):
            read(source("avro", str(path)))


def test_names_that_avro_cannot_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LossyWrite, match="Body Mass"):
        write(sink("avro", str(tmp_path / "x.avro")), schema=pa.schema([("Body Mass (g)", pa.int64())]))


def test_bundles_are_merged_block_by_block_and_other_schemas_refused(tmp_path: Path) -> None:
    destination = sink("avro", str(tmp_path / "x.avro"))
    write(destination, pa.table({"a": [1]}), pa.table({"a": [2]}), run="one")
    write(destination, pa.table({"a": [3]}), run="two")
    with (tmp_path / "x.avro").open("rb") as stream:
        assert list(fastavro.reader(stream)) == [{"a": 1}, {"a": 2}, {"a": 3}]
    with pytest.raises(TargetUnusable, match="another schema"):
        write(destination, pa.table({"b": [3]}), run="three")
