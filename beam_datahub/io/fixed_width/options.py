"""Where the columns of fixed-width text stand, and what a source's values mean."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator

from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config, TimeFormats
from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_sniff import repeated
from beam_datahub.kernels.fixed_width import Slot

_SIGN = r"^[^\x00-\x1f]$"
_DECIMAL_DIGITS = 38


class FixedWidthColumn(Config):
    """A column: its name, and where it stands."""

    name: str = Field(min_length=1)
    """The column's name."""

    width: int = Field(gt=0)
    """How many characters it has."""

    start: int | None = Field(default=None, gt=0)
    """Its first character, counted from 1; without it, it follows the column before."""

    align: Literal["left", "right"] | None = None
    """Where values stand in it; numbers at the right and others at the left when not given."""

    pad: str = Field(default=" ", pattern=_SIGN)
    """What fills up its values, on the side that they do not stand at, such as `0`; dropped when reading."""

    implied_decimals: int = Field(default=0, ge=0, le=_DECIMAL_DIGITS)
    """How many of the last digits are behind a decimal point that is not written."""


def _columns(value: object) -> object:
    return [{"name": name, "width": width} for name, width in value.items()] if isinstance(value, dict) else value


Columns = Annotated[
    tuple[FixedWidthColumn, ...],
    BeforeValidator(_columns, json_schema_input_type=dict[str, int] | tuple[FixedWidthColumn, ...]),
    Field(min_length=1),
]


def known_encoding(encoding: str) -> str:
    """The encoding, if Python knows it. Raises ValueError."""
    try:
        codecs.getincrementaldecoder(encoding)
    except LookupError as error:
        raise ValueError(f"unknown encoding '{encoding}'") from error
    return encoding


def refuse_doubles(columns: Sequence[FixedWidthColumn]) -> None:
    """Raise ValueError where two columns have the same name."""
    if twice := repeated([column.name for column in columns]):
        raise ValueError(f"several columns are called {', '.join(repr(name) for name in twice)}")


def slots_of(columns: Sequence[FixedWidthColumn]) -> list[Slot]:
    """Where the columns stand."""
    found: list[Slot] = []
    for column in columns:
        start = column.start - 1 if column.start is not None else found[-1].end if found else 0
        align = column.align or ("left" if column.pad == " " else "right")
        found.append(Slot(column.name, start, start + column.width, align, column.pad))
    return found


class FixedWidthReadOptions(Config):
    """Where the columns stand and what their values mean."""

    columns: Columns
    """The columns, as names with widths in their order (`{id: 6, name: 20}`), or as a list that says more of each."""

    line_width: int | None = Field(default=None, gt=0)
    """How many characters a line has where the columns leave some out at its end."""

    ragged: Literal["reject", "pad", "fit"] = "reject"
    """What happens to a line that is too short or has more than blanks behind the columns: `reject` it; `pad` takes short ones
    as filled up with blanks and rejects long ones; `fit` also takes long ones."""

    trim: Literal["both", "left", "right", "none"] = "both"
    """Where blanks around texts are dropped. What is only blanks is null in any case."""

    skip_rows: int = Field(default=0, ge=0)
    """How many lines to skip at the start of each file, such as a header."""

    record_start: str | None = Field(default=None, min_length=1)
    """Only lines that start with this text are records; others, such as headers and totals, are left out."""

    encoding: str = "utf-8"
    """How characters are written: any name that Python knows, such as `latin-1`, `cp037` or `shift-jis`."""

    null_words: Names = ()
    """What stands for null besides blanks, such as `N/A`."""

    true_words: Names = ("true", "t", "yes", "y", "1")
    """What a boolean column calls true, in any case."""

    false_words: Names = ("false", "f", "no", "n", "0")
    """What a boolean column calls false, in any case."""

    decimal_point: Literal[".", ","] = "."
    """What stands before the fraction of a number."""

    formats: dict[str, TimeFormats] = {}
    """How the dates and times of columns are written, as strptime formats: `{placed_on: "%Y%m%d"}`; ISO 8601 else."""

    max_record_bytes: ByteSize = Field(default=ByteSize(16 * 1024 * 1024), gt=0)
    """A longer line is rejected as malformed."""

    sample_rows: int = Field(default=20_000, gt=0)
    """How many records of each of a few files discovery looks at."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        return known_encoding(value)

    @model_validator(mode="after")
    def _sound(self) -> FixedWidthReadOptions:
        refuse_doubles(self.columns)
        names = [column.name for column in self.columns]
        if strange := [name for name in self.formats if name not in names]:
            raise ValueError(f"formats: there is no column '{strange[0]}'")
        if self.line_width is not None and self.line_width < max(slot.end for slot in slots_of(self.columns)):
            raise ValueError("line_width ends before the columns do")
        return self

    @property
    def dialect(self) -> Dialect:
        """What values mean, as the kernels take it."""
        return Dialect(
            null_words=("", *self.null_words),
            true_words=self.true_words,
            false_words=self.false_words,
            decimal_point=self.decimal_point,
            formats={name: (form,) if isinstance(form, str) else form for name, form in self.formats.items()},
        )
