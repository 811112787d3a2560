"""Functions that the kernel session adds to DuckDB's own; filled in by the modules that define them."""

from __future__ import annotations

import duckdb


def register_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Register every extra function on a fresh connection, before it is locked."""
