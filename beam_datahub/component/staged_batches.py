"""Batches of one bundle in a file, until the run as a whole is written: for systems that cannot stage anything themselves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import pyarrow as pa

from beam_datahub.component.file_publish import Publication
from beam_datahub.component.file_store import reading, store_of, writing
from beam_datahub.component.sink import Receipt, Writer


class StagingWriter(Writer):
    """Stages batches of one schema; the `write` of a connector refuses what cannot be, and gives the rest to `stage`."""

    def __init__(self, publication: Publication, schema: pa.Schema) -> None:
        self._schema = schema
        self._path = publication.staged(f"bundle-{secrets.token_hex(8)}.arrow")
        self._stream: pa.NativeFile | None = None
        self._file: pa.RecordBatchFileWriter | None = None
        self._rows = self._bytes = 0

    def stage(self, batch: pa.RecordBatch, size: int) -> None:
        """Keep a batch, which counts for `size` bytes. Raises TargetUnusable."""
        with writing(self._path):
            if self._file is None:
                self._stream = store_of(self._path).open_output(self._path)
                self._file = pa.ipc.new_file(self._stream, self._schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            self._file.write_batch(batch)
        self._rows += batch.num_rows
        self._bytes += size

    def close(self) -> Sequence[Receipt]:
        self._end()
        if not self._rows:
            self.discard()
            return ()
        return (Receipt(self._path, self._rows, self._bytes),)

    def discard(self) -> None:
        self._end()
        with writing(self._path):
            store_of(self._path).delete(self._path)

    def _end(self) -> None:
        if self._file is None or self._stream is None:
            return
        with writing(self._path):
            self._file.close()
            self._stream.close()
        self._file = self._stream = None


def staged(receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    """What all bundles have staged, always in the same order."""
    for receipt in receipts:
        with reading(receipt.location), store_of(receipt.location).open_input(receipt.location) as stream:
            file = pa.ipc.open_file(stream)
            for number in range(file.num_record_batches):
                yield file.get_batch(number)
