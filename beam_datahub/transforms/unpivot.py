"""Turns columns into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.columns import Names, find_columns, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, cast_sql, column
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import quoted, sql_type, visible
from beam_datahub.kernels.widening import widest


class UnpivotConfig(Config):
    """Options of an unpivot."""

    columns: Names
    """The columns that become rows; the others are repeated."""

    name: str = "name"
    """The name of the new column that says which column a value stood in."""

    value: str = "value"
    """The name of the new column with the value."""

    type: str | None = None
    """The SQL type of the value; needed where the columns' types do not go together. A row with a value that does not
    convert is rejected (`cast_failed`)."""

    nulls: bool = False
    """Whether a null gives a row, too. Without it, a row whose columns are all null is filtered."""


_SALES: list[dict[str, Any]] = [
    {"shop": "Ulm", "q1": 7, "q2": 4},
    {"shop": "Bonn", "q1": None, "q2": 1},
    {"shop": "Trier", "q1": None, "q2": None},
]


@register("transform", "unpivot", since="0.1.0")
class Unpivot(Transform):
    """Turns columns into rows: one row for each of them, with its name and value."""

    Config = UnpivotConfig
    config: UnpivotConfig
    examples = (
        Example(
            title="A row for each quarter that has a value",
            config={"columns": ["q1", "q2"], "name": "quarter", "value": "amount"},
            given={"input": _SALES},
            expect=[
                {"shop": "Ulm", "quarter": "q1", "amount": 7},
                {"shop": "Ulm", "quarter": "q2", "amount": 4},
                {"shop": "Bonn", "quarter": "q2", "amount": 1},
            ],
        ),
        Example(
            title="Values of several types meet as one; what does not convert is rejected",
            config={"columns": ["a", "b"], "type": "integer", "nulls": True},
            given={"input": [{"id": 1, "a": "5", "b": 6}, {"id": 2, "a": None, "b": 7}, {"id": 3, "a": "x", "b": 8}]},
            expect=[
                {"id": 1, "name": "a", "value": 5},
                {"id": 1, "name": "b", "value": 6},
                {"id": 2, "name": "a", "value": None},
                {"id": 2, "name": "b", "value": 7},
            ],
            rejected=("cast_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        names = find_columns(self.config.columns, schema, scope, "columns")
        rest = [name for name in schema.names if name not in names]
        if not is_free(self.config.name, rest, scope, "name") or not is_free(
            self.config.value, [*rest, self.config.name], scope, "value"
        ):
            return [Rows()]
        target = self._target(names, schema, scope)
        if target is None:
            return [Rows()]
        operators: list[Operator] = []
        if any(schema.field(name).type != target for name in names):
            operators.append(Rows(tuple(_converted(name, schema, target if name in names else None) for name in schema.names)))
        fields = [schema.field(name) for name in rest]
        after = pa.schema([*fields, pa.field(self.config.name, pa.string()), pa.field(self.config.value, target)])
        lineage = {**{name: (name,) for name in rest}, self.config.name: (), self.config.value: tuple(names)}
        kernel = _Unpivot(tuple(names), tuple(rest), after, nulls=self.config.nulls)
        return [*operators, Apply(kernel, after, lineage, made=(self.config.name, self.config.value))]

    def _target(self, names: Sequence[str], schema: pa.Schema, scope: Scope) -> pa.DataType | None:
        if self.config.type is not None:
            return scope.data_type(self.config.type, "type")
        if not names:
            return None
        found = widest(schema.field(name).type for name in names)
        if found is None:
            kinds = ", ".join(f"'{name}' is {sql_type(schema.field(name).type)}" for name in names)
            scope.error(
                InvalidValue(f"the columns have no type in common: {kinds}", hint="give one, as `type: varchar`"), "columns"
            )
        return found


def _converted(name: str, schema: pa.Schema, target: pa.DataType | None) -> Column:
    source = schema.field(name).type
    if target is None or source == target:
        return Column(name, column(name, schema))
    return Column(name, Expression(name, cast_sql(quoted(name), source, target), target, (name,)), "cast_failed")


class _Unpivot(BatchKernel):
    """Gives each of some columns its own row."""

    def __init__(self, names: tuple[str, ...], rest: tuple[str, ...], schema: pa.Schema, *, nulls: bool) -> None:
        self._names, self._rest, self._schema, self._nulls = names, rest, schema, nulls

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        import numpy as np

        rows, width = batch.num_rows, len(self._names)
        # Row by row: the values of all columns one after another, taken crosswise.
        values = pa.concat_arrays([batch.column(name) for name in self._names])
        values = values.take(pa.array(np.arange(rows * width).reshape(width, rows).T.ravel()))
        which = pa.DictionaryArray.from_arrays(pa.array(np.tile(np.arange(width, dtype=np.int32), rows)), pa.array(self._names))
        parents = pa.array(np.repeat(np.arange(rows, dtype=np.int64), width))
        names = which.cast(pa.string())
        if not self._nulls and values.null_count:
            valid = pc.is_valid(values)
            values, names, parents = values.filter(valid), names.filter(valid), parents.filter(valid)
        columns = [batch.column(name).take(parents) for name in self._rest]
        return Applied(pa.RecordBatch.from_arrays([*columns, names, values], schema=self._schema), parents)
