"""Which columns an expression carries on: their values, or a part of them, can be read off its result.

A comparison, a count or a length depends on a column and carries nothing of it; `upper(email)` carries all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from beam_datahub.component.operators import Measure
from beam_datahub.kernels.expressions import Expression

# Functions, as DuckDB calls them, whose results tell too little to be personal.
_MEASURING = {
    "length", "len", "strlen", "length_grapheme", "octet_length", "bit_length", "array_length", "list_length", "cardinality",
    "json_array_length", "json_type", "json_valid", "typeof", "contains", "starts_with", "ends_with", "prefix", "suffix",
    "regexp_matches", "regexp_full_match", "list_contains", "array_contains", "list_has", "position", "strpos", "instr",
    "isfinite", "isnan", "isinf", "levenshtein", "jaccard", "hamming", "jaro_similarity", "jaro_winkler_similarity",
    "count", "count_star", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile",
}  # fmt: skip
_COARSE_PARTS = {"year", "month", "quarter", "decade", "century", "yearweek", "week", "dayofweek", "isodow", "era", "millennium"}
_COARSE_UNITS = {"MONTH", "QUARTER", "YEAR", "DECADE", "CENTURY", "MILLENNIUM"}
# Aggregates that count or test, and those whose results blend many values; all others hand values on.
_COUNTING = {
    "count", "count_star", "count_if", "countif", "approx_count_distinct", "bool_and", "bool_or", "regr_count", "entropy", "rank",
    "row_number",
}  # fmt: skip
_BLENDING = {
    "sum", "avg", "mean", "fsum", "favg", "sum_no_overflow", "kahan_sum", "stddev", "stddev_pop", "stddev_samp", "variance",
    "var_pop", "var_samp", "sem", "skewness", "kurtosis", "kurtosis_pop", "corr", "covar_pop", "covar_samp", "product", "geomean",
    "bit_xor", "checksum",
}  # fmt: skip
_TESTS = (
    exp.Predicate,
    exp.Not,
    exp.Connector,
    exp.Length,
    exp.RegexpLike,
    exp.RegexpFullMatch,
    exp.StartsWith,
    exp.Contains,
    exp.StrPosition,
    exp.ArrayContains,
    exp.Levenshtein,
    exp.Count,
    exp.CountIf,
    exp.ApproxDistinct,
    exp.ArraySize,
)


@dataclass(frozen=True)
class Carried:
    """A column whose values an expression carries on: those of the field at `path` of a struct; `coarse`: a part of them."""

    column: str
    path: tuple[str, ...] = ()
    coarse: bool = False


def carried(expression: Expression) -> tuple[Carried, ...]:
    """What a scalar expression carries of the columns that it reads; all of them where that cannot be told."""
    if expression.is_column:
        return (Carried(expression.columns[0]),)
    if not expression.columns:
        return ()
    try:
        tree = sqlglot.parse_one(expression.sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return tuple(Carried(name) for name in expression.columns)
    names = {name.casefold(): name for name in expression.columns}
    found = dict.fromkeys(_walk(tree, names, False))
    mentioned = {part.name.casefold() for column in tree.find_all(exp.Column) for part in column.parts}
    unseen = [Carried(name) for folded, name in names.items() if folded not in mentioned]
    return (*found, *unseen)


def carried_by_measure(measure: Measure) -> tuple[Carried, ...]:
    """What an aggregate carries of its arguments; what it is ordered or filtered by, it does not."""
    if measure.function.lower() in _COUNTING:
        return ()
    coarse = measure.function.lower() in _BLENDING
    return tuple(Carried(name, coarse=coarse) for name in measure.arguments)


def only_measures(sql: str) -> bool:
    """Whether numbers that a query gives cannot be texts read as numbers: it converts nothing."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return False
    return not any(True for _ in tree.find_all(exp.Cast, exp.TryCast, exp.Anonymous))


def carried_by_query(sql: str, name: str, columns: Sequence[str]) -> tuple[Carried, ...] | None:
    """What the column `name` of a query carries of `columns` of its input; None for queries that are more than one select."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return None
    if not isinstance(tree, exp.Select) or tree.args.get("joins") or tree.args.get("with_") or any(tree.find_all(exp.Subquery)):
        return None
    made = next((each for each in tree.selects if each.alias_or_name.casefold() == name.casefold()), None)
    return None if made is None else tuple(dict.fromkeys(_walk(made, {each.casefold(): each for each in columns}, False)))


def _walk(node: exp.Expr, names: dict[str, str], coarse: bool) -> Iterator[Carried]:
    access = _access(node, names)
    if access is not None:
        yield Carried(access[0], access[1], coarse)
    elif isinstance(node, _TESTS) or _function(node) in _MEASURING:
        return
    elif isinstance(node, exp.Case):
        for branch in node.args.get("ifs") or ():
            yield from _walk(branch.args["true"], names, coarse)
        if node.args.get("default") is not None:
            yield from _walk(node.args["default"], names, coarse)
    elif isinstance(node, exp.If):
        for key in ("true", "false"):
            if node.args.get(key) is not None:
                yield from _walk(node.args[key], names, coarse)
    elif isinstance(node, exp.Nullif | exp.Window | exp.Filter | exp.Order):
        yield from _walk(node.this, names, coarse)
    else:
        coarse = coarse or _is_coarse(node) or _function(node) in _BLENDING
        for child in node.iter_expressions():
            yield from _walk(child, names, coarse)


def _access(node: exp.Expr, names: dict[str, str]) -> tuple[str, tuple[str, ...]] | None:
    """(column, fields) of a column, or of a field inside of one; None for anything else."""
    if isinstance(node, exp.Paren):
        return _access(node.this, names)
    if isinstance(node, exp.Column):
        parts = [part.name for part in node.parts]
        at = next((index for index, part in enumerate(parts) if part.casefold() in names), None)
        return None if at is None else (names[parts[at].casefold()], tuple(parts[at + 1 :]))
    field: exp.Expr | None = None
    if isinstance(node, exp.StructExtract):
        field = node.expression
    elif isinstance(node, exp.Anonymous) and node.name.lower() == "struct_extract" and len(node.expressions) == 2:
        inside = _access(node.expressions[0], names)
        field = node.expressions[1]
        return None if inside is None or not field.is_string else (inside[0], (*inside[1], field.name))
    elif isinstance(node, exp.Dot):
        inside = _access(node.this, names)
        return None if inside is None else (inside[0], (*inside[1], node.expression.name))
    if field is not None and field.is_string:
        inside = _access(node.this, names)
        return None if inside is None else (inside[0], (*inside[1], field.name))
    return None


def _function(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else None


def _is_coarse(node: exp.Expr) -> bool:
    if isinstance(node, exp.DateTrunc | exp.TimestampTrunc):
        unit = node.args.get("unit")
        return unit is not None and unit.name.upper() in _COARSE_UNITS
    if isinstance(node, exp.Extract):
        return node.name.lower() in _COARSE_PARTS
    if _function(node) in ("date_part", "datepart") and node.expressions and node.expressions[0].is_string:
        return str(node.expressions[0].name).lower() in _COARSE_PARTS
    return _function(node) in _COARSE_PARTS
