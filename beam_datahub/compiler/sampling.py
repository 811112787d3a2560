"""The first rows of a source, without a pipeline."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.plan import Read


def sampled(read: Read, rows: int) -> pa.Table:
    """At least the first `rows` rows of a source, or all that it has. Raises ConnectorError."""
    request = replace(read.request, limit=rows, threads=1)
    batches: list[pa.RecordBatch] = []
    left = rows
    for split in read.source.splits(request):
        for block in read.source.read(split, request):
            batches.append(block.batch)
            left -= block.batch.num_rows
            if left <= 0:
                break
        if left <= 0:
            break
    return pa.Table.from_batches(batches, request.projected)
