"""Converts columns to other types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.kernels.expressions import Expression, cast_sql, column
from beam_datahub.kernels.types import quoted, visible


class CastConfig(Config):
    """Options of a cast."""

    types: dict[str, str]
    """The columns to convert: name → SQL type, as `bigint`, `decimal(12,2)`, `timestamp`, `json` or `varchar[]`."""

    on_error: Literal["reject", "null"] = "reject"
    """What becomes of a value that does not convert: `reject` refuses its row (`cast_failed`), `null` leaves it out."""


@register("transform", "cast", since="0.1.0")
class Cast(Transform):
    """Converts columns to other types in place; the other columns stay as they are."""

    Config = CastConfig
    config: CastConfig
    examples = (
        Example(
            title="Text becomes numbers and dates; a row that does not convert is rejected",
            config={"types": {"amount": "decimal(12,2)", "day": "date"}},
            given={
                "input": [
                    {"id": 1, "amount": "12.50", "day": "2025-01-31"},
                    {"id": 2, "amount": "n/a", "day": "2025-01-31"},
                    {"id": 3, "amount": None, "day": "2025-02-01"},
                ]
            },
            expect=[{"id": 1, "amount": 12.50, "day": "2025-01-31"}, {"id": 3, "amount": None, "day": "2025-02-01"}],
            rejected=("cast_failed",),
        ),
        Example(
            title="Keep the row and leave out the value that does not convert",
            config={"types": {"age": "integer"}, "on_error": "null"},
            given={"input": [{"name": "Ada", "age": "36"}, {"name": "Bo", "age": "young"}]},
            expect=[{"name": "Ada", "age": 36}, {"name": "Bo", "age": None}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        targets: dict[str, pa.DataType] = {}
        for name, sql in self.config.types.items():
            found = find_column(name, schema, scope, "types", name)
            target = scope.data_type(sql, "types", name)
            if found is not None:
                targets[found] = target
        return [Rows(tuple(self._column(name, schema, targets.get(name)) for name in schema.names))]

    def _column(self, name: str, schema: pa.Schema, target: pa.DataType | None) -> Column:
        source = schema.field(name).type
        if target is None or target == source:
            return Column(name, column(name, schema))
        sql = cast_sql(quoted(name), source, target)
        if self.config.on_error == "null":
            return Column(name, Expression(name, f"TRY({sql})", target, (name,), can_fail=False))
        return Column(name, Expression(name, sql, target, (name,)), "cast_failed")
