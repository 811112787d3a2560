"""Hashes for counting distinct values: the same in every process, for the same value in every width and layout."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_datahub.kernels.profiling.sketches import Distinct, Hashes
from beam_datahub.kernels.session import KernelSession

# Hashing goes by blocks of so many keys, which stay in the processor's nearest cache.
_BLOCK = 1 << 14


def count_numbers(distinct: Distinct, values: npt.NDArray[Any]) -> None:
    """Count numbers in any order, repeated or not."""
    keys = _bits(values)
    fresh = [distinct.fresh(_mixed(keys[start : start + _BLOCK])) for start in range(0, len(keys), _BLOCK)]
    if fresh:
        distinct.update(np.concatenate(fresh))


def _bits(values: npt.NDArray[Any]) -> Hashes:
    """Numbers as 64 bits each, the same for the same number in every width."""
    if values.dtype.kind == "f":
        return values.astype(np.float64, copy=False).view(np.uint64)
    if values.dtype.kind == "u":
        return values.astype(np.uint64, copy=False)
    return values.astype(np.int64, copy=False).view(np.uint64)


def _mixed(keys: Hashes) -> Hashes:
    """Hashes of 64-bit keys whose upper bits depend on all of the key's: what the count of distinct values goes by."""
    block = keys ^ np.uint64(0x2545F4914F6CDD1D)  # zero would stay zero
    block *= np.uint64(0x9E3779B97F4A7C15)
    block ^= block >> np.uint64(32)
    block *= np.uint64(0xD6E8FEB86659FD93)
    return block


_local = threading.local()


def hashes(array: pa.Array) -> Hashes:
    """64-bit hashes of texts or binary values."""
    return np.asarray(_asked("hash(c)", array).to_numpy(zero_copy_only=False), np.uint64)


def as_text(array: pa.Array) -> pa.Array:
    """The values of any type as texts."""
    return _asked("CAST(c AS VARCHAR)", array).cast(pa.string())


def _asked(sql: str, array: pa.Array) -> pa.Array:
    session = _session()
    session.put("profiled", pa.table({"c": array}))
    try:
        found = session.fetch(f"SELECT {sql} AS c FROM profiled").column("c").combine_chunks()
    finally:
        session.drop("profiled")
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _session() -> KernelSession:
    """The session of this thread."""
    found: KernelSession | None = getattr(_local, "session", None)
    if found is None:
        found = _local.session = KernelSession(threads=1)
    return found
