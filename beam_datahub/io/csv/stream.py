"""A file's text in UTF-8, with what its beginning tells."""

from __future__ import annotations

import codecs
import os
from dataclasses import replace

import pyarrow as pa

from beam_datahub.component.file_store import local_path
from beam_datahub.component.files import DataFile
from beam_datahub.errors import UnreadableData
from beam_datahub.io.csv.options import CsvReadOptions
from beam_datahub.kernels.delimited import last_record_end
from beam_datahub.kernels.delimited_sniff import Head, read_head
from beam_datahub.kernels.delimited_stream import Read, transcoded

# A line is looked for the end of so far.
_LINE_BYTES = 64 * 1024
_HEAD_BYTES = 256 * 1024
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class TextStream:
    """A file's text in UTF-8 from behind its header on, with what its beginning told."""

    def __init__(self, file: DataFile, options: CsvReadOptions) -> None:
        self._file, self._options = file, options
        self._native = file.open()
        # Not so of a pipe.
        self._local = file.seekable and os.path.isfile(local_path(file.path) or "")
        begin = bytes(self._native.read(4))
        mark, encoding = next(((m, e) for m, e in _BOMS if begin.startswith(m)), (b"", options.encoding))
        self.bom = len(mark)
        self.offsets_known = file.seekable and codecs.lookup(encoding).name in ("utf-8", "ascii")
        source = _after(begin[len(mark) :], self._read)
        self._source = (
            source
            if self.offsets_known or codecs.lookup(encoding).name == "utf-8"
            else transcoded(source, encoding, options.encoding_errors)
        )
        self.head_bytes = self._read_head()
        self.read: Read = self._source
        if self.head_bytes:
            self.head = self._understand()
            self.read = _after(self.head_bytes[self.head.offset - self.bom :], self._source)

    def _read_head(self) -> bytes:
        data = b""
        self._ended = False
        while len(data) < _HEAD_BYTES and not self._ended:
            chunk = self._source(_HEAD_BYTES)
            self._ended, data = not chunk, data + chunk
        return data

    def _understand(self) -> Head:
        options = self._options
        if b"\0" in self.head_bytes[:8192] and self.head_bytes[:8192].count(b"\0") > 8:
            raise UnreadableData(
                f"'{self._file.path}' is not text: it has zero bytes",
                hint="is it another format, or compressed? UTF-16 without a byte order mark needs `encoding: utf-16-le`",
            )
        whole = self.head_bytes if self._ended else self.head_bytes[: last_record_end(self.head_bytes, options.dialect)]
        head = read_head(
            whole or self.head_bytes,
            options.dialect,
            delimiter=options.delimiter,
            header=options.header if options.columns is None or options.header != "auto" else False,
            skip_rows=options.skip_rows,
        )
        if options.columns is not None and options.header == "auto" and head.width:
            named = read_head(whole, head.dialect, delimiter=head.dialect.delimiter, header=True, skip_rows=options.skip_rows)
            if named.names == options.columns:
                head = named
        if options.empty_lines == "auto" and head.width == 1:
            head = replace(head, dialect=replace(head.dialect, empty_lines="keep"))
        return replace(head, offset=head.offset + self.bom)

    def ranged(self, start: int, end: int | None) -> tuple[Read, int]:
        """A read of the records that begin in [start, end) of the file, and the offset of the first."""
        begin = max(_line_after(self._native, start), self.head.offset) if start else self.head.offset
        self._native.seek(begin)
        stop = None if end is None else _line_after(self._native, end)
        self._native.seek(begin)
        left = None if stop is None else max(0, stop - begin)

        def read(size: int) -> bytes:
            nonlocal left
            if left is None:
                return self._read(size)
            # The range ends where a line does, which no read goes beyond.
            chunk = self._read(size) if size < left else bytes(self._native.read(left))
            left -= len(chunk)
            return chunk

        return read, begin

    def _read(self, size: int) -> bytes:
        """The next bytes; of a local file up to the end of a line, so that they need not be cut and copied to be parsed."""
        if not self._local:
            return bytes(self._native.read(size))
        here = self._native.tell()
        self._native.seek(here + size)
        more = self._native.read(_LINE_BYTES).find(b"\n") + 1
        self._native.seek(here)
        return bytes(self._native.read(size + more))

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._native.close()


def _line_after(stream: pa.NativeFile, offset: int) -> int:
    """The offset behind the first line break at or after `offset` - 1; the end when there is none."""
    at = offset - 1
    stream.seek(at)
    while chunk := stream.read(1 << 16):
        found: int = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return at


def _after(held: bytes, read: Read) -> Read:
    """A read that gives `held` first."""
    waiting = [held] if held else []

    def both(size: int) -> bytes:
        return waiting.pop() if waiting else bytes(read(size))

    return both
