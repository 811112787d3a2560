from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError, OrderDependent
from beam_datahub.testing.steps import run_step

ROWS = [
    {"id": 1, "v": "b", "t": 2},
    {"id": 1, "v": "a", "t": 2},
    {"id": 1, "v": "c", "t": None},
    {"id": None, "v": "x", "t": None},
    {"id": None, "v": "w", "t": None},
    {"id": 2, "v": None, "t": 1},
]


@pytest.mark.parametrize(
    ("keep", "order_by", "expected"),
    [
        ("first", "t", {1: "a", None: "w", 2: None}),
        ("last", "t", {1: "a", None: "w", 2: None}),
        ("first", ["v desc"], {1: "c", None: "x", 2: None}),
        ("last", ["T", "v"], {1: "b", None: "x", 2: None}),
    ],
)
def test_the_row_that_stays_is_the_same_in_every_order_of_arrival(
    keep: str, order_by: object, expected: dict[object, object]
) -> None:
    config = {"by": "id", "order_by": order_by, "keep": keep}
    for rows, slice_rows in ((ROWS, None), (ROWS[::-1], 1), ([*ROWS[3:], *ROWS[:3]], 2)):
        found = run_step("deduplication", config, {"input": rows}, slice_rows=slice_rows)
        assert {row["id"]: row["v"] for row in found.rows} == expected
        books = found.books["step"]
        assert (books["in"], books["out"], books["merged"]) == (6, 3, 3)


def test_it_agrees_with_a_query_over_many_rows() -> None:
    table = duckdb.sql(
        "SELECT nullif(hash(i) % 50, 7) AS k, nullif(hash(i * 3) % 5, 2)::INTEGER AS t, (hash(i * 7) % 4)::VARCHAR AS v, "
        "nullif(hash(i * 11) % 3, 0)::DOUBLE AS x FROM range(2000) r(i)"
    ).to_arrow_table()
    found = run_step("deduplication", {"by": ["k"], "order_by": ["t desc", "x"]}, {"input": table}, slice_rows=300)
    duckdb.register("given", pa.table(table))
    expected = duckdb.sql(
        "SELECT unnest(list(given ORDER BY t DESC NULLS LAST, x ASC NULLS LAST, v ASC NULLS LAST)[1]) FROM given GROUP BY k"
    ).fetchall()
    assert sorted(map(str, (tuple(row.values()) for row in found.rows))) == sorted(map(str, expected))


def test_rows_equal_in_every_column_become_one_also_with_nested_columns() -> None:
    rows = [{"a": n % 2, "b": [n % 2, None], "c": {"d": None}} for n in range(6)]
    found = run_step("deduplication", {"by": ["c", "b", "a"]}, {"input": rows}, schema={"input": {"c": "struct(d integer)"}})
    assert sorted(row["a"] for row in found.rows) == [0, 1]
    assert found.schema.names == ["a", "b", "c"]


def test_without_an_order_it_is_refused() -> None:
    with pytest.raises(OrderDependent) as raised:
        run_step("deduplication", {"by": "id"}, {"input": ROWS})
    assert "order_by" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"by": "idd", "order_by": "t"}, "unknown column 'idd'"),
        ({"by": "id", "order_by": "u desc"}, "unknown column 'u'"),
        ({"by": ["id", "ID"], "order_by": "t"}, "named twice"),
    ],
)
def test_a_wrong_deduplication_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("deduplication", config, {"input": ROWS})
