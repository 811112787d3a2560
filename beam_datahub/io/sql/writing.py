"""What rows must be asked before a database gets them that would change them without a word."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.database_sink import DatabaseSink, DatabaseWriteOptions, DatabaseWriter
from beam_datahub.component.sink import WriteRequest
from beam_datahub.kernels.rejection import rejections


class SqlWriteOptions(DatabaseWriteOptions):
    """Where rows go and how they meet what is there."""

    empty_text: Literal["reject", "null"] = "reject"
    """What becomes of a text without letters in a database that keeps it as NULL, as Oracle does: the row is refused, or the text
    becomes NULL."""


class SqlWriter(DatabaseWriter):
    """Refuses rows with a text without letters, where the database would make NULL of it."""

    def __init__(self, sink: DatabaseSink, request: WriteRequest) -> None:
        super().__init__(sink, request)
        self._texts = [field.name for field in request.schema if field.type == pa.string()]

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        empty: dict[int, str] = {}
        for name in self._texts:
            for row in pc.indices_nonzero(pc.fill_null(pc.equal(batch.column(name), ""), False)).to_pylist():
                empty.setdefault(row, name)
        if not empty:
            return super().write(batch)
        places = sorted(empty)
        message = "a text without letters would be kept as NULL there (`empty_text: null` lets it)"
        refused = rejections(places, "refused", message, [empty[row] for row in places])
        kept = pa.array([row for row in range(batch.num_rows) if row not in empty], pa.int64())
        others = super().write(batch.take(kept)) if len(kept) else None
        if others is None:
            return refused
        others = others.set_column(0, others.schema.field(0), kept.take(others.column("row").combine_chunks()))
        return pa.concat_tables([refused, others]).sort_by("row")
