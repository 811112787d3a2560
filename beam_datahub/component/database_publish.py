"""What a commit does inside its transaction: staged rows become those of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database import Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_history import History, history_of, publish_history, scratch_of
from beam_datahub.component.database_ledger import staging_prefix
from beam_datahub.component.database_options import HISTORY_MODES, DatabaseWriteOptions
from beam_datahub.component.database_shape import Shape
from beam_datahub.component.database_upsert import bring, merges_at_once, refuse_twice
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.errors import TargetUnusable

_NUMBER = "dh_number"


@dataclass(frozen=True)
class Publication:
    """What one run publishes in one table; `columns` are those of its staging tables."""

    target: TableName
    request: WriteRequest
    shape: Shape
    columns: tuple[TableColumn, ...]
    options: DatabaseWriteOptions

    @property
    def history(self) -> History:
        """How the table keeps its history."""
        return history_of(self.target, self.request, self.shape, self.options)

    @property
    def winners(self) -> TableName:
        """The scratch table of the rows that count, of several with one key."""
        return self.target.beside(staging_prefix(self.request) + "last")

    def scratch(self, dialect: Dialect) -> list[str]:
        """Make the tables that publishing needs for a while."""
        if self.request.mode in HISTORY_MODES:
            return scratch_of(dialect, self.history)
        if self.request.mode == WriteMode.MERGE and self.options.last_by is not None:
            return dialect.create_scratch(self.winners, self.columns, self.key)
        return []

    @property
    def scratch_names(self) -> list[TableName]:
        """Those tables."""
        if self.request.mode in HISTORY_MODES:
            return [self.history.points, self.history.rows]
        return [self.winners]

    @property
    def key(self) -> tuple[str, ...]:
        """The key's columns, as the target has them."""
        return tuple(self.shape.named(name) for name in self.request.key)

    @property
    def moves(self) -> bool:
        """Whether the first staged rows can become those of a new table as they are."""
        return self.shape.creates and self.request.mode in (WriteMode.APPEND, WriteMode.OVERWRITE, WriteMode.DELETE_INSERT)


def publish(session: Session, publication: Publication, receipts: Sequence[Receipt]) -> None:
    """Make the target what it has to be and move the staged rows into it. Raises TargetUnusable."""
    target, request, dialect = publication.target, publication.request, session.dialect
    staged = [target.beside(receipt.location) for receipt in receipts]
    is_new, moved = publication.shape.creates, 0
    _refuse_outside(session, publication, staged)
    rename = dialect.rename(staged[0], target.name) if staged and publication.moves else None
    if rename is not None:
        # A new table needs no second copy of its first rows.
        session.execute(rename)
        _check(int(session.fetch(f"SELECT count(*) FROM {dialect.table(target)}")[0][0]), receipts[0].rows)
        moved = 1
    else:
        for statement in publication.shape.statements:
            session.execute(statement)
    if request.mode == WriteMode.MERGE or request.mode in HISTORY_MODES:
        if staged:
            _by_key(session, publication, staged, sum(receipt.rows for receipt in receipts))
    else:
        if not is_new:
            _clear(session, publication, staged)
        for table, receipt in list(zip(staged, receipts, strict=True))[moved:]:
            _check(session.bring(target, publication.shape.names, table, receipt.detail), receipt.rows)
    if dialect.transactional_ddl:
        for table in staged[moved:]:
            session.execute(dialect.drop(table))


def _check(moved: int, staged: int) -> None:
    if moved not in (-1, staged):
        raise TargetUnusable(f"{staged} rows were staged and {moved} are there: the server lost some", hint="run it again")


def _refuse_outside(session: Session, publication: Publication, staged: Sequence[TableName]) -> None:
    """Refuse rows that the next run would not delete."""
    where = publication.options.delete_where
    for table in staged if where is not None else ():
        outside = f"SELECT count(*) FROM {session.dialect.table(table)} WHERE CASE WHEN {where} THEN 0 ELSE 1 END = 1"
        count = int(session.fetch(outside)[0][0])
        if count:
            raise TargetUnusable(
                f"{count} of the rows for '{publication.target}' do not meet `delete_where` ({where})",
                hint="the next run would double them: filter them out before, or widen the condition",
            )


def _clear(session: Session, publication: Publication, staged: Sequence[TableName]) -> None:
    """Remove what the staged rows replace."""
    target, dialect = publication.target, session.dialect
    if publication.request.mode == WriteMode.OVERWRITE:
        session.clear(target)
    elif publication.options.delete_where is not None:
        session.execute(f"DELETE FROM {dialect.table(target)} WHERE {publication.options.delete_where}")
    elif publication.request.mode == WriteMode.DELETE_INSERT:
        for table in staged:
            session.execute(dialect.delete_matching(target, publication.key, table))


def _by_key(session: Session, publication: Publication, staged: Sequence[TableName], rows: int) -> None:
    """Bring the staged rows to those of their keys."""
    dialect, mode = session.dialect, publication.request.mode
    first = staged[0]
    if mode == WriteMode.MERGE:
        columns = [column.name for column in publication.columns]
        for table in staged[1:]:
            session.execute(dialect.insert(first, columns, f"SELECT {dialect.names(columns)} FROM {dialect.table(table)}"))
        if _merges_plainly(session, publication):
            # The statement itself says whether all rows are there and no key comes twice.
            names = publication.shape.names
            select = f"SELECT {dialect.names(names)} FROM {dialect.table(first)} WHERE 1 = 1"
            _check(session.execute(dialect.upsert(publication.target, names, publication.key, select)), rows)
            return
    counted = staged if mode in HISTORY_MODES else [first]
    _check(sum(int(session.fetch(f"SELECT count(*) FROM {dialect.table(table)}")[0][0]) for table in counted), rows)
    if dialect.transactional_ddl:
        for statement in publication.scratch(dialect):
            session.execute(statement)
    if mode in HISTORY_MODES:
        publish_history(session, publication.target, publication.history, staged, is_new=publication.shape.creates)
    else:
        _merge(session, publication, first)
    if dialect.transactional_ddl:
        for table in publication.scratch_names:
            session.execute(dialect.drop(table))


def _merges_plainly(session: Session, publication: Publication) -> bool:
    options = publication.options
    if not session.dialect.tells_twice or options.delete_marker is not None or options.last_by is not None:
        return False
    return merges_at_once(session, publication.target, publication.key, is_new=publication.shape.creates)


def _merge(session: Session, publication: Publication, staged: TableName) -> None:
    dialect, target, key, options = session.dialect, publication.target, publication.key, publication.options
    if options.last_by is not None:
        _winners(session, publication, staged)
        staged = publication.winners
    else:
        hint = "name the column that tells with `last_by`, or deduplicate before"
        refuse_twice(session, staged, key, (), "merged rows have the same key", hint)
    if options.delete_marker is not None:
        marked = f"{dialect.quoted(options.delete_marker)} = {dialect.true}"
        session.execute(dialect.delete_matching(target, key, staged, marked))
        session.execute(f"DELETE FROM {dialect.table(staged)} WHERE {marked}")
    bring(session, target, publication.shape.names, key, staged, is_new=publication.shape.creates)


def _winners(session: Session, publication: Publication, staged: TableName) -> None:
    """Find the one row for each key that came last; of rows that came at once, the same one wins in every run."""
    dialect = session.dialect
    last_by = publication.shape.named(publication.options.last_by or "")
    columns = [column.name for column in publication.columns]
    rest = "".join(", " + dialect.comparable(name) for name in columns if name != last_by)
    order = f"CASE WHEN {dialect.quoted(last_by)} IS NULL THEN 1 ELSE 0 END, {dialect.quoted(last_by)} DESC{rest}"
    names = dialect.names(columns)
    numbered = (
        f"SELECT {names}, row_number() OVER (PARTITION BY {dialect.names(publication.key)} ORDER BY {order}) AS {_NUMBER} "
        f"FROM {dialect.table(staged)}"
    )
    select = f"SELECT {names} FROM ({numbered}) n WHERE {_NUMBER} = 1"
    session.execute(dialect.insert(publication.winners, columns, select))
