"""Columns of delimited text in their types: what is still text is read, and the values that are not of their type are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.arrays import as_mask, as_numbers, mask, numbers
from beam_datahub.kernels.delimited import Dialect, Mask, Offsets
from beam_datahub.kernels.delimited_odd import OddTexts, remembered
from beam_datahub.kernels.delimited_parse import Parsed
from beam_datahub.kernels.delimited_values import (
    Wanted,
    cast,
    conversion,
    exact_decimals,
    is_scientific,
    may_be_too_big,
    reads_quickly,
)
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import quoted, sql_type
from beam_datahub.kernels.workbench import over


@dataclass(frozen=True)
class Misfits:
    """Values of one column that are not of its type: the rows they stand in, and what they say."""

    column: pa.Field
    rows: Offsets
    values: pa.Array


def typed(parsed: Parsed) -> tuple[pa.Table, list[Misfits]]:
    """The rows of `parsed` in the wanted types, null where a value is not of its type, and these values."""
    columns = parsed.parser.columns
    schema = pa.schema([column.field for column in columns])
    late = sorted(parsed.as_text)
    if not late and not parsed.with_gaps:
        return conform(parsed.table, schema), []
    if not parsed.table.num_rows:
        return schema.empty_table(), []
    arrays, misfits = list(parsed.table.columns), []
    for i, (array, rows, texts) in {**_read_late(parsed, late), **_filled(parsed)}.items():
        arrays[i] = array
        if len(rows):
            misfits.append(Misfits(columns[i].field, rows, texts))
    order = {column.field.name: i for i, column in enumerate(columns)}
    return pa.table(arrays, schema=schema), sorted(misfits, key=lambda misfit: order[misfit.column.name])


# By the place of a column: its values, the rows of its misfits, and what these say.
_Typed = dict[int, tuple[pa.ChunkedArray, Offsets, pa.Array]]
_Read = dict[str, tuple[pa.ChunkedArray, Offsets]]


def _wanted(parsed: Parsed, i: int) -> Wanted:
    field = parsed.parser.columns[i].field
    return Wanted(str(i), field.type, parsed.parser.dialect.formats_of(field.name, field.type))


def _read_late(parsed: Parsed, late: Sequence[int]) -> _Typed:
    """The columns that are still text."""
    dialect = parsed.parser.dialect
    wanted = [_wanted(parsed, i) for i in late]
    usual = [one for one in wanted if reads_quickly(one, dialect)]
    odd = parsed.parser.odd_texts
    found = _read_known(parsed.table, usual, odd)
    found |= _read_mostly(parsed.table, [one for one in usual if one.column not in found], dialect, odd)
    rest = [one for one in wanted if one.column not in found]
    if rest:
        found |= _read_all(parsed.table.select([one.column for one in rest]), rest, dialect)
    read: _Typed = {}
    for i in late:
        array, rows = found[str(i)]
        read[i] = array, rows, parsed.table.column(i).take(numbers(rows)).combine_chunks()
    return read


def _filled(parsed: Parsed) -> _Typed:
    """The columns in which there are gaps."""
    parser, gaps, read = parsed.parser, parsed.gaps if parsed.with_gaps else None, {}
    for i in parsed.with_gaps:
        column, place = parsed.table.column(i).combine_chunks(), parser.columns[i].index
        if gaps is None or place is None or not column.null_count:
            continue
        texts = gaps.texts.column(place).combine_chunks()
        # What is empty is null, quoted or not, in all columns that are not text.
        at = np.flatnonzero(as_mask(column.is_null())[gaps.rows] & (as_numbers(pc.binary_length(texts)) > 0))
        if not len(at):
            continue
        texts, rows = texts.take(numbers(at)), gaps.rows[at]
        known = parser.odd_texts.get(str(i))
        places = pc.index_in(texts, known.texts) if known else None
        if known is None or places is None or places.null_count:
            # Text that is odd in another column.
            values, odd = _read_all(pa.table([texts], names=[str(i)]), [_wanted(parsed, i)], parser.dialect)[str(i)]
            bad = np.isin(np.arange(len(rows)), odd)
            its = values.combine_chunks()
        else:
            bad, its = known.misfits[as_numbers(places)], known.values.take(places)
        if not bad.all():
            whole = np.zeros(len(column), bool)
            whole[rows] = True
            column = pc.replace_with_mask(column, mask(whole), its)
        read[i] = pa.chunked_array([column]), rows[bad], texts.filter(mask(bad))
    return read


def _read_all(texts: pa.Table, wanted: Sequence[Wanted], dialect: Dialect) -> _Read:
    """The columns in their types, and the rows of their misfits."""
    fields = []
    for n, one in enumerate(wanted):
        fields += [pa.field(f"v{n}", one.data_type), pa.field(f"m{n}", pa.bool_())]
    names = ", ".join(field.name for field in fields)
    found = conform(over(texts, f"SELECT {names} FROM ({conversion('t', wanted, dialect)})"), pa.schema(fields))
    read: _Read = {}
    for n, one in enumerate(wanted):
        array, rows = found.column(2 * n), np.flatnonzero(as_mask(found.column(2 * n + 1).combine_chunks()))
        if len(rows) and pa.types.is_decimal(one.data_type):
            array, rows = _mend_decimals(array, rows, texts.column(one.column), one.data_type, dialect)
        read[one.column] = array, rows
    return read


def _read_known(table: pa.Table, usual: Sequence[Wanted], odd: Mapping[str, OddTexts]) -> _Read:
    """Like `_read_all`, for those columns of which Arrow reads all values but such as earlier pieces had."""
    read: _Read = {}
    for one in usual:
        known = odd.get(one.column)
        if not known:
            continue
        places = pc.index_in(table.column(one.column).combine_chunks(), known.texts)
        there = places.is_valid()
        array = _cast_but(table.column(one.column), there, one.data_type)
        if array is None:
            continue
        rows, places = np.flatnonzero(as_mask(there)), places.drop_null()
        mended = pc.replace_with_mask(array, there, known.values.take(places)) if not known.misfits.all() else array
        read[one.column] = pa.chunked_array([mended]), rows[known.misfits[as_numbers(places)]]
    return read


def _cast_but(texts: pa.ChunkedArray, odd: pa.BooleanArray, data_type: pa.DataType) -> pa.Array | None:
    """The values that Arrow reads, null where `odd`; None where it does not read one of the others, or not surely right."""
    whole = texts.combine_chunks()
    there = pc.and_not(whole.is_valid(), odd)
    if whole.offset or there.offset:
        others = pc.if_else(odd, pa.nulls(1, pa.string())[0], whole)
    else:
        # The same text in other company: none of it is copied.
        others = pa.Array.from_buffers(pa.string(), len(whole), [there.buffers()[1], *whole.buffers()[1:]])
    try:
        array = cast(pa.chunked_array([others]), data_type)
    except pa.ArrowInvalid:
        return None
    return None if may_be_too_big(array) else array.combine_chunks()


def _read_mostly(table: pa.Table, usual: Sequence[Wanted], dialect: Dialect, odd: dict[str, OddTexts]) -> _Read:
    """Like `_read_all`, for those columns of which Arrow reads all values but a few: the exact conversion takes twice as long
    and is left to these few, which are entered in `odd`.
    """
    if not usual:
        return {}
    unread = (
        f"{name} IS NOT NULL AND TRY_CAST({name} AS {sql_type(one.data_type)}) IS NULL AS c{n}"
        for n, one in enumerate(usual)
        if (name := quoted(one.column))
    )
    masks = over(table.select([one.column for one in usual]), f"SELECT {', '.join(unread)} FROM t")
    arrays: dict[Wanted, tuple[pa.Array, Mask]] = {}
    for one, column in zip(usual, masks.columns, strict=True):
        unreadable = column.combine_chunks()
        array = _cast_but(table.column(one.column), unreadable, one.data_type)
        if array is not None:
            arrays[one] = array, as_mask(unreadable)
    if not arrays:
        return {}
    # One query for the rows in which any of the columns has a value of another form: to plan one takes milliseconds.
    some = np.logical_or.reduce([unreadable for _, unreadable in arrays.values()])
    rows = np.flatnonzero(some)
    if not len(rows):
        return {one.column: (pa.chunked_array([array]), rows) for one, (array, _) in arrays.items()}
    few = table.select([one.column for one in arrays]).take(numbers(rows))
    exact = _read_all(few, list(arrays), dialect)
    found: _Read = {}
    for one, (array, unreadable) in arrays.items():
        values, misfits = exact[one.column]
        mended = pc.replace_with_mask(array, mask(some), values.combine_chunks())
        found[one.column] = pa.chunked_array([mended]), rows[misfits]
        places = np.flatnonzero(unreadable[rows])
        if len(places):
            at = numbers(places)
            texts, its = few.column(one.column).take(at).combine_chunks(), values.take(at).combine_chunks()
            odd[one.column] = remembered(odd.get(one.column), texts, its, np.isin(places, misfits))
    return found


def _mend_decimals(
    column: pa.ChunkedArray, rows: Offsets, texts: pa.ChunkedArray, data_type: pa.DataType, dialect: Dialect
) -> tuple[pa.ChunkedArray, Offsets]:
    """Put in the decimals that are written in scientific notation, which SQL casts would round."""
    scientific = as_mask(is_scientific(texts.take(numbers(rows))).combine_chunks())
    odd = rows[scientific]
    if not len(odd):
        return column, rows
    found = exact_decimals(texts.take(numbers(odd)).combine_chunks(), data_type, dialect)
    read = np.zeros(len(column), bool)
    read[odd[as_mask(found.is_valid())]] = True
    mended = pc.replace_with_mask(column.combine_chunks(), mask(read), found.drop_null())
    return pa.chunked_array([mended]), rows[~read[rows]]
