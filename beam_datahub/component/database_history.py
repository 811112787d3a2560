"""Publishing changes into tables that keep a history: the newest state of a key, its previous values, or all of its versions.

Changes and what the target has of their keys are put into one scratch table, put in order by window functions into a second one,
and brought into the target by a few statements; nothing goes row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.database import Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_ledger import staging_prefix
from beam_datahub.component.database_options import DatabaseWriteOptions
from beam_datahub.component.database_shape import Shape
from beam_datahub.component.database_upsert import bring, refuse_twice
from beam_datahub.component.sink import WriteRequest

# Columns of scratch tables beside those of the target: whether a row ends its key; where a row of the target ends; whether the
# target has a row just so; and what a row is: a change, a row of the target, or the end of one.
_DEAD, _END, _SAME, _ORIGIN = "dh_dead", "dh_end", "dh_same", "dh_origin"
_NEW, _THERE, _ENDED = 0, 1, 2


@dataclass(frozen=True)
class History:
    """How a table keeps the history of its keys. All columns have the names that they have there.

    `written` are the columns that come from what is written, `made` those that publishing adds: the end of a version and whether
    it is the current one, or the previous values of those that are `tracked`. `points` and `rows` are the scratch tables.
    """

    mode: WriteMode
    key: tuple[str, ...]
    effective: str | None
    last_by: str | None
    tracked: tuple[TableColumn, ...]
    written: tuple[TableColumn, ...]
    made: tuple[TableColumn, ...]
    marker: str | None
    at_once: bool
    points: TableName
    rows: TableName

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that come from what is written."""
        return tuple(column.name for column in self.written)

    @property
    def all_names(self) -> tuple[str, ...]:
        """All columns that publishing writes."""
        return (*self.names, *(column.name for column in self.made))

    @property
    def row_key(self) -> tuple[str, ...]:
        """What tells rows of the table apart."""
        return (*self.key, self.effective) if self.mode == WriteMode.SCD2 and self.effective is not None else self.key


def history_of(target: TableName, request: WriteRequest, shape: Shape, options: DatabaseWriteOptions) -> History:
    """How the target keeps the history of what the request writes."""
    by_name = dict(zip(shape.given, shape.columns, strict=True))
    versions = request.mode == WriteMode.SCD2
    moment = options.valid_from if versions else options.effective_at
    made = (options.valid_to, options.is_current)
    tracked = options.track or ()
    if not versions:
        made = tuple(options.previous_prefix + name for name in tracked)  # type: ignore[assignment]
    elif options.track is None:
        tracked = tuple(name for name in shape.given if name not in (*request.key, moment, *made))
    last_by = moment if versions and options.last_by == options.effective_at else options.last_by
    prefix = staging_prefix(request)
    return History(
        mode=request.mode,
        key=tuple(by_name[name].name for name in request.key),
        effective=None if moment is None else by_name[moment].name,
        last_by=None if options.last_by is None or last_by is None else by_name[last_by].name,
        tracked=tuple(by_name[name] for name in tracked),
        written=tuple(column for name, column in by_name.items() if name not in made),
        made=tuple(by_name[name] for name in made),
        marker=options.delete_marker if versions else None,
        at_once=versions and options.effective_at is None,
        points=target.beside(prefix + "points"),
        rows=target.beside(prefix + "rows"),
    )


def scratch_of(dialect: Dialect, kept: History) -> list[str]:
    """Make the two tables in which changes are put in order."""
    count = TableColumn(_ORIGIN, dialect.declared(pa.int64()), pa.int64())
    loose = [replace(column, nullable=True) for column in (*kept.written, *kept.made)]
    if kept.mode == WriteMode.SCD2:
        end = replace(kept.made[0], name=_END, nullable=True)
        points = [*loose[: len(kept.written)], end, replace(count, name=_DEAD), count]
        rows = [*loose, replace(count, name=_SAME)]
    else:
        points, rows = [*loose, count], loose
    return [*dialect.create_scratch(kept.points, points, kept.row_key), *dialect.create_scratch(kept.rows, rows, kept.row_key)]


def publish_history(session: Session, target: TableName, kept: History, staged: Sequence[TableName], *, is_new: bool) -> None:
    """Bring the staged changes into the target. Raises TargetUnusable where two of them contradict each other."""
    lock = session.dialect.lock(target)
    if lock is not None and not is_new:
        # Two runs that see the same versions would both go on from them.
        session.execute(lock)
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
    for table in staged:
        _take(session, kept, table, moment)
    if kept.last_by is None:
        _refuse_contradictions(session, kept)
    if kept.mode == WriteMode.SCD2:
        _versions(session, target, kept, is_new=is_new)
    else:
        _newest(session, target, kept, is_new=is_new)


def _take(session: Session, kept: History, staged: TableName, moment: str) -> None:
    """Put staged changes among the points; `moment` is when those took place that do not say so."""
    dialect = session.dialect
    items = [dialect.quoted(name) for name in kept.names]
    if kept.at_once:
        at = next(index for index, column in enumerate(kept.written) if column.name == kept.effective)
        items[at] = dialect.moment_as(moment, kept.written[at].declared)
    columns = [*kept.names, _ORIGIN]
    items.append(str(_NEW))
    if kept.mode == WriteMode.SCD2:
        columns.append(_DEAD)
        marked = None if kept.marker is None else f"{dialect.quoted(kept.marker)} = {dialect.true}"
        items.append("0" if marked is None else f"CASE WHEN {marked} THEN 1 ELSE 0 END")
    session.execute(dialect.insert(kept.points, columns, f"SELECT {', '.join(items)} FROM {dialect.table(staged)}"))


def _refuse_contradictions(session: Session, kept: History) -> None:
    both = [*kept.key, *([kept.effective] if kept.effective is not None else [])]
    if kept.mode == WriteMode.SCD2:
        values = [*(column.name for column in kept.tracked), _DEAD]
    else:
        values = [name for name in kept.names if name not in both]
    at_once = " at one moment" if kept.effective is not None and not kept.at_once else ""
    hint = "name the column that tells with `last_by`, or deduplicate before"
    if kept.effective is None or kept.at_once:
        hint = "say with `effective_at` when each took place, or with `last_by` which came last"
    refuse_twice(session, kept.points, both, values, f"changes of one key{at_once} differ", hint)


def _there(session: Session, target: TableName, kept: History, columns: Sequence[str], items: str, where: str = "") -> None:
    """Put what the target, `t`, has of the changed keys beside the changes."""
    dialect = session.dialect
    changed = f"(SELECT DISTINCT {dialect.names(kept.key)} FROM {dialect.table(kept.points)} WHERE {_ORIGIN} = {_NEW}) k"
    rows = f"{dialect.table(target)} t JOIN {changed} ON {dialect.same(kept.key, 't.', 'k.')}"
    session.execute(dialect.insert(kept.points, columns, f"SELECT {items} FROM {rows}{where}"))


def _order(dialect: Dialect, kept: History) -> str:
    """The order of what is there of one key at one moment, what counts first; the same in every run."""
    parts = [_ORIGIN]
    if kept.last_by is not None:
        name = dialect.quoted(kept.last_by)
        parts += [f"CASE WHEN {name} IS NULL THEN 1 ELSE 0 END", f"{name} DESC"]
    return ", ".join([*parts, *(dialect.comparable(name) for name in kept.names)])


def _versions(session: Session, target: TableName, kept: History, *, is_new: bool) -> None:
    """All versions of the keys, each from one moment at which something changed to the next one."""
    dialect = session.dialect
    assert kept.effective is not None
    end = kept.made[0].name
    since, until, names = dialect.quoted(kept.effective), dialect.quoted(end), kept.names
    if not is_new:
        into = [*names, _END, _DEAD, _ORIGIN]
        # A row that was never valid stands for an end that came before its beginning.
        never = f"CASE WHEN t.{until} = t.{since} THEN 1 ELSE 0 END"
        _there(session, target, kept, into, f"{dialect.names(names, 't.')}, t.{until}, {never}, {_THERE}")
        ends = dialect.names([end if name == kept.effective else name for name in names], "t.")
        _there(session, target, kept, into, f"{ends}, t.{until}, 1, {_ENDED}", f" WHERE t.{until} > t.{since}")
    _analyse(session, kept.points)
    session.execute(dialect.insert(kept.rows, [*kept.all_names, _SAME], _parts(dialect, kept)))
    _analyse(session, kept.rows)
    if not is_new:
        # What is left of the target's rows is no version any more: the one before says the same, or the key ended there.
        session.execute(f"DELETE FROM {dialect.table(kept.points)} WHERE {_ORIGIN} <> {_THERE}")
        session.execute(dialect.delete_matching(kept.points, kept.row_key, kept.rows))
        session.execute(dialect.delete_matching(target, kept.row_key, kept.points))
        session.execute(f"DELETE FROM {dialect.table(kept.rows)} WHERE {_SAME} = 1")
    bring(session, target, kept.all_names, kept.row_key, kept.rows, is_new=is_new)


def _parts(dialect: Dialect, kept: History) -> str:
    """The versions that the points make."""
    assert kept.effective is not None
    since, listed, keys = dialect.quoted(kept.effective), dialect.names(kept.names), dialect.names(kept.key)
    along = f"PARTITION BY {keys} ORDER BY {since}"
    flags = f"{_END}, {_DEAD}, {_ORIGIN}"
    order = _order(dialect, kept)
    place = f"row_number() OVER (PARTITION BY {keys}, {since} ORDER BY {order}) AS dh_place"
    one = f"SELECT {listed}, {flags}, {place} FROM {dialect.table(kept.points)}"
    before = "".join(f", lag({dialect.quoted(column.name)}) OVER ({along}) AS dh_{n}" for n, column in enumerate(kept.tracked))
    pairs = f"SELECT {listed}, {flags}, lag({_DEAD}) OVER ({along}) AS dh_was{before} FROM ({one}) p1 WHERE dh_place = 1"
    differing = " ".join(
        f"WHEN {dialect.differs(dialect.quoted(column.name), f'dh_{n}', column.type)} = 1 THEN 1"
        for n, column in enumerate(kept.tracked)
    )
    begins = (
        f"SELECT {listed}, {flags}, CASE WHEN dh_was IS NULL OR dh_was <> {_DEAD} THEN 1 WHEN {_DEAD} = 1 THEN 0 {differing} "
        f"ELSE 0 END AS dh_begins FROM ({pairs}) p2"
    )
    numbered = f"SELECT p3.*, sum(dh_begins) OVER ({along}) AS dh_part FROM ({begins}) p3"
    # Of a part, the first row has the moment, the last one the values of columns that are not tracked.
    part = f"PARTITION BY {keys}, dh_part"
    last = (
        f"SELECT p4.*, min({since}) OVER ({part}) AS dh_since, row_number() OVER ({part} ORDER BY {since} DESC) AS dh_last "
        f"FROM ({numbered}) p4"
    )
    ends = f"lead(dh_since) OVER (PARTITION BY {keys} ORDER BY dh_since) AS dh_next"
    following = f"SELECT p5.*, {ends} FROM ({last}) p5 WHERE dh_last = 1"
    items = ", ".join("dh_since" if name == kept.effective else dialect.quoted(name) for name in kept.names)
    same_end = f"(dh_next = {_END} OR (dh_next IS NULL AND {_END} IS NULL) OR {_DEAD} = 1)"
    return (
        f"SELECT {items}, CASE WHEN {_DEAD} = 1 THEN dh_since ELSE dh_next END, "
        f"CASE WHEN {_DEAD} = 0 AND dh_next IS NULL THEN {dialect.true} ELSE {dialect.false} END, "
        f"CASE WHEN {_ORIGIN} = {_THERE} AND {since} = dh_since AND {same_end} THEN 1 ELSE 0 END "
        f"FROM ({following}) p6 WHERE {_DEAD} = 0 OR dh_part = 1"
    )


def _newest(session: Session, target: TableName, kept: History, *, is_new: bool) -> None:
    """The newest state of each key, with the values that its tracked columns had before they last changed."""
    dialect = session.dialect
    if not is_new:
        _there(session, target, kept, [*kept.all_names, _ORIGIN], f"{dialect.names(kept.all_names, 't.')}, {_THERE}")
    _analyse(session, kept.points)
    session.execute(dialect.insert(kept.rows, kept.all_names, _states(dialect, kept)))
    _analyse(session, kept.rows)
    bring(session, target, kept.all_names, kept.row_key, kept.rows, is_new=is_new)


def _states(dialect: Dialect, kept: History) -> str:
    """The states that the points make, of those keys whose newest one is not in the target."""
    apart, order = f"PARTITION BY {dialect.names(kept.key)}", _order(dialect, kept)
    if kept.effective is not None:
        moment = dialect.quoted(kept.effective)
        order = f"CASE WHEN {moment} IS NULL THEN 1 ELSE 0 END, {moment} DESC, {order}"
    select = (
        f"SELECT {dialect.names(kept.all_names)}, {_ORIGIN}, row_number() OVER ({apart} ORDER BY {order}) AS dh_place "
        f"FROM {dialect.table(kept.points)}"
    )
    items = dialect.names(kept.names)
    tracked = list(enumerate(dialect.quoted(column.name) for column in kept.tracked))
    if tracked:
        newest = "".join(f", first_value({name}) OVER ({apart} ORDER BY dh_place) AS dh_newest_{n}" for n, name in tracked)
        # What is older than the target's row falls between values of which nobody knows when they were.
        there = f"min(CASE WHEN {_ORIGIN} = {_THERE} THEN dh_place END) OVER ({apart}) AS dh_there"
        select = f"SELECT p1.*, {there}{newest} FROM ({select}) p1"
        others = "".join(
            f", CASE WHEN {dialect.differs(name, f'dh_newest_{n}', kept.tracked[n].type)} = 1 THEN dh_place END AS dh_other_{n}"
            for n, name in tracked
        )
        select = f"SELECT p2.*{others} FROM ({select}) p2 WHERE dh_there IS NULL OR dh_place <= dh_there"
        select = (
            f"SELECT p3.*{''.join(f', min(dh_other_{n}) OVER ({apart}) AS dh_at_{n}' for n, _ in tracked)} FROM ({select}) p3"
        )
        values = "".join(
            f", first_value({name}) OVER ({apart} ORDER BY CASE WHEN dh_place = dh_at_{n} THEN 0 ELSE 1 END, dh_place) "
            f"AS dh_old_{n}"
            f", first_value({dialect.quoted(kept.made[n].name)}) OVER ({apart} ORDER BY dh_place DESC) AS dh_kept_{n}"
            for n, name in tracked
        )
        select = f"SELECT p4.*{values} FROM ({select}) p4"
        items += "".join(f", CASE WHEN dh_at_{n} IS NOT NULL THEN dh_old_{n} ELSE dh_kept_{n} END" for n, _ in tracked)
    return f"SELECT {items} FROM ({select}) p5 WHERE dh_place = 1 AND {_ORIGIN} = {_NEW}"


def _analyse(session: Session, table: TableName) -> None:
    """Let the database know what is in a table that it has never seen before."""
    statement = session.dialect.analyse(table)
    if statement is not None:
        session.execute(statement)
