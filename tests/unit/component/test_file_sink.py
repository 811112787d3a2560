"""What a file destination promises, whatever its format; shown with JSON lines."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from beam_datahub.component import file_publish, file_writer
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_publish import Publication
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import InvalidValue, LossyWrite, TargetUnusable, UnknownColumn
from beam_datahub.testing.connectors import read, sink, source, stage, write


def rows(*values: int) -> pa.Table:
    return pa.table({"a": pa.array(values, pa.int64())})


def values(path: Path) -> list[int]:
    files = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
    return sorted(json.loads(line)["a"] for file in files for line in file.read_text().splitlines())


def request(run: str = "run1", mode: WriteMode = WriteMode.APPEND, table: pa.Table | None = None) -> WriteRequest:
    return WriteRequest(run, "out", (table if table is not None else rows()).schema, mode)


def visible(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if not any(q.startswith(".") for q in p.relative_to(folder).parts)
    )


@pytest.mark.parametrize("name", ["out.jsonl", "out", "out.jsonl.gz"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_nothing_is_visible_before_the_commit_and_all_of_it_after(name: str, mode: str, tmp_path: Path) -> None:
    destination, wanted = sink("jsonl", str(tmp_path / name)), request(mode=WriteMode(mode))
    destination.prepare(wanted)
    receipts = stage(destination, wanted, [rows(1, 2), rows(3)])
    assert visible(tmp_path) == []
    done = destination.commit(wanted, receipts)
    assert (done.rows, read(source("jsonl", str(tmp_path / name)), rows().schema).table.num_rows) == (3, 3)
    assert all(Path(place).exists() for place in done.locations)
    assert not (tmp_path / ".beam-datahub" / "staging").exists()


def test_small_batches_and_large_ones_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some of them have to wait until others are written.
    monkeypatch.setattr(file_writer, "_WAITING_BYTES", 1 << 20)
    destination, wanted = sink("jsonl", str(tmp_path / "out.jsonl")), request()
    destination.prepare(wanted)
    counts = [1, 2, 200_000, 3, 100_000, 100_000, 100_000, 0, 100_000, 100_000, 100_000, 4, 200_000]
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    batches = [rows(*range(end - count, end)) for count, end in zip(counts, ends, strict=True)]
    staged = stage(destination, wanted, [pa.concat_tables(batches)])
    assert destination.commit(wanted, staged).rows == ends[-1]
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert lines == [f'{{"a":{n}}}' for n in range(ends[-1])]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_repeated_commit_changes_nothing_and_says_the_same(name: str, mode: str, tmp_path: Path) -> None:
    destination = sink("jsonl", str(tmp_path / name))
    write(destination, rows(1))
    wanted = request("run2", WriteMode(mode))
    destination.prepare(wanted)
    receipts = stage(destination, wanted, [rows(2), rows(3)])
    first = destination.commit(wanted, receipts)
    assert destination.commit(wanted, receipts) == first
    assert destination.commit(wanted, []) == first
    assert values(tmp_path / name) == ([1, 2, 3] if mode == "append" else [2, 3])


def test_a_run_that_is_started_again_under_its_name_does_not_double(tmp_path: Path) -> None:
    for _ in range(2):
        write(sink("jsonl", str(tmp_path / "out")), rows(1, 2))
    assert values(tmp_path / "out") == [1, 2]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_append_keeps_and_overwrite_replaces_what_was_there(name: str, tmp_path: Path) -> None:
    destination = sink("jsonl", str(tmp_path / name))
    write(destination, rows(1), run="one")
    write(destination, rows(2), rows(3), run="two")
    assert values(tmp_path / name) == [1, 2, 3]
    write(destination, rows(4), rows(5), run="three", mode="overwrite")
    assert values(tmp_path / name) == [4, 5]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_bundles_that_failed_leave_nothing(name: str, tmp_path: Path) -> None:
    destination, wanted = sink("jsonl", str(tmp_path / name)), request()
    destination.prepare(wanted)
    writer = destination.open(wanted)
    writer.write(rows(9).to_batches()[0])
    writer.discard()
    stage(destination, wanted, [rows(8)])  # a bundle whose receipt the engine threw away
    destination.commit(wanted, stage(destination, wanted, [rows(1)]))
    assert values(tmp_path / name) == [1]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_an_aborted_run_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    destination = sink("jsonl", str(tmp_path / name))
    write(destination, rows(1))
    wanted = request("run2", WriteMode.OVERWRITE)
    destination.prepare(wanted)
    stage(destination, wanted, [rows(2)])
    destination.abort(wanted)
    assert values(tmp_path / name) == [1]
    assert not (tmp_path / ".beam-datahub" / "staging").exists()


def test_a_reader_of_an_overwritten_folder_sees_the_old_or_the_new_files_and_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination, seen = sink("jsonl", str(tmp_path / "out")), []
    write(destination, rows(1), rows(2), run="one")
    for name in ("rename", "replace"):
        real = getattr(os, name)

        def watched(*args: object, real: object = real) -> None:
            seen.append(values(tmp_path / "out"))
            real(*args)  # type: ignore[operator]
            seen.append(values(tmp_path / "out"))

        monkeypatch.setattr(os, name, watched)
    write(destination, rows(3), rows(4), run="two", mode="overwrite")
    assert {tuple(found) for found in seen} <= {(1, 2), (3, 4)}
    assert values(tmp_path / "out") == [3, 4]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_commit_that_breaks_anywhere_is_finished_by_the_next_try(
    name: str, mode: str, exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break every operation of the commit in turn, before and after it took effect."""
    if not exchange:
        monkeypatch.setattr("beam_datahub.component.file_publish.exchange", lambda first, second: False)
    for at in range(1, 30):
        folder = tmp_path / str(at)
        destination, wanted = sink("jsonl", str(folder / name)), request("run2", WriteMode(mode))
        write(destination, rows(1))
        destination.prepare(wanted)
        receipts = stage(destination, wanted, [rows(2), rows(3)])
        with monkeypatch.context() as patch:
            broke = _break_operation(patch, at)
            with contextlib.suppress(OSError, TargetUnusable):
                destination.commit(wanted, receipts)
        destination.commit(wanted, receipts)
        assert values(folder / name) == ([1, 2, 3] if mode == "append" else [2, 3]), at
        assert not (folder / ".beam-datahub" / "staging").exists()
        if not broke:
            return
    pytest.fail("the commit has more steps than this test breaks")


def _break_operation(patch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Let the at-th change that a commit makes fail (odd: before it happens, even: after)."""
    count, broke = [0], []

    def breaking(real: Callable[..., object]) -> Callable[..., object]:
        def operation(*args: object) -> object:
            count[0] += 1
            chosen = count[0] == (at + 1) // 2
            if chosen and at % 2:
                broke.append("before")
                raise OSError(5, "broken")
            found = real(*args)
            if chosen and not at % 2:
                broke.append("after")
                raise OSError(5, "broken")
            return found

        return operation

    patch.setattr(os, "rename", breaking(os.rename))
    patch.setattr(os, "replace", breaking(os.replace))
    patch.setattr(file_publish, "exchange", breaking(file_publish.exchange))
    return broke


def test_partition_columns_become_folders_and_come_back(tmp_path: Path) -> None:
    given = pa.table(
        {
            "country": ["de", None, "a/b=c ü", "de"],
            "day": ["2025-01-01", "2025-01-02", "2025-01-01", "2025-01-01"],
            "n": [1, 2, 3, 4],
        }
    )
    write(sink("jsonl", str(tmp_path / "out"), partition_by=["country", "day"]), given)
    assert sorted({p.parent.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jsonl")}) == [
        "country=__HIVE_DEFAULT_PARTITION__/day=2025-01-02",
        "country=a%2Fb%3Dc %C3%BC/day=2025-01-01",
        "country=de/day=2025-01-01",
    ]
    assert "country" not in next((tmp_path / "out").rglob("*.jsonl")).read_text()
    found = read(source("jsonl", str(tmp_path / "out")))
    assert found.table.schema.field("day").type == pa.date32()
    wanted = sorted(given.to_pylist(), key=lambda row: row["n"])
    assert [{**row, "day": str(row["day"])} for row in sorted(found.rows, key=lambda row: row["n"])] == [
        {"n": row["n"], "country": row["country"], "day": row["day"]} for row in wanted
    ]


def test_many_partitions_do_not_need_as_many_open_files(tmp_path: Path) -> None:
    given = pa.table({"k": [i % 300 for i in range(3000)], "n": range(3000)})
    done = write(sink("jsonl", str(tmp_path / "out"), partition_by=["k"]), given)
    assert len({Path(place).parent for place in done.locations}) == 300
    assert sorted(row["n"] for row in read(source("jsonl", str(tmp_path / "out"))).rows) == list(range(3000))


def test_a_new_file_begins_when_one_has_reached_its_size(tmp_path: Path) -> None:
    batches = [rows(*range(i * 100, i * 100 + 100)) for i in range(20)]
    done = write(sink("jsonl", str(tmp_path / "out"), target_file_size="5kB"), pa.concat_tables(batches))
    assert len(done.locations) > 2
    assert max(Path(place).stat().st_size for place in done.locations) < 7000
    assert values(tmp_path / "out") == list(range(2000))


def test_a_compressed_file_is_appended_to_as_a_plain_one(tmp_path: Path) -> None:
    destination = sink("jsonl", str(tmp_path / "out.jsonl.gz"))
    write(destination, rows(1), rows(2), run="one")
    write(destination, rows(3), run="two")
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == b'{"a":1}\n{"a":2}\n{"a":3}\n'


def test_a_last_line_without_its_end_does_not_run_into_the_appended_ones(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"a":1}')
    write(sink("jsonl", str(tmp_path / "out.jsonl")), rows(2))
    assert values(tmp_path / "out.jsonl") == [1, 2]


def test_appending_no_rows_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    write(sink("jsonl", str(tmp_path / "out.jsonl")), rows(1), run="one")
    before = (tmp_path / "out.jsonl").stat()
    assert write(sink("jsonl", str(tmp_path / "out.jsonl")), run="two", schema=rows().schema).rows == 0
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before.st_mtime_ns


def test_other_peoples_files_are_not_removed_with_an_overwritten_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("years of work")
    with pytest.raises(TargetUnusable, match=r"thesis\.docx"):
        sink("jsonl", str(tmp_path / "out")).prepare(request(mode=WriteMode.OVERWRITE))
    assert (tmp_path / "out" / "thesis.docx").exists()


@pytest.mark.parametrize(("make", "path", "words"), [("folder", "out.jsonl", "it is a folder"), ("file", "out", "it is a file")])
def test_a_target_of_another_kind_is_refused(make: str, path: str, words: str, tmp_path: Path) -> None:
    (tmp_path / path).mkdir() if make == "folder" else (tmp_path / path).write_text("x")
    with pytest.raises(TargetUnusable, match=words):
        sink("jsonl", str(tmp_path / path)).prepare(request())


def test_what_a_file_cannot_keep_is_refused_before_the_run(tmp_path: Path) -> None:
    table = pa.table({"a": [1], "b": [[1]]})
    for options, path, error in (
        ({"partition_by": ["c"]}, "out", UnknownColumn),
        ({"partition_by": ["b"]}, "out", InvalidValue),
        ({"partition_by": ["a"]}, "out.jsonl", InvalidValue),
        ({}, "*.jsonl", InvalidValue),
    ):
        with pytest.raises(error):
            sink("jsonl", str(tmp_path / path), **options).plan_write(request(table=table))
    with pytest.raises(LossyWrite):
        sink("jsonl", str(tmp_path / "out"), partition_by=["a"]).plan_write(request())
    with pytest.raises(InvalidValue, match="merge"):
        sink("jsonl", str(tmp_path / "out")).plan_write(request(mode=WriteMode.MERGE))
    with pytest.raises(InvalidValue, match="compressed inside"):
        sink("parquet", str(tmp_path / "out"), compression="gzip").plan_write(request())
    assert list(tmp_path.iterdir()) == []


def test_checking_a_target_leaves_nothing_behind(tmp_path: Path) -> None:
    assert sink("jsonl", str(tmp_path / "deep" / "out")).check().fine
    assert list(tmp_path.iterdir()) == []


def test_two_destinations_of_one_run_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = sink("jsonl", str(tmp_path / "one.jsonl")), sink("jsonl", str(tmp_path / "two.jsonl"))
    first, second = WriteRequest("r", "one", rows().schema), WriteRequest("r", "two", rows().schema)
    one.prepare(first)
    two.prepare(second)
    mine, other = stage(one, first, [rows(1)]), stage(two, second, [rows(2)])
    one.commit(first, mine)
    two.commit(second, other)
    assert (values(tmp_path / "one.jsonl"), values(tmp_path / "two.jsonl")) == ([1], [2])


def test_a_file_system_without_renames_of_folders_is_written_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount point cannot be exchanged; its staging lies inside it."""
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) == str(tmp_path / "out"))
    destination = sink("jsonl", str(tmp_path / "out"))
    write(destination, rows(1), run="one")
    assert Publication(destination.target, request())._home == str(tmp_path / "out" / ".beam-datahub")  # type: ignore[attr-defined]
    write(destination, rows(2), rows(3), run="two", mode="overwrite")
    assert values(tmp_path / "out") == [2, 3]
