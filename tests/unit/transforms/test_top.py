from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ROWS = [{"g": g, "n": n, "v": v} for g in ("a", None) for n, v in ((1, "x"), (3, "y"), (3, "w"), (None, "z"))]


@pytest.mark.parametrize("slice_rows", [None, 1, 3])
def test_the_first_rows_of_each_group_stay_with_their_place(slice_rows: int | None) -> None:
    config = {"by": ["g"], "order_by": ["n desc"], "limit": 3, "rank": "place"}
    found = run_step("top", config, {"input": ROWS[::-1]}, slice_rows=slice_rows)
    came = {(row["g"], row["place"]): row["v"] for row in found.rows}
    assert came == {(g, place): v for g in ("a", None) for place, v in ((1, "w"), (2, "y"), (3, "x"))}
    assert found.books["step"]["merged"] == 2


def test_without_groups_all_rows_compete_and_without_a_limit_all_are_numbered() -> None:
    assert [row["v"] for row in run_step("top", {"order_by": "n", "limit": 1}, {"input": ROWS}).rows] == ["x"]
    found = run_step("top", {"order_by": ["v", "g"], "rank": "r"}, {"input": ROWS})
    assert sorted(row["r"] for row in found.rows) == list(range(1, 9))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"order_by": "n"}, "neither `limit` nor `rank`"),
        ({"order_by": [], "limit": 1}, "at least one column"),
        ({"order_by": ["n", "n desc"], "limit": 1}, "named twice"),
        ({"order_by": "n", "rank": "V"}, "two columns called 'V'"),
        ({"order_by": "n", "limit": 0}, "must be at least 1"),
        ({"order_by": "m desc", "limit": 1}, "unknown column 'm'"),
    ],
)
def test_a_wrong_top_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("top", config, {"input": ROWS})
