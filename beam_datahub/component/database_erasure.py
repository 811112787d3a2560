"""Finds and removes the rows of one person in the table of a destination, by conditions that the database evaluates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.database import Relation, Session, TableColumn, TableName, retrying
from beam_datahub.component.registry import component
from beam_datahub.component.source import BATCH_BYTES, ReadRequest
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import SourceMissing, TargetUnusable
from beam_datahub.kernels.json_rows import joined, json_rows
from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.workbench import over

if TYPE_CHECKING:
    from beam_datahub.component.database_dialect import Dialect
    from beam_datahub.component.database_sink import DatabaseSink
    from beam_datahub.component.database_source import DatabaseSource

_WHOLE, _NUMBER = re.compile(r"[+-]?\d+"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
# So many texts are asked for in one condition.
_TEXTS = 500

# Takes the subject's rows as the text of JSON lines.
Take = Callable[[bytes], None]


def find(sink: DatabaseSink, subject: Subject, take: Take | None = None) -> Held:
    """The subject's rows in the destination's table. Raises ConnectorError."""
    source = reader(sink)
    try:
        for attempt in retrying():
            with attempt, source.connected() as session:
                conditions, uncertain = _conditions(session, sink.target, subject)
                rows = sum(_count(session, sink.target, condition) for condition in conditions)
    except SourceMissing:
        # Nothing was ever written there.
        return Held()
    for condition in conditions if take is not None and rows else ():
        _hand_out(reader(sink, condition), take)  # type: ignore[arg-type]
    return Held(rows, (sink.place,) if rows else (), uncertain)


def erase(sink: DatabaseSink, subject: Subject) -> Held:
    """Remove the subject's rows, all or none. Raises ConnectorError."""
    held = find(sink, subject)
    if not held.rows:
        return held
    for attempt in retrying():
        with attempt, sink.connected() as session:
            conditions, uncertain = _conditions(session, sink.target, subject)
            rows = 0
            with session.transaction():
                for condition in conditions:
                    rows += _count(session, sink.target, condition)
                    session.execute(f"DELETE FROM {sink.dialect.table(sink.target)} WHERE {condition}")
                if any(_count(session, sink.target, condition) for condition in conditions):
                    raise TargetUnusable(f"rows of '{sink.target}' stay although they were deleted", hint="look at its triggers")
    return Held(rows, (sink.place,), uncertain)


def reader(sink: DatabaseSink, where: str | None = None) -> DatabaseSource:
    """The source that reads what the sink writes, those rows that meet a condition."""
    kind: Any = component("source", sink.name)
    return kind(sink.connection, kind.Options(table=sink.target.spelt, where=where))  # type: ignore[no-any-return]


def _count(session: Session, table: TableName, condition: str) -> int:
    return int(session.fetch(f"SELECT count(*) FROM {session.dialect.table(table)} WHERE {condition}")[0][0])


def _hand_out(source: DatabaseSource, take: Take) -> None:
    schema = source.discover().schema
    request = ReadRequest(schema, tuple(schema.names))
    for split in source.splits(request):
        with closing(source.read(split, request)) as blocks:  # type: ignore[type-var]
            for block in blocks:
                if block.batch.num_rows:
                    take(bytes(joined(json_rows(block.batch, ending="\n"))))
                if block.rejected is not None and block.rejected.num_rows and block.originals is not None:
                    # A value that its column's type cannot hold is the person's all the same.
                    take("".join(f"{text}\n" for text in block.originals(block.rejected["row"].to_pylist())).encode())


def _conditions(session: Session, table: TableName, subject: Subject) -> tuple[list[str], int]:
    """Conditions that together are true for the subject's rows, each row under one; and how many rows merely mention it."""
    columns = {column.name.casefold(): column for column in session.columns(table) or ()}
    if subject.inside is not None:
        inside = columns.get(subject.inside.casefold())
        return _inside(session, table, subject, inside) if inside is not None else ([], 0)
    tests = [
        _equals(session.dialect, columns[name.casefold()], value) for name, value in subject.pairs if name.casefold() in columns
    ]
    known = [test for test in tests if test is not None]
    return ([f"({' OR '.join(known)})"] if known else []), 0


def _equals(dialect: Dialect, column: TableColumn, value: str) -> str | None:
    """A condition that a column has a value that is written as text; None where it can have no such value."""
    t, kind, name = pa.types, column.type, dialect.quoted(column.name)
    if t.is_integer(kind):
        return f"{name} = {int(value)}" if _WHOLE.fullmatch(value) else None
    if t.is_decimal(kind) or t.is_floating(kind):
        return dialect.same_number(column, Decimal(value)) if _NUMBER.fullmatch(value) else None
    texts = [value, json.dumps(value, ensure_ascii=False)] if kind == JSON else [value]
    return _among(dialect, column, texts)


def _among(dialect: Dialect, column: TableColumn, texts: Sequence[str]) -> str:
    # As texts on both sides: collations would take others for the same.
    literals = ", ".join(dialect.as_text(dialect.literal(text)) for text in texts)
    return f"{dialect.as_text(dialect.quoted(column.name))} IN ({literals})"


def _inside(session: Session, table: TableName, subject: Subject, column: TableColumn) -> tuple[list[str], int]:
    """The same by a column that holds records as JSON."""
    theirs: dict[str, None] = {}
    uncertain = 0
    for texts in _texts(session, table, column):
        given = pa.table({"c": texts})
        found = over(given, f"SELECT DISTINCT c FROM t WHERE {subject.json_condition('c')}").column(0).to_pylist()
        theirs |= dict.fromkeys(found)
        if not subject.mentions:
            uncertain += over(given, f"SELECT count(*) AS n FROM t WHERE {subject.mentioned('c')}").column(0)[0].as_py()
    listed = list(theirs)
    return [_among(session.dialect, column, listed[at : at + _TEXTS]) for at in range(0, len(listed), _TEXTS)], uncertain


def _texts(session: Session, table: TableName, column: TableColumn) -> Iterator[pa.Array]:
    for batch in session.stream([column], Relation(table=table), [], None, BATCH_BYTES):
        yield batch.column(0).cast(pa.string())
