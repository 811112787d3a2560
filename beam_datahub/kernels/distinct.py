"""Python functions over columns at the price of their distinct values: encode, map the dictionary, take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Mapped:
    """A mapped column, the rows on which the function failed (null there), and its message for each of them."""

    column: pa.Array
    failed: pa.Array
    messages: list[str]


def map_distinct(column: pa.Array, function: Callable[[Any], Any], target: pa.DataType) -> Mapped:
    """`column` with `function` applied to each distinct value; nulls stay null. A ValueError marks the rows that have it."""
    encoded = column.dictionary_encode()
    values = ((value,) for value in encoded.dictionary.to_pylist())
    return _mapped(values, encoded.indices, function, target)


def map_distinct_pairs(column: pa.Array, other: pa.Array, function: Callable[[Any, Any], Any], target: pa.DataType) -> Mapped:
    """Like `map_distinct` over each distinct pair of a value and what stands beside it in `other` (which may be null)."""
    first, second = column.dictionary_encode(), other.dictionary_encode(null_encoding="encode")
    width = max(1, len(second.dictionary))
    pairs = pc.add(pc.multiply(first.indices.cast(pa.int64()), width), second.indices.cast(pa.int64()))
    encoded = pairs.dictionary_encode()
    left, right = first.dictionary.to_pylist(), second.dictionary.to_pylist()
    values = ((left[pair // width], right[pair % width]) for pair in encoded.dictionary.to_pylist())
    return _mapped(values, encoded.indices, function, target)


def _mapped(values: Iterable[tuple[Any, ...]], indices: pa.Array, function: Callable[..., Any], target: pa.DataType) -> Mapped:
    results: list[Any] = []
    reasons: dict[int, str] = {}
    for index, arguments in enumerate(values):
        try:
            results.append(function(*arguments))
        except ValueError as error:
            results.append(None)
            reasons[index] = str(error)
    mapped = pa.array(results, target).take(indices)
    if not reasons:
        return Mapped(mapped, pa.array([], pa.int64()), [])
    wrong = pc.is_in(indices, value_set=pa.array(list(reasons), indices.type), skip_nulls=True)
    failed = pc.indices_nonzero(wrong).cast(pa.int64())
    return Mapped(mapped, failed, [reasons[index] for index in indices.take(failed).to_pylist()])
