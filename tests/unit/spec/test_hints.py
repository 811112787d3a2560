"""What a spec that somebody writes by what they know of SQL or of another tool is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError, ErrorGroup, SourceMissing, UnknownName
from beam_datahub.io.parquet import ParquetSource
from beam_datahub.kernels.expressions import compile_expression, compile_predicate
from beam_datahub.spec import loads

COLUMNS = pa.schema([("id", pa.int64()), ("status", pa.string()), ("day", pa.string())])
ENDS = "destination: {connector: jsonl, connection: {path: out.jsonl}}\n"


def told(text: str) -> str:
    with pytest.raises(DataHubError) as caught:
        loads(text, name="a.yaml", environment={})
    error = caught.value.errors[0] if isinstance(caught.value, ErrorGroup) else caught.value
    return str(error.hint)


def told_of(expression: str, compiled: Any = compile_expression) -> str:
    with pytest.raises(DataHubError) as caught:
        compiled(expression, COLUMNS)
    return str(caught.value.hint)


@pytest.mark.parametrize(
    ("word", "candidates", "meant"),
    [
        ("groupby", ["aggregation", "mapping", "top"], "aggregation"),
        ("dedupe", ["deduplication", "mapping"], "deduplication"),
        ("explode", ["flatten", "top"], "flatten"),
        ("group_by", ["by", "measures"], "by"),
        ("aggregates", ["by", "measures"], "measures"),
        ("how", ["kind", "on"], "kind"),
        ("replace", ["append", "overwrite", "merge"], "overwrite"),
        ("upsert", ["append", "overwrite", "merge"], "merge"),
        ("not_null", ["completeness", "validity"], "completeness"),
        ("ndjson", ["json", "jsonl"], "jsonl"),
        ("feilds", ["fields", "keep"], "fields"),
    ],
)
def test_a_word_of_another_tool_is_understood(word: str, candidates: list[str], meant: str) -> None:
    assert UnknownName("option", word, candidates).hint == f"did you mean '{meant}'?"


def test_what_is_not_there_is_not_taken_for_what_it_looks_like() -> None:
    assert "redis" in str(UnknownName("connector", "redi", ["redis", "csv"]).hint)
    assert UnknownName("connector", "rest", ["redis", "csv"]).hint == "known: csv, redis"


def test_a_text_in_double_quotes_is_told_to_stand_in_single_ones() -> None:
    assert told_of('status = "paid"', compile_predicate).startswith("a text stands in single quotes: 'paid'")
    assert told_of("status = paid_up", compile_predicate).endswith("a text stands in single quotes: 'paid_up'")
    assert told_of("statuss = 'paid'", compile_predicate) == "did you mean 'status'?"


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("day > date '2025-01-01'", "cast(x as date)"),
        ("status * 2.5::double", "cast(x as double)"),
        ("date_trunc('day', status)", "cast(x as timestamp)"),
        ("id > 3 && status == 'a'", "`and`"),
        ("nvl(status, 'x')", "did you mean 'coalesce'?"),
    ],
)
def test_what_an_expression_lacks_is_named(expression: str, wanted: str) -> None:
    assert wanted in told_of(expression)


def test_the_places_of_keys_are_told() -> None:
    source = "name: a\nsource: {connector: csv, connection: {path: a.csv}}\n"
    step = source + "transformations:\n  - {id: x, type: filtering, where: id > 3}\n" + ENDS
    assert "stand under `config`" in told(step)
    assert "dash" in told(source + "transformations: {id: x, type: filtering}\n" + ENDS)
    assert told(source + ENDS + "tests: [{name: t, given: {}, expect: {jsonl: all}}]\n") == "write `[all]`"
    assert "connection: {path: data/*.csv}" in told("name: a\nsource: a.csv\n" + ENDS)
    assert "columns: freeze" in told("name: a\nsource: {connector: csv, connection: {path: a.csv}, contract: freeze}\n" + ENDS)
    assert "declare it" in told("name: a\nsource: {connector: csv, connection: {path: '${param.file}'}}\n" + ENDS)
    assert "cron" in told(source + ENDS + "schedule: '*/15 * * * *'\n")
    assert "`destinations`" in told(source + "destination:\n  - {connector: jsonl}\n")
    assert "name each" in told("name: a\nsources:\n  - {connector: csv}\n" + ENDS)
    assert "below each other" in told("name: a\nsource:\n  connector: csv\n connection: {path: a.csv}\n" + ENDS)
    assert "into quotes" in told(source + "transformations:\n  - {type: mapping, config: {fields: {a: ${b}}}}\n" + ENDS)


def test_a_parameter_that_is_written_like_a_column_is_told_of(tmp_path: Path) -> None:
    connection = ParquetSource.Connection.model_validate({"path": str(tmp_path / "${file}.parquet")})
    with pytest.raises(SourceMissing) as caught:
        ParquetSource(connection, ParquetSource.Options()).files()
    assert "${param.NAME}" in str(caught.value.hint)
