"""Runs whole integrations and compares what they wrote with one query over the same input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest, RunResult, run_together
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import load
from beam_datahub.testing.comparing import difference

# Sums of floating point depend in their last bits on the order of the rows.
_DIGITS = 9
_READERS = {"csv": "read_csv", "parquet": "read_parquet", "jsonl": "read_json", "json": "read_json"}


def run_spec(
    path: str | Path, parameters: Mapping[str, Any] | None = None, *, engine: str = "direct", threads: int = 2
) -> RunResult:
    """Run the integration in a file to its end. Raises what `beam-datahub run` would report, also a broken budget."""
    return run_specs([(path, parameters or {})], engine=engine, threads=threads)[0]


def run_specs(
    specs: Sequence[tuple[str | Path, Mapping[str, Any]]],
    *,
    engine: str = "direct",
    threads: int = 2,
    options: Sequence[str] = (),
) -> list[RunResult]:
    """Run integrations as one job of an engine: starting one takes longer than most of them. `options` are Beam's."""
    how = BuildOptions(threads=threads if engine == "direct" else 1, split_bytes=None if engine == "direct" else 1 << 20)
    # Staging places have the name of their run and step: destinations of two integrations may be called the same.
    plans = [build(load(path, parameters=parameters), replace(how, run_id=new_run_id())) for path, parameters in specs]
    results = run_together(plans, RunRequest(new_run_id(), engine, EngineOptions(options=tuple(options))))
    for result in results:
        if result.error is not None:
            raise result.error
    return results


def written(result: RunResult, destination: str) -> pa.Table:
    """The rows of the files that a run published to one destination."""
    files: list[str] = []
    for location in result.written[destination]["locations"]:
        inside = Path(location)
        files += sorted(str(file) for file in inside.rglob("*") if _is_data(file, inside)) if inside.is_dir() else [location]
    if not files:
        raise AssertionError(f"'{destination}' has no files under {result.written[destination]['locations']}")
    form = Path(re.sub(r"\.(gz|bz2|zst)$", "", files[0])).suffix[1:]
    if form == "avro":
        return pa.Table.from_pylist([record for file in files for record in _avro_records(file)])
    extra = ", format = 'newline_delimited'" if form == "jsonl" else ""
    # A file without a row has no type to show.
    filled = [file for file in files if Path(file).stat().st_size or form == "csv"] or files
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in filled)
    return query(f"SELECT * FROM {_READERS[form]}([{listed}], hive_partitioning = {'=' in files[0]}{extra})")


def query(sql: str) -> pa.Table:
    """The rows of a query in a fresh DuckDB whose clock is in UTC."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(sql).to_arrow_table()


def differences(found: pa.Table, expected: pa.Table, limit: int = 5) -> str:
    """What tells two tables apart, as a user reads it; empty when they hold the same rows in any order.

    Numbers of different types are equal when their values are; floating point is compared to nine digits.
    """
    if sorted(found.column_names) != sorted(expected.column_names):
        return f"the columns are {found.column_names}, and not {expected.column_names}"
    apart = difference(expected, found, digits=_DIGITS)
    lines = [f"{found.num_rows} rows, and {expected.num_rows} expected"] if found.num_rows != expected.num_rows else []
    lines += [f"not expected: {apart.text(row)}" for row in apart.unexpected[:limit]]
    lines += [f"expected:     {apart.text(row)}" for row in apart.missing[:limit]]
    return "\n".join(lines)


def reasons(result: RunResult) -> dict[tuple[str, str], int]:
    """How many records each step of a run rejected for each reason."""
    return {(line["step"], line["reason"]): line["records"] for line in result.reasons}


def _is_data(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _avro_records(file: str) -> Sequence[Any]:
    import fastavro

    with open(file, "rb") as stream:
        return list(fastavro.reader(stream))
