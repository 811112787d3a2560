"""Databases as destinations: bundles are loaded into staging tables, then published in one transaction with a ledger's entry.

A system subclasses `DatabaseSink`, says how it is reached (`connected`) and how it spells things (its session and dialect).
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component import database_erasure
from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config
from beam_datahub.component.database import RowsRefused, Session, TableColumn, TableName, retrying
from beam_datahub.component.database_dialect import LEDGER, Dialect
from beam_datahub.component.database_ledger import DatabaseLedger, staging_prefix
from beam_datahub.component.database_options import (
    KEYED_MODES,
    DatabaseWriteOptions,
    check_options,
    needed,
    table_key,
    table_schema,
)
from beam_datahub.component.database_publish import Publication, publish
from beam_datahub.component.database_shape import Shape, existing_table, new_table
from beam_datahub.component.halving import singled_out
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Finding, Line, Report
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import DataHubError, TargetUnusable
from beam_datahub.kernels.rejection import rejections

__all__ = ["DATABASE_MODES", "DatabaseSink", "DatabaseWriteOptions"]

DATABASE_MODES = tuple(WriteMode)


class DatabaseSink(Sink):
    """A table of a database."""

    Options: ClassVar[type[Config]] = DatabaseWriteOptions
    capabilities = SinkCapabilities(write_modes=DATABASE_MODES, rejects=True, erase=True)
    streams = True
    dialect: Dialect

    options: DatabaseWriteOptions

    @abstractmethod
    def connected(self) -> AbstractContextManager[Session]:
        """A connection for a while. Raises ConnectorError."""

    @property
    def target(self) -> TableName:
        """The table that is written. Raises InvalidValue."""
        return TableName.parse(self.options.table)

    def check(self) -> Report:
        lines: list[Line] = []
        try:
            with self.connected() as session:
                lines += self.reached(session)
                target = self.target
                columns = session.columns(target)
                told = f"{target}, {len(columns)} columns" if columns is not None else f"{target} will be made"
                lines.append(("table", True, told))
                # What begins every write: a table of our own beside the target.
                with session.transaction():
                    probe = target.beside(f"_dh_check_{secrets.token_hex(4)}")
                    session.execute(self.dialect.create(probe, [("n", self.dialect.declared(pa.int64()))]))
                    session.execute(self.dialect.drop(probe))
                lines.append(("rights", True, "tables can be made"))
                if columns is not None:
                    names = [column.name for column in columns if not column.computed]
                    none = f"SELECT {self.dialect.names(names)} FROM {self.dialect.table(target)} WHERE 1 = 0"
                    with session.transaction():
                        session.execute(self.dialect.insert(target, names, none))
                        session.execute(f"DELETE FROM {self.dialect.table(target)} WHERE 1 = 0")
                    lines.append(("right to write", True, str(target)))
        except DataHubError as error:
            lines.append(Finding("reach" if not lines else "rights", False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        try:
            with self.connected() as session:
                return Report(tuple(self.reached(session)))
        except DataHubError as error:
            return Report((Finding("reach", False, error.reason, error.hint),))

    def reached(self, session: Session) -> Sequence[Line]:
        """What `check` tells of the server that answered."""
        return [("reach", True, "connected")]

    def plan_write(self, request: WriteRequest) -> None:
        check_options(self.options, request)
        new_table(self.dialect, self.target, table_schema(self.options, request), table_key(self.options, request))

    @property
    def place(self) -> str:
        """Where a person finds the rows."""
        return str(self.target)

    def prepare(self, request: WriteRequest) -> None:
        for attempt in retrying():
            with attempt, self.connected() as session:
                DatabaseLedger(session, self.target, request).begin()
                shape = self.shape(session, request)
                self.refuse(session, request, shape)

    def refuse(self, session: Session, request: WriteRequest, shape: Shape) -> None:
        """Refuse what could be found out only when everything has run."""
        if request.mode not in KEYED_MODES or shape.creates:
            return
        key = frozenset(shape.named(name) for name in table_key(self.options, request))
        unique = session.unique_keys(self.target)
        one = next((each for each in unique if each < key), None) if request.mode == WriteMode.SCD2 else None
        if one is not None:
            hint = f"make it unique by {', '.join(sorted(key))}, or write to another table"
            raise TargetUnusable(f"'{self.target}' holds one row for each {', '.join(sorted(one))}, and no versions", hint=hint)
        if key in unique and self.dialect.merges_in_place:
            return
        there = session.columns(self.target) or ()
        left = [column.name for column in there if column.name not in shape.names and not column.computed]
        if self.dialect.update_from(self.target, shape.names, tuple(key), self.target) is None and left:
            raise TargetUnusable(
                f"writing '{self.target}' by its key would lose its column '{left[0]}', which is not written",
                hint="write it as well",
            )

    def shape(self, session: Session, request: WriteRequest) -> Shape:
        """How the rows meet the table as it is now. Raises TargetUnusable, LossyWrite."""
        there = session.columns(self.target)
        schema = table_schema(self.options, request)
        if there is None:
            return new_table(self.dialect, self.target, schema, table_key(self.options, request))
        if request.mode == WriteMode.SCD2:
            names = {column.name.casefold() for column in there}
            for name in (self.options.valid_from, self.options.valid_to, self.options.is_current):
                if name.casefold() not in names:
                    hint = "add the three columns there and fill them, or write to another table"
                    raise TargetUnusable(f"'{self.target}' has no column '{name}': its rows have no history", hint=hint)
        return existing_table(self.dialect, self.target, schema, there, self.options.evolve)

    def staged(self, shape: Shape, request: WriteRequest) -> tuple[TableColumn, ...]:
        """The columns of a staging table, in the order of the request's schema."""
        options = self.options
        found = dict(zip(shape.given, shape.columns, strict=True))
        if request.mode == WriteMode.SCD2 and options.effective_at is not None:
            found[options.effective_at] = found[options.valid_from]
        if options.delete_marker is not None and options.delete_marker not in found:
            declared = self.dialect.declared(pa.bool_())
            found[options.delete_marker] = TableColumn(options.delete_marker, declared, pa.bool_())
        return tuple(found[name] for name in request.schema.names)

    def open(self, request: WriteRequest) -> Writer:
        return DatabaseWriter(self, request)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        rows, size = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
        for attempt in retrying():
            with attempt, self.connected() as session:
                ledger = DatabaseLedger(session, self.target, request)
                before = ledger.committed()
                if before is None:
                    if not self.dialect.transactional_ddl:
                        # Such a statement would end the transaction, and publish the half of it.
                        publication = self._publication(session, request)
                        made = publication.scratch(self.dialect) if receipts else []
                        dropped = map(self.dialect.drop, publication.scratch_names if made else ())
                        for statement in [*publication.shape.statements, *dropped, *made]:
                            session.execute(statement)
                    with session.transaction():
                        if ledger.claim(rows):
                            publish(session, self._publication(session, request), receipts)
                else:
                    rows = before
                if request.epoch is None:
                    ledger.drop_staging(staging_prefix(request))
                else:
                    # What other epochs have staged stays.
                    for receipt in receipts:
                        session.execute(self.dialect.drop(self.target.beside(receipt.location)))
        return Committed(rows, size, (self.place,))

    def find(self, request: WriteRequest, subject: Subject, take: Callable[[bytes], None] | None = None) -> Held:
        return database_erasure.find(self, subject, take)

    def erase(self, request: WriteRequest, subject: Subject) -> Held:
        return database_erasure.erase(self, subject)

    def _publication(self, session: Session, request: WriteRequest) -> Publication:
        shape = self.shape(session, request)
        return Publication(self.target, request, shape, self.staged(shape, request), self.options)

    def abort(self, request: WriteRequest) -> None:
        with self.connected() as session:
            ledger = DatabaseLedger(session, self.target, request)
            if session.columns(self.target.beside(LEDGER)) is not None:
                ledger.forget()


class DatabaseWriter(Writer):
    """Loads the batches of one bundle into a staging table of its own; what the database refuses is found by halving."""

    def __init__(self, sink: DatabaseSink, request: WriteRequest) -> None:
        self._sink, self._request = sink, request
        self._table = sink.target.beside(staging_prefix(request) + secrets.token_hex(4))
        self._columns: tuple[TableColumn, ...] | None = None
        # Each column that no row may leave out, with what is said of one that does.
        self._needed = {request.schema.get_field_index(name): text for name, text in needed(sink.options, request).items()}
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        found: list[tuple[int, str, str | None]] = []
        # Where the rows are that are left, once some are not: a number for each costs as much as loading it.
        rows: pa.Array | None = None
        for index, text in self._needed.items():
            if batch.column(index).null_count:
                rows = pa.array(range(batch.num_rows), pa.int64()) if rows is None else rows
                bad = pc.indices_nonzero(pc.is_null(batch.column(index))).to_pylist()
                found += [(rows[i].as_py(), text, batch.schema.names[index]) for i in bad]
                good = pc.is_valid(batch.column(index))
                batch, rows = batch.filter(good), rows.filter(good)
        if batch.num_rows:
            for attempt in retrying():
                with attempt, self._sink.connected() as session:
                    columns = self._made(session)
                    done, already = self._rows, self._recovered(session, attempt.retry_state.attempt_number, batch.num_rows)
                    refused = [] if already else self._load(session, columns, batch)
            self._rows = done + batch.num_rows - len(refused)
            self._bytes += batch.nbytes
            found += [(at if rows is None else rows[at].as_py(), message, column) for at, message, column in refused]
        if not found:
            return None
        found.sort()
        return rejections([row for row, _, _ in found], "refused", [text for _, text, _ in found], [name for _, _, name in found])

    def _made(self, session: Session) -> tuple[TableColumn, ...]:
        """The columns of the staging table, which the first rows make."""
        if self._columns is None:
            columns, target, checks = self._meeting(session)
            with session.transaction():
                for statement in self._sink.dialect.create_staging(self._table, target, columns, checks):
                    session.execute(statement)
            self._columns = columns
        return self._columns

    def _meeting(self, session: Session) -> tuple[tuple[TableColumn, ...], TableName | None, Sequence[str]]:
        """The columns of what is staged, the table that has them (None: it is not there yet), and its conditions."""
        sink = self._sink
        shape = sink.shape(session, self._request)
        columns = sink.staged(shape, self._request)
        return (columns, None, ()) if shape.creates else (columns, sink.target, session.checks(sink.target))

    def _recovered(self, session: Session, attempt: int, rows: int) -> bool:
        """Whether a load of which no answer came was done after all. Raises TargetUnusable where what was staged is lost."""
        if attempt == 1:
            return False
        found = int(session.fetch(f"SELECT count(*) FROM {self._sink.dialect.table(self._table)}")[0][0])
        if found in (self._rows, self._rows + rows):
            return found != self._rows
        raise TargetUnusable("what is staged there is not what was sent: the connection or the server broke", hint="run it again")

    def _load(self, session: Session, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> list[tuple[int, str, str | None]]:
        """Load what the database takes; the others by their row, with its words and the column."""

        def attempt(first: int, count: int) -> tuple[str, str | None] | None:
            try:
                session.load(self._table, columns, batch.slice(first, count))
            except RowsRefused as error:
                # What the user knows is the target.
                return (error.message.replace(self._table.name, self._sink.target.name), error.column)
            return None

        return [(at, message, column) for at, (message, column) in singled_out(batch.num_rows, attempt)]

    def close(self) -> Sequence[Receipt]:
        if not self._rows:
            self.discard()
            return ()
        return (Receipt(self._table.name, self._rows, self._bytes),)

    def discard(self) -> None:
        if self._columns is None:
            return
        try:
            with self._sink.connected() as session:
                session.execute(self._sink.dialect.drop(self._table))
        except DataHubError:
            # The run drops it when it ends, the next one where this one dies.
            pass
        self._columns = None
