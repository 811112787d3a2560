"""Tells whether a figure of a column, as its mean, is what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config
from beam_datahub.component.field_rules import Limit, field_conditions, list_sql
from beam_datahub.component.field_rules import Rule as FieldRule
from beam_datahub.component.grouping import Grouping, compile_measure
from beam_datahub.component.inspection import Figure
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted, sql_type
from beam_datahub.kernels.widening import is_number

_FIGURES = {
    "min": "min({0})",
    "max": "max({0})",
    "sum": "sum({0})",
    "mean": "avg({0})",
    "median": "median({0})",
    "stddev": "stddev_samp({0})",
    "quantile": "quantile_cont({0}, {1})",
    "distinct": "count(distinct {0})",
    "distinct_ratio": "count(distinct {0}) / count({0})",
    "null_ratio": "count(*) filter (where {0} is null) / count(*)",
}
_OF_NUMBERS = ("sum", "mean", "median", "stddev", "quantile")
_LIMITS = ("min", "max", "above", "below")


class StatisticsConfig(Config):
    """Options of a rule about a figure of a column: `figure` with its limits, or `contains`."""

    field: str
    """The column."""

    figure: (
        Literal["min", "max", "sum", "mean", "median", "stddev", "quantile", "distinct", "distinct_ratio", "null_ratio"] | None
    ) = None
    """What is computed of its values, nulls left out: the least, the greatest, their sum, mean, median, standard deviation (of a
    sample) or a quantile, how many distinct ones there are, also as a share of all values, or the share of nulls. All are
    exact. The sum and the mean of a column of true and false are the number and the share of those that are true."""

    quantile: float | None = Field(default=None, ge=0, le=1)
    """For `figure: quantile`: which, as 0.95; between two values it is interpolated."""

    min: Limit | None = None
    """The least that the figure may be."""

    max: Limit | None = None
    """The greatest that the figure may be."""

    above: Limit | None = None
    """What the figure must be greater than."""

    below: Limit | None = None
    """What the figure must be less than."""

    contains: tuple[Any, ...] | None = None
    """Values each of which must occur in the column."""


@register("rule", "statistics", since="0.1.0")
class Statistics(Rule):
    """A figure of a column lies in a range, or a column has all values of a list; without any value it does not hold."""

    Config = StatisticsConfig
    config: StatisticsConfig
    about = "table"
    examples = (
        RuleExample(
            title="The mean lies in a range",
            options={"field": "amount", "figure": "mean", "min": 10, "max": 20},
            given=[{"amount": 5}, {"amount": 25}, {"amount": None}],
            holds=True,
        ),
        RuleExample(
            title="Nine in ten answers come within a second",
            options={"field": "seconds", "figure": "quantile", "quantile": 0.9, "below": 1},
            given=[{"seconds": 0.2}, {"seconds": 0.4}, {"seconds": 3.5}],
            holds=False,
        ),
        RuleExample(
            title="At least two countries, of the orders that are paid",
            options={"field": "country", "figure": "distinct", "min": 2},
            where="status = 'paid'",
            given=[{"country": "DE", "status": "paid"}, {"country": "FR", "status": "open"}, {"country": "DE", "status": "paid"}],
            holds=False,
        ),
        RuleExample(
            title="At least half of the customers have agreed",
            options={"field": "agreed", "figure": "mean", "min": 0.5},
            given=[{"agreed": True}, {"agreed": False}, {"agreed": None}],
            holds=True,
        ),
        RuleExample(
            title="Each shop has sent something",
            options={"field": "shop", "contains": ["north", "south"]},
            given=[{"shop": "south"}, {"shop": "north"}, {"shop": "south"}],
            holds=True,
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> Figure | None:
        """The figure is computed and lies between the limits."""
        config = self.config
        name = find_column(config.field, schema, scope, "field")
        if name is None or not self._says_something(scope):
            return None
        kind = schema.field(name).type
        of_truths = config.figure in ("sum", "mean") and pa.types.is_boolean(kind)
        if config.figure in _OF_NUMBERS and not is_number(kind) and not of_truths:
            scope.error(InvalidValue(f"a {config.figure} is of numbers, and '{name}' is {sql_type(kind)}"), "figure")
            return None
        measure = compile_measure(self._sql(name, kind, scope), schema, scope, "field")
        if measure is None:
            return None
        words = self._words(name)
        grouping = Grouping(schema, {})
        grouping.add(words, measure)
        found = pa.schema([(words, measure.type)])
        limits: dict[str, Any] = {"max": 0} if config.contains is not None else {k: getattr(config, k) for k in _LIMITS}
        conditions = [sql for _, sql in field_conditions(FieldRule(**limits), words, found, scope, ())]
        sql = " AND ".join(f"({each})" for each in [f"{quoted(words)} IS NOT NULL", *conditions])
        keep = None
        if where is not None:
            keep = Expression(where.text, f"coalesce(TRY({where.sql}), false)", pa.bool_(), where.columns, can_fail=False)
        return Figure(
            words,
            Expression(words, sql, pa.bool_(), (words,), can_fail=False),
            tuple(grouping.operators(keep)),
            tuple(dict.fromkeys([name, *(where.columns if where is not None else ())])),
            " and ".join(_shown(limits)),
        )

    def _says_something(self, scope: RuleScope) -> bool:
        config = self.config
        limits = [key for key in _LIMITS if getattr(config, key) is not None]
        if (config.figure is None) == (config.contains is None):
            hint = "give `figure` with its limits, or `contains`"
            scope.error(MissingValue("there is no figure", hint=hint) if config.figure is None else InvalidValue(hint), "figure")
        elif config.contains is not None and limits:
            scope.error(InvalidValue(f"`{limits[0]}` is a limit of a `figure`, and there is none"), limits[0])
        elif config.figure is not None and not limits:
            scope.error(MissingValue("the figure has no limit", hint="give `min`, `max`, `above` or `below`"))
        elif (config.figure == "quantile") != (config.quantile is not None):
            scope.error(InvalidValue("`figure: quantile` and `quantile` go together", hint="as `quantile: 0.95`"), "quantile")
        else:
            return True
        return False

    def _sql(self, name: str, kind: pa.DataType, scope: RuleScope) -> str:
        if self.config.contains is None:
            value = f"{quoted(name)}::int" if pa.types.is_boolean(kind) and self.config.figure in _OF_NUMBERS else quoted(name)
            return _FIGURES[str(self.config.figure)].format(value, self.config.quantile)
        wanted = tuple(dict.fromkeys(self.config.contains))
        listed = list_sql(wanted, kind, name, scope, "contains")
        return f"{len(wanted)} - count(distinct {quoted(name)}) filter (where {quoted(name)} in ({listed}))"

    def _words(self, name: str) -> str:
        if self.config.contains is not None:
            return f"values wanted of {name} that are missing"
        figure = (
            str(self.config.figure).replace("distinct_ratio", "share of distinct values").replace("null_ratio", "share of nulls")
        )
        figure = f"{self.config.quantile:g} quantile" if figure == "quantile" else figure
        return f"{'distinct values' if figure == 'distinct' else figure} of {name}"


def _shown(limits: Mapping[str, Any]) -> list[str]:
    words = {"min": "at least", "max": "at most", "above": "above", "below": "below"}
    return [f"{words[key]} {limit}" for key, limit in limits.items() if limit is not None]
