"""Feeds the values of an array to the profile of its column: sorted once, or grouped once, then all from there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.profiling import patterns
from beam_datahub.kernels.profiling.column import NUMBERS, TIMES, ColumnProfile
from beam_datahub.kernels.profiling.sketches import ALL_VALUES, Counts, Frequent, Hashes, heavy, least_share
from beam_datahub.kernels.session import KernelSession

# Arrays are measured in slices of at most so many values, which stay in the processor's cache while they are sorted.
_SLICE = 1 << 18
# Of so many texts, one in four being different from the others means that hashing is faster than grouping.
_PROBE = 4096
# Extremes of texts are kept to so many characters.
_LONGEST_EXTREME = 120
# Values are few where each occurs so often on average: what follows then works on the distinct ones.
_FEW = 8
# Hashing goes by blocks of so many keys, which stay in the processor's nearest cache.
_BLOCK = 1 << 14
# Decimals of so many digits are whole numbers of 64 bits with a scale.
_DIGITS_OF_64_BITS = 18


def measure(profile: ColumnProfile, array: pa.Array) -> None:
    """Add the values of `array`, which has the column's canonical type (JSON as text), to `profile`."""
    slices = max(1, -(-len(array) // _SLICE))
    rows = -(-len(array) // slices)
    for number in range(slices):
        _measure(profile, array.slice(number * rows, rows))


def _measure(profile: ColumnProfile, array: pa.Array) -> None:
    profile.rows += len(array)
    if array.null_count:
        profile.nulls += array.null_count
        array = array.drop_null()
    if not len(array):
        return
    if profile.kind in NUMBERS or profile.kind in TIMES:
        with np.errstate(all="ignore"):
            _numbers(profile, array)
    elif profile.kind == "boolean":
        true = int(pc.sum(array).as_py())
        profile.true += true
        profile.saw(0 if true < len(array) else 1, 1 if true else 0)
        profile.distinct.update(_mixed(np.array([value for value in (0, 1) if (true, len(array) - true)[1 - value]], np.uint64)))
    elif profile.kind == "text":
        _texts(profile, array, with_patterns=True)
    elif profile.kind == "json":
        _texts(profile, array, with_patterns=False)
    elif profile.kind == "binary":
        _binaries(profile, array)
    elif profile.kind == "list":
        profile.lengths.update(_list_lengths(array))
    else:
        _texts(profile, _as_text(array), with_patterns=False)


# numbers and times


def _numbers(profile: ColumnProfile, array: pa.Array) -> None:
    if pa.types.is_decimal(array.type) and array.type.precision > _DIGITS_OF_64_BITS:
        _grouped(profile, array.cast(pa.string()), with_lengths=False, with_patterns=False)
        extremes = pc.min_max(array)
        profile.saw(extremes["min"].as_py(), extremes["max"].as_py())
        floats = np.sort(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        _spread(profile, floats)
        return
    values, scale = _plain_values(array)
    ordered = values if _is_ordered(values) else np.sort(values)
    if ordered.dtype.kind == "f":
        ordered = ordered + ordered.dtype.type(0)  # a negative zero is a zero
        if np.isnan(ordered[-1]):
            first = int(np.searchsorted(ordered, np.nan))
            profile.nans += len(ordered) - first
            ordered = ordered[:first]
            if not len(ordered):
                return
    profile.saw(_python(ordered[0], scale), _python(ordered[-1], scale))
    distinct, counts = _counted(profile, ordered, lambda chosen: _names(profile.kind, chosen, array.type, scale))
    floats = distinct.astype(np.float64)
    if scale:
        floats /= 10.0**scale
    if ordered.dtype.kind == "f":
        finite = slice(np.searchsorted(floats, -np.inf, side="right"), np.searchsorted(floats, np.inf, side="left"))
        within = floats[finite]
        inside = None if counts is None else counts[finite]
        profile.infinite += len(ordered) - (len(within) if inside is None else int(inside.sum()))
        floats, counts = within, inside
    _spread(profile, floats, counts)


def _spread(profile: ColumnProfile, ordered: npt.NDArray[np.float64], counts: Counts | None = None) -> None:
    profile.moments.update(ordered, counts)
    profile.ranks.update_sorted(ordered, counts)
    if profile.kind in NUMBERS:
        below = np.searchsorted(ordered, 0.0, side="left")
        upto = np.searchsorted(ordered, 0.0, side="right")
        profile.negative += int(below if counts is None else counts[:below].sum())
        profile.zeros += int(upto - below if counts is None else counts[below:upto].sum())


def _plain_values(array: pa.Array) -> tuple[npt.NDArray[Any], int]:
    """The numbers of an array without nulls, and how many decimal places to shift them."""
    data_type = array.type
    if pa.types.is_decimal(data_type):
        words = np.frombuffer(array.buffers()[1], np.int64)[::2]
        return words[array.offset : array.offset + len(array)], data_type.scale
    if pa.types.is_date(data_type):
        array = array.view(pa.int32())
    elif not pa.types.is_integer(data_type) and not pa.types.is_floating(data_type):
        array = array.view(pa.int64())
    return array.to_numpy(zero_copy_only=False), 0


def _is_ordered(values: npt.NDArray[Any]) -> bool:
    # A glance at a few of them spares most columns the whole comparison.
    glance = values[:: max(1, len(values) // 64)]
    return bool((glance[:-1] <= glance[1:]).all()) and bool((values[:-1] <= values[1:]).all())


def _counted(
    profile: ColumnProfile, ordered: npt.NDArray[Any], names: Callable[[npt.NDArray[Any]], list[str]]
) -> tuple[npt.NDArray[Any], Counts | None]:
    """Count distinct and frequent values of an ordered array; its distinct values and how often each occurs, where they are
    few, else the array as it is.
    """
    rows = len(ordered)
    ends = ordered[1:] != ordered[:-1]
    varied = int(np.count_nonzero(ends)) + 1
    if varied * _FEW < rows:
        last = np.append(np.flatnonzero(ends), rows - 1)
        distinct, counts = ordered[last], np.diff(last, prepend=-1)
        profile.distinct.update(_mixed(_bits(distinct)))
        chosen, missed = heavy(counts, rows)
        fed = (distinct, counts) if chosen is None else (distinct[chosen], counts[chosen])
        profile.frequent.update(names(fed[0]), fed[1].tolist(), missed)
        return distinct, counts
    profile.distinct.update(_mixed(_bits(ordered)))
    values, counts, missed = _heavy_runs(ordered, is_unique=varied == rows)
    profile.frequent.update(names(values), counts.tolist(), missed)
    return ordered, None


def _heavy_runs(ordered: npt.NDArray[Any], *, is_unique: bool = False) -> tuple[npt.NDArray[Any], Counts, int]:
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


def _bits(values: npt.NDArray[Any]) -> Hashes:
    """Numbers as 64 bits each, the same for the same number in every width."""
    if values.dtype.kind == "f":
        return values.astype(np.float64).view(np.uint64)
    return values.astype(np.uint64) if values.dtype.kind == "u" else values.astype(np.int64).view(np.uint64)


def _mixed(bits: Hashes) -> Hashes:
    """Hashes of 64-bit keys whose upper bits depend on all of the key's: what the count of distinct values goes by."""
    found = np.empty_like(bits)
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK] ^ np.uint64(0x2545F4914F6CDD1D)  # zero would stay zero
        block *= np.uint64(0x9E3779B97F4A7C15)
        block ^= block >> np.uint64(32)
        np.multiply(block, np.uint64(0xD6E8FEB86659FD93), out=found[start : start + _BLOCK])
    return found


def _python(value: Any, scale: int) -> Any:
    return Decimal(int(value)).scaleb(-scale) if scale else value.item()


def _names(kind: str, values: npt.NDArray[Any], data_type: pa.DataType, scale: int) -> list[str]:
    if kind == "decimal":
        return [str(Decimal(value).scaleb(-scale)) for value in values.tolist()]
    if kind in TIMES:
        plain = pa.array(values).view(data_type)
        return [each.replace(".000000", "") for each in plain.cast(pa.string()).to_pylist()]
    return [repr(value) for value in values.tolist()]


# texts


def _texts(profile: ColumnProfile, array: pa.Array, *, with_patterns: bool) -> None:
    _grouped(profile, array, with_lengths=True, with_patterns=with_patterns)


def _grouped(profile: ColumnProfile, array: pa.Array, *, with_lengths: bool, with_patterns: bool) -> None:
    """Count texts; where nearly all differ, by their hashes."""
    probe = array.slice(0, _PROBE)
    varied = len(probe) == _PROBE and len(probe.unique()) > _PROBE // 4
    counts: Counts | None
    if varied:
        texts, counts = array, None
        _count_hashes(profile, array)
    else:
        grouped = array.value_counts()
        texts, counts = grouped.field("values"), grouped.field("counts").to_numpy()
        profile.distinct.update(_hashes(texts))
        _feed(profile.frequent, texts, counts, len(array))
    if not with_lengths:
        return
    extremes = pc.min_max(texts)
    profile.saw(_cut(extremes["min"].as_py()), _cut(extremes["max"].as_py()))
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    profile.lengths.update(lengths, counts)
    if with_patterns:
        found = patterns.patterns(texts, lengths)
        found, weights = _weighed(found, counts)
        _feed(profile.patterns, found, weights, len(array))
        _feed(profile.shapes, *_weighed(patterns.shapes(found), weights), len(array))


def _count_hashes(profile: ColumnProfile, array: pa.Array) -> None:
    hashes = _hashes(array)
    ordered = np.sort(hashes)
    profile.distinct.update(ordered)
    values, counts, missed = _heavy_runs(ordered)
    texts: list[str] = []
    if len(values):
        places = np.minimum(np.searchsorted(values, hashes), len(values) - 1)
        found = np.flatnonzero(values[places] == hashes)
        _, first = np.unique(hashes[found], return_index=True)
        texts = array.take(pa.array(found[first])).to_pylist()
    profile.frequent.update(texts, counts.tolist(), missed)


def _weighed(texts: pa.Array, counts: Counts | None) -> tuple[pa.Array, Counts]:
    """The distinct texts, and the sum of the counts of each."""
    if counts is None:
        grouped = texts.value_counts()
        return grouped.field("values"), grouped.field("counts").to_numpy()
    encoded = texts.dictionary_encode()
    sums = np.bincount(encoded.indices.to_numpy(), weights=counts, minlength=len(encoded.dictionary))
    return encoded.dictionary, sums.astype(np.int64)


def _feed(sketch: Frequent, texts: pa.Array, counts: Counts, rows: int) -> None:
    chosen, missed = heavy(counts, rows)
    if chosen is not None:
        texts, counts = texts.take(pa.array(chosen)), counts[chosen]
    sketch.update(texts.to_pylist(), counts.tolist(), missed)


def _binaries(profile: ColumnProfile, array: pa.Array) -> None:
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False)
    profile.lengths.update(lengths)
    hashes = _hashes(array)
    profile.distinct.update(hashes)


def _list_lengths(array: pa.Array) -> Counts:
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    return np.asarray(np.diff(offsets), np.int64)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_EXTREME else text[: _LONGEST_EXTREME - 1] + "…"


# what DuckDB does best

_local = threading.local()


def _session() -> KernelSession:
    """The session of this thread."""
    found: KernelSession | None = getattr(_local, "session", None)
    if found is None:
        found = _local.session = KernelSession(threads=1)
    return found


def _hashes(array: pa.Array) -> Hashes:
    """64-bit hashes of texts or binary values, the same in every process."""
    return np.asarray(_asked("hash(c)", array).to_numpy(zero_copy_only=False), np.uint64)


def _as_text(array: pa.Array) -> pa.Array:
    return _asked("CAST(c AS VARCHAR)", array).cast(pa.string())


def _asked(sql: str, array: pa.Array) -> pa.Array:
    session = _session()
    session.put("profiled", pa.table({"c": array}))
    try:
        found = session.fetch(f"SELECT {sql} AS c FROM profiled").column("c").combine_chunks()
    finally:
        session.drop("profiled")
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
