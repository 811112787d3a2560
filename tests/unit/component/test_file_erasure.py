"""One person's rows are found in a destination's files and removed; all others stay as they were."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.subject import Subject
from beam_datahub.errors import InvalidValue

TABLE = pa.table(
    {"id": [1, 42, 3, 42], "country": ["de", "de", "fr", "it"], "name": ["ä", 'b,"c"', None, "d\ne"], "x": [1.5, None, 2.0, 3.25]}
)
SUBJECT = Subject("42", ("id",))
FORMATS = {"csv": ".csv", "jsonl": ".jsonl", "json": ".json", "parquet": ".parquet", "avro": ".avro", "orc": ".orc"}


def written(name: str, path: str, **options: Any) -> tuple[Any, WriteRequest]:
    kind: Any = component("sink", name)
    sink = kind(kind.Connection(path=path), kind.Options(**options))
    request = WriteRequest("run-1", "out", TABLE.schema, WriteMode.OVERWRITE)
    sink.prepare(request)
    writer = sink.open(request)
    for batch in TABLE.to_batches():
        writer.write(batch)
    sink.commit(request, writer.close())
    return sink, WriteRequest("erase-1", "out", TABLE.schema)


def rows(name: str, path: str) -> list[dict[str, Any]]:
    kind: Any = component("source", name)
    from beam_datahub.component.source import ReadRequest

    source = kind(kind.Connection(path=path), kind.Options())
    request = ReadRequest(TABLE.schema, tuple(TABLE.schema.names), declared=True)
    found = [row for split in source.splits(request) for block in source.read(split, request) for row in block.batch.to_pylist()]
    return sorted(found, key=lambda row: row["id"])


OTHERS = [row for row in TABLE.to_pylist() if row["id"] != 42]


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("folder", [False, True])
def test_the_rows_of_one_person_go_and_the_others_stay(name: str, folder: bool, tmp_path: Path) -> None:
    path = str(tmp_path / ("out" if folder else f"out{FORMATS[name]}"))
    sink, request = written(name, path, **({"partition_by": ["country"]} if folder else {}))
    taken: list[bytes] = []
    held = sink.find(request, SUBJECT, taken.append)
    assert held.rows == 2
    assert b"".join(taken).count(b"42") == 2
    assert sink.erase(request, SUBJECT).rows == 2
    assert rows(name, path) == sorted(OTHERS, key=lambda row: row["id"])
    assert sink.find(request, SUBJECT).rows == 0
    assert not [file for file in tmp_path.rglob("*") if "staging" in file.parts]


def test_files_without_the_person_are_not_touched(tmp_path: Path) -> None:
    sink, request = written("csv", str(tmp_path / "out.csv"))
    before = (tmp_path / "out.csv").read_bytes()
    assert sink.erase(request, Subject("7", ("id",))).rows == 0
    assert (tmp_path / "out.csv").read_bytes() == before


def test_what_is_left_in_json_lines_stays_byte_for_byte(tmp_path: Path) -> None:
    sink, request = written("jsonl", str(tmp_path / "out.jsonl"))
    odd = '{ "id":1,  "z": 1.50 }\nno json at all\n{"id": "42"}\n{"id": 420}\n'
    (tmp_path / "out.jsonl").write_text(odd, "utf-8")
    assert sink.erase(request, SUBJECT).rows == 1
    assert (tmp_path / "out.jsonl").read_text("utf-8") == odd.replace('{"id": "42"}\n', "")


def test_characters_of_others_stay_in_csv(tmp_path: Path) -> None:
    sink, request = written("csv", str(tmp_path / "out.csv"))
    (tmp_path / "out.csv").write_text("id,zip\n1,007\n42,1\n3,1.50\n", "utf-8")
    assert sink.erase(request, SUBJECT).rows == 1
    assert (tmp_path / "out.csv").read_text("utf-8") == "id,zip\n1,007\n3,1.50\n"


def test_records_inside_of_records_are_found(tmp_path: Path) -> None:
    sink, request = written("jsonl", str(tmp_path / "out.jsonl"))
    lines = ['{"original": "{\\"id\\": 42}"}', '{"original": "{\\"id\\": 4}"}', '{"original": "broken 42,x"}']
    (tmp_path / "out.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    held = sink.erase(request, Subject("42", ("id",), inside="original"))
    assert (held.rows, held.uncertain) == (1, 1)
    assert (tmp_path / "out.jsonl").read_text("utf-8").splitlines() == lines[1:]


@pytest.mark.parametrize(("value", "kind", "held"), [("42", "42.0", 1), ("42.004", "42.00", 0), ("042", "42", 1), ("4", "42", 0)])
def test_numbers_are_compared_exactly(value: str, kind: str, held: int) -> None:
    from decimal import Decimal

    from beam_datahub.kernels.session import KernelSession

    column = pa.array([Decimal(kind)]) if "." in kind else pa.array([int(kind)])
    batch = pa.record_batch([column], ["id"])
    with KernelSession(threads=1) as session:
        session.put("input", batch)
        condition = Subject(value, ("id",)).condition(batch.schema)
        assert session.query(f"SELECT * FROM input WHERE {condition}").num_rows == held


def test_a_destination_that_cannot_says_so() -> None:
    kind: Any = component("sink", "console")
    sink = kind(kind.Connection(), kind.Options())
    with pytest.raises(InvalidValue, match="cannot remove single records"):
        sink.erase(WriteRequest("r", "out", TABLE.schema), SUBJECT)


DYING = """
    import os, signal, sys
    from beam_datahub.component.capabilities import WriteMode
    from beam_datahub.component.registry import component
    from beam_datahub.component.sink import WriteRequest
    from beam_datahub.component.subject import Subject
    import pyarrow as pa
    path, event, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seen = 0
    def hook(name, arguments):
        global seen
        if name == event:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    kind = component("sink", "parquet")
    sink = kind(kind.Connection(path=path), kind.Options(partition_by=["country"] if "." not in path[-9:] else []))
    schema = pa.schema([("id", pa.int64()), ("country", pa.string()), ("name", pa.string()), ("x", pa.float64())])
    sys.addaudithook(hook)
    sink.erase(WriteRequest("erase-1", "out", schema), Subject("42", ("id",)))
"""


@pytest.mark.parametrize(
    ("name", "event", "number"),
    [
        ("out", "os.link", 1),
        ("out", "os.rename", 1),
        ("out", "os.rename", 3),
        ("out", "os.mkdir", 5),
        ("out.parquet", "os.rename", 1),
    ],
)
def test_a_killed_erasure_leaves_all_or_none_and_can_be_repeated(name: str, event: str, number: int, tmp_path: Path) -> None:
    folder = name == "out"
    path = str(tmp_path / name)
    sink, _ = written("parquet", path, **({"partition_by": ["country"]} if folder else {}))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DYING), path, event, str(number)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    everything = sorted(TABLE.to_pylist(), key=lambda row: row["id"])
    left = sorted(OTHERS, key=lambda row: row["id"])
    assert rows("parquet", path) in (everything, left)
    sink.erase(WriteRequest("erase-2", "out", TABLE.schema), SUBJECT)
    assert rows("parquet", path) == left
    assert not [file for file in tmp_path.rglob("*") if "staging" in file.parts]
