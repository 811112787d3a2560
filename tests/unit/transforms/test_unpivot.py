from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ROWS = [{"id": 1, "a": 1, "b": 2.5}, {"id": 2, "a": None, "b": None}, {"id": 3, "a": None, "b": 1.0}]


def test_numbers_of_several_types_widen_and_nulls_go() -> None:
    found = run_step("unpivot", {"columns": ["B", "a"]}, {"input": ROWS}, slice_rows=2)
    assert [tuple(row.values()) for row in sorted(found.rows, key=str)] == [(1, "a", 1.0), (1, "b", 2.5), (3, "b", 1.0)]
    books = found.books["step"]
    assert (books["in"], books["out"], books["filtered"], books["added"]) == (3, 3, 1, 1)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"columns": ["a", "c"]}, "unknown column 'c'"),
        ({"columns": ["a", "t"]}, "no type in common"),
        ({"columns": ["a"], "name": "id"}, "two columns called 'id'"),
        ({"columns": ["a"], "name": "x", "value": "X"}, "two columns called 'X'"),
    ],
)
def test_a_wrong_unpivot_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("unpivot", config, {"input": [{**row, "t": "x"} for row in ROWS]})
