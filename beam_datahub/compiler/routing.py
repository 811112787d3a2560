"""Sends rows the ways that a route has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.dead_letter import Identity, Provenance, letters
from beam_datahub.compiler.dofns import KernelDoFn, KernelOptions
from beam_datahub.compiler.rows import explain, flat, is_fatal
from beam_datahub.compiler.tickets import ticket_of
from beam_datahub.component.failure import carried
from beam_datahub.component.operators import Route
from beam_datahub.kernels.expressions import error_mask_sql
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import single_batch


class RouteRows(KernelDoFn):
    """Sends each row to the branch that takes it."""

    def __init__(self, step: str, route: Route, identity: Identity, kernel: KernelOptions) -> None:
        super().__init__(kernel)
        self._step, self._route, self._identity = step, route, identity

    @carried
    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        yield from self.turn(ticket_of(batch))
        yield from self.stamp(self._sent(batch))

    def _sent(self, batch: pa.RecordBatch) -> Iterator[Any]:
        table = pa.Table.from_batches([batch])
        taken, failed = self._taken(table)
        out = 0
        for name, mask in taken.items():
            part = table.filter(mask)
            out += part.num_rows
            self.enter(f"{self._step}.{name}", routed=part.num_rows)
            if part.num_rows:
                yield beam.pvalue.TaggedOutput(name, single_batch(part))
        refused = 0
        for found in failed:
            if found.num_rows:
                refused += found.num_rows
                provenance = Provenance.of(batch.schema)
                letter = letters(self._identity, self._step, found, provenance, table=table, session=self.session())
                yield self.refuse(self._step, letter)
        came = table.num_rows
        self.enter(self._step, in_=came, out=out, rejected=refused, added=out + refused - came)

    def _taken(self, table: pa.Table) -> tuple[dict[str, pa.Array], list[pa.Table]]:
        """For each branch a mask of the rows that it takes, and the rejections of what none does."""
        branches = self._route.branches
        session = self.session()
        session.put("input", table)
        failing: list[pa.Array] = []
        try:
            found = session.fetch(f"SELECT {', '.join(f'({c.sql}) AS m{i}' for i, (_, c) in enumerate(branches))} FROM input")
        except duckdb.Error as error:
            if is_fatal(error):
                raise
            tried = [f"TRY({c.sql}) AS m{i}, ({error_mask_sql(c.sql)}) AS e{i}" for i, (_, c) in enumerate(branches)]
            found = session.fetch(f"SELECT {', '.join(tried)} FROM input")
            failing = [flat(found[f"e{i}"]) for i in range(len(branches))]
        masks = [pc.fill_null(flat(found[f"m{i}"]), False) for i in range(len(branches))]
        none = pa.array(np.zeros(table.num_rows, dtype=bool))
        # A condition matters to the rows that no earlier branch took, to all of them where each branch gets a copy.
        settled, failed = none, none
        refusals: list[pa.Table] = []
        for i, (name, condition) in enumerate(branches):
            if failing:
                fresh = pc.and_not(pc.and_not(failing[i], failed), settled)
                if pc.any(fresh, min_count=0).as_py():
                    rows = pc.indices_nonzero(fresh)
                    refusals.append(explain(table.take(rows), rows, name, "expression_failed", condition, session))
                    failed = pc.or_(failed, fresh)
            masks[i] = pc.and_not(masks[i], settled)
            if not self._route.copy:
                settled = pc.or_(settled, masks[i])
        taken: dict[str, pa.Array] = {}
        rest = pc.invert(failed)
        for (name, _), mask in zip(branches, masks, strict=True):
            taken[name] = pc.and_not(mask, failed)
            rest = pc.and_not(rest, mask)
        if self._route.default is not None:
            taken[self._route.default] = pc.or_(taken.get(self._route.default, none), rest)
        elif pc.any(rest, min_count=0).as_py():
            rows = pc.indices_nonzero(rest).cast(pa.int64())
            refusals.append(rejections(rows, "no_route", "no branch takes the record and there is no default"))
        return taken, refusals

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        yield from self.report()
