"""Arrow's arrays from numpy's and from texts, and back, on paths that a small run may take.

Arrow's own ways load pandas, where that is, to look whether it is given a frame, which takes longer than to read a few
megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numbers(values: npt.NDArray[np.int64], data_type: pa.DataType | None = None) -> pa.Array:
    """An array of these integers, none of them null, or of what they are the bits of."""
    whole = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(data_type or pa.int64(), len(whole), [None, pa.py_buffer(whole)])


def integers(values: Sequence[int | None]) -> pa.Int64Array:
    """An array of these integers."""
    if None not in values:
        return numbers(np.array(values, np.int64))
    whole = np.array([value or 0 for value in values], np.int64)
    there = mask(np.array([value is not None for value in values], bool))
    return pa.Array.from_buffers(pa.int64(), len(whole), [there.buffers()[1], pa.py_buffer(whole)])


def mask(values: npt.NDArray[np.bool_]) -> pa.BooleanArray:
    """An array of these truths, none of them null."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])


def texts(values: Sequence[str | None]) -> pa.StringArray:
    """An array of these texts. Raises UnicodeEncodeError where one is no Unicode."""
    encoded = [b"" if value is None else value.encode() for value in values]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    data_type = pa.string()
    if len(ends) and ends[-1] > np.iinfo(np.int32).max:
        return pa.array(values, data_type)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    there = mask(np.array([value is not None for value in values], bool)).buffers()[1] if None in values else None
    return pa.Array.from_buffers(data_type, len(encoded), [there, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))])


def repeated(value: str | int | None, data_type: pa.DataType, count: int) -> pa.Array:
    """An array of `count` times the same text, or the same integer or what it is the bits of."""
    if value is None:
        return pa.nulls(count, data_type)
    if isinstance(value, int):
        return numbers(np.full(count, value, np.int64), data_type)
    return texts([value]).take(numbers(np.zeros(count, np.int64)))


def text(value: str | None) -> pa.StringScalar:
    """A text, or null, as a scalar."""
    return texts([value])[0]


def as_numbers(array: pa.Array) -> npt.NDArray[Any]:
    """The integers of an array that has no nulls, without a copy."""
    kind = np.dtype(str(array.type))
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)] if len(array) else np.zeros(0, kind)


def as_mask(array: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    """Which values of an array are true; null is not."""
    if not len(array):
        return np.zeros(0, bool)
    bits = np.unpackbits(np.frombuffer(array.buffers()[1], np.uint8), bitorder="little")
    found = bits[array.offset : array.offset + len(array)].view(bool)
    return found & as_mask(array.is_valid()) if array.null_count else found
