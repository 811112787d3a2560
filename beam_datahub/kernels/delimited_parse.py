"""Pieces of delimited text as columns: straight of the wanted types where that works, as text where it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from beam_datahub.kernels.delimited import Dialect, Lines, Offsets, Records, Scan, as_text, has_comment, lines_of, records_of
from beam_datahub.kernels.delimited_odd import OddTexts
from beam_datahub.kernels.delimited_stream import Piece
from beam_datahub.kernels.delimited_values import (
    may_be_too_big,
    parses_natively,
)
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.session import single_batch

_COLUMN_ERROR = re.compile(r"In CSV column #(\d+): ")


@dataclass(frozen=True)
class Column:
    """A column to read: its field, and where it stands in the file (None: the file has no such column)."""

    field: pa.Field
    index: int | None


class _Misfit(Exception):
    """Values of the columns at these places of the file do not read straight to their types."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = tuple(indices)


@dataclass(frozen=True)
class Refused:
    """A record that is no row: its position in the piece, the reason code and the message."""

    position: int
    reason: str
    message: str


@dataclass(frozen=True)
class Parsed:
    """A piece as columns; the columns `as_text` are still text. `positions` are those of the rows, None when all are rows."""

    piece: Piece
    table: pa.Table
    as_text: frozenset[int]
    positions: Offsets | None
    refused: tuple[Refused, ...]
    total: int
    parser: Parser = field(repr=False)

    @cached_property
    def records(self) -> Records | Lines:
        """The records of the piece, by position."""
        if self.piece.overlong is not None:
            size = len(self.piece.data)
            edge = np.array([size], np.int64)
            return Records(self.piece.data, np.zeros(1, np.int64), edge, edge, edge)
        dialect = self.parser.dialect
        return lines_of(self.piece.data, self.total, dialect) or records_of(self.piece.data, dialect)

    def originals(self, positions: Sequence[int]) -> list[str]:
        """The records as JSON objects of text; those that cannot be parsed as they stand in the file."""
        refused = {one.position for one in self.refused}
        wanted = self.records.some(np.array(positions, np.int64))
        clean = [i for i, position in enumerate(positions) if position not in refused]
        rows = iter(self.parser.texts(wanted.only(np.array(clean, np.int64))))
        return [as_text(wanted.raw(i)).rstrip("\r\n") if p in refused else next(rows) for i, p in enumerate(positions)]

    def lines(self, positions: Sequence[int]) -> list[int | None]:
        """The 1-based lines of the file on which the records begin."""
        if isinstance(self.records, Lines):
            return [self.piece.line + 1 + position for position in positions]
        # In a file, a line break is one even where an escape makes it part of a value.
        dialect = self.parser.dialect
        plain = self.piece.overlong is None and (dialect.escapes is None or dialect.escapes not in self.piece.data)
        ends = self.records.line_ends if plain else Scan(self.piece.data, Dialect(quote=None)).line_ends
        before = np.searchsorted(ends, self.records.some(np.array(positions, np.int64)).starts, side="right")
        return [self.piece.line + 1 + int(count) for count in before]


class Parser:
    """Parses the pieces of one file, which has the columns `names`; may be used by several threads at once.

    A column whose values do not all read straight to its type is read as text from then on.
    """

    def __init__(self, names: Sequence[str], columns: Sequence[Column], dialect: Dialect) -> None:
        self.names, self.columns, self.dialect = tuple(names), tuple(columns), dialect
        # Of columns that are read as text, by their place among `columns`.
        self.odd_texts: dict[str, OddTexts] = {}
        self._as_text = {
            i
            for i, column in enumerate(columns)
            if column.index is not None
            and (
                not parses_natively(column.field.type)
                or dialect.formats_of(column.field.name, column.field.type)
                or (dialect.thousands is not None and _is_number(column.field.type))
                or (dialect.decimal_point != "." and pa.types.is_decimal(column.field.type))
            )
        }

    def parse(self, piece: Piece) -> Parsed:
        """The rows of a piece, and the records that are none."""
        data = piece.data
        if piece.overlong is not None:
            refused: tuple[Refused, ...] = (Refused(0, "malformed", piece.overlong),)
            return Parsed(piece, self._empty(), frozenset(self._as_text), np.zeros(0, np.int64), refused, 1, self)
        bad: list[Refused] = []
        kept: Offsets | None = None
        valid = data.isascii() or _is_utf8(data)
        if not valid and self.dialect.encoding_errors == "replace":
            data, valid = data.decode("utf-8", "replace").encode(), True
        if not valid or has_comment(data, self.dialect):
            records = records_of(data, self.dialect)
            if not valid:
                bad = [Refused(i, "encoding", message) for i, message in _undecodable(records)]
            kept = np.setdiff1d(np.arange(len(records)), np.array([one.position for one in bad], np.int64), assume_unique=True)
            data = records.only(kept)
        while True:
            as_text_now = frozenset(self._as_text)
            try:
                table, rows, ragged, count = self._table(data, as_text_now)
                break
            except _Misfit as misfit:
                self._as_text |= {i for i, column in enumerate(self.columns) if column.index in misfit.indices}
        if kept is not None:
            rows = kept if rows is None else kept[rows]
            ragged = [Refused(int(kept[one.position]), one.reason, one.message) for one in ragged]
            rows = None if not bad and not ragged else rows
        refused = tuple(sorted(bad + ragged, key=lambda one: one.position))
        return Parsed(piece, table, as_text_now, rows, refused, count + len(bad), self)

    def texts(self, data: bytes) -> list[str]:
        """The records of `data` as JSON objects of text."""
        if not data:
            return []
        table, _ = self._read(data, len(self.names), list(range(len(self.names))), {}, nulls=False)
        found: list[str] = json_rows(single_batch(table.rename_columns(self.names))).to_pylist()
        return found

    def _table(self, data: bytes, texts: frozenset[int]) -> tuple[pa.Table, Offsets | None, list[Refused], int]:
        """The rows of `data`; which of its records they are (None: all); the ragged ones; how many records there are."""
        width = len(self.names)
        main, odd = self._columns(data, width, texts)
        count = main.num_rows + len(odd)
        if not odd:
            return main, None, [], count
        mends = [row for row in odd if self.dialect.ragged != "reject" and (self.dialect.ragged == "fit" or row[2] < width)]
        mended = {number for number, _, _ in mends}
        refused = [
            Refused(number, "ragged", f"expected {_fields(width)}, found {found}")
            for number, _, found in odd
            if number not in mended
        ]
        even = np.ones(count, bool)
        even[[number for number, _, _ in odd]] = False
        rows = np.flatnonzero(even)
        if not mends:
            return main, rows, refused, count
        tables, places = [main], [rows]
        for fields in sorted({found for _, _, found in mends}):
            group = [(number, text) for number, text, found in mends if found == fields]
            lines = "".join(text + "\n" for _, text in group).encode()
            part, _ = self._columns(lines, fields, texts)
            tables.append(part)
            places.append(np.array([number for number, _ in group], np.int64))
        rows = np.concatenate(places)
        order = np.argsort(rows)
        whole = pa.concat_tables(tables).take(pa.array(order))
        rows = rows[order]
        return whole, None if len(rows) == count else rows, refused, count

    def _columns(self, data: bytes, width: int, texts: frozenset[int]) -> tuple[pa.Table, list[tuple[int, str, int]]]:
        """The wanted columns of records that have `width` fields, and the records that have not: index, text, fields."""
        indices = [column.index for column in self.columns if column.index is not None and column.index < width]
        types = {
            column.index: _read_type(column.field.type)
            for i, column in enumerate(self.columns)
            if column.index is not None and i not in texts
        }
        found, odd = self._read(data, width, indices or [0], types)
        arrays, at, misfits = [], 0, []
        for i, column in enumerate(self.columns):
            target = pa.string() if i in texts else column.field.type
            if column.index is None or column.index >= width:
                arrays.append(pa.chunked_array([pa.nulls(found.num_rows, target)]))
                continue
            array, at = found.column(at), at + 1
            try:
                array = self._trimmed(array) if self.dialect.trim and target == pa.string() else cast(array, target)
            except pa.ArrowInvalid:
                misfits.append(column.index)
            if i not in texts and may_be_too_big(array):
                misfits.append(column.index)
            arrays.append(array)
        if misfits:
            raise _Misfit(misfits)
        return pa.table(arrays, names=[str(i) for i in range(len(arrays))]), odd

    def _read(
        self, data: bytes, width: int, indices: Sequence[int], types: dict[int, pa.DataType], *, nulls: bool = True
    ) -> tuple[pa.Table, list[tuple[int, str, int]]]:
        odd: list[tuple[int, str, int]] = []

        def skip(row: csv.InvalidRow) -> str:
            odd.append((row.number - 1, row.text, row.actual_columns))
            return "skip"

        if not data:
            return pa.table([pa.array([], types.get(i, pa.string())) for i in indices], names=[str(i) for i in indices]), odd
        dialect = self.dialect
        names = [str(i) for i in range(width)]
        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                # One chunk, so that rows are numbered, line breaks in quotes need no care, and the batch needs no copy.
                read_options=csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=dialect.quote or False,
                    double_quote=dialect.doubles,
                    escape_char=dialect.escapes.decode() if dialect.escapes else False,
                    newlines_in_values=True,
                    ignore_empty_lines=dialect.empty_lines == "skip",
                    invalid_row_handler=skip,
                ),
                convert_options=csv.ConvertOptions(
                    # Checked before, for the record as a whole.
                    check_utf8=False,
                    column_types={str(i): types.get(i, pa.string()) for i in indices},
                    include_columns=[str(i) for i in indices],
                    null_values=list(dialect.null_words),
                    strings_can_be_null=nulls,
                    quoted_strings_can_be_null=False,
                    true_values=_spellings(dialect.true_words),
                    false_values=_spellings(dialect.false_words),
                    decimal_point=dialect.decimal_point,
                ),
            )
        except pa.ArrowInvalid as error:
            found = _COLUMN_ERROR.match(str(error))
            if found is None:
                raise
            raise _Misfit([int(found[1])]) from None
        return table, odd

    def _trimmed(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        trimmed = pc.utf8_trim(array, " \t")
        emptied = pc.and_(pc.is_in(trimmed, pa.array(self.dialect.null_words, pa.string())), pc.not_equal(trimmed, array))
        return pc.if_else(emptied, pa.scalar(None, pa.string()), trimmed)

    def _empty(self) -> pa.Table:
        kinds = [pa.string() if i in self._as_text else column.field.type for i, column in enumerate(self.columns)]
        return pa.table([pa.array([], kind) for kind in kinds], names=[str(i) for i in range(len(kinds))])


def _is_number(data_type: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(data_type) or t.is_floating(data_type) or t.is_decimal(data_type))


def _read_type(data_type: pa.DataType) -> pa.DataType:
    # pyarrow's parser does not see when a decimal overflows; its cast does.
    return pa.string() if pa.types.is_decimal(data_type) else data_type


def cast(array: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    """A column as Arrow reads it. Raises ArrowInvalid where a value is not of the type."""
    if pa.types.is_decimal(data_type) and pa.types.is_string(array.type):
        # Scaling 38 digits needs more room than the decimal itself has.
        array = array.cast(pa.decimal256(38, data_type.scale))
    return array if array.type == data_type else array.cast(data_type)


def _spellings(words: Sequence[str]) -> list[str]:
    return sorted({form for word in words for form in (word, word.lower(), word.upper(), word.title())})


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _is_utf8(data: bytes) -> bool:
    """Whether `data` is valid UTF-8; checked by Arrow, which lets other threads run meanwhile."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _undecodable(records: Records) -> list[tuple[int, str]]:
    """The records that are not valid UTF-8, with what is wrong."""
    full = np.frombuffer(records.data, np.uint8)
    high = np.concatenate([[0], np.cumsum(full >= 0x80)])
    suspects = np.flatnonzero(high[records.ends] > high[records.starts])
    found = []
    for index in suspects.tolist():
        raw = records.raw(index)
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            found.append((index, f"byte {error.start + 1} of the record is not valid in the file's encoding"))
    return found
