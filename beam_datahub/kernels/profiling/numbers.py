"""Measures numbers, dates and times: few distinct ones are counted, others sorted, and all else follows from there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.profiling.column import NUMBERS, TIMES, ColumnProfile
from beam_datahub.kernels.profiling.hashing import count_numbers
from beam_datahub.kernels.profiling.sketches import Counts, Floats, heavy, heavy_runs
from beam_datahub.kernels.profiling.texts import Texts

# Decimals of so many digits are whole numbers of 64 bits with a scale.
_DIGITS_OF_64_BITS = 18
# Values are few where each occurs so often on average.
_FEW = 8
# Whole numbers in a range of at most so many are counted in an array of that size, which stays in the processor's cache.
_COUNTED_RANGE = 1 << 14
# Distinct numbers are gathered up to so many.
_GATHERED = 1 << 16

Plain = npt.NDArray[Any]


class Numbers:
    """Measures a column of numbers, dates or times of at most 64 bits."""

    def __init__(self, profile: ColumnProfile, data_type: pa.DataType) -> None:
        self._profile, self._type = profile, data_type
        self._scale = data_type.scale if pa.types.is_decimal(data_type) else 0
        self._gathered: list[tuple[Plain, Counts]] = []
        self._size = 0

    def add(self, array: pa.Array) -> None:
        """Take values, none of them null."""
        with np.errstate(all="ignore"):
            self._add(_plain(array))

    def _add(self, values: Plain) -> None:
        least, most = values.min(), values.max()
        if values.dtype.kind == "f" and not least > 0:
            values = self._sound(values)
            if not len(values):
                return
            least, most = values.min(), values.max()
        span = int(most) - int(least) if values.dtype.kind != "f" else None
        if span is not None and span < _COUNTED_RANGE and span * _FEW < len(values):
            wide = values if values.dtype.itemsize == 8 else values.astype(np.int64)  # eight bits do not hold the span
            counts = np.bincount((wide - wide.dtype.type(least)).astype(np.intp, copy=False))
            found = np.flatnonzero(counts)
            self._gather(found.astype(values.dtype) + least, counts[found])
            return
        ordered, shift = _ordered(values, least, span)
        ends = ordered[1:] != ordered[:-1]
        varied = int(np.count_nonzero(ends)) + 1
        if varied * _FEW < len(ordered):
            last = np.append(np.flatnonzero(ends), len(ordered) - 1)
            self._gather(ordered[last].astype(values.dtype) + shift, np.diff(last, prepend=-1))
            return
        profile = self._profile
        profile.saw(self._python(least), self._python(most))
        count_numbers(profile.distinct, values)
        frequent, counts, missed = heavy_runs(ordered, is_unique=varied == len(ordered))
        profile.frequent.update(self._names(frequent.astype(values.dtype) + shift), counts.tolist(), missed)
        self._spread(values, ordered, shift)
        if profile.kind in NUMBERS and least <= 0:
            profile.negative += int(np.count_nonzero((values < 0) & (values != -np.inf)))
            profile.zeros += int(np.count_nonzero(values == 0))

    def _sound(self, values: Plain) -> Plain:
        """Numbers that are some; a negative zero is a zero."""
        values = values + values.dtype.type(0)
        odd = np.isnan(values)
        count = int(np.count_nonzero(odd))
        self._profile.nans += count
        return values[~odd] if count else values

    def _spread(self, values: Plain, ordered: Plain, shift: Any) -> None:
        floats = self._floats(values)
        if values.dtype.kind == "f" and not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
            first, last = np.searchsorted(ordered, -np.inf, side="right"), np.searchsorted(ordered, np.inf, side="left")
            self._profile.infinite += len(ordered) - int(last - first)
            ordered, floats = ordered[first:last], floats[np.isfinite(floats)]
        self._profile.moments.update(floats)
        self._profile.ranks.update_sorted(ordered, as_floats=lambda chosen: self._floats(chosen.astype(values.dtype) + shift))

    def _gather(self, values: Plain, counts: Counts) -> None:
        self._gathered.append((values, counts))
        self._size += len(values)
        if self._size > _GATHERED:
            distinct, sums = self._together()
            if len(distinct) > _GATHERED // 2:
                self.settle()
            else:
                self._gathered, self._size = [(distinct, sums)], len(distinct)

    def _together(self) -> tuple[Plain, Counts]:
        if len(self._gathered) == 1:
            return self._gathered[0]
        distinct, places = np.unique(np.concatenate([each for each, _ in self._gathered]), return_inverse=True)
        weights = np.concatenate([counts for _, counts in self._gathered])
        return distinct, np.bincount(places, weights=weights).astype(np.int64)

    def settle(self) -> None:
        """Bring into the profile what is gathered."""
        if not self._gathered:
            return
        distinct, counts = self._together()
        self._gathered, self._size = [], 0
        profile = self._profile
        profile.saw(self._python(distinct[0]), self._python(distinct[-1]))
        count_numbers(profile.distinct, distinct)
        chosen, missed = heavy(counts, int(counts.sum()))
        fed = (distinct, counts) if chosen is None else (distinct[chosen], counts[chosen])
        profile.frequent.update(self._names(fed[0]), fed[1].tolist(), missed)
        floats = self._floats(distinct)
        finite = np.isfinite(floats)
        profile.infinite += int(counts[~finite].sum())
        floats, counts = floats[finite], counts[finite]
        profile.moments.update(floats, counts)
        profile.ranks.update_sorted(floats, counts)
        if profile.kind in NUMBERS:
            profile.negative += int(counts[floats < 0].sum())
            profile.zeros += int(counts[floats == 0].sum())

    def _floats(self, values: Plain) -> Floats:
        floats = values.astype(np.float64, copy=False)
        return floats / 10.0**self._scale if self._scale else floats

    def _python(self, value: Any) -> Any:
        return Decimal(int(value)).scaleb(-self._scale) if self._scale else value.item()

    def _names(self, values: Plain) -> list[str]:
        kind = self._profile.kind
        if kind == "decimal":
            return [str(Decimal(value).scaleb(-self._scale)) for value in values.tolist()]
        if kind in TIMES:
            return [each.replace(".000000", "") for each in pa.array(values).view(self._type).cast(pa.string()).to_pylist()]
        return [repr(value) for value in values.tolist()]


class LongDecimals:
    """Measures decimals of more digits than 64 bits hold: grouped as texts, spread as doubles."""

    def __init__(self, profile: ColumnProfile) -> None:
        self._profile = profile
        self._texts = Texts(profile, with_lengths=False, with_patterns=False)

    def add(self, array: pa.Array) -> None:
        """Take values, none of them null."""
        self._texts.add(array.cast(pa.string()))
        extremes = pc.min_max(array)
        self._profile.saw(extremes["min"].as_py(), extremes["max"].as_py())
        floats = np.sort(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        self._profile.moments.update(floats)
        self._profile.ranks.update_sorted(floats)
        self._profile.negative += int(np.count_nonzero(floats < 0))
        self._profile.zeros += len(floats) - int(np.count_nonzero(floats))

    def settle(self) -> None:
        """Bring into the profile what is gathered."""
        self._texts.settle()


def measures_numbers(profile: ColumnProfile, data_type: pa.DataType) -> Numbers | LongDecimals:
    """What measures a column of numbers or times."""
    if pa.types.is_decimal(data_type) and data_type.precision > _DIGITS_OF_64_BITS:
        return LongDecimals(profile)
    return Numbers(profile, data_type)


def _plain(array: pa.Array) -> Plain:
    """The numbers of an array without nulls, as the whole numbers that stand for dates, times and decimals."""
    data_type = array.type
    if pa.types.is_decimal(data_type):
        words = np.frombuffer(array.buffers()[1], np.int64)[::2]
        return words[array.offset : array.offset + len(array)]
    if pa.types.is_date(data_type):
        array = array.view(pa.int32())
    elif not pa.types.is_integer(data_type) and not pa.types.is_floating(data_type):
        array = array.view(pa.int64())
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _ordered(values: Plain, least: Any, span: int | None) -> tuple[Plain, Any]:
    """The numbers in order, and what to add to each: whole numbers are sorted in 32 bits where their range fits."""
    # A glance at a few of them spares most columns the whole comparison.
    glance = values[:: max(1, len(values) // 64)]
    if bool((glance[:-1] <= glance[1:]).all()) and bool((values[:-1] <= values[1:]).all()):
        return values, values.dtype.type(0)
    if span is not None and span < 1 << 32 and values.dtype.itemsize > 4:
        return np.sort((values - least).astype(np.uint32)), least
    return np.sort(values), values.dtype.type(0)
