"""Looks after a store: what is in it, whether it is sound, its backup, and letting go of old runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, inspect, select, text

from beam_datahub.errors import StoreDamaged, StoreUnusable, TargetUnusable
from beam_datahub.store.database import SCHEMA, engine, understood
from beam_datahub.store.location import Location
from beam_datahub.store.store import Store, open_store
from beam_datahub.store.tables import METADATA, cursors, lineage_graphs, runs, violations
from beam_datahub.store.versions import HEAD, version_of

_CHUNK = 500


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds: its version, its bytes (None where they cannot be told) and the rows of each table."""

    version: str
    bytes: int | None
    rows: dict[str, int]
    first_run_at: datetime | None
    last_run_at: datetime | None


@dataclass(frozen=True)
class Pruned:
    """What was let go (or would be): runs by id, their folders, bytes of the store's file."""

    runs: tuple[str, ...]
    kept: int
    folders: tuple[str, ...]
    bytes: int | None


def info(store: Store) -> StoreInfo:
    """What a store holds. Raises StoreUnusable, StoreVersion, StoreDamaged."""
    _ = store.reader
    with _reading(store) as connection:
        rows = {
            table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for table in METADATA.sorted_tables
        }
        first, last = connection.execute(select(func.min(runs.c.started_at), func.max(runs.c.started_at))).one()
        version = version_of(connection, store.location) or HEAD
        size = _bytes(store.location, connection)
    return StoreInfo(version, size, dict(sorted(rows.items())), first, last)


def check(store: Store) -> list[str]:
    """What is wrong with a store, a sentence each; nothing where it is sound. Raises what `info` raises."""
    problems: list[str] = []
    _ = store.reader
    with _reading(store) as connection:
        if connection.dialect.name == "sqlite":
            problems += [f"SQLite: {row[0]}" for row in connection.execute(text("pragma integrity_check")) if row[0] != "ok"]
            for row in connection.execute(text("pragma foreign_key_check")):
                problems.append(f"{row[0]}: row {row[1]} refers to a row of {row[2]} that is not there")
        there = inspect(connection)
        for table in METADATA.sorted_tables:
            if not there.has_table(table.name):
                problems.append(f"the table {table.name} is missing")
                continue
            names = {column["name"] for column in there.get_columns(table.name)}
            problems += [f"{table.name} lacks the column {column.name}" for column in table.columns if column.name not in names]
    return problems


def backup(store: Store, target: Path, *, replace: bool = False, any_version: bool = False) -> int:
    """Copy a store into a SQLite file of its own, as it is at one moment, while others go on writing; its bytes.

    A store in PostgreSQL becomes a file, too, which is a store like any other. With `any_version` a file is copied whatever
    its version. Raises TargetUnusable, StoreVersion.
    """
    target = target.absolute()
    if target.is_dir():
        raise TargetUnusable(f"{target} is a folder", hint="name a file")
    if target.exists() and not replace:
        raise TargetUnusable(f"{target} is there already", hint="name another file, or give --replace")
    if store.location.path is not None and target.exists() and target.samefile(store.location.path):
        raise TargetUnusable(f"{target} is the store itself", hint="name another file")
    if not (any_version and store.location.path is not None):
        _ = store.reader
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise TargetUnusable(f"the backup cannot be written to {target.parent}: {error.strerror}") from error
    try:
        made = folder / "backup.db"
        if store.location.path is not None:
            _copy_file(store, made)
        else:
            _copy_tables(store, made)
        _sound(made)
        os.replace(made, target)
        return target.stat().st_size
    except OSError as error:
        raise TargetUnusable(f"the backup {target} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_file(store: Store, made: Path) -> None:
    with understood(store.location), _reading(store) as connection:
        source: Any = connection.connection.dbapi_connection
        with contextlib.closing(sqlite3.connect(made)) as copy:
            # Inside the reader's transaction: writers do not make it start again.
            source.backup(copy)
            # One file, without the others that belong to a store in use.
            copy.execute("PRAGMA journal_mode = DELETE")


def _copy_tables(store: Store, made: Path) -> None:
    place = Location(made, made.parent, explicit=True)
    with open_store(place) as copy:
        target = copy.prepared(upgrade=True)[0]
        with understood(place), target.begin() as into, _reading(store) as connection:
            # All tables as they are at one moment.
            connection.execute(text("set transaction isolation level repeatable read"))
            into.execute(text("pragma defer_foreign_keys = on"))
            for table in METADATA.sorted_tables:
                into.execute(table.delete())
                for part in connection.execution_options(yield_per=1000).execute(select(table)).mappings().partitions():
                    into.execute(table.insert(), [dict(row) for row in part])
    with contextlib.closing(sqlite3.connect(made)) as last:
        last.execute("PRAGMA journal_mode = DELETE")


def _sound(made: Path) -> None:
    with contextlib.closing(sqlite3.connect(made)) as copy:
        found = copy.execute("pragma quick_check").fetchone()[0]
    if found != "ok":
        raise StoreDamaged(f"the copy of the store is damaged: {found}", hint="`beam-datahub store check` says more")


def prune(store: Store, before: datetime, *, keep: int = 10, dry_run: bool = False) -> Pruned:
    """Let go of runs that ended before a time, with all that belongs to them and their folders.

    Kept are: the newest `keep` runs of each integration and its last success, runs that go on, runs with violations that
    nobody has resolved, runs whose cursor is in force, and those that a kept run resumed or replayed. The audit stays.
    """
    writer = store.writing
    with writer.transaction() as connection:
        gone, folders = _prunable(connection, before, keep)
        total = int(connection.execute(select(func.count()).select_from(runs)).scalar_one())
        size = _bytes(store.location, connection)
        if not dry_run:
            for start in range(0, len(gone), _CHUNK):
                connection.execute(delete(runs).where(runs.c.run_id.in_(gone[start : start + _CHUNK])))
            _prune_lineage(connection)
            details = {"runs": len(gone), "before": before.isoformat()}
            writer.audit(connection, "prune", "store", "runs", **details)
    if dry_run or not gone:
        return Pruned(tuple(gone), total - len(gone), tuple(folders), None)
    removed = _remove_folders(store.location, folders)
    _vacuum(store)
    after = _bytes_of(store)
    return Pruned(tuple(gone), total - len(gone), removed, size - after if size is not None and after is not None else None)


def _prunable(connection: Connection, before: datetime, keep: int) -> tuple[list[str], list[str]]:
    succeeded = ("completed", "completed_with_errors")
    order = (runs.c.started_at.desc(), runs.c.run_id.desc())
    place = func.row_number().over(partition_by=runs.c.integration, order_by=order).label("place")
    success = func.row_number().over(partition_by=(runs.c.integration, runs.c.status.in_(succeeded)), order_by=order)
    every = connection.execute(
        select(runs.c.run_id, runs.c.status, runs.c.ended_at, runs.c.parent, runs.c.folder, place, success.label("success"))
    ).all()
    unresolved = select(violations.c.run_id).where(violations.c.status.in_(("open", "acknowledged"))).distinct()
    held = set(connection.execute(unresolved).scalars())
    held |= set(connection.execute(select(cursors.c.run_id)).scalars())
    parents = {row.run_id: row.parent for row in every}
    kept = {
        row.run_id
        for row in every
        if row.status == "running"
        or row.ended_at is None
        or row.ended_at >= before
        or row.place <= keep
        or (row.status in succeeded and row.success == 1)
        or row.run_id in held
    }
    for run_id in list(kept):
        parent = parents.get(run_id)
        while parent is not None and parent not in kept:
            kept.add(parent)
            parent = parents.get(parent)
    gone = [row for row in every if row.run_id not in kept]
    return [row.run_id for row in gone], [row.folder for row in gone if row.folder]


def _prune_lineage(connection: Connection) -> None:
    newest = select(func.max(lineage_graphs.c.id)).group_by(lineage_graphs.c.integration)
    used = select(runs.c.lineage_id).where(runs.c.lineage_id.is_not(None))
    connection.execute(delete(lineage_graphs).where(lineage_graphs.c.id.not_in(newest), lineage_graphs.c.id.not_in(used)))


def _remove_folders(location: Location, folders: Iterable[str]) -> tuple[str, ...]:
    root = location.runs.resolve()
    removed = []
    for name in folders:
        folder = Path(name)
        # A record may name any folder; only those of runs are the store's to remove.
        if folder.resolve().parent == root and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(str(folder))
    return tuple(removed)


def _vacuum(store: Store) -> None:
    if store.location.path is None:
        return  # PostgreSQL's own autovacuum does it
    # Where others are at work the room is used again all the same, only the file stays as large.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(store.location.path, timeout=1, isolation_level=None)) as raw,
    ):
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def _reading(store: Store) -> Any:
    made = engine(store.location, writes=False)
    try:
        with understood(store.location), made.begin() as connection:
            yield connection
    finally:
        made.dispose()


def _bytes_of(store: Store) -> int | None:
    with _reading(store) as connection:
        return _bytes(store.location, connection)


def _bytes(location: Location, connection: Connection) -> int | None:
    if location.path is None:
        names = text(
            "select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c where relnamespace = to_regnamespace(:n)"
        )
        return int(connection.execute(names.bindparams(n=SCHEMA)).scalar_one())
    try:
        return sum(path.stat().st_size for path in location.path.parent.glob(location.path.name + "*") if path.suffix != ".key")
    except OSError as error:
        raise StoreUnusable(f"the store {location} cannot be looked at: {error.strerror}") from error
