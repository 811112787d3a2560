"""Summarises groups of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import pyarrow as pa
from pydantic import BeforeValidator

from beam_datahub.component.columns import find_column, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.grouping import Grouping, compile_measure, named_expressions
from beam_datahub.component.operators import Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.types import visible
from beam_datahub.kernels.windows import END, START


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


class AggregationConfig(Config):
    """Options of an aggregation."""

    by: Annotated[tuple[str | dict[str, str], ...], BeforeValidator(_listed)] = ()
    """What makes a group: columns, and computed keys written `name: expression`. Nulls make a group of their own. Without
    it, all rows are one group, and there is a row even when there are no rows."""

    measures: dict[str, str] = {}
    """The output columns after the keys: name → aggregate expression, as `count(*)`, `sum(total)`, `count(distinct id)`,
    `sum(a) / nullif(count(*), 0)`, `sum(x) filter (where y > 0)`, `first(status order by updated_at desc)`. One whose
    result would depend on the order of the rows is refused. Without measures, the distinct keys come out."""


@register("transform", "aggregation", since="0.1.0")
class Aggregation(Transform):
    """Groups rows and gives one row for each group, with its keys and measures."""

    Config = AggregationConfig
    config: AggregationConfig
    works_in_windows = True
    examples = (
        Example(
            title="Orders and revenue per country and day",
            config={
                "by": ["country", "day: cast(placed_at as date)"],
                "measures": {"orders": "count(*)", "revenue": "sum(total)", "mean": "sum(total) / count(*)"},
            },
            given={
                "input": [
                    {"country": "DE", "placed_at": "2025-01-31 10:00:00", "total": "10.50"},
                    {"country": "DE", "placed_at": "2025-01-31 23:59:59", "total": "1.50"},
                    {"country": None, "placed_at": "2025-02-01 00:00:00", "total": "7.00"},
                ]
            },
            schema={"input": {"country": "varchar", "placed_at": "timestamp", "total": "decimal(12,2)"}},
            expect=[
                {"country": "DE", "day": "2025-01-31", "orders": 2, "revenue": 12.00, "mean": 6.0},
                {"country": None, "day": "2025-02-01", "orders": 1, "revenue": 7.00, "mean": 7.0},
            ],
        ),
        Example(
            title="A group's latest status: the order stands inside the aggregate",
            config={
                "by": "id",
                "measures": {
                    "status": "first(status order by changed desc)",
                    "steps": "string_agg(status, '>' order by changed)",
                },
            },
            given={"input": [{"id": 1, "status": "open", "changed": 1}, {"id": 1, "status": "paid", "changed": 2}]},
            expect=[{"id": 1, "status": "paid", "steps": "open>paid"}],
        ),
        Example(
            title="Without keys there is always one row",
            config={"measures": {"rows": "count(*)", "largest": "max(n)"}},
            given={"input": []},
            schema={"input": {"n": "integer"}},
            expect=[{"rows": 0, "largest": None}],
        ),
        Example(
            title="Revenue per shop and minute of event time",
            window={"type": "fixed", "size": "1 minute", "on": "at"},
            config={"by": "shop", "measures": {"revenue": "sum(total)"}},
            given={
                "input": [
                    {"shop": "Ulm", "at": "2025-01-01 12:00:05", "total": 10},
                    {"shop": "Ulm", "at": "2025-01-01 12:00:59", "total": 5},
                    {"shop": "Ulm", "at": "2025-01-01 12:01:00", "total": 2},
                    {"shop": "Ulm", "at": None, "total": 1},
                ]
            },
            schema={"input": {"shop": "varchar", "at": "timestamp", "total": "integer"}},
            expect=[
                {"window_start": "2025-01-01 12:00:00", "window_end": "2025-01-01 12:01:00", "shop": "Ulm", "revenue": 15},
                {"window_start": "2025-01-01 12:01:00", "window_end": "2025-01-01 12:02:00", "shop": "Ulm", "revenue": 2},
            ],
            rejected=("no_event_time",),
        ),
        Example(
            title="Visits: the clicks of a user without a pause of half an hour",
            window={"type": "session", "gap": "30 minutes", "on": "at"},
            config={"by": "user", "measures": {"clicks": "count(*)"}},
            given={
                "input": [
                    {"user": 7, "at": "2025-01-01 12:00:00"},
                    {"user": 7, "at": "2025-01-01 12:20:00"},
                    {"user": 7, "at": "2025-01-01 12:50:00"},
                ]
            },
            schema={"input": {"user": "integer", "at": "timestamp"}},
            expect=[
                {"window_start": "2025-01-01 12:00:00", "window_end": "2025-01-01 12:50:00", "user": 7, "clicks": 2},
                {"window_start": "2025-01-01 12:50:00", "window_end": "2025-01-01 13:20:00", "user": 7, "clicks": 1},
            ],
        ),
        Example(
            title="A row whose key cannot be computed is rejected and counts nowhere",
            config={"by": {"day": "cast(day as date)"}, "measures": {"rows": "count(*)"}},
            given={"input": [{"day": "2025-01-31"}, {"day": "someday"}]},
            expect=[{"day": "2025-01-31", "rows": 1}],
            rejected=("expression_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (given,) = inputs.values()
        schema, windowing = visible(given), scope.windowing
        windows = {name: column(name, given) for name in (START, END)} if windowing is not None else {}
        grouping = Grouping(schema, {**windows, **self._keys(schema, scope)}, windowing)
        names = list(grouping.keys)
        for name, value in self.config.measures.items():
            measure = compile_measure(value, schema, scope, "measures", name)
            if measure is not None and is_free(name, names, scope, "measures", name):
                names.append(name)
                grouping.add(name, measure)
        if not self.config.by and not self.config.measures:
            scope.error(InvalidValue("there is nothing to compute", hint="give `measures`, or `by` for the distinct keys"))
        return grouping.operators() if names else [Rows()]

    def _keys(self, schema: pa.Schema, scope: Scope) -> dict[str, Expression]:
        keys: dict[str, Expression] = {}
        for name, value, index in named_expressions(self.config.by):
            if name == value:
                found = find_column(name, schema, scope, "by", index)
                if found is not None and is_free(found, keys, scope, "by", index):
                    keys[found] = column(found, schema)
            elif is_free(name, keys, scope, "by", index):
                keys[name] = scope.expression(value, schema, "by", index)
        return keys
