"""Rows as the server sends them, a block at a time: one packet a row, in it a text for each column.

The client makes Python values of every packet, which costs more than all else that a read does; here the packets of a block stay
where they arrived, and each column is found in all of them at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

# A packet: three bytes of length, its number, then what it holds; what is longer than this goes on in the next one.
_HEADER_BYTES, _WHOLE = 4, 0xFFFFFF
_header = struct.Struct("<I").unpack_from
# How packets begin that end the rows: in good order, and with an error.
_END, _ERROR, _END_BYTES = 0xFE, 0xFF, 9
# What the first byte of a text says: that there is none, or how many bytes hold its length. Anything less is the length.
_NULL, _LONGER = 251, {252: 2, 253: 3, 254: 8}
# Texts so short stand in a view itself.
_INLINE_BYTES, _MARGIN_BYTES = 12, 32
_LOST = 2013
_READ_BYTES = 256 << 10


def row_blocks(connection: Any, count: int, block_bytes: int) -> Iterator[list[pa.Array]]:
    """The rows of a query that PyMySQL has sent unbuffered, as `count` columns of bytes in blocks of about `block_bytes`."""
    block = _Block(bytearray(block_bytes), 0)
    while True:
        block.take(connection)
        if not (ended := block.ended(connection)) and block.filled < len(block.held):
            continue
        if block.starts:
            yield _columns(block, count, connection)
            block = block.after(block_bytes)
        elif not ended:
            # A row alone is longer than a block.
            block.held.extend(bytes(len(block.held)))
        if ended:
            return


class _Block:
    """What has arrived, and which rows of it are whole: their places, and where the last one ends."""

    def __init__(self, held: bytearray, filled: int) -> None:
        self.held, self.filled = held, filled
        self.starts: list[int] = []
        # Where the next packet starts, and the next row: not the same in a row of several packets.
        self._packet = self.end = 0

    def take(self, connection: Any) -> None:
        """Wait for bytes and look what they are. Raises PyMySQL's error where the connection is lost."""
        from pymysql.err import OperationalError

        why, arrived = "", b""
        try:
            # Not into the block itself: that waits for more where the client had read some already.
            arrived = connection._rfile.read1(min(_READ_BYTES, len(self.held) - self.filled))
        except OSError as error:
            why = f" ({error})"
        if not arrived:
            connection._force_close()
            raise OperationalError(_LOST, f"Lost connection to MySQL server during query{why}")
        self.held[self.filled : self.filled + len(arrived)] = arrived
        self.filled += len(arrived)
        self._look()

    def _look(self) -> None:
        # Only a packet tells where the next one starts.
        held, at, filled, starts = self.held, self._packet, self.filled, self.starts
        start = self.end
        while at + _HEADER_BYTES <= filled:
            size = _header(held, at)[0] & _WHOLE
            end = at + _HEADER_BYTES + size
            if end > filled:
                break
            if at != start:
                # The row goes on behind this header.
                del held[at : at + _HEADER_BYTES]
                filled, end = filled - _HEADER_BYTES, end - _HEADER_BYTES
            at = end
            if size < _WHOLE:
                starts.append(start)
                start = end
        self._packet, self.end, self.filled = at, start, filled

    def ended(self, connection: Any) -> bool:
        """Whether no more rows come: the server has then nothing more to say. Raises what it says of an error."""
        if not self.starts or self.end != self.filled:
            return False
        last = self.starts[-1]
        kind, size = self.held[last + _HEADER_BYTES], self.end - last
        if kind == _ERROR or (kind == _END and size == _END_BYTES):
            self.end = self.starts.pop()
            connection._result.unbuffered_active = False
            if kind == _ERROR:
                from pymysql.protocol import MysqlPacket

                MysqlPacket(bytes(self.held[last + _HEADER_BYTES : self.filled]), connection.encoding).raise_for_error()
            return True
        return False

    def after(self, least: int) -> _Block:
        """The next block, which begins with what is not whole of this one."""
        rest = self.held[self.end : self.filled]
        block = _Block(bytearray(max(least, 2 * len(rest))), len(rest))
        block.held[: len(rest)] = rest
        block._packet = self._packet - self.end
        return block


def _columns(block: _Block, count: int, connection: Any) -> list[pa.Array]:
    from pymysql.err import OperationalError

    # Some bytes more, so that every text can be looked at as if it were short.
    held = np.frombuffer(block.held + bytes(_MARGIN_BYTES), np.uint8)
    ends = np.array([*block.starts[1:], block.end], np.int64)
    at = np.array(block.starts, np.int64) + _HEADER_BYTES
    buffer, columns = pa.py_buffer(held), []
    for _ in range(count):
        # What is no row of so many columns leads anywhere.
        array, at = _column(held, buffer, np.minimum(at, len(held) - _MARGIN_BYTES))
        columns.append(array)
    if not np.array_equal(at, ends):
        connection._force_close()
        raise OperationalError(_LOST, "the server sent what is no row")
    return columns


def _column(held: Bytes, buffer: pa.Buffer, at: Places) -> tuple[pa.Array, Places]:
    """The texts that start at these places, and where they end."""
    first = held[at]
    starts, sizes = at + 1, first.astype(np.int64)
    missing = first == _NULL
    if (first > _NULL).any():
        for mark, width in _LONGER.items():
            where = np.flatnonzero(first == mark)
            parts = held[starts[where, None] + np.arange(width)].astype(np.int64)
            sizes[where] = (parts << (8 * np.arange(width))).sum(axis=1)
            starts[where] += width
    sizes[missing] = 0
    views = np.empty((len(at), 4), np.int32)
    views[:, 0] = sizes
    views[:, 1:] = np.lib.stride_tricks.sliding_window_view(held, _INLINE_BYTES)[starts].view(np.int32)
    long = np.flatnonzero(sizes > _INLINE_BYTES)
    views[long, 2] = 0
    views[long, 3] = starts[long]
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    array = pa.Array.from_buffers(pa.binary_view(), len(at), [valid, pa.py_buffer(views), buffer])
    return array, starts + sizes
