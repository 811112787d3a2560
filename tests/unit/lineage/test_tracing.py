"""Where the columns and rows of destinations come from, and of which kind the lineage is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.lineage.model import IntegrationLineage
from beam_datahub.lineage.tracing import lineage_of, step_lineage
from beam_datahub.spec import loads


@pytest.fixture
def shop(folder: Path) -> IntegrationLineage:
    return lineage_of(build(loads((folder / "shop.yaml").read_text())))


def of(lineage: IntegrationLineage, destination: str, column: str) -> set[tuple[str, str, str]]:
    return {
        (f"{each.source}.{each.column}", each.flow.kind, each.flow.subtype)
        for each in lineage.columns
        if each.destination == destination and each.into == column
    }


def one_step(step: str, schema: str = "{a: integer, b: integer, c: varchar}", **more: str) -> IntegrationLineage:
    spec = (
        f"name: n\nsource: {{name: s, connector: csv, connection: {{path: x.csv}}, schema: {schema}}}\n"
        f"transformations: [{step}]\n"
        "destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite}\n"
    )
    return lineage_of(build(loads(spec)))


def test_a_column_that_is_passed_on_is_the_same(shop: IntegrationLineage) -> None:
    assert of(shop, "lasts", "customer") == {("orders.customer", "DIRECT", "IDENTITY")}
    assert of(shop, "lasts", "tier") == {("customers.tier", "DIRECT", "IDENTITY")}


def test_an_expression_transforms_all_columns_that_go_into_it(shop: IntegrationLineage) -> None:
    both = {("orders.amount", "DIRECT", "TRANSFORMATION"), ("orders.qty", "DIRECT", "TRANSFORMATION")}
    assert of(shop, "lasts", "gross") == both
    made = {each.made for each in shop.columns if each.into == "gross"}
    assert [[(m.step, m.expression) for m in each] for each in made] == [[("priced", "round(amount * qty, 2)")]]


def test_a_condition_decides_and_does_not_go_in(shop: IntegrationLineage) -> None:
    assert of(shop, "lasts", "size") == {
        ("orders.qty", "INDIRECT", "CONDITIONAL"),
        ("orders.country", "DIRECT", "TRANSFORMATION"),
    }


def test_a_measure_is_an_aggregation_whatever_came_before(shop: IntegrationLineage) -> None:
    assert {kind for _, _, kind in of(shop, "daily_out", "revenue")} == {"AGGREGATION"}
    assert of(shop, "daily_out", "orders") == set()


def test_filters_joins_groups_and_order_decide_over_rows(shop: IntegrationLineage) -> None:
    def deciding(destination: str) -> set[tuple[str, str]]:
        return {(f"{r.source}.{r.column}", r.flow.subtype) for r in shop.rows if r.destination == destination}

    met = {("orders.status", "FILTER"), ("orders.customer", "JOIN"), ("customers.id", "JOIN")}
    assert deciding("daily_out") == {*met, ("orders.country", "GROUP_BY")}
    assert {*met, ("orders.customer", "GROUP_BY"), ("orders.amount", "WINDOW")} <= deciding("lasts")


def test_a_masked_column_says_so(folder: Path) -> None:
    masked = one_step("{type: mask, config: {fields: {c: email}}}")
    assert {(each.into, each.flow.masking) for each in masked.columns} == {("a", False), ("b", False), ("c", True)}


def test_a_query_of_ones_own_is_read(folder: Path) -> None:
    found = one_step(
        "{type: sql, config: {query: 'select c, sum(a) as total, max(b) over (partition by c) as most from input"
        " where b > 1 group by c, b'}}"
    )
    assert of(found, "out", "c") == {("s.c", "DIRECT", "IDENTITY")}
    assert of(found, "out", "total") == {("s.a", "DIRECT", "AGGREGATION")}
    assert of(found, "out", "most") == {("s.b", "DIRECT", "AGGREGATION"), ("s.c", "INDIRECT", "WINDOW")}
    assert {("b", "FILTER"), ("c", "GROUP_BY")} <= {(row.column, row.flow.subtype) for row in found.rows}


def test_a_route_decides_for_its_branches_only(folder: Path) -> None:
    spec = """\
name: n
source: {name: s, connector: csv, connection: {path: x.csv}, schema: {a: integer, b: integer}}
transformations:
  - {id: way, type: route, config: {branches: {one: a > 1, two: b > 1}, default: rest}}
destinations:
  - {id: first, input: way.one, connector: jsonl, connection: {path: 1.jsonl}}
  - {id: second, input: way.two, connector: jsonl, connection: {path: 2.jsonl}}
  - {id: third, input: way.rest, connector: jsonl, connection: {path: 3.jsonl}}
"""
    found = lineage_of(build(loads(spec)))
    deciding = {(row.destination, row.column) for row in found.rows}
    assert deciding == {("first", "a"), ("second", "a"), ("second", "b"), ("third", "a"), ("third", "b")}


def test_unpivoted_columns_all_go_into_the_value(folder: Path) -> None:
    found = one_step("{type: unpivot, config: {columns: [a, b], name: which, value: much}}")
    assert of(found, "out", "c") == {("s.c", "DIRECT", "IDENTITY")}
    assert of(found, "out", "much") == {("s.a", "DIRECT", "TRANSFORMATION"), ("s.b", "DIRECT", "TRANSFORMATION")}


def test_datasets_have_the_names_that_openlineage_gives_them(folder: Path) -> None:
    lineage = one_step("{type: filtering, config: {where: a > 1}}")
    (name,) = lineage.sources["s"].datasets
    assert (name.namespace, name.name) == ("file", str(folder / "x.csv"))


def test_steps_are_traced_too(folder: Path) -> None:
    found = step_lineage(build(loads((folder / "shop.yaml").read_text())))
    assert [origin for origin, _ in found["priced"]["gross"]] == [("orders", "amount"), ("orders", "qty")]


def test_plain_expressions_are_traced_without_the_parser_of_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "beam_datahub.lineage.queries", None)
    lineage = one_step("{id: m, type: mapping, config: {fields: {x: upper(c), y: a}}}")
    assert of(lineage, "out", "x") == {("s.c", "DIRECT", "TRANSFORMATION")}
    assert of(lineage, "out", "y") == {("s.a", "DIRECT", "IDENTITY")}
