"""The terminal: shows what came out once the run has succeeded."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Sequence
from urllib.parse import quote

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.capabilities import Delivery, SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_store import writing
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.types import JSON, sql_type, visible


class ConsoleConnection(Config):
    """There is no outside system to reach."""


class ConsoleOptions(Config):
    """What is shown."""

    limit: int = Field(default=50, ge=1)
    """How many rows are shown; the rest is only counted."""


@register("sink", "console", since="0.1.0")
class ConsoleSink(Sink):
    """Shows the rows as a table on the standard output when the run has succeeded."""

    Connection = ConsoleConnection
    Options = ConsoleOptions
    capabilities = SinkCapabilities(write_modes=(WriteMode.APPEND,), delivery=Delivery.AT_LEAST_ONCE)
    examples = (Example("The first ten rows", {"limit": 10}),)

    options: ConsoleOptions

    def check(self) -> Report:
        return Report((("terminal", True, "standard output"),))

    def plan_write(self, request: WriteRequest) -> None:
        if request.mode != WriteMode.APPEND:
            raise InvalidValue(f"the console cannot be written with write_mode {request.mode}", hint="leave write_mode out")

    def prepare(self, request: WriteRequest) -> None:
        with writing(_folder(request)):
            os.makedirs(_folder(request), exist_ok=True)

    def open(self, request: WriteRequest) -> Writer:
        return _ConsoleWriter(request, self.options.limit)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        rows = sum(receipt.rows for receipt in receipts)
        # The staging folder goes last: without it, this commit has been done before.
        if os.path.isdir(_folder(request)):
            shown: list[pa.RecordBatch] = []
            for receipt in receipts:
                if sum(batch.num_rows for batch in shown) < self.options.limit:
                    with pa.ipc.open_file(receipt.location) as stored:
                        shown += [stored.get_batch(i) for i in range(stored.num_record_batches)]
            table = pa.Table.from_batches(shown, request.schema).slice(0, self.options.limit)
            _show(request.step, table, rows)
            self.abort(request)
        return Committed(rows, 0, ("standard output",))

    def abort(self, request: WriteRequest) -> None:
        shutil.rmtree(_folder(request), ignore_errors=True)


class _ConsoleWriter(Writer):
    """Keeps the first rows of a bundle in a file and counts all."""

    def __init__(self, request: WriteRequest, limit: int) -> None:
        os.makedirs(_folder(request), exist_ok=True)
        self._path = os.path.join(_folder(request), uuid.uuid4().hex)
        self._left, self._rows = limit, 0
        with writing(self._path):
            self._file = pa.ipc.new_file(self._path, request.schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        if self._left > 0 and batch.num_rows:
            with writing(self._path):
                self._file.write_batch(batch.slice(0, self._left))
            self._left -= min(self._left, batch.num_rows)

    def close(self) -> Sequence[Receipt]:
        with writing(self._path):
            self._file.close()
        return (Receipt(self._path, self._rows, os.path.getsize(self._path)),)

    def discard(self) -> None:
        self._file.close()
        if os.path.exists(self._path):
            os.unlink(self._path)


def _folder(request: WriteRequest) -> str:
    return os.path.join(
        tempfile.gettempdir(), f"beam-datahub-console-{quote(request.run_id, safe='')}", quote(request.step, safe="")
    )


def _show(step: str, table: pa.Table, rows: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = Table(title=Text(step), caption=Text(_caption(table.num_rows, rows)), title_justify="left", caption_justify="left")
    for field in visible(table.schema):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        found.add_column(Text(f"{field.name}\n{sql_type(field.type)}"), justify="right" if number else "left", overflow="fold")
    columns = [_texts(table.column(field.name), field) for field in visible(table.schema)]
    for row in zip(*columns, strict=True):
        found.add_row(*(Text(value) if value is not None else Text("null", style="dim") for value in row))
    Console(file=sys.stdout).print(found)


def _caption(shown: int, rows: int) -> str:
    words = f"{rows:,} row{'' if rows == 1 else 's'}"
    return words if shown == rows else f"{words}, the first {shown:,} shown"


def _texts(column: pa.ChunkedArray, field: pa.Field) -> list[str | None]:
    """The values as a reader likes them: nested ones as JSON."""
    if not pa.types.is_nested(field.type):
        values = column.to_pylist()
        return [None if value is None else value if field.type == JSON else str(value) for value in values]
    texts: list[str | None] = []
    for batch in pa.table({"c": column}).to_batches():
        texts += [text[len('{"c":') : -1] for text in json_rows(batch).to_pylist()]
    return [None if text == "null" else text for text in texts]
