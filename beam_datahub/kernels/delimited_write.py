"""Batches as delimited text: every value as text, joined; one allocation holds what goes to the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, quoted

_MICROS = 1_000_000


@dataclass(frozen=True)
class Style:
    """How delimited text is to be written. `quoting`: values that would read as something else, all texts, or all values."""

    delimiter: str = ","
    quote: str = '"'
    quoting: Literal["needed", "text", "all"] = "needed"
    null_word: str = ""
    line_end: str = "\n"


def header_line(schema: pa.Schema, style: Style) -> bytes:
    """The line that names the columns."""
    names = _quoted(pa.array(schema.names, pa.string()), style, force=style.quoting != "needed")
    return (style.delimiter.join(names.to_pylist()) + style.line_end).encode()


def write_text(batch: pa.RecordBatch, style: Style) -> pa.Buffer:
    """The rows of a batch that is not empty as text, each with a line end."""
    columns = []
    for column in batch.columns:
        text = as_text(column)
        force = style.quoting == "all" or (style.quoting == "text" and pa.types.is_string(column.type))
        columns.append(_quoted(text, style, force=force))
    # The last one takes the line end along: one join does it all.
    columns[-1] = _join([columns[-1], pa.scalar(style.line_end)], "", style)
    lines = _join(columns, style.delimiter, style)
    _, offsets, data = lines.buffers()
    edges = np.frombuffer(offsets, np.int32)
    return data.slice(int(edges[0]), int(edges[len(lines)] - edges[0]))


def _join(columns: list[pa.Array | pa.Scalar], between: str, style: Style) -> pa.Array:
    found = pc.binary_join_element_wise(*columns, between, null_handling="replace", null_replacement=style.null_word)
    if isinstance(found, pa.ChunkedArray):
        raise OverflowError("a batch has more than 2 GiB of text")
    return found


def as_text(column: pa.Array) -> pa.Array:
    """Every value as the text that reads back as that value."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if kind == JSON:
        return column.storage
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return _moments(column)
    if pa.types.is_binary(kind) or kind == pa.month_day_nano_interval():
        with KernelSession(threads=1) as session:
            session.put("t", pa.table({"c": column}))
            return session.query(f"SELECT CAST({quoted('c')} AS VARCHAR) AS c FROM t").column(0).combine_chunks()
    return column.cast(pa.string())


def _moments(column: pa.Array) -> pa.Array:
    """Times without a fraction where it is zero."""
    kind = column.type
    seconds = pa.time32("s") if pa.types.is_time64(kind) else pa.timestamp("s", tz=kind.tz)
    ticks = np.asarray(column.cast(pa.int64()).fill_null(0))
    whole = ticks % _MICROS == 0
    short = column.cast(seconds, safe=False).cast(pa.string())
    if whole.all():
        return short
    return pc.if_else(pa.array(whole), short, column.cast(pa.string()))


def _quoted(text: pa.Array, style: Style, *, force: bool) -> pa.Array:
    quote = style.quote
    special = False
    if not force:
        special = _holds(text, (style.delimiter, quote, "\r", "\n"))
        alike = pc.equal(text, style.null_word)
        if not special and not pc.any(alike).as_py():
            return text
    doubled = pc.replace_substring(text, quote, quote * 2) if _holds(text, (quote,)) else text
    enclosed = pc.binary_join_element_wise(pa.scalar(quote), doubled, pa.scalar(quote), "")
    if force:
        return enclosed
    needed = alike
    if special:
        for sign in (style.delimiter, quote, "\r", "\n"):
            needed = pc.or_(needed, pc.match_substring(text, sign))
    return pc.if_else(needed, enclosed, text)


def _holds(text: pa.Array, signs: tuple[str, ...]) -> bool:
    """Whether any of the values may hold one of the signs; looks at the bytes of all at once."""
    _, offsets, data = text.buffers()
    if data is None or not len(text):
        return False
    edges = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    content = data.slice(int(edges[0]), int(edges[-1] - edges[0])).to_pybytes()
    return any(sign.encode() in content for sign in signs)
