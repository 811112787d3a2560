"""One shard of a join of two streams by nearness in time: what it holds, and which rows have all their matches; knows no Beam.

A row of the first input comes out once the watermark has passed all that it may match. One of the second is held until no row
of the first can match it any more. Both ends are said by the rows themselves, as `windows.END`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.plan import Shuffle
from beam_datahub.compiler.rows import ROW
from beam_datahub.compiler.window_shard import Facts, Given, WindowShard, moment_text, side_of, sided
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession, conform
from beam_datahub.kernels.types import empty_table
from beam_datahub.kernels.windows import END, START

_NAMES = ("input", "other")


class MatchShard(WindowShard):
    """The rows of both sides; keeps nothing itself."""

    def __init__(self, shuffle: Shuffle) -> None:
        super().__init__(shuffle)
        self._exchanges, self._after, self._schema = shuffle.exchanges, shuffle.after, shuffle.schema

    def late(self, table: pa.Table, clock: int, side: int = 0) -> pa.Table:
        """The rejections of rows that come when event time has passed what they match: of the first input all of that, of the
        second their own time, because rows that match them may have come out without them.
        """
        points = _micros(table, START if side else END)
        rows = pc.indices_nonzero((pc.less if side else pc.less_equal)(points, pa.scalar(clock, pa.int64())))
        passed = moment_text(clock)
        found = points.take(rows).to_pylist()
        texts = [
            f"it happened at {moment_text(point)}, and the watermark had passed {passed} already"
            if side
            else f"it could match until {moment_text(point - 1)}, and the watermark had passed {passed} already"
            for point in found
        ]
        return rejections(rows.cast(pa.int64()), "late", texts)

    def taken(self, table: pa.Table, side: int, facts: Facts, session: KernelSession, *, reduced: bool = False) -> pa.RecordBatch:
        """Rows that came, none of them late, as they are held, never reduced; `facts` tell of them."""
        facts.held += table.num_rows
        self._note(table, side, facts)
        return sided(conform(table, self._exchanges[side].schema), side)

    def _note(self, table: pa.Table, side: int, facts: Facts) -> None:
        """When the next row comes out, or some are let go."""
        if table.num_rows:
            # Rows of the second input are let go several together: each time all that is held is looked through.
            grain = max(self.window.grain, self.window.size // 4) if side else self.window.grain
            end = -(-pc.min(_micros(table, END)).as_py() // grain) * grain
            facts.due = end if facts.due is None else min(facts.due, end)

    def wants_compacting(self, facts: Facts) -> bool:
        """Never: rows stay apart."""
        return False

    def given(
        self, held: Sequence[pa.RecordBatch], facts: Facts, session: KernelSession, *, early: bool = False, late: bool = False
    ) -> Given:
        """The rows of the first input that have all their matches, with these; there are no early or late results."""
        left, right = (self._held(held, side) for side in (0, 1))
        clock = pa.scalar(facts.clock, pa.int64())
        whole = pc.less_equal(_micros(left, END), clock)
        results = self._joined(left.filter(whole), right, session) if pc.any(whole).as_py() else None
        kept = (left.filter(pc.invert(whole)), right.filter(pc.greater(_micros(right, END), clock)))
        facts.due = None
        for side, table in enumerate(kept):
            self._note(table, side, facts)
        facts.held = sum(table.num_rows for table in kept)
        return Given(results, tuple(sided(table, side) for side, table in enumerate(kept) if table.num_rows), facts.due)

    def _held(self, held: Sequence[pa.RecordBatch], side: int) -> pa.Table:
        schema = self._exchanges[side].schema
        mine = [pa.Table.from_batches([batch]).replace_schema_metadata(None) for batch in held if side_of(batch) == side]
        return pa.concat_tables([empty_table(schema), *(conform(table, schema) for table in mine)]).combine_chunks()

    def _joined(self, left: pa.Table, right: pa.Table, session: KernelSession) -> pa.Table:
        numbers = pa.array(np.arange(left.num_rows), pa.int64())
        for name, table in zip(_NAMES, (left.append_column(ROW, numbers), right), strict=True):
            session.put(name, table)
        found = session.fetch(self._after).select(self._schema.names)
        for name in _NAMES:
            session.drop(name)
        return conform(found, self._schema)


def _micros(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks().cast(pa.int64())
