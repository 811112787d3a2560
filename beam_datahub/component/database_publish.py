"""What a commit does inside its transaction: staged rows become those of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database import Session, TableName
from beam_datahub.component.database_ledger import staging_prefix
from beam_datahub.component.database_shape import Shape
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.errors import TargetUnusable

if TYPE_CHECKING:
    from beam_datahub.component.database_sink import DatabaseWriteOptions

_NUMBER = "dh_number"


def publish(
    session: Session,
    target: TableName,
    request: WriteRequest,
    shape: Shape,
    receipts: Sequence[Receipt],
    options: DatabaseWriteOptions,
) -> None:
    """Make the target what it has to be and move the staged rows into it. Raises TargetUnusable."""
    staged = [target.beside(receipt.location) for receipt in receipts]
    if shape.creates and staged and request.mode != WriteMode.MERGE:
        rename = session.dialect.rename(staged[0], target.name)
        if rename is not None:
            # A new table needs no second copy of its first rows.
            session.execute(rename)
            _check(int(session.fetch(f"SELECT count(*) FROM {session.dialect.table(target)}")[0][0]), receipts[0].rows)
            shape, staged, receipts = replace(shape, statements=()), staged[1:], receipts[1:]
    for statement in shape.statements:
        session.execute(statement)
    if request.mode == WriteMode.MERGE:
        if staged:
            _merge(session, target, request, shape, staged, receipts, options)
    else:
        if request.mode == WriteMode.OVERWRITE and not shape.creates:
            session.clear(target)
        for table, receipt in zip(staged, receipts, strict=True):
            names = session.dialect.names(shape.names)
            select = f"SELECT {names} FROM {session.dialect.table(table)}"
            _check(session.execute(session.dialect.insert(target, shape.names, select)), receipt.rows)
    if session.dialect.transactional_ddl:
        for table in staged:
            session.execute(session.dialect.drop(table))


def _check(moved: int, staged: int) -> None:
    if moved not in (-1, staged):
        raise TargetUnusable(f"{staged} rows were staged and {moved} are there: the server lost some", hint="run it again")


def _merge(
    session: Session,
    target: TableName,
    request: WriteRequest,
    shape: Shape,
    staged: Sequence[TableName],
    receipts: Sequence[Receipt],
    options: DatabaseWriteOptions,
) -> None:
    dialect, marker = session.dialect, options.delete_marker
    # The marker is staged under its own name beside the target's columns.
    columns = [*shape.names, *([marker] if marker is not None else [])]
    names = dialect.names(columns)
    first = staged[0]
    for table in staged[1:]:
        session.execute(dialect.insert(first, columns, f"SELECT {names} FROM {dialect.table(table)}"))
    source = dialect.table(first)
    rows = sum(receipt.rows for receipt in receipts)
    key = [shape.named(name) for name in request.key]
    keys = dialect.names(key)
    there = [frozenset(key)] if shape.creates else session.unique_keys(target)
    unique = frozenset(key) in there and (len(set(there)) == 1 or not dialect.upserts_any_key)
    if unique and dialect.merges_in_place and dialect.tells_twice and marker is None and options.last_by is None:
        # The statement itself says whether all rows are there and no key comes twice.
        select = f"SELECT {dialect.names(shape.names)} FROM {source} WHERE 1 = 1"
        _check(session.execute(dialect.upsert(target, shape.names, key, select)), rows)
        return
    _check(int(session.fetch(f"SELECT count(*) FROM {source}")[0][0]), rows)
    if options.last_by is not None:
        first = _winners(session, target, request, first, columns, keys, shape.named(options.last_by))
        source = dialect.table(first)
    else:
        twice = session.fetch(
            f"SELECT {keys}, count(*) FROM {source} GROUP BY {keys} HAVING count(*) > 1 {dialect.first_rows(1)}"
        )
        if twice:
            what = ", ".join(f"{name} {value}" for name, value in zip(key, twice[0], strict=False))
            raise TargetUnusable(
                f"{twice[0][-1]} of the merged rows have the same key ({what}), and nothing says which wins",
                hint="name the column that tells with `last_by`, or deduplicate before",
            )
    if marker is not None:
        marked = f"{dialect.quoted(marker)} = {dialect.true}"
        session.execute(dialect.delete_matching(target, key, first, marked))
        session.execute(f"DELETE FROM {source} WHERE {marked}")
    select = f"SELECT {dialect.names(shape.names)} FROM {source} WHERE 1 = 1"
    if unique and dialect.merges_in_place:
        session.execute(dialect.upsert(target, shape.names, key, select))
    else:
        _change_and_add(session, target, shape, key, first)
    if first not in staged:
        session.execute(dialect.drop_scratch(first))


def _change_and_add(session: Session, target: TableName, shape: Shape, key: Sequence[str], source: TableName) -> None:
    """The same where nothing makes the key unique: change the rows that are there, add the others."""
    dialect = session.dialect
    update = dialect.update_from(target, shape.names, key, source)
    table, staged = dialect.table(target), dialect.table(source)
    if update is None:
        same = dialect.same(key, f"{table}.", "s.")
        session.execute(f"DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM {staged} s WHERE {same})")
        session.execute(dialect.insert(target, shape.names, f"SELECT {dialect.names(shape.names)} FROM {staged}"))
        return
    session.execute(update)
    same = dialect.same(key, "t.", "s.")
    select = f"SELECT {dialect.names(shape.names, 's.')} FROM {staged} s"
    session.execute(dialect.insert(target, shape.names, f"{select} WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {same})"))


def _winners(
    session: Session, target: TableName, request: WriteRequest, staged: TableName, columns: Sequence[str], keys: str, last_by: str
) -> TableName:
    """A table of the one row for each key that came last; of rows that came at once, the same one wins in every run."""
    dialect = session.dialect
    found = target.beside(staging_prefix(request) + "last")
    rest = ", ".join(dialect.comparable(name) for name in columns if name != last_by)
    order = f"CASE WHEN {dialect.quoted(last_by)} IS NULL THEN 1 ELSE 0 END, {dialect.quoted(last_by)} DESC"
    numbered = (
        f"SELECT {dialect.names(columns)}, row_number() OVER (PARTITION BY {keys} ORDER BY {order}{', ' + rest if rest else ''}) "
        f"AS {_NUMBER} FROM {dialect.table(staged)}"
    )
    names = dialect.names(columns)
    for statement in dialect.create_scratch(found, f"SELECT {names} FROM ({numbered}) n WHERE {_NUMBER} = 1"):
        session.execute(statement)
    return found
