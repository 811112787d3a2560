"""The public cases of Great Expectations, mapped to quality rules: the verdict and the failing values must be theirs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.types import canonical
from beam_datahub.testing.rules import RuleRun, run_rule
from tests.conftest import CASES

FOLDER = CASES / "great-expectations" / "test_definitions"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the cases of Great Expectations are not there")

# Expectations that no rule stands for, and why.
NO_RULE = {
    "expect_column_most_common_value_to_be_in_set": "several values may be the most common one",
    "expect_column_value_z_scores_to_be_less_than": "deviation from the mean is drift, which the profile tells",
    "expect_column_values_to_be_between_tz_informed": "it has no case",
    "expect_column_values_to_be_dateutil_parseable": "dates that are guessed: ours are of a stated format",
    "expect_column_values_to_be_decreasing": "records have no order",
    "expect_column_values_to_be_increasing": "records have no order",
    "expect_column_values_to_be_in_type_list": "types of other systems: a column has one SQL type here, see the rule `schema`",
    "expect_column_values_to_match_json_schema": "the transformation `validation` checks JSON Schemas",
    "expect_table_row_count_to_equal_other_table": "no rule compares two counts; the cases name tables of a database",
    "expect_this_test_to_be_suppressed": "it tests the test runner",
    "expect_column_chisquare_test_p_value_to_be_greater_than": "a test of a distribution is drift, which the profile tells",
    "expect_column_kl_divergence_to_be_less_than": "a test of a distribution is drift, which the profile tells",
    "expect_column_pair_cramers_phi_value_to_be_less_than": "a test of independence is no rule of records",
    "expect_column_parameterized_distribution_ks_test_p_value_to_be_greater_than": "drift, which the profile tells",
    "test_expect_column_bootstrapped_ks_test_p_value_to_be_greater_than": "drift, which the profile tells",
    "expect_column_values_to_be_between__evaluation_parameters": "it is about their parser of arguments",
    "expect_column_values_to_be_between_tz_informed_mssql": "it is about another system",
    "unexpected_rows_expectation": "a query of a database: here a `sql` step and the rule `row_count`",
}
# Single cases that do not apply, by a part of their title, and why.
NOT_SO = {
    "mixed_types": "a column here has one type",
    "multi_type": "a column here has one type",
    "bigquery": "another system's nulls",
    "snowflake": "another system's patterns",
    "error_on_string-to-int": "text is compared with numbers as text here, and refused where it is typed",
    "vacuously_true": "a figure without a limit is refused where it is written",
    "disordered_quantile_ranges": "each rule is about one quantile",
    "missing_both_min": "it is about their parser of arguments",
    "both_max_and_min_are_missing": "it is about their parser of arguments",
    "evaluation_parameter": "it is about their parser of arguments",
    "empty_value_set": "an empty list is refused where it is written: no value could meet it",
    "empty_values_set": "an empty list is refused where it is written: no value could meet it",
    "type_object": "a column here has an SQL type, not one of Python",
    "pandas_datetime": "the data of the case are text, which their runner casts",
    "set_is_null": "an empty list is refused where it is written",
    "set_is_missing": "it is about their parser of arguments",
    "null_list": "a rule that wants nothing is refused where it is written",
    "null_set": "a rule that wants nothing is refused where it is written",
    "empty_column": "a column without a value has no type",
    "negative_test_integers": "a form is of text: numbers are refused where the rule is typed",
}


@dataclass(frozen=True)
class Mapped:
    type: str
    options: dict[str, Any]
    where: str | None = None


def name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def limits(given: dict[str, Any]) -> dict[str, Any]:
    least, most = ("above" if given.get("strict_min") else "min"), ("below" if given.get("strict_max") else "max")
    found = {least: given.get("min_value"), most: given.get("max_value")}
    return {key: value for key, value in found.items() if value is not None}


def figure(figure: str) -> Callable[[dict[str, Any]], Mapped]:
    return lambda given: Mapped("statistics", {"field": given["column"], "figure": figure, **limits(given)})


def quantiles(given: dict[str, Any]) -> list[Mapped]:
    ranges = given["quantile_ranges"]
    found = []
    for quantile, (least, most) in zip(ranges["quantiles"], ranges["value_ranges"], strict=True):
        options = limits({"min_value": least, "max_value": most})
        found.append(Mapped("statistics", {"field": given["column"], "figure": "quantile", "quantile": quantile, **options}))
    return found


def in_range(given: dict[str, Any]) -> Mapped:
    return Mapped("validity", {"field": given["column"], **limits(given)})


def like(given: dict[str, Any]) -> list[Mapped]:
    patterns = given.get("like_pattern_list") or [given["like_pattern"]]
    if given.get("match_on") != "all":
        return [Mapped("validity", {"field": given["column"], "like": patterns})]
    that = " and ".join(f"{name(given['column'])} like {literal(pattern)}" for pattern in patterns)
    return [Mapped("consistency", {"that": that}, f"{name(given['column'])} is not null")]


def rows_with(given: dict[str, Any]) -> str | None:
    columns = given["column_list"]
    word = {"any_value_is_missing": " and ", "all_values_are_missing": " or "}.get(
        given.get("ignore_row_if", "all_values_are_missing")
    )
    return None if word is None else "(" + word.join(f"{name(column)} is not null" for column in columns) + ")"


def pair(given: dict[str, Any]) -> str | None:
    first, second = name(given["column_A"]), name(given["column_B"])
    word = {"both_values_are_missing": "or", "either_value_is_missing": "and"}.get(
        given.get("ignore_row_if", "both_values_are_missing")
    )
    return None if word is None else f"({first} is not null {word} {second} is not null)"


def compared(how: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], Mapped]:
    return lambda given: Mapped(
        "consistency", {"that": f"{name(given['column_A'])} {how(given)} {name(given['column_B'])}"}, pair(given)
    )


def pairs(given: dict[str, Any]) -> Mapped:
    listed = ", ".join(f"({literal(first)}, {literal(second)})" for first, second in given["value_pairs_set"])
    return Mapped("consistency", {"that": f"({name(given['column_A'])}, {name(given['column_B'])}) in ({listed})"}, pair(given))


def differ(given: dict[str, Any]) -> Mapped:
    columns = [name(column) for column in given["column_list"]]
    that = " and ".join(
        f"{first} is distinct from {second}" for number, first in enumerate(columns) for second in columns[number + 1 :]
    )
    return Mapped("consistency", {"that": that}, rows_with(given))


def patterns(given: dict[str, Any]) -> Mapped:
    if given.get("match_on") == "all":
        that = " and ".join(f"regexp_matches({name(given['column'])}, {literal(regex)})" for regex in given["regex_list"])
        return Mapped("consistency", {"that": that}, f"{name(given['column'])} is not null")
    return Mapped("validity", {"field": given["column"], "pattern": either(given["regex_list"])})


def either(regexes: list[str]) -> str:
    return "|".join(f"(?:{regex})" for regex in regexes)


def span(least: str, most: str, given: dict[str, Any]) -> dict[str, Any]:
    found = {least: given.get("min_value"), most: given.get("max_value")}
    return {key: value for key, value in found.items() if value is not None}


def contains(given: dict[str, Any]) -> Mapped:
    return Mapped("statistics", {"field": given["column"], "contains": given["value_set"]})


def values_in(given: dict[str, Any]) -> Mapped:
    return Mapped("validity", {"field": given["column"], "in": given["value_set"]})


TYPES = {"int": "bigint", "float": "double", "str": "varchar", "string": "varchar", "bool": "boolean"}

MAPPINGS: dict[str, Callable[[dict[str, Any]], Mapped | list[Mapped]]] = {
    "expect_column_distinct_values_to_contain_set": contains,
    "expect_column_distinct_values_to_equal_set": lambda given: [contains(given), values_in(given)],
    "expect_column_max_to_be_between": figure("max"),
    "expect_column_min_to_be_between": figure("min"),
    "expect_column_median_to_be_between": figure("median"),
    "expect_column_quantile_values_to_be_between": quantiles,
    "expect_column_unique_value_count_to_be_between": figure("distinct"),
    "expect_column_value_lengths_to_equal": lambda given: Mapped(
        "validity", {"field": given["column"], "min_length": given["value"], "max_length": given["value"]}
    ),
    "expect_column_values_to_be_between": in_range,
    "expect_column_values_to_be_in_set": values_in,
    "expect_column_values_to_be_json_parseable": lambda given: Mapped("validity", {"field": given["column"], "format": "json"}),
    "expect_column_values_to_be_null": lambda given: Mapped("consistency", {"that": f"{name(given['column'])} is null"}),
    "expect_column_values_to_be_unique": lambda given: Mapped("uniqueness", {"field": given["column"]}),
    "expect_column_values_to_match_like_pattern": like,
    "expect_column_values_to_match_like_pattern_list": like,
    "expect_column_values_to_match_regex": lambda given: Mapped(
        "validity", {"field": given["column"], "pattern": given["regex"]}
    ),
    "expect_column_values_to_match_strftime_format": lambda given: Mapped(
        "validity", {"field": given["column"], "time_format": given["strftime_format"]}
    ),
    "expect_compound_columns_to_be_unique": lambda given: Mapped(
        "uniqueness", {"field": given["column_list"], "nulls": "equal"}, rows_with(given)
    ),
    "expect_multicolumn_sum_to_equal": lambda given: Mapped(
        "consistency", {"that": f"{' + '.join(map(name, given['column_list']))} = {given['sum_total']}"}, rows_with(given)
    ),
    "expect_column_distinct_values_to_be_in_set": values_in,
    "expect_column_mean_to_be_between": figure("mean"),
    "expect_column_proportion_of_unique_values_to_be_between": figure("distinct_ratio"),
    "expect_column_stdev_to_be_between": figure("stddev"),
    "expect_column_sum_to_be_between": figure("sum"),
    "expect_column_value_lengths_to_be_between": lambda given: Mapped(
        "validity", {"field": given["column"], **span("min_length", "max_length", given)}
    ),
    "expect_column_values_to_be_between_tz_naive": in_range,
    "expect_column_values_to_be_of_type": lambda given: Mapped(
        "schema", {"columns": {given["column"]: TYPES.get(given["type_"], given["type_"])}}
    ),
    "expect_column_values_to_match_regex_list": patterns,
    "expect_column_values_to_not_be_in_set": lambda given: Mapped(
        "validity", {"field": given["column"], "not_in": given["value_set"]}
    ),
    "expect_column_values_to_not_be_null": lambda given: Mapped("completeness", {"field": given["column"], "blank": True}),
    "expect_column_values_to_not_match_like_pattern": lambda given: Mapped(
        "validity", {"field": given["column"], "not_like": given["like_pattern"]}
    ),
    "expect_column_values_to_not_match_like_pattern_list": lambda given: Mapped(
        "validity", {"field": given["column"], "not_like": given["like_pattern_list"]}
    ),
    "expect_column_values_to_not_match_regex": lambda given: Mapped(
        "validity", {"field": given["column"], "not_pattern": given["regex"]}
    ),
    "expect_column_values_to_not_match_regex_list": lambda given: Mapped(
        "validity", {"field": given["column"], "not_pattern": either(given["regex_list"])}
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": compared(lambda given: ">=" if given.get("or_equal") else ">"),
    "expect_column_pair_values_to_be_equal": compared(lambda given: "="),
    "expect_column_pair_values_to_be_in_set": pairs,
    "expect_select_column_values_to_be_unique_within_record": differ,
    "expect_table_column_count_to_be_between": lambda given: Mapped("schema", span("min_count", "max_count", given)),
    "expect_table_columns_to_match_ordered_list": lambda given: Mapped(
        "schema", {"columns": given["column_list"], "others": False, "order": True}
    ),
    "expect_table_columns_to_match_set": lambda given: Mapped(
        "schema", {"columns": given["column_set"], "others": not given.get("exact_match", True)}
    ),
    "expect_table_row_count_to_be_between": lambda given: Mapped("row_count", span("min", "max", given)),
    "expect_column_to_exist": lambda given: Mapped("schema", {"columns": [given["column"]]}),
    "expect_table_column_count_to_equal": lambda given: Mapped("schema", {"count": given["value"]}),
    "expect_table_row_count_to_equal": lambda given: Mapped("row_count", {"exact": given["value"]}),
}


def cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*/*.json")):
        definition = json.loads(file.read_text("utf-8"))
        kind = definition.get("expectation_type", file.stem)
        if file.stem in NO_RULE or kind in NO_RULE:
            continue
        for number, dataset in enumerate(definition["datasets"]):
            for test in dataset["tests"]:
                title = f"{file.stem.removeprefix('expect_')}-{number}-{test['title']}"
                yield pytest.param(file.stem, dataset["data"], test, id=title)


def why_not(test: dict[str, Any], data: Any) -> str | None:
    """Why a case does not apply to rules over typed columns; None where it does."""
    if test.get("only_for") and not any(str(each).startswith("pandas") for each in test["only_for"]):
        return "it is about another system"
    if any(str(each) == "pandas" for each in test.get("suppress_test_for") or ()):
        return "they leave it out themselves"
    if test["in"].get("column_index") is not None:
        return "the rule `schema` knows the order of columns, not their numbers"
    reason = next((reason for part, reason in NOT_SO.items() if part in test["title"]), None)
    if reason is None and test["in"].get("condition_parser") == "bad_parser":
        reason = "it is about their parsers of conditions"
    return reason


def as_columns(data: dict[str, list[Any]], expectation: str) -> pa.Table:
    """The columns that have one type; a column of several stays out, and a case about it cannot apply."""
    of_nulls = pa.float64() if re.search("_(min|max|median|quantile)_", expectation) else pa.string()
    found = {}
    for column, values in data.items():
        try:
            array = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            continue
        found[column] = array.cast(of_nulls if pa.types.is_null(array.type) else canonical(array.type))
    return pa.table(found)


def condition(text: str) -> str:
    """Their conditions in pandas' words as SQL."""
    return text.replace("==", "=").replace('"', "'").replace("&", " and ").replace("|", " or ")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def plain(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize(("expectation", "data", "test"), list(cases()))
def test_a_rule_gives_their_verdict_and_their_failing_values(expectation: str, data: Any, test: dict[str, Any]) -> None:
    reason = why_not(test, data)
    given, wanted = test["in"], test["out"]
    table = as_columns(data, expectation)
    used = [given[key] for key in ("column", "column_A", "column_B") if key in given] or given.get("column_list") or []
    mentioned = [*used, *re.findall("[a-z_]+", given.get("row_condition", ""))]
    if reason is None and any(column in data and column not in table.column_names for column in mentioned):
        reason = "a column here has one type"
    if reason is not None:
        pytest.skip(reason)
    if "success" not in wanted or "traceback_substring" in wanted:
        with pytest.raises((DataHubError, KeyError, TypeError)):
            judged(expectation, table, given)
        return
    verdict, failing = judged(expectation, table, given)
    assert verdict == wanted["success"]
    if "unexpected_list" in wanted and not any(each in ("None", None) for each in wanted["unexpected_list"]):
        rows = [tuple(plain(row[column]) for column in used) for row in failing]
        theirs = [
            tuple(plain(each[column]) for column in used) if isinstance(each, dict) else tuple(map(plain, listed(each)))
            for each in wanted["unexpected_list"]
        ]
        assert Counter(map(repr, rows)) == Counter(map(repr, theirs))


def judged(expectation: str, table: pa.Table, given: dict[str, Any]) -> tuple[bool, list[dict[str, Any]]]:
    mapped = MAPPINGS[expectation](given)
    every = mapped if isinstance(mapped, list) else [mapped]
    ran = [run(rule, table, given) for rule in every]
    return all(each.verdict["passed"] for each in ran), ran[-1].failing


def run(rule: Mapped, table: pa.Table, given: dict[str, Any]) -> RuleRun:
    where = rule.where
    if given.get("row_condition"):
        extra = condition(given["row_condition"])
        where = f"({extra})" if where is None else f"({extra}) and {where}"
    of_records = rule.type in ("validity", "consistency", "uniqueness", "completeness")
    return run_rule(rule.type, rule.options, table, where=where, threshold=given.get("mostly") if of_records else None)


def test_every_expectation_is_mapped_or_has_a_reason() -> None:
    known = {file.stem for file in FOLDER.glob("*/*.json")}
    assert known <= set(MAPPINGS) | set(NO_RULE)
    assert not set(MAPPINGS) & set(NO_RULE)
    assert Path(FOLDER).is_dir()
