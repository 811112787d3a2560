"""Writing CSV and other delimited text."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import model_validator

from beam_datahub.component.capabilities import SinkCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import FileWriteOptions, TextSink
from beam_datahub.component.registry import register
from beam_datahub.errors import LossyWrite
from beam_datahub.io.csv.options import Sign
from beam_datahub.kernels.delimited_write import Style, header_line, write_text
from beam_datahub.kernels.types import JSON, sql_type


class CsvWriteOptions(FileWriteOptions):
    """How the text is written. Times are ISO 8601; blobs and intervals are written as DuckDB does."""

    delimiter: Sign = ","
    """What stands between two fields, one character."""

    header: bool = True
    """Whether the first line of each file names the columns."""

    quote: Sign = '"'
    """What encloses a value that would read as something else; within it, it is doubled."""

    quoting: Literal["needed", "text", "all"] = "needed"
    """Which values are quoted: those that need it, all texts, or all but nulls."""

    null_word: str = ""
    """What stands for null; a text that says the same is quoted."""

    line_end: Literal["\n", "\r\n"] = "\n"
    """What ends a line."""

    @model_validator(mode="after")
    def _distinct_signs(self) -> CsvWriteOptions:
        if self.delimiter == self.quote or {self.delimiter, self.quote} & {"\n", "\r"}:
            raise ValueError("delimiter and quote have to differ, and neither can be a line break")
        if any(sign in self.null_word for sign in (self.delimiter, self.quote, "\n", "\r")):
            raise ValueError("null_word cannot hold the delimiter, the quote or a line break")
        return self

    @property
    def style(self) -> Style:
        """The options as the kernel takes them."""
        return Style(self.delimiter, self.quote, self.quoting, self.null_word, self.line_end)


@register("sink", "csv", since="0.1.0")
class CsvSink(TextSink):
    """Records as delimited text; reading them with the same schema gives the same values."""

    Options: ClassVar[type[Config]] = CsvWriteOptions
    capabilities = SinkCapabilities(
        nested=False,
        partitions=True,
        erase=True,
        types=(
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
            "FLOAT",
            "DOUBLE",
            "DECIMAL(18,4)",
            "VARCHAR",
            "BLOB",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "TIMESTAMPTZ",
            "INTERVAL",
            "JSON",
        ),
    )
    extensions = (".csv", ".tsv", ".psv", ".txt")
    examples = (
        Example("One file", {"connection": {"path": "out/orders.csv"}}),
        Example(
            "A folder for each country, in the form that Excel in German likes",
            {"connection": {"path": "out/orders"}, "partition_by": ["country"], "delimiter": ";", "line_end": "\r\n"},
        ),
    )

    options: CsvWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        for field in schema:
            if pa.types.is_nested(field.type) and field.type != JSON:
                raise LossyWrite(
                    f"CSV has no form for the column '{field.name}', which is {sql_type(field.type)}",
                    hint=f"write it as JSON (`to_json({field.name})` in a mapping), flatten it, or choose another format",
                )

    def opening(self, schema: pa.Schema) -> bytes:
        return header_line(schema, self.options.style) if self.options.header else b""

    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        return write_text(batch, self.options.style)
