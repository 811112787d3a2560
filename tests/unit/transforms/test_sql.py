from __future__ import annotations

import pyarrow as pa
import pytest

from beam_datahub.component.operators import PerKey, Rows
from beam_datahub.errors import DataHubError, OrderDependent
from beam_datahub.testing.steps import run_step

ROWS = [{"k": k, "n": n, "Group Name": f"g{n % 2}"} for k, n in (("a", 1), ("a", 4), ("a", 4), ("b", 2), (None, 3), (None, 9))]


def rows_of(query: str, **options: object) -> list[tuple[object, ...]]:
    found = run_step("sql", {"query": query, **options}, {"input": ROWS}, slice_rows=2)
    return sorted((tuple(row.values()) for row in found.rows), key=str)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select input.k, n + 1 as m from input where n > 3", [("a", 5), ("a", 5), (None, 10)]),
        ("from input select n where k is null", [(3,), (9,)]),
        ('select i."Group Name" from input as i where n = 1;', [("g1",)]),
        ("select k, sum(n)::bigint as s from input group by all", [("a", 9), ("b", 2), (None, 12)]),
        ("with t as (select n from input where n > 2) select count(*) as c, max(n) as m from t", [(4, 9)]),
        ("select n from input where n > (select avg(n) from input)", [(4,), (4,), (9,)]),
        ("select n from input order by n desc limit 2", [(4,), (9,)]),
        ("select distinct n from input", [(1,), (2,), (3,), (4,), (9,)]),
        ("select a.n, b.n as m from input a join input b on a.n + 1 = b.n", [(1, 2), (2, 3), (3, 4), (3, 4)]),
        ("select n from input where n = 1 union all select n from input where n = 2", [(1,), (2,)]),
        ("select n as a, input.n + a as b from input where b = 18", [(9, 18)]),
        ("select n from input order by all limit 2", [(1,), (2,)]),
        ("select row_number() over w as r from input window w as (order by n) order by r desc limit 1", [(6,)]),
        ("select n, u from input, unnest([n]) as x(u) where n = 9", [(9, 9)]),
        ("select 'a;b' as t, n from input qualify row_number() over (order by n) = 1", [("a;b", 1)]),
    ],
)
def test_a_query_gives_what_duckdb_says(query: str, expected: list[tuple[object, ...]]) -> None:
    assert rows_of(query) == sorted(expected, key=str)


def test_with_by_the_query_sees_the_rows_of_one_key_at_a_time() -> None:
    assert rows_of("select sum(n)::bigint as s, count(*) as c from input", by="k") == [("a", 9, 3), ("b", 2, 1), (None, 12, 2)]
    assert rows_of("select n, k from input order by n desc limit 1", by=["K"]) == [("a", 4), ("b", 2), (None, 9)]
    nested = "with t as (select max(n) as top from input) select n from input, t where n = top"
    assert rows_of(nested, by="k") == [("a", 4), ("a", 4), ("b", 2), (None, 9)]


def test_ties_are_settled_by_all_columns() -> None:
    query = "select n, v, row_number() over (order by n) as r from input"
    expected = [(1, "a", 1), (1, "b", 2), (1, "c", 3)]
    for rows in ([{"n": 1, "v": v} for v in "bca"], [{"n": 1, "v": v} for v in "acb"]):
        assert sorted(tuple(row.values()) for row in run_step("sql", {"query": query}, {"input": rows}).rows) == expected
        limited = run_step("sql", {"query": "select v, n from input order by n limit 1"}, {"input": rows})
        assert limited.rows == [{"v": "a", "n": 1}]
        distinct = run_step("sql", {"query": "select distinct on (n) * from input order by n"}, {"input": rows})
        assert distinct.rows == [{"n": 1, "v": "a"}]


@pytest.mark.parametrize(
    "query",
    [
        "select * from input limit 3",
        "select * from (select n from input limit 1) t",
        "select row_number() over () as r from input",
        "select lag(n) over (partition by k) as r from input",
        "select sum(n) over (rows between 1 preceding and current row) as r from input",
        "select first(n) as f from input",
        "select list(n) as f from input",
        "select string_agg(k, ',') over (partition by n) as f from input",
        "select distinct on (k) * from input",
        "select * from input using sample 2 rows",
        "select * from input tablesample 10%",
        "select a.n from input a positional join input b",
        "select rowid from input",
    ],
)
def test_a_query_that_depends_on_the_order_of_the_rows_is_refused(query: str) -> None:
    with pytest.raises(OrderDependent) as raised:
        run_step("sql", {"query": query}, {"input": ROWS})
    assert "config.query" in str(raised.value)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select * from read_csv('/etc/passwd')", "'read_csv' is not allowed"),
        ("select * from '/etc/passwd'", "there is no relation '/etc/passwd'"),
        ("select * from duckdb_settings()", "'duckdb_settings' is not allowed"),
        ("select * from information_schema.tables", "reaches its input only"),
        ("select * from inputs", "there is no relation 'inputs'"),
        ("select (select max(x) from other) as m from input", "there is no relation 'other'"),
        ("select getenv('HOME') as h from input", "'getenv' is not allowed"),
        ("select random() as r from input", "'random' is not allowed"),
        ("select now() as r, sum(n) from input", "'now' is not allowed"),
        ("select current_date as d from input", "'current_date' is not allowed"),
        ("select main.sum(n) as s from input", "'main.sum' is not allowed"),
        ("copy input to '/tmp/x'", "only a select"),
        ("attach 'x.db'", "only a select"),
        ("select 1 as a; select 2 as b", "several statements"),
        ("select n from", "syntax error"),
        ("select nn from input", "unknown column 'nn'"),
        ("select sum(nn) as s from input", "nn"),
        ("select n + 1 from input", "has no name"),
        ("select n, n from input", "two columns called 'n'"),
        ("select n, sum(n) as N from input group by n", "two columns called 'n'"),
        ("with input as (select 1 as x) select * from input", "needs another name"),
        ("select ? as x from input", "parameter"),
        ("select 1 as x", "does not read its input"),
        ("describe input", "reaches its input only"),
        ("from query('select 1')", "'query' is not allowed"),
    ],
)
def test_a_query_that_is_wrong_or_reaches_out_is_refused(query: str, words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("sql", {"query": query}, {"input": ROWS})


def test_an_aggregate_of_no_rows_is_a_row() -> None:
    found = run_step(
        "sql", {"query": "select count(*) as c, max(n) as m from input"}, {"input": []}, schema={"input": {"n": "bigint"}}
    )
    assert found.rows == [{"c": 0, "m": None}]
    assert (
        run_step(
            "sql",
            {"query": "select n from input where n in (select max(n) from input)"},
            {"input": []},
            schema={"input": {"n": "bigint"}},
        ).rows
        == []
    )


class _Scope:
    """Just enough of a compiler for a query without errors."""

    def __getattr__(self, name: str) -> object:
        from beam_datahub.kernels.expressions import compile_expression, compile_predicate

        found = {"expression": compile_expression, "predicate": compile_predicate}[name]
        return lambda value, schema, *at: found(value, schema)


def test_a_rowwise_query_needs_no_shuffle_and_columns_keep_their_lineage() -> None:
    from beam_datahub.transforms.sql import Sql, SqlConfig

    schema = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("c", pa.string())])
    (rows,) = Sql(SqlConfig(query="select *, a + b as s from input where c = 'x'")).compile({"t": schema}, _Scope())
    assert isinstance(rows, Rows)
    assert [column.name for column in rows.columns or ()] == ["a", "b", "c", "s"]
    (keyed,) = Sql(SqlConfig(query="select c, sum(a + b) as s, count(*) as n from input group by c")).compile(
        {"t": schema}, _Scope()
    )
    assert isinstance(keyed, PerKey)
    assert keyed.lineage["c"] == ("c",)
    assert set(keyed.lineage["s"]) == {"a", "b"}
