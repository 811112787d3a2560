from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

LEFT = [{"k": 1, "v": "a"}, {"k": 1, "v": "b"}, {"k": 2, "v": "c"}, {"k": None, "v": "d"}]
RIGHT = [{"k": 1, "v": "x"}, {"k": 3, "v": "y"}, {"k": None, "v": "z"}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("inner", [(1, "a", "x"), (1, "b", "x")]),
        ("left", [(1, "a", "x"), (1, "b", "x"), (2, "c", None), (None, "d", None)]),
        ("right", [(1, "a", "x"), (1, "b", "x"), (3, None, "y"), (None, None, "z")]),
        ("full", [(1, "a", "x"), (1, "b", "x"), (2, "c", None), (3, None, "y"), (None, "d", None), (None, None, "z")]),
    ],
)
def test_a_key_appears_once_and_a_null_matches_nothing(kind: str, expected: list[tuple[object, ...]]) -> None:
    found = run_step("join", {"on": "k", "kind": kind}, {"left": LEFT, "right": RIGHT})
    assert found.schema.names == ["k", "v", "right_v"]
    assert sorted(map(str, (tuple(row.values()) for row in found.rows))) == sorted(map(str, expected))


@pytest.mark.parametrize(("kind", "expected"), [("semi", ["a", "b"]), ("anti", ["c", "d"])])
def test_semi_and_anti_joins_give_the_first_inputs_rows(kind: str, expected: list[str]) -> None:
    found = run_step("join", {"on": ["k"], "kind": kind}, {"left": LEFT, "right": [*RIGHT, *RIGHT]})
    assert found.schema.names == ["k", "v"]
    assert sorted(row["v"] for row in found.rows) == expected


@pytest.mark.parametrize(
    ("asof", "kind", "expected"),
    [
        ({}, "left", [(1, None), (3, 3), (5, 4)]),
        ({}, "inner", [(3, 3), (5, 4)]),
        ({"exact_matches": False}, "inner", [(5, 4)]),
        ({"direction": "forward"}, "inner", [(1, 3), (3, 3)]),
    ],
)
def test_the_nearest_row_in_time_is_matched(asof: dict[str, object], kind: str, expected: list[tuple[object, object]]) -> None:
    config = {"on": "k", "kind": kind, "asof": {"left": "t", "right": "u", **asof}, "columns": ["t", "u"]}
    given = {
        "a": [{"k": 1, "t": 1}, {"k": 1, "t": 3}, {"k": 1, "t": 5}],
        "b": [{"k": 1, "u": 3}, {"k": 1, "u": 4}, {"k": 2, "u": 5}],
    }
    found = run_step("join", config, given)
    assert sorted(((row["t"], row["u"]) for row in found.rows), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"on": {"k": "kk"}}, "unknown column 'kk'"),
        ({"on": {"v": "k"}}, "can never be equal"),
        ({"on": "k", "columns": ["w"]}, "unknown column 'w'"),
        ({"on": "k", "columns": ["left.v", "right.v"]}, "one name"),
        ({"on": "k", "kind": "full", "asof": {"left": "v", "right": "v"}}, "does not go with a full join"),
        ({"on": "k", "asof": {"left": "v", "right": "k"}}, "can never be equal"),
    ],
)
def test_a_wrong_join_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("join", config, {"left": LEFT, "right": RIGHT})


def test_a_join_has_two_inputs() -> None:
    with pytest.raises(DataHubError, match="takes 2 inputs, not 3"):
        run_step("join", {"on": "k"}, {"a": LEFT, "b": RIGHT, "c": RIGHT})


NEAR = {"left": "t", "right": "t", "before": "10 minutes", "after": "1 minute"}
SALES = [{"k": 1, "t": "2025-01-01 12:10:00"}, {"k": 1, "t": "2025-01-01 13:00:00"}, {"k": None, "t": "2025-01-01 12:10:00"}]
PRICES = [
    {"k": 1, "t": f"2025-01-01 {time}", "price": price}
    for time, price in (("11:59:59", 1), ("12:00:00", 2), ("12:05:00", 3), ("12:11:00", 4), ("12:11:01", 5))
]
TIMED = {"left": {"t": "timestamp"}, "right": {"t": "timestamp"}}


@pytest.mark.parametrize(
    ("config", "prices"),
    [
        ({"within": NEAR, "kind": "left"}, [2, 3, 4, None, None]),
        ({"asof": {"left": "t", "right": "t", "within": "5 minutes"}, "kind": "left"}, [3, None, None]),
        ({"asof": {"left": "t", "right": "t", "within": "1 minute", "direction": "forward"}}, [4]),
    ],
)
def test_rows_match_that_are_near_in_time(config: dict[str, object], prices: list[int | None]) -> None:
    found = run_step("join", {"on": "k", "columns": ["price"], **config}, {"left": SALES, "right": PRICES}, schema=TIMED)
    assert sorted((row["price"] for row in found.rows), key=str) == sorted(prices, key=str)


def test_rows_without_one_near_them_are_left_by_an_anti_join() -> None:
    config = {"on": "k", "kind": "anti", "within": NEAR, "columns": ["t"]}
    found = run_step("join", config, {"left": SALES, "right": PRICES}, schema=TIMED)
    assert sorted(row["t"].hour for row in found.rows) == [12, 13]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"within": NEAR, "kind": "full"}, "does not go with a full join"),
        ({"within": NEAR, "asof": {"left": "t", "right": "t"}}, "which has its own"),
        ({"within": {**NEAR, "left": "k"}}, "goes by a timestamp"),
        ({"within": {**NEAR, "before": "long"}}, "no length of time"),
    ],
)
def test_a_wrong_nearness_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("join", {"on": "k", **config}, {"left": SALES, "right": PRICES}, schema=TIMED)
