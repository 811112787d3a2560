"""Rows that a destination gives back while a run is published.

A destination that can do so (`SinkCapabilities.returns`) is given rows with hidden columns, which say where a row came from: it
stages them with the others, and its files of rows that it gives back have them as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from beam_datahub.component.file_store import reading, store_of, writing
from beam_datahub.kernels.rejection import ATTEMPTS, REJECTION
from beam_datahub.kernels.types import HIDDEN

# What is said of each row, beside its own columns.
_SAID = f"{HIDDEN}said_"
_SAID_FIELDS = [*(field for field in REJECTION if field.name != "row"), pa.field(ATTEMPTS, pa.int64())]


def returned_rows(rows: pa.Table, found: pa.Table) -> pa.RecordBatch:
    """The rows behind a REJECTION table that has the column ATTEMPTS; its `row` counts `rows`."""
    table = rows.take(found["row"].combine_chunks())
    for field in _SAID_FIELDS:
        table = table.append_column(field.with_name(_SAID + field.name), found[field.name])
    return table.combine_chunks().to_batches()[0]


def write_returned(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a file of rows that are given back. Raises TargetUnusable."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with writing(path), store_of(path).open_output(path) as stream, pa.ipc.new_file(stream, schema, options=options) as file:
        for batch in batches:
            file.write_batch(batch)


def read_batches(path: str) -> Iterator[pa.RecordBatch]:
    """The batches of such a file, as they were written. Raises ConnectorError."""
    with reading(path), store_of(path).open_input(path) as stream:
        file = pa.ipc.open_file(stream)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)


def read_returned(path: str) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows that are given back, and the REJECTION table of them. Raises ConnectorError."""
    for batch in read_batches(path):
        table = pa.Table.from_batches([batch])
        rows = table.select([name for name in table.schema.names if not name.startswith(_SAID)])
        found = pa.table({"row": pa.array(range(rows.num_rows), pa.int64())})
        for field in _SAID_FIELDS:
            found = found.append_column(field, table[_SAID + field.name])
        yield rows, found
