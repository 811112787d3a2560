"""How what a destination is given meets its table: created, given new columns, widened, or refused because data would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.errors import DataHubError, LossyWrite, TargetUnusable
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, sql_type
from beam_datahub.kernels.widening import is_number, widest

# The `detail` of a column that publishing gives a wider type.
WIDENED = "widened"


@dataclass(frozen=True)
class Shape:
    """The columns to write, as the target has them or will have them; `given` are their names in what is written.

    `statements` make the target what it has to be.
    """

    given: tuple[str, ...]
    columns: tuple[TableColumn, ...]
    statements: tuple[str, ...] = ()
    creates: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in the target."""
        return tuple(column.name for column in self.columns)

    def named(self, given: str) -> str:
        """The target's name of a column."""
        return self.names[self.given.index(given)]


def new_table(dialect: Dialect, table: TableName, schema: pa.Schema, key: Sequence[str]) -> Shape:
    """A table that is not there yet. Raises LossyWrite where a type has no counterpart."""
    columns = []
    for field in schema:
        with_key = field.name in key
        declared = _declared(dialect, field, keyed=with_key)
        columns.append(TableColumn(field.name, declared, field.type, nullable=not with_key))
    create = dialect.create(table, [(column.name, column.declared) for column in columns], key)
    return Shape(tuple(schema.names), tuple(columns), (create,), creates=True)


def _declared(dialect: Dialect, field: pa.Field, *, keyed: bool = False) -> str:
    try:
        return dialect.keyed(field.type) if keyed else dialect.declared(field.type)
    except LossyWrite as error:
        raise LossyWrite(f"the column '{field.name}' cannot be kept: {error.reason}", hint=error.hint) from None


def existing_table(dialect: Dialect, table: TableName, schema: pa.Schema, there: Sequence[TableColumn], evolve: str) -> Shape:
    """A table that is there. `evolve`: "add" columns, "widen" types as well, or "none". Raises TargetUnusable, LossyWrite."""
    by_name = _by_name(there, schema)
    columns: list[TableColumn] = []
    statements: list[str] = []
    for field in schema:
        found = by_name.get(field.name)
        if found is None:
            if evolve == "none":
                hint = "add it there, leave it out, or allow `evolve: add`"
                raise TargetUnusable(f"the table '{table}' has no column '{field.name}'", hint=hint)
            found = TableColumn(field.name, _declared(dialect, field), field.type)
            statements.append(dialect.add_column(table, found.name, found.declared))
        elif found.computed:
            hint = "leave it out"
            raise TargetUnusable(f"the database computes the column '{found.name}' of '{table}' itself", hint=hint)
        elif not holds(found.type, field.type) or (evolve == "widen" and _is_narrower(found.type, field.type)):
            found, statement = _widened(dialect, table, found, field, evolve)
            statements.append(statement)
        columns.append(found)
    for column in there:
        if column not in by_name.values() and not (column.nullable or column.filled or column.computed):
            hint = "write it, or give it a default"
            raise TargetUnusable(f"the table '{table}' needs a value for its column '{column.name}'", hint=hint)
    return Shape(tuple(schema.names), tuple(columns), tuple(statements))


def _by_name(there: Sequence[TableColumn], schema: pa.Schema) -> Mapping[str, TableColumn]:
    """The table's columns by the names that are written; where none is spelt the same, case does not matter."""
    exact = {column.name: column for column in there}
    folded = {column.name.casefold(): column for column in there}
    found = {name: exact.get(name) or folded.get(name.casefold()) for name in schema.names}
    return {name: column for name, column in found.items() if column is not None}


def _widened(dialect: Dialect, table: TableName, column: TableColumn, field: pa.Field, evolve: str) -> tuple[TableColumn, str]:
    wider = widest((column.type, field.type)) if column.type != field.type else None
    declared = None
    if wider is not None and holds(wider, field.type):
        try:
            declared = dialect.declared(wider)
        except DataHubError:
            declared = None
    statement = dialect.widen_column(table, column.name, declared) if declared is not None else None
    if evolve != "widen" or statement is None or declared is None:
        can = f"`evolve: widen` makes it {declared}, or " if statement is not None else ""
        raise LossyWrite(
            f"the column '{column.name}' of '{table}' is {column.declared} and would lose data of {sql_type(field.type)}",
            hint=f"{can}cast the column in a mapping",
        )
    return replace(column, declared=declared, type=wider, detail=WIDENED), statement


def _is_narrower(there: pa.DataType, given: pa.DataType) -> bool:
    """Whether values of the given type may be out of the column's range; the database refuses those singly."""
    return is_number(there) and is_number(given) and there != given and widest((there, given)) != there


def holds(there: pa.DataType, given: pa.DataType) -> bool:
    """Whether a column keeps each value of a type or refuses it, instead of changing it without a word."""
    t = pa.types
    if there in (given, JSON):
        return True
    if t.is_nested(given):
        return bool(t.is_list(there) and t.is_list(given) and holds(there.value_type, given.value_type))
    if there == pa.string():
        return True
    if given == pa.string() or given == JSON:
        # The database parses the text, and says of each value whether it can.
        return not t.is_decimal(there)
    if t.is_boolean(given) or t.is_boolean(there):
        return False
    if t.is_floating(there):
        if t.is_floating(given):
            return bool(there.bit_width >= given.bit_width)
        return bool(t.is_integer(given) and given.bit_width <= (32 if there == pa.float64() else 16))
    if t.is_decimal(there):
        return bool(t.is_integer(given) or (t.is_decimal(given) and there.scale >= given.scale))
    if t.is_integer(there):
        return bool(t.is_integer(given))
    if there == TIMESTAMP:
        return bool(given == pa.date32())
    if there == TIMESTAMPTZ:
        return False
    return False
