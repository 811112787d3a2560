"""Writing Excel workbooks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.capabilities import SinkCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import Encoder, FileSink
from beam_datahub.component.files import DataFile
from beam_datahub.component.registry import register
from beam_datahub.component.source import Contract, Drift, ReadRequest, Split
from beam_datahub.errors import DataHubError, LossyWrite, MissingDependency, SchemaDrift, TargetUnusable
from beam_datahub.io.excel.cells import cells_of
from beam_datahub.io.excel.options import ExcelReadOptions, ExcelWriteOptions
from beam_datahub.io.excel.source import ExcelSource
from beam_datahub.io.excel.workbook import Workbook
from beam_datahub.kernels.delimited_sniff import repeated
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.kernels.types import sql_type

_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384
# Rows that are Python objects at a time.
_SLICE_ROWS = 8_192
# About how many bytes a cell takes in the compressed file.
_CELL_BYTES = 6
_WIDEST = 60


@register("sink", "excel", since="0.1.0")
class ExcelSink(FileSink):
    """Writes Excel workbooks (.xlsx) of one sheet: one file, or a folder of part files; 1,048,575 records a file.

    Numbers, dates and truth values are those of Excel; a moment with a time zone is written in UTC. A value that no cell holds
    exactly fails the run, or is written as text (`unfit`). Reading with the same schema gives all of them back.
    """

    Options: ClassVar[type[Config]] = ExcelWriteOptions
    capabilities = SinkCapabilities(
        nested=False,
        partitions=True,
        types=(
            *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT"),
            *("DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON"),
        ),
    )
    examples = (
        Example(
            "A workbook for the controllers",
            {"connection": {"path": "out/revenue.xlsx"}, "sheet": "Revenue", "write_mode": "overwrite"},
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".xlsx",)
    compressible = False

    options: ExcelWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        if len(schema) > _MOST_COLUMNS:
            raise LossyWrite(f"a sheet has at most {_MOST_COLUMNS:,} columns, not {len(schema):,}")
        if twice := repeated(schema.names):
            raise LossyWrite(f"a header with names that differ only in case cannot be read again: {', '.join(twice)}")
        for field in schema:
            kind = field.type
            if pa.types.is_binary(kind) or kind == pa.month_day_nano_interval() or pa.types.is_nested(kind):
                as_text = f"to_base64({field.name})" if pa.types.is_binary(kind) else f"to_json({field.name})::varchar"
                raise LossyWrite(
                    f"no cell holds the column '{field.name}' of type {sql_type(kind)}", hint=f"write it as text: {as_text}"
                )

    def encoder(self, stream: pa.NativeFile, schema: pa.Schema) -> Encoder:
        return _ExcelEncoder(stream, schema, self.options)

    def merge(self, parts: Sequence[DataFile], stream: pa.NativeFile, schema: pa.Schema) -> None:
        encoder = self.encoder(stream, schema)
        try:
            for part in parts:
                self._add(part, encoder, schema)
            encoder.close()
        except BaseException:
            encoder.drop()
            raise

    def _add(self, part: DataFile, encoder: Encoder, schema: pa.Schema) -> None:
        """Write the records of another file. Raises TargetUnusable."""
        self.check_appendable(part, schema)
        # What was written is there again, or the merge must not go on.
        request = ReadRequest(schema, tuple(schema.names), Contract(Drift.FREEZE, Drift.FREEZE), declared=True)
        try:
            for block in _reader(self, part).read_file(part, Split(part.path), request):
                if block.batch.num_rows > (encoder.room() or 0):
                    raise TargetUnusable(
                        f"'{self.target.path}' would have more than the {_MOST_ROWS - 1:,} records that a sheet holds",
                        hint="write a folder: drop the extension from the path",
                    )
                encoder.write(block.batch)
        except SchemaDrift as error:
            raise TargetUnusable(f"'{part.path}' cannot be appended to: {error.reason}", hint=error.hint) from error

    def check_appendable(self, file: DataFile, schema: pa.Schema) -> None:
        hint = "write a folder, or overwrite it"
        try:
            others = [name for name in Workbook(file).names if name != self.options.sheet]
            found = [] if others else _reader(self, file).sample([file]).schema.names
        except DataHubError as error:
            raise TargetUnusable(f"'{file.path}' cannot be appended to: {error.reason}", hint=hint) from error
        if others:
            raise TargetUnusable(f"'{file.path}' cannot be appended to: it has the sheet '{others[0]}' as well", hint=hint)
        if found != schema.names:
            raise TargetUnusable(f"'{file.path}' cannot be appended to: it has other columns", hint=hint)


def _reader(sink: ExcelSink, file: DataFile) -> ExcelSource:
    return ExcelSource(sink.connection.model_copy(update={"path": file.path}), ExcelReadOptions(sheet=sink.options.sheet))


class _ExcelEncoder(Encoder):
    """Writes a workbook's only sheet row by row; the file itself comes into being when it is closed."""

    def __init__(self, stream: pa.NativeFile, schema: pa.Schema, options: ExcelWriteOptions) -> None:
        try:
            import xlsxwriter
        except ImportError as error:
            raise MissingDependency(
                "writing workbooks needs the package 'xlsxwriter'", hint="pip install 'beam-datahub[excel]'"
            ) from error
        self._schema, self._as_text = schema, options.unfit == "text"
        # Rows wait in a file until the workbook is closed.
        self._scratch = tempfile.TemporaryDirectory(prefix=scratch_prefix("excel"))
        settings = {"constant_memory": True, "tmpdir": self._scratch.name}
        self._book: Any = xlsxwriter.Workbook(_Unseekable(stream), settings)
        self._book.use_zip64()
        self._sheet: Any = self._book.add_worksheet(options.sheet)
        self._sheet.freeze_panes(1, 0)
        bold = self._book.add_format({"bold": True})
        for i, name in enumerate(schema.names):
            self._sheet.write_string(0, i, name, bold)
        self._row = 1
        self._widths = [len(name) for name in schema.names]
        forms = {form: self._book.add_format({"num_format": form}) for form in filter(None, map(_form, schema.types))}
        self._formats = [forms.get(_form(kind) or "") for kind in schema.types]

    def write(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            self._write(batch.slice(start, _SLICE_ROWS))

    def _write(self, batch: pa.RecordBatch) -> None:
        columns = [cells_of(array, field, self._as_text) for field, array in zip(self._schema, batch.columns, strict=True)]
        self._refuse_blanks(batch)
        for i, cells in enumerate(columns):
            self._widths[i] = max(self._widths[i], cells.width)
        sheet = self._sheet
        texts, numbers, truths = sheet.write_string, sheet.write_number, sheet.write_boolean
        # Rows have to come one after the other: those that are done are not kept in memory.
        for row, values in enumerate(zip(*(cells.values for cells in columns), strict=True), start=self._row):
            for column, value in enumerate(values):
                if value is None:
                    continue
                if value.__class__ is str:
                    texts(row, column, value)
                elif value.__class__ is bool:
                    truths(row, column, value)
                else:
                    numbers(row, column, value, self._formats[column])
        self._row += batch.num_rows

    def _refuse_blanks(self, batch: pa.RecordBatch) -> None:
        """Raise TargetUnusable for a record of nothing but nulls: readers take its row for none."""
        blank = pc.is_null(batch.column(0))
        for column in batch.columns[1:]:
            blank = pc.and_(blank, pc.is_null(column))
        if pc.any(blank).as_py():
            raise TargetUnusable(
                "a record has nothing but nulls, and an empty row is none", hint="leave such records out, or add a column"
            )

    def room(self) -> int:
        return _MOST_ROWS - self._row

    def held(self) -> int:
        return self._row * len(self._schema) * _CELL_BYTES

    def close(self) -> None:
        for i, width in enumerate(self._widths):
            self._sheet.set_column(i, i, min(_WIDEST, max(6, width) + 2))
        self._book.close()
        self._scratch.cleanup()

    def drop(self) -> None:
        # Without this, the library would write the workbook when it is collected.
        self._book.fileclosed = True
        if self._sheet.row_data_fh is not None:
            self._sheet.row_data_fh.close()
        self._scratch.cleanup()


class _Unseekable:
    """A stream for the ZIP writer, which asks it for more than Arrow's streams have."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.write: Callable[[bytes], int] = stream.write

    def flush(self) -> None:
        """Nothing is held back here."""


def _form(kind: pa.DataType) -> str | None:
    """How Excel shows the numbers that stand for dates and times."""
    if pa.types.is_date(kind):
        return "yyyy-mm-dd"
    if pa.types.is_time(kind):
        return "hh:mm:ss.000"
    return "yyyy-mm-dd hh:mm:ss.000" if pa.types.is_timestamp(kind) else None
