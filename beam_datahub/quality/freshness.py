"""Tells whether the newest record is new enough."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config
from beam_datahub.component.inspection import Newest
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.expressions.typing import typing_session
from beam_datahub.kernels.types import literal, sql_type


class FreshnessConfig(Config):
    """Options of a freshness rule."""

    field: str
    """A column of dates or timestamps; those without a time zone are UTC."""

    max_age: str
    """How old the newest value may be, as `2 hours` or `1 day 12 hours`."""

    as_of: datetime | None = None
    """The moment to judge by, for data of the past; the start of the run when left out."""


@register("rule", "freshness", since="0.1.0")
class Freshness(Rule):
    """The newest value of a column is no older than it may be; a table without a value is not fresh."""

    Config = FreshnessConfig
    config: FreshnessConfig
    about = "table"
    examples = (
        RuleExample(
            title="Something came in within the last day",
            options={"field": "at", "max_age": "1 day", "as_of": "2025-03-02T12:00:00Z"},
            given=[{"at": "2025-03-01 13:00:00"}, {"at": "2025-01-01 00:00:00"}, {"at": None}],
            schema={"at": "timestamp"},
            holds=True,
        ),
        RuleExample(
            title="Nothing new for a week",
            options={"field": "at", "max_age": "7 days", "as_of": "2025-03-20"},
            given=[{"at": "2025-03-01"}],
            schema={"at": "date"},
            holds=False,
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> Newest | None:
        """The newest value is new enough."""
        name = find_column(self.config.field, schema, scope, "field")
        seconds = _seconds(self.config.max_age, scope)
        if name is None or seconds is None:
            return None
        kind = schema.field(name).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            hint = "convert it with a `cast` before" if kind == pa.string() else None
            scope.error(
                InvalidValue(f"freshness is of dates and timestamps, and '{name}' is {sql_type(kind)}", hint=hint), "field"
            )
            return None
        moment = self.config.as_of
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return Newest(name, seconds, moment, where)


def _seconds(text: str, scope: RuleScope) -> float | None:
    try:
        found = float(str(typing_session().scalar(f"SELECT epoch(CAST({literal(text)} AS INTERVAL))")))
    except duckdb.Error:
        found = -1.0
    if found < 0:
        scope.error(InvalidValue(f"'{text}' is no length of time", hint="write it as 90 minutes, 2 hours or 1 day"), "max_age")
        return None
    return found
