"""Columns as what Excel's cells hold: texts, truth values, and numbers of 15 digits, which dates and times are as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import TargetUnusable
from beam_datahub.kernels.delimited_write import as_text
from beam_datahub.kernels.types import JSON, sql_type
from beam_datahub.kernels.workbench import over

LONGEST_TEXT = 32_767
# Integers of 15 digits are those that Excel shows as they are.
_MOST = 10**15
_DAY_MICROS = 86_400_000_000
# Days are counted from here; those before 1900-03-01 are off by one, since Excel takes 1900 for a leap year.
_EPOCH_DAYS, _FIRST_DAY, _LAST_DAY = 25_569, 61, 2_958_465
_DATE_WIDTH, _MOMENT_WIDTH, _TIME_WIDTH = 10, 23, 12


@dataclass(frozen=True)
class ColumnCells:
    """The values of a column as texts, truth values, numbers or None, and how many characters wide they are."""

    values: list[Any]
    width: int


class _Exact(float):
    """A number that is written with all of its digits."""

    def __format__(self, _: str) -> str:
        return repr(float(self))


def cells_of(array: pa.Array, field: pa.Field, unfit_as_text: bool) -> ColumnCells:
    """The cells of a column. Raises TargetUnusable for a value that no cell holds exactly, unless that shall be text."""
    kind = array.type
    if kind == JSON or pa.types.is_string(kind):
        return _texts(array.storage if kind == JSON else array, field)
    if pa.types.is_boolean(kind):
        return ColumnCells(array.to_pylist(), 5)
    numbers, fits, width = _numbers(array)
    values = [None if number is None else _Exact(number) for number in numbers.to_pylist()]
    odd = pc.and_(pc.is_valid(array), pc.invert(pc.fill_null(fits, False)))
    rows = pc.indices_nonzero(odd)
    if len(rows):
        texts = _as_text(array.take(rows)).to_pylist()
        if not unfit_as_text:
            raise TargetUnusable(
                f"no cell holds {texts[0]} of the column '{field.name}' ({sql_type(kind)}) exactly",
                hint="set `unfit: text` to write such values as text, or round them in a step before",
            )
        for row, text in zip(rows.to_pylist(), texts, strict=True):
            values[row] = text
        width = max(width, *map(len, texts))
    return ColumnCells(values, width)


def _texts(array: pa.Array, field: pa.Field) -> ColumnCells:
    longest = pc.max(pc.utf8_length(array)).as_py() or 0
    if longest > LONGEST_TEXT:
        raise TargetUnusable(
            f"the column '{field.name}' has a text of {longest:,} characters; a cell holds {LONGEST_TEXT:,}",
            hint=f"cut it off: left({field.name}, {LONGEST_TEXT})",
        )
    return ColumnCells(array.to_pylist(), longest)


def _numbers(array: pa.Array) -> tuple[pa.Array, pa.Array, int]:
    """The values as Excel's numbers, a mask of those that are exact, and their width in characters."""
    kind, t = array.type, pa.types
    if t.is_integer(kind):
        wide = array.cast(pa.decimal128(20, 0))
        fits = pc.and_(pc.less(wide, _MOST), pc.greater(wide, -_MOST))
        return array.cast(pa.float64(), safe=False), fits, _widest(array.cast(pa.string()))
    if t.is_floating(kind):
        # The digits that tell a FLOAT from its neighbours are fewer than those of the DOUBLE next to it.
        short = array.cast(pa.string()).cast(pa.float64()) if t.is_float32(kind) else array
        return short, pc.is_finite(short), 10
    if t.is_decimal(kind):
        sql = f"SELECT c::DOUBLE AS v, coalesce(TRY_CAST((c::DOUBLE)::VARCHAR AS {sql_type(kind)}) = c, false) AS f FROM t"
        found = over(pa.table({"c": array}), sql).combine_chunks()
        return found.column(0).combine_chunks(), found.column(1).combine_chunks(), min(20, kind.precision + 1)
    if t.is_date(kind):
        days = pc.add(array.cast(pa.int32()).cast(pa.int64()), _EPOCH_DAYS)
        return days.cast(pa.float64()), _within(days), _DATE_WIDTH
    micros = array.cast(pa.int64())
    exact = pc.equal(pc.multiply(pc.divide(micros, 1000), 1000), micros)
    # In whole milliseconds, a day has few enough of them for a double to tell one from the next.
    days = pc.divide(micros.cast(pa.float64(), safe=False), float(_DAY_MICROS))
    if t.is_time(kind):
        return days, exact, _TIME_WIDTH
    days = pc.add(days, float(_EPOCH_DAYS))
    return days, pc.and_(exact, _within(days)), _MOMENT_WIDTH


def _within(days: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(days, _FIRST_DAY), pc.less(days, _LAST_DAY + 1))


def _as_text(array: pa.Array) -> pa.Array:
    if pa.types.is_decimal(array.type):
        # Arrow would write some in scientific notation.
        return over(pa.table({"c": array}), "SELECT c::VARCHAR AS c FROM t").column(0).combine_chunks()
    # A text with a blank between date and time might be taken for a date of the workbook.
    return pc.replace_substring(as_text(array), " ", "T") if pa.types.is_timestamp(array.type) else as_text(array)


def _widest(texts: pa.Array) -> int:
    return pc.max(pc.utf8_length(texts)).as_py() or 0
