"""Keeps one row of each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

from beam_datahub.component.columns import Names, find_column, find_columns, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator, PerKey
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.component.windowing import Meeting, meeting
from beam_datahub.errors import OrderDependent
from beam_datahub.kernels.ordering import Ordering, parse_ordering, total_order
from beam_datahub.kernels.types import quoted, visible
from beam_datahub.kernels.windows import Windowing


class DeduplicationConfig(Config):
    """Options of a deduplication."""

    by: Names = ()
    """The columns that tell rows apart, the key; all columns without it. Nulls are equal to each other."""

    order_by: Names = ()
    """What decides which row of a key stays: `column` or `column desc`, or a list of them. Rows without a value come
    last; the other columns break ties, so that the order of arrival never matters. Needed unless all columns are in `by`."""

    keep: Literal["first", "last"] = "first"
    """Which row of a key stays, in the order of `order_by`; a row without a value stays only where there is no other."""


@register("transform", "deduplication", since="0.1.0")
class Deduplication(Transform):
    """Keeps one row of each key, and the same one whatever the order in which the rows come."""

    Config = DeduplicationConfig
    config: DeduplicationConfig
    works_in_windows = True
    examples = (
        Example(
            title="The latest state of each order",
            config={"by": "id", "order_by": "updated", "keep": "last"},
            given={
                "input": [
                    {"id": 1, "status": "open", "updated": 1},
                    {"id": 1, "status": "paid", "updated": 5},
                    {"id": 2, "status": "open", "updated": 2},
                    {"id": 1, "status": "lost", "updated": None},
                ]
            },
            expect=[{"id": 1, "status": "paid", "updated": 5}, {"id": 2, "status": "open", "updated": 2}],
        ),
        Example(
            title="One reading of each sensor in each five minutes, the latest one",
            window={"type": "fixed", "size": "5 minutes", "on": "at"},
            config={"by": "sensor", "order_by": "at desc"},
            given={
                "input": [
                    {"sensor": "a", "at": "2025-01-01 12:01:00", "value": 20},
                    {"sensor": "a", "at": "2025-01-01 12:04:00", "value": 21},
                    {"sensor": "a", "at": "2025-01-01 12:05:00", "value": 22},
                ]
            },
            schema={"input": {"sensor": "varchar", "at": "timestamp", "value": "integer"}},
            expect=[
                {
                    "window_start": "2025-01-01 12:00:00",
                    "window_end": "2025-01-01 12:05:00",
                    "sensor": "a",
                    "at": "2025-01-01 12:04:00",
                    "value": 21,
                },
                {
                    "window_start": "2025-01-01 12:05:00",
                    "window_end": "2025-01-01 12:10:00",
                    "sensor": "a",
                    "at": "2025-01-01 12:05:00",
                    "value": 22,
                },
            ],
        ),
        Example(
            title="Rows that are equal in every column",
            config={},
            given={"input": [{"a": 1, "b": None}, {"a": 1, "b": None}, {"a": 1, "b": "x"}]},
            expect=[{"a": 1, "b": None}, {"a": 1, "b": "x"}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (given,) = inputs.values()
        schema, windowing = visible(given), scope.windowing
        keys = find_columns(self.config.by, schema, scope, "by") or list(schema.names)
        met = meeting(keys, given, windowing)
        everything = ", ".join(quoted(name) for name in met.schema.names)
        if set(keys) == set(schema.names):
            return [_one_of_each(met, f"SELECT DISTINCT {everything} FROM {met.relation}", windowing)]
        orderings = self._orderings(schema, scope)
        rest = [name for name in schema.names if name not in keys]
        sql = (
            f"SELECT {everything} FROM {met.relation} QUALIFY row_number() OVER "
            f"(PARTITION BY {', '.join(map(quoted, met.groups))} ORDER BY {total_order(orderings, rest)}) = 1"
        )
        return [_one_of_each(met, sql, windowing)]

    def _orderings(self, schema: pa.Schema, scope: Scope) -> list[Ordering]:
        if not self.config.order_by:
            scope.error(
                OrderDependent(
                    "which row of a key stays would depend on the order in which the rows come",
                    hint="say which one in `order_by`, as `order_by: updated_at desc`",
                )
            )
        orderings = []
        for index, text in enumerate(self.config.order_by):
            wanted = parse_ordering(text)
            found = find_column(wanted.column, schema, scope, "order_by", index)
            if found is not None:
                orderings.append(Ordering(found, wanted.descending != (self.config.keep == "last")))
        return orderings


def _one_of_each(met: Meeting, sql: str, windowing: Windowing | None) -> PerKey:
    # Keeping one of some rows now and one of those later is the same as keeping one of all, unless sessions grow together.
    reduce = sql if met.groups == met.keys else None
    return PerKey(met.keys, sql, met.schema, unchanged(met.schema), reduce=reduce, windowing=windowing)
