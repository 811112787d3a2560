"""Expressions: one string in one of four forms, compiled to one typed DuckDB expression."""

from __future__ import annotations

from beam_datahub.kernels.expressions.aggregates import compile_aggregate
from beam_datahub.kernels.expressions.allowed import AGGREGATES, FUNCTIONS, Group
from beam_datahub.kernels.expressions.casts import cast_sql, error_mask_sql, read_json_sql
from beam_datahub.kernels.expressions.compiling import compile_expression, compile_predicate
from beam_datahub.kernels.expressions.expression import AggregateCall, AggregateExpression, Expression, column
from beam_datahub.kernels.expressions.typing import data_type

__all__ = [
    "AGGREGATES",
    "FUNCTIONS",
    "AggregateCall",
    "AggregateExpression",
    "Expression",
    "Group",
    "cast_sql",
    "column",
    "compile_aggregate",
    "compile_expression",
    "compile_predicate",
    "data_type",
    "error_mask_sql",
    "read_json_sql",
]
