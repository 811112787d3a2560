"""Conditions are evaluated from left to right, and what cannot fail is known not to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.kernels.expressions import compile_expression, compile_predicate, error_mask_sql
from beam_datahub.kernels.expressions.typing import typing_session

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.string()), ("p", pa.bool_())])

# A condition as an oracle reads it: ("cast", column), ("null", column), ("flag",), ("not", x), ("and"/"or", x, y, …)
leaves = st.sampled_from([("cast", "a"), ("cast", "b"), ("null", "a"), ("null", "b"), ("flag",)])
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda x: ("not", x)),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner),
    ),
    max_leaves=7,
)
texts = st.sampled_from([None, "1", "5", "x"])
rows = st.fixed_dictionaries({"a": texts, "b": texts, "p": st.sampled_from([None, True, False])})


class Failed(Exception):
    pass


def sql_of(condition: Any) -> str:
    match condition:
        case ("cast", name):
            return f"cast({name} as int) > 3"
        case ("null", name):
            return f"{name} is null"
        case ("flag",):
            return "p"
        case ("not", inner):
            return f"not ({sql_of(inner)})"
        case (word, *parts):
            return "(" + f" {word} ".join(sql_of(part) for part in parts) + ")"
    raise AssertionError(condition)


def leaf(condition: Any, row: dict[str, Any]) -> bool | None:
    match condition:
        case ("cast", name):
            if row[name] == "x":
                raise Failed
            return None if row[name] is None else int(row[name]) > 3
        case ("null", name):
            return row[name] is None
    return row["p"]  # type: ignore[no-any-return]


def holds(condition: Any, row: dict[str, Any], negated: bool = False) -> bool:
    """Whether a condition is true (negated: false), looking no further than needed."""
    match condition:
        case ("not", inner):
            return holds(inner, row, not negated)
        case ("and" | "or" as word, *parts):
            decide = all if (word == "and") != negated else any
            return decide(holds(part, row, negated) for part in parts)
    value = leaf(condition, row)
    return value is (not negated)


def value(condition: Any, row: dict[str, Any]) -> bool | None:
    """The three-valued outcome; `and` looks at nothing after a false, `or` at nothing after a true."""
    match condition:
        case ("not", inner):
            found = value(inner, row)
            return None if found is None else not found
        case ("and" | "or" as word, *parts):
            unknown = False
            for part in parts:
                found = value(part, row)
                if found is (word == "or"):
                    return found
                unknown = unknown or found is None
            return None if unknown else word == "and"
    return leaf(condition, row)


def outcome(oracle: Callable[[Any, dict[str, Any]], Any], condition: Any, row: dict[str, Any]) -> Any:
    try:
        return oracle(condition, row)
    except Failed:
        return "failed"


@settings(max_examples=150, deadline=None)
@given(conditions, st.lists(rows, min_size=1, max_size=12))
def test_a_row_of_a_filter_has_the_outcome_of_its_own_values(condition: Any, batch: list[dict[str, Any]]) -> None:
    predicate = compile_predicate(sql_of(condition), SCHEMA)
    expected = [outcome(holds, condition, row) for row in batch]
    session = typing_session()
    numbered = pa.Table.from_pylist(
        [{**row, "n": n} for n, row in enumerate(batch)], schema=SCHEMA.append(pa.field("n", pa.int64()))
    )
    session.put("input", numbered)
    mask = session.query(f"SELECT {error_mask_sql(predicate.sql)} AS failed FROM input ORDER BY n").column(0).to_pylist()
    assert mask == [found == "failed" for found in expected]
    assert predicate.can_fail or not any(mask)
    session.put("input", numbered.filter(pa.array([not failed for failed in mask])))
    kept = session.query(f"SELECT n FROM input WHERE {predicate.sql} ORDER BY n").column(0).to_pylist()
    assert kept == [n for n, found in enumerate(expected) if found is True]


@settings(max_examples=150, deadline=None)
@given(conditions, rows)
def test_a_boolean_value_keeps_all_three_outcomes(condition: Any, row: dict[str, Any]) -> None:
    expression = compile_expression(sql_of(condition), SCHEMA)
    session = typing_session()
    session.put("input", pa.Table.from_pylist([row], schema=SCHEMA))
    try:
        found: Any = session.query(f"SELECT {expression.sql} AS v FROM input").column(0).to_pylist()[0]
    except duckdb.Error:
        found = "failed"
    assert found == outcome(value, condition, row)


def test_plain_sql_stays_where_nothing_can_fail() -> None:
    schema = pa.schema([("x", pa.int64()), ("s", pa.string())])
    assert "CASE" not in compile_predicate("x > 1 and s = 'a' or not (x < 0 or s is null)", schema).sql
    assert "CASE" in compile_predicate("s <> '' and cast(s as int) > 1", schema).sql


def test_a_condition_guards_the_one_after_it(session: Any) -> None:
    schema = pa.schema([("s", pa.string())])
    guarded = compile_predicate("s <> '' and not (s = '-' or cast(s as int) < 3)", schema, session)
    session.put("input", pa.table({"s": ["", "-", "2", "7"]}))
    assert session.query(f"SELECT s FROM input WHERE {guarded.sql}").column(0).to_pylist() == ["7"]


@pytest.mark.parametrize(
    "text",
    [
        "name", "id > 3", "id between 1 and 5", "name in ('a', 'b')", "name like 'a%'", "id is null", "upper(trim(name))",
        "name || '-' || id", "coalesce(name, 'x')", "case when id > 1 then 'a' else name end", "nullif(name, '')",
        "price * 1.5 + id", "price / 0", "cast(id as double)", "cast(id as varchar)", "try_cast(name as int)",
        "day >= '2024-01-01'",
        "day >= date '2024-01-01'", "customer.city = 'x'", "year(day)", "date_trunc('month', seen)", "not paid",
        "regexp_matches(name, '^a+$')", "{'a': id, 'b': name}", "amount > 5", "amount > price", "if(paid, 1, 0)", "length(name)",
        "try(cast(name as int))", "$.customer.city", "${name}-${id}", "id is distinct from 3", "cast(seen as date)",
    ],
)  # fmt: skip
def test_what_cannot_fail_is_known_not_to(text: str, schema: pa.Schema) -> None:
    assert not compile_expression(text, schema).can_fail


@pytest.mark.parametrize(
    "text",
    [
        "id + 1", "amount * 2", "cast(name as int)", "name = id", "cast(id as int)", "cast(price as int)", "sqrt(price)",
        "regexp_matches(name, Country)", "$.doc.a", "cast(doc as varchar[])", "name::uuid", "name::json", "-id",
        "list_transform(tags, x -> x + 1)", "day + 1", "case when name then 1 end", "coalesce(id, 1) + 1", "${cast(name as int)}",
        "strptime(name, '%Y')", "cast(amount as decimal(5, 2))", "id // 2", "[cast(name as int)]", "date_trunc(name, seen)",
    ],
)  # fmt: skip
def test_what_may_fail_is_said_to(text: str, schema: pa.Schema) -> None:
    assert compile_expression(text, schema).can_fail
