"""DuckDB for the SQL of beam-datahub's own code: hardened as kernel sessions are, without state, from any thread."""

from __future__ import annotations

import os
import threading

import duckdb
import pyarrow as pa

from beam_datahub.kernels.session import rebased

# Connections that nobody uses right now; making one takes longer than a small query.
_idle: list[duckdb.DuckDBPyConnection] = []
_owner = os.getpid()
_lock = threading.Lock()
# An Arrow scan is parallel over batches, not within one.
_SLICE_ROWS = 8_192


def _connection() -> duckdb.DuckDBPyConnection:
    global _owner
    with _lock:
        if _owner != os.getpid():
            # What a parent process opened is of no use to its child.
            _idle.clear()
            _owner = os.getpid()
        if _idle:
            return _idle.pop()
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "disabled_optimizers": "common_subexpressions",
        },
    )
    connection.execute("SET TimeZone='UTC'; SET enable_external_access=false; SET lock_configuration=true")
    return connection


def over(table: pa.Table, sql: str) -> pa.Table:
    """The rows of `sql` over `table`, which is called `t`. User-written SQL never runs here."""
    connection = _connection()
    slices = [rebased(batch) for batch in table.to_batches(max_chunksize=_SLICE_ROWS)]
    connection.register("t", pa.Table.from_batches(slices, table.schema))
    try:
        return connection.sql(sql).to_arrow_table()
    finally:
        connection.unregister("t")
        with _lock:
            _idle.append(connection)
