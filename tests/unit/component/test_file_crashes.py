"""What is left when a writing process dies or the disk refuses: shown with real processes and real disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_owner import is_dead, owner
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import TargetUnusable
from beam_datahub.testing.connectors import read, sink, source, stage, write

ROWS = pa.schema([("a", pa.int64())])


def rows(*values: int) -> pa.Table:
    return pa.table({"a": pa.array(values, pa.int64())})


def values(path: Path, name: str = "jsonl") -> list[int]:
    return sorted(row["a"] for row in read(source(name, str(path)), ROWS).rows)


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    head = """
        import os, sys, time
        import pyarrow as pa
        from beam_datahub.component.capabilities import WriteMode
        from beam_datahub.component.sink import WriteRequest
        from beam_datahub.testing.connectors import sink, stage
        rows = lambda *values: pa.table({"a": pa.array(values, pa.int64())})
        """
    script = textwrap.dedent(head) + textwrap.dedent(code)
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


STAGING = """
    destination = sink("jsonl", sys.argv[1])
    request = WriteRequest("dying", "out", rows().schema, WriteMode(sys.argv[2]))
    destination.prepare(request)
    receipts = stage(destination, request, [rows(7), rows(8)])
    print("staged", flush=True)
    sys.stdin.read() if sys.argv[3] == "wait" else None
"""


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_what_a_killed_run_staged_is_swept_by_the_next_run(name: str, mode: str, tmp_path: Path) -> None:
    target = tmp_path / name
    write(sink("jsonl", str(target)), rows(1), run="before")
    child = python(STAGING, str(target), mode, "wait", stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "staged\n"
    staging = tmp_path / ".beam-datahub" / "staging" / "dying"

    write(sink("jsonl", str(target)), rows(2), run="beside")
    assert any(staging.rglob("*.jsonl")), "the staging of a living run was swept"

    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert values(target) == [1, 2]
    write(sink("jsonl", str(target)), rows(3), run="after")
    assert not staging.exists()
    assert values(target) == [1, 2, 3]


DYING_COMMITS = """
    from beam_datahub.component import file_publish

    def dying(real):
        def operation(*arguments):
            count[0] += 1
            if at == (count[0], "before"):
                os.kill(os.getpid(), 9)
            found = real(*arguments)
            if at == (count[0], "after"):
                os.kill(os.getpid(), 9)
            return found
        return operation

    if sys.argv[2] == "two renames":
        file_publish.exchange = lambda first, second: False
    file_publish.exchange = dying(file_publish.exchange)
    os.rename, os.replace = dying(os.rename), dying(os.replace)
    for number in range(1, 9):
        for moment in ("before", "after"):
            folder = os.path.join(sys.argv[1], f"{number} {moment}")
            destination = sink("jsonl", os.path.join(folder, sys.argv[3]))
            at, count = None, [0]
            for run, values in (("before", (1, 2)), ("dying", (7, 8))):
                request = WriteRequest(run, "out", rows().schema, WriteMode.OVERWRITE)
                destination.prepare(request)
                receipts = stage(destination, request, [rows(value) for value in values])
                destination.commit(request, receipts) if run == "before" else None
            child = os.fork()
            if not child:
                at, count = (number, moment), [0]
                destination.commit(request, receipts)
                os._exit(0)
            print(folder, "killed" if os.waitpid(child, 0)[1] == 9 else "done", flush=True)
"""


@pytest.mark.parametrize(("name", "way"), [("out.jsonl", ""), ("out", "exchange"), ("out", "two renames")])
def test_after_a_kill_anywhere_in_the_commit_of_an_overwrite_the_next_run_finds_old_or_new_and_no_mixture(
    name: str, way: str, tmp_path: Path
) -> None:
    out, error = python(DYING_COMMITS, str(tmp_path), way, name).communicate(timeout=120)
    found = [line.rpartition(" ") for line in out.splitlines()]
    assert len(found) == 16, error
    assert [how for _, _, how in found].count("killed") >= 6
    assert found[-1][2] == "done", "the commit has more steps than this test kills it at"
    for folder, _, how in found:
        target = Path(folder) / name
        destination, request = sink("jsonl", str(target)), WriteRequest("after", "out", ROWS, WriteMode.APPEND)
        destination.prepare(request)
        assert values(target) in ([[7, 8]] if how == "done" else [[1, 2], [7, 8]]), folder
        destination.abort(request)
        assert not (target.parent / ".beam-datahub" / "staging").exists()


def test_a_run_is_dead_only_when_its_very_process_is_gone(tmp_path: Path) -> None:
    fact = tmp_path / "owner.json"
    me = owner()
    for change, dead in (
        ({}, False),
        ({"started": "1"}, True),
        ({"pid": 2**22 - 3}, True),
        ({"boot": "another"}, True),
        ({"host": "another", "pid": 2**22 - 3}, False),
        ({"space": "another", "pid": 2**22 - 3}, False),
    ):
        fact.write_text(json.dumps({**me, **change}))
        assert is_dead(str(fact)) is dead, change
    assert is_dead(str(tmp_path / "nothing.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("name", ["parquet", "jsonl", "json", "avro"])
def test_a_full_disk_is_a_clear_error_and_what_was_there_stays(name: str, small_disk: Path) -> None:
    target = small_disk / "data" / f"out.{name}"
    write(sink(name, str(target)), rows(1), run="before")
    destination = sink(name, str(target), **({"codec": "null"} if name == "avro" else {}))
    big = pa.table({"a": pa.array([(i * 2654435761) % 2**61 for i in range(400_000)], pa.int64())})
    with pytest.raises(TargetUnusable, match="No space left on device"):
        write(destination, big, run="big", mode="overwrite")
    destination.abort(WriteRequest("big", "out", ROWS, WriteMode.OVERWRITE))
    assert values(target, name) == [1]
    assert not (target.parent / ".beam-datahub" / "staging").exists()
    write(destination, rows(2), run="after", mode="overwrite")
    assert values(target, name) == [2]


def test_a_limit_on_the_size_of_files_is_a_clear_error(tmp_path: Path) -> None:
    child = python(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        destination = sink("jsonl", sys.argv[1])
        request = WriteRequest("r", "out", rows().schema)
        destination.prepare(request)
        try:
            stage(destination, request, [rows(*range(50_000))])
        except Exception as error:
            print(type(error).__name__, error, error.hint)
            destination.abort(request)
        """,
        str(tmp_path / "out.jsonl"),
    )
    out, error = child.communicate(timeout=60)
    assert "TargetUnusable" in out, error
    assert "File too large" in out
    assert "target_file_size" in out
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_read_only_target_is_a_clear_error_before_anything_runs(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "out").mkdir()
    child = python(
        """
        if os.geteuid() == 0:
            os.setuid(65534)
        for path in ("file.jsonl", "out", "deep/er/file.jsonl"):
            destination = sink("jsonl", os.path.join(sys.argv[1], path))
            try:
                destination.prepare(WriteRequest("r", "out", rows().schema))
            except Exception as error:
                print(type(error).__name__, error)
            print(destination.check().fine)
        """,
        str(tmp_path),
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if os.geteuid() != 0:
        (tmp_path / "out").chmod(0o555)
        tmp_path.chmod(0o555)
    out, error = child.communicate(timeout=60)
    tmp_path.chmod(0o755)
    assert out.count("TargetUnusable") == 3, error
    assert out.count("False") == 3
    assert "read-only" in out or "Permission denied" in out


def test_staged_files_that_someone_removed_are_a_clear_error(tmp_path: Path) -> None:
    destination = sink("jsonl", str(tmp_path / "out"))
    request = WriteRequest("r", "out", ROWS)
    destination.prepare(request)
    receipts = stage(destination, request, [rows(1)])
    Path(receipts[0].location).unlink()
    with pytest.raises(TargetUnusable, match="gone"):
        destination.commit(request, receipts)
