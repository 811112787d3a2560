"""A wrong spec fails before anything runs, at its line, with everything that is wrong in one go."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan
from beam_datahub.errors import CyclicSteps, DataHubError, ErrorGroup, InvalidValue, UnknownColumn, UnknownName, UnusedStep
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import loads

ORDERS = pa.table({"id": [1], "amount": [2.5], "country": ["de"], "customer_id": [7]})
CUSTOMERS = pa.table({"id": [7], "email": ["a@example.org"]})

HEAD = """\
name: shop
sources:
  orders: {connector: inline, connection: {}, rows: []}
  customers: {connector: inline, connection: {}, rows: []}
transformations:
"""
TAIL = """\
destinations:
  - {id: out, connector: console, connection: {}}
"""


def plan(steps: str, tail: str = TAIL) -> Plan:
    sources = {"orders": RowsSource(ORDERS), "customers": RowsSource(CUSTOMERS)}
    return build(loads(HEAD + steps + tail, name="shop.yaml"), BuildOptions(sources=sources))


def failures(steps: str, tail: str = TAIL) -> list[DataHubError]:
    with pytest.raises(DataHubError) as caught:
        plan(steps, tail)
    return list(caught.value.errors) if isinstance(caught.value, ErrorGroup) else [caught.value]


JOIN = """\
  - {id: both, type: join, input: [orders, customers], config: {"on": {customer_id: id}}}
"""


def test_every_edge_has_its_type() -> None:
    step = "  - {id: sums, type: aggregation, config: {by: [country], measures: {n: count(*), total: sum(amount)}}}\n"
    assert plan(JOIN + step).nodes["sums"].schema == pa.schema(
        [("country", pa.string()), ("n", pa.int64()), ("total", pa.float64())]
    )


def test_a_misspelt_column_is_found_with_a_guess_at_its_line() -> None:
    (error,) = failures(JOIN + "  - id: f\n    type: filtering\n    config:\n      where: amuont > 1\n")
    assert isinstance(error, UnknownColumn)
    assert error.hint == "did you mean 'amount'?"
    assert error.place is not None
    assert (error.place.file, error.place.line) == ("shop.yaml", 10)


def test_all_errors_come_in_one_go() -> None:
    found = failures(
        JOIN + "  - {id: a, type: filtering, input: both, config: {where: amuont > 1}}\n"
        "  - {id: b, type: fliter, input: both, config: {}}\n"
        "  - {id: c, type: mapping, input: both, config: {fields: {x: amount + country}, feilds: 1}}\n"
    )
    assert [error.place.line for error in found if error.place] == [7, 8, 9]
    assert isinstance(found[1], UnknownName)
    assert found[1].hint == "did you mean 'filtering'?"


def test_a_cycle_is_printed() -> None:
    found = failures(
        JOIN + "  - {id: a, type: union, input: [both, b], config: {}}\n"
        "  - {id: b, type: filtering, input: a, config: {where: 'true'}}\n"
    )
    (cycle,) = [error for error in found if isinstance(error, CyclicSteps)]
    assert cycle.reason == "the steps form a cycle: a → b → a"


def test_a_step_that_leads_nowhere_is_an_error() -> None:
    (error,) = failures("  - {id: f, type: filtering, input: orders, config: {where: amount > 1}}\n")
    assert isinstance(error, UnusedStep)
    assert "'customers' reaches no destination" in error.reason


def test_a_branch_that_leads_nowhere_is_an_error() -> None:
    route = "  - {id: r, type: route, input: both, config: {branches: {big: amount > 1}, default: small}}\n"
    tail = "destinations:\n  - {id: out, connector: console, connection: {}, input: r.big}\n"
    (error,) = failures(JOIN + route, tail)
    assert "'r.small' reaches no destination" in error.reason


def test_a_route_is_taken_by_its_branch() -> None:
    route = "  - {id: r, type: route, input: both, config: {branches: {big: amount > 1}, default: small}}\n"
    (error,) = failures(JOIN + route)
    assert isinstance(error, InvalidValue)
    assert error.hint == "take one of r.big, r.small"


def test_columns_that_differ_only_in_case_are_refused() -> None:
    (error,) = failures(JOIN + "  - {id: m, type: mapping, config: {fields: {Total: amount, total: amount}}}\n")
    assert "two columns called 'total'" in error.reason
    assert error.exit_status == 3


def test_a_write_mode_that_the_connector_lacks_is_refused() -> None:
    tail = "destinations:\n  - {id: out, connector: console, connection: {}, write_mode: merge}\n"
    (error,) = failures(JOIN, tail)
    assert "'console' cannot merge" in error.reason


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("connector: csv, connection: {path: out/a.csv}", "connector: csv, connection: {path: out/a.csv}", True),
        ("connector: csv, connection: {path: out/a}", "connector: csv, connection: {path: out/a/}", True),
        ("connector: csv, connection: {path: out/country=de}", "connector: csv, connection: {path: out/country=fr}", False),
        ("connector: sqlite, table: t, connection: {path: a.db}", "connector: sqlite, table: t, connection: {path: a.db}", True),
        ("connector: sqlite, table: t, connection: {path: a.db}", "connector: sqlite, table: u, connection: {path: a.db}", False),
    ],
)
def test_two_destinations_do_not_replace_the_same_place(first: str, second: str, refused: bool) -> None:
    step = "  - {id: x, type: filtering, input: orders, config: {where: id > 0}}\n"
    tail = (
        "destinations:\n"
        f"  - {{id: a, input: x, write_mode: overwrite, {first}}}\n"
        f"  - {{id: b, input: customers, write_mode: overwrite, {second}}}\n"
    )
    if not refused:
        assert plan(step, tail).nodes
        return
    (error,) = failures(step, tail)
    assert "'a' and 'b' overwrite the same place" in str(error)
    assert error.place is not None
