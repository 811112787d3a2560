"""JSONPath over nested and JSON columns: RFC 9535's own test suite, typed columns, projections, both routes alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.errors import InvalidExpression, SpecError, UnknownColumn
from beam_datahub.kernels.expressions import Expression, compile_expression, error_mask_sql
from beam_datahub.kernels.expressions.typing import typing_session
from beam_datahub.kernels.functions import JSON_PATH, json_path
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON

Evaluate = Callable[..., list[Any]]
DOCUMENT = pa.schema([("doc", JSON)])


def nodes(expression: Expression, document: Any, session: KernelSession) -> list[Any]:
    """The nodes that a path over the column `doc` finds, singular or not."""
    session.put("input", pa.table({"doc": pa.ExtensionArray.from_storage(JSON, pa.array([json.dumps(document)]))}))
    found = session.query(f"SELECT {expression.sql} AS v FROM input")
    assert found.schema.field(0).type == expression.type
    value = found.column(0).to_pylist()[0]
    if pa.types.is_list(expression.type):
        return [json.loads(node) for node in value]
    return [] if value is None else [json.loads(value)]


def test_every_case_of_the_jsonpath_compliance_suite_holds(cases: Path, session: KernelSession) -> None:
    tests = json.loads((cases / "jsonpath-cts" / "cts.json").read_text("utf-8"))["tests"]
    routes = {"sql": 0, "library": 0}
    wrong: list[str] = []
    for case in tests:
        selector = case["selector"]
        # The suite's root is the column here, also where a filter refers to it.
        text = "$.doc" + re.sub(r"\$(?=[\[.=\])\s])", "$.doc", selector[1:]) if selector.startswith("$") else selector
        try:
            expression = compile_expression(text, DOCUMENT, session)
        except SpecError as error:
            if not (case.get("invalid_selector") and isinstance(error, InvalidExpression)):
                wrong.append(f"{case['name']}: {error}")
            continue
        if case.get("invalid_selector"):
            # What does not start like a path is read as another form, such as a string in SQL's quotes.
            if selector.startswith("$"):
                wrong.append(f"{case['name']}: {selector} was accepted")
            continue
        routes["library" if JSON_PATH in expression.sql else "sql"] += 1
        found = nodes(expression, case["document"], session)
        if found not in (case["results"] if "results" in case else [case["result"]]):
            wrong.append(f"{case['name']}: {selector} gave {found}")
    assert wrong == []
    assert min(routes.values()) > 40


names = st.sampled_from(["a", "b", "", "*", "a.b", "x y", 'q"q', "back\\slash", "ü", "#", "$", "0", "it's", "[0]", "n\nl"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.just(2**90) | st.floats(-5, 5) | st.sampled_from(["", "ü", '"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
steps = st.one_of(
    names.map(lambda name: "['" + name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "']"),
    st.integers(-4, 4).map(lambda index: f"[{index}]"),
    st.just("[*]"),
    st.tuples(st.integers(0, 3), st.none() | st.integers(0, 4)).map(
        lambda pair: f"[{pair[0]}:{'' if pair[1] is None else pair[1]}]"
    ),
)


@settings(max_examples=200, deadline=None)
@given(values, st.lists(steps, min_size=1, max_size=4))
def test_sql_finds_the_same_nodes_as_the_library(document: Any, path: list[str]) -> None:
    text = "$['doc']" + "".join(path)
    expression = compile_expression(text, DOCUMENT)
    expected = json.loads(json_path(pa.array([text]), pa.array([json.dumps({"doc": document})]))[0].as_py())
    assert nodes(expression, document, typing_session()) == expected


def test_a_singular_path_gives_the_value_or_null(evaluate: Evaluate) -> None:
    row = {"doc": '{"a": {"b c": [10, null]}, "d.e": "x"}', "customer": {"city": "Bonn"}}
    assert evaluate("$.doc.a['b c'][0]", row, {}) == ["10", None]
    assert evaluate("$.doc.a['b c'][1]", row) == ["null"]
    assert evaluate("$.doc.a['b c'][2]", row) == [None]
    assert evaluate("$.doc['d.e']", row) == ['"x"']
    assert evaluate("$.customer.city", row, {}) == ["Bonn", None]
    assert evaluate("$.CUSTOMER.City", row) == ["Bonn"]


def test_a_path_into_typed_columns_keeps_their_types(evaluate: Evaluate, schema: pa.Schema) -> None:
    row = {"items": [{"sku": "x", "qty": 1}, None, {"sku": None, "qty": 2}], "labels": [("k", 7)], "tags": [1, 2, 3]}
    assert evaluate("$.items[*].sku", row, {}) == [["x", None], []]
    assert evaluate("$.items[0].qty", row) == [1]
    assert evaluate("$.items[-1].qty", row) == [2]
    assert evaluate("$.tags[1:]", row) == [[2, 3]]
    assert evaluate("$.labels.k", row, {}) == [7, None]
    assert evaluate("$.labels.*", row) == [[7]]
    assert compile_expression("$.items[*].sku", schema).type == pa.list_(pa.string())
    assert compile_expression("$.customer.zip", schema).type == pa.int32()
    assert not compile_expression("$.items[*].sku", schema).can_fail


def test_a_filter_works_over_typed_and_json_columns(evaluate: Evaluate) -> None:
    row = {"items": [{"sku": "x", "qty": 1}, {"sku": "y", "qty": 2}], "doc": '[{"n": 1}, {"n": 1e22}, {"n": 3}]', "id": 2}
    assert evaluate("$.items[?@.qty > 1].sku", row, {}) == [['"y"'], []]
    assert evaluate("$.items[?@.qty == $.id].sku", row) == [['"y"']]
    assert evaluate("$.doc[?@.n > 1].n", row) == [["1e22", "3"]]
    assert evaluate("$..sku", row) == [['"x"', '"y"']]


def test_a_projection_builds_new_objects(evaluate: Evaluate, schema: pa.Schema) -> None:
    row = {
        "items": [{"sku": "x", "qty": 1}, None],
        "doc": '{"items": [{"productId": 1, "qty": 2, "price": {"net": 5}}, {"productId": null}, 7]}',
    }
    assert evaluate("$.doc.items[*].{id: productId, n: qty, net: price.net}", row, {}) == [
        ['{"id":1,"n":2,"net":5}', '{"id":null,"n":null,"net":null}'],
        [],
    ]
    assert evaluate("$.items[*].{product: sku, qty}", row) == [[{"product": "x", "qty": 1}]]
    assert evaluate("$.items[0].{qty}", row, {}) == [{"qty": 1}, None]
    assert evaluate("$.doc.items[?@.qty == 2].{id: productId}", row) == [['{"id":1}']]
    kind = compile_expression("$.items[*].{product: sku}", schema).type
    assert kind == pa.list_(pa.struct([("product", pa.string())]))


def test_the_root_is_the_row(evaluate: Evaluate, schema: pa.Schema) -> None:
    small = pa.schema([("a", pa.int64()), ("b", pa.string()), ("__dh_row", pa.int64())])
    assert evaluate("$", {"a": 1, "b": "x"}, schema=small) == [{"a": 1, "b": "x"}]
    assert evaluate("$.*", {"a": 1, "b": "x"}, schema=small) == [["1", '"x"']]
    assert compile_expression("$.*", small).columns == ("a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "$.doc.a", "$.doc[*]", "$.doc[*].a", "$.doc[1:]", "$.doc[?@.a]", "$..a", "$.doc.{a}", "$.doc[*].{a}", "$.*",
        "json_type(doc)", "to_json({'a': doc})", "json_array(doc)", "json_keys(doc)", "json_object('a', doc)", "doc->'$.a'",
        "doc->>'$'",
    ],
)  # fmt: skip
def test_damaged_json_fails_on_its_own_row_alone(text: str, session: KernelSession) -> None:
    expression = compile_expression(text, DOCUMENT, session)
    assert expression.can_fail
    documents = pa.ExtensionArray.from_storage(JSON, pa.array(['{"a": {"a": 1}}', "{oops", None, "", "[1]"]))
    session.put("input", pa.table({"doc": documents}))
    mask = session.query(f"SELECT {error_mask_sql(expression.sql)} AS failed FROM input").column(0).to_pylist()
    assert mask == [False, True, False, True, False]
    with pytest.raises(duckdb.Error, match="Malformed JSON"):
        session.query(f"SELECT {expression.sql} AS v FROM input")
    assert session.scalar("SELECT 1") == 1


def test_a_document_nested_beyond_the_library_fails_without_taking_others_along() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    found = json_path(pa.array(["$..a"] * 2), pa.array([deep, '{"a": 1}'])).to_pylist()
    assert found[1] == "[1]"
    with pytest.raises(json.JSONDecodeError):
        json.loads(found[0])


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("$.dco.a", "unknown column 'dco'", "did you mean 'doc'?"),
        ("$.customer.ctiy", "unknown column 'ctiy'", "did you mean 'city'?"),
        ("$.items.sku", "finds nothing at 'sku'", "[*]"),
        ("$.name.x", "finds nothing", "json"),
        ("$.doc[", "not JSONPath", "RFC 9535"),
        ("$.doc..", "not JSONPath", None),
        ("$.doc[?@.a", "not JSONPath", None),
        ("$doc", "not JSONPath", None),
        ("$.items[*].{a: sku, a: qty}", "two fields", None),
        ("$.items[*].{a: tags[*]}", "not one value", None),
        ("$.items.{sku}", "from a list", "[*]"),
    ],
)
def test_a_wrong_path_is_refused_with_the_reason(text: str, reason: str, hint: str | None, schema: pa.Schema) -> None:
    with pytest.raises((InvalidExpression, UnknownColumn)) as caught:
        compile_expression(text, schema)
    assert reason in caught.value.reason
    assert (hint or "") in (caught.value.hint or "")
