"""Which delimited text is not valid UTF-8, as a whole and record by record."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_datahub.kernels.delimited import Records


def is_utf8(data: bytes) -> bool:
    """Whether `data` is valid UTF-8; checked by Arrow, which lets other threads run meanwhile."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def undecodable(records: Records) -> list[tuple[int, str]]:
    """The records that are not valid UTF-8, with what is wrong."""
    full = np.frombuffer(records.data, np.uint8)
    high = np.concatenate([[0], np.cumsum(full >= 0x80)])
    suspects = np.flatnonzero(high[records.ends] > high[records.starts])
    found = []
    for index in suspects.tolist():
        raw = records.raw(index)
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            found.append((index, f"byte {error.start + 1} of the record is not valid in the file's encoding"))
    return found
