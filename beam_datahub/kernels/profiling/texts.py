"""Measures texts: few distinct ones are counted, in whole or by their dictionary; where nearly all differ, their hashes are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.profiling import patterns
from beam_datahub.kernels.profiling.column import ColumnProfile
from beam_datahub.kernels.profiling.hashing import hashes
from beam_datahub.kernels.profiling.sketches import Counts, Frequent, heavy, heavy_runs

# Of so many texts, one in four being different from the others means that hashing is faster than grouping.
_PROBE = 4096
# Extremes of texts are kept to so many characters.
_LONGEST_EXTREME = 120
# Distinct texts are gathered up to so many, and so many bytes of them.
_GATHERED, _GATHERED_BYTES = 1 << 15, 1 << 22


class Texts:
    """Measures a column of texts; dictionary-encoded ones by their dictionary."""

    def __init__(self, profile: ColumnProfile, *, with_lengths: bool = True, with_patterns: bool = True) -> None:
        self._profile, self._with_lengths, self._with_patterns = profile, with_lengths, with_patterns
        self._gathered: list[tuple[pa.Array, Counts]] = []
        self._size = self._bytes = 0

    def add(self, array: pa.Array) -> None:
        """Take texts; nulls are left out."""
        if pa.types.is_dictionary(array.type):
            if len(array.dictionary) > len(array) or array.dictionary.null_count:
                self.add(array.cast(array.type.value_type))
            else:
                self._gather(*_counted(array))
            return
        probe = array.slice(0, _PROBE)
        if len(probe) == _PROBE and len(probe.unique()) > _PROBE // 4:
            array = array.drop_null()
            self._count_hashes(array)
            self._describe(array, None)
            return
        grouped = array.value_counts()
        texts, counts = grouped.field("values"), grouped.field("counts").to_numpy()
        if texts.null_count:
            counts = counts[texts.is_valid().to_numpy(zero_copy_only=False)]
            texts = texts.drop_null()
        self._gather(texts, counts)

    def _gather(self, texts: pa.Array, counts: Counts) -> None:
        if not len(texts):
            return
        self._gathered.append((texts, counts))
        self._size += len(texts)
        self._bytes += texts.nbytes
        if self._size > _GATHERED or self._bytes > _GATHERED_BYTES:
            distinct, sums = self._together()
            self._gathered, self._size, self._bytes = [(distinct, sums)], len(distinct), distinct.nbytes
            if self._size > _GATHERED // 2 or self._bytes > _GATHERED_BYTES // 2:
                self.settle()

    def _together(self) -> tuple[pa.Array, Counts]:
        texts = pa.concat_arrays([each for each, _ in self._gathered])
        return _weighed(texts, np.concatenate([counts for _, counts in self._gathered]))

    def settle(self) -> None:
        """Bring into the profile what is gathered."""
        if self._gathered:
            texts, counts = self._together()
            self._gathered, self._size, self._bytes = [], 0, 0
            self._profile.distinct.update(hashes(texts))
            _feed(self._profile.frequent, texts, counts)
            self._describe(texts, counts)

    def _describe(self, texts: pa.Array, counts: Counts | None) -> None:
        if not self._with_lengths or not len(texts):
            return
        extremes = pc.min_max(texts)
        self._profile.saw(_cut(extremes["min"].as_py()), _cut(extremes["max"].as_py()))
        lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        self._profile.lengths.update(lengths, counts)
        if self._with_patterns:
            found, weights = _weighed(patterns.patterns(texts, lengths), counts)
            _feed(self._profile.patterns, found, weights)
            _feed(self._profile.shapes, *_weighed(patterns.shapes(found), weights))

    def _count_hashes(self, array: pa.Array) -> None:
        found = hashes(array)
        ordered = np.sort(found)
        self._profile.distinct.update(ordered)
        values, counts, missed = heavy_runs(ordered)
        texts: list[str] = []
        if len(values):
            places = np.minimum(np.searchsorted(values, found), len(values) - 1)
            chosen = np.flatnonzero(values[places] == found)
            _, first = np.unique(found[chosen], return_index=True)
            texts = array.take(pa.array(chosen[first])).to_pylist()
        self._profile.frequent.update(texts, counts.tolist(), missed)


def _counted(array: pa.DictionaryArray) -> tuple[pa.Array, Counts]:
    """The entries of its dictionary that an array has, and how often."""
    indices = array.indices.drop_null() if array.indices.null_count else array.indices
    counts = np.bincount(indices.to_numpy(zero_copy_only=False), minlength=len(array.dictionary))
    chosen = np.flatnonzero(counts)
    texts = array.dictionary
    return (texts if len(chosen) == len(texts) else texts.take(pa.array(chosen))), counts[chosen]


def _weighed(texts: pa.Array, counts: Counts | None) -> tuple[pa.Array, Counts]:
    """The distinct texts, and the sum of the counts of each."""
    if counts is None:
        grouped = texts.value_counts()
        return grouped.field("values"), grouped.field("counts").to_numpy()
    encoded = texts.dictionary_encode()
    sums = np.bincount(encoded.indices.to_numpy(), weights=counts, minlength=len(encoded.dictionary))
    return encoded.dictionary, sums.astype(np.int64)


def _feed(sketch: Frequent, texts: pa.Array, counts: Counts) -> None:
    chosen, missed = heavy(counts, int(counts.sum()))
    if chosen is not None:
        texts, counts = texts.take(pa.array(chosen)), counts[chosen]
    sketch.update(texts.to_pylist(), counts.tolist(), missed)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_EXTREME else text[: _LONGEST_EXTREME - 1] + "…"
