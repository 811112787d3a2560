"""Pieces of delimited text as columns: straight of the wanted types where that works, as text where it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from beam_datahub.kernels.arrays import as_mask, mask, numbers
from beam_datahub.kernels.delimited import Dialect, Lines, Offsets, Records, Scan, as_text, has_comment, lines_of, records_of
from beam_datahub.kernels.delimited_encoding import is_utf8, undecodable
from beam_datahub.kernels.delimited_odd import OddTexts
from beam_datahub.kernels.delimited_stream import Piece
from beam_datahub.kernels.delimited_values import cast, may_be_too_big, parses_natively, read_type, spellings
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.session import single_batch

# What a piece costs that is read twice, because it could not be read with gaps, in pieces that could; so many are risked.
_LOSS, _STAKE = 4, 32
# So many rows with a gap, and more than one row in so many, are too many to be looked at once more.
_FEW_GAPS, _RARELY = 64, 8
# Arrow's list of words that are null is made for a few.
_MOST_PASSED, _MOST_PASSED_BYTES = 256, 16 * 1024
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
    """A record that is no row: its position in the piece, the reason code and the message; its text where that is at hand."""

    position: int
    reason: str
    message: str
    text: str | None = None


@dataclass(frozen=True)
class Gaps:
    """Rows of a piece, the positions of their records, and these as text: a column for each of the file."""

    rows: Offsets
    positions: Offsets
    texts: pa.Table


@dataclass(frozen=True)
class Parsed:
    """A piece as columns; the columns `as_text` are still text. `positions` are those of the rows, None when all are rows.

    Values that are null in columns `with_gaps` may be odd texts that the parser has passed over.
    """

    piece: Piece
    table: pa.Table
    as_text: frozenset[int]
    positions: Offsets | None
    refused: tuple[Refused, ...]
    total: int
    parser: Parser = field(repr=False)
    with_gaps: frozenset[int] = frozenset()

    @cached_property
    def records(self) -> Records | Lines:
        """The records of the piece, by position."""
        data = self.piece.data
        if self.piece.overlong is not None:
            edge = np.array([len(data)], np.int64)
            return Records(data, np.zeros(1, np.int64), edge, edge, edge)
        if (lines := lines_of(data, self.total, self.parser.dialect)) is None:
            return records_of(data, self.parser.dialect)
        self.piece.breaks.settle(lines.breaks)
        return lines

    @cached_property
    def gaps(self) -> Gaps | None:
        """The records that have nulls in columns `with_gaps`; None where they are too many to look at once more."""
        some = np.zeros(self.table.num_rows, bool)
        for i in self.with_gaps:
            if self.table.column(i).null_count:
                some |= as_mask(self.table.column(i).is_null().combine_chunks())
        rows = np.flatnonzero(some)
        if len(rows) > max(len(some) // _RARELY, _FEW_GAPS):
            return None
        positions = rows if self.positions is None else self.positions[rows]
        texts = self.parser.all_texts(self.records.some(positions).only(np.arange(len(rows))))
        return Gaps(rows, positions, texts) if texts.num_rows == len(rows) else None

    def originals(self, positions: Sequence[int]) -> list[str]:
        """The records as JSON objects of text; those that cannot be parsed as they stand in the file."""
        refused = {one.position: one.text for one in self.refused}
        rows = iter(self._as_json(np.array([position for position in positions if position not in refused], np.int64)))
        raw = [position for position in positions if position in refused and refused[position] is None]
        found = self.records.some(np.array(raw, np.int64)) if raw else None
        texts = refused | {p: as_text(found.raw(i)).rstrip("\r\n") for i, p in enumerate(raw) if found is not None}
        return [next(rows) if (text := texts.get(position)) is None else text for position in positions]

    def _as_json(self, positions: Offsets) -> list[str]:
        """The rows at these positions as JSON objects of text."""
        gaps = self.gaps if self.with_gaps else None
        if gaps is not None and len(gaps.positions):
            places = np.minimum(np.searchsorted(gaps.positions, positions), len(gaps.positions) - 1)
            if (gaps.positions[places] == positions).all():
                return self.parser.as_json(gaps.texts.take(numbers(places)))
        if not len(positions):
            return []
        data = self.records.some(positions).only(np.arange(len(positions)))
        if self.parser.dialect.encoding_errors == "replace":
            data = data.decode("utf-8", "replace").encode()
        return self.parser.as_json(self.parser.all_texts(data))

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

    A column whose values do not all read straight to its type is read as text from then on, or, once its odd texts are known,
    straight again with gaps in their places.
    """

    def __init__(self, names: Sequence[str], columns: Sequence[Column], dialect: Dialect) -> None:
        self.names, self.columns, self.dialect = tuple(names), tuple(columns), dialect
        # Of columns that are read as text, by their place among `columns`.
        self.odd_texts: dict[str, OddTexts] = {}
        # Columns that have too many nulls for gaps to be told from them, and what may still be lost by trying.
        self._crowded: set[int] = set()
        self._stake = _STAKE
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
        # Whatever is found in them, these cannot be read straight: Arrow's parser reads decimals as text, too.
        self._late = self._as_text | {i for i, column in enumerate(columns) if pa.types.is_decimal(column.field.type)}

    def parse(self, piece: Piece) -> Parsed:
        """The rows of a piece, and the records that are none."""
        return self._with_gaps(piece) or self.parse_whole(piece)

    def _with_gaps(self, piece: Piece) -> Parsed | None:
        """The rows of a piece whose odd texts are known; None where there are none, or something else is odd as well."""
        dialect, data, known = self.dialect, piece.data, self.odd_texts
        straight = {i for i in self._as_text - self._late - self._crowded if known.get(str(i))}
        usual = dialect.null_words == ("",) and dialect.ragged == "reject" and not dialect.trim
        if not straight or not usual or self._stake < _LOSS or self._crowded - self._as_text:
            return None
        words = {word for i in sorted(straight) for word in known[str(i)].texts.to_pylist()}
        if len(words) > _MOST_PASSED or sum(map(len, words)) > _MOST_PASSED_BYTES:
            return None
        if piece.overlong is not None or has_comment(data, dialect) or not (data.isascii() or is_utf8(data)):
            return None
        as_text_now = frozenset(self._as_text - straight)
        try:
            table, rows, refused, count = self._table(data, as_text_now, sorted(words))
        except _Misfit:
            self._stake -= _LOSS
            return None
        gaps = {i for i, column in enumerate(self.columns) if column.index is not None and not _is_text(table.column(i))}
        parsed = Parsed(piece, table, as_text_now, rows, tuple(refused), count, self, frozenset(gaps))
        if parsed.gaps is None:
            self._stake -= _LOSS
            self._crowded |= {i for i in gaps if table.column(i).null_count * _RARELY * 2 > table.num_rows}
            return None
        self._stake = min(self._stake + 1, _STAKE)
        return parsed

    def parse_whole(self, piece: Piece) -> Parsed:
        """The rows of a piece without gaps, and the records that are none."""
        data = piece.data
        if piece.overlong is not None:
            refused: tuple[Refused, ...] = (Refused(0, "malformed", piece.overlong),)
            return Parsed(piece, self._empty(), frozenset(self._as_text), np.zeros(0, np.int64), refused, 1, self)
        bad: list[Refused] = []
        kept: Offsets | None = None
        valid = data.isascii() or is_utf8(data)
        if not valid and self.dialect.encoding_errors == "replace":
            data, valid = data.decode("utf-8", "replace").encode(), True
        if not valid or has_comment(data, self.dialect):
            records = records_of(data, self.dialect)
            if not valid:
                bad = [Refused(i, "encoding", message) for i, message in undecodable(records)]
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
            ragged = [replace(one, position=int(kept[one.position])) for one in ragged]
            rows = None if not bad and not ragged else rows
        refused = tuple(sorted(bad + ragged, key=lambda one: one.position))
        return Parsed(piece, table, as_text_now, rows, refused, count + len(bad), self)

    def all_texts(self, data: bytes) -> pa.Table:
        """All columns of the records of `data` as text, which is never null."""
        return self._read(data, len(self.names), list(range(len(self.names))), {}, nulls=False)[0]

    def as_json(self, texts: pa.Table) -> list[str]:
        """Records that are columns of text as JSON objects."""
        if not texts.num_rows:
            return []
        found: list[str] = json_rows(single_batch(texts.rename_columns(self.names))).to_pylist()
        return found

    def _table(
        self, data: bytes, texts: frozenset[int], passed: Sequence[str] = ()
    ) -> tuple[pa.Table, Offsets | None, list[Refused], int]:
        """The rows of `data`; which of its records they are (None: all); the ragged ones; how many records there are."""
        width = len(self.names)
        main, odd = self._columns(data, width, texts, passed)
        count = main.num_rows + len(odd)
        if not odd:
            return main, None, [], count
        mends = [row for row in odd if self.dialect.ragged != "reject" and (self.dialect.ragged == "fit" or row[2] < width)]
        mended = {number for number, _, _ in mends}
        refused = [
            Refused(number, "ragged", f"expected {width} field{'s' * (width != 1)}, found {found}", text.rstrip("\r\n"))
            for number, text, found in odd
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

    def _columns(
        self, data: bytes, width: int, texts: frozenset[int], passed: Sequence[str] = ()
    ) -> tuple[pa.Table, list[tuple[int, str, int]]]:
        """The wanted columns of records that have `width` fields, and the records that have not: index, text, fields.

        Values of other types than text are null where they are one of the texts `passed`.
        """
        indices = [column.index for column in self.columns if column.index is not None and column.index < width]
        types = {
            column.index: read_type(column.field.type)
            for i, column in enumerate(self.columns)
            if column.index is not None and i not in texts
        }
        found, odd = self._read(data, width, indices or [0], types, passed=passed)
        arrays, at, misfits = [], 0, []
        for i, column in enumerate(self.columns):
            target = pa.string() if i in texts else column.field.type
            if column.index is None or column.index >= width:
                arrays.append(pa.chunked_array([pa.nulls(found.num_rows, target)]))
                continue
            array, at = found.column(at), at + 1
            if passed and _is_text(array):
                array = self._with_nulls(array, data, column.index)
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
        self,
        data: bytes,
        width: int,
        indices: Sequence[int],
        types: dict[int, pa.DataType],
        *,
        nulls: bool = True,
        passed: Sequence[str] = (),
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
                    null_values=[*dialect.null_words, *passed],
                    # Text that happens to be an odd text of another column is text.
                    strings_can_be_null=nulls and not passed,
                    quoted_strings_can_be_null=bool(passed),
                    true_values=spellings(dialect.true_words),
                    false_values=spellings(dialect.false_words),
                    decimal_point=dialect.decimal_point,
                ),
            )
        except pa.ArrowInvalid as error:
            found = _COLUMN_ERROR.match(str(error))
            if found is None:
                raise
            raise _Misfit([int(found[1])]) from None
        return table, odd

    def _with_nulls(self, array: pa.ChunkedArray, data: bytes, index: int) -> pa.ChunkedArray:
        """Text with nulls for what is empty; where it may be quoted, and then is none, it is a misfit."""
        whole = array.combine_chunks()
        _, offsets, values = whole.buffers()
        ends = np.frombuffer(offsets, np.int32)[whole.offset : whole.offset + len(whole) + 1]
        filled = ends[1:] != ends[:-1]
        if filled.all():
            return array
        if self.dialect.quote is not None and (self.dialect.quote * 2).encode() in data:
            raise _Misfit([index])
        buffers = [mask(filled).buffers()[1], pa.py_buffer(ends), values]
        return pa.chunked_array([pa.Array.from_buffers(pa.string(), len(whole), buffers)])

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


def _is_text(array: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(array.type))
