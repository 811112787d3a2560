"""Mergeable sketches of one column: distinct values, ranks, frequent values and moments, fed by whole arrays.

The sketches are those of Apache DataSketches: theta (distinct values), KLL (ranks) and frequent items. Arrays are reduced
here to what a sketch would keep of them anyway, so that no value of a large column goes through Python on its own.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import datasketches as ds
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

# The theta sketch keeps 2^12 hashes: exact up to there, a standard error of 1.6 % beyond.
_LG_DISTINCT = 12
_NO_THETA = 2**63 - 1
# The header of a compact, ordered theta sketch: its three words, serial version and family, and its flags.
_THETA_HEADER = "<BBBBBBHIfQ"
_THETA_FLAGS = 0x02 | 0x08 | 0x10
_SEED_HASH = ds.update_theta_sketch(lg_k=_LG_DISTINCT).compact().get_seed_hash()

# KLL's parameter: a rank is off by 1.0 % at most, with 99 % confidence.
_K_RANKS = 256
# Of a sorted array no more than twice as many ranks are fed as this: their own error is 1/80 of KLL's.
_RANKS_FED = 4096

_LG_FREQUENT = 10
# Arrays with no more distinct values than this give all of them; of others, values below this share are left out.
ALL_VALUES = 256
_LEAST_SHARE = 2048
_LONGEST_KEY = 120

# Lengths below this are counted in an array of that size.
_COUNTED_LENGTHS = 1 << 16


class Distinct:
    """Counts distinct values by their hashes: exact up to 4,096, within about 3 % beyond (95 % confidence)."""

    def __init__(self) -> None:
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._theta = _NO_THETA

    def update(self, hashes: Hashes) -> None:
        """Take 64-bit hashes, repeated or not; changes nothing where they were seen before."""
        fresh = self.fresh(hashes) >> np.uint64(1)
        if len(fresh):
            known = np.sort(np.concatenate([self._hashes, fresh]))
            self._keep(known[np.append(True, known[1:] != known[:-1])])

    def fresh(self, hashes: Hashes) -> Hashes:
        """Those of the hashes that count: the smaller ones, once many are known."""
        return hashes[hashes < np.uint64(2 * self._theta)]

    def _keep(self, hashes: Hashes) -> None:
        hashes = hashes[np.searchsorted(hashes, np.uint64(1)) :]  # a theta sketch has no hash 0
        most = 1 << _LG_DISTINCT
        if len(hashes) > most:
            self._theta = int(hashes[most])
            hashes = hashes[:most]
        self._hashes = hashes

    def merge(self, other: Distinct) -> None:
        """Take what another one saw."""
        union = ds.theta_union(lg_k=_LG_DISTINCT)
        union.update(self.sketch())
        union.update(other.sketch())
        self._read(union.get_result())

    def sketch(self) -> ds.compact_theta_sketch:
        """The library's sketch of what was seen."""
        head = struct.pack(_THETA_HEADER, 3, 3, 3, 0, 0, _THETA_FLAGS, _SEED_HASH, len(self._hashes), 1.0, self._theta)
        return ds.compact_theta_sketch.deserialize(head + self._hashes.tobytes())

    def _read(self, sketch: ds.compact_theta_sketch) -> None:
        retained = sketch.num_retained
        body = sketch.serialize()
        self._hashes = np.sort(np.frombuffer(body[len(body) - 8 * retained :], "<u8"))
        self._theta = sketch.theta64 if sketch.is_estimation_mode() else _NO_THETA

    @property
    def exact(self) -> bool:
        """Whether the estimate is the very number."""
        return self._theta == _NO_THETA

    def estimate(self) -> float:
        """How many distinct values there are."""
        return float(self.sketch().get_estimate())

    def bounds(self) -> tuple[float, float]:
        """Between which numbers the true one lies, with 95 % confidence."""
        sketch = self.sketch()
        return float(sketch.get_lower_bound(2)), float(sketch.get_upper_bound(2))

    def to_json(self) -> str:
        """The sketch as text."""
        return _text(self.sketch().serialize())

    @classmethod
    def from_json(cls, text: str) -> Distinct:
        """The sketch that `to_json` wrote."""
        found = cls()
        found._read(ds.compact_theta_sketch.deserialize(_bytes(text)))
        return found


class Ranks:
    """The ranks of numbers: one KLL sketch for each power of two that an item may stand for."""

    def __init__(self) -> None:
        self._sketches: dict[int, ds.kll_doubles_sketch] = {}
        self._fed = 0

    def update_sorted(
        self,
        values: npt.NDArray[Any],
        counts: Counts | None = None,
        as_floats: Callable[[npt.NDArray[Any]], Floats] = np.asarray,
    ) -> None:
        """Take finite numbers in ascending order; `counts` says how often each occurs, once when None.

        `as_floats` makes doubles of the few that are kept.
        """
        upto = None if counts is None else np.cumsum(counts)
        total = len(values) if upto is None else int(upto[-1]) if len(upto) else 0
        if not total:
            return
        power = max(0, total.bit_length() - _RANKS_FED.bit_length())
        step = 1 << power
        # Every so-many-th number stands for its neighbours; where to begin differs from array to array.
        first = (self._fed * 0x9E3779B1 + step // 2) % step
        if upto is not None:
            values = values[np.searchsorted(upto, np.arange(first, total, step), side="right")]
        elif power:
            values = values[first::step]
        self._fed += 1
        self._of(power).update(np.ascontiguousarray(as_floats(values), np.float64))

    def _of(self, power: int) -> ds.kll_doubles_sketch:
        if power not in self._sketches:
            self._sketches[power] = ds.kll_doubles_sketch(_K_RANKS)
        return self._sketches[power]

    def merge(self, other: Ranks) -> None:
        """Take what another one saw."""
        for power, sketch in other._sketches.items():
            self._of(power).merge(sketch)
        self._fed += other._fed

    def weighted(self) -> tuple[Floats, Floats]:
        """The numbers that were kept, in order, and how many each one stands for."""
        pairs = [(value, weight << power) for power, sketch in self._sketches.items() for value, weight in sketch]
        kept = np.array(pairs, np.float64).reshape(-1, 2)
        kept = kept[np.argsort(kept[:, 0], kind="stable")]
        return kept[:, 0], kept[:, 1]

    def quantiles(self, shares: list[float]) -> list[float] | None:
        """The numbers below which these shares (0 to 1) lie; None of nothing."""
        values, weights = self.weighted()
        if not len(values):
            return None
        upto = np.cumsum(weights)
        places = np.searchsorted(upto, np.array(shares) * upto[-1], side="left")
        return [float(each) for each in values[np.minimum(places, len(values) - 1)]]

    def shares_below(self, points: Floats) -> Floats:
        """The share (0 to 1) of numbers that are at most each of `points`; there must be some numbers."""
        values, weights = self.weighted()
        upto = np.concatenate([[0.0], np.cumsum(weights)])
        return np.asarray(upto[np.searchsorted(values, points, side="right")] / upto[-1], np.float64)

    def to_json(self) -> dict[str, str]:
        """The sketches as texts."""
        return {str(power): _text(sketch.serialize()) for power, sketch in self._sketches.items()}

    @classmethod
    def from_json(cls, texts: dict[str, str]) -> Ranks:
        """The sketches that `to_json` wrote."""
        found = cls()
        found._sketches = {int(power): ds.kll_doubles_sketch.deserialize(_bytes(text)) for power, text in texts.items()}
        found._fed = len(texts)
        return found


class Frequent:
    """The most frequent texts. A count may be short by `missed` and by the sketch's own error, never too high."""

    def __init__(self) -> None:
        self._sketch = ds.frequent_strings_sketch(_LG_FREQUENT)
        self.missed = 0

    def update(self, values: list[str], counts: list[int], missed: int = 0) -> None:
        """Take values with their counts; `missed` is the most that one value left out had."""
        for value, count in zip(values, counts, strict=True):
            self._sketch.update(_key(value), count)
        self.missed += missed

    def merge(self, other: Frequent) -> None:
        """Take what another one saw."""
        self._sketch.merge(other._sketch)
        self.missed += other.missed

    def top(self, most: int) -> list[tuple[str, int]]:
        """Up to `most` values with at least so many occurrences each, the most frequent first; none that may be noise."""
        found = self._sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES)
        error = self.error
        sure = [(value[:_LONGEST_KEY], lower) for value, _, lower, _ in found if lower > error]
        return sorted(sure, key=lambda pair: (-pair[1], pair[0]))[:most]

    @property
    def error(self) -> int:
        """By how much a count may be short; 0 where counts are exact."""
        return int(self.missed + self._offset())

    def _offset(self) -> int:
        found = self._sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES)
        return found[0][3] - found[0][2] if found else 0

    def to_json(self) -> list[Any]:
        """The sketch as text, and what it missed."""
        return [_text(self._sketch.serialize()), self.missed]

    @classmethod
    def from_json(cls, parts: list[Any]) -> Frequent:
        """The sketch that `to_json` wrote."""
        found = cls()
        found._sketch = ds.frequent_strings_sketch.deserialize(_bytes(parts[0]))
        found.missed = int(parts[1])
        return found


def least_share(rows: int) -> int:
    """How often a value must occur among so many rows to be worth feeding to `Frequent`, where there are too many values."""
    return max(2, rows // _LEAST_SHARE)


def heavy(counts: Counts, rows: int) -> tuple[npt.NDArray[np.intp] | None, int]:
    """Which of these distinct values are worth feeding to `Frequent` (None: all), and the most that one left out has."""
    if len(counts) <= ALL_VALUES:
        return None, 0
    chosen = counts >= least_share(rows)
    rest = counts[~chosen]
    return np.flatnonzero(chosen), int(rest.max()) if len(rest) else 0


def heavy_runs(ordered: npt.NDArray[Any], *, is_unique: bool = False) -> tuple[npt.NDArray[Any], Counts, int]:
    """The frequent values of an ordered array, how often each occurs, and how often one left out may occur."""
    rows = len(ordered)
    if rows <= ALL_VALUES:
        return (*np.unique_counts(ordered), 0)
    if is_unique:
        return ordered[:0], np.empty(0, np.int64), 1
    least = least_share(rows)
    # A value that occurs so often is equal to the one so many places further on.
    values = np.unique(ordered[: rows - least + 1][ordered[least - 1 :] == ordered[: rows - least + 1]])
    counts = np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
    return values, counts, least - 1


@dataclass
class Moments:
    """Count, mean and the sum of squared deviations from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: Floats, counts: Counts | None = None) -> None:
        """Take finite numbers; `counts` says how often each occurs, once when None."""
        if not len(values):
            return
        if counts is None:
            mean = float(values.mean())
            self.merge(Moments(len(values), mean, float(values.var(mean=np.array([mean])) * len(values))))
        else:
            count = int(counts.sum())
            mean = float((values * counts).sum()) / count
            self.merge(Moments(count, mean, float((np.square(values - mean) * counts).sum())))

    def merge(self, other: Moments) -> None:
        """Take what another one saw."""
        count = self.count + other.count
        if not other.count:
            return
        step = other.mean - self.mean
        self.squares += other.squares + step * step * self.count * other.count / count
        self.mean += step * other.count / count
        self.count = count

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample; None of fewer than two numbers, or where it is beyond what a double holds."""
        if self.count < 2 or not math.isfinite(self.squares):
            return None
        return math.sqrt(self.squares / (self.count - 1))


@dataclass
class Lengths:
    """The lengths of texts (characters), of binary values (bytes) or of lists (elements)."""

    least: int | None = None
    most: int | None = None
    moments: Moments = field(default_factory=Moments)
    ranks: Ranks = field(default_factory=Ranks)
    empty: int = 0

    def update(self, lengths: npt.NDArray[Any], counts: Counts | None = None) -> None:
        """Take lengths in any order; `counts` says how often each occurs, once when None."""
        if not len(lengths):
            return
        if int(lengths.max()) < _COUNTED_LENGTHS:
            sums = np.bincount(lengths, weights=counts).astype(np.int64)
            found = np.flatnonzero(sums)
            sums = sums[found]
        else:
            found, places = np.unique(lengths, return_inverse=True)
            sums = np.bincount(places, weights=counts).astype(np.int64)
        self.least = int(found[0]) if self.least is None else min(self.least, int(found[0]))
        self.most = int(found[-1]) if self.most is None else max(self.most, int(found[-1]))
        self.empty += 0 if found[0] else int(sums[0])
        as_floats = found.astype(np.float64)
        self.moments.update(as_floats, sums)
        self.ranks.update_sorted(as_floats, sums)

    def merge(self, other: Lengths) -> None:
        """Take what another one saw."""
        if other.least is not None and other.most is not None:
            self.least = other.least if self.least is None else min(self.least, other.least)
            self.most = other.most if self.most is None else max(self.most, other.most)
        self.moments.merge(other.moments)
        self.ranks.merge(other.ranks)
        self.empty += other.empty


def _key(value: str) -> str:
    """A value as a key of the sketch: a long one is cut, and told from its like by a checksum that is not shown."""
    if len(value) <= _LONGEST_KEY:
        return value
    return f"{value[: _LONGEST_KEY - 1]}…{zlib.crc32(value.encode()):08x}"


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
