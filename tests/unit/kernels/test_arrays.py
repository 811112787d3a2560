"""Arrays that are made without Arrow's converters are what those make."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beam_datahub.kernels import arrays


@pytest.mark.parametrize("values", [[], [None], [1, None, -3], [2**63 - 1, -(2**63)]])
def test_integers(values: list[int | None]) -> None:
    made = arrays.integers(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.int64()))


@pytest.mark.parametrize("values", [[], [None], ["", "a", None, "Łódź", "\0"], ["x"] * 9])
def test_texts(values: list[str | None]) -> None:
    made = arrays.texts(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.string()))
    assert all(arrays.text(value).as_py() == value for value in values)


def test_the_same_again() -> None:
    moment = pa.timestamp("us", "UTC")
    for value, kind in [("Łódź", pa.string()), (None, pa.string()), (5, pa.int64()), (5, moment), (None, moment)]:
        made = arrays.repeated(value, kind, 3)
        made.validate(full=True)
        assert made.equals(pa.array([value] * 3, kind))


def test_back_to_numpy() -> None:
    truths = np.array([True, False, True] * 7)
    assert arrays.mask(truths).to_pylist() == truths.tolist()
    assert arrays.as_mask(arrays.mask(truths).slice(2, 11)).tolist() == truths[2:13].tolist()
    assert arrays.as_mask(pa.array([True, None, False, None])[1:]).tolist() == [False, False, False]
    assert arrays.as_numbers(pa.array([4, 5, 6], pa.int32())[1:]).tolist() == [5, 6]
    assert not len(arrays.as_numbers(pa.array([], pa.int64())))
