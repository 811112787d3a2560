"""Writing fixed-width text."""

from __future__ import annotations

import codecs
import itertools
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from beam_datahub.component.capabilities import SinkCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import FileWriteOptions, TextSink
from beam_datahub.component.registry import register
from beam_datahub.errors import LossyWrite, TargetUnusable, UnknownColumn
from beam_datahub.io.fixed_width.options import Columns, FixedWidthColumn, known_encoding, refuse_doubles, slots_of
from beam_datahub.kernels.delimited_write import as_text
from beam_datahub.kernels.fixed_width import Slot, written
from beam_datahub.kernels.types import sql_type
from beam_datahub.kernels.workbench import over


class FixedWidthWriteOptions(FileWriteOptions):
    """Where the columns stand."""

    columns: Columns
    """The columns, as names with widths in their order (`{id: 6, name: 20}`), or as a list that says more of each."""

    encoding: str = "utf-8"
    """How characters are written, such as `latin-1` or `cp037`; none that begins files with a mark."""

    overflow: Literal["fail", "cut"] = "fail"
    """What happens to a text that is longer than its column: the run fails, or the text is cut off. Other values never are."""

    line_end: Literal["\n", "\r\n"] = "\n"
    """What ends a line."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if codecs.lookup(known_encoding(value)).name in ("utf-16", "utf-32", "utf-8-sig"):
            raise ValueError(f"'{value}' begins with a mark; choose one without, such as utf-16-le")
        return value

    @model_validator(mode="after")
    def _sound(self) -> FixedWidthWriteOptions:
        refuse_doubles(self.columns)
        places = sorted(slots_of(self.columns), key=lambda slot: slot.start)
        for one, other in itertools.pairwise(places):
            if other.start < one.end:
                raise ValueError(f"the columns '{one.name}' and '{other.name}' overlap")
        return self


@register("sink", "fixed_width", since="0.1.0")
class FixedWidthSink(TextSink):
    """Writes lines whose columns stand at fixed places; null is blank, and so is an empty text.

    A value that is longer than its column, or a text with a line break, fails the run rather than shift what follows.
    """

    Options: ClassVar[type[Config]] = FixedWidthWriteOptions
    capabilities = SinkCapabilities(
        nested=False,
        partitions=True,
        types=(
            *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT"),
            *("DOUBLE", "DECIMAL(18,4)", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON"),
        ),
    )
    examples = (
        Example(
            "Amounts filled up with zeros",
            {
                "connection": {"path": "out/payments.fwf"},
                "columns": [{"name": "account", "width": 10}, {"name": "amount", "width": 12, "pad": "0", "align": "right"}],
            },
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".fwf", ".dat", ".asc", ".prn", ".txt")

    options: FixedWidthWriteOptions

    def refuse(self, schema: pa.Schema) -> None:
        names = [column.name for column in self.options.columns]
        for name in schema.names:
            if name not in names:
                raise UnknownColumn(name, names)
        for column in self.options.columns:
            if column.name not in schema.names:
                raise UnknownColumn(column.name, schema.names)
            kind = schema.field(column.name).type
            if pa.types.is_nested(kind):
                raise LossyWrite(
                    f"fixed-width text cannot hold the column '{column.name}' of type {sql_type(kind)}",
                    hint="flatten it, or write it as text: to_json(…)::varchar",
                )
            if column.implied_decimals and not (
                pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= column.implied_decimals)
            ):
                raise LossyWrite(
                    f"the column '{column.name}' of type {sql_type(kind)} has more decimals than the"
                    f" {column.implied_decimals} of implied_decimals",
                    hint=f"cast it to decimal(18, {column.implied_decimals})",
                )

    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        slots, texts = [], []
        for column, slot in zip(self.options.columns, slots_of(self.options.columns), strict=True):
            values = batch.column(column.name)
            number = pa.types.is_integer(values.type) or pa.types.is_decimal(values.type) or pa.types.is_floating(values.type)
            align = column.align or ("right" if number else slot.align)
            slots.append(Slot(slot.name, slot.start, slot.end, align, slot.pad))
            texts.append(self._fitting(self._text(values, column), column, is_text=pa.types.is_string(values.type)))
        found = written(texts, slots, self.options.line_end)
        if codecs.lookup(self.options.encoding).name == "utf-8":
            return found
        try:
            return found.to_pybytes().decode().encode(self.options.encoding)
        except UnicodeEncodeError as error:
            sign = error.object[error.start]
            raise TargetUnusable(
                f"{self.options.encoding} has no sign for {sign!r}", hint="choose another `encoding`, such as utf-8"
            ) from error

    def _text(self, values: pa.Array, column: FixedWidthColumn) -> pa.Array:
        if column.implied_decimals:
            # The same digits, taken for an integer.
            return pc.cast(values, pa.decimal128(38, column.implied_decimals)).view(pa.decimal128(38, 0)).cast(pa.string())
        if pa.types.is_decimal(values.type):
            # Arrow would write some in scientific notation.
            return over(pa.table({"c": values}), "SELECT c::VARCHAR AS c FROM t").column(0).combine_chunks()
        return as_text(values)

    def _fitting(self, texts: pa.Array, column: FixedWidthColumn, *, is_text: bool) -> pa.Array:
        """Texts that fit the column. Raises TargetUnusable for one that does not."""
        breaks = pc.match_substring_regex(texts, "[\r\n]")
        if is_text and pc.any(breaks).as_py():
            raise TargetUnusable(
                f"the column '{column.name}' has a text with a line break",
                hint=f"take it out: replace({column.name}, chr(10), ' ')",
            )
        long = pc.greater(pc.utf8_length(texts), column.width)
        if not pc.any(long).as_py():
            return texts
        if is_text and self.options.overflow == "cut":
            return pc.utf8_slice_codeunits(texts, 0, column.width)
        value = texts.filter(long)[0].as_py()
        raise TargetUnusable(
            f"the column '{column.name}' has {column.width} characters, too few for '{value[:60]}', which has {len(value)}",
            hint="make it wider" + (", or set `overflow: cut`" if is_text else ""),
        )
