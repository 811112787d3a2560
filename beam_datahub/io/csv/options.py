"""How a CSV source's text is written and what its values mean."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config, TimeFormats
from beam_datahub.kernels.delimited import Dialect

Sign = Annotated[str, Field(pattern=r"^[\x01-\x7f]$")]


class CsvReadOptions(Config):
    """How the text is written and what its values mean."""

    delimiter: Sign | None = None
    """What stands between two fields, one character; found among `,`, `;`, tab and `|` when not given."""

    header: Literal["auto"] | bool = "auto"
    """Whether the first record names the columns. `auto`: it does when it is text above numbers, dates or truth values, or
    text all over."""

    columns: Annotated[Names, Field(min_length=1)] | None = None
    """The names of the columns, in their order: instead of those in the header, or because there is none."""

    quote: Sign | None = '"'
    """What encloses a field that holds delimiters or line breaks; `null` when nothing does."""

    escape: Sign | None = None
    """What makes the next character literal, such as a backslash."""

    double_quote: bool = True
    """Whether a quote within quotes is written twice."""

    skip_rows: int = Field(default=0, ge=0)
    """How many lines to skip at the start of each file, before the header."""

    comment: Sign | None = None
    """Lines that start with this character are no records."""

    encoding: str = "utf-8"
    """How characters are written: any name that Python knows, such as `latin-1` or `cp1252`. A byte order mark wins."""

    encoding_errors: Literal["reject", "replace"] = "reject"
    """What happens to a record with bytes that are not valid in the encoding: reject it, or put U+FFFD in their place."""

    null_words: Names = ("",)
    """What stands for null where it is not quoted. A quoted empty text is an empty text; in other types it is null, too."""

    true_words: Names = ("true", "t", "yes", "y", "1")
    """What a boolean column calls true, in any case."""

    false_words: Names = ("false", "f", "no", "n", "0")
    """What a boolean column calls false, in any case."""

    decimal_point: Literal[".", ","] = "."
    """What stands before the fraction of a number."""

    thousands: Literal[",", ".", "'", " ", "_"] | None = None
    """What may group the digits of a number by three."""

    formats: dict[str, TimeFormats] = {}
    """How the dates and times of single columns are written, as strptime formats: `{placed_at: "%d.%m.%Y"}`."""

    date_format: TimeFormats = ()
    """How all dates are written that `formats` does not name; ISO 8601 when not given."""

    timestamp_format: TimeFormats = ()
    """How all timestamps are written that `formats` does not name; ISO 8601 when not given."""

    trim: bool = False
    """Whether blanks around texts and names are dropped (around other values they are anyway)."""

    ragged: Literal["reject", "pad", "fit"] = "reject"
    """What happens to a record with too few or too many fields: `reject` it; `pad` fills short ones with null and rejects
    long ones; `fit` also drops surplus fields."""

    empty_lines: Literal["auto", "skip", "keep"] = "auto"
    """Whether an empty line is nothing, or a record of nulls. `auto`: a record where there is just one column."""

    line_breaks_in_values: bool = True
    """Whether quoted values may hold line breaks. Without, a big file splits into byte ranges that are read in parallel."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer record is rejected: a quote that is never closed would swallow the rest of the file."""

    sample_rows: int = Field(default=20_000, gt=0)
    """How many records of each of a few files discovery looks at."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.getincrementaldecoder(value)
        except LookupError as error:
            raise ValueError(f"unknown encoding '{value}'") from error
        return value

    @model_validator(mode="after")
    def _distinct_signs(self) -> CsvReadOptions:
        signs = [sign for sign in (self.delimiter, self.quote, self.comment) if sign is not None]
        if len(set(signs)) < len(signs):
            raise ValueError("delimiter, quote and comment have to differ")
        if self.thousands == self.decimal_point:
            raise ValueError("decimal_point and thousands have to differ")
        if set(self.delimiter or "") & {"\n", "\r"}:
            raise ValueError("a line break cannot be the delimiter")
        return self

    @property
    def dialect(self) -> Dialect:
        """The options as the kernels take them."""
        return Dialect(
            delimiter=self.delimiter or ",",
            quote=self.quote,
            escape=self.escape,
            double_quote=self.double_quote,
            comment=self.comment,
            empty_lines="keep" if self.empty_lines == "keep" else "skip",
            ragged=self.ragged,
            null_words=self.null_words,
            true_words=self.true_words,
            false_words=self.false_words,
            decimal_point=self.decimal_point,
            thousands=self.thousands,
            trim=self.trim,
            formats={name: _tuple(formats) for name, formats in self.formats.items()},
            date_formats=_tuple(self.date_format),
            timestamp_formats=_tuple(self.timestamp_format),
            encoding_errors=self.encoding_errors,
            max_record_bytes=int(self.max_record_bytes),
        )


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
