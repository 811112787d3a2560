"""Hybrid integrations: what is there is read first and published at once, then the sources that go on are followed.

The backfill reads the logs as well, up to where they end when it begins. What it publishes, and up to where it has read the logs,
is decided as one: the stream goes on from there, so that at the seam nothing is missing and nothing comes twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from beam_datahub.compiler.streaming import backfilled, followed
from beam_datahub.kernels.types import empty_table
from beam_datahub.runtime.launch import RunRequest, RunResult, run, with_run_id
from beam_datahub.runtime.rows import RowsSource

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan


def is_backfilled(plan: Plan) -> bool:
    """Whether an earlier run has got so far that the logs of a plan, which knows their positions, are followed from there."""
    from beam_datahub.compiler.plan import Read

    reads = [plan.nodes[name].operator for name in followed(plan)]
    return any(isinstance(read, Read) and read.request.reached for read in reads)


def backfill(plan: Plan, request: RunRequest, moved: Callable[[RunResult], None]) -> RunResult:
    """Read all that there is as a run of its own, under a name of its own; `moved` records how far the logs were read.

    A result with an error has published nothing but its dead letter, and nothing moves.
    """
    name = f"{request.run_id}-backfill"
    # The stream's own facts would let the plan run without end.
    batch = replace(plan, metadata={key: value for key, value in plan.metadata.items() if key != "stream"})
    result = run(with_run_id(batch, name), replace(request, run_id=name))
    if result.error is None:
        moved(result)
        if request.journal is not None:
            with suppress(FileNotFoundError):
                os.unlink(request.journal)
    return result


def behind_backfill(plan: Plan) -> Plan:
    """`plan` whose sources that end are empty, but for those that are looked up: the backfill has published them."""
    from beam_datahub.compiler.plan import Read

    nodes = dict(plan.nodes)
    for name in backfilled(plan):
        read = nodes[name].operator
        assert isinstance(read, Read)
        empty = RowsSource(empty_table(read.request.schema))
        nodes[name] = nodes[name].with_(operator=replace(read, source=empty, increment=None))
    return plan.replaced(nodes)
