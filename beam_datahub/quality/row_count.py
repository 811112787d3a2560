"""Tells whether there are as many records as there should be."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.config import Config
from beam_datahub.component.inspection import RowCount
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.expressions import Expression


class RowCountConfig(Config):
    """Options of a rule about the number of records."""

    min: int | None = Field(default=None, ge=0)
    """The least number of records."""

    max: int | None = Field(default=None, ge=0)
    """The greatest number of records."""

    exact: int | None = Field(default=None, ge=0)
    """The number of records."""


@register("rule", "row_count", since="0.1.0")
class RowCountRule(Rule):
    """The number of records lies in a range; with `where`, that of the records for which it holds."""

    Config = RowCountConfig
    config: RowCountConfig
    about = "table"
    examples = (
        RuleExample(title="There is something", options={"min": 1}, given=[{"id": 1}, {"id": 2}], holds=True),
        RuleExample(
            title="No order is lost",
            options={"exact": 0},
            where="status = 'lost'",
            given=[{"status": "lost"}, {"status": "paid"}],
            holds=False,
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowCount | None:
        """The number lies between the bounds."""
        config = self.config
        if config.exact is not None and (config.min is not None or config.max is not None):
            scope.error(InvalidValue("`exact` goes without `min` and `max`"), "exact")
            return None
        if config.exact is None and config.min is None and config.max is None:
            scope.error(MissingValue("there is no number", hint="give `min`, `max` or `exact`"))
            return None
        if config.min is not None and config.max is not None and config.min > config.max:
            scope.error(InvalidValue(f"no number is at least {config.min} and at most {config.max}"), "min")
            return None
        return RowCount(*((config.exact, config.exact) if config.exact is not None else (config.min, config.max)), where)
