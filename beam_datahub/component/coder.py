"""How a record batch travels between Beam's stages: as an Arrow IPC stream, or by reference within one process.

On the direct engine every stage runs in the launcher's process, so a batch need not be copied to move: a `BatchStore`
keeps it and only its number is encoded. Past the store's budget batches go to a spill file and are mapped back.
"""

from __future__ import annotations

import os
import struct
import tempfile
import threading
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from apache_beam.coders import Coder
from apache_beam.coders.typecoders import registry

from beam_datahub.kernels.scratch import scratch_prefix

# An IPC stream starts with 0xFFFFFFFF, so that these four bytes can start nothing else.
_REFERENCE = b"DHR\x01"


class BatchStore:
    """Keeps the batches of one in-process run, in memory up to `budget_bytes`, beyond that in a file that it removes."""

    active: BatchStore | None = None

    def __init__(self, budget_bytes: int, spill_dir: str | None = None) -> None:
        self._budget = budget_bytes
        self._spill_dir = spill_dir
        self._held: list[pa.RecordBatch | tuple[int, int]] = []
        self._bytes = 0
        self._file: Any = None
        self._lock = threading.Lock()

    @property
    def spilled(self) -> bool:
        """Whether anything went to disk."""
        return self._file is not None

    def put(self, batch: pa.RecordBatch) -> bytes:
        """Keep `batch` and return its reference."""
        with self._lock:
            size = batch.nbytes
            if self._bytes + size <= self._budget:
                self._held.append(batch)
                self._bytes += size
            else:
                self._held.append(self._spill(batch))
            return _REFERENCE + struct.pack("<Q", len(self._held) - 1)

    def get(self, reference: bytes) -> pa.RecordBatch:
        """The batch behind a reference."""
        held = self._held[struct.unpack("<Q", reference[4:])[0]]
        if isinstance(held, pa.RecordBatch):
            return held
        start, size = held
        with pa.memory_map(self._file.name) as mapped:
            return pa.ipc.open_stream(mapped.read_buffer(start + size).slice(start)).read_next_batch()

    def _spill(self, batch: pa.RecordBatch) -> tuple[int, int]:
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed with the store
                prefix=scratch_prefix("spill"), dir=self._spill_dir
            )
        data = _to_ipc(batch)
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._file.flush()
        return start, len(data)

    def __enter__(self) -> Self:
        BatchStore.active = self
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        BatchStore.active = None
        self._held.clear()
        if self._file is not None:
            self._file.close()


def _to_ipc(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class ArrowCoder(Coder):
    """Encodes a `pa.RecordBatch`."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch as an IPC stream, or its reference where a store is active."""
        store = BatchStore.active
        return store.put(value) if store is not None else bytes(_to_ipc(value))

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch behind `encode`'s bytes."""
        if encoded[:4] == _REFERENCE:
            store = BatchStore.active
            if store is None:
                raise ValueError("a batch reference left the process that keeps the batch")
            return store.get(encoded)
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """The batch's bytes; Beam asks for some elements, and would encode them, which keeps them in the store for good."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """Equal batches may differ in their buffers."""
        return False

    def to_type_hint(self) -> Any:
        """The type that this coder is for."""
        return pa.RecordBatch

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class StateCoder(ArrowCoder):
    """Encodes a `pa.RecordBatch` that an engine keeps for a while: always whole, never by reference."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch as an IPC stream."""
        return bytes(_to_ipc(value))


registry.register_coder(pa.RecordBatch, ArrowCoder)
