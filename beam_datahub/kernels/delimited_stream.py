"""A stream of delimited text as pieces that end where records end, in UTF-8, whatever its encoding and its line ends."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from beam_datahub.kernels.delimited import Dialect, Scan, count_lines, is_plain, last_record_end

Read = Callable[[int], bytes]

# Pieces start small, so that the first rows are there at once.
_FIRST_PIECE = 1 << 20
_MARK = "beam_datahub.mark"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Turn bytes that cannot be decoded into lone surrogates, which no valid text holds, to be found again as bad UTF-8."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARK, _mark)


def transcoded(read: Read, encoding: str, errors: str) -> Read:
    """`read` of bytes in `encoding` as a read of UTF-8, in which what was not valid is not valid either (or is replaced)."""
    decoder = codecs.getincrementaldecoder(encoding)("replace" if errors == "replace" else _MARK)
    ended = False

    def read_utf8(size: int) -> bytes:
        nonlocal ended
        while not ended:
            raw = read(size)
            ended = not raw
            found = decoder.decode(raw, final=ended).encode("utf-8", "surrogatepass")
            if found:
                return found
        return b""

    return read_utf8


class Breaks:
    """How many line breaks a stream has up to the end of a piece: those of the piece are counted only once they are asked for.

    Holds the piece's data until then; any thread may ask.
    """

    def __init__(self, data: bytes, before: Breaks | int, own: int | None = None) -> None:
        self._data, self._before, self._own = data, before, own

    @property
    def own(self) -> int:
        """The line breaks of the piece."""
        found = self._own
        return self.settle() if found is None else found

    def settle(self, count: int | None = None) -> int:
        """Count the line breaks of the piece, unless somebody knows them, and let go of its data."""
        data, own = self._data, self._own
        if own is None:
            own = count_lines(data) if count is None else count
        self._own, self._data = own, b""
        return own

    @property
    def before(self) -> int:
        """The line breaks before the piece."""
        count, node = 0, self._before
        while isinstance(node, Breaks):
            count, node = count + node.own, node._before
        self._before = count + node
        return self._before


@dataclass(frozen=True)
class Piece:
    """Whole records of a stream; `start` is the offset in it, `breaks` knows its line breaks and those before.

    `overlong` marks one record, or as much as is kept of it, that never ends or is too long: it cannot be parsed.
    """

    data: bytes
    start: int
    end: int
    breaks: Breaks
    overlong: str | None = None

    @property
    def line(self) -> int:
        """The number of line breaks before the piece."""
        return self.breaks.before


def pieces(
    read: Read, dialect: Dialect, size: int, *, start: int = 0, line: int = 0, first: int = _FIRST_PIECE
) -> Iterator[Piece]:
    """The stream from here on as pieces of about `size` bytes.

    A record that is longer than the dialect allows, or whose quote is never closed, is a piece of its own: its first
    line; reading goes on with the next one. Whoever takes a piece settles its line breaks when it is through with it.
    """
    before: Breaks | int = line
    kept, step, final = b"", min(first, size), False
    limit = dialect.max_record_bytes
    while kept or not final:
        if not final:
            chunk = read(max(step - len(kept), step // 2, 1))
            final, step = not chunk, min(step * 2, size)
            end = _plain_end(chunk, dialect) if len(kept) + len(chunk) <= limit and is_plain(kept, dialect) else 0
            if end:
                # The usual case, with a copy less, or without any.
                head = b"".join((kept, memoryview(chunk)[:end])) if kept or end < len(chunk) else chunk
                before = Breaks(head, before)
                yield Piece(head, start, start + len(head), before)
                start, kept = start + len(head), chunk[end:]
                del head, chunk
                continue
            kept = kept + chunk if kept else chunk
            del chunk
        if not kept:
            continue
        end = len(kept) if final else last_record_end(kept, dialect)
        reason = None
        if len(kept) > limit or (final and dialect.quote is not None and dialect.quote.encode() in kept):
            end, reason = _first_bad(kept, dialect, end, final)
        if end:
            head, kept = kept[:end], kept[end:]
            before = Breaks(head, before)
            yield Piece(head, start, start + end, before)
            start += end
            del head
        if reason is not None:
            ends = Scan(kept, Dialect(quote=None, delimiter=dialect.delimiter), final=final).line_ends
            shown = kept[: int(ends[0])] if len(ends) else kept
            length, kept = len(shown), kept[len(shown) :]
            while not len(ends) and not final:
                # The line goes on past all that was read: the rest of it is let go by.
                chunk = read(step)
                final = not chunk
                found = Scan(chunk, Dialect(quote=None), final=True).line_ends
                if len(found):
                    ends, kept = found, chunk[int(found[0]) :]
                length += int(found[0]) if len(found) else len(chunk)
            before = Breaks(b"", before, 1)
            yield Piece(shown[:_KEPT_OF_OVERLONG], start, start + length, before, reason)
            start += length


def _plain_end(chunk: bytes, dialect: Dialect) -> int:
    """The offset behind the last record end where no quote or escape has a say; else 0."""
    return last_record_end(chunk, dialect) if is_plain(chunk, dialect) else 0


# Of a record that is too long, this much is kept to show.
_KEPT_OF_OVERLONG = 4096


def _first_bad(data: bytes, dialect: Dialect, end: int, final: bool) -> tuple[int, str | None]:
    """Where the first record stands that is too long or has an unclosed quote, and which it is; else (`end`, None)."""
    scan = Scan(data, dialect, final=final)
    ends = scan.record_ends
    # What follows the last record end is one more record, complete or not.
    edges = np.concatenate([[0], ends, [len(data)]])
    long = np.flatnonzero(np.diff(edges) > dialect.max_record_bytes)
    if len(long):
        return int(edges[long[0]]), f"the record is longer than {dialect.max_record_bytes} bytes"
    if final and scan.unclosed:
        return int(edges[-2]), "the quote is never closed"
    return end, None
