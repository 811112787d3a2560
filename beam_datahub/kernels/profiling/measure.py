"""Feeds the values of arrays to the profile of their column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.profiling.column import NUMBERS, TIMES, ColumnProfile
from beam_datahub.kernels.profiling.hashing import as_text, count_numbers, hashes
from beam_datahub.kernels.profiling.numbers import measures_numbers
from beam_datahub.kernels.profiling.texts import Texts

# Arrays are measured in slices of at most so many values, which stay in the processor's cache while they are sorted.
_SLICE = 1 << 18


class Measures(Protocol):
    """Measures the values of one kind of column."""

    def add(self, array: pa.Array) -> None:
        """Take values; they have nulls only where they are texts."""

    def settle(self) -> None:
        """Bring into the profile what is gathered."""


class Measure:
    """Adds the values of arrays to `profile`; the profile knows all of them once they are settled."""

    def __init__(self, profile: ColumnProfile, data_type: pa.DataType) -> None:
        self._profile = profile
        self._measures = _measures(profile, data_type)

    def add(self, array: pa.Array) -> None:
        """Take an array of the column's canonical type: JSON as text, texts also dictionary-encoded."""
        slices = max(1, -(-len(array) // _SLICE))
        rows = -(-len(array) // slices)
        for number in range(slices):
            self._add(array.slice(number * rows, rows))

    def _add(self, array: pa.Array) -> None:
        nulls = array.null_count
        self._profile.rows += len(array)
        self._profile.nulls += nulls
        if nulls < len(array):
            self._measures.add(array if not nulls or isinstance(self._measures, Texts) else array.drop_null())

    def settle(self) -> None:
        """Bring into the profile what is gathered."""
        self._measures.settle()


def _measures(profile: ColumnProfile, data_type: pa.DataType) -> Measures:
    if profile.kind in NUMBERS or profile.kind in TIMES:
        return measures_numbers(profile, data_type)
    if profile.kind in ("text", "json"):
        return Texts(profile, with_patterns=profile.kind == "text")
    kinds: dict[str, type[_AtOnce]] = {"boolean": _Booleans, "binary": _Binaries, "list": _Lists}
    return kinds.get(profile.kind, _Others)(profile)


class _AtOnce(ABC):
    def __init__(self, profile: ColumnProfile) -> None:
        self._profile = profile

    @abstractmethod
    def add(self, array: pa.Array) -> None:
        """Bring a column's values into the profile."""

    def settle(self) -> None:  # noqa: B027 - these gather nothing
        """There is nothing gathered."""


class _Booleans(_AtOnce):
    def add(self, array: pa.Array) -> None:
        true = int(pc.sum(array).as_py())
        self._profile.true += true
        self._profile.saw(0 if true < len(array) else 1, 1 if true else 0)
        found = [value for value, count in ((0, len(array) - true), (1, true)) if count]
        count_numbers(self._profile.distinct, np.array(found, np.uint64))


class _Binaries(_AtOnce):
    def add(self, array: pa.Array) -> None:
        self._profile.lengths.update(pc.binary_length(array).to_numpy(zero_copy_only=False))
        self._profile.distinct.update(hashes(array))


class _Lists(_AtOnce):
    def add(self, array: pa.Array) -> None:
        self._profile.lengths.update(np.diff(array.offsets.to_numpy(zero_copy_only=False)))


class _Others(_AtOnce):
    def __init__(self, profile: ColumnProfile) -> None:
        super().__init__(profile)
        self._texts = Texts(profile, with_patterns=False)

    def add(self, array: pa.Array) -> None:
        self._texts.add(as_text(array))

    def settle(self) -> None:
        self._texts.settle()
