"""Bundles whose rows surely fit their table, staged as the packed text of LOAD DATA: they go into a table once, when published.

What a server might refuse is found by loading it into a staging table, whose rows publishing copies: twice the work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.database import RowsRefused, Session, TableColumn, retrying
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_sink import DatabaseSink, DatabaseWriter
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.mysql.rows import given_columns, load_columns, load_texts, packed
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql.types import ColumnDetail

_PART_BYTES = 2 << 20
_TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": (1 << 24) - 1, "longtext": (1 << 32) - 1}
_BLOBS = {"tinyblob": 255, "blob": 65_535, "mediumblob": (1 << 24) - 1, "longblob": (1 << 32) - 1}
# What any server and calendar has.
_DAYS = (date(1000, 1, 1), date(9999, 12, 31))
_MOMENTS = (datetime(1000, 1, 1), datetime(9999, 12, 31))
_STAMPS = (datetime(1970, 1, 2, tzinfo=UTC), datetime(2038, 1, 18, tzinfo=UTC))


@dataclass(frozen=True)
class Packed:
    """Rows as texts of LOAD DATA: `columns` is what that statement says of them, each part with the bytes of its text."""

    columns: str
    parts: tuple[tuple[int, bytes], ...]


class PackedWriter(DatabaseWriter):
    """Stages batches packed where all of their rows surely fit, the others as any database does."""

    def __init__(self, sink: DatabaseSink, request: WriteRequest) -> None:
        super().__init__(sink, request)
        self._pack = self._table.beside(self._table.name + "_packed")
        self._met: tuple[tuple[TableColumn, ...], bool] | None = None
        self._said: str | None = None
        self._batches = self._packed_rows = self._packed_bytes = 0

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        for attempt in retrying():
            with attempt, self._sink.connected() as session:
                kept = self._keep(session, batch, attempt.retry_state.attempt_number)
        if not kept:
            return super().write(batch)
        self._batches += 1
        self._packed_rows += batch.num_rows
        self._packed_bytes += batch.nbytes
        return None

    def _keep(self, session: Session, batch: pa.RecordBatch, attempt: int) -> bool:
        """Whether the rows are staged packed."""
        assert isinstance(session, MysqlSession)
        if self._met is None:
            columns, _, checks = self._meeting(session)
            self._met = columns, not checks
        columns, free = self._met
        missing = any(batch.column(index).null_count for index in self._needed)
        if missing or not free or not batch.num_rows or not session.takes_files:
            return False
        rows = packed_rows(session.dialect, columns, batch, session.packet_bytes // 4)
        if rows is None or self._said not in (None, rows.columns):
            return False
        table = session.dialect.table(self._pack)
        if self._said is None:
            session.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (batch INT NOT NULL, part INT NOT NULL, size INT NOT NULL, "
                "data LONGBLOB NOT NULL, PRIMARY KEY (batch, part)) ENGINE=InnoDB"
            )
            self._said = rows.columns
        # Of a batch that was sent before no answer may have come.
        if attempt > 1 and session.fetch(f"SELECT 1 FROM {table} WHERE batch = {self._batches} LIMIT 1"):
            return True
        with session.transaction():
            for number, (size, data) in enumerate(rows.parts):
                session.execute(f"INSERT INTO {table} VALUES ({self._batches}, {number}, {size}, x'{data.hex()}')")
        return True

    def close(self) -> Sequence[Receipt]:
        packed = Receipt(self._pack.name, self._packed_rows, self._packed_bytes, self._said) if self._packed_rows else None
        if packed is None:
            self._forget()
        loaded = super().close() if self._rows else ()
        if not self._rows:
            super().discard()
        return (packed, *loaded) if packed is not None else loaded

    def discard(self) -> None:
        self._forget()
        super().discard()

    def _forget(self) -> None:
        if self._said is None:
            return
        try:
            with self._sink.connected() as session:
                session.execute(self._sink.dialect.drop(self._pack))
        except DataHubError:
            # The run drops it when it ends, the next one where this one dies.
            pass
        self._said = None


def packed_rows(dialect: Dialect, columns: Sequence[TableColumn], batch: pa.RecordBatch, most_bytes: int) -> Packed | None:
    """The rows packed; None where a server might refuse one, or a part would be longer than it takes."""
    if not all(
        _fits(array, field.type, column) for array, field, column in zip(batch.columns, batch.schema, columns, strict=True)
    ):
        return None
    try:
        given = given_columns(batch, columns)
    except RowsRefused:
        return None
    parts = []
    least = min(most_bytes, _PART_BYTES)
    rows = max(1, least * batch.num_rows // max(1, 2 * batch.nbytes))
    for text in load_texts(given, rows):
        if len(text) > most_bytes:
            return None
        parts.append((len(text), packed(text)))
    return Packed(load_columns(dialect, columns, given), tuple(parts))


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
