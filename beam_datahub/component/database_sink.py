"""Databases as destinations: bundles are loaded into staging tables, then published in one transaction with a ledger's entry.

A system subclasses `DatabaseSink`, says how it is reached (`connected`) and how it spells things (its session and dialect).
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config
from beam_datahub.component.database import RowsRefused, Session, TableColumn, TableName, retrying
from beam_datahub.component.database_dialect import LEDGER, Dialect
from beam_datahub.component.database_ledger import DatabaseLedger, staging_prefix
from beam_datahub.component.database_publish import publish
from beam_datahub.component.database_shape import Shape, existing_table, new_table
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import DataHubError, InvalidValue, TargetUnusable, UnknownColumn
from beam_datahub.kernels.rejection import rejections


class DatabaseWriteOptions(Config):
    """Where rows go and how they meet what is there."""

    table: str
    """The table: `orders` or `sales.orders`. It is made when it is not there."""

    last_by: str | None = None
    """With `merge`: of several rows with one key in a run, the one with the highest value of this column wins."""

    delete_marker: str | None = None
    """With `merge`: a BOOLEAN column; where it is true, the row with that key is removed. It is not written itself."""

    evolve: Literal["add", "widen", "none"] = "add"
    """How a table that is there may be changed: `add` new columns, `widen` types that are too narrow as well, or `none`."""


class DatabaseSink(Sink):
    """A table of a database."""

    Options: ClassVar[type[Config]] = DatabaseWriteOptions
    capabilities = SinkCapabilities(write_modes=(WriteMode.APPEND, WriteMode.OVERWRITE, WriteMode.MERGE), rejects=True)
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
        lines: list[tuple[str, bool, str]] = []
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
        except DataHubError as error:
            lines.append(("reach" if not lines else "rights", False, error.reason))
        return Report(tuple(lines))

    def reach(self) -> Report:
        try:
            with self.connected() as session:
                return Report(tuple(self.reached(session)))
        except DataHubError as error:
            return Report((("reach", False, error.reason),))

    def reached(self, session: Session) -> list[tuple[str, bool, str]]:
        """What `check` tells of the server that answered."""
        return [("reach", True, "connected")]

    def plan_write(self, request: WriteRequest) -> None:
        new_table(self.dialect, self.target, self._written(request), request.key)
        options = self.options
        if request.mode == WriteMode.MERGE:
            if not request.key:
                raise InvalidValue("write_mode merge needs the columns that identify a row", hint="name them: `key: [id]`")
        elif options.last_by or options.delete_marker:
            option = "last_by" if options.last_by else "delete_marker"
            raise InvalidValue(f"`{option}` is for write_mode merge", hint="leave it out")
        for name in filter(None, (options.last_by, options.delete_marker)):
            if name not in request.schema.names:
                raise UnknownColumn(name, request.schema.names)
        marker = options.delete_marker
        if marker is not None and not pa.types.is_boolean(request.schema.field(marker).type):
            raise InvalidValue(f"the delete marker '{marker}' is not BOOLEAN", hint="compute one in a mapping before")
        if marker is not None and marker in request.key:
            raise InvalidValue(f"the delete marker '{marker}' cannot be part of the key")

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
        if request.mode != WriteMode.MERGE or shape.creates:
            return
        key = frozenset(map(shape.named, request.key))
        if key in session.unique_keys(self.target) and self.dialect.merges_in_place:
            return
        there = session.columns(self.target) or ()
        left = [column.name for column in there if column.name not in shape.names and not column.computed]
        if self.dialect.update_from(self.target, shape.names, tuple(key), self.target) is None and left:
            raise TargetUnusable(
                f"merging into '{self.target}' would lose its column '{left[0]}', which is not written", hint="write it as well"
            )

    def shape(self, session: Session, request: WriteRequest) -> Shape:
        """How the rows meet the table as it is now. Raises TargetUnusable, LossyWrite."""
        there = session.columns(self.target)
        schema = self._written(request)
        if there is None:
            return new_table(self.dialect, self.target, schema, request.key if request.mode == WriteMode.MERGE else ())
        return existing_table(self.dialect, self.target, schema, there, self.options.evolve)

    def _written(self, request: WriteRequest) -> pa.Schema:
        """The columns that the table gets."""
        return pa.schema([field for field in request.schema if field.name != self.options.delete_marker])

    def staged(self, shape: Shape, request: WriteRequest) -> tuple[TableColumn, ...]:
        """The columns of a staging table, in the order of the request's schema."""
        marker = self.options.delete_marker
        found = dict(zip(shape.given, shape.columns, strict=True))
        if marker is not None:
            declared = self.dialect.declared(pa.bool_())
            found[marker] = TableColumn(marker, declared, pa.bool_())
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
                        for statement in self.shape(session, request).statements:
                            session.execute(statement)
                    with session.transaction():
                        if ledger.claim(rows):
                            shape = self.shape(session, request)
                            publish(session, self.target, request, shape, receipts, self.options)
                else:
                    rows = before
                ledger.drop_staging(staging_prefix(request))
        return Committed(rows, size, (self.place,))

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
        self._key: list[int] = [request.schema.get_field_index(name) for name in request.key]
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        found: list[tuple[int, str, str | None]] = []
        rows = pa.array(range(batch.num_rows), pa.int64())
        if self._request.mode == WriteMode.MERGE:
            for index in self._key:
                if batch.column(index).null_count:
                    name = batch.schema.names[index]
                    bad = pc.indices_nonzero(pc.is_null(batch.column(index))).to_pylist()
                    found += [(rows[i].as_py(), f"the key column '{name}' is null", name) for i in bad]
                    good = pc.is_valid(batch.column(index))
                    batch, rows = batch.filter(good), rows.filter(good)
        if batch.num_rows:
            for attempt in retrying():
                with attempt, self._sink.connected() as session:
                    columns = self._made(session)
                    done, already = self._rows, self._recovered(session, attempt.retry_state.attempt_number, batch.num_rows)
                    refused = [] if already else list(self._load(session, columns, batch, 0))
            self._rows = done + batch.num_rows - len(refused)
            self._bytes += batch.nbytes
            found += [(rows[at].as_py(), message, column) for at, message, column in refused]
        if not found:
            return None
        found.sort()
        return rejections([row for row, _, _ in found], "refused", [text for _, text, _ in found], [name for _, _, name in found])

    def _made(self, session: Session) -> tuple[TableColumn, ...]:
        """The columns of the staging table, which the first rows make."""
        if self._columns is None:
            sink = self._sink
            shape = sink.shape(session, self._request)
            columns = sink.staged(shape, self._request)
            target = None if shape.creates else sink.target
            checks = [] if shape.creates else session.checks(sink.target)
            with session.transaction():
                for statement in sink.dialect.create_staging(self._table, target, columns, checks):
                    session.execute(statement)
            self._columns = columns
        return self._columns

    def _recovered(self, session: Session, attempt: int, rows: int) -> bool:
        """Whether a load of which no answer came was done after all. Raises TargetUnusable where what was staged is lost."""
        if attempt == 1:
            return False
        found = int(session.fetch(f"SELECT count(*) FROM {self._sink.dialect.table(self._table)}")[0][0])
        if found in (self._rows, self._rows + rows):
            return found != self._rows
        raise TargetUnusable("what is staged there is not what was sent: the connection or the server broke", hint="run it again")

    def _load(
        self, session: Session, columns: Sequence[TableColumn], batch: pa.RecordBatch, at: int
    ) -> list[tuple[int, str, str | None]]:
        """Load what the database takes; the others by their row, the first being `at`, with its words and the column."""
        try:
            session.load(self._table, columns, batch)
            return []
        except RowsRefused as error:
            if batch.num_rows == 1:
                # What the user knows is the target.
                return [(at, error.message.replace(self._table.name, self._sink.target.name), error.column)]
        half = batch.num_rows // 2
        return [
            *self._load(session, columns, batch.slice(0, half), at),
            *self._load(session, columns, batch.slice(half), at + half),
        ]

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
