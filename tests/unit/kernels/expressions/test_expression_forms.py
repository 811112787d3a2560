"""The four forms of an expression, literals, and what is refused."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.errors import InvalidExpression, SpecError, UnknownColumn
from beam_datahub.kernels.expressions import compile_expression, compile_predicate
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON

Evaluate = Callable[..., list[Any]]


def test_a_field_is_the_column_however_its_letters_are_cased(schema: pa.Schema) -> None:
    for text in ("Country", "country", "COUNTRY", " country "):
        found = compile_expression(text, schema)
        assert (found.sql, found.columns, found.is_column, found.can_fail) == ('"Country"', ("Country",), True, False)


def test_a_column_spelt_exactly_wins_over_one_that_differs_in_case() -> None:
    schema = pa.schema([("ID", pa.int64()), ("id", pa.string())])
    assert compile_expression("id", schema).type == pa.string()
    assert compile_expression("ID", schema).type == pa.int64()


def test_a_column_with_a_space_is_a_field(evaluate: Evaluate) -> None:
    assert evaluate("full name", {"full name": "Ada Lovelace"}) == ["Ada Lovelace"]


def test_a_column_named_like_the_clock_is_the_column(evaluate: Evaluate) -> None:
    schema = pa.schema([("current_date", pa.string())])
    assert evaluate("upper(current_date)", {"current_date": "x"}, schema=schema) == ["X"]


def test_sql_is_evaluated_and_typed(evaluate: Evaluate, schema: pa.Schema) -> None:
    assert evaluate("round(price * 2, 1)", {"price": 1.26}, {"price": None}) == [2.5, None]
    assert evaluate("case when paid then 'yes' else 'no' end", {"paid": True}, {}) == ["yes", "no"]
    assert evaluate("list_transform(tags, e -> e + id)", {"tags": [1, 2], "id": 10}) == [[11, 12]]
    assert evaluate("(doc->'$.a')->>'$.b'", {"doc": '{"a": {"b": "x"}}'}) == ["x"]
    assert evaluate("customer.city", {"customer": {"city": "Bonn"}}) == ["Bonn"]
    assert evaluate("day + interval 1 day", {"day": datetime.date(2024, 2, 28)}) == [datetime.datetime(2024, 2, 29)]
    assert compile_expression("id + price", schema).columns == ("id", "price")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1::hugeint", pa.decimal128(38, 0)),
        ("'6f9619ff-8b86-d011-b42d-00c04fc964ff'::uuid", pa.string()),
        ("list_sum(tags)", pa.decimal128(38, 0)),
        ("seen::timestamp_ns", pa.timestamp("us")),
        ("null", pa.string()),
        ("[null]", pa.list_(pa.string())),
        ("to_json(customer)", JSON),
        ("day", pa.date32()),
        ("interval 1 day", pa.month_day_nano_interval()),
        ("encode(name)", pa.binary()),
    ],
)
def test_the_type_is_one_that_edges_use(text: str, kind: pa.DataType, evaluate: Evaluate, schema: pa.Schema) -> None:
    assert compile_expression(text, schema).type == kind
    evaluate(text, {"tags": [1, 2], "seen": datetime.datetime(2024, 1, 1)})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("name", "name"),
        ("${not.a.template}", "${not.a.template}"),
        (5, 5),
        (2**80, Decimal(2**80)),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ([1, 2], [1, 2]),
        ([1, None], [1, None]),
        ([], []),
        ({"a": 1, "b": {"c": ["x"]}}, {"a": 1, "b": {"c": ["x"]}}),
        ([1, "a"], '[1, "a"]'),
        ({}, "{}"),
        ([{"a": 1}, {"b": 2}], '[{"a": 1}, {"b": 2}]'),
        (Decimal("1.50"), Decimal("1.50")),
        (datetime.date(2024, 2, 29), datetime.date(2024, 2, 29)),
        (datetime.datetime(2024, 2, 29, 1, 2, 3), datetime.datetime(2024, 2, 29, 1, 2, 3)),
        (b"\x00\xff", b"\x00\xff"),
        ("it's", "it's"),
    ],
)
def test_a_literal_is_what_it_looks_like(value: Any, expected: Any, evaluate: Evaluate) -> None:
    assert evaluate({"value": value}) == [expected]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_any_text_is_a_literal(text: str) -> None:
    from beam_datahub.kernels.expressions.typing import typing_session

    found = compile_expression({"value": text}, pa.schema([]))
    assert typing_session().scalar(f"SELECT {found.sql}") == text


def test_a_template_puts_in_nothing_for_a_null(evaluate: Evaluate) -> None:
    rows = ({"name": "Ada", "Country": "uk"}, {"name": "Ada"}, {})
    assert evaluate("${name} (${upper(country)})", *rows) == ["Ada (UK)", "Ada ()", " ()"]


def test_a_template_takes_paths_and_braces(evaluate: Evaluate) -> None:
    row = {"doc": '{"city": "Köln", "n": 5}', "id": 3}
    assert evaluate("${$.doc.city}-${$.doc.n}-${{'a': id}.a}-$${x}", row) == ["Köln-5-3-${x}"]


TEMPLATE_COLUMNS = ("name", "Country", "full name")


@given(
    st.lists(
        st.one_of(
            st.sampled_from(TEMPLATE_COLUMNS).map(lambda name: (True, name)), st.tuples(st.just(False), st.text("ab'\" $\\"))
        )
    ),
    st.fixed_dictionaries({name: st.none() | st.text("xyz'\" ") for name in TEMPLATE_COLUMNS}),
)
def test_a_template_is_its_texts_and_values_in_a_row(parts: list[tuple[bool, str]], row: dict[str, str | None]) -> None:
    from beam_datahub.kernels.expressions.typing import typing_session

    text = "".join(f"${{{part}}}" if is_value else part.replace("$", "$ ") for is_value, part in parts)
    if "${" not in text:
        return
    schema = pa.schema([(name, pa.string()) for name in TEMPLATE_COLUMNS])
    session = typing_session()
    session.put("input", pa.Table.from_pylist([row], schema=schema))
    found = session.query(f"SELECT {compile_expression(text, schema).sql} AS v FROM input").column(0).to_pylist()
    session.drop("input")
    assert found == ["".join((row[part] or "") if is_value else part.replace("$", "$ ") for is_value, part in parts)]


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("nmae", "unknown column 'nmae'", "did you mean 'name'?"),
        ("upper(nmae)", "unknown column 'nmae'", "did you mean 'name'?"),
        ("customer.ctiy", "unknown column 'customer.ctiy'", "did you mean 'customer.city'?"),
        ("uper(name)", "unknown function 'uper'", "did you mean 'upper'?"),
        ("doc.city", "'doc' is JSON", "write $.doc.city"),
        ("labels.x", "'labels' is a map", "write $.labels.x"),
        ("upper(id)", "upper(BIGINT)", "cast"),
        ("name > 3", "cannot compare values of type VARCHAR and type INTEGER", "cast"),
        ("doc->'$.a' = 'x'", "binds less tightly", "(doc -> 'a')"),
        ("doc->'$.a'->>'$.b'", "binds less tightly", "$.doc.a"),
        ("(doc->'$.a') = 'x'", "JSON is compared", "->>"),
        ("cast('x' as int)", "could not convert string 'x'", None),
        ("day >= 'soon'", "'soon' is no date", None),
        ("id in (1, 'x')", "'x' is no bigint", None),
        ("1 +", "syntax error near", "column"),
        ("", "empty", "value"),
        ("'x", "unterminated", None),
        ("id; select 2", "several statements", "without `;`"),
        ("id;", "several statements", None),
        ("id from input", "a query", None),
        ("id limit 1", "a query", None),
        ("id, name", "several values", None),
        ("id as x", "names its result", None),
        ("(select 1)", "a subquery", "join"),
        ("exists(select 1)", "a subquery", None),
        ("id in (select 1)", "a subquery", None),
        ("id = any(tags)", "a subquery", "list_contains"),
        ("sum(id)", "an aggregate", "aggregation"),
        ("count(*)", "an aggregate", None),
        ("sum(id) over ()", "a window function", None),
        ("row_number() over ()", "a window function", None),
        ("unnest(tags)", "several rows", "flatten"),
        ("*", "a star", None),
        ("columns('a')", "a star", None),
        ("#1", "by position", None),
        ("?", "prepared", None),
        ("id -- comment\n; drop table x", "a statement", None),
        ("now()", "another result", "parameter"),
        ("current_date", "another result", "parameter"),
        ("current_timestamp", "another result", None),
        ("today()", "another result", None),
        ("age(seen)", "counts from today", None),
        ("random()", "another result", "md5"),
        ("uuid()", "another result", None),
        ("gen_random_uuid()", "another result", None),
        ("nextval('s')", "no files", None),
        ("getenv('HOME')", "no files", "env"),
        ("current_setting('threads')", "no files", None),
        ("getvariable('x')", "no files", None),
        ("read_text('/etc/passwd')", "no files", None),
        ("sleep_ms(5)", "no files", None),
        ("current_user", "no files", None),
        ("main.upper(name)", "'main.upper' is not allowed", "upper(…)"),
        ("name.upper()", "'name.upper' is not allowed", "upper(…)"),
        ("list_aggregate(tags, name)", "aggregate of a list", None),
        ("list_reduce(tags, lambda a, b: a + b)", "empty list", "start"),
        ("timezone(name, seen)", "the same for all rows", None),
        ("name::nonsense", "nonsense", None),
        ("pragma_version()", "unknown function", None),
        ("copy (select 1) to 'x'", "syntax error", None),
        ("lambda x: x", "lambda", None),
        ("error('x')", "unknown function", None),
        ("${name", "not closed", "}"),
        ("${}", "empty", None),
    ],
)
def test_what_is_wrong_or_not_allowed_is_refused_with_the_reason(
    text: str, reason: str, hint: str | None, schema: pa.Schema
) -> None:
    with pytest.raises(SpecError) as caught:
        compile_expression(text, schema)
    assert isinstance(caught.value, UnknownColumn | InvalidExpression)
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason
    assert "LINE" not in caught.value.reason
    assert (hint or "") in (caught.value.hint or "")


@pytest.mark.parametrize("value", [{"a": 1}, [1], {"value": 1, "x": 2}, {"value": object()}])
def test_other_values_are_refused(value: Any, schema: pa.Schema) -> None:
    with pytest.raises(InvalidExpression):
        compile_expression(value, schema)


def test_a_condition_must_be_true_or_false(schema: pa.Schema) -> None:
    with pytest.raises(InvalidExpression, match="true or false"):
        compile_predicate("id", schema)
    assert compile_predicate("paid", schema).is_column
    assert compile_predicate(True, schema).sql == "true"


def test_an_expression_reaches_no_file_even_if_one_slipped_through(session: KernelSession) -> None:
    import duckdb

    for sql in (
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET threads = 1",
        "ATTACH '/tmp/x.db'",
    ):
        with pytest.raises(duckdb.Error):
            session.query(sql)


def test_a_lambda_parameter_hides_a_column_of_its_name(evaluate: Evaluate, schema: pa.Schema) -> None:
    assert evaluate("list_transform(tags, lambda id: id + 1)", {"tags": [1], "id": 100}) == [[2]]
    assert compile_expression("list_transform(tags, lambda ID: id + 1)", schema).columns == ("tags",)
