"""The writer of one bundle's files: encodes on a thread of its own while the next batch is being made."""

from __future__ import annotations

import itertools
import queue
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.file_publish import Publication
from beam_datahub.component.file_store import store_of, writing
from beam_datahub.component.files import HIVE_NULL, record_batch
from beam_datahub.component.sink import Receipt, Writer, WriteRequest

if TYPE_CHECKING:
    from beam_datahub.component.file_sink import FileSink, OpenFile

# What may wait for the thread that encodes: about the result of one query over a part of a file.
_WAITING_BYTES = 64 << 20
# Batches that take little are written together: to encode one has a price of its own.
_SMALL_BYTES, _GROUP_BYTES = 1 << 20, 4 << 20
_OPEN_FILES = 64


@dataclass
class _Part:
    file: OpenFile
    name: str
    rows: int = 0


class BundleWriter(Writer):
    """Stages one bundle: one file at a time for each partition, each until it has reached the target size."""

    def __init__(self, sink: FileSink, request: WriteRequest, publication: Publication) -> None:
        self._sink, self._request, self._publication = sink, request, publication
        self._schema, self._partition_by = sink.file_schema(request), sink.options.partition_by
        self._bundle, self._number = uuid.uuid4().hex[:12], 0
        self._parts: OrderedDict[str, _Part] = OrderedDict()
        self._receipts: list[Receipt] = []
        self._failure: BaseException | None = None
        self._queue: queue.SimpleQueue[pa.RecordBatch | None] = queue.SimpleQueue()
        self._waiting, self._room = 0, threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"write {self._request.step}", daemon=True)
            self._thread.start()
        self._raise_failure()
        with self._room:
            # One that is larger than all that may wait goes alone.
            self._room.wait_for(lambda: self._waiting < _WAITING_BYTES)
            self._waiting += batch.nbytes
        self._queue.put(batch)

    def close(self) -> Sequence[Receipt]:
        self._join()
        self._raise_failure()
        with writing(self._publication.target.path):
            for folder in list(self._parts):
                self._finish(folder)
        return self._receipts

    def discard(self) -> None:
        self._failure = self._failure or InterruptedError("discarded")
        self._join()
        for part in self._parts.values():
            part.file.drop()
        for path in [part.file.path for part in self._parts.values()] + [receipt.location for receipt in self._receipts]:
            store_of(path).delete(path)
        self._parts.clear()
        self._receipts.clear()

    def _join(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        for group in _groups(self._taken(), min(_GROUP_BYTES, int(self._sink.options.target_file_size))):
            # After a failure the queue is drained, so that no caller waits on it for ever.
            if self._failure is None:
                try:
                    with writing(self._publication.target.path):
                        self._stage(pa.concat_batches(group) if len(group) > 1 else group[0])
                except BaseException as error:
                    self._failure = error

    def _taken(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._queue.get()) is not None:
            with self._room:
                self._waiting -= batch.nbytes
                self._room.notify()
            yield batch

    def _stage(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        for folder, rows in _by_partition(batch, self._partition_by, self._schema):
            while rows.num_rows:
                part = self._part(folder)
                some = rows.slice(0, part.file.room())
                rows = rows.slice(some.num_rows)
                part.rows += some.num_rows
                size = part.file.write(some)
                large = size >= self._sink.options.target_file_size and not self._publication.target.single
                if large or part.file.room() == 0:
                    self._finish(folder)

    def _part(self, folder: str) -> _Part:
        if folder not in self._parts:
            if len(self._parts) >= _OPEN_FILES:
                self._finish(next(iter(self._parts)))
            name = folder + self._publication.part_name(self._bundle, self._number)
            self._number += 1
            self._parts[folder] = _Part(self._sink.create(self._publication.staged(name), self._schema), name)
        self._parts.move_to_end(folder)
        return self._parts[folder]

    def _finish(self, folder: str) -> None:
        part = self._parts[folder]
        self._receipts.append(Receipt(part.file.path, part.rows, part.file.close(), part.name))
        del self._parts[folder]


def _groups(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[list[pa.RecordBatch]]:
    """The batches in their order, small ones that follow one another together, up to `most` bytes."""
    group: list[pa.RecordBatch] = []
    room = most
    for batch in batches:
        # A slice holds the whole of what it was cut from.
        size = batch.get_total_buffer_size()
        small = size <= _SMALL_BYTES
        if group and not (small and size <= room and batch.schema.equals(group[0].schema)):
            yield group
            group, room = [], most
        if small:
            group.append(batch)
            room -= size
        else:
            yield [batch]
    if group:
        yield group


def _by_partition(batch: pa.RecordBatch, columns: Sequence[str], schema: pa.Schema) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each partition with its folder ("" without partitions, else ending in a slash)."""
    if not columns:
        yield "", batch
        return
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    names: list[list[str]] = []
    for column in columns:
        found = pc.dictionary_encode(pc.cast(batch.column(column), pa.string()), null_encoding="encode")
        names.append([_folder(column, value) for value in found.dictionary.to_pylist()])
        codes = codes * len(names[-1]) + found.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]])
    data = record_batch([batch.column(name) for name in schema.names], schema, batch.num_rows).take(pa.array(order))
    for start, end in itertools.pairwise(starts):
        parts, code = [], int(ordered[start])
        for values in reversed(names):
            code, index = divmod(code, len(values))
            parts.append(values[index])
        yield "/".join(reversed(parts)) + "/", data.slice(start, end - start)


def _folder(column: str, value: str | None) -> str:
    return f"{quote(column, safe='')}={HIVE_NULL if value is None else quote(value, safe=' -')}"
