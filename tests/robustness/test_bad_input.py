"""What bad input gets: a clear error or a rejected record, never a traceback, half an output or a lost row."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

GIB = 1024**3
PARQUET = "input: in, connector: parquet, connection: {path: out.parquet}, write_mode: overwrite"
CSV = "{connector: csv, connection: {path: data.csv}}"
CSV_GZ = "{connector: csv, connection: {path: data.csv.gz}}"
JSONL = "{connector: jsonl, connection: {path: data.jsonl}}"
JSON = "{connector: json, connection: {path: data.json}}"
PARQUET_IN = "{connector: parquet, connection: {path: data.parquet}}"
AVRO = "{connector: avro, connection: {path: data.avro}}"
ROWS = b"id,name\n" + b"".join(b"%d,n%d\n" % (i, i * 7919 % 10007) for i in range(200_000))
NOISE = random.Random(1).randbytes(200_000)


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=10_000)
    return sink.getvalue().to_pybytes()


def with_noise(data: bytes, start: int, end: int) -> bytes:
    """`data` with random bytes from `start` to `end`."""
    noise = random.Random(2).randbytes(len(data))
    start, end = start % len(data), end % len(data)
    return data[:start] + noise[start:end] + data[end:]


def numbers() -> pa.Table:
    return pa.table({"a": list(range(100_000)), "b": [str(i) for i in range(100_000)]})


def twice() -> pa.Table:
    return pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


UNREADABLE: dict[str, tuple[str, str, Callable[[], bytes] | None, str, str]] = {
    # name: source, file, what is in it, code, words of the message
    "missing": (CSV, "data.csv", None, "DH201", "there is no file"),
    "missing parquet": (PARQUET_IN, "data.parquet", None, "DH201", "there is no file"),
    "empty": (CSV, "data.csv", lambda: b"", "DH202", "is empty"),
    "empty json lines": (JSONL, "data.jsonl", lambda: b"", "DH202", "no columns"),
    "empty parquet": (PARQUET_IN, "data.parquet", lambda: b"", "DH202", "is empty"),
    "binary": (CSV, "data.csv", lambda: NOISE, "DH202", "not text"),
    "an image": (CSV, "data.csv", lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + NOISE, "DH202", "not text"),
    "binary json lines": (JSONL, "data.jsonl", lambda: NOISE, "DH202", "JSON"),
    "UTF-16 without a mark": (CSV, "data.csv", lambda: "id,name\n1,Müller\n".encode("utf-16-le"), "DH202", "zero bytes"),
    "a header with a zero byte": (CSV, "data.csv", lambda: b"a\0b,c\n1,2\n", "DH202", "has a NUL character"),
    "a json key with a zero byte": (
        JSONL,
        "data.jsonl",
        lambda: b'{"a":{"b\\u0000":1}}\n',
        "DH202",
        r"NUL character in their names: 'b\x00'",
    ),
    "truncated gzip": (CSV_GZ, "data.csv.gz", lambda: gzip.compress(ROWS)[:400_000], "DH202", "runcated"),
    "gzip without its end": (CSV_GZ, "data.csv.gz", lambda: gzip.compress(ROWS)[:-4], "DH202", "runcated"),
    "no gzip at all": (CSV_GZ, "data.csv.gz", lambda: b"this is no gzip" * 50, "DH202", "cannot be read"),
    "corrupt parquet footer": (PARQUET_IN, "data.parquet", lambda: with_noise(parquet(numbers()), -300, -8), "DH202", "read"),
    "parquet names that are no text": (
        PARQUET_IN,
        "data.parquet",
        lambda: parquet(numbers()).replace(b"\x01b", b"\x01\xff"),
        "DH202",
        "utf-8",
    ),
    "truncated parquet": (PARQUET_IN, "data.parquet", lambda: parquet(numbers())[:500_000], "DH202", "footer"),
    "corrupt parquet pages": (PARQUET_IN, "data.parquet", lambda: with_noise(parquet(numbers()), 5000, 9000), "DH202", "read"),
    "text called parquet": (PARQUET_IN, "data.parquet", lambda: b"a,b\n1,2\n", "DH202", "footer"),
    "corrupt avro": (AVRO, "data.avro", lambda: b"Obj\x01" + NOISE[:2000], "DH202", "cannot be read"),
    "deep json document": (JSON, "data.json", lambda: b"[" * 100_000 + b"]" * 100_000, "DH202", "nested deeper"),
    "duplicate columns": (CSV, "data.csv", lambda: b"a,b,a\n1,2,3\n", "DH202", "several columns called 'a'"),
    "columns that differ in case": (CSV, "data.csv", lambda: b"a,A\n1,2\n", "DH202", "several columns called 'a', 'A'"),
    "json keys that differ in case": (JSONL, "data.jsonl", lambda: b'{"a":1,"A":2}\n', "DH202", "differ only in case: 'A', 'a'"),
    "duplicate parquet columns": (PARQUET_IN, "data.parquet", lambda: parquet(twice()), "DH202", "several columns called 'a'"),
}


@pytest.mark.parametrize("case", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_data_that_cannot_be_read_fails_the_run_with_its_place_and_leaves_the_target_alone(
    case: tuple[Any, ...], work: Any, refused: Callable[..., str]
) -> None:
    source, name, content, code, words = case
    if content is not None:
        (work.folder / name).write_bytes(content())
    (work.folder / "out.parquet").write_bytes(b"what was there before")
    before = {**work.files(), "spec.yaml": work.spec(source, PARQUET).read_bytes()}
    done = work.bh("run", "spec.yaml", "--json")
    message = refused(done, code, 4, place=r"spec\.yaml:3 \(sources\.in\)")
    assert words in message
    assert name in message or "'in'" in message
    assert done.record["status"] == "failed"
    assert done.record["error"]["code"] == code
    assert work.files() == before


def test_a_file_with_only_a_header_gives_an_empty_output_with_its_columns(work: Any, balanced: Callable[..., None]) -> None:
    (work.folder / "data.csv").write_bytes(b"a,b\n")
    for mode in ("append", "overwrite"):
        work.spec(CSV, f"input: in, connector: parquet, connection: {{path: {mode}.parquet}}, write_mode: {mode}")
        done = work.bh("run", "spec.yaml", "--json")
        assert done.status == 0, done
        balanced(done)
        table = pq.read_table(work.folder / f"{mode}.parquet")
        assert (table.num_rows, table.column_names) == (0, ["a", "b"])


def test_an_empty_file_of_declared_columns_is_no_records(work: Any) -> None:
    (work.folder / "data.csv").write_bytes(b"")
    work.spec("{connector: csv, connection: {path: data.csv}, schema: {a: bigint}}", PARQUET)
    done = work.bh("run", "spec.yaml", "--json")
    assert (done.status, done.record["read"]) == (0, 0), done
    assert pq.read_table(work.folder / "out.parquet").column_names == ["a"]


def test_a_record_that_is_not_valid_in_the_encoding_is_rejected_with_its_bytes_and_the_others_are_kept(
    work: Any, balanced: Callable[..., None]
) -> None:
    (work.folder / "data.csv").write_bytes("id,name\n1,Müller\n2,plain\n".encode("latin-1"))
    work.spec(CSV, PARQUET)
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    assert pq.read_table(work.folder / "out.parquet").to_pylist() == [{"id": 2, "name": "plain"}]
    assert [(letter["reason"], letter["line"]) for letter in work.dead()] == [("encoding", 2)]
    work.spec("{connector: csv, connection: {path: data.csv}, encoding: latin-1}", PARQUET)
    assert work.bh("run", "spec.yaml", "--json").status == 0
    assert pq.read_table(work.folder / "out.parquet")["name"].to_pylist() == ["Müller", "plain"]


def test_an_unknown_column_is_refused_before_anything_runs_with_a_guess(work: Any, refused: Callable[..., str]) -> None:
    (work.folder / "data.csv").write_bytes(b"id,name\n1,a\n")
    steps = "  - {id: s, type: mapping, config: {fields: {x: upper(nmae)}}}"
    work.spec(CSV, PARQUET.replace("input: in", "input: s"), steps=steps)
    for command in (("validate",), ("run", "--json")):
        message = refused(
            work.bh(command[0], "spec.yaml", *command[1:]), "DH106", 3, place=r"spec\.yaml:5 \(transformations\[0\]"
        )
        assert "did you mean 'name'?" in message
    assert sorted(work.files()) == ["data.csv", "spec.yaml"]


DEEP = {
    "a list": b'{"a":2,"d":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an object": b'{"a":' * 100_000 + b"2" + b"}" * 100_000,
    "a list that never ends": b'{"a":2,"d":' + b"[" * 100_000,
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP.keys())
def test_a_line_nested_100000_levels_deep_is_rejected_whole_and_the_others_are_kept(
    deep: bytes, work: Any, balanced: Callable[..., None]
) -> None:
    (work.folder / "data.jsonl").write_bytes(b'{"a":1}\n' + deep + b'\n{"a":3}\n')
    work.spec(JSONL, PARQUET)
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    assert pq.read_table(work.folder / "out.parquet")["a"].to_pylist() == [1, 3]
    (letter,) = work.dead()
    assert (letter["reason"], letter["line"], letter["original"]) == ("malformed", 2, deep.decode())


def test_a_deep_document_in_a_column_breaks_no_other_row(work: Any, balanced: Callable[..., None]) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (work.folder / "data.csv").write_text(f"id,doc\n1,[7]\n2,{deep}\n3,[9]\n")
    source = "{connector: csv, connection: {path: data.csv}, schema: {id: bigint, doc: json}}"
    steps = "  - {id: s, type: mapping, config: {fields: {id: id, first: '$.doc[0]', all: '$.doc..x'}}}"
    work.spec(source, PARQUET.replace("input: in", "input: s"), steps=steps)
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    found = {row["id"]: row["first"] for row in pq.read_table(work.folder / "out.parquet").to_pylist()}
    assert (found[1], found[3]) == ("7", "9")
    assert {2} == (set(found) - {1, 3}) | {int(json.loads(letter["original"])["id"]) for letter in work.dead()}


def sparse(path: Path, head: bytes, size: int, tail: bytes) -> None:
    """A file with a hole of `size` zero bytes in it, which takes no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + size)
        file.write(tail)


PLAIN = b"".join(b"%d,x\n" % i for i in range(2000))

LONG = {
    "csv": (
        "data.csv",
        "{connector: csv, connection: {path: data.csv}, schema: {a: bigint, b: varchar}}",
        b"a,b\n" + PLAIN + b"2000,",
        b"\n2001,y\n",
    ),
    "a quote in csv": (
        "data.csv",
        "{connector: csv, connection: {path: data.csv}, schema: {a: bigint, b: varchar}}",
        b"a,b\n" + PLAIN + b'2000,"',
        b"\n2001,y\n",
    ),
    "jsonl": (
        "data.jsonl",
        "{connector: jsonl, connection: {path: data.jsonl}, schema: {a: bigint, b: varchar}}",
        b"".join(b'{"a":%d,"b":"x"}\n' % i for i in range(2000)) + b'{"a":2000,"b":"',
        b'"}\n{"a":2001,"b":"y"}\n',
    ),
}


@pytest.mark.parametrize("case", LONG.values(), ids=LONG.keys())
def test_a_line_of_one_gigabyte_is_rejected_within_bounded_memory(case: Any, work: Any, balanced: Callable[..., None]) -> None:
    name, source, head, tail = case
    sparse(work.folder / name, head, 10**9, tail)
    work.spec(source, PARQUET)
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    assert pq.read_table(work.folder / "out.parquet")["a"].to_pylist() == [*range(2000), 2001]
    assert (done.record["read"], done.record["rejected"]) == (2002, 1)
    assert done.peak_bytes < 1.5 * GIB


def test_a_device_that_is_full_fails_the_run_and_keeps_what_was_there(work: Any, refused: Callable[..., str]) -> None:
    disk = work.folder / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        (work.folder / "data.csv").write_bytes(ROWS)
        for target in ("disk/out.csv", "disk/out"):
            work.spec(CSV, f"input: in, connector: csv, connection: {{path: {target}}}, write_mode: overwrite")
            (work.folder / "small.csv").write_bytes(b"id,name\n1,a\n")
            small = work.spec(
                "{connector: csv, connection: {path: small.csv}}",
                f"input: in, connector: csv, connection: {{path: {target}}}, write_mode: overwrite",
                name="small.yaml",
            )
            assert work.bh("run", small).status == 0
            before = work.files("disk")
            message = refused(work.bh("run", "spec.yaml", "--json"), "DH205", 4, place=r"spec\.yaml:\d+ \(destinations\[0\]\)")
            assert "No space left" in message
            assert "make room" in message
            assert work.files("disk") == before
            assert work.bh("run", small).status == 0
            assert work.lines(target) == ["1,a"]
    finally:
        os.system(f"umount {disk}")


def test_a_file_that_may_not_get_that_big_fails_the_run_and_keeps_what_was_there(work: Any, refused: Callable[..., str]) -> None:
    (work.folder / "data.csv").write_bytes(ROWS)
    (work.folder / "out.csv").write_bytes(b"id,name\n0,before\n")
    before = {**work.files()}
    work.spec(CSV, "input: in, connector: csv, connection: {path: out.csv}, write_mode: overwrite")
    done = work.bh("run", "spec.yaml", "--json", preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)))
    assert "too large" in refused(done, "DH205", 4, place=r"\(destinations\[0\]\)")
    assert {name: data for name, data in work.files().items() if name != "spec.yaml"} == before


def test_a_dead_letter_that_cannot_be_written_fails_the_run_before_it_publishes_anything(work: Any) -> None:
    (work.folder / "data.csv").write_bytes(b"id,name\n1,a\nx,b\n")
    (work.folder / "dead").write_bytes(b"a file where a folder is wanted")
    work.spec("{connector: csv, connection: {path: data.csv}, schema: {id: bigint, name: varchar}}", PARQUET)
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 4, done
    assert "(dead_letter)" in done.err
    assert sorted(work.files()) == ["data.csv", "dead", "spec.yaml"]


@pytest.mark.parametrize("target", ["data.csv/out.csv", "/proc/out.csv", "folder.csv"])
def test_a_target_that_cannot_be_written_is_told_before_anything_is_read(
    target: str, work: Any, refused: Callable[..., str]
) -> None:
    (work.folder / "data.csv").write_bytes(b"id,name\n1,a\n")
    (work.folder / "folder.csv").mkdir()
    work.spec(CSV, f"input: in, connector: csv, connection: {{path: {target}}}")
    before = work.files()
    message = refused(work.bh("run", "spec.yaml", "--json"), "DH205", 4, place=r"spec\.yaml:\d+ \(destinations\[0\]\)")
    assert target in message
    assert work.files() == before


def test_a_read_only_file_system_is_told_by_its_name_and_keeps_what_was_there(work: Any, refused: Callable[..., str]) -> None:
    disk = work.folder / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("a file system can only be mounted by root")
    try:
        (disk / "out.csv").write_bytes(b"before\n")
        (disk / "folder").mkdir()
        assert os.system(f"mount -o remount,ro {disk}") == 0
        (work.folder / "data.csv").write_bytes(b"id,name\n1,a\n")
        for target in ("disk/out.csv", "disk/folder", "disk/new.csv"):
            work.spec(CSV, f"input: in, connector: csv, connection: {{path: {target}}}, write_mode: overwrite")
            message = refused(work.bh("run", "spec.yaml", "--json"), "DH205", 4, place=r"\(destinations\[0\]\)", hint=False)
            assert "ead-only" in message
        assert work.files("disk") == {"disk/out.csv": b"before\n"}
    finally:
        os.system(f"umount {disk}")
