"""Measures: aggregate calls taken apart, and the expression over their results."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import InvalidExpression, SpecError
from beam_datahub.kernels.expressions import AggregateExpression, compile_aggregate
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import quoted

SCHEMA = pa.schema(
    [("a", pa.int64()), ("b", pa.float64()), ("s", pa.string()), ("t", pa.timestamp("us")), ("amount", pa.decimal128(12, 2))]
)


def result(measure: AggregateExpression, session: KernelSession, rows: list[dict[str, Any]]) -> Any:
    """The measure over `rows`, its calls put back together and run as one query."""
    session.put("input", pa.Table.from_pylist(rows, schema=SCHEMA))
    parts = []
    for call in measure.calls:
        order = ", ".join(f"{key.sql}{' DESC' if down else ''}" for key, down in call.order)
        inside = ("DISTINCT " if call.distinct else "") + ", ".join([*(a.sql for a in call.arguments), *call.parameters])
        where = f" FILTER (WHERE {call.where.sql})" if call.where else ""
        parts.append(f"{call.function}({inside}{f' ORDER BY {order}' if order else ''}){where} AS {quoted(call.name)}")
    found = session.query(f"SELECT {measure.post.sql} AS v FROM (SELECT {', '.join(parts)} FROM input)")
    assert found.schema.field(0).type == measure.type
    return found.column(0).to_pylist()[0]


ROWS: list[dict[str, Any]] = [
    {"a": 1, "b": 1.0, "s": "x", "amount": Decimal("1.50")},
    {"a": 3, "b": None, "s": "y", "amount": Decimal("2.25")},
    {"a": 3, "b": 5.0, "s": None, "amount": None},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(a)", Decimal(7)), ("sum(amount)", Decimal("3.75")), ("count(*)", 3), ("count(1)", 3), ("count(distinct a)", 2),
        ("sum(a) / nullif(count(*), 0)", 7 / 3), ("avg(b) filter (where a > 1)", 5.0), ("first(s order by a desc, s)", "y"),
        ("quantile_cont(b, 0.5)", 3.0), ("string_agg(s, ', ' order by s desc)", "y, x"), ("arg_max(s, b)", "x"),
        ("max(a) - min(a)", 2), ("sum(a * 2) + sum(a * 2)", Decimal(28)), ("max(upper(s))", "Y"), ("bool_or(a > 2)", True),
        ("round(avg(a), 1)", 2.3), ("case when count(*) > 2 then 'many' else 'few' end", "many"), ("mode(a)", 3),
        ("list(s order by s)", ["x", "y", None]), ("count_if(a > 1)", 2), ("arg_max(a, a, 2)", [3, 3]), ("wavg(a, b)", 16 / 6),
    ],
)  # fmt: skip
def test_a_measure_gives_what_its_sql_says(text: str, expected: Any, session: KernelSession) -> None:
    found = result(compile_aggregate(text, SCHEMA, session), session, ROWS)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_a_call_is_taken_apart() -> None:
    measure = compile_aggregate("string_agg(distinct upper(s), ',' order by upper(s) desc) filter (where a > 1)", SCHEMA)
    (call,) = measure.calls
    assert (call.function, call.distinct, call.parameters, call.type) == ("string_agg", True, ("','",), pa.string())
    assert [argument.sql for argument in call.arguments] == ['upper("s")']
    assert [(key.sql, down) for key, down in call.order] == [('upper("s")', True)]
    assert call.where is not None
    assert call.where.columns == ("a",)
    assert measure.columns == ("s", "a")


def test_whole_numbers_add_up_without_overflow() -> None:
    measure = compile_aggregate("sum(a)", SCHEMA)
    assert measure.type == measure.calls[0].type == pa.decimal128(38, 0)
    assert "DECIMAL(38,0)" in measure.post.sql


def test_a_repeated_call_is_made_once() -> None:
    assert len(compile_aggregate("sum(a) / sum(A) + count(*)", SCHEMA).calls) == 2


@pytest.mark.parametrize(
    ("text", "dependent"),
    [
        ("first(s)", True), ("first(s order by t)", False), ("last(s)", True), ("any_value(s)", True), ("list(s)", True),
        ("array_agg(s order by t)", False), ("string_agg(s, ',')", True), ("group_concat(s)", True), ("sum(a)", False),
        ("arg_max(s, t)", False), ("mode(s)", False), ("max(s)", False), ("count(*) + length(first(s))", True),
    ],
)  # fmt: skip
def test_a_measure_that_depends_on_the_order_of_rows_is_known(text: str, dependent: bool) -> None:
    assert compile_aggregate(text, SCHEMA).order_dependent is dependent


def test_equal_candidates_are_settled_by_the_value_itself(session: KernelSession) -> None:
    measure = compile_aggregate("arg_max(s, a)", SCHEMA, session)
    rows = [{"a": 3, "s": "z"}, {"a": 3, "s": "m"}, {"a": 1, "s": "a"}]
    assert result(measure, session, rows) == result(measure, session, rows[::-1]) == "m"


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("a + sum(b)", "'a' stands outside", "max(a)"), ("upper(s)", "'s' stands outside", None),
        ("1", "needs an aggregate", "sum"),
        ("sum(sum(a))", "do not nest", "two steps"), ("sum(a) over ()", "window function", None),
        ("cont(a)", "unknown function", "count"),
        ("sum(nope)", "unknown column 'nope'", None), ("sum(s)", "sum(VARCHAR)", None), ("(select sum(a))", "subquery", None),
        ("sum(random())", "another result", None), ("first(s order by t nulls first)", "nulls last", None),
        ("sum(a) filter (where s)", "true or false", None), ("reservoir_quantile(b, 0.5)", "another result", None),
        ("upper(distinct max(s))", "not an aggregate", None), ("count(*) + *", "a star", None),
    ],
)  # fmt: skip
def test_a_wrong_measure_is_refused_with_the_reason(text: str, reason: str, hint: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        compile_aggregate(text, SCHEMA)
    assert reason in caught.value.reason
    assert (hint or "") in (caught.value.hint or "")


def test_a_measure_is_text() -> None:
    with pytest.raises(InvalidExpression):
        compile_aggregate(5, SCHEMA)  # type: ignore[arg-type]
