"""How a process that runs pipelines allocates its batches."""

from __future__ import annotations

import pyarrow as pa


def reuse_batches() -> None:
    """Let Arrow reuse freed batches instead of giving them back to the system and asking again.

    A run allocates and frees blocks of some MiB all the time. Measured on a filter and map of CSV, jemalloc spends half as
    much time in the kernel on that as Arrow's usual pool; peak memory is the same.
    """
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
