"""The benchmarks in DuckDB: one COPY of one query."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

sys.path.append(str(Path(__file__).resolve().parent.parent))
from queries import sql


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"duckdb": duckdb.__version__}))
        return
    query, folder, inputs, form, target = sys.argv[1:]
    # Without the rows in their first order DuckDB is faster, and no contestant promises an order.
    duckdb.sql("set preserve_insertion_order = false")
    extra = ", ignore_errors=true" if inputs.startswith("defective") else ""
    options = "(format csv, header)" if form == "csv" else "(format parquet)"
    duckdb.sql(f"copy ({sql(query, folder, tuple(inputs.split(',')), extra)}) to '{target}/part.{form}' {options}")


if __name__ == "__main__":
    main()
