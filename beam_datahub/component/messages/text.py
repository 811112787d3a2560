"""Bytes of messages as text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_text(values: pa.Array) -> tuple[pa.Array, list[int]]:
    """Bytes as text, null where they are no UTF-8, and where that is."""
    try:
        return values.cast(pa.string()), []
    except pa.ArrowInvalid:
        pass
    bad = [i for i, value in enumerate(values.to_pylist()) if value is not None and not _is_text(value)]
    mask = np.zeros(len(values), dtype=bool)
    mask[bad] = True
    return pc.if_else(pa.array(mask), pa.scalar(None, pa.binary()), values).cast(pa.string()), bad


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
