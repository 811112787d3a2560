"""Every example of every transformation, as the docs show it, through the real pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.config import Example
from beam_datahub.component.registry import component, names
from beam_datahub.testing.steps import as_table, run_step


def examples() -> Iterator[Any]:
    for name in names("transform"):
        for number, example in enumerate(component("transform", name).examples):
            yield pytest.param(name, example, id=f"{name}-{number}")


def comparable(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def typed(rows: list[dict[str, Any]], like: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows as written in an example, with the types that the output has."""
    from beam_datahub.kernels.types import sql_type

    for row in rows:
        assert set(row) <= set(schema.names)
    return as_table(rows, {field.name: sql_type(field.type) for field in schema}).select(schema.names).to_pylist()


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_an_example_gives_what_it_says(name: str, example: Example) -> None:
    assert example.given is not None
    assert example.expect is not None
    found = run_step(name, example.config, example.given, schema=example.schema, window=example.window)
    expected = example.expect if isinstance(example.expect, dict) else {"": example.expect}
    for branch, rows in expected.items():
        came = found.branches[branch] if branch else found.rows
        assert comparable(came) == comparable(typed(rows, came, found.schema))
    assert {record["reason"] for record in found.rejected} == set(example.rejected)


def test_every_type_that_can_refuse_a_row_shows_so() -> None:
    """A reader of the reference sees what a refused row looks like."""
    refusing = {
        "mapping",
        "filtering",
        "cast",
        "validation",
        "enrichment",
        "aggregation",
        "flatten",
        "normalise",
        "route",
        "python",
    }
    shown = {name for name in names("transform") if any(example.rejected for example in component("transform", name).examples)}
    assert refusing <= shown
