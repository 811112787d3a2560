"""Which files a source reads, what their folders tell, and what damaged ones get."""

from __future__ import annotations

import bz2
import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from beam_datahub.component import file_sink, file_store, files
from beam_datahub.component.file_store import BeamStore
from beam_datahub.component.files import FileConnection
from beam_datahub.component.source import Contract, Drift, ReadRequest
from beam_datahub.errors import SourceMissing, Transient, UnreadableData
from beam_datahub.testing.connectors import read, sink, source, write

A = pa.schema([("a", pa.int64())])


def put(path: Path, *values: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{{"a": {value}}}\n' for value in values))
    return path


def values(path: object, **options: object) -> list[int]:
    return [row["a"] for row in read(source("jsonl", path, **options), A).rows]  # type: ignore[arg-type]


def test_a_path_names_a_file_a_folder_or_a_glob_or_several_of_them_once_each_by_name(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl", 2), put(tmp_path / "a.jsonl", 1), put(tmp_path / "deep" / "er" / "c.ndjson", 3)
    assert values(str(tmp_path / "a.jsonl")) == [1]
    assert values(str(tmp_path)) == values(str(tmp_path) + "/") == [1, 2, 3]
    assert values(str(tmp_path / "*.jsonl")) == [1, 2]
    assert values(str(tmp_path / "**" / "*json*")) == [1, 2, 3]
    assert values(str(tmp_path / "[b-z].jsonl")) == [2]
    assert values([str(tmp_path / "b.jsonl"), str(tmp_path / "?.jsonl")]) == [1, 2]


def test_a_folder_means_the_files_of_the_format_and_no_hidden_ones(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", 1), put(tmp_path / ".hidden.jsonl", 9), put(tmp_path / "_temporary" / "x.jsonl", 9)
    put(tmp_path / ".beam-datahub" / "staging" / "x.jsonl", 9), put(tmp_path / "readme.txt", 9)
    assert values(str(tmp_path)) == values(str(tmp_path / "**" / "*.jsonl")) == [1]
    assert values(str(tmp_path / "_temporary" / "*.jsonl")) == [9], "spelled out, it is wanted"
    with pytest.raises(SourceMissing, match=r"holds no \.parquet"):
        source("parquet", str(tmp_path)).discover()


def test_relative_paths_start_at_the_folder_of_the_spec_and_urls_stay() -> None:
    found = FileConnection(path=("data/*.csv", "/abs/x.csv", "s3://bucket/key", "../up/")).resolved("/projects/spec")
    assert found.path == ("/projects/spec/data/*.csv", "/abs/x.csv", "s3://bucket/key", "/projects/up/")
    assert FileConnection(path="x").resolved("/projects").path == "/projects/x"


def test_hive_folders_become_typed_columns(tmp_path: Path) -> None:
    for country, day, value in (
        ("de", "2025-01-01", 1),
        ("a%2Fb", "2025-01-02", 2),
        ("__HIVE_DEFAULT_PARTITION__", "2025-01-02", 3),
    ):
        put(tmp_path / f"country={country}" / f"day={day}" / f"nr=0{value}" / "x.jsonl", value)
    origin = source("jsonl", str(tmp_path))
    schema = origin.discover().schema
    assert schema.equals(pa.schema([("a", pa.int64()), ("country", pa.string()), ("day", pa.date32()), ("nr", pa.string())]))
    assert sorted((row["country"] or "", row["a"]) for row in read(origin).rows) == [("", 3), ("a/b", 2), ("de", 1)]
    assert sorted(map(str, read(origin, schema, columns=["day"]).table.column("day").to_pylist())) == [
        "2025-01-01", "2025-01-02", "2025-01-02",
    ]  # fmt: skip
    assert source("jsonl", str(tmp_path), partitions="none").discover().schema.names == ["a"]
    declared = pa.schema([("a", pa.int64()), ("nr", pa.int16())])
    assert sorted(row["nr"] for row in read(origin, declared).rows) == [1, 2, 3]
    with pytest.raises(UnreadableData, match="country="):
        read(origin, pa.schema([("country", pa.int64())]))


def test_partition_columns_are_no_drift(tmp_path: Path) -> None:
    put(tmp_path / "k=1" / "x.jsonl", 1)
    strict = Contract(columns=Drift.FREEZE, types=Drift.FREEZE)
    assert read(source("jsonl", str(tmp_path)), contract=strict).rows == [{"a": 1, "k": 1}]


def test_compressed_files_are_known_by_their_extension_or_by_the_option(tmp_path: Path) -> None:
    text = b'{"a": 1}\n{"a": 2}\n'
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(text[:9]) + gzip.compress(text[9:]))
    (tmp_path / "x.jsonl.bz2").write_bytes(bz2.compress(text))
    (tmp_path / "x.jsonl.zst").write_bytes(bytes(pa.Codec("zstd").compress(text)))
    (tmp_path / "odd.jsonl").write_bytes(gzip.compress(text))
    for extension in (".gz", ".bz2", ".zst"):
        assert values(str(tmp_path / f"x.jsonl{extension}")) == [1, 2]
    assert values(str(tmp_path / "odd.jsonl"), compression="gzip") == [1, 2]
    assert values(str(tmp_path / "x.*")) == [1, 2] * 3


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst"])
def test_a_truncated_compressed_file_is_a_clear_error(extension: str, tmp_path: Path) -> None:
    text = os.urandom(20_000).hex().encode() + b"\n"
    squeeze = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: bytes(pa.Codec("zstd").compress(data))}[extension]
    path = tmp_path / f"x.jsonl{extension}"
    path.write_bytes(squeeze(b'{"a": 1}\n' * 5000 + text)[:-500])
    with pytest.raises(UnreadableData, match=r"x\.jsonl"):
        read(source("jsonl", str(path)), A)


def test_a_file_that_is_not_compressed_but_says_so_is_a_clear_error(tmp_path: Path) -> None:
    put(tmp_path / "x.jsonl", 1).rename(tmp_path / "x.jsonl.gz")
    with pytest.raises(UnreadableData, match=r"x\.jsonl\.gz"):
        read(source("jsonl", str(tmp_path / "x.jsonl.gz")), A)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    (tmp_path / "y.jsonl").write_text("\n  \n")
    assert values(str(tmp_path)) == []
    assert source("jsonl", str(tmp_path)).discover().schema.names == []


def test_a_file_that_may_not_be_read_is_a_clear_error(tmp_path: Path) -> None:
    path = put(tmp_path / "x.jsonl", 1)
    path.chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys\nfrom beam_datahub.testing.connectors import source\norigin = source('jsonl', sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: origin.discover()\nexcept Exception as e: print(type(e).__name__, e)"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "AccessDenied" in shown.stdout, shown.stderr


def test_sources_requests_and_splits_travel_to_workers(tmp_path: Path) -> None:
    put(tmp_path / "x.jsonl", *range(100))
    origin, request = source("jsonl", str(tmp_path)), ReadRequest(A, ("a",), split_bytes=300)
    splits = [pickle.loads(pickle.dumps(split)) for split in origin.splits(request)]
    assert len(splits) > 2
    origin = pickle.loads(pickle.dumps(origin))
    found = [value for split in splits for block in origin.read(split, request) for value in block.batch.column(0).to_pylist()]
    assert found == list(range(100))


@pytest.fixture
def through_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path goes through Beam's FileSystems, as those of an object store do."""
    for module in (file_store, files, file_sink):
        monkeypatch.setattr(module, "store_of", lambda path: BeamStore())
    monkeypatch.setattr("beam_datahub.component.file_publish.store_of", lambda path: BeamStore())
    monkeypatch.setattr("beam_datahub.component.file_publish.local_path", lambda path: None)
    monkeypatch.setattr("beam_datahub.component.file_writer.store_of", lambda path: BeamStore())


@pytest.mark.usefixtures("through_beam")
@pytest.mark.parametrize("name", ["parquet", "jsonl", "avro"])
@pytest.mark.parametrize("single", [True, False])
def test_files_are_written_and_read_through_beams_file_systems(name: str, single: bool, tmp_path: Path) -> None:
    path = str(tmp_path / (f"out.{name}" if single else "out"))
    destination = sink(name, path)
    write(destination, pa.table({"a": [1, 2]}), run="one")
    write(destination, pa.table({"a": [3]}), pa.table({"a": [4]}), run="two")
    assert sorted(row["a"] for row in read(source(name, path), A, split_bytes=10).rows) == [1, 2, 3, 4]
    write(destination, pa.table({"a": [5]}), run="three", mode="overwrite")
    write(destination, pa.table({"a": [5]}), run="three", mode="overwrite")
    assert [row["a"] for row in read(source(name, path), A).rows] == [5]
    assert not list(tmp_path.rglob("staging/**/*.*"))


def test_what_clients_of_object_stores_say_becomes_our_errors() -> None:
    from apache_beam.io.filesystem import BeamIOError

    for words, kind in (("HttpError 503 Slow Down", Transient), ("404 no such key", SourceMissing), ("odd", UnreadableData)):
        with pytest.raises(kind), file_store.reading("s3://b/k"):
            raise BeamIOError(words)
