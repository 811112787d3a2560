"""Runs a whole SELECT over the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from beam_datahub.component.columns import Names, find_columns, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Column, Operator, PerKey, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidExpression, SpecError
from beam_datahub.kernels.expressions.syntax import sentence
from beam_datahub.kernels.expressions.typing import typing_session
from beam_datahub.kernels.query import Query
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import HIDDEN, empty_table, quoted, visible


class SqlConfig(Config):
    """Options of a SQL step."""

    query: str
    """One `select … from input` in DuckDB's dialect; `with`, subqueries, joins of `input` with itself, windows and unions
    are allowed, other tables, files and settings are not. A query that looks at one row at a time (columns, expressions,
    `where`) runs row by row, and rejects a row on which it fails; in any other, wrap what may fail in `try(…)`. A query
    whose result would depend on the order of the rows, as `limit` without `order by`, is refused; ties in an order are
    settled by all columns where the query reads `input` itself, and must not be there where it reads a join or a `with`."""

    by: Names = ()
    """Columns: the query then runs for the rows of each of their values on its own, and these columns come first in the
    output. Without it all rows meet in one place, which suits results and inputs of moderate size."""


@register("transform", "sql", since="0.1.0")
class Sql(Transform):
    """Runs one SELECT over all rows of the input, or over the rows of each key."""

    Config = SqlConfig
    config: SqlConfig
    examples = (
        Example(
            title="Row by row: columns and a condition; a row on which it fails is rejected",
            config={"query": "select id, cast(amount as decimal(12,2)) * 2 as twice from input where id <> 3"},
            given={"input": [{"id": 1, "amount": "1.50"}, {"id": 2, "amount": "free"}, {"id": 3, "amount": "1"}]},
            expect=[{"id": 1, "twice": 3.00}],
            rejected=("expression_failed",),
        ),
        Example(
            title="A share of the whole",
            config={"query": "select shop, sum(sold) / (select sum(sold) from input) as share from input group by shop"},
            given={"input": [{"shop": "Ulm", "sold": 3}, {"shop": "Bonn", "sold": 1}]},
            expect=[{"shop": "Ulm", "share": 0.75}, {"shop": "Bonn", "share": 0.25}],
        ),
        Example(
            title="For each customer on its own: the days since the order before",
            config={
                "by": "customer",
                "query": "select day, day - lag(day) over (order by day) as since from input",
            },
            given={"input": [{"customer": 1, "day": 3}, {"customer": 1, "day": 8}, {"customer": 2, "day": 9}]},
            expect=[
                {"customer": 1, "day": 3, "since": None},
                {"customer": 1, "day": 8, "since": 5},
                {"customer": 2, "day": 9, "since": None},
            ],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        keys = find_columns(self.config.by, schema, scope, "by")
        session = typing_session()
        try:
            query = Query(self.config.query, schema, session)
            if not self.config.by and (rowwise := query.rowwise()) is not None:
                return [self._rows(*rowwise, schema, scope)]
            sql = _per_key(query, keys, schema, session) if keys else _at_once(query)
            after = _described(sql, schema, session)
        except SpecError as error:
            scope.error(error, "query")
            return [Rows()]
        taken: list[str] = []
        for name in after.names:
            if is_free(name, taken, scope, "query", hint="name the columns apart with `as`"):
                taken.append(name)
        return [PerKey(tuple(keys), sql, after, _lineage(sql, schema, after))]

    def _rows(self, columns: Sequence[tuple[str, str]], where: str | None, schema: pa.Schema, scope: Scope) -> Rows:
        made: list[Column] = []
        for name, sql in columns:
            if not name:
                scope.error(InvalidExpression(f"'{sql}' has no name", hint=f"name it: {sql} as total"), "query")
            elif is_free(name, [column.name for column in made], scope, "query", hint="name the columns apart with `as`"):
                made.append(Column(name, scope.expression(sql, schema, "query")))
        return Rows(tuple(made), keep=scope.predicate(where, schema, "query") if where is not None else None)


# The rows stream by and can be read once only; a query that reads them several times has them kept.
_WHOLE = f"{HIDDEN}whole"


def _at_once(query: Query) -> str:
    if query.scans < 2:
        return query.sql
    return (
        f"WITH {_WHOLE} AS MATERIALIZED (SELECT * FROM input) SELECT * FROM ({query.over(f'SELECT * FROM {_WHOLE}')}) AS result"
    )


def _per_key(query: Query, keys: Sequence[str], schema: pa.Schema, session: KernelSession) -> str:
    """The query run for each key, with the key's columns before its own."""
    same = " AND ".join(f"one.{quoted(key)} IS NOT DISTINCT FROM every.{quoted(key)}" for key in keys)
    inner = query.over(f"SELECT one.* FROM {_WHOLE} AS one WHERE {same}")
    names = _described(query.sql, schema, session).names
    folded = {key.casefold() for key in keys}
    shown = [f"every.{quoted(key)}" for key in keys] + [
        f"result.{quoted(name)}" for name in names if name.casefold() not in folded
    ]
    listed = ", ".join(map(quoted, keys))
    return (
        f"WITH {_WHOLE} AS MATERIALIZED (SELECT * FROM input) SELECT {', '.join(shown)} "
        f"FROM (SELECT DISTINCT {listed} FROM {_WHOLE}) AS every, LATERAL ({inner}) AS result"
    )


def _described(sql: str, schema: pa.Schema, session: KernelSession) -> pa.Schema:
    session.put("input", empty_table(schema))
    try:
        return session.describe(sql)
    except duckdb.Error as error:
        raise InvalidExpression(sentence(error)) from error
    except TypeError as error:
        raise InvalidExpression(
            f"a column of the result has a type that cannot flow on: {error}", hint="convert it with a cast"
        ) from error
    finally:
        session.drop("input")


def _lineage(sql: str, schema: pa.Schema, after: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The input columns that each output column comes from; all of them where that cannot be told."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage

    columns = {f'"{name}"': "VARCHAR" for name in schema.names}
    folded = {name.casefold(): name for name in schema.names}
    found: dict[str, tuple[str, ...]] = {}
    for name in after.names:
        try:
            root = lineage(quoted(name), sql, schema={"input": columns}, dialect="duckdb")
        except (SqlglotError, ValueError, KeyError, AttributeError, RecursionError):
            found[name] = tuple(schema.names)
            continue
        leaves = (node.name.rpartition(".")[2].strip('"') for node in root.walk() if isinstance(node.expression, exp.Table))
        found[name] = tuple(dict.fromkeys(folded[leaf.casefold()] for leaf in leaves if leaf.casefold() in folded))
    return found
