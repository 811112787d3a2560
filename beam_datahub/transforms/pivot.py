"""Turns the values of a column into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from beam_datahub.component.columns import Names, find_column, find_columns, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.grouping import Grouping, compile_measure
from beam_datahub.component.literals import typed_literal
from beam_datahub.component.operators import Check, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.types import quoted, visible

Value = str | int | float | bool


class PivotConfig(Config):
    """Options of a pivot."""

    column: str
    """The column whose values become columns."""

    values: tuple[Value, ...] | dict[str, Value]
    """The values that become columns, and so the columns of the output: a list, or a mapping column name → value."""

    measures: str | dict[str, str]
    """What stands in the new columns: an aggregate expression as `sum(amount)`; or several as name → expression, whose
    columns are then called `value_name`."""

    by: Names = ()
    """The columns that make a row of the output; without them, there is one row."""

    other: Literal["reject", "drop"] = "reject"
    """What becomes of a row whose value is not among `values`, or null: rejected (`validation_failed`) or dropped."""


_SALES: list[dict[str, Any]] = [
    {"shop": "Ulm", "quarter": "Q1", "amount": 5},
    {"shop": "Ulm", "quarter": "Q1", "amount": 2},
    {"shop": "Ulm", "quarter": "Q2", "amount": 4},
    {"shop": "Bonn", "quarter": "Q2", "amount": 1},
    {"shop": "Bonn", "quarter": "Q?", "amount": 9},
]


@register("transform", "pivot", since="0.1.0")
class Pivot(Transform):
    """Turns the values of a column into columns of aggregates; the values are given, so that the output is typed."""

    Config = PivotConfig
    config: PivotConfig
    examples = (
        Example(
            title="A column for each quarter; a quarter that is not named is rejected",
            config={"by": "shop", "column": "quarter", "values": ["Q1", "Q2"], "measures": "sum(amount)"},
            given={"input": _SALES},
            expect=[{"shop": "Ulm", "Q1": 7, "Q2": 4}, {"shop": "Bonn", "Q1": None, "Q2": 1}],
            rejected=("validation_failed",),
        ),
        Example(
            title="Two measures, names of one's own, other values left out",
            config={
                "by": ["shop"],
                "column": "quarter",
                "values": {"first": "Q1", "second": "Q2"},
                "measures": {"n": "count(*)", "most": "max(amount)"},
                "other": "drop",
            },
            given={"input": _SALES},
            expect=[
                {"shop": "Ulm", "first_n": 2, "first_most": 5, "second_n": 1, "second_most": 4},
                {"shop": "Bonn", "first_n": 0, "first_most": None, "second_n": 1, "second_most": 1},
            ],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        name = find_column(self.config.column, schema, scope, "column")
        keys = find_columns(self.config.by, schema, scope, "by")
        if name is None:
            return [Rows()]
        values = self._values(name, schema, scope)
        if not values:
            scope.error(InvalidValue("a pivot needs at least one value"), "values")
            return [Rows()]
        grouping = Grouping(schema, {key: column(key, schema) for key in keys})
        self._add_measures(grouping, values, schema, scope)
        listed = ", ".join(value.sql for value in values.values())
        known = Expression(
            f"{name} is one of the values", f"coalesce({quoted(name)} IN ({listed}), false)", pa.bool_(), (name,), False
        )
        if self.config.other == "drop":
            return grouping.operators(keep=known)
        return grouping.operators(checks=[Check(known, f"the value of '{name}' is not one of the pivot's values", column=name)])

    def _add_measures(self, grouping: Grouping, values: Mapping[str, Expression], schema: pa.Schema, scope: Scope) -> None:
        several = isinstance(self.config.measures, dict)
        measures = self.config.measures if isinstance(self.config.measures, dict) else {"": self.config.measures}
        names = list(grouping.keys)
        compiled = {
            key: compile_measure(value, schema, scope, "measures", *([key] if several else [])) for key, value in measures.items()
        }
        for name, equal in values.items():
            for key, measure in compiled.items():
                output = f"{name}_{key}" if several else name
                if measure is not None and is_free(output, names, scope, "values"):
                    names.append(output)
                    where = Expression(
                        f"{self.config.column} = {name}",
                        f"{quoted(equal.columns[0])} = {equal.sql}",
                        pa.bool_(),
                        equal.columns,
                        False,
                    )
                    grouping.add(output, measure, where)

    def _values(self, name: str, schema: pa.Schema, scope: Scope) -> dict[str, Expression]:
        """Output name → the value as a SQL literal of the column's type."""
        target = schema.field(name).type
        values = (
            self.config.values if isinstance(self.config.values, dict) else {_text(value): value for value in self.config.values}
        )
        if len(values) < len(self.config.values):
            scope.error(InvalidValue("a value is given twice"), "values")
        found: dict[str, Expression] = {}
        for index, (output, value) in enumerate(values.items()):
            at = ("values", output if isinstance(self.config.values, dict) else index)
            sql = typed_literal(value, name, target, scope, *at)
            if sql is not None:
                found[output] = Expression(output, sql, target, (name,), False)
        return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
