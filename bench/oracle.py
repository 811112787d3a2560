"""Compares the files that a contestant wrote with one DuckDB query over the same input, row for row.

Rows are matched by the case's key, in any order; floats may differ in their last digits. Prints a JSON object with the
number of rows expected and the first differences; run as a process of its own, so that it leaves the measuring one small.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
from cases import CASES, Case
from queries import sql

_TOLERANCE = 1e-9


def differences(case: Case, data: Path, target: Path) -> tuple[int, list[str]]:
    """The number of rows of the right answer, and what is wrong with the answer in `target`; nothing, if it is right."""
    files = sorted(
        str(file)
        for file in target.rglob(f"*.{case.output}*")  # Beam's files are called part.parquet-00000-of-00001
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(target).parts)
    )
    connection = duckdb.connect(config={"memory_limit": "8GB"})
    connection.execute("set preserve_insertion_order = false")
    query = sql(case.query, str(data), case.oracle_inputs or case.inputs)
    where = f" where {case.oracle_where}" if case.oracle_where else ""
    connection.execute(f"create temp table expected as select * from ({query}){where}")
    columns = {row[0]: row[1] for row in connection.execute("describe expected").fetchall()}
    rows = _number(connection, "select count(*) from expected")
    if not files:
        return rows, ["nothing was written"]

    table = f"read_csv({files}, header=true, all_varchar=true)" if case.output == "csv" else f"read_parquet({files})"
    found = [row[0] for row in connection.execute(f"describe select * from {table}").fetchall()]
    if missing := [name for name in columns if name not in found]:
        return rows, [f"columns are missing: {', '.join(missing)}; found {', '.join(found)}"]
    typed = ", ".join(f"try_cast({name} as {kind}) as {name}" for name, kind in columns.items())
    connection.execute(f"create temp view actual as select {typed} from {table}")

    wrong = []
    written = _number(connection, "select count(*) from actual")
    if written != rows:
        wrong.append(f"{written:,} rows instead of {rows:,}")
    same = " and ".join(_same(name, kind) for name, kind in columns.items() if name not in case.key)
    equal = " and ".join(f"e.{name} = a.{name}" for name in case.key)
    # A semi join: a row written twice does not make up for one that is missing.
    matched = _number(connection, f"select count(*) from expected e semi join actual a on {equal} and {same}")
    if matched != rows:
        wrong.append(f"only {matched:,} of {rows:,} rows have the right values")
        sides = f"expected e left join actual a on {equal}"
        row = connection.execute(f"select e, a from {sides} where not coalesce({same}, false) limit 1").fetchone()
        wrong.append(f"such as {row}")
    return rows, wrong


def _same(name: str, kind: str) -> str:
    if kind == "DOUBLE":
        close = f"abs(e.{name} - a.{name}) <= {_TOLERANCE} * greatest(abs(e.{name}), 1)"
        return f"((e.{name} is null and a.{name} is null) or coalesce({close}, false))"
    return f"e.{name} is not distinct from a.{name}"


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    name, data, target = sys.argv[1:]
    (chosen,) = [case for case in CASES if case.name == name]
    rows, wrong = differences(chosen, Path(data), Path(target))
    print(json.dumps({"rows": rows, "wrong": wrong}))
