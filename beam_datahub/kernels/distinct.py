"""Python functions over columns at the price of their distinct values: encode, map the dictionary, take."""

from __future__ import annotations

from collections.abc import Callable
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
    values: list[Any] = []
    reasons: dict[int, str] = {}
    for index, value in enumerate(encoded.dictionary.to_pylist()):
        try:
            values.append(function(value))
        except ValueError as error:
            values.append(None)
            reasons[index] = str(error)
    mapped = pa.array(values, target).take(encoded.indices)
    if not reasons:
        return Mapped(mapped, pa.array([], pa.int64()), [])
    wrong = pc.is_in(encoded.indices, value_set=pa.array(list(reasons), encoded.indices.type), skip_nulls=True)
    failed = pc.indices_nonzero(wrong).cast(pa.int64())
    return Mapped(mapped, failed, [reasons[index] for index in encoded.indices.take(failed).to_pylist()])
