from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ROWS = [
    {"s": "a", "y": 2024, "n": 1},
    {"s": "a", "y": 2025, "n": 2},
    {"s": "b", "y": 2024, "n": 4},
    {"s": "b", "y": None, "n": 8},
]


def test_numbers_become_columns_and_other_values_are_rejected() -> None:
    found = run_step(
        "pivot", {"by": "s", "column": "y", "values": [2024, 2025], "measures": "sum(n)"}, {"input": ROWS}, slice_rows=1
    )
    assert {row["s"]: (row["2024"], row["2025"]) for row in found.rows} == {"a": (1, 2), "b": (4, None)}
    assert [(record["reason"], record["column"]) for record in found.rejected] == [("validation_failed", "y")]


def test_without_keys_there_is_one_row_and_an_own_filter_is_kept() -> None:
    config = {"column": "y", "values": {"old": 2024}, "measures": "count(*) filter (where n > 1)", "other": "drop"}
    found = run_step("pivot", config, {"input": ROWS})
    assert found.rows == [{"old": 1}]
    assert found.books["step"]["filtered"] == 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"column": "z", "values": [1], "measures": "count(*)"}, "unknown column 'z'"),
        ({"column": "y", "values": ["x"], "measures": "count(*)"}, "which 'x' is not"),
        ({"column": "y", "values": [], "measures": "count(*)"}, "at least one value"),
        ({"column": "y", "values": [2024, 2024], "measures": "count(*)"}, "given twice"),
        ({"column": "y", "values": {"s": 2024}, "measures": "count(*)", "by": "s"}, "two columns called 's'"),
        ({"column": "y", "values": [2024], "measures": "first(n)"}, "depends on the order"),
    ],
)
def test_a_wrong_pivot_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("pivot", config, {"input": ROWS})
