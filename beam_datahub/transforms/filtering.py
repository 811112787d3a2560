"""Keeps the rows that meet a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform


class FilteringConfig(Config):
    """Options of a filtering."""

    where: str
    """The condition that a row must meet to go on: a SQL expression. A row for which it is false or null is filtered; one
    on which it fails is rejected (`expression_failed`)."""


@register("transform", "filtering", since="0.1.0")
class Filtering(Transform):
    """Keeps the rows for which a condition is true; the columns stay as they are."""

    Config = FilteringConfig
    config: FilteringConfig
    examples = (
        Example(
            title="Only what is paid; a row whose status is not known does not go on",
            config={"where": "status = 'paid'"},
            given={"input": [{"id": 1, "status": "paid"}, {"id": 2, "status": "open"}, {"id": 3, "status": None}]},
            expect=[{"id": 1, "status": "paid"}],
        ),
        Example(
            title="A row on which the condition fails is rejected, not lost",
            config={"where": "cast(quantity as integer) > 1"},
            given={"input": [{"sku": "a", "quantity": "3"}, {"sku": "b", "quantity": "1"}, {"sku": "c", "quantity": "many"}]},
            expect=[{"sku": "a", "quantity": "3"}],
            rejected=("expression_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        return [Rows(keep=scope.predicate(self.config.where, schema, "where"))]
