"""Patterns of texts: each character becomes its class, `AAA-999`; shapes: runs of a class become one, `A-9`.

`A` is an upper-case letter, `a` a lower-case one, `9` a digit, `x` any other character beyond ASCII; ASCII's other
characters stand for themselves.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# A longer text has the pattern `…`: it is prose, not a code.
LONGEST = 64
LONG = "…"

_ASCII = bytes(
    ord("9") if 48 <= code <= 57 else ord("A") if 65 <= code <= 90 else ord("a") if 97 <= code <= 122 else code
    for code in range(256)
)


def patterns(texts: pa.StringArray, lengths: npt.NDArray[np.int32]) -> pa.StringArray:
    """The pattern of each text; no nulls. `lengths` are the texts' characters."""
    is_long = lengths > LONGEST
    if is_long.any():
        found = np.full(len(texts), LONG, dtype=object)
        short = np.flatnonzero(~is_long)
        found[short] = patterns(texts.take(pa.array(short)), lengths[short]).to_numpy(zero_copy_only=False)
        return pa.array(found, pa.string())
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    start, end = int(offsets[0]), int(offsets[-1])
    body = texts.buffers()[2]
    data = body[start:end].to_pybytes() if body is not None and end > start else b""
    if len(data) == int(lengths.sum()):
        return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets - start), pa.py_buffer(data.translate(_ASCII)))
    codes = np.frombuffer(data.decode("utf-8", "replace").encode("utf-32-le", "replace"), np.uint32)
    classes = _classes()[np.minimum(codes, 0xFFFF)]
    places = np.zeros(len(texts) + 1, np.int32)
    np.cumsum(lengths, out=places[1:])
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(places), pa.py_buffer(classes.tobytes()))


def shapes(found: pa.StringArray) -> pa.StringArray:
    """Patterns with every run of one class as a single character."""
    for sign in ("a", "A", "9", "x", " "):
        found = pc.replace_substring_regex(found, f"{sign}{{2,}}", sign)
    return found


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    """The class of every character of the basic plane, by its code."""
    table = np.full(0x10000, ord("x"), np.uint8)
    table[:128] = np.frombuffer(_ASCII[:128], np.uint8)
    by_category = {"Lu": "A", "Lt": "A", "Ll": "a", "Nd": "9"}
    for code in range(128, 0x10000):
        sign = by_category.get(unicodedata.category(chr(code)))
        if sign is not None:
            table[code] = ord(sign)
    return table
