"""The passes, in order: each turns a plan into a better one that gives the same rows, rejects and books."""

from __future__ import annotations

from collections.abc import Callable

from beam_datahub.compiler.passes.aggregation import two_phase_aggregation
from beam_datahub.compiler.passes.asking import ask_sources
from beam_datahub.compiler.passes.columns import prune_columns
from beam_datahub.compiler.passes.fusion import fuse_stages
from beam_datahub.compiler.passes.grouping import group_by_key
from beam_datahub.compiler.passes.joins import join_strategy
from beam_datahub.compiler.plan import Plan

PASSES: tuple[Callable[[Plan], Plan], ...] = (
    prune_columns,
    ask_sources,
    join_strategy,
    two_phase_aggregation,
    group_by_key,
    fuse_stages,
)


def optimise(plan: Plan) -> Plan:
    """Run every pass; the result has only physical operators."""
    for each in PASSES:
        plan = each(plan)
    return plan
