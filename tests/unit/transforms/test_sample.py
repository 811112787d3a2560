from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ROWS = [{"id": n, "text": None if n % 3 else f"t{n}"} for n in range(4000)]


def test_the_share_is_about_met_and_the_rows_are_always_the_same() -> None:
    first = run_step("sample", {"fraction": 0.25}, {"input": ROWS})
    again = run_step("sample", {"fraction": 0.25}, {"input": ROWS[::-1]}, slice_rows=700)
    other = run_step("sample", {"fraction": 0.25, "seed": 1}, {"input": ROWS})
    assert 900 < len(first.rows) < 1100
    ids = {row["id"] for row in first.rows}
    assert ids == {row["id"] for row in again.rows}
    assert ids != {row["id"] for row in other.rows}
    assert first.books["step"]["filtered"] == 4000 - len(first.rows)


def test_a_smaller_sample_is_part_of_a_larger_one_and_equal_keys_stay_together() -> None:
    rows = [{"k": n % 100, "n": n} for n in range(1000)]
    small = {row["n"] for row in run_step("sample", {"fraction": 0.2, "by": "k"}, {"input": rows}).rows}
    large = {row["n"] for row in run_step("sample", {"fraction": 0.6, "by": "k"}, {"input": rows}).rows}
    assert small < large
    assert len(small) == 10 * len({n % 100 for n in small})


@pytest.mark.parametrize("fraction", [0, -1, 1.5])
def test_a_share_is_above_nought_and_at_most_one(fraction: float) -> None:
    with pytest.raises(DataHubError):
        run_step("sample", {"fraction": fraction}, {"input": [{"id": 1}]})
