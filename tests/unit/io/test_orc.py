"""ORC files from elsewhere: unusual types, damage, and writers that fail on the way."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc as po
import pytest

from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import DataHubError, TargetUnusable, UnreadableData
from beam_datahub.io.orc import OrcWriteOptions, _OrcEncoder
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, stage, write

# Files of Apache ORC's own examples that are refused, and what the refusal says.
REFUSED = {
    "TestOrcFile.testTimestamp.orc": "top-level struct",
    "TestOrcFile.testWithoutCompressionBlockSize.orc": "top-level struct",
    "missing_length_stream_in_string_dict.orc": "LENGTH stream not found",
    "missing_blob_stream_in_string_dict.orc": "DICTIONARY_DATA stream not found",
    "negative_dict_entry_lengths.orc": "Negative dictionary entry length",
    "stripe_footer_bad_column_encodings.orc": "StripeFooter",
    "zero.orc": "empty",
}


def plain(value: Any) -> Any:
    """A value as the examples' JSON writes it, floating point in single precision."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, bytes)):
        return [plain(part) for part in value]
    if isinstance(value, tuple):
        return {"key": plain(value[0]), "value": plain(value[1])}
    if isinstance(value, dt.datetime):
        return value.isoformat(" ").rstrip("0").ljust(21, "0") if value.microsecond else f"{value}.0"
    if isinstance(value, (float, int, decimal.Decimal)) and not isinstance(value, bool):
        return f"{float(value):.6g}"
    return value if value is None or isinstance(value, (str, bool)) else str(value)


def test_the_examples_of_apache_orc_give_the_rows_that_it_gives_or_a_clear_error(cases: Path) -> None:
    folder = cases / "orc"
    wrong, compared = [], 0
    for path in sorted(folder.rglob("*.orc")):
        try:
            found = read(source("orc", str(path))).table
        except DataHubError as error:
            if REFUSED.get(path.name, "\0") not in str(error):
                wrong.append((path.name, str(error)))
            continue
        answers = folder / "expected" / f"{path.stem}.jsn.gz"
        if path.name in REFUSED or not answers.exists():
            wrong += [(path.name, "was read")] if path.name in REFUSED else []
            continue
        with gzip.open(answers, "rt", encoding="utf-8") as stream:
            lines = stream.readlines()
        compared += 1
        assert found.num_rows == len(lines), path.name
        for row, line in zip(found.slice(0, 500).to_pylist(), lines, strict=False):
            expected = json.loads(line)
            if {key: plain(value) for key, value in row.items()} != {key: plain(value) for key, value in expected.items()}:
                wrong.append((path.name, f"{row} is not {line}"))
                break
    assert wrong == []
    assert compared >= 3


def test_a_union_becomes_json(tmp_path: Path) -> None:
    from beam_datahub.io.orc import _without_unions

    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([42, None]), pa.array([None, "text"])])
    found = _without_unions(pa.record_batch({"u": union}))
    assert found.schema.field("u").type == JSON
    assert found.column("u").to_pylist() == ["42", '"text"']


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -40])
def test_a_truncated_file_is_a_clear_error(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.orc"
    po.write_table(pa.table({"a": range(1000), "t": [str(i) for i in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UnreadableData, match=r"x\.orc"):
        read(source("orc", str(path)))


def test_columns_that_differ_only_in_case_are_a_clear_error(tmp_path: Path) -> None:
    po.write_table(pa.table({"a": [1], "A": [2]}), tmp_path / "x.orc")
    with pytest.raises(UnreadableData, match="several columns called"):
        read(source("orc", str(tmp_path / "x.orc")))


def test_slices_of_nested_columns_are_written_as_they_are(tmp_path: Path) -> None:
    rows = [{"o": {"x": i, "l": [str(i)]}, "m": [(str(i), i)], "l": [i]} for i in range(20)]
    schema = pa.schema(
        [
            ("o", pa.struct([("x", pa.int64()), ("l", pa.list_(pa.string()))])),
            ("m", pa.map_(pa.string(), pa.int64())),
            ("l", pa.list_(pa.int64())),
        ]
    )
    table = pa.Table.from_pylist(rows, schema)
    write(sink("orc", str(tmp_path / "x.orc")), table.slice(7, 6))
    assert read(source("orc", str(tmp_path / "x.orc")), schema).table.equals(table.slice(7, 6))


def test_a_bundle_that_is_given_up_does_not_end_the_process(tmp_path: Path) -> None:
    table = pa.table({"a": range(100)})
    target, request = sink("orc", str(tmp_path / "x.orc")), WriteRequest("run1", "out", table.schema)
    target.prepare(request)
    writer = target.open(request)
    writer.write(table.to_batches()[0])
    writer.discard()
    del writer
    assert target.commit(request, stage(target, request, [table])).rows == 100


class FullDisk:
    """A stream that takes nothing."""

    def write(self, _: bytes) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_an_error_not_a_crash() -> None:
    encoder = _OrcEncoder(FullDisk(), pa.schema([("a", pa.int64())]), OrcWriteOptions())
    with pytest.raises(OSError, match="No space left"):
        encoder.close()


def test_stripes_are_as_large_as_asked_and_a_file_splits_at_them(tmp_path: Path) -> None:
    table = pa.table({"a": range(400_000), "t": [f"text {i * 7919 % 400_000}" for i in range(400_000)]})
    write(sink("orc", str(tmp_path / "x.orc"), stripe_size="1MiB", codec="none"), table)
    assert po.ORCFile(tmp_path / "x.orc").nstripes > 3
    found = read(source("orc", str(tmp_path / "x.orc")), table.schema, split_bytes=100_000)
    assert found.table.equals(table)


def test_a_file_with_other_columns_is_not_appended_to(tmp_path: Path) -> None:
    path = str(tmp_path / "x.orc")
    write(sink("orc", path), pa.table({"a": [1], "u": pa.array([1], pa.uint64())}), run="one")
    write(sink("orc", path), pa.table({"a": [2], "u": pa.array([2], pa.uint64())}), run="two")
    with pytest.raises(TargetUnusable, match="other columns"):
        write(sink("orc", path), pa.table({"b": [1]}), run="three")
    assert read(source("orc", path)).rows == [{"a": 1, "u": 1}, {"a": 2, "u": 2}]
