"""Keeps the first rows of each group in an order, or ranks all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import Names, find_column, find_columns, is_free, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator, PerKey
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.component.windowing import meeting
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.ordering import Ordering, parse_ordering, total_order
from beam_datahub.kernels.types import quoted, visible


class TopConfig(Config):
    """Options of a top."""

    order_by: Names
    """The order: `column` or `column desc`, or a list of them. Rows without a value come last; the other columns break
    ties, so that the order of arrival never matters."""

    by: Names = ()
    """The columns that make the groups; without them, all rows are one group."""

    limit: int | None = Field(default=None, ge=1)
    """How many rows of each group stay. Without it all stay, numbered in `rank`: sorted within their group."""

    rank: str | None = None
    """The name of an added column with the row's place in its group, from 1."""


_SALES: list[dict[str, Any]] = [
    {"shop": "Ulm", "item": "desk", "sold": 3},
    {"shop": "Ulm", "item": "lamp", "sold": 9},
    {"shop": "Ulm", "item": "mat", "sold": 9},
    {"shop": "Bonn", "item": "desk", "sold": None},
]


@register("transform", "top", since="0.1.0")
class Top(Transform):
    """Keeps the first rows of each group in an order, or numbers all rows of a group in it."""

    Config = TopConfig
    config: TopConfig
    works_in_windows = True
    examples = (
        Example(
            title="The two best-selling items of each shop; of equal ones, the other columns decide",
            config={"by": "shop", "order_by": "sold desc", "limit": 2},
            given={"input": _SALES},
            expect=[
                {"shop": "Ulm", "item": "lamp", "sold": 9},
                {"shop": "Ulm", "item": "mat", "sold": 9},
                {"shop": "Bonn", "item": "desk", "sold": None},
            ],
        ),
        Example(
            title="The best-selling item of each day by the clocks of Berlin",
            window={"type": "calendar", "unit": "day", "zone": "Europe/Berlin", "on": "at"},
            config={"order_by": "sold desc", "limit": 1},
            given={
                "input": [
                    {"item": "desk", "sold": 3, "at": "2025-03-30 21:59:00"},
                    {"item": "lamp", "sold": 9, "at": "2025-03-30 22:00:00"},
                ]
            },
            schema={"input": {"item": "varchar", "sold": "integer", "at": "timestamp"}},
            expect=[
                {
                    "window_start": "2025-03-29 23:00:00",
                    "window_end": "2025-03-30 22:00:00",
                    "item": "desk",
                    "sold": 3,
                    "at": "2025-03-30 21:59:00",
                },
                {
                    "window_start": "2025-03-30 22:00:00",
                    "window_end": "2025-03-31 22:00:00",
                    "item": "lamp",
                    "sold": 9,
                    "at": "2025-03-30 22:00:00",
                },
            ],
        ),
        Example(
            title="All rows, numbered within their group",
            config={"by": ["shop"], "order_by": ["sold desc", "item"], "rank": "place"},
            given={"input": _SALES},
            expect=[
                {"shop": "Ulm", "item": "lamp", "sold": 9, "place": 1},
                {"shop": "Ulm", "item": "mat", "sold": 9, "place": 2},
                {"shop": "Ulm", "item": "desk", "sold": 3, "place": 3},
                {"shop": "Bonn", "item": "desk", "sold": None, "place": 1},
            ],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (given,) = inputs.values()
        schema, windowing = visible(given), scope.windowing
        keys = find_columns(self.config.by, schema, scope, "by")
        orderings = self._orderings(schema, scope)
        if self.config.limit is None and self.config.rank is None:
            scope.error(MissingValue("neither `limit` nor `rank` is given", hint="say how many rows stay, as `limit: 10`"))
        ranked = self.config.rank is not None and is_free(self.config.rank, schema.names, scope, "rank")

        rest = [name for name in schema.names if name not in keys]
        met = meeting(keys, given, windowing)
        partition = f"PARTITION BY {', '.join(map(quoted, met.groups))} " if met.groups else ""
        place = f"row_number() OVER ({partition}ORDER BY {total_order(orderings, rest or keys)})"
        first = f" QUALIFY {place} <= {self.config.limit}" if self.config.limit is not None else ""
        everything = ", ".join(quoted(name) for name in met.schema.names)
        plain = f"SELECT {everything} FROM {met.relation}{first}"
        reduce = plain if first and met.groups == met.keys else None
        if not ranked or self.config.rank is None:
            return [PerKey(met.keys, plain, met.schema, unchanged(met.schema), reduce=reduce, windowing=windowing)]
        lineage = {**unchanged(met.schema), self.config.rank: tuple(ordering.column for ordering in orderings)}
        return [
            PerKey(
                met.keys,
                f"SELECT {everything}, {place} AS {quoted(self.config.rank)} FROM {met.relation}{first}",
                met.schema.append(pa.field(self.config.rank, pa.int64())),
                lineage,
                reduce=reduce,
                windowing=windowing,
            )
        ]

    def _orderings(self, schema: pa.Schema, scope: Scope) -> list[Ordering]:
        if not self.config.order_by:
            scope.error(InvalidValue("the order needs at least one column"), "order_by")
        orderings: list[Ordering] = []
        for index, text in enumerate(self.config.order_by):
            wanted = parse_ordering(text)
            found = find_column(wanted.column, schema, scope, "order_by", index)
            if found is None:
                continue
            if found in {ordering.column for ordering in orderings}:
                scope.error(InvalidValue(f"the column '{found}' is named twice"), "order_by", index)
                continue
            orderings.append(Ordering(found, wanted.descending))
        return orderings
