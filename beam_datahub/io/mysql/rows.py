"""Rows between MySQL's forms and Arrow's: what its clients give put right, and columns as the texts that LOAD DATA reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.component.database import RowsRefused, TableColumn
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ
from beam_datahub.kernels.workbench import over

_CHUNK_ROWS = 16_384
_CODEC = "zstd"

# from the server


def batch_of(given: Sequence[pa.Array], columns: Sequence[TableColumn]) -> pa.RecordBatch:
    """The texts of `select_item` as a batch; dates and times that no calendar has stay texts. Raises UnreadableData."""
    try:
        arrays = [_read(array, column) for array, column in zip(given, columns, strict=True)]
    except pa.ArrowInvalid as error:
        raise UnreadableData(f"the server sent what its columns cannot hold: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _read(array: pa.Array, column: TableColumn) -> pa.Array:
    t, kind = pa.types, column.type
    array = array.cast(pa.binary())
    if t.is_binary(kind):
        return array
    array = array.cast(pa.string())
    if t.is_boolean(kind):
        return array.cast(pa.int64())
    if t.is_float32(kind):
        return array.cast(pa.float64())
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return array.cast(kind)
    if t.is_date(kind) or t.is_timestamp(kind):
        try:
            found = array.cast(pa.date32() if t.is_date(kind) else pa.timestamp("us"))
        except pa.ArrowInvalid:
            # One of them is no date: each is looked at.
            return array if kind != TIMESTAMPTZ else pc.binary_join_element_wise(array, "+00", "")
        return found.cast(kind)
    return array


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def converted(column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
    """What was read of a column in the type of `field`, and a mask of the values that it cannot hold."""
    if pa.types.is_boolean(field.type) and pa.types.is_integer(array.type):
        numbers = array.cast(pa.int64())
        other = pc.fill_null(pc.and_(pc.not_equal(numbers, 0), pc.not_equal(numbers, 1)), False)
        if pc.any(other, min_count=0).as_py():
            return pc.if_else(other, pa.scalar(None, pa.bool_()), pc.equal(numbers, 1)), other
        return pc.equal(numbers, 1), None
    if pa.types.is_string(array.type) and pa.types.is_time(field.type):
        # A TIME may last for weeks there.
        day = pc.match_substring_regex(array, "^([01][0-9]|2[0-3]):")
        if pc.any(pc.invert(day), min_count=0).as_py():
            late = pc.fill_null(pc.invert(day), False)
            return fit_array(pc.if_else(late, pa.scalar(None, pa.string()), array), field.type)[0], late
    return fit_array(array, field.type)


# to the server


def given_columns(batch: pa.RecordBatch, columns: Sequence[TableColumn]) -> list[pa.Array]:
    """The columns as texts, bytes or, for bits, numbers. Raises RowsRefused for fractions of seconds that would be rounded."""
    return [_given(array, field, column) for array, field, column in zip(batch.columns, batch.schema, columns, strict=True)]


def _given(array: pa.Array, field: pa.Field, column: TableColumn) -> pa.Array:
    t, kind, declared = pa.types, field.type, column.declared
    if kind == JSON:
        return array.storage
    if t.is_timestamp(kind) or t.is_time(kind):
        _refuse_rounding(array, column)
        return (_shortened(array) if t.is_timestamp(kind) else array).cast(pa.string())
    if t.is_binary(kind):
        # A shape begins with the number of its reference system there.
        return array if _declared(column) != "shape" else pc.binary_join_element_wise(b"\0\0\0\0", array, b"")
    if t.is_boolean(kind):
        array = array.cast(pa.uint8())
    if declared.startswith("bit") and t.is_integer(array.type):
        return array.cast(pa.uint64())
    if t.is_string(kind):
        return array
    if t.is_nested(kind) or t.is_interval(kind):
        sql = "CAST(to_json(c) AS VARCHAR)" if t.is_nested(kind) else "CAST(c AS VARCHAR)"
        return _whole(over(pa.table({"c": array}), f"SELECT CASE WHEN c IS NOT NULL THEN {sql} END AS c FROM t").column(0))
    return array.cast(pa.string())


def _shortened(array: pa.Array) -> pa.Array:
    """Moments without a fraction of a second where none has one: it is a third of their text."""
    try:
        return array.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:
        return array.cast(pa.timestamp("us"))


def _declared(column: TableColumn) -> str:
    return str(getattr(column.detail, "form", ""))


def _refuse_rounding(array: pa.Array, column: TableColumn) -> None:
    """The server rounds what is finer than its column without a word."""
    found = re.match(r"(?:datetime|timestamp|time)(?:\((\d)\))?", column.declared)
    digits = int(found[1] or 0) if found else 6
    if digits < 6 and len(array):
        step = 10 ** (6 - digits)
        numbers = array.view(pa.int64())
        whole = pc.multiply(pc.divide(numbers, step), step)
        if pc.any(pc.not_equal(numbers, whole), min_count=0).as_py():
            raise RowsRefused(f"a fraction of a second is finer than {column.declared}", column.name)


def load_columns(dialect: Dialect, columns: Sequence[TableColumn], given: Sequence[pa.Array]) -> str:
    """What LOAD DATA says of the columns that `load_texts` gives."""
    places, sets = [], []
    for number, (column, array) in enumerate(zip(columns, given, strict=True)):
        name = dialect.quoted(column.name)
        if pa.types.is_string(array.type):
            places.append(name)
            continue
        places.append(f"@c{number}")
        sets.append(f"{name} = UNHEX(@c{number})" if pa.types.is_binary(array.type) else f"{name} = CAST(@c{number} AS UNSIGNED)")
    setting = f" SET {', '.join(sets)}" if sets else ""
    return f"({', '.join(places)}){setting}"


def load_statement(dialect: Dialect, table: str, file: str, columns: str, letters: str) -> str:
    """LOAD DATA for what `load_texts` gives; `columns` are those of `load_columns`, `letters` those of `letters_of`."""
    return f"LOAD DATA LOCAL INFILE {dialect.literal(file)} INTO TABLE {table} CHARACTER SET {letters} {columns}"


def letters_of(batch: pa.RecordBatch, given: Sequence[pa.Array]) -> str:
    """The character set in which the server is to read the rows of a batch: byte by byte where each letter is one."""
    t = pa.types
    # The texts of numbers and moments have no others.
    texts = (
        array
        for array, field in zip(given, batch.schema, strict=True)
        if t.is_string(array.type) and not (t.is_primitive(field.type) or t.is_decimal(field.type))
    )
    return "latin1" if all(_bytes(array).isascii() for array in texts) else "utf8mb4"


def load_texts(given: Sequence[pa.Array], most_rows: int = _CHUNK_ROWS) -> Iterator[memoryview]:
    r"""The rows as LOAD DATA reads them: tabs between, `\N` for null, backslashes before what means something else."""
    columns, rows = [_escaped(array) for array in given], min(most_rows, _CHUNK_ROWS)
    for start in range(0, len(columns[0]), rows):
        parts = [column.slice(start, rows) for column in columns]
        lines = pc.binary_join_element_wise(*parts, "\t", null_handling="replace", null_replacement="\\N")
        lines = pc.binary_join_element_wise(lines, "", "\n")
        yield memoryview(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()]


def packed(text: memoryview) -> bytes:
    """A text of rows in few bytes."""
    data: bytes = pa.Codec(_CODEC, compression_level=1).compress(text, asbytes=True)
    return data


def unpacked(size: int, data: bytes) -> bytes:
    """A text of `size` bytes out of them."""
    text: bytes = pa.Codec(_CODEC).decompress(data, decompressed_size=size, asbytes=True)
    return text


def _escaped(array: pa.Array) -> pa.Array:
    if pa.types.is_binary(array.type):
        return _whole(over(pa.table({"c": array}), "SELECT hex(c) AS c FROM t").column(0))
    if not pa.types.is_string(array.type):
        return array.cast(pa.string())
    if not _is_special(array):
        return array
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n")):
        array = pc.replace_substring(array, plain, escaped)
    return array


def _is_special(array: pa.Array) -> bool:
    """Whether any of the texts may have a character that means something else there."""
    whole = _bytes(array)
    return any(each in whole for each in (b"\\", b"\t", b"\n"))


def _bytes(array: pa.Array) -> bytes:
    """All texts in one: looking at each takes longer than writing it."""
    _, places, data = array.buffers()
    if data is None or not len(array):
        return b""
    ends = memoryview(places).cast("i")
    return bytes(memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]])


def insert_rows(given: Sequence[pa.Array]) -> list[tuple[Any, ...]]:
    """The rows as the client's INSERT takes them."""
    return list(zip(*(array.to_pylist() for array in given), strict=True))
