"""Text files as blocks of whole lines, in UTF-8, from the start or from the middle of a file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_datahub.component.file_store import reading
from beam_datahub.component.files import DataFile
from beam_datahub.component.source import Split
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.byte_places import count_of
from beam_datahub.kernels.delimited_stream import Read, transcoded

# The first block is small, so that the first rows are there at once.
_FIRST_BYTES = 1 << 20
# As much of a record that is too long is kept to show it.
OVERLONG_HEAD = 1024
_BOM = codecs.BOM_UTF8
_LINE_BREAK = ord("\n")


@dataclass(frozen=True)
class Lines:
    """Whole lines: their bytes, where they begin in the (decompressed, decoded) file, and the first one's 1-based number.

    `line` is None in a split that starts in the middle of a file. `overlong`: `data` is the head of a single line that is
    longer than a record may be; the rest of it is skipped, `end` is behind it.
    """

    data: bytes
    start: int
    end: int
    line: int | None
    overlong: bool = False


def is_utf8(encoding: str) -> bool:
    """Whether text in `encoding` can be read as UTF-8, and so be split. Raises InvalidValue for an unknown one."""
    try:
        return codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    except LookupError as error:
        raise InvalidValue(f"unknown encoding '{encoding}'", hint="such as utf-8, utf-16, latin-1, cp1252") from error


def read_lines(file: DataFile, split: Split, encoding: str, block_bytes: int, longest: int) -> Iterator[Lines]:
    """The lines that begin within the split, in blocks of about `block_bytes`."""
    with file.open() as stream, reading(file.path):
        start = split.start or 0
        read: Read = stream.read
        if start:
            # The line that runs into this split belongs to the one before; one that begins right here is ours.
            stream.seek(start - 1)
            start += _skip_line(stream, file.path) - 1
        elif not is_utf8(encoding):
            read = transcoded(stream.read, encoding, "strict")
        yield from _blocks(_named(read, file.path), start, split.end, block_bytes, longest, 1 if not split.start else None)


def _named(read: Read, path: str) -> Read:
    def named(size: int) -> bytes:
        with reading(path):
            return read(size)

    return named


def _skip_line(stream: pa.NativeFile, path: str) -> int:
    """Read up to and with the next line break; gives the bytes passed. The stream stands behind it."""
    begin, passed = int(stream.tell()), 0
    with reading(path):
        while chunk := stream.read(1 << 16):
            found = int(chunk.find(b"\n"))
            if found >= 0:
                passed += found + 1
                stream.seek(begin + passed)
                return passed
            passed += len(chunk)
    return passed


def _blocks(read: Read, start: int, end: int | None, block_bytes: int, longest: int, line: int | None) -> Iterator[Lines]:
    held, size = b"", _FIRST_BYTES
    if end is not None and start >= end:
        return
    while True:
        chunk = read(size)
        behind, rest = chunk.rfind(b"\n") + 1, b""
        if behind:
            # Whole lines alone go behind what is held: they are copied once.
            data, rest = held + memoryview(chunk)[:behind], chunk[behind:]
        else:
            data = held + chunk
        if start == 0 and line == 1 and data.startswith(_BOM):
            data, start = data[3:], 3
        last = not chunk
        cut = len(data) if last or behind else data.rfind(b"\n") + 1
        if end is not None and start + cut >= end:
            found = data.find(b"\n", max(0, end - 1 - start)) + 1
            cut, last = (found, True) if found else (cut, last)
        if cut:
            size = block_bytes
            yield Lines(data[:cut] if cut < len(data) else data, start, start + cut, line)
            line = None if line is None else line + count_of(np.frombuffer(data, np.uint8, cut), _LINE_BREAK)
            start, held = start + cut, data[cut:] + rest
        elif len(data) > longest:
            length, held, ended = _skip_rest(read, len(data))
            yield Lines(data[:OVERLONG_HEAD], start, start + length, line, overlong=True)
            line, start, last = None if line is None else line + 1, start + length, ended
        else:
            held = data
        if last or (end is not None and start >= end):
            return


def _skip_rest(read: Read, length: int) -> tuple[int, bytes, bool]:
    """Pass the rest of a line: its length in all, what was read behind it, and whether the file has ended."""
    while chunk := read(1 << 20):
        found = chunk.find(b"\n") + 1
        if found:
            return length + found, chunk[found:], False
        length += len(chunk)
    return length, b"", True
