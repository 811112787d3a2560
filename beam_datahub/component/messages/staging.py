"""Messages of one bundle in a file, until the run as a whole is sent."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.file_publish import Publication
from beam_datahub.component.messages.encoding import STAGED, Encoding
from beam_datahub.component.staged_batches import StagingWriter
from beam_datahub.kernels.rejection import rejections

# What a message needs beside its key and value.
_FRAME_BYTES = 100


class StagedWriter(StagingWriter):
    """Writes the messages of one bundle to a file; what no message can hold is refused."""

    def __init__(self, publication: Publication, encoding: Encoding, number: int | None) -> None:
        super().__init__(publication, STAGED)
        self._encoding, self._number = encoding, number

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
        self.stage(messages, pc.sum(sizes).as_py() or 0)
        if not bad:
            return None
        told = [f"the message would have {sizes[i].as_py()} bytes, {limit} are allowed" for i in bad]
        return rejections(bad, "refused", told)
