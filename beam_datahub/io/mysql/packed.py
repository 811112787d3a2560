"""Bundles whose rows surely fit their table, staged as the text of LOAD DATA: they go into a table once, when published.

That text lies packed beside the table, or in files of this process where nobody else is to publish it. What a server might refuse
is found by loading it into a staging table, whose rows publishing copies: twice the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.database import RowsRefused, Session, TableColumn, retrying
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_sink import DatabaseSink, DatabaseWriter
from beam_datahub.component.held import hold, let_go
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.mysql.rows import given_columns, letters_of, load_columns, load_texts, packed
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql.spool import Spool, Spooled
from beam_datahub.io.mysql.types import ColumnDetail

_PART_BYTES = 2 << 20
_TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": (1 << 24) - 1, "longtext": (1 << 32) - 1}
_BLOBS = {"tinyblob": 255, "blob": 65_535, "mediumblob": (1 << 24) - 1, "longblob": (1 << 32) - 1}
# What any server and calendar has.
_DAYS = (date(1000, 1, 1), date(9999, 12, 31))
_MOMENTS = (datetime(1000, 1, 1), datetime(9999, 12, 31))
_STAMPS = (datetime(1970, 1, 2, tzinfo=UTC), datetime(2038, 1, 18, tzinfo=UTC))


@dataclass(frozen=True)
class SureRows:
    """Rows that the server takes, as columns of texts; what LOAD DATA is told of the columns and of their characters."""

    given: list[pa.Array]
    columns: str
    letters: str
    part_rows: int

    def texts(self) -> Iterator[memoryview]:
        """The rows as LOAD DATA reads them, in parts."""
        return load_texts(self.given, self.part_rows)


@dataclass(frozen=True)
class _Meeting:
    """The columns that the rows meet, whether nothing else may refuse one, and the longest text that the server takes."""

    columns: tuple[TableColumn, ...]
    free: bool
    most_bytes: int


class PackedWriter(DatabaseWriter):
    """Stages batches as texts where all of their rows surely fit, the others as any database does."""

    def __init__(self, sink: DatabaseSink, request: WriteRequest) -> None:
        super().__init__(sink, request)
        self._pack = self._table.beside(self._table.name + "_packed")
        self._here = self._table.name + "_here"
        self._spool = Spool() if request.stays else None
        self._meets: _Meeting | None = None
        self._said: str | None = None
        self._batches = self._packed_rows = self._packed_bytes = 0
        self._spooled_rows = self._spooled_bytes = 0

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        rows = self._sure(batch)
        if rows is None:
            return super().write(batch)
        if self._spool is not None and self._spool.keep(rows.letters, rows.texts()):
            if not self._spooled_rows:
                hold(self._here, self._spool)
            self._spooled_rows += batch.num_rows
            self._spooled_bytes += batch.nbytes
        elif self._sent(rows):
            self._packed_rows += batch.num_rows
            self._packed_bytes += batch.nbytes
        else:
            return super().write(batch)
        self._said = rows.columns
        return None

    def _sure(self, batch: pa.RecordBatch) -> SureRows | None:
        """The rows where the server surely takes all of them."""
        if self._meets is None:
            for attempt in retrying():
                with attempt, self._sink.connected() as session:
                    self._meets = self._met(session)
        assert self._meets is not None
        if not batch.num_rows or not self._meets.free or any(batch.column(index).null_count for index in self._needed):
            return None
        rows = sure_rows(self._sink.dialect, self._meets.columns, batch, min(self._meets.most_bytes, _PART_BYTES))
        return rows if rows is not None and self._said in (None, rows.columns) else None

    def _met(self, session: Session) -> _Meeting:
        assert isinstance(session, MysqlSession)
        columns, _, checks = self._meeting(session)
        return _Meeting(columns, not checks and session.takes_files, session.packet_bytes // 4)

    def _sent(self, rows: SureRows) -> bool:
        """Stage the rows packed; False where a part would be longer than the server takes."""
        assert self._meets is not None
        parts = []
        for text in rows.texts():
            if len(text) > self._meets.most_bytes:
                return False
            parts.append((len(text), packed(text)))
        for attempt in retrying():
            with attempt, self._sink.connected() as session:
                self._send(session, rows.letters, parts, attempt.retry_state.attempt_number)
        self._batches += 1
        return True

    def _send(self, session: Session, letters: str, parts: Sequence[tuple[int, bytes]], attempt: int) -> None:
        table = session.dialect.table(self._pack)
        if not self._batches:
            session.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (batch INT NOT NULL, part INT NOT NULL, size INT NOT NULL, "
                "letters VARCHAR(16) NOT NULL, data LONGBLOB NOT NULL, PRIMARY KEY (batch, part)) ENGINE=InnoDB"
            )
        # Of a batch that was sent before no answer may have come.
        if attempt > 1 and session.fetch(f"SELECT 1 FROM {table} WHERE batch = {self._batches} LIMIT 1"):
            return
        with session.transaction():
            for number, (size, data) in enumerate(parts):
                values = f"{self._batches}, {number}, {size}, '{letters}', x'{data.hex()}'"
                session.execute(f"INSERT INTO {table} VALUES ({values})")

    def close(self) -> Sequence[Receipt]:
        found: list[Receipt] = []
        if self._spooled_rows and self._spool is not None and self._said is not None:
            self._spool.close()
            found.append(Receipt(self._here, self._spooled_rows, self._spooled_bytes, Spooled(self._said)))
        if self._packed_rows:
            found.append(Receipt(self._pack.name, self._packed_rows, self._packed_bytes, self._said))
        else:
            self._forget()
        if self._rows:
            return (*found, *super().close())
        super().discard()
        return tuple(found)

    def discard(self) -> None:
        if self._spool is not None:
            self._spool.release()
            let_go(self._here)
        self._forget()
        super().discard()

    def _forget(self) -> None:
        if not self._batches:
            return
        try:
            with self._sink.connected() as session:
                session.execute(self._sink.dialect.drop(self._pack))
        except DataHubError:
            # The run drops it when it ends, the next one where this one dies.
            pass
        self._batches = 0


def sure_rows(dialect: Dialect, columns: Sequence[TableColumn], batch: pa.RecordBatch, part_bytes: int) -> SureRows | None:
    """The rows in parts of about so many bytes; None where a server might refuse one."""
    if not all(
        _fits(array, field.type, column) for array, field, column in zip(batch.columns, batch.schema, columns, strict=True)
    ):
        return None
    try:
        given = given_columns(batch, columns)
    except RowsRefused:
        return None
    rows = max(1, part_bytes * batch.num_rows // max(1, 2 * batch.nbytes))
    return SureRows(given, load_columns(dialect, columns, given), letters_of(batch, given), rows)


def _fits(array: pa.Array, kind: pa.DataType, column: TableColumn) -> bool:
    """Whether the server surely takes each value as it is."""
    t, declared = pa.types, column.declared.lower()
    found = re.fullmatch(r"(\w+)(?:\((\d+)(?:,\d+)?\))?( unsigned)?", declared)
    if found is None or (array.null_count and not column.nullable):
        return False
    name, size, unsigned = found[1], int(found[2] or 0), bool(found[3])
    if t.is_boolean(kind):
        return name == "tinyint"
    if t.is_integer(kind):
        return t.is_integer(column.type) and name not in ("mediumint", "year", "bit") and _within_type(array, column.type)
    if t.is_floating(kind):
        finite = bool(pc.all(pc.is_finite(array), min_count=0).as_py())
        return finite and (declared == "double" or (declared == "float" and t.is_float32(kind)))
    if t.is_decimal(kind):
        there = column.type
        digits = (
            t.is_decimal(there) and there.scale >= kind.scale and there.precision - there.scale >= kind.precision - kind.scale
        )
        return bool(digits) and not unsigned
    if t.is_string(kind):
        if name == "varchar":
            return _is_known(array, column) and _longest(array) <= size
        return name in _TEXTS and _is_known(array, column) and _longest(array) <= _TEXTS[name]
    if t.is_binary(kind):
        return _longest(array) <= (size if name == "varbinary" else _BLOBS.get(name, -1))
    if t.is_date(kind):
        return name == "date" and _within(array, _DAYS)
    if t.is_timestamp(kind):
        return _within(array, _STAMPS) if name == "timestamp" and kind.tz else name == "datetime" and _within(array, _MOMENTS)
    return t.is_time(kind) and name == "time"


def _within_type(array: pa.Array, kind: pa.DataType) -> bool:
    signed = pa.types.is_signed_integer(kind)
    greatest = (1 << (kind.bit_width - signed)) - 1
    return _within(array, (-greatest - 1 if signed else 0, greatest))


def _within(array: pa.Array, bounds: tuple[Any, Any]) -> bool:
    found = pc.min_max(array)
    low, high = found["min"], found["max"]
    if not low.is_valid:
        return True
    if pa.types.is_integer(array.type):
        return bool(bounds[0] <= low.as_py() and high.as_py() <= bounds[1])
    least, most = (pa.scalar(each, array.type) for each in bounds)
    return bool(pc.less_equal(least, low).as_py() and pc.less_equal(high, most).as_py())


def _longest(array: pa.Array) -> int:
    """The most bytes of a value, of which there are as many as characters, or more."""
    return int(pc.max(pc.binary_length(array)).as_py() or 0)


def _is_known(array: pa.Array, column: TableColumn) -> bool:
    """Whether the character set of the column has all characters of the texts."""
    collation = (
        column.detail.collation if isinstance(column.detail, ColumnDetail) else "utf8mb4" if column.detail is None else None
    )
    if collation is not None and collation.startswith("utf8mb4"):
        return True
    return bool(pc.all(pc.string_is_ascii(array), min_count=0).as_py())
