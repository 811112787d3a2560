"""Messages of one bundle in a file, until the run as a whole is sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.file_publish import Publication
from beam_datahub.component.file_store import reading, store_of, writing
from beam_datahub.component.messages.encoding import STAGED, Encoding
from beam_datahub.component.sink import Receipt, Writer
from beam_datahub.kernels.rejection import rejections

# What a message needs beside its key and value.
_FRAME_BYTES = 100


class StagedWriter(Writer):
    """Writes the messages of one bundle to a file; what no message can hold is refused."""

    def __init__(self, publication: Publication, encoding: Encoding, number: int | None) -> None:
        self._encoding, self._number = encoding, number
        self._path = publication.staged(f"bundle-{secrets.token_hex(8)}.arrow")
        self._stream: pa.NativeFile | None = None
        self._file: pa.RecordBatchFileWriter | None = None
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        messages = self._encoding.encode(batch, self._number)
        sizes = pc.add(
            pc.fill_null(pc.binary_length(messages["value"]), 0), pc.fill_null(pc.binary_length(messages["key"]), _FRAME_BYTES)
        )
        limit = self._encoding.max_message_bytes
        large = pc.greater(pc.add(sizes, _FRAME_BYTES), limit)
        bad = pc.indices_nonzero(large).to_pylist()
        if bad:
            messages = messages.filter(pc.invert(large))
        with writing(self._path):
            if self._file is None:
                self._stream = store_of(self._path).open_output(self._path)
                self._file = pa.ipc.new_file(self._stream, STAGED, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            self._file.write_batch(messages)
        self._rows += messages.num_rows
        self._bytes += pc.sum(sizes).as_py() or 0
        if not bad:
            return None
        told = [f"the message would have {sizes[i].as_py()} bytes, {limit} are allowed" for i in bad]
        return rejections(bad, "refused", told)

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
    """The messages of all bundles."""
    for receipt in receipts:
        with reading(receipt.location), store_of(receipt.location).open_input(receipt.location) as stream:
            file = pa.ipc.open_file(stream)
            for number in range(file.num_record_batches):
                yield file.get_batch(number)
