"""Runs a few rows through a shuffle on an engine, to see that it works."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.errors import EngineFailed
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest, run
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads

_SPEC = """\
name: trial
source: {name: numbers, connector: inline, connection: {}, rows: []}
transformations:
  - {id: sums, type: aggregation, config: {by: [parity], measures: {total: sum(number), count: count(*)}}}
destination: {id: out, connector: jsonl, connection: {path: "%s"}}
"""
_ROWS = 1000


def trial(name: str, options: EngineOptions, tell: Callable[[str], None]) -> float:
    """Run the trial on the engine `name`; gives the seconds that it took. Raises what a run raises."""
    started = time.monotonic()
    rows = pa.table({"number": list(range(_ROWS)), "parity": [number % 2 for number in range(_ROWS)]})
    run_id = new_run_id()
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("trial"), ignore_cleanup_errors=True) as folder:
        sources = {"numbers": RowsSource(rows, slice_rows=100)}
        plan = build(loads(_SPEC % f"{folder}/out.jsonl"), BuildOptions(run_id=run_id, sources=sources))
        result = run(plan, RunRequest(run_id, name, options, tell=tell))
    written = sum(line["rows"] for line in result.written.values())
    if (result.status, result.read, written) != ("completed", _ROWS, 2):
        raise EngineFailed(f"'{name}' ran, and gave {written} rows of {result.read} read: 2 of {_ROWS} are right")
    return time.monotonic() - started
