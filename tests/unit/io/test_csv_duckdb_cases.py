"""DuckDB's own CSV cases, as far as their options have a counterpart here; the rest are skipped with a reason."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.files import FileConnection
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.csv import CsvReadOptions, CsvSource
from beam_datahub.kernels.types import canonical_schema, quoted

CASES = Path(__file__).parents[3] / ".." / "shared" / "cases" / "duckdb-csv"
EXPECTED = CASES / "expected.json"

# Options that say how DuckDB works through a file, not what is in it.
WITHOUT_EFFECT = {
    "auto_detect", "buffer_size", "parallel", "new_line", "strict_mode", "ignore_errors",
    "store_rejects", "union_by_name",
}  # fmt: skip

# Number of the case → why it has no counterpart or another answer here.
_SNIFFED = "what DuckDB finds out by itself is an option here"
_CONFLICT = "the error is about DuckDB's options among themselves"
_BY_NAME = "columns of several files match by name here, which DuckDB does on request"
_STRICT = "text behind a closing quote is taken, as DuckDB does with strict_mode=false"
_PARALLEL = "a limit of DuckDB's parallel reader; here the file reads"
_ROUNDED = "the values would have to be rounded, which is a misfit here"
_QUOTED = "a quoted empty text is not null here"
SKIPPED: dict[int, str] = {
    4: "the file is not among the cases",
    **dict.fromkeys((7, 8, 9, 10, 53, 54, 55, 56, 57, 63, 64, 128), _CONFLICT),
    **dict.fromkeys((14, 15), "DuckDB's 128-bit integers are decimal(38, 0) here"),
    **dict.fromkeys((20, 166, 167, 169, 213), _SNIFFED),
    33: "repeated names in the header are an error here",
    42: "a file with the mark of UTF-16 is read as UTF-16 here",
    43: "an empty file without a schema is an error here",
    **dict.fromkeys((75, 82), _BY_NAME),
    **dict.fromkeys((78, 79), "the table of expected rows shows a zero byte as \\0"),
    102: "a delimiter is one character here",
    107: "a timestamp is no date here",
    **dict.fromkeys((135, 272), _STRICT),
    159: _QUOTED,
    173: "the case is a template",
    **dict.fromkeys((195, 196, 197, 198), _ROUNDED),
    204: "there are no enums here",
    205: "DuckDB drops empty surplus fields; here `ragged: fit` drops surplus fields",
    **dict.fromkeys((217, 218, 219, 220), _PARALLEL),
    273: "DuckDB drops the last letter of an unquoted text",
    **dict.fromkeys((287, 288), "thousands are grouped by three here"),
    300: "the case has no expected rows",
}


@cache
def cases() -> list[dict[str, Any]]:
    return json.loads(EXPECTED.read_text()) if EXPECTED.exists() else []


class NoCounterpart(Exception):
    """The case asks for something that only DuckDB has."""


def text(literal: str) -> str:
    found = literal.strip()
    if found[:1] in "'\"" and found[:1] == found[-1:]:
        found = found[1:-1]
    return found.replace("\\t", "\t")


def types(struct: str) -> dict[str, str]:
    """The names and SQL types of {'a': 'int', ...} or STRUCT_PACK(a := 'int')."""
    pairs = re.findall(r"'?([\w. ]+?)'?\s*:=?\s*(?:'([^']*)'|([A-Za-z]+))", struct)
    if not pairs:
        raise NoCounterpart("types that are no names")
    return {name.strip(): quoted_kind or kind for name, quoted_kind, kind in pairs}


def schema_of(columns: dict[str, str]) -> pa.Schema:
    sql = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
    return canonical_schema(duckdb.sql(f"SELECT {sql}").to_arrow_table().schema)


def read(case: dict[str, Any]) -> tuple[pa.Table, int]:
    """The rows as we read them, and how many records were rejected."""
    options: dict[str, Any] = {}
    paths = [case["file"]] if isinstance(case["file"], str) else case["file"]
    connection: dict[str, Any] = {"path": tuple(str(CASES / path) for path in paths), "partitions": "none"}
    columns: dict[str, str] = {}
    overrides: dict[str, str] | list[str] = {}
    varchar = False
    given = {key.lower(): value for key, value in case["options"].items()}
    if given.get("auto_detect", "").lower() in ("false", "0"):
        options.update(delimiter=",", header=False)
    for key, value in given.items():
        truth = str(value).lower() in ("true", "1")
        if key in WITHOUT_EFFECT:
            continue
        elif key in ("delim", "sep"):
            options["delimiter"] = text(value)
        elif key in ("quote", "escape", "comment"):
            options[key] = text(value) or None
        elif key == "header":
            options["header"] = truth
        elif key == "skip":
            options["skip_rows"] = int(value)
        elif key == "null_padding":
            options["ragged"] = "pad" if truth else "reject"
        elif key == "columns":
            columns = types(value)
            options["columns"] = tuple(columns)
        elif key in ("types", "dtypes", "column_types"):
            overrides = ast.literal_eval(value) if value.startswith("[") else types(value)
        elif key == "names":
            options["columns"] = tuple(ast.literal_eval(value))
        elif key == "all_varchar":
            varchar = truth
        elif key == "dateformat":
            options["date_format"] = text(value)
        elif key == "timestampformat":
            options["timestamp_format"] = text(value)
        elif key == "decimal_separator":
            options["decimal_point"] = text(value)
        elif key == "thousands":
            options["thousands"] = text(value)
        elif key == "nullstr":
            options["null_words"] = (text(value),)
        elif key == "sample_size":
            options["sample_rows"] = max(int(value), 1) if value != "-1" else 1_000_000
        elif key == "max_line_size":
            options["max_record_bytes"] = int(value)
        elif key == "hive_partitioning":
            connection["partitions"] = "auto" if truth else "none"
        else:
            raise NoCounterpart(f"the option {key}")
    if options.get("escape") == "\\":
        options["double_quote"] = False
    source = CsvSource(FileConnection(**connection), CsvReadOptions(**options))
    schema = schema_of(columns) if columns else source.discover().schema
    if isinstance(overrides, list):
        overrides = dict(zip(schema.names, overrides, strict=False))
    wanted = schema_of({k: str(v) for k, v in overrides.items()}) if overrides else pa.schema([])
    names = {name.lower(): name for name in schema.names}
    for field in wanted:
        schema = schema.set(schema.names.index(names[field.name.lower()]), field.with_name(names[field.name.lower()]))
    if varchar:
        schema = pa.schema([pa.field(name, pa.string()) for name in schema.names])
    request = ReadRequest(schema, tuple(schema.names), declared=bool(columns))
    batches, rejected = [], 0
    for split in source.splits(request):
        for block in source.read(split, request):
            batches.append(block.batch)
            rejected += 0 if block.rejected is None else block.rejected.num_rows
    return pa.Table.from_batches(batches, schema), rejected


def same(found: Any, expected: str) -> bool:
    if found is None or found == "NULL":
        return expected == "NULL"
    if found == expected:
        return True
    try:
        return float(found) == pytest.approx(float(expected), rel=1e-6)
    except ValueError:
        return found.strip() == expected.strip() or (found, expected) in (("true", "1"), ("false", "0"), ("", "(empty)"))


@pytest.mark.skipif(not EXPECTED.exists(), reason="../shared/cases/duckdb-csv is not here")
@pytest.mark.parametrize("number", range(len(cases())), ids=lambda n: f"{n}-{cases()[n]['file']}")
def test_reads_what_duckdb_reads(number: int) -> None:
    case = cases()[number]
    if number in SKIPPED:
        pytest.skip(SKIPPED[number])
    if case["reader"] == "sniff_csv":
        pytest.skip("asks what DuckDB's sniffer guesses")
    try:
        table, rejected = read(case)
    except NoCounterpart as reason:
        pytest.skip(f"DuckDB alone has {reason}")
    except (DataHubError, ValidationError):
        if case.get("expected_rows") is None:
            return
        raise
    if case.get("expected_rows") is None:
        assert rejected, f"nothing failed and nothing was rejected; DuckDB says {case['expected_error_contains']}"
        return
    connection = duckdb.connect()
    connection.register("t", table)
    found = [
        [None if cell is None else str(cell) for cell in row]
        for row in connection.sql(
            f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (SELECT {case['select']} FROM t {case.get('tail', '')})"
        ).fetchall()
    ]
    expected = case["expected_rows"]
    assert len(found) == len(expected), (found[:5], expected[:5])
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs), (ours, theirs)
        assert all(same(a, b) for a, b in zip(ours, theirs, strict=True)), (ours, theirs)
