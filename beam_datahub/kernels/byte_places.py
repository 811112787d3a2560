"""Where a byte stands in a text of many megabytes, block by block, so that what is made on the way stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Text = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_BLOCK = 256 * 1024
_WORD = 64


def places_of(text: Text, byte: int) -> Places:
    """Where `byte` stands."""
    found = [np.flatnonzero(same) + start for start, same in _blocks(text, byte)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def count_of(text: Text, byte: int) -> int:
    """How often `byte` stands there."""
    return sum(int(np.count_nonzero(same)) for _, same in _blocks(text, byte))


class Ranked:
    """Finds the n-th of a byte in a text without a list of all of them: a bit for each byte, and a count for each 64."""

    def __init__(self, text: Text, byte: int) -> None:
        bits = np.zeros(-(-len(text) // _WORD) * (_WORD // 8), np.uint8)
        for start, same in _blocks(text, byte):
            packed = np.packbits(same, bitorder="little")
            bits[start // 8 : start // 8 + len(packed)] = packed
        self._words = bits.view(np.uint64)
        counts = np.bitwise_count(self._words)
        self._upto = np.cumsum(counts, dtype=np.int64)
        self._counts = counts

    def __len__(self) -> int:
        return int(self._upto[-1]) if len(self._upto) else 0

    def nth(self, ranks: Places) -> Places:
        """The places of those that come after `ranks` others; each rank is less than the length."""
        words = np.searchsorted(self._upto, ranks, side="right")
        before = ranks - (self._upto[words] - self._counts[words])
        bits = np.unpackbits(self._words[words].view(np.uint8).reshape(-1, _WORD // 8), axis=1, bitorder="little")
        inner = (np.cumsum(bits, axis=1, dtype=np.uint8) > before[:, None]).argmax(axis=1)
        return np.asarray(words * _WORD + inner, np.int64)


def _blocks(text: Text, byte: int) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """The text's blocks: where each begins, and which of its bytes are `byte`; good until the next one is taken."""
    same = np.empty(min(_BLOCK, len(text)), np.bool_)
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        yield start, np.equal(block, byte, out=same[: len(block)])
