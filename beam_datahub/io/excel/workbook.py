"""The cells of a workbook as columns of text, by calamine, which reads all kinds of workbooks, into Arrow."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.file_store import local_path, reading
from beam_datahub.component.files import DataFile
from beam_datahub.errors import MissingDependency, UnreadableData
from beam_datahub.io.excel.options import Area

_ERRORS = {
    "Div0": "#DIV/0!",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
    "GettingData": "#GETTING_DATA",
}
_FAULT = re.compile(r"""got '(\w+)\((.*)\)'""", re.DOTALL)
_NUMBER = r"^[+-]?[0-9]+([.][0-9]+)?$"
_LONG_FRACTION = r"^[+-]?[0-9]{7,}[.][0-9]{8,9}$"
_DURATION = re.compile(r"PT(\d+)H(\d+)M(\d+)(?:[.,](\d+))?S")


@dataclass(frozen=True)
class Cells:
    """The cells of one sheet's area as text, null where they are empty.

    `first_row` is the first one's number in the sheet, from 0. `faults` are the rows of cells that hold an error such as
    #DIV/0!, by column; their text is the error's name.
    """

    sheet: str
    columns: list[pa.Array]
    rows: int
    first_row: int
    faults: dict[int, list[int]]


class Workbook:
    """An open workbook. Raises UnreadableData for what is none."""

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._reader = _opened(file)
        self.names: list[str] = list(self._reader.sheet_names)

    def selected(self, wanted: str | int | None) -> list[str]:
        """The names of the sheets that `wanted` (a name, a number from 1 on, a pattern or None) means."""
        names = self.names
        if wanted is None or isinstance(wanted, int):
            found = names[(wanted or 1) - 1 : (wanted or 1)]
        else:
            found = [name for name in names if name == wanted] or [name for name in names if name.casefold() == wanted.casefold()]
            found = found or [name for name in names if fnmatch.fnmatchcase(name, wanted)]
        if not found:
            said = f"no sheet {wanted!r}" if names else "no sheet"
            shown = ", ".join(repr(name) for name in names[:20])
            raise UnreadableData(f"'{self._file.path}' has {said}", hint=f"it has {shown}" if names else None)
        return found

    def cells(self, sheet: str, area: Area) -> Cells:
        """The cells of an area of a sheet."""
        count = None if area.end_row is None else area.end_row - area.first_row
        with _named(self._file):
            try:
                found = self._reader.load_sheet(sheet, header_row=None, dtypes="string", skip_rows=area.first_row, n_rows=count)
                batch, errors = found.to_arrow_with_errors()
            except _library().InvalidParametersError:
                # The sheet ends before the area begins.
                return Cells(sheet, [], 0, area.first_row, {})
            places = [column.absolute_index for column in found.available_columns()]
            columns = self._exact(sheet, batch.columns, places, area.first_row, count)
        first, end = area.first_column, area.end_column
        width = (max(places, default=-1) + 1 if end is None else end) - first
        faults: dict[int, list[int]] = {}
        odd: dict[int, dict[int, str]] = {}
        for fault in errors.errors if errors is not None else ():
            row, column = fault.offset_position[0], fault.position[1]
            odd.setdefault(column, {})[row], is_error = _fault(fault.detail)
            if is_error and 0 <= places[column] - first < width:
                faults.setdefault(places[column] - first, []).append(row)
        for column, texts in odd.items():
            columns[column] = _with(columns[column], texts)
        columns = [_plain(column) for column in columns]
        by_place = dict(zip(places, columns, strict=True))
        empty = pa.nulls(batch.num_rows, pa.string())
        kept = [by_place.get(first + i, empty) for i in range(max(0, width))]
        return Cells(sheet, kept, batch.num_rows, area.first_row, faults)

    def _exact(self, sheet: str, texts: list[pa.Array], places: list[int], skip: int, count: int | None) -> list[pa.Array]:
        """Texts whose numbers have all of their digits; as texts, the library gives nine decimals."""
        numbers = [place for place, text in zip(places, texts, strict=True) if _has_numbers(text)]
        if not numbers:
            return texts
        found = self._reader.load_sheet(sheet, header_row=None, dtypes="float", skip_rows=skip, n_rows=count, use_columns=numbers)
        # Cells that hold no number are null there, and stay the texts that they are.
        exact = dict(zip(numbers, found.to_arrow_with_errors()[0].columns, strict=True))
        return [_mended(text, exact[place]) if place in exact else text for place, text in zip(places, texts, strict=True)]


def _has_numbers(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, _NUMBER)).as_py())


def _mended(texts: pa.Array, numbers: pa.Array) -> pa.Array:
    plain = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(None, pa.string())).cast(pa.float64())
    # Cut off, or with digits that say nothing, as of 12345678901.567800522.
    cut = pc.fill_null(pc.or_(pc.not_equal(plain, numbers), pc.match_substring_regex(texts, _LONG_FRACTION)), False)
    cut = pc.and_(cut, pc.is_valid(numbers))
    if not pc.any(cut).as_py():
        return texts
    return pc.if_else(cut, numbers.cast(pa.string()), texts)


def _library() -> Any:
    try:
        import fastexcel
    except ImportError as error:
        raise MissingDependency(
            "reading workbooks needs the package 'fastexcel'", hint="pip install 'beam-datahub[excel]'"
        ) from error
    return fastexcel


def _opened(file: DataFile) -> Any:
    library = _library()
    with reading(file.path), file.open() as stream:
        data = bytes(stream.read())
    if not data:
        raise UnreadableData(f"'{file.path}' is empty; a workbook has at least a sheet")
    local = local_path(file.path)
    with _named(file):
        try:
            return library.read_excel(data)
        except library.CalamineError:
            if file.seekable and local is not None:
                # By the name it knows the kind of file, and can say what is wrong with it.
                return library.read_excel(local)
            raise


@contextmanager
def _named(file: DataFile) -> Iterator[None]:
    """Turn the library's errors into UnreadableData."""
    library = _library()
    try:
        yield
    except library.InvalidParametersError:
        raise
    except library.FastExcelError as error:
        words = str(error).splitlines()[0].removeprefix("calamine error: ")
        if "password" in words.lower():
            raise UnreadableData(f"'{file.path}' is protected by a password", hint="save it without one") from error
        hint = "is it a workbook (.xlsx, .xlsm, .xlsb, .xls, .ods), and whole?"
        raise UnreadableData(f"'{file.path}' cannot be read: {words}", hint=hint) from error
    except BaseException as error:
        # How a defect of the library within its Rust part shows.
        if type(error).__name__ != "PanicException":
            raise
        raise UnreadableData(f"'{file.path}' cannot be read: it is damaged") from error


def _plain(column: pa.Array) -> pa.Array:
    """Texts of dates and times as short as they say all: midnight is left out, and the day before 1900 that times have."""
    if pc.any(pc.starts_with(column, "1899-12-31 ")).as_py():
        column = pc.replace_substring_regex(column, r"^1899-12-31 (\d\d:\d\d:\d\d(\.\d+)?)$", r"\1")
    if pc.any(pc.ends_with(column, " 00:00:00")).as_py():
        column = pc.replace_substring_regex(column, r"^(\d{4,}-\d\d-\d\d) 00:00:00$", r"\1")
    return column


def _fault(detail: str) -> tuple[str, bool]:
    """The text of a cell that is no text, and whether it is an error."""
    found = _FAULT.search(detail)
    if found is None or found[1] == "Error":
        return _ERRORS.get(found[2] if found else "", "#ERROR"), True
    inner = found[2].strip('"')
    duration = _DURATION.fullmatch(inner)
    if duration is None:
        return inner, False
    hours, minutes, seconds, fraction = duration.groups()
    return f"{int(hours):02}:{int(minutes):02}:{int(seconds):02}" + (f".{fraction}" if fraction else ""), False


def _with(column: pa.Array, texts: dict[int, str]) -> pa.Array:
    """A column with other texts in some rows."""
    mask = np.zeros(len(column), bool)
    rows = sorted(texts)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), pa.array([texts[row] for row in rows], pa.string()))
