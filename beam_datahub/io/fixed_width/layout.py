"""Lines of fixed-width text as blocks: the records among them, their columns, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.arrow_blocks import Fitting
from beam_datahub.component.file_lines import Lines, is_utf8
from beam_datahub.component.files import record_batch
from beam_datahub.component.source import Block, Origin, ReadRequest
from beam_datahub.io.fixed_width.options import FixedWidthReadOptions, slots_of
from beam_datahub.kernels.delimited_values import Wanted, conversion
from beam_datahub.kernels.fixed_width import BLANKS, cut, pointed, ragged
from beam_datahub.kernels.json_lines import lines_of
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.rejection import REJECTION
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.workbench import over

# As much of a line that is no record is kept to show it.
_SHOWN = 65_536


class Records:
    """The records among some lines: `all` of them, those that are `clean` with their positions, and what is wrong with others."""

    def __init__(self, all_: pa.Array, numbers: Any, bad: dict[int, tuple[str, str]]) -> None:
        self.all, self.numbers, self.bad = all_, numbers, bad
        self.kept = np.setdiff1d(np.arange(len(all_)), np.array(sorted(bad), np.int64), assume_unique=True)
        some = all_.take(pa.array(self.kept)) if bad else all_
        self.clean = some if pa.types.is_string(some.type) else some.cast(pa.string())


class Layout:
    """How lines become records: the slots of the columns, and what the options say of them."""

    def __init__(self, options: FixedWidthReadOptions) -> None:
        self._options, self._dialect = options, options.dialect
        self._columns = {column.name: column for column in options.columns}
        self._slots = {slot.name: slot for slot in slots_of(options.columns)}
        self._width = options.line_width or max(slot.end for slot in self._slots.values())
        self.names = list(self._slots)

    def empty(self) -> pa.Table:
        """No records, all of whose columns are text."""
        return pa.schema([pa.field(name, pa.string()) for name in self.names]).empty_table()

    def records(self, lines: Lines) -> Records:
        """The records among whole lines."""
        if lines.overlong:
            reason = ("malformed", f"the line is longer than {int(self._options.max_record_bytes)} bytes")
            head = pa.array([lines.data.decode(errors="replace") + "…"])
            return Records(head, np.zeros(1, np.int64), {0: reason})
        texts = lines_of(lines.data)
        bad: dict[int, tuple[str, str]] = {}
        if pa.types.is_binary(texts.type):
            broken = {i: words for i, text in enumerate(texts.to_pylist()) if (words := _undecodable(text))}
            bad = {i: ("encoding", words) for i, words in broken.items()}
            texts = pa.array([text.decode(errors="backslashreplace") for text in texts.to_pylist()], pa.string())
        texts = pc.utf8_rtrim(texts, "\r\n")
        # Some systems end a text file with the sign ^Z.
        filled = pc.greater(pc.binary_length(pc.utf8_trim(texts, BLANKS + "\x1a")), 0)
        if self._options.record_start is not None:
            filled = pc.and_(filled, pc.starts_with(texts, self._options.record_start))
        numbers = np.flatnonzero(filled.to_numpy(zero_copy_only=False))
        every = texts if len(numbers) == len(texts) else texts.take(pa.array(numbers))
        places = {number: place for place, number in enumerate(numbers.tolist())} if bad else {}
        bad = {places[i]: words for i, words in bad.items() if i in places}
        longest = int(self._options.max_record_bytes)
        for i in pc.indices_nonzero(pc.greater(pc.binary_length(every), longest)).to_pylist():
            bad[i] = ("malformed", f"the line is longer than {longest} bytes")
        policy = self._options.ragged
        for i, words in ragged(every, self._width, short=policy == "reject", long=policy != "fit").items():
            bad.setdefault(i, ("ragged", words))
        return Records(every, numbers, bad)

    def texts(self, lines: pa.Array, names: Sequence[str]) -> pa.RecordBatch:
        """Columns of lines as text."""
        arrays = []
        for name in names:
            text = cut(lines, self._slots[name], self._options.trim)
            digits = self._columns[name].implied_decimals
            text = pointed(text, digits) if digits else text
            if self._options.null_words:
                word = pc.is_in(pc.utf8_trim(text, BLANKS), pa.array(self._options.null_words, pa.string()))
                text = pc.if_else(word, pa.scalar(None, pa.string()), text)
            arrays.append(text)
        return record_batch(arrays, pa.schema([pa.field(name, pa.string()) for name in names]), len(lines))

    def convert(self, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        """Texts in the type of a field, and the mask of those that are not of it."""
        if field.type == pa.string():
            return array, None
        wanted = Wanted("c", field.type, self._dialect.formats_of(field.name, field.type))
        sql = f"SELECT v0, m0 FROM ({conversion('t', [wanted], self._dialect)})"
        found = conform(over(pa.table({"c": array}), sql), pa.schema([("v", field.type), ("m", pa.bool_())]))
        values, bad = (column.combine_chunks() for column in found.columns)
        return values, bad if pc.any(bad).as_py() else None

    def block(self, lines: Lines, path: str, fitting: Fitting, request: ReadRequest, drifted: tuple[str, ...]) -> Block:
        """The records of whole lines as a block."""
        records, line = self.records(lines), lines.line
        wanted = [name for name in request.columns if name in self._slots]
        fitted = fitting.fit(self.texts(records.clean, wanted))
        refused = [_refused(records.bad)] if records.bad else []
        positions = fitted.positions
        if fitted.rejected is not None:
            rows = pa.array(records.kept[fitted.rejected.column("row").to_numpy()])
            refused.append(fitted.rejected.set_column(0, REJECTION.field(0), rows))
        if records.bad:
            positions = pa.array(records.kept) if positions is None else pa.array(records.kept).take(positions)
        return Block(
            fitted.batch,
            Origin(path, lines.start, lines.end) if is_utf8(self._options.encoding) else Origin(path),
            rejected=pa.concat_tables(refused).sort_by("row") if refused else None,
            positions=positions,
            originals=lambda wanted: self._originals(records, wanted),
            lines=None if line is None else lambda wanted: [line + int(records.numbers[i]) for i in wanted],
            drifted=drifted,
        )

    def _originals(self, records: Records, positions: Sequence[int]) -> list[str]:
        some = records.all.take(pa.array([i for i in positions if i not in records.bad], pa.int64()))
        rows = iter(json_rows(self.texts(some, self.names)).to_pylist())
        return [_shown(records.all[i].as_py()) if i in records.bad else next(rows) for i in positions]


def _refused(bad: dict[int, tuple[str, str]]) -> pa.Table:
    reasons, words = zip(*bad.values(), strict=True)
    columns = [pa.array(list(part)) for part in (bad, reasons, words)]
    return pa.table([*columns, pa.nulls(len(bad), pa.string())], schema=REJECTION)


def _shown(line: str) -> str:
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _undecodable(line: bytes) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the line is not valid in the file's encoding"
    return None
