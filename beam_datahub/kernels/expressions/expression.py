"""What an expression compiles to: typed SQL over the columns of an input."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.kernels.types import quoted


@dataclass(frozen=True)
class Expression:
    """A typed scalar expression over the columns of an input.

    `text` is what the user wrote, `sql` the DuckDB expression, `type` its canonical Arrow type, `columns` the input
    columns that it reads, in order of appearance. `can_fail` tells whether evaluating it may raise on some row; it errs
    to the safe side.
    """

    text: str
    sql: str
    type: pa.DataType
    columns: tuple[str, ...] = ()
    can_fail: bool = True

    @property
    def is_column(self) -> bool:
        """Whether it is just a column, unchanged."""
        return len(self.columns) == 1 and self.sql == quoted(self.columns[0])


def column(name: str, schema: pa.Schema) -> Expression:
    """The expression that is the column `name` of `schema`, unchanged."""
    return Expression(text=name, sql=quoted(name), type=schema.field(name).type, columns=(name,), can_fail=False)


@dataclass(frozen=True)
class AggregateCall:
    """One call of an aggregate function: `function(distinct arguments, parameters order by order) filter (where where)`.

    `name` is the column that `post` reads the result from. `order_dependent` tells that the result depends on the order
    in which the rows come.
    """

    name: str
    function: str
    arguments: tuple[Expression, ...]
    type: pa.DataType
    distinct: bool = False
    order: tuple[tuple[Expression, bool], ...] = ()
    where: Expression | None = None
    parameters: tuple[str, ...] = ()
    order_dependent: bool = False


@dataclass(frozen=True)
class AggregateExpression:
    """A typed expression over aggregate calls; `post` is scalar over the columns that `calls` name."""

    text: str
    calls: tuple[AggregateCall, ...]
    post: Expression

    @property
    def type(self) -> pa.DataType:
        """The canonical Arrow type of the measure."""
        return self.post.type

    @property
    def columns(self) -> tuple[str, ...]:
        """The input columns that it reads, in order of appearance."""
        found: dict[str, None] = {}
        for call in self.calls:
            parts = [*call.arguments, *(expression for expression, _ in call.order), *([call.where] if call.where else [])]
            for part in parts:
                found.update(dict.fromkeys(part.columns))
        return tuple(found)

    @property
    def order_dependent(self) -> bool:
        """Whether the measure depends on the order in which the rows come."""
        return any(call.order_dependent for call in self.calls)
