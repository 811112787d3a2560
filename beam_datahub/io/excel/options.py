"""Where the records stand in a workbook, and how a sheet is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config, TimeFormats
from beam_datahub.component.file_sink import FileWriteOptions
from beam_datahub.kernels.delimited import Dialect

_RANGE = re.compile(r"([A-Za-z]{1,3})?([1-9][0-9]{0,6})?:([A-Za-z]{1,3})?([1-9][0-9]{0,6})?")
# How the workbook's own dates read once they are text, next to which the user's formats stand.
OWN_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%g")


@dataclass(frozen=True)
class Area:
    """A part of a sheet: rows and columns from 0, the ends not included (None: as far as there is something)."""

    first_row: int = 0
    end_row: int | None = None
    first_column: int = 0
    end_column: int | None = None


def area_of(text: str | None) -> Area:
    """The area that a range such as `A3:F200`, `B:D` or `A3:F` names. Raises ValueError."""
    if text is None:
        return Area()
    found = _RANGE.fullmatch(text.replace("$", "").strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"'{text}' is no range of cells such as A3:F200, A3:F or B:D")
    left, top, right, bottom = found.groups()
    area = Area(
        int(top) - 1 if top else 0,
        int(bottom) if bottom else None,
        _column_number(left) - 1 if left else 0,
        _column_number(right) if right else None,
    )
    if (area.end_row or 1 << 30) <= area.first_row or (area.end_column or 1 << 30) <= area.first_column:
        raise ValueError(f"the range '{text}' ends before it begins")
    return area


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


class ExcelReadOptions(Config):
    """Which cells are records, and what their values mean."""

    sheet: str | Annotated[int, Field(ge=1)] | None = None
    """The sheet: its name, its number from 1 on, or a pattern such as `2025-*` for all that it fits, one behind the other. The
    first one when not given."""

    range: str | None = None
    """The cells to look at, header included: `A3:F200`, `A3:F` (as far down as there is something) or `B:D`."""

    skip_rows: int = Field(default=0, ge=0)
    """How many rows to skip at the top (of the range), before the header; empty rows before it are skipped anyway."""

    header_rows: int = Field(default=1, ge=0, le=10)
    """How many rows name the columns. Of several, the names are joined by a blank, and a name in an upper row reaches over the
    empty cells to its right, as merged cells do. With 0, columns are `column0`, `column1`, …"""

    columns: Annotated[Names, Field(min_length=1)] | None = None
    """The names of the columns, in their order: instead of those in the header, or because there is none."""

    empty_rows: Literal["skip", "keep", "end"] = "skip"
    """What an empty row is: nothing, a record of nulls, or the end of the table, behind which there may be notes."""

    sheet_column: str | None = Field(default=None, min_length=1)
    """The name of a further column that holds the name of the sheet."""

    null_words: Names = ()
    """What stands for null besides an empty cell, such as `n/a`."""

    true_words: Names = ("true", "t", "yes", "y", "1")
    """What a boolean column calls true besides the truth value, in any case."""

    false_words: Names = ("false", "f", "no", "n", "0")
    """What a boolean column calls false besides the truth value, in any case."""

    formats: dict[str, TimeFormats] = {}
    """How dates and times are written that are texts and no dates of the workbook, as strptime formats:
    `{placed_at: "%d.%m.%Y"}`; ISO 8601 else."""

    sample_rows: int = Field(default=100_000, gt=0)
    """How many records of each of a few files discovery looks at."""

    @field_validator("range")
    @classmethod
    def _sound_range(cls, value: str | None) -> str | None:
        area_of(value)
        return value

    @property
    def dialect(self) -> Dialect:
        """What values mean, as the kernels take it."""
        formats = {name: (form,) if isinstance(form, str) else form for name, form in self.formats.items()}
        return Dialect(
            null_words=("", *self.null_words),
            true_words=self.true_words,
            false_words=self.false_words,
            formats={name: (*forms, *OWN_FORMATS) for name, forms in formats.items()},
        )


class ExcelWriteOptions(FileWriteOptions):
    """How the sheet is written."""

    sheet: str = Field(default="Sheet1", min_length=1, max_length=31)
    """The name of the sheet."""

    unfit: Literal["fail", "text"] = "fail"
    """What happens to a value that no cell holds exactly, as an integer of more than 15 digits, a moment finer than
    milliseconds or a date before March 1900: the run fails, or the value is written as text."""

    @model_validator(mode="after")
    def _sound_sheet(self) -> ExcelWriteOptions:
        if set(self.sheet) & set("[]:*?/\\") or self.sheet.startswith("'") or self.sheet.endswith("'"):
            raise ValueError("a sheet's name has no [ ] : * ? / \\, and no ' at its ends")
        return self
