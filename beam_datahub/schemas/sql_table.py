"""The columns of a table as its CREATE TABLE in some SQL dialect says them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pyarrow as pa
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from beam_datahub.errors import DataHubError, InvalidSchema
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import canonical_schema
from beam_datahub.schemas.document import check_size

Lost = Callable[[str, str], None]
# sqlglot's own names, where they are others.
_DIALECTS: Mapping[str, str] = {"postgresql": "postgres", "mssql": "tsql"}
_CREATES = re.compile(r"\bcreate\b[^;(]*\btable\b", re.IGNORECASE)
_DECIMALS = (exp.DType.DECIMAL, exp.DType.BIGDECIMAL)
_TEXT = (exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.NVARCHAR, exp.DType.NCHAR)
_CONSTRAINTS: Mapping[type[exp.Expr], str] = {
    exp.NotNullColumnConstraint: "that it is never null",
    exp.PrimaryKeyColumnConstraint: "that it is the key",
    exp.UniqueColumnConstraint: "that it is unique",
    exp.DefaultColumnConstraint: "the default",
    exp.CheckColumnConstraint: "its check",
    exp.Reference: "what it refers to",
}


def table_columns(text: str, dialect: str, lost: Lost) -> pa.Schema:
    """The columns of the table that a CREATE TABLE makes. Raises InvalidSchema, for a type that is not known with its column."""
    check_size(text)
    if not _CREATES.search(text):
        raise _no_table()
    try:
        tree = parse_one(text, dialect=_DIALECTS.get(dialect, dialect))
    except SqlglotError as error:
        raise InvalidSchema(f"no SQL of {dialect}: {str(error).splitlines()[0][:200]}", hint="name another dialect") from error
    table = tree.this if isinstance(tree, exp.Create) else None
    if not isinstance(table, exp.Schema):
        raise _no_table()
    fields = []
    for each in table.expressions:
        if isinstance(each, exp.ColumnDef):
            fields.append(pa.field(each.name, _type(each, dialect, lost)))
        else:
            lost("", f"the constraint {each.sql(dialect='duckdb')[:80]}")
    if not fields:
        raise _no_table()
    return canonical_schema(pa.schema(fields))


def _type(column: exp.ColumnDef, dialect: str, lost: Lost) -> pa.DataType:
    kind = column.args.get("kind")
    if not isinstance(kind, exp.DataType):
        raise InvalidSchema(f"{column.name}: the column has no type")
    for each in column.args.get("constraints") or ():
        nullable = isinstance(each.kind, exp.NotNullColumnConstraint) and each.kind.args.get("allow_null")
        told = next((words for of, words in _CONSTRAINTS.items() if isinstance(each.kind, of)), None)
        if told is not None and not nullable:
            lost(column.name, told)
    if kind.this in (exp.DType.ENUM, exp.DType.SET):
        lost(column.name, "the values that are allowed")
        return pa.string()
    if kind.this in _TEXT and kind.expressions and kind.expressions[0].sql().isdigit():
        lost(column.name, f"that it has at most {kind.expressions[0].sql()} characters")
    if kind.this in _DECIMALS and not kind.expressions:
        lost(column.name, "digits beyond the 15th, since it has no precision")
        return pa.float64()
    if dialect == "sqlite" and kind.this in exp.DataType.INTEGER_TYPES:
        return pa.int64()
    if dialect == "mssql" and kind.this is exp.DType.BIT:
        return pa.bool_()
    if kind.this not in (*_DECIMALS, *exp.DataType.NESTED_TYPES):
        # Lengths and widths of display are no part of a column's type here.
        kind = exp.DataType(this=kind.this)
    try:
        return data_type(kind.sql(dialect="duckdb"))
    except DataHubError as error:
        raise InvalidSchema(f"{column.name}: the type {kind.sql()} has no counterpart here") from error


def _no_table() -> InvalidSchema:
    return InvalidSchema("the SQL is no CREATE TABLE with columns, so there are no columns")
