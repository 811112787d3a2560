"""A store that cannot be used says why, and stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_datahub.errors import DataHubError, StoreBusy, StoreDamaged, StoreUnusable, StoreVersion
from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import NewRun
from beam_datahub.store.store import open_store


@pytest.fixture
def made(in_file: Location) -> Location:
    """A store with one run, closed."""
    with open_store(in_file) as store:
        store.writer.runs.begin(NewRun("run-1", "daily"))
    return in_file


def path_of(location: Location) -> Path:
    assert location.path is not None
    return location.path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def database(location: Location) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path_of(location), isolation_level=None)) as connection:
        yield connection


def runs_in(location: Location) -> list[str]:
    with open_store(location) as store:
        return [run.run_id for run in store.reader.runs.find()]


def refused_writing(location: Location, busy_seconds: float = 5.0) -> DataHubError:
    """What a writer is told."""
    with pytest.raises(DataHubError) as caught, open_store(location, busy_seconds=busy_seconds) as store:
        store.writer.runs.begin(NewRun("run-2", "daily"))
    return caught.value


def refused_reading(location: Location) -> DataHubError:
    """What a reader is told."""
    with pytest.raises(DataHubError) as caught, open_store(location) as store:
        store.reader.runs.find()
    return caught.value


@pytest.mark.usefixtures("rights_hold")
def test_a_read_only_file_can_be_read_but_not_written(made: Location) -> None:
    path_of(made).chmod(0o400)
    error = refused_writing(made)
    assert (type(error), error.code) == (StoreUnusable, "DH210")
    assert "read-only" in str(error)
    assert runs_in(made) == ["run-1"]


@pytest.mark.usefixtures("rights_hold")
def test_a_store_in_a_read_only_folder_can_be_read_but_not_written(made: Location) -> None:
    made.folder.chmod(0o500)
    try:
        error = refused_writing(made)
        assert (type(error), error.code) == (StoreUnusable, "DH210")
        assert runs_in(made) == ["run-1"]
    finally:
        made.folder.chmod(0o700)


@pytest.mark.usefixtures("rights_hold")
def test_a_store_cannot_be_made_in_a_read_only_folder(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    for place in (tmp_path / "shut" / "store.db", tmp_path / "shut" / "deeper" / "store.db"):
        error = refused_writing(locate(place))
        assert (type(error), error.code) == (StoreUnusable, "DH210")
    assert list((tmp_path / "shut").iterdir()) == []


def test_a_store_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    error = refused_writing(locate(tmp_path / "file" / "store.db"))
    assert (type(error), error.code) == (StoreUnusable, "DH210")
    assert str(tmp_path / "file") in str(error)
    assert (tmp_path / "file").read_text() == "mine"


def test_reading_a_store_that_is_not_there_makes_none(in_file: Location) -> None:
    error = refused_reading(in_file)
    assert (type(error), error.code) == (StoreUnusable, "DH210")
    assert "store init" in str(error.hint)
    assert not path_of(in_file).exists()


def test_a_writer_gives_up_when_another_holds_the_store_for_too_long(made: Location) -> None:
    with database(made) as other:
        other.execute("BEGIN IMMEDIATE")
        error = refused_writing(made, busy_seconds=0.01)
        assert (type(error), error.code) == (StoreBusy, "DH211")
        assert str(made) in str(error)
        assert runs_in(made) == ["run-1"], "readers do not wait for writers"
        other.execute("ROLLBACK")
    assert runs_in(made) == ["run-1"]


@pytest.mark.parametrize("content", [b"id,name\n1,Ada\n" * 100, b"SQLite format 3\0" + b"\xff" * 4096], ids=["text", "damaged"])
def test_a_file_that_is_no_database_is_left_alone(in_file: Location, content: bytes) -> None:
    path_of(in_file).write_bytes(content)
    for error in (refused_writing(in_file), refused_reading(in_file)):
        assert (type(error), error.code) == (StoreDamaged, "DH212")
        assert str(in_file) in str(error)
    assert path_of(in_file).read_bytes() == content
    assert [path.name for path in in_file.folder.iterdir()] == ["store.db"]


def test_a_store_that_is_damaged_inside_is_left_alone(made: Location) -> None:
    content = bytearray(path_of(made).read_bytes())
    for page in range(2 * 4096, len(content), 4096):
        content[page : page + 40] = b"\xff" * 40
    path_of(made).write_bytes(content)
    for error in (refused_writing(made), refused_reading(made)):
        assert (type(error), error.code) == (StoreDamaged, "DH212")
        assert "backup" in str(error.hint)
    assert path_of(made).read_bytes() == content


def test_a_database_of_something_else_is_left_alone(in_file: Location) -> None:
    with database(in_file) as other:
        other.execute("create table invoices (id integer)")
    before = digest(path_of(in_file))
    for error in (refused_writing(in_file), refused_reading(in_file)):
        assert (type(error), error.code) == (StoreDamaged, "DH212")
    assert digest(path_of(in_file)) == before


def test_a_store_of_a_newer_version_is_left_alone(made: Location) -> None:
    with database(made) as other:
        other.execute("update alembic_version set version_num = '9999'")
    before = digest(path_of(made))
    for error in (refused_writing(made), refused_reading(made)):
        assert (type(error), error.code) == (StoreVersion, "DH213")
        assert "9999" in str(error)
        assert "upgrade beam-datahub" in str(error.hint)
    assert digest(path_of(made)) == before


def test_a_store_that_has_lost_its_version_is_reported_as_damaged(made: Location) -> None:
    with database(made) as other:
        other.execute("delete from alembic_version")
    before = digest(path_of(made))
    for error in (refused_writing(made), refused_reading(made)):
        assert (type(error), error.code) == (StoreDamaged, "DH212")
    assert digest(path_of(made)) == before


def test_an_empty_file_becomes_a_store(in_file: Location) -> None:
    path_of(in_file).touch()
    with open_store(in_file) as store:
        store.writer.runs.begin(NewRun("run-1", "daily"))
    assert runs_in(in_file) == ["run-1"]
