"""Rows of MySQL's binary log, many at a time: where each value lies, column by column.

An event has a table's rows one behind the other; each begins where the one before ends. So the n-th rows of all events are cut at
once. The layouts are those of "Rows_event" in MySQL's documentation of its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.packed import Bytes, Integers, Mask, numbers

# The protocol's numbers of types.
TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24, DATE, YEAR = 1, 2, 3, 4, 5, 8, 9, 10, 13
VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2, JSON_TYPE, NEWDECIMAL, ENUM, SET = 15, 16, 17, 18, 19, 245, 246, 247, 248
BLOBS, VAR_STRING, STRING, GEOMETRY = (249, 250, 251, 252), 253, 254, 255
_WIDTHS = {TINY: 1, SHORT: 2, LONG: 4, FLOAT: 4, DOUBLE: 8, LONGLONG: 8, INT24: 3, DATE: 3, YEAR: 1}
# Bytes that hold so many digits of a decimal.
DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


@dataclass(frozen=True)
class LoggedColumn:
    """A column as the log tells of it: the protocol's type, and what its values need. `size`: bytes of a value, or of its length
    (`has_length`).
    """

    name: str
    type: int
    size: int
    has_length: bool
    is_unsigned: bool
    charset: str | None
    digits: tuple[int, int]
    fraction_digits: int
    words: tuple[str, ...]
    is_key: bool


def logged_column(column: Any) -> LoggedColumn:
    """A column as the client's Column has it. Raises UnreadableData."""
    kind, size, has_length = column.type, _WIDTHS.get(column.type, 0), False
    fraction = getattr(column, "fsp", 0) or 0
    digits = (getattr(column, "precision", 0), getattr(column, "decimals", 0))
    if kind in (VARCHAR, VAR_STRING, STRING):
        size, has_length = 1 if column.max_length < 256 else 2, True
    elif kind in (*BLOBS, GEOMETRY, JSON_TYPE):
        size, has_length = column.length_size, True
    elif kind in (TIMESTAMP2, DATETIME2, TIME2):
        size = {TIMESTAMP2: 4, DATETIME2: 5, TIME2: 3}[kind] + (fraction + 1) // 2
    elif kind == NEWDECIMAL:
        size = sum(count // 9 * 4 + DIGIT_BYTES[count % 9] for count in (digits[0] - digits[1], digits[1]))
    elif kind == BIT:
        size = column.bytes
    elif kind in (ENUM, SET):
        size = column.size
    elif not size:
        raise UnreadableData(
            f"the column '{column.name}' has a type of an old version ({kind})", hint="ALTER TABLE … FORCE renews it"
        )
    words = tuple((column.enum_values if kind == ENUM else column.set_values if kind == SET else None) or ())
    charset = column.character_set_name
    return LoggedColumn(
        column.name, kind, size, has_length, bool(column.unsigned), charset, digits, fraction, words, bool(column.is_primary)
    )


@dataclass(frozen=True)
class RowImages:
    """Rows of some events: the event and the number in it of each, by column where its value lies, and whether it has one."""

    data: Bytes
    buffer: Any
    event: Integers
    number: Integers
    starts: list[Integers]
    ends: list[Integers]
    there: list[Mask]

    def __len__(self) -> int:
        return len(self.event)


def row_images(bodies: Sequence[bytes], columns: Sequence[LoggedColumn]) -> RowImages:
    """The rows of events of one table, in the events' order. Raises UnreadableData where an event ends too soon."""
    whole = pa.py_buffer(b"".join(bodies))
    data = np.frombuffer(whole, np.uint8)
    ends = np.cumsum([len(body) for body in bodies])
    at = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    nulls, width = (len(columns) + 7) // 8, len(columns)
    events: list[Integers] = []
    found: list[tuple[Integers, Integers, Mask]] = []
    active = np.flatnonzero(at < ends)
    while len(active):
        place = at[active] + nulls
        begins = np.empty((width, len(active)), dtype=np.int64)
        stops = np.empty((width, len(active)), dtype=np.int64)
        there = np.empty((width, len(active)), dtype=bool)
        for number, column in enumerate(columns):
            mask = data[at[active] + number // 8] & (1 << number % 8) == 0
            if column.has_length:
                start = place + column.size
                stop = start + numbers(data, place, column.size, "<", signed=False)
            else:
                start, stop = place, place + column.size
            begins[number] = np.where(mask, start, place)
            stops[number] = np.where(mask, stop, place)
            there[number] = mask
            place = stops[number]
        if (place > ends[active]).any():
            raise UnreadableData(
                "a row of the binary log ends behind its event", hint="the table's columns are not those of the log"
            )
        events.append(active)
        found.append((begins, stops, there))
        at[active] = place
        active = active[place < ends[active]]
    if not events:
        none = np.zeros(0, dtype=np.int64)
        return RowImages(data, whole, none, none, [none] * width, [none] * width, [none < 0] * width)
    event = np.concatenate(events)
    turns = np.concatenate([np.full(len(each), turn, dtype=np.int64) for turn, each in enumerate(events)])
    order = np.lexsort((turns, event))
    starts, ends, there = (np.concatenate(parts, axis=1)[:, order] for parts in zip(*found, strict=True))
    return RowImages(data, whole, event[order], turns[order], list(starts), list(ends), list(there))
