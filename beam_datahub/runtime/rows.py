"""Rows in memory as a source and as a destination: what previews and the tests of a spec run on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities, WriteMode
from beam_datahub.component.config import Config
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Report, Source, Split
from beam_datahub.kernels.session import conform, single_batch
from beam_datahub.kernels.types import empty_table


class RowsSource(Source):
    """A table as a source."""

    name = "rows"
    Connection = Config
    Options = Config
    capabilities = SourceCapabilities(columns=True)

    def __init__(self, table: pa.Table, slice_rows: int | None = None) -> None:
        super().__init__(Config(), Config())
        self._table, self._slice_rows = table, slice_rows

    def check(self) -> Report:
        return Report((("rows", True, f"{self._table.num_rows} rows"),))

    def discover(self) -> Discovery:
        return Discovery(self._table.schema, self._table.num_rows, self._table.nbytes)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield Split("rows")

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        table = self._table.select(list(request.columns))
        first = 0
        for batch in table.to_batches(max_chunksize=self._slice_rows) or [single_batch(table)]:
            yield Block(batch, Origin(first_row=first), originals=partial(self._originals, first))
            first += batch.num_rows

    def _originals(self, first: int, positions: Sequence[int]) -> list[str]:
        rows = self._table.take([first + position for position in positions]).to_pylist()
        return [json.dumps(row, default=str, separators=(",", ":"), ensure_ascii=False) for row in rows]


class CollectSink(Sink):
    """Keeps rows in a folder of IPC files that the launcher reads back."""

    name = "collect"
    Connection = Config
    Options = Config
    capabilities = SinkCapabilities(write_modes=(WriteMode.OVERWRITE,))

    def __init__(self, folder: str) -> None:
        super().__init__(Config(), Config())
        self._folder = folder

    def check(self) -> Report:
        return Report((("folder", os.path.isdir(self._folder), self._folder),))

    def plan_write(self, request: WriteRequest) -> None:
        """Anything can be kept."""

    def prepare(self, request: WriteRequest) -> None:
        os.makedirs(self._folder, exist_ok=True)

    def open(self, request: WriteRequest) -> Writer:
        return _CollectWriter(self._folder, request.schema)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        for receipt in receipts:
            os.replace(receipt.location, receipt.location.removesuffix(".staged"))
        return Committed(sum(receipt.rows for receipt in receipts), 0, (self._folder,))

    def abort(self, request: WriteRequest) -> None:
        for name in os.listdir(self._folder):
            if name.endswith(".staged"):
                os.unlink(os.path.join(self._folder, name))

    def collected(self, schema: pa.Schema) -> pa.Table:
        """The rows that were committed."""
        tables = [empty_table(schema)]
        for name in sorted(os.listdir(self._folder)) if os.path.isdir(self._folder) else []:
            if name.endswith(".arrow"):
                with pa.ipc.open_file(os.path.join(self._folder, name)) as reader:
                    tables.append(conform(reader.read_all(), schema))
        return pa.concat_tables(tables)


class _CollectWriter(Writer):
    def __init__(self, folder: str, schema: pa.Schema) -> None:
        descriptor, self._path = tempfile.mkstemp(dir=folder, suffix=".arrow.staged")
        os.close(descriptor)
        self._writer = pa.ipc.new_file(self._path, schema)
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def close(self) -> Sequence[Receipt]:
        self._writer.close()
        return [Receipt(self._path, self._rows)]

    def discard(self) -> None:
        self._writer.close()
        os.unlink(self._path)
