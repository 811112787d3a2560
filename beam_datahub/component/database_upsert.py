"""Bringing the rows of one table into another by a key, and telling when a key comes twice."""

from __future__ import annotations

from collections.abc import Sequence

from beam_datahub.component.database import Session, TableName
from beam_datahub.errors import TargetUnusable


def merges_at_once(session: Session, target: TableName, key: Sequence[str], *, is_new: bool) -> bool:
    """Whether one statement can add and change rows: the key is unique in the target, and no other one could be met."""
    dialect = session.dialect
    if not dialect.merges_in_place:
        return False
    there = [frozenset(key)] if is_new else session.unique_keys(target)
    return frozenset(key) in there and (len(set(there)) == 1 or not dialect.upserts_any_key)


def bring(
    session: Session, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName, *, is_new: bool
) -> None:
    """Change the rows of the target whose key a table has, and add its others; the key comes once in it."""
    dialect = session.dialect
    if merges_at_once(session, target, key, is_new=is_new):
        select = f"SELECT {dialect.names(columns)} FROM {dialect.table(source)} WHERE 1 = 1"
        session.execute(dialect.upsert(target, columns, key, select))
        return
    # Where nothing makes the key unique.
    table, staged = dialect.table(target), dialect.table(source)
    update = dialect.update_from(target, columns, key, source)
    if update is None:
        session.execute(dialect.delete_matching(target, key, source))
        session.execute(dialect.insert(target, columns, f"SELECT {dialect.names(columns)} FROM {staged}"))
        return
    session.execute(update)
    same = dialect.same(key, "t.", "s.")
    select = f"SELECT {dialect.names(columns, 's.')} FROM {staged} s"
    session.execute(dialect.insert(target, columns, f"{select} WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {same})"))


def refuse_twice(session: Session, table: TableName, key: Sequence[str], values: Sequence[str], what: str, hint: str) -> None:
    """Refuse rows of one key that differ in `values`, or all that are more than one where there are none.

    Raises TargetUnusable, which says `what` there are several of.
    """
    dialect = session.dialect
    keys, source = dialect.names(key), dialect.table(table)
    counted = dialect.count_of_keys(key) if not values else None
    if counted is not None:
        rows, found = session.fetch(f"SELECT count(*), {counted} FROM {source}")[0]
        if rows == found:
            return
    if values:
        apart = ", ".join(f"{dialect.comparable(name)} AS dh_value_{number}" for number, name in enumerate(values))
        source = f"(SELECT DISTINCT {keys}, {apart} FROM {source}) d"
    twice = session.fetch(f"SELECT {keys}, count(*) FROM {source} GROUP BY {keys} HAVING count(*) > 1 {dialect.first_rows(1)}")
    if twice:
        which = ", ".join(f"{name} {value}" for name, value in zip(key, twice[0], strict=False))
        raise TargetUnusable(f"{twice[0][-1]} of the {what} ({which}), and nothing says which wins", hint=hint)
