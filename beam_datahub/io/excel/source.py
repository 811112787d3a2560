"""Reading the sheets of workbooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.arrow_blocks import Fitting, as_json
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.files import DataFile, FileSource, record_batch
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Split
from beam_datahub.errors import InvalidValue, UnreadableData
from beam_datahub.io.excel.options import OWN_FORMATS, ExcelReadOptions, area_of
from beam_datahub.io.excel.workbook import Cells, Workbook
from beam_datahub.kernels.delimited_sniff import infer, repeated
from beam_datahub.kernels.delimited_values import Wanted, conversion, exact_decimals
from beam_datahub.kernels.session import KernelSession, conform
from beam_datahub.kernels.widening import widest
from beam_datahub.kernels.workbench import over

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Records:
    """The records of one sheet as text, each with its 0-based row in the sheet; `faults` has a mask for each column of errors."""

    batch: pa.RecordBatch
    rows: _Rows
    faults: dict[str, pa.Array]


@register("source", "excel", since="0.1.0")
class ExcelSource(FileSource):
    """Reads sheets of Excel and OpenDocument workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods); of formulas, the values last computed.

    Values mean what they do in CSV files, where dates and truth values are those of the workbook. A cell with an error such as
    #DIV/0! does not fit its column, whatever the type. A sheet is in memory as a whole.
    """

    Options: ClassVar[type[Config]] = ExcelReadOptions
    capabilities = SourceCapabilities(columns=True, splits="file")
    examples = (
        Example("The first sheet, whose first row names the columns", {"connection": {"path": "data/budget.xlsx"}}),
        Example(
            "A table below a title, on all sheets of a year",
            {
                "connection": {"path": "data/sales.xlsx"},
                "sheet": "2025-*",
                "range": "A3:F",
                "empty_rows": "end",
                "sheet_column": "month",
            },
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

    options: ExcelReadOptions

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        kinds: dict[str, list[pa.DataType]] = {}
        rows = 0
        options = self.options.dialect
        # That dates of the workbook go with the formats says nothing about a column's type.
        dialect = replace(options, formats={name: forms[: -len(OWN_FORMATS)] for name, forms in options.formats.items()})
        with KernelSession() as session:
            for file in files:
                for sheet, records in self._sheets(file, None):
                    if records is None:
                        continue
                    rows += records.batch.num_rows
                    some = _without_faults(records).slice(0, self.options.sample_rows)
                    for field, array in zip(infer(pa.Table.from_batches([some]), dialect, session), some.columns, strict=True):
                        # Of a column without a value, nothing is known.
                        known = kinds.setdefault(field.name, [])
                        known += [field.type] if array.null_count < len(array) else []
                    if self.options.sheet_column is not None:
                        kinds.setdefault(self._sheet_column(sheet, records), []).append(pa.string())
        if not kinds:
            raise UnreadableData(
                f"'{files[0].path}' has nothing in the sheet: not even a header tells the columns",
                hint="is `sheet` or `range` right? declare the source's `schema` to take an empty sheet for no records",
            )
        found = {name: (widest(types) if types else None) or pa.string() for name, types in kinds.items()}
        return Discovery(pa.schema(list(found.items())), rows)

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        first, empty = 0, True
        for sheet, records in self._sheets(file, request.schema):
            if records is None:
                continue
            empty = False
            yield from self._blocks(file, sheet, records, request, first)
            first += records.batch.num_rows
        if empty and not request.declared and not len(request.schema):
            raise UnreadableData(f"'{file.path}' has nothing in the sheet")

    def _blocks(self, file: DataFile, sheet: str, records: _Records, request: ReadRequest, first: int) -> Iterator[Block]:
        """The blocks of one sheet, whose records are counted from `first` on."""
        texts = records.batch
        if self.options.sheet_column is not None:
            name = self._sheet_column(sheet, records)
            texts = texts.append_column(name, pa.repeat(pa.scalar(sheet, pa.string()), texts.num_rows))
        texts, drifted = _matched(file, texts, request)
        faults = dict(zip(texts.schema.names, (records.faults.get(name) for name in records.batch.schema.names), strict=False))
        wanted = [name for name in request.columns if name in texts.schema.names]
        step = max(1, request.batch_bytes // max(1, texts.nbytes // max(1, texts.num_rows)))
        step = min(step, request.limit) if request.limit else step
        converter = _Converter(self.options, faults)
        fitting = Fitting(request, file.path, drifted, converter.convert)
        for start in range(0, texts.num_rows, step):
            part = texts.slice(start, step)
            converter.start = start
            fitted = fitting.fit(part.select(wanted) if wanted else record_batch([], pa.schema([]), part.num_rows))
            yield Block(
                fitted.batch,
                Origin(file.path, first_row=first + start),
                rejected=fitted.rejected,
                positions=fitted.positions,
                originals=partial(as_json, part),
                lines=partial(_row_numbers, records.rows[start : start + step]),
                drifted=drifted,
            )

    def _sheets(self, file: DataFile, schema: pa.Schema | None) -> Iterator[tuple[str, _Records | None]]:
        """The records of each wanted sheet; None for one that has not even a header."""
        book = Workbook(file)
        for sheet in book.selected(self.options.sheet):
            yield sheet, self._records(file, book.cells(sheet, area_of(self.options.range)), schema)

    def _records(self, file: DataFile, cells: Cells, schema: pa.Schema | None) -> _Records | None:
        filled = np.zeros(cells.rows, bool)
        for column in cells.columns:
            filled |= pc.is_valid(column).to_numpy(zero_copy_only=False)
        begin = min(self.options.skip_rows, cells.rows)
        if not filled[begin:].any():
            return None
        # Empty rows above the header are part of the page's look.
        begin += int(np.argmax(filled[begin:])) if self.options.header_rows else 0
        body = begin + self.options.header_rows
        header = [[column[row].as_py() for column in cells.columns] for row in range(begin, min(body, cells.rows))]
        names, places = self._names(file, cells, header, schema)
        kept = np.arange(body, cells.rows)
        if self.options.empty_rows != "keep":
            blank = np.flatnonzero(~filled[body:])
            ended = self.options.empty_rows == "end" and len(blank)
            kept = kept[: blank[0]] if ended else kept[filled[body:]]
        indices = pa.array(kept)
        columns = [self._nulled(cells.columns[i]).take(indices) for i in places]
        faults = {name: _mask(cells.faults[i], kept) for name, i in zip(names, places, strict=True) if i in cells.faults}
        batch = record_batch(columns, pa.schema([pa.field(name, pa.string()) for name in names]), len(kept))
        return _Records(batch, kept + cells.first_row, faults)

    def _names(
        self, file: DataFile, cells: Cells, header: list[list[str | None]], schema: pa.Schema | None
    ) -> tuple[list[str], list[int]]:
        """The names of the columns, and their places; columns with neither a name nor a value are none."""
        given, width = self.options.columns, len(cells.columns)
        places = list(range(width))
        if given is not None and len(given) > width:
            raise UnreadableData(
                f"'{file.path}': the sheet '{cells.sheet}' has {width} columns, and `columns` names {len(given)}",
                hint="is `range` right?",
            )
        if given is not None:
            names = list(given)
        elif header:
            joined = _joined(header, width)
            places = [i for i in places if joined[i] or cells.columns[i].null_count < cells.rows]
            names = [joined[i] or f"column{i}" for i in places]
        elif schema is not None and 0 < len(schema) <= width:
            names = [name for name in schema.names if name != self.options.sheet_column]
        else:
            names = [f"column{i}" for i in range(width)]
        if twice := repeated(names):
            raise UnreadableData(
                f"'{file.path}': the sheet '{cells.sheet}' has several columns called {', '.join(repr(name) for name in twice)}",
                hint="names differ by more than case; name all columns by the option `columns`",
            )
        return names, places[: len(names)]

    def _nulled(self, column: pa.Array) -> pa.Array:
        if not self.options.null_words:
            return column
        words = pa.array(self.options.null_words, pa.string())
        return pc.if_else(pc.is_in(pc.utf8_trim_whitespace(column), words), pa.scalar(None, pa.string()), column)

    def _sheet_column(self, sheet: str, records: _Records) -> str:
        name = self.options.sheet_column or ""
        if name.casefold() in (other.casefold() for other in records.batch.schema.names):
            raise InvalidValue(f"the sheet '{sheet}' has a column '{name}' of its own", hint="choose another `sheet_column`")
        return name


def _joined(header: list[list[str | None]], width: int) -> list[str]:
    """The names in a header's rows, "" where there is none; in an upper row, a name reaches to the right until the next one."""
    parts: list[list[str]] = [[] for _ in range(width)]
    for row in header:
        last = ""
        for i, text in enumerate(row):
            # Line breaks in a header are there for its look.
            name = " ".join((text or "").split())
            last = name or (last if row is not header[-1] else "")
            if last:
                parts[i].append(last)
    return [" ".join(part) for part in parts]


def _row_numbers(rows: _Rows, positions: Sequence[int]) -> list[int | None]:
    """The numbers of records' rows as the workbook shows them."""
    return [int(rows[i]) + 1 for i in positions]


def _mask(faults: list[int], kept: _Rows) -> pa.Array:
    return pa.array(np.isin(kept, faults))


def _without_faults(records: _Records) -> pa.RecordBatch:
    """The texts, null where a cell has an error."""
    batch, null = records.batch, pa.scalar(None, pa.string())
    columns = [
        pc.if_else(records.faults[name], null, column) if name in records.faults else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return record_batch(columns, batch.schema, batch.num_rows)


def _matched(file: DataFile, texts: pa.RecordBatch, request: ReadRequest) -> tuple[pa.RecordBatch, tuple[str, ...]]:
    """The columns under the schema's names, from which they may differ in case, and those that it lacks."""
    known = {name.casefold(): name for name in request.schema.names}
    names = [known.get(name.casefold(), name) for name in texts.schema.names]
    drifted = tuple(name for name in names if name not in request.schema.names)
    if len(drifted) == len(names) and len(request.schema):
        raise UnreadableData(
            f"'{file.path}' has none of the columns {', '.join(request.schema.names[:10])}",
            hint=f"it has {', '.join(names[:10])}; is `sheet`, `range` or `skip_rows` right?",
        )
    return texts.rename_columns(names), drifted


class _Converter:
    """Turns texts into the types of fields; `start` is the first of the sheet's records that are at hand."""

    def __init__(self, options: ExcelReadOptions, faults: dict[str, pa.Array | None]) -> None:
        self._dialect, self._faults, self.start = options.dialect, faults, 0

    def convert(self, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        """The values of a column, and the mask of those that are not of its type."""
        fault = self._faults.get(field.name)
        bad = None if fault is None else fault.slice(self.start, len(array))
        if field.type == pa.string():
            return (array, None) if bad is None else (pc.if_else(bad, pa.scalar(None, pa.string()), array), bad)
        values, misfits = self._converted(array, field)
        if pa.types.is_decimal(field.type) and misfits is not None:
            values, misfits = self._mended(array, values, misfits, field.type)
        if bad is not None:
            misfits = bad if misfits is None else pc.or_(misfits, bad)
        return values, misfits if misfits is not None and pc.any(misfits).as_py() else None

    def _converted(self, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        wanted = Wanted("c", field.type, self._dialect.formats_of(field.name, field.type))
        sql = f"SELECT v0, m0 FROM ({conversion('t', [wanted], self._dialect)})"
        found = conform(over(pa.table({"c": array}), sql), pa.schema([("v", field.type), ("m", pa.bool_())]))
        values, bad = (column.combine_chunks() for column in found.columns)
        return values, bad if pc.any(bad).as_py() else None

    def _mended(
        self, texts: pa.Array, values: pa.Array, misfits: pa.Array, kind: pa.DataType
    ) -> tuple[pa.Array, pa.Array | None]:
        """Decimals of numbers that have too many digits as they are: a formula's result may be off in its last bits, but the 15
        digits that Excel shows are right.
        """
        found = exact_decimals(_of_15_digits(texts.filter(misfits)), kind, self._dialect)
        # Only what was found is put in, the rest is null already.
        values = pc.replace_with_mask(values, misfits, found)
        return values, pc.and_(misfits, pc.is_null(values))


def _of_15_digits(texts: pa.Array) -> pa.Array:
    """Numbers with as many digits as Excel has; what has more than a cell's number is none, and stays as it is."""
    number, digits = "TRY_CAST(c AS DOUBLE)", "ltrim(regexp_replace(regexp_replace(c, '[eE].*', ''), '[^0-9]', '', 'g'), '0')"
    short = f"CASE WHEN {number} IS NOT NULL AND length({digits}) <= 17 THEN format('{{:.15g}}', {number}) ELSE c END"
    column = over(pa.table({"c": texts}), f"SELECT {short} AS c FROM t").column(0)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
