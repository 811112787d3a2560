"""Where the records of delimited text begin and end: line breaks inside quotes, escapes, mixed line ends; vectorised.

The rules are those of pyarrow's parser, which reads the records afterwards: a quote opens only at the start of a field,
after the closing quote the field goes on unquoted, and an escape makes the next byte literal anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_datahub.kernels.arrays import numbers
from beam_datahub.kernels.byte_places import Ranked, count_of, places_of

Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LF, _CR = 10, 13
# `pad` fills short records with nulls; `fit` also drops the surplus fields of long ones.
Ragged = Literal["reject", "pad", "fit"]


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written and what its values mean; all signs are single ASCII characters."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    double_quote: bool = True
    comment: str | None = None
    empty_lines: Literal["skip", "keep"] = "skip"
    ragged: Ragged = "reject"
    null_words: tuple[str, ...] = ("",)
    true_words: tuple[str, ...] = ("true", "t", "yes", "y", "1")
    false_words: tuple[str, ...] = ("false", "f", "no", "n", "0")
    decimal_point: str = "."
    thousands: str | None = None
    trim: bool = False
    formats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    date_formats: tuple[str, ...] = ()
    timestamp_formats: tuple[str, ...] = ()
    encoding_errors: Literal["reject", "replace"] = "reject"
    max_record_bytes: int = 64 * 1024 * 1024

    @property
    def doubles(self) -> bool:
        """Whether a quote inside quotes is written twice."""
        return self.double_quote or (self.escape is not None and self.escape == self.quote)

    def formats_of(self, column: str, data_type: pa.DataType) -> tuple[str, ...]:
        """The strptime formats in which the values of a column are written; none: ISO 8601."""
        if column in self.formats:
            return self.formats[column]
        if pa.types.is_date(data_type):
            return self.date_formats
        return self.timestamp_formats if pa.types.is_timestamp(data_type) else ()

    @property
    def escapes(self) -> bytes | None:
        """The escape sign where it is one of its own."""
        return None if self.escape is None or self.escape == self.quote else self.escape.encode()


class Scan:
    r"""The lines and quoted regions of `data`, which begins at the start of a record.

    `final` says that nothing follows: a last `\r` then ends a line; otherwise a `\n` may still belong to it.
    """

    def __init__(self, data: bytes, dialect: Dialect, *, final: bool = True) -> None:
        self.data, self.dialect, self.final = data, dialect, final
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8)

    @cached_property
    def line_ends(self) -> Offsets:
        """The offsets just behind every line break, quoted or not."""
        ends = places_of(self._bytes, _LF) + 1
        if b"\r" in self.data:
            returns = places_of(self._bytes, _CR) + 1
            last = len(self.data)
            pending = returns == last
            inner = returns[~pending]
            alone = inner[self._bytes[inner] != _LF]
            ends = np.concatenate([ends, alone, returns[pending] if self.final else returns[:0]])
            ends.sort()
        escaped = self._escaped
        if escaped is not None and len(ends):
            ends = ends[~np.isin(self._break_starts(ends), escaped, assume_unique=True)]
        return ends

    @cached_property
    def record_ends(self) -> Offsets:
        """The offsets behind the line breaks that end a record; text after the last one is not included."""
        ends = self.line_ends
        opens, closes, _ = self._quoted
        if not len(opens) or not len(ends):
            return ends
        # Regions are fewer than lines, and few of them have a break inside.
        begins = self._break_starts(ends)
        firsts = np.searchsorted(begins, opens)
        lasts = np.searchsorted(begins, closes)
        if len(lasts) < len(firsts):
            lasts = np.append(lasts, len(begins))
        spans = np.flatnonzero(lasts > firsts)
        if not len(spans):
            return ends
        inside = np.zeros(len(ends) + 1, np.int64)
        np.add.at(inside, firsts[spans], 1)
        np.add.at(inside, lasts[spans], -1)
        return np.asarray(ends[np.cumsum(inside[:-1]) == 0])

    def last_end_of_line_feed(self) -> int | None:
        """The offset behind the last line feed outside quotes, None where there is none.

        Finds no other line break, and so is several times as fast as `record_ends`; there must be no escapes.
        """
        opens, closes, _ = self._quoted
        feed = self.data.rfind(b"\n")
        while feed >= 0:
            begin = feed - self.data.startswith(b"\r", max(feed - 1, 0), feed)
            opened = int(np.searchsorted(opens, begin))
            if opened <= int(np.searchsorted(closes, begin)):
                return feed + 1
            feed = self.data.rfind(b"\n", 0, int(opens[opened - 1]))
        return None

    @property
    def record_breaks(self) -> Offsets:
        """The offsets at which the line breaks begin that end a record."""
        return self._break_starts(self.record_ends)

    @property
    def unclosed(self) -> bool:
        """Whether the text ends inside quotes."""
        return self._quoted[2]

    def _break_starts(self, ends: Offsets) -> Offsets:
        begins = ends - 1
        if b"\r" in self.data:
            before = self._bytes[np.maximum(begins - 1, 0)]
            pairs = (self._bytes[begins] == _LF) & (before == _CR) & (begins > 0)
            if self._escaped is not None:
                pairs &= ~np.isin(begins - 1, self._escaped)
            begins = begins - pairs
        return begins

    @cached_property
    def _escaped(self) -> Offsets | None:
        """The offsets of the bytes that an escape makes literal, or None when there is none."""
        sign = self.dialect.escapes
        if sign is None or sign not in self.data:
            return None
        found = places_of(self._bytes, ord(sign))
        starts = np.flatnonzero(np.diff(found, prepend=-2) != 1)
        # Within a run of escapes the first escapes the second, the third the fourth, and so on.
        rank = np.arange(len(found)) - np.repeat(starts, np.diff(starts, append=len(found)))
        return np.asarray(found[rank % 2 == 0] + 1, np.int64)

    @cached_property
    def _quoted(self) -> tuple[Offsets, Offsets, bool]:
        """Where quoted regions open and close, and whether the last one stays open."""
        none = np.zeros(0, np.int64)
        sign = self.dialect.quote
        if sign is None or sign.encode() not in self.data:
            return none, none, False
        quotes = places_of(self._bytes, ord(sign))
        if self._escaped is not None:
            quotes = quotes[~np.isin(quotes, self._escaped, assume_unique=True)]
        if not has_comment(self.data, self.dialect) and self._regular(quotes):
            return quotes[0::2], quotes[1::2], len(quotes) % 2 == 1
        return self._walk(quotes)

    def _at_field_start(self, quotes: Offsets) -> Mask:
        before = self._bytes[np.maximum(quotes - 1, 0)]
        found = (before == ord(self.dialect.delimiter)) | (before == _LF) | (before == _CR)
        if self._escaped is not None:
            found &= ~np.isin(quotes - 1, self._escaped)
        return np.asarray(found | (quotes == 0))

    def _regular(self, quotes: Offsets) -> bool:
        """Whether quotes simply alternate: each opens at a field's start and closes at its end, or is one of a pair."""
        opens, closes = quotes[0::2], quotes[1::2]
        fine = self._at_field_start(opens)
        if self.dialect.doubles:
            fine[1:] |= opens[1:] == closes[: len(opens) - 1] + 1
        if not fine.all():
            return False
        inner = closes[closes + 1 < len(self.data)]
        after = self._bytes[inner + 1]
        ended = (after == ord(self.dialect.delimiter)) | (after == _LF) | (after == _CR)
        if self.dialect.doubles:
            ended |= after == ord(self.dialect.quote or "")
        return bool(ended.all())

    def _walk(self, quotes: Offsets) -> tuple[Offsets, Offsets, bool]:
        """The quoted regions, quote by quote: exact for quotes in the middle of fields, slow."""
        opening = self._at_field_start(quotes).tolist()
        places = quotes.tolist()
        comment = self.dialect.comment.encode() if has_comment(self.data, self.dialect) and self.dialect.comment else None
        ends = self.line_ends
        lines = np.concatenate([[0], ends])[np.searchsorted(ends, quotes, side="right")].tolist() if comment else []
        opens: list[int] = []
        closes: list[int] = []
        inside = False
        i, count, doubles = 0, len(places), self.dialect.doubles
        while i < count:
            if not inside:
                commented = comment and self.data.startswith(comment, lines[i]) and (not closes or closes[-1] < lines[i])
                if opening[i] and not commented:
                    opens.append(places[i])
                    inside = True
            elif doubles and i + 1 < count and places[i + 1] == places[i] + 1:
                i += 1
            else:
                closes.append(places[i])
                inside = False
            i += 1
        return np.array(opens, np.int64), np.array(closes, np.int64), inside


def is_plain(data: bytes, dialect: Dialect) -> bool:
    """Whether `data` has no quote and no escape, so that every line break ends a record."""
    signs = (dialect.quote.encode() if dialect.quote else None, dialect.escapes)
    return not any(sign is not None and sign in data for sign in signs)


def last_record_end(data: bytes, dialect: Dialect) -> int:
    """The offset behind the last complete record of `data`, which more may follow; 0 when there is none."""
    if is_plain(data, dialect):
        end = data.rfind(b"\n") + 1
        if b"\r" in data[end:]:
            # A `\r` in the very last place may be half of a line break.
            end = max(end, data.rfind(b"\r", 0, len(data) - 1) + 1)
        return end
    scan = Scan(data, dialect, final=False)
    quick = scan.last_end_of_line_feed() if dialect.escapes is None or dialect.escapes not in data else None
    if quick is not None:
        return quick
    ends = scan.record_ends
    return int(ends[-1]) if len(ends) else 0


def count_lines(data: bytes) -> int:
    """How many line breaks `data` has, whatever their kind."""
    # Several times as fast as bytes.count where breaks are dense.
    lines = count_of(np.frombuffer(data, np.uint8), _LF)
    if b"\r" in data:
        lines += data.count(b"\r") - data.count(b"\r\n")
    return lines


@dataclass(frozen=True)
class Records:
    """The records of a piece of text, in order: where each begins, where its text ends, and where its line break ends.

    `line_ends` are the offsets behind all line breaks but escaped ones, also those inside quotes.
    """

    data: bytes
    starts: Offsets
    ends: Offsets
    nexts: Offsets
    line_ends: Offsets

    def __len__(self) -> int:
        return len(self.starts)

    def some(self, kept: Offsets) -> Records:
        """The records at these indices."""
        return Records(self.data, self.starts[kept], self.ends[kept], self.nexts[kept], self.line_ends)

    def raw(self, index: int) -> bytes:
        """The bytes of one record, without its line break."""
        return self.data[self.starts[index] : self.ends[index]]

    def only(self, kept: Offsets) -> bytes:
        """The text of the records at the indices `kept`, in their order, each with a line break."""
        if not len(kept):
            return b""
        starts, nexts = self.starts[kept], self.nexts[kept]
        # Neighbouring records are copied in one go.
        apart = starts[1:] != nexts[:-1]
        firsts = np.concatenate([starts[:1], starts[1:][apart]])
        lasts = np.concatenate([kept[:-1][apart], kept[-1:]])
        ends = self.nexts[lasts]
        if (firsts[1:] > ends[:-1]).all() and (np.frombuffer(self.data, np.uint8)[ends - 1] == _LF).all():
            return _between(self.data, firsts, ends)
        return b"".join(self._run(first, last) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True))

    def _run(self, start: int, last: int) -> bytes:
        run = self.data[start : self.nexts[last]]
        # A lone `\r` might join with what comes next to a single line break.
        return run if run.endswith(b"\n") else self.data[start : self.ends[last]] + b"\r\n"


def _between(data: bytes, starts: Offsets, ends: Offsets) -> bytes:
    """The bytes from each start to its end, which are in order, one after the other."""
    edges = np.empty(2 * len(starts), np.int64)
    edges[0::2], edges[1::2] = starts, ends
    # An array of what is wanted and what is not, in turn, of which nothing is copied but what is wanted.
    turns = pa.Array.from_buffers(pa.large_binary(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)])
    wanted = turns.take(numbers(np.arange(0, len(edges), 2)))
    return bytes(memoryview(wanted.buffers()[2])[: int((ends - starts).sum())])


def records_of(data: bytes, dialect: Dialect) -> Records:
    """The records of `data`, which ends where a record ends: no comments, and no empty lines where those are skipped."""
    scan = Scan(data, dialect)
    nexts, ends = scan.record_ends, scan.record_breaks
    if len(data) and (not len(nexts) or nexts[-1] != len(data)):
        # The last record lacks its line break.
        nexts, ends = np.append(nexts, len(data)), np.append(ends, len(data))
    starts = np.concatenate([np.zeros(min(1, len(nexts)), np.int64), nexts[:-1]])
    keep = np.ones(len(starts), bool)
    if dialect.empty_lines == "skip":
        keep &= ends > starts
    if dialect.comment is not None and len(starts):
        keep &= np.frombuffer(data, np.uint8)[starts] != ord(dialect.comment)
    return Records(data, starts[keep], ends[keep], nexts[keep], scan.line_ends)


class Lines:
    """The records of a piece of text of which each line is one; any of them are found without a list of all.

    `returns`: there are carriage returns, all of them before line feeds.
    """

    def __init__(self, data: bytes, *, returns: bool) -> None:
        self._data, self._text, self._returns = data, np.frombuffer(data, np.uint8), returns
        self._breaks = Ranked(self._text, _LF)

    @property
    def breaks(self) -> int:
        """How many line breaks there are."""
        return len(self._breaks)

    def __len__(self) -> int:
        return len(self._breaks) + (len(self._data) > 0 and not self._data.endswith(b"\n"))

    def some(self, kept: Offsets) -> Records:
        """The records at these indices; where other lines end is not told."""
        starts, nexts = np.zeros(len(kept), np.int64), np.full(len(kept), len(self._data), np.int64)
        later, ended = kept > 0, kept < len(self._breaks)
        starts[later] = self._breaks.nth(kept[later] - 1) + 1
        nexts[ended] = self._breaks.nth(kept[ended]) + 1
        ends = nexts - ended
        if self._returns:
            ends -= ended & (ends > starts) & (self._text[np.maximum(ends - 1, 0)] == _CR)
        return Records(self._data, starts, ends, nexts, nexts[ended])


def lines_of(data: bytes, count: int, dialect: Dialect) -> Lines | None:
    """The `count` records of `data` where each of its lines is one, which takes a quarter as long to find; else None."""
    returns = b"\r" in data
    if returns and data.count(b"\r") != data.count(b"\r\n"):
        return None
    last = data[data.rfind(b"\n", 0, len(data) - 1) + 1 :]
    if (dialect.escapes is not None and dialect.escapes in data) or Scan(last, dialect).unclosed:
        return None
    lines = Lines(data, returns=returns)
    return lines if len(lines) == count else None


def has_comment(data: bytes, dialect: Dialect) -> bool:
    """Whether a line of `data` may be a comment."""
    if dialect.comment is None:
        return False
    sign = dialect.comment.encode()
    return sign in data and (data.startswith(sign) or b"\n" + sign in data or b"\r" + sign in data)


def as_text(value: Any) -> str:
    """Bytes of a record as text that can be shown; what is not valid is replaced."""
    return bytes(value).decode("utf-8", "replace")
