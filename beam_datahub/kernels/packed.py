"""Values that lie packed in bytes, as logs of databases have them, taken out many at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def numbers(data: Bytes, at: Integers, width: int, order: str = ">", *, signed: bool = True) -> Integers:
    """The whole numbers of `width` bytes (1 to 8) that begin at some places; those of 8 bytes without a sign wrap around.

    `order`: ">" has the highest byte first, "<" the lowest. A place past the end gives any number.
    """
    if len(data) < width:
        return np.zeros(len(at), dtype=np.int64)
    at = np.minimum(at, len(data) - width)
    if width in (1, 2, 4, 8):
        # Every byte begins one of them.
        kind = f"{order}{'i' if signed else 'u'}{width}"
        every: npt.NDArray[Any] = np.ndarray((len(data) - width + 1,), dtype=kind, buffer=data.data, strides=(1,))
        return every[at].astype(np.int64)
    found = np.zeros(len(at), dtype=np.int64)
    for place in range(width):
        found = (found << 8) | data[at + (place if order == ">" else width - 1 - place)]
    return np.where(found >= 1 << (8 * width - 1), found - (1 << 8 * width), found) if signed else found


def slices(buffer: Any, starts: Integers, ends: Integers, there: Mask) -> pa.Array:
    """The bytes between some places, which rise, as an array of their own; null where nothing is `there`."""
    if not len(starts):
        return pa.array([], pa.binary())
    # Values and what lies between them are one array of twice as many; those wanted are every other one.
    bounds = np.empty(2 * len(starts), dtype=np.int32)
    bounds[0::2], bounds[1::2] = starts, ends
    both = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), buffer])
    return both.take(pa.array(2 * np.arange(len(starts)), mask=None if there.all() else ~there))


def mapped(values: pa.Array, change: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """An array with each distinct value changed; nulls stay."""
    encoded = values.dictionary_encode()
    known = pa.array([change(value) for value in encoded.dictionary.to_pylist()], kind)
    return known.take(encoded.indices)
