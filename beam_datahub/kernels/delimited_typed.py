"""Columns of delimited text in their types: what is still text is read, and the values that are not of their type are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.delimited import Dialect, Offsets
from beam_datahub.kernels.delimited_odd import OddTexts, remembered
from beam_datahub.kernels.delimited_parse import Parsed, cast
from beam_datahub.kernels.delimited_values import (
    Wanted,
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
    if not late or not parsed.table.num_rows:
        return conform(parsed.table, schema) if not late else schema.empty_table(), []
    dialect = parsed.parser.dialect
    wanted = [
        Wanted(str(i), columns[i].field.type, dialect.formats_of(columns[i].field.name, columns[i].field.type)) for i in late
    ]
    usual = [one for one in wanted if reads_quickly(one, dialect)]
    odd = parsed.parser.odd_texts
    found = _read_known(parsed.table, usual, odd)
    found |= _read_mostly(parsed.table, [one for one in usual if one.column not in found], dialect, odd)
    rest = [one for one in wanted if one.column not in found]
    if rest:
        found |= _read_all(parsed.table.select([one.column for one in rest]), rest, dialect)
    arrays = list(parsed.table.columns)
    misfits = []
    for i in late:
        arrays[i], rows = found[str(i)]
        if len(rows):
            values = parsed.table.column(i).take(pa.array(rows)).combine_chunks()
            misfits.append(Misfits(columns[i].field, rows, values))
    return pa.table(arrays, schema=schema), misfits


_Read = dict[str, tuple[pa.ChunkedArray, Offsets]]


def _read_all(texts: pa.Table, wanted: Sequence[Wanted], dialect: Dialect) -> _Read:
    """The columns in their types, and the rows of their misfits."""
    fields = []
    for n, one in enumerate(wanted):
        fields += [pa.field(f"v{n}", one.data_type), pa.field(f"m{n}", pa.bool_())]
    names = ", ".join(field.name for field in fields)
    found = conform(over(texts, f"SELECT {names} FROM ({conversion('t', wanted, dialect)})"), pa.schema(fields))
    read: _Read = {}
    for n, one in enumerate(wanted):
        array, rows = found.column(2 * n), np.flatnonzero(found.column(2 * n + 1).to_numpy())
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
        mask = places.is_valid()
        array = _cast_but(table.column(one.column), mask, one.data_type)
        if array is None:
            continue
        rows, places = np.flatnonzero(mask), places.drop_null()
        mended = pc.replace_with_mask(array, mask, known.values.take(places)) if not known.misfits.all() else array
        read[one.column] = pa.chunked_array([mended]), rows[known.misfits[places.to_numpy()]]
    return read


def _cast_but(texts: pa.ChunkedArray, odd: pa.BooleanArray, data_type: pa.DataType) -> pa.Array | None:
    """The values that Arrow reads, null where `odd`; None where it does not read one of the others, or not surely right."""
    try:
        array = cast(pc.if_else(odd, pa.scalar(None, pa.string()), texts), data_type)
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
    arrays: dict[Wanted, tuple[pa.Array, pa.BooleanArray]] = {}
    for one, column in zip(usual, masks.columns, strict=True):
        mask = column.combine_chunks()
        array = _cast_but(table.column(one.column), mask, one.data_type)
        if array is not None:
            arrays[one] = array, mask
    if not arrays:
        return {}
    # One query for the rows in which any of the columns has a value of another form: to plan one takes milliseconds.
    some = np.logical_or.reduce([np.asarray(mask) for _, mask in arrays.values()])
    rows = np.flatnonzero(some)
    if not len(rows):
        return {one.column: (pa.chunked_array([array]), rows) for one, (array, _) in arrays.items()}
    few = table.select([one.column for one in arrays]).take(pa.array(rows))
    exact = _read_all(few, list(arrays), dialect)
    found: _Read = {}
    for one, (array, mask) in arrays.items():
        values, misfits = exact[one.column]
        mended = pc.replace_with_mask(array, pa.array(some), values.combine_chunks())
        found[one.column] = pa.chunked_array([mended]), rows[misfits]
        places = np.flatnonzero(np.asarray(mask)[rows])
        if len(places):
            texts, its = few.column(one.column).take(places).combine_chunks(), values.take(places).combine_chunks()
            odd[one.column] = remembered(odd.get(one.column), texts, its, np.isin(places, misfits))
    return found


def _mend_decimals(
    column: pa.ChunkedArray, rows: Offsets, texts: pa.ChunkedArray, data_type: pa.DataType, dialect: Dialect
) -> tuple[pa.ChunkedArray, Offsets]:
    """Put in the decimals that are written in scientific notation, which SQL casts would round."""
    scientific = np.asarray(is_scientific(texts.take(pa.array(rows))))
    odd = rows[scientific]
    if not len(odd):
        return column, rows
    found = exact_decimals(texts.take(pa.array(odd)).combine_chunks(), data_type, dialect)
    mask = np.zeros(len(column), bool)
    good = found.is_valid().to_numpy(zero_copy_only=False)
    mask[odd[good]] = True
    mended = pc.replace_with_mask(column.combine_chunks(), pa.array(mask), found.drop_null())
    return pa.chunked_array([mended]), rows[~mask[rows]]
