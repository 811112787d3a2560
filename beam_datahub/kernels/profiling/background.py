"""Profiles batches in threads of its own, while the one that gives them goes on."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from beam_datahub.kernels.profiling.profile import Profile


class Profiler:
    """Takes batches of `schema` and gives their profile. Without threads it works at once, in the caller's.

    So many batches are under way at most as there are threads, and one more: a fast reader waits.
    """

    def __init__(self, schema: pa.Schema, columns: Sequence[str] | None = None, *, threads: int = 0) -> None:
        self._empty = Profile.of(schema, columns)
        self._pool = ThreadPoolExecutor(threads, "profile") if threads else None
        # A thread takes a profile, adds a batch to it and puts it back: no two write one, and as many are made as are needed.
        self._idle: queue.SimpleQueue[Profile] = queue.SimpleQueue()
        for _ in range(max(threads, 1)):
            self._idle.put(Profile.of(schema, columns))
        self._threads = threads
        self._pending: list[Future[None]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch. Raises what an earlier one failed with."""
        if self._pool is None:
            self._work(batch)
            return
        if len(self._pending) > self._threads:
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(self._work, batch))

    def _work(self, batch: pa.RecordBatch) -> None:
        profile = self._idle.get()
        try:
            profile.add(batch)
        finally:
            self._idle.put(profile)

    def finish(self) -> Profile:
        """The profile of all that was taken; ends the threads."""
        try:
            for future in self._pending:
                future.result()
        finally:
            self.close()
        while not self._idle.empty():
            self._empty.merge(self._idle.get())
        return self._empty

    def close(self) -> None:
        """End the threads and forget what was taken."""
        self._pending = []
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
