"""Rules for single fields: what a value must be, and the checks that they compile to."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config
from beam_datahub.component.literals import number_sql, typed_literal
from beam_datahub.component.operators import Check
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type
from beam_datahub.kernels.widening import is_number

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope

Limit = int | float | Decimal | datetime.datetime | datetime.date | str
At = tuple[str | int, ...]


class Rule(Config):
    """What a field must be. A null meets every condition but `required`."""

    field: str | None = None
    """The field; needed where the rules are a list. A rule with `that` alone has none."""

    required: bool = False
    """Whether there must be a value: null is refused."""

    type: str | None = None
    """A SQL type that the value must convert to, as `date` for a text; it is not converted."""

    min: Limit | None = None
    """The least value; a number, or a date or time for a field of such a type."""

    max: Limit | None = None
    """The greatest value; a number, or a date or time for a field of such a type."""

    above: Limit | None = None
    """What the value must be greater than."""

    below: Limit | None = None
    """What the value must be less than."""

    min_length: int | None = Field(default=None, ge=0)
    """The least number of characters of a text, or of elements of a list."""

    max_length: int | None = Field(default=None, ge=0)
    """The greatest number of characters of a text, or of elements of a list."""

    pattern: str | None = None
    """A regular expression (RE2 syntax) that must be found in the text; `^` and `$` tie it to its ends."""

    in_: tuple[Any, ...] | None = Field(default=None, alias="in")
    """The values that are allowed."""

    not_in: tuple[Any, ...] | None = None
    """The values that are not allowed."""

    that: str | None = None
    """A condition over all columns that must be true; unlike the others, it does not hold where it is null."""

    message: str | None = None
    """What the dead letter says of a row that breaks the rule, in place of the built-in words."""


def rule_checks(rule: Rule, index: int, schema: pa.Schema, scope: Scope) -> Iterator[Check]:
    """The checks that the rule at `index` of `rules` compiles to."""
    at: At = ("rules", index)
    name: str | None = None
    if rule.field is not None:
        at = ("rules", rule.field)
        name = find_column(rule.field, schema, scope, *at)
    conditions = dict(field_conditions(rule, name, schema, scope, at)) if name is not None else {}
    if name is None and rule.field is None:
        stray = next((key for key in rule.model_fields_set - {"that", "message"}), None)
        if stray is not None or rule.that is None:
            scope.error(InvalidValue("the rule names no `field`", hint="name one, or give the condition in `that`"), *at)
    for words, sql in conditions.items():
        # Row by row, no condition can fail: the conversions are tried, the comparisons are of one type.
        condition = Expression(words, sql, pa.bool_(), (name,) if name else (), can_fail=False)
        yield Check(condition, rule.message or words, column=name)
    if rule.that is not None:
        condition = scope.predicate(rule.that, schema, *at, "that")
        yield Check(condition, rule.message or f"not so: {rule.that}", column=name)


def field_conditions(rule: Rule, name: str, schema: pa.Schema, scope: Scope, at: At) -> Iterator[tuple[str, str]]:
    """(what the dead letter says, SQL that is true for a good row) of each condition of a field."""
    column, kind = quoted(name), schema.field(name).type
    null = f"{column} IS NULL"
    if rule.required:
        yield f"'{name}' is missing", f"{column} IS NOT NULL"
    if rule.type is not None:
        target = sql_type(scope.data_type(rule.type, *at, "type"))
        source = f"({column} ->> '$')" if kind == JSON else column
        yield f"'{name}' is no {rule.type}", f"coalesce(TRY({source} IS NULL OR CAST({source} AS {target}) IS NOT NULL), false)"
    for key, limit, operator, words in (
        ("min", rule.min, ">=", "less than"),
        ("max", rule.max, "<=", "more than"),
        ("above", rule.above, ">", "not above"),
        ("below", rule.below, "<", "not below"),
    ):
        if limit is not None and (sql := _limit_sql(limit, kind, name, scope, *at, key)) is not None:
            yield f"'{name}' is {words} {limit}", f"{null} OR {column} {operator} {sql}"
    yield from _length_conditions(rule, name, kind, scope, at)
    if rule.pattern is not None:
        if kind != pa.string():
            scope.error(InvalidValue(f"a pattern is for text, and '{name}' is {sql_type(kind)}"), *at, "pattern")
        else:
            found = scope.predicate(f"regexp_matches({column}, {literal(rule.pattern)})", schema, *at, "pattern")
            yield f"'{name}' does not match {rule.pattern}", f"{null} OR {found.sql}"
    for key, values, word, end in (("in", rule.in_, "IN", "is not one of"), ("not_in", rule.not_in, "NOT IN", "is one of")):
        if values is not None:
            listed = list_sql(values, kind, name, scope, *at, key)
            shown = ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
            yield f"'{name}' {end} {shown}", f"{null} OR {column} {word} ({listed})"


def _length_conditions(rule: Rule, name: str, kind: pa.DataType, scope: Scope, at: At) -> Iterator[tuple[str, str]]:
    column = quoted(name)
    for key, bound, operator, words in (
        ("min_length", rule.min_length, ">=", "shorter than"),
        ("max_length", rule.max_length, "<=", "longer than"),
    ):
        if bound is None:
            continue
        if kind != pa.string() and not pa.types.is_list(kind):
            scope.error(InvalidValue(f"a length is for text and lists, and '{name}' is {sql_type(kind)}"), *at, key)
            continue
        yield f"'{name}' is {words} {bound}", f"{column} IS NULL OR length({column}) {operator} {bound}"


def _limit_sql(limit: Limit, kind: pa.DataType, name: str, scope: Scope, *at: str | int) -> str | None:
    """`limit` as a literal that compares exactly with the column; None, once the error is reported, where none does."""
    if is_number(kind):
        if isinstance(limit, int | float | Decimal) and not isinstance(limit, bool):
            return number_sql(limit, kind)
        wanted = "a number"
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        try:
            moment = limit if isinstance(limit, datetime.date) else datetime.datetime.fromisoformat(str(limit))
        except ValueError:
            moment = None
        if moment is not None:
            # A date column against a moment within a day compares as the moment.
            target = "TIMESTAMPTZ" if getattr(moment, "tzinfo", None) or getattr(kind, "tz", None) else "TIMESTAMP"
            return f"CAST({literal(moment.isoformat())} AS {target})"
        wanted = "a date or a date and time"
    elif kind == pa.string() and isinstance(limit, str):
        return literal(limit)
    else:
        wanted = "a text" if kind == pa.string() else "no limit"
    hint = "check or convert the text with a `cast` before" if kind == pa.string() else None
    scope.error(InvalidValue(f"'{name}' is {sql_type(kind)}, whose limit is {wanted}, not {limit!r}", hint=hint), *at)
    return None


def list_sql(values: Sequence[Any], kind: pa.DataType, name: str, scope: Scope, *at: str | int) -> str:
    """`values` as literals of the column's type, for SQL's `IN`; what is none is reported."""
    if not values:
        reason = "any value would meet it" if at and at[-1] == "not_in" else "no value could meet it"
        scope.error(InvalidValue(f"the list is empty: {reason}"), *at)
    found = [typed_literal(value, name, kind, scope, *at, index) for index, value in enumerate(values)]
    return ", ".join(sql for sql in found if sql is not None) or "NULL"
