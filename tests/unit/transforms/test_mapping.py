from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from beam_datahub.errors import DataHubError, InvalidValue, UnknownColumn
from beam_datahub.testing.steps import run_step

ROWS = [
    {"id": 1, "Name": "Ada", "amount": "12.5"},
    {"id": 2, "Name": "Bo", "amount": "x"},
    {"id": 3, "Name": None, "amount": None},
]


def test_kept_columns_come_first_and_a_field_takes_the_place_of_its_namesake() -> None:
    found = run_step(
        "mapping", {"keep": ["amount", "NAME"], "fields": {"twice": "id * 2", "name": "upper(name)"}}, {"input": ROWS}
    )
    assert found.schema.names == ["amount", "name", "twice"]
    assert found.rows[0] == {"amount": "12.5", "name": "ADA", "twice": 2}


def test_a_failing_expression_and_a_failing_conversion_have_their_own_reasons() -> None:
    config = {"fields": {"half": "10 / cast(amount as double)", "day": "name"}, "types": {"day": "date", "half": "decimal(4,2)"}}
    rows = [
        {"name": "2025-01-31", "amount": "4"},
        {"name": "2025-01-31", "amount": "x"},
        {"name": "never", "amount": "4"},
        {"name": None, "amount": "0.001"},
    ]
    found = run_step("mapping", config, {"input": rows})
    assert found.rows == [{"half": Decimal("2.50"), "day": datetime.date(2025, 1, 31)}]
    assert sorted((record["reason"], record["column"]) for record in found.rejected) == [
        ("cast_failed", "day"),
        ("cast_failed", "half"),
        ("expression_failed", "half"),
    ]


def test_fields_do_not_see_each_other() -> None:
    found = run_step("mapping", {"keep": "all", "fields": {"id": "id + 1", "next": "id + 1"}}, {"input": [{"id": 1}]})
    assert found.rows == [{"id": 2, "next": 2}]


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({}, InvalidValue, "makes no columns"),
        ({"fields": {"a": "id", "A": "id"}}, InvalidValue, "two columns called 'A'"),
        ({"fields": {"__dh_x": "id"}}, InvalidValue, "may start with"),
        ({"fields": {"a": "nmae"}}, UnknownColumn, "unknown column 'nmae'"),
        ({"keep": ["idd"]}, UnknownColumn, "unknown column 'idd'"),
        ({"fields": {"a": "id"}, "types": {"b": "date"}}, UnknownColumn, "unknown column 'b'"),
        ({"fields": {"a": "id"}, "drop": "id"}, InvalidValue, "`drop` goes with `keep: all`"),
    ],
)
def test_a_wrong_mapping_is_refused(config: dict[str, object], error: type[DataHubError], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        run_step("mapping", config, {"input": ROWS})
    assert "transformations[0].config" in str(raised.value)
