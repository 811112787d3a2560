"""Destinations of streams: each epoch is published once, and leaves alone what others have staged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt, Sink, WriteRequest

SCHEMA = pa.schema([("n", pa.int64()), ("k", pa.string())])
Read = Callable[[], list[int]]


def lines(path: Path) -> list[int]:
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return sorted(json.loads(line)["n"] for file in files for line in file.read_text().splitlines())


def jsonl_folder(folder: Path) -> tuple[Sink, Read]:
    kind: Any = component("sink", "jsonl")
    return kind(kind.Connection(path=f"{folder}/out/"), kind.Options()), lambda: lines(folder / "out")


def jsonl_file(folder: Path) -> tuple[Sink, Read]:
    kind: Any = component("sink", "jsonl")
    return kind(kind.Connection(path=f"{folder}/out.jsonl"), kind.Options()), lambda: lines(folder / "out.jsonl")


def database(name: str, folder: Path) -> tuple[Sink, Read]:
    kind: Any = component("sink", name)
    path = folder / f"out.{name}"
    source: Any = component("source", name)

    def read() -> list[int]:
        from beam_datahub.component.source import ReadRequest

        found = source(source.Connection(path=str(path)), source.Options(table="t"))
        request = ReadRequest(SCHEMA, ("n",))
        return sorted(n for split in found.splits(request) for b in found.read(split, request) for n in b.batch["n"].to_pylist())

    return kind(kind.Connection(path=str(path)), kind.Options(table="t")), read


SINKS: dict[str, Callable[[Path], tuple[Sink, Read]]] = {
    "jsonl folder": jsonl_folder,
    "jsonl file": jsonl_file,
    "sqlite": lambda folder: database("sqlite", folder),
    "duckdb": lambda folder: database("duckdb", folder),
}


def staged(sink: Sink, request: WriteRequest, *numbers: int) -> list[Receipt]:
    writer = sink.open(request)
    writer.write(pa.record_batch({"n": list(numbers), "k": [f"k{n}" for n in numbers]}, SCHEMA))
    return list(writer.close())


@pytest.fixture(params=list(SINKS))
def target(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sink, Read]:
    return SINKS[request.param](tmp_path)


def test_an_epoch_publishes_its_own_rows_and_leaves_what_else_is_staged(target: tuple[Sink, Read]) -> None:
    sink, read = target
    assert sink.streams
    request = WriteRequest("run-1", "out", SCHEMA, WriteMode.APPEND)
    sink.prepare(request)
    first, second, third = staged(sink, request, 1, 2), staged(sink, request, 3), staged(sink, request, 4, 5)
    assert sink.commit(replace(request, epoch=1), first).rows == 2
    assert read() == [1, 2]
    # Whoever does not know that it is done does it again.
    assert sink.commit(replace(request, epoch=1), first).rows == 2
    assert read() == [1, 2]
    assert sink.commit(replace(request, epoch=2), [*second, *third]).rows == 3
    assert read() == [1, 2, 3, 4, 5]
    assert sink.commit(replace(request, epoch=2), [*second, *third]).rows == 3
    assert read() == [1, 2, 3, 4, 5]


def test_what_no_epoch_took_goes_with_the_stream(target: tuple[Sink, Read], tmp_path: Path) -> None:
    sink, read = target
    request = WriteRequest("run-1", "out", SCHEMA, WriteMode.APPEND)
    sink.prepare(request)
    first, _ = staged(sink, request, 1), staged(sink, request, 2)
    sink.commit(replace(request, epoch=1), first)
    sink.abort(request)
    assert read() == [1]
    again = replace(request, run_id="run-2")
    sink.prepare(again)
    sink.commit(replace(again, epoch=1), staged(sink, again, 3))
    sink.abort(again)
    assert read() == [1, 3]
    assert not [path for path in tmp_path.rglob("*") if "staging" in path.parts]
