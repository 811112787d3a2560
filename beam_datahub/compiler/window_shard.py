"""The windows of one shard of a stream: what they hold, which of them are due, and what their results are; knows no Beam.

Held are the rows of windows that are not over yet, as the shuffle's `before` made them, with two columns beside: how many results
of its window a row had part in (`PANES`, 0 for a fresh one), and whether the window was complete by then (`PASSED`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.plan import Shuffle
from beam_datahub.compiler.rows import ROW
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession, conform, single_batch
from beam_datahub.kernels.types import HIDDEN, empty_table
from beam_datahub.kernels.windows import EARLY, END, FIRST, INDEX, LATE, ON_TIME, START, TIMING, sessions_sql

PANES, PASSED = f"{HIDDEN}panes", f"{HIDDEN}passed"
_STATE = (pa.field(PANES, pa.int32()), pa.field(PASSED, pa.bool_()))
_SIDE = b"beam_datahub.side"
_NAMES = ("input", "other")
# From so many held rows on, states of the same window and key are made one.
_COMPACT_ROWS = 200_000


@dataclass
class Facts:
    """What a shard keeps beside its rows: `clock` is the point that event time has passed, `due` the next at which a held window
    changes, `next` that at which the watermark is looked at. `fresh` and `belated` count rows that had part in no result yet, in
    windows that are to be complete and in those that were. `alarm` is the processing time of the next early or late result, `now`
    the time by a simulated clock. `shard` and `turn` tell apart what is told of it, and `oldest` is where its oldest open window
    begins.
    """

    clock: int = FIRST
    due: int | None = None
    next: int | None = None
    fresh: int = 0
    belated: int = 0
    held: int = 0
    compacted: int = 0
    alarm: int | None = None
    now: int = 0
    shard: int = 0
    turn: int = 0
    oldest: int | None = None

    def to_json(self) -> str:
        """As the text that the engine keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Facts:
        """What `to_json` gave."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Given:
    """The results of windows that were due, the rows that go on being held, and when the next window is due."""

    results: pa.Table | None
    held: tuple[pa.RecordBatch, ...]
    due: int | None


def sided(table: pa.Table, side: int) -> pa.RecordBatch:
    """Rows of an input of a shuffle, which say of which one they are."""
    return single_batch(table.replace_schema_metadata({_SIDE: str(side).encode()}))


def side_of(batch: pa.RecordBatch) -> int:
    """Of which input rows are."""
    return int((batch.schema.metadata or {}).get(_SIDE, b"0"))


class WindowShard:
    """The windows of a shuffle; keeps nothing itself."""

    def __init__(self, shuffle: Shuffle) -> None:
        assert shuffle.windowing is not None
        self._shuffle = shuffle
        self.window = shuffle.windowing.window
        self._numbered = shuffle.windowing.numbered
        self._keys = [exchange.keys for exchange in shuffle.exchanges]
        # Each window has one result, and is over with it: no row that is held had part in one.
        self._once = not (self.window.merges or self.window.lateness or self.window.early or self._numbered)

    def late(self, table: pa.Table, clock: int, side: int = 0) -> pa.Table:
        """The rejections of rows whose windows are over when event time has passed `clock`; of a session's rows, those that lie
        behind it by more than the lateness: no window that is over could have held one of the others.
        """
        session = self.window.merges
        points = table[START if session else END].combine_chunks().cast(pa.int64())
        limit = clock - self.window.lateness
        rows = pc.indices_nonzero((pc.less if session else pc.less_equal)(points, pa.scalar(limit, pa.int64())))
        ends = points.take(rows).to_pylist()
        what = "it happened at" if session else "its window ended at"
        texts = [
            f"{what} {moment_text(end)}, and the watermark had passed {moment_text(end + self.window.lateness)} already"
            for end in ends
        ]
        return rejections(rows.cast(pa.int64()), "late", texts)

    def taken(self, table: pa.Table, side: int, facts: Facts, session: KernelSession, *, reduced: bool = False) -> pa.RecordBatch:
        """Rows that came, none of them late, in the form in which they are held, which those that are `reduced` have already;
        `facts` tell of them.
        """
        ends = table[END].combine_chunks().cast(pa.int64())
        over = pc.less_equal(ends, pa.scalar(facts.clock, pa.int64()))
        belated = pc.sum(over, min_count=0).as_py()
        facts.belated += belated
        facts.fresh += table.num_rows - belated
        first = [pc.min(ends.filter(pc.invert(over))).as_py()]
        first += [pc.min(ends.filter(over)).as_py() + self.window.lateness] if belated else []
        facts.due = min((point for point in (*first, facts.due) if point is not None), default=None)
        begins = pc.min(table[START].cast(pa.int64())).as_py()
        facts.oldest = begins if facts.oldest is None else min(begins, facts.oldest)
        exchange = self._shuffle.exchanges[side]
        if exchange.before is not None and not reduced:
            session.put("input", table)
            table = conform(session.fetch(exchange.before), exchange.schema)
            session.drop("input")
            ends = table[END].combine_chunks().cast(pa.int64())
            over = pc.less_equal(ends, pa.scalar(facts.clock, pa.int64()))
        facts.held += table.num_rows
        state = [pa.array(np.zeros(table.num_rows, np.int32)), over]
        for field, column in zip(_STATE, state, strict=True):
            table = table.append_column(field, column)
        return sided(table, side)

    def wants_compacting(self, facts: Facts) -> bool:
        """Whether so much is held that it is worth making it less."""
        return self._shuffle.compact is not None and facts.held >= max(_COMPACT_ROWS, 2 * facts.compacted)

    def compacted(self, held: Sequence[pa.RecordBatch], facts: Facts, session: KernelSession) -> tuple[pa.RecordBatch, ...]:
        """What is held, with the states of a key and window made one, but those of fresh and of older rows kept apart."""
        table = self._tables(held)[0]
        schema, parts = self._shuffle.exchanges[0].schema, []
        for each in table.group_by([PANES, PASSED]).aggregate([]).to_pylist():
            same = pc.and_(pc.equal(table[PANES], each[PANES]), pc.equal(table[PASSED], each[PASSED]))
            session.put("input", table.filter(same).select(schema.names))
            part = conform(session.fetch(str(self._shuffle.compact)), schema)
            for field in _STATE:
                part = part.append_column(field, pa.repeat(pa.scalar(each[field.name], field.type), part.num_rows))
            parts.append(part)
        session.drop("input")
        less = pa.concat_tables(parts)
        facts.held = facts.compacted = less.num_rows
        return (sided(less, 0),)

    def given(
        self, held: Sequence[pa.RecordBatch], facts: Facts, session: KernelSession, *, early: bool = False, late: bool = False
    ) -> Given:
        """The results of windows that are complete, and `early` and `late` ones of those with fresh rows, where asked for."""
        tables = self._tables(held)
        if self._once and not (early or late):
            return self._given_once(tables, facts, session)
        for side, table in enumerate(tables):
            session.put(f"held{side}", table.append_column(ROW, pa.array(np.arange(table.num_rows), pa.int64())))
        clock, lateness = facts.clock, self.window.lateness
        windows = session.fetch(
            f"SELECT *, e + {lateness} <= {clock} AS over, CASE WHEN e <= {clock} AND NOT done THEN '{ON_TIME}' "
            f"WHEN fresh AND e <= {clock} AND ({late} OR e + {lateness} <= {clock}) THEN '{LATE}' "
            f"WHEN fresh AND e > {clock} AND {early} THEN '{EARLY}' END AS timing FROM ({self._windows()})"
        )
        session.put("windows", windows)
        results = self._results(session) if windows["timing"].null_count < windows.num_rows else None
        kept = tuple(sided(self._kept(side, session), side) for side in range(len(tables)))
        due = session.scalar(f"SELECT min(CASE WHEN e > {clock} THEN e ELSE e + {lateness} END) FROM windows WHERE NOT over")
        for name in ("windows", *(f"held{side}" for side in range(len(tables)))):
            session.drop(name)
        kept = tuple(batch for batch in kept if batch.num_rows)
        _tell_of(kept, facts)
        fresh = pa.concat_tables([pa.table({END: b[END], PANES: b[PANES]}) for b in kept]) if kept else None
        ends = (
            fresh.filter(pc.equal(fresh[PANES], 0))[END].cast(pa.int64())
            if fresh is not None
            else pa.chunked_array([], pa.int64())
        )
        if not len(ends):
            facts.fresh = facts.belated = 0
        elif early:
            facts.fresh = 0
        if late:
            facts.belated = 0
        return Given(results, kept, None if due is None else int(str(due)))

    def _given_once(self, tables: Sequence[pa.Table], facts: Facts, session: KernelSession) -> Given:
        """The same for windows that have one result each, which takes no query but the one that makes it."""
        over = [pc.less_equal(_micros(table, END), pa.scalar(facts.clock, pa.int64())) for table in tables]
        results = None
        if any(pc.any(each).as_py() for each in over):
            for name, table, mine, exchange in zip(_NAMES, tables, over, self._shuffle.exchanges, strict=False):
                due = table.filter(mine).select(exchange.schema.names)
                session.put(name, due.append_column(ROW, pa.array(np.arange(due.num_rows), pa.int64())))
            results = conform(session.fetch(self._shuffle.after).select(self._shuffle.schema.names), self._shuffle.schema)
            for name in _NAMES[: len(tables)]:
                session.drop(name)
        rest = [(side, table.filter(pc.invert(mine))) for side, (table, mine) in enumerate(zip(tables, over, strict=True))]
        kept = tuple(sided(table, side) for side, table in rest if table.num_rows)
        _tell_of(kept, facts)
        if not kept:
            facts.fresh = facts.belated = 0
        return Given(results, kept, min((pc.min(_micros(batch, END)).as_py() for batch in kept), default=None))

    def _tables(self, held: Sequence[pa.RecordBatch]) -> list[pa.Table]:
        tables = []
        for side, exchange in enumerate(self._shuffle.exchanges):
            schema = pa.schema([*exchange.schema, *_STATE])
            mine = [pa.Table.from_batches([batch]).replace_schema_metadata(None) for batch in held if side_of(batch) == side]
            tables.append(pa.concat_tables([empty_table(schema), *(conform(table, schema) for table in mine)]).combine_chunks())
        return tables

    def _merged(self, side: int) -> str:
        """The held rows of an input in their windows: a session's are what its rows make together."""
        return f"({sessions_sql(f'held{side}', self._keys[side])})" if self.window.merges else f"held{side}"

    def _windows(self) -> str:
        keys = [f"{key} AS k{i}" for i, key in enumerate(self._keys[0])] if self.window.merges else []
        columns = ", ".join([START, END, *keys, PANES, PASSED])
        rows = " UNION ALL ".join(f"SELECT {columns} FROM {self._merged(side)}" for side in range(len(self._keys)))
        names = ", ".join([START, END, *(f"k{i}" for i in range(len(keys)))])
        return (
            f"SELECT {names}, epoch_us({END}) AS e, max({PANES}) AS panes, bool_and({PASSED}) AS done, "
            f"bool_or({PANES} = 0) AS fresh FROM ({rows}) GROUP BY {names}"
        )

    def _placed(self, side: int) -> str:
        """Held rows `h` beside their window `w`."""
        on = f"m.{START} = w.{START} AND m.{END} = w.{END}"
        if not self.window.merges:
            return f"held{side} h JOIN windows w ON {on.replace('m.', 'h.')}"
        same = "".join(f" AND m.{key} IS NOT DISTINCT FROM w.k{i}" for i, key in enumerate(self._keys[side]))
        return f"held{side} h JOIN {self._merged(side)} m ON h.{ROW} = m.{ROW} JOIN windows w ON {on}{same}"

    def _results(self, session: KernelSession) -> pa.Table:
        for side, exchange in enumerate(self._shuffle.exchanges):
            columns = ", ".join(f'h."{name}"' for name in (*exchange.schema.names, ROW))
            sql = f"SELECT {columns} FROM {self._placed(side)} WHERE w.timing IS NOT NULL AND {self._concerned(side)}"
            schema = pa.schema([*exchange.schema, pa.field(ROW, pa.int64())])
            session.put(_NAMES[side], conform(session.fetch(sql), schema))
        after = self._shuffle.after
        if self._numbered:
            same = "".join(
                f" AND o.{key} IS NOT DISTINCT FROM w.k{i}" for i, key in enumerate(self._keys[0] if self.window.merges else ())
            )
            after = (
                f"SELECT o.*, CAST(w.panes AS BIGINT) AS {INDEX}, w.timing AS {TIMING} FROM ({after}) o "
                f"JOIN windows w ON o.{START} = w.{START} AND o.{END} = w.{END}{same}"
            )
        found = session.fetch(after).select(self._shuffle.schema.names)
        for side in range(len(self._keys)):
            session.drop(_NAMES[side])
        return conform(found, self._shuffle.schema)

    def _concerned(self, side: int) -> str:
        """Which rows of windows that give a result go into it."""
        if not self.window.accumulate:
            return f"h.{PANES} = 0"
        if self.window.merges:
            return "true"
        # Before and after a window's end, only keys with fresh rows have a new result.
        fresh = " UNION ALL ".join(
            f"SELECT {', '.join(f'{key} AS k{i}' for i, key in enumerate(keys))} FROM held{number} WHERE {PANES} = 0"
            for number, keys in enumerate(self._keys)
        )
        same = " AND ".join(f"t.k{i} IS NOT DISTINCT FROM {_of('h', key)}" for i, key in enumerate(self._keys[side]))
        return f"(w.timing = '{ON_TIME}' OR EXISTS (SELECT 1 FROM ({fresh}) t WHERE {same}))"

    def _kept(self, side: int, session: KernelSession) -> pa.Table:
        schema = self._shuffle.exchanges[side].schema
        columns = ", ".join(f'h."{name}"' for name in schema.names)
        panes = f"CAST(CASE WHEN w.timing IS NULL THEN h.{PANES} ELSE w.panes + 1 END AS INTEGER) AS {PANES}"
        passed = f"h.{PASSED} OR coalesce(w.timing <> '{EARLY}', false) AS {PASSED}"
        # One row of a window whose rows had their part stands for it, until it is over.
        first = f" QUALIFY w.timing IS NULL OR row_number() OVER (PARTITION BY w.{START}, w.{END}) = 1"
        sql = f"SELECT {columns}, {panes}, {passed} FROM {self._placed(side)} WHERE NOT w.over"
        return conform(session.fetch(sql + ("" if self.window.accumulate else first)), pa.schema([*schema, *_STATE]))


def _micros(rows: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    column = rows[name]
    return (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).cast(pa.int64())


def _tell_of(kept: Sequence[pa.RecordBatch], facts: Facts) -> None:
    facts.held = sum(batch.num_rows for batch in kept)
    facts.oldest = min((pc.min(_micros(batch, START)).as_py() for batch in kept), default=None)


def _of(alias: str, key: str) -> str:
    """The key of a shuffle, a column or a cast of one, of a relation that is called `alias`."""
    return key.replace("CAST(", f"CAST({alias}.", 1) if key.startswith("CAST(") else f"{alias}.{key}"


def moment_text(micros: int) -> str:
    """Microseconds since 1970 as a day and a time of UTC."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment:%f}".rstrip("0") if moment.microsecond else "")
