"""Expressions: one string in one of four forms, compiled to one typed DuckDB expression."""

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
