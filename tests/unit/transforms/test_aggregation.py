from __future__ import annotations

from decimal import Decimal

import pytest

from beam_datahub.errors import DataHubError, OrderDependent
from beam_datahub.testing.steps import run_step

ROWS = [
    {"shop": "Ulm", "item": "a", "n": 3, "price": "0.10"},
    {"shop": "Ulm", "item": "b", "n": None, "price": "0.20"},
    {"shop": "Ulm", "item": "a", "n": 5, "price": None},
    {"shop": None, "item": "c", "n": 1, "price": "0.30"},
    {"shop": None, "item": None, "n": 1, "price": "0.00"},
]
TYPES = {"input": {"shop": "varchar", "item": "varchar", "n": "bigint", "price": "decimal(10,2)"}}


@pytest.mark.parametrize("slice_rows", [None, 1, 2])
def test_measures_are_those_of_sql_however_the_rows_are_cut(slice_rows: int | None) -> None:
    measures = {
        "rows": "count(*)",
        "known": "count(n)",
        "items": "count(distinct item)",
        "total": "sum(price)",
        "mean": "avg(n)",
        "ratio": "sum(n) / nullif(count(*), 0)",
        "large": "sum(n) filter (where n > 2)",
        "last": "first(item order by n desc)",
        "all": "string_agg(item, ',' order by item)",
        "most": "arg_max(item, price)",
    }
    found = run_step("aggregation", {"by": "shop", "measures": measures}, {"input": ROWS}, schema=TYPES, slice_rows=slice_rows)
    rows = {row.pop("shop"): row for row in found.rows}
    assert rows["Ulm"] == {
        "rows": 3,
        "known": 2,
        "items": 2,
        "total": Decimal("0.30"),
        "mean": 4.0,
        "ratio": 8 / 3,
        "large": 8,
        "last": "a",
        "all": "a,a,b",
        "most": "b",
    }
    assert rows[None]["total"] == Decimal("0.30")
    assert rows[None]["large"] is None
    assert found.schema.names == ["shop", *measures]


def test_ties_in_an_order_inside_an_aggregate_are_settled_by_the_value() -> None:
    rows = [{"v": v, "t": 1} for v in ("b", "c", "a")]
    config = {"measures": {"first": "first(v order by t)", "all": "string_agg(v, '' order by t desc)"}}
    for turned in (rows, rows[::-1]):
        assert run_step("aggregation", config, {"input": turned}).rows == [{"first": "a", "all": "abc"}]


def test_keys_can_be_named_expressions_in_every_form() -> None:
    by = ["shop", "half: n // 2", {"big": "n > 2"}]
    found = run_step("aggregation", {"by": by, "measures": {"rows": "count(*)"}}, {"input": ROWS}, schema=TYPES)
    assert found.schema.names == ["shop", "half", "big", "rows"]
    assert len(found.rows) == 4
    assert run_step("aggregation", {"by": "shop"}, {"input": ROWS}, schema=TYPES).schema.names == ["shop"]


def test_measures_and_keys_may_share_names_with_columns_of_the_input() -> None:
    config = {"by": ["n: coalesce(n, 0)"], "measures": {"shop": "count(shop)", "item": "max(n)", "price": "sum(n)"}}
    found = run_step("aggregation", config, {"input": ROWS}, schema=TYPES)
    assert {row["n"]: (row["shop"], row["item"], row["price"]) for row in found.rows} == {
        3: (1, 3, 3),
        0: (1, None, None),
        5: (1, 5, 5),
        1: (0, 1, 2),
    }


@pytest.mark.parametrize("measure", ["first(item)", "list(item)", "string_agg(item, ',')", "any_value(item)"])
def test_a_measure_that_depends_on_the_order_of_the_rows_is_refused(measure: str) -> None:
    with pytest.raises(OrderDependent, match="depends on the order") as raised:
        run_step("aggregation", {"measures": {"m": measure}}, {"input": ROWS}, schema=TYPES)
    assert "order by" in str(raised.value.hint)
    assert "config.measures.m" in str(raised.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "nothing to compute"),
        ({"by": "shp"}, "unknown column 'shp'"),
        ({"by": ["upper(shop)"]}, "unknown column"),
        ({"by": "shop", "measures": {"shop": "count(*)"}}, "two columns called 'shop'"),
        ({"measures": {"m": "sum(nn)"}}, "unknown column 'nn'"),
        ({"measures": {"m": "n"}}, "outside an aggregate"),
        ({"measures": {"m": "sume(n)"}}, "unknown function 'sume'"),
    ],
)
def test_a_wrong_aggregation_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("aggregation", config, {"input": ROWS}, schema=TYPES)


def test_an_empty_input_gives_no_groups() -> None:
    found = run_step("aggregation", {"by": "n", "measures": {"s": "sum(n)"}}, {"input": []}, schema={"input": {"n": "integer"}})
    assert found.rows == []
    assert found.schema.names == ["n", "s"]
