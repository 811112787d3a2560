"""The tests of a spec: given rows stand in for its sources, and what comes out is compared as a user means it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import InvalidValue, UnknownColumn
from beam_datahub.kernels.types import JSON
from beam_datahub.spec import loads
from beam_datahub.testing.expectations import TestOutcome, compare_rows, run_tests

SPEC = """\
name: shop
sources:
  orders:
    connector: csv
    connection: {path: nowhere.csv}
    schema: {id: bigint, customer: bigint, status: varchar, amount: "decimal(8,2)", at: timestamp, doc: json}
  customers: {connector: csv, connection: {path: customers.csv}}
transformations:
  - {id: ways, type: route, input: orders, config: {branches: {paid: status = 'paid'}, default: open}}
  - {id: who, type: enrichment, input: ways.paid, config: {with: customers, on: {customer: id}, add: [tier], missing: reject}}
destinations:
  - {id: out, input: who, connector: jsonl, connection: {path: out.jsonl}}
  - {id: rest, input: ways.open, connector: jsonl, connection: {path: rest.jsonl}}
max_rejected: 0
tests:
  - name: one
    given:
      orders:
        - {id: 1, customer: 7, status: paid, amount: 10.5, at: 2025-01-01, doc: {a: [1, 2]}}
        - {id: 2, status: open, amount: "1"}
      customers: [{id: 7, tier: gold}]
"""
ROW = '{id: 1, customer: 7, status: paid, amount: "10.50", at: "2025-01-01 00:00:00", doc: {a: [1, 2]}, tier: gold}'


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs the spec's only test with other expectations."""
    (tmp_path / "customers.csv").write_text("id,tier\n7,gold\n")

    def outcome(rest: str, spec: str = SPEC) -> TestOutcome:
        (found,) = run_tests(loads(spec + rest, name="shop.yaml", folder=tmp_path))
        return found

    return outcome


def test_what_comes_as_expected_holds(run: Any) -> None:
    left = "{id: 2, customer: null, status: open, amount: 1, at: null, doc: null}"
    rest = f"    expect:\n      out: [{ROW}]\n      ways.open: [{left}]\n"
    assert run(rest).problems == ()


def test_a_row_that_differs_stands_beside_the_expected_one(run: Any) -> None:
    found = run(f"    expect:\n      out: [{ROW.replace('gold', 'silver')}]\n")
    assert found.problems[0] == "out: 1 row expected, 1 came"
    assert found.problems[1].startswith("- {id: 1")
    assert found.problems[2].startswith("+ {id: 1")
    assert found.problems[3].strip() == 'tier: "silver" expected, "gold" came'


def test_columns_must_be_the_same(run: Any) -> None:
    (problem,) = run("    expect:\n      out: [{id: 1}]\n").problems
    assert problem == "out also has the columns customer, status, amount, at, doc, tier, which no expected row names"
    (problem,) = run(f"    expect:\n      out: [{ROW.replace('tier', 'teir')}]\n").problems
    assert problem == "out has no column 'teir'; did you mean 'tier'?"


def test_a_budget_for_rejected_records_does_not_spoil_a_test_of_them(run: Any) -> None:
    spec = SPEC.replace("customers: [{id: 7, tier: gold}]", "customers: []")
    assert run("    rejected: 1\n    expect: {out: []}\n", spec).holds
    assert run("    rejected: [{step: who, reason: missing_reference, message: no row of}]\n", spec).holds
    found = run("    rejected: [{step: who, reason: cast_failed}]\n", spec)
    assert [line[:2] for line in found.problems] == ["re", "- ", "+ "]
    assert run("    rejected: 0\n", spec).problems[0] == "rejected: 0 records expected, 1 came"


def test_a_given_value_of_another_type_is_rejected_like_one_of_the_source(run: Any) -> None:
    spec = SPEC.replace("amount: 10.5,", "amount: much,")
    assert run("    rejected: [{step: orders, reason: type_mismatch, column: amount}]\n    expect: {out: []}\n", spec).holds


def test_a_given_column_that_the_source_lacks_is_an_error(run: Any) -> None:
    with pytest.raises(UnknownColumn) as caught:
        run("    rejected: 0\n", SPEC.replace("amount: 10.5,", "amuont: 10.5,"))
    assert caught.value.hint == "did you mean 'amount'?"
    assert caught.value.place is not None
    assert caught.value.place.line == 19


def test_a_source_whose_columns_nobody_knows_is_an_error(tmp_path: Path) -> None:
    spec = SPEC.replace("customers: [{id: 7, tier: gold}]", "customers: []")
    with pytest.raises(InvalidValue, match="the columns of 'customers' are not known"):
        run_tests(loads(spec + "    rejected: 0\n", folder=tmp_path))


def test_a_route_as_a_whole_gives_no_rows(run: Any) -> None:
    found = run("    expect: {ways.open: []}\n")
    assert found.problems[0] == "ways.open: 0 rows expected, 1 came"


@pytest.mark.parametrize(
    ("kind", "came", "expected"),
    [
        (pa.float64(), 0.1 + 0.2, 0.3),
        (pa.float64(), 3.0, 3),
        (pa.decimal128(8, 2), Decimal("3.10"), 3.1),
        (pa.decimal128(8, 2), Decimal("3.10"), "3.1"),
        (pa.int64(), 5, 5.0),
        (pa.bool_(), True, True),
        (pa.date32(), date(2025, 1, 31), "2025-01-31"),
        (pa.timestamp("us", "UTC"), "2025-01-31T12:00:00", "2025-01-31T13:00:00+01:00"),
        (pa.timestamp("us"), "2025-01-31T00:00:00", date(2025, 1, 31)),
        (JSON, '{"b": 1, "a": [1.0]}', {"a": [1], "b": 1}),
        (pa.list_(pa.struct([("d", pa.date32())])), [{"d": date(2025, 1, 1)}], [{"d": "2025-01-01"}]),
        (pa.string(), None, None),
    ],
)
def test_values_are_compared_by_what_they_mean(kind: pa.DataType, came: Any, expected: Any) -> None:
    assert compare_rows("out", _table(kind, came), [{"v": expected}]) == []


@pytest.mark.parametrize(
    ("kind", "came", "expected"),
    [
        (pa.int64(), 1, True),
        (pa.bool_(), True, 1),
        (pa.string(), "1", 1),
        (pa.string(), "", None),
        (pa.int64(), 1, "one"),
        (pa.decimal128(20, 2), Decimal("123456789012345.67"), "123456789012345.68"),
        (JSON, '{"a": "1"}', {"a": 1}),
    ],
)
def test_values_that_mean_something_else_differ(kind: pa.DataType, came: Any, expected: Any) -> None:
    assert compare_rows("out", _table(kind, came), [{"v": expected}]) != []


def test_rows_count_as_often_as_they_come() -> None:
    table = pa.table({"v": [1, 1, 2]})
    assert compare_rows("out", table, [{"v": 1}, {"v": 2}, {"v": 1}]) == []
    assert compare_rows("out", table, [{"v": 1}, {"v": 2}, {"v": 2}]) != []


def _table(kind: pa.DataType, value: Any) -> pa.Table:
    if kind == JSON:
        return pa.table({"v": pa.ExtensionArray.from_storage(JSON, pa.array([value], pa.string()))})
    if pa.types.is_timestamp(kind):
        return pa.table({"v": pa.array([value], pa.string()).cast(pa.timestamp("us")).cast(kind)})
    return pa.table({"v": pa.array([value], kind)})
