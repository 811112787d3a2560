"""A source of several tables is a chain for each of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.errors import DataHubError
from beam_datahub.spec import loads
from beam_datahub.testing import oracle

TABLES = """
create table orders (id integer primary key, customer text);
create table "order lines" (order_id bigint, line bigint, sku text, primary key (line, order_id));
create table customers (id integer primary key, email text);
create table log (said text);
create view all_orders as select * from orders;
insert into orders values (1, 'ada'), (2, 'bob');
insert into "order lines" values (1, 1, 'x');
"""
SPEC = """
name: replica
source: {name: shop, connector: sqlite, connection: {path: shop.sqlite}, SOURCE}
DESTINATION
"""
TO = (
    'destination: {id: copy, connector: sqlite, connection: {path: copy.sqlite}, table: "${table}", write_mode: merge, '
    'key: "${key}"}'
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a database of some tables."""
    with sqlite3.connect(tmp_path / "shop.sqlite") as file:
        file.executescript(TABLES)
    file.close()
    return tmp_path


def plan_of(shop: Path, source: str, rest: str = TO) -> Plan:
    """The plan of a spec with this source."""
    return build(loads(SPEC.replace("SOURCE", source).replace("DESTINATION", rest), folder=shop))


def writes(plan: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Where each destination writes, and by which key."""
    return {
        node.id: (node.operator.sink.options.table, node.operator.request.key)
        for node in plan
        if isinstance(node.operator, Write) and not node.operator.dead_letter
    }


def test_each_table_goes_to_a_table_of_its_name_by_its_own_key(shop: Path) -> None:
    plan = plan_of(shop, 'tables: "*", exclude: log')
    assert writes(plan) == {
        "copy.customers": ("customers", ("id",)),
        "copy.order_lines": ("order lines", ("order_id", "line")),
        "copy.orders": ("orders", ("id",)),
    }
    assert {name: plan.nodes[f"copy.{name}"].inputs for name in ("orders", "order_lines")} == {
        "orders": ("shop.orders",),
        "order_lines": ("shop.order_lines",),
    }
    assert plan.nodes["shop.order_lines"].schema.names == ["order_id", "line", "sku"]


def test_steps_rules_and_branches_behind_it_are_made_for_each_table(shop: Path) -> None:
    rest = """
transformations:
  - {id: kept, type: filtering, config: {where: id > 1}}
  - {id: parts, type: route, config: {branches: {even: id % 2 = 0}, default: odd}}
destinations:
  - {id: copy, input: parts.odd, connector: sqlite, connection: {path: "${table}.sqlite"}, table: t}
  - {id: all, input: shop.orders, connector: jsonl, connection: {path: orders.jsonl}}
  - {id: even, input: parts.even, connector: jsonl, connection: {path: "even/${table}"}}
quality_rules:
  - {name: has ids, step: kept, type: completeness, field: id}
"""
    plan = plan_of(shop, "tables: [orders, customers]", rest)
    assert plan.nodes["copy.customers"].inputs == ("parts.customers.odd",)
    assert plan.nodes["even.orders"].inputs == ("parts.orders.even",)
    assert plan.nodes["all"].inputs == ("shop.orders",)
    assert [(rule.name, rule.step) for rule in plan.rules] == [
        ("has ids (orders)", "kept.orders"),
        ("has ids (customers)", "kept.customers"),
    ]


def test_a_run_copies_all_tables(shop: Path) -> None:
    path = shop / "spec.yaml"
    path.write_text(SPEC.replace("SOURCE", 'tables: ["order*", customers]').replace("DESTINATION", TO))
    assert oracle.run_spec(path, {}).status == "completed"
    with sqlite3.connect(shop / "copy.sqlite") as file:
        assert file.execute("select * from orders order by 1").fetchall() == [(1, "ada"), (2, "bob")]
        assert file.execute('select * from "order lines"').fetchall() == [(1, 1, "x")]
        assert file.execute("select count(*) from customers").fetchall() == [(0,)]
    file.close()


@pytest.mark.parametrize(
    ("source", "rest", "expected", "hint"),
    [
        ('tables: "*"', TO, "the table 'log' has no primary key for `key: ${key}`", "leave it out with `exclude`"),
        ("tables: [crm, orders]", TO, "no table matches 'crm'", "there are customers, log, order lines, orders"),
        ('tables: log, exclude: "l*"', TO, "the tables that match 'log' are all excluded", "there are customers"),
        ('tables: "*", table: orders', TO, "needs a `table`, a `query` or `tables`, and just one", ""),
        ("table: orders, exclude: log", TO, "has `exclude`, which goes with `tables`", ""),
        (
            'tables: "*", schema: {id: bigint}',
            TO,
            "the source 'shop' reads several tables, which have columns",
            "leave out `schema`",
        ),
        (
            "tables: [orders, customers]",
            TO.replace('"${table}"', "t"),
            "'orders' and 'customers' would be written to the same place",
            "`table: ${table}`",
        ),
        ("tables: [orders, customers], incremental: email", TO, "orders: unknown column 'email'", ""),
    ],
)
def test_what_is_wrong_is_told_with_the_name_of_the_table(shop: Path, source: str, rest: str, expected: str, hint: str) -> None:
    with pytest.raises(DataHubError) as error:
        plan_of(shop, source, rest)
    assert expected in str(error.value)
    assert hint in (error.value.hint or "")
    assert error.value.place is not None
    assert error.value.place.line is not None


def test_a_step_that_needs_two_sources_names_one_table_of_each(shop: Path) -> None:
    spec = """
name: both
sources:
  a: {connector: sqlite, connection: {path: shop.sqlite}, tables: "*"}
  b: {connector: sqlite, connection: {path: shop.sqlite}, tables: "o*"}
transformations:
  - {id: joined, type: union, input: [INPUT]}
destination: {connector: jsonl, connection: {path: out}}
"""
    with pytest.raises(DataHubError, match="'joined' hangs on 'a' and 'b', which both read several tables"):
        build(loads(spec.replace("INPUT", "a, b"), folder=shop))
    assert build(loads(spec.replace("INPUT", "a.orders, b.orders"), folder=shop)).nodes["joined"].inputs == (
        "a.orders",
        "b.orders",
    )
