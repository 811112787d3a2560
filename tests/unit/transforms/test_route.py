from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ROWS = [{"n": n} for n in (1, 5, 9, None)]


def test_a_row_takes_the_first_branch_that_wants_it() -> None:
    config = {"branches": {"low": "n < 6", "mid": "n > 2"}, "default": "low"}
    found = run_step("route", config, {"input": ROWS}, slice_rows=1)
    assert {name: sorted(map(str, (row["n"] for row in rows))) for name, rows in found.branches.items()} == {
        "low": ["1", "5", "None"],
        "mid": ["9"],
    }


def test_copies_go_to_every_branch_whose_condition_is_true() -> None:
    config = {"branches": {"all": "true", "odd": "n % 2 = 1", "large": "n > 2"}, "copy": True}
    found = run_step("route", config, {"input": [{"n": 1}, {"n": 2}, {"n": 3}]})
    assert {name: sorted(row["n"] for row in rows) for name, rows in found.branches.items()} == {
        "all": [1, 2, 3],
        "odd": [1, 3],
        "large": [3],
    }
    assert found.books["step"]["added"] == 3


def test_a_row_on_which_a_condition_fails_is_rejected() -> None:
    config = {"branches": {"none": "t = '?'", "odd": "cast(t as integer) % 2 = 1"}, "default": "even"}
    found = run_step("route", config, {"input": [{"t": "1"}, {"t": "2"}, {"t": "x"}, {"t": "?"}]})
    assert {name: [row["t"] for row in rows] for name, rows in found.branches.items()} == {
        "none": ["?"],
        "odd": ["1"],
        "even": ["2"],
    }
    assert [record["reason"] for record in found.rejected] == ["expression_failed"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"branches": {}}, "at least one branch"),
        ({"branches": {"a.b": "true"}}, "cannot be a branch's name"),
        ({"branches": {"a": "n"}}, "true or false"),
        ({"branches": {"a": "m > 1"}}, "unknown column 'm'"),
    ],
)
def test_a_wrong_route_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("route", config, {"input": ROWS})
