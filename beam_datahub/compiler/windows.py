"""The DoFn in which a stream's rows wait for their windows to be complete.

A shard is a key of Beam state in the global window: it holds what its windows need, and event-time timers tell it how far the
watermark is. So one and the same clock says which windows are complete and which rows are late, on every engine, and no engine
drops a late row unseen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.coders import StrUtf8Coder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow, TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_datahub.compiler.dead_letter import Identity, Provenance, letters
from beam_datahub.compiler.dofns import KernelDoFn, KernelOptions
from beam_datahub.compiler.match_shard import MatchShard
from beam_datahub.compiler.plan import Node, Plan, Shuffle
from beam_datahub.compiler.settled import SHARD, VOID
from beam_datahub.compiler.shuffle import _broken, is_reduced
from beam_datahub.compiler.tickets import AGAIN, is_again, stamped, ticket_of
from beam_datahub.compiler.window_shard import Facts, WindowShard, side_of, sided
from beam_datahub.component.coder import StateCoder
from beam_datahub.component.failure import carried
from beam_datahub.component.windowing import WINDOW_END, WINDOW_START
from beam_datahub.kernels.session import conform, single_batch
from beam_datahub.kernels.types import empty_table
from beam_datahub.kernels.windows import END, FIRST, FOREVER, LAST, START

_MILLI = 1000
_YEAR = 366 * 86_400_000_000
_END = "end"
_NOW = b"beam_datahub.now"
# What the dead letter calls the window of a row that came too late.
_SHOWN = {START: WINDOW_START, END: WINDOW_END}
# The watermark is looked at at every end of a window, and at multiples of 4, 16, 64 … of their distance: so that a clock
# that is far behind comes near in a few steps.
_FACTOR = 4


class WindowRows(KernelDoFn):
    """Holds the rows of a shard by window and gives the results of windows that are due; late rows are rejected.

    `depth` is the number of windowed steps before this one: their results come at the very end of their windows, so that this one
    looks a moment later. `simulated`: processing time is what control batches say, not what the engine's clock shows. The
    watermark is not looked for before `nearby`.

    Windows that were over at `since` (by shard) were published by an earlier run or attempt. Rows that are read again make them
    again, for the steps behind this one; rows that come for the first time are late for them.
    """

    HELD = BagStateSpec("held", StateCoder())
    FACTS = ReadModifyWriteStateSpec("facts", StrUtf8Coder())
    TICK = TimerSpec("tick", TimeDomain.WATERMARK)
    SOON = TimerSpec("soon", TimeDomain.REAL_TIME)
    _HELD, _FACTS = beam.DoFn.StateParam(HELD), beam.DoFn.StateParam(FACTS)
    _TICK, _SOON = beam.DoFn.TimerParam(TICK), beam.DoFn.TimerParam(SOON)

    def __init__(
        self,
        step: str,
        shuffle: Shuffle,
        source: Sequence[pa.Schema],
        identity: Identity,
        kernel: KernelOptions,
        depth: int = 0,
        *,
        simulated: bool = False,
        since: Sequence[int] = (FIRST,),
        nearby: int = FIRST,
    ) -> None:
        super().__init__(kernel)
        self._step, self._shuffle, self._source, self._identity = step, shuffle, tuple(source), identity
        self._shift, self._simulated, self._since = depth * _MILLI, simulated, tuple(since)
        self._nearby = nearby
        matches = shuffle.windowing is not None and shuffle.windowing.window.kind == "match"
        self._shard = MatchShard(shuffle) if matches else WindowShard(shuffle)

    @carried
    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        held: Any = _HELD,
        facts: Any = _FACTS,
        tick: Any = _TICK,
        soon: Any = _SOON,
    ) -> Iterator[Any]:
        shard, batch = element
        known = facts.read()
        now = Facts(shard=shard) if known is None else Facts.of(known)
        if known is None:
            tick.set(GlobalWindow().max_timestamp(), dynamic_timer_tag=_END)
            self._arm(None, now, tick)
        if batch.num_rows:
            yield from self._taken(batch, now, held, soon)
        told = (batch.schema.metadata or {}).get(_NOW)
        if told is not None:
            now.now = int(told)
            if now.alarm is not None and now.alarm <= now.now:
                yield from self._rung(now, held)
        self._look(now, tick)
        self._stands(now)
        facts.write(now.to_json())

    @on_timer(TICK)
    @carried
    def on_tick(
        self,
        at: Any = beam.DoFn.TimestampParam,
        tag: Any = beam.DoFn.DynamicTimerTagParam,
        held: Any = _HELD,
        facts: Any = _FACTS,
        tick: Any = _TICK,
    ) -> Iterator[Any]:
        """The watermark has passed a point."""
        now = Facts.of(facts.read())
        point = FOREVER if tag == _END else at.micros - self._shift
        if point <= now.clock:
            return
        before, now.clock = now.clock, FOREVER if point > LAST else point
        if now.due is not None and now.due <= now.clock:
            yield from self._results(now, held)
        self._arm(before, now, tick)
        self._look(now, tick)
        yield from self.turn(None)
        self._stands(now)
        facts.write(now.to_json())

    @on_timer(SOON)
    @carried
    def on_soon(self, held: Any = _HELD, facts: Any = _FACTS) -> Iterator[Any]:
        """It is time for early and late results."""
        now = Facts.of(facts.read())
        if now.alarm is not None:
            yield from self._rung(now, held)
            self._stands(now)
            facts.write(now.to_json())

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        yield from self.report()

    def _taken(self, batch: pa.RecordBatch, now: Facts, held: Any, soon: Any) -> Iterator[Any]:
        side, window, reduced = side_of(batch), self._shard.window, is_reduced(batch)
        schema = self._shuffle.exchanges[side].schema if reduced else self._source[side]
        table = conform(pa.Table.from_batches([batch]).select(schema.names), schema)
        ticket = ticket_of(batch)
        yield from self.turn(ticket)
        late = self._shard.late(table, FIRST if is_again(ticket) else max(now.clock, self._since[now.shard]), side)
        if late.num_rows and reduced:
            raise ValueError("the watermark has passed what an engine was told")
        if late.num_rows:
            shown = _with_windows_shown(table) if window.kind != "match" else table.drop_columns([START, END])
            letter = letters(self._identity, self._step.split("#")[0], late, Provenance(), table=shown, session=self.session())
            yield from self.stamp(iter([self.refuse(self._step, letter)]))
            rows = pa.array(sorted({*range(table.num_rows)} - {*late["row"].to_pylist()}), pa.int64())
            table = table.take(rows)
        self.enter(self._step, in_=batch.num_rows, rejected=late.num_rows, merged=table.num_rows)
        if not table.num_rows:
            return
        with _broken(self._step):
            fresh = self._shard.taken(table, side, now, self.session(), reduced=reduced)
            # Told with the ticket of the rows: it is not through before it is known that they wait.
            self._stands(now, latest=int(pc.max(table[END].cast(pa.int64())).as_py()))
        early = window.early is not None and window.early.rows is not None and now.fresh >= window.early.rows
        belated = window.late.rows is not None and now.belated >= window.late.rows
        if early or belated:
            yield from self._results(now, held, early=early, late=belated, fresh=fresh)
        elif self._shard.wants_compacting(now):
            self._compact(now, held, fresh)
        else:
            held.add(fresh)
        waits = [window.early.seconds] if window.early is not None and now.fresh else []
        waits += [window.late.seconds] if now.belated else []
        seconds = min((each for each in waits if each is not None), default=None)
        if seconds is not None and now.alarm is None:
            now.alarm = (now.now if self._simulated else round(time.time() * 1_000_000)) + round(seconds * 1_000_000)
            if not self._simulated:
                soon.set(Timestamp(micros=now.alarm))

    def _compact(self, now: Facts, held: Any, fresh: pa.RecordBatch) -> None:
        stored = list(held.read())
        with _broken(self._step):
            less = self._shard.compacted([*stored, fresh], now, self.session())
        if stored:
            held.clear()
        for each in less:
            held.add(each)

    def _rung(self, now: Facts, held: Any) -> Iterator[Any]:
        now.alarm = None
        window = self._shard.window
        early = window.early is not None and window.early.seconds is not None
        yield from self._results(now, held, early=early, late=window.late.seconds is not None)

    def _results(
        self, now: Facts, held: Any, *, early: bool = False, late: bool = False, fresh: pa.RecordBatch | None = None
    ) -> Iterator[Any]:
        # Results come of many records: they belong to no ticket.
        yield from self.turn(None)
        with _broken(self._step):
            stored = list(held.read())
            rows = stored if fresh is None else [*stored, fresh]
            given = self._shard.given(rows, now, self.session(), early=early, late=late)
        # Prism was seen to lose what a bundle adds to a bag that it has added to and cleared before, when the bag was empty.
        if stored:
            held.clear()
        for batch in given.held:
            held.add(batch)
        now.due = given.due
        if given.results is not None and given.results.num_rows:
            since = self._since[now.shard] - self._shard.window.lateness
            before = pc.less_equal(given.results[END].cast(pa.int64()), since)
            yield from self._gave(given.results.filter(pc.invert(before)), again=False)
            yield from self._gave(given.results.filter(before), again=True)

    def _gave(self, results: pa.Table, *, again: bool) -> Iterator[Any]:
        """Results; those that were published before count nowhere, but go on to steps whose windows are longer."""
        if not results.num_rows:
            return
        batch = single_batch(results.combine_chunks())
        first = min(batch[END].cast(pa.int64()).to_pylist())
        terms = {"added": batch.num_rows, "out": batch.num_rows}
        if again:
            batch = stamped(batch, AGAIN)
            # In one report with where the shard stands, so that none comes without the other.
            self.add_report(VOID, json.dumps({self._step: terms}))
        else:
            self.enter(self._step, **terms)
        yield TimestampedValue(batch, Timestamp(micros=first - _MILLI))

    def _stands(self, now: Facts, latest: int | None = None) -> None:
        """Report where the shard stands; `latest` is the end of the last window that rows of the ticket wait for. `next` is the
        watermark at which it looks again; None: never.
        """
        now.turn += 1
        following = now.next if now.next is not None and now.clock < LAST and now.next < LAST else None
        facts = {"step": self._step, "shard": now.shard, "shards": len(self._since), "turn": now.turn, "clock": now.clock}
        facts |= {"oldest": now.oldest, "latest": latest, "next": None if following is None else self._due(following)}
        self.add_report(SHARD, json.dumps(facts))

    def _look(self, now: Facts, tick: Any) -> None:
        """Have the next point at which something may change told."""
        # As long as nothing is known of the watermark, it is looked for from where it will be.
        points = [
            self._shard.window.next_change(max(now.clock, self._nearby)),
            *([now.due] if now.due is not None and now.due > now.clock else []),
        ]
        if now.clock < LAST and (nearest := min(points)) != now.next:
            now.next = nearest
            self._tell(tick, nearest, "0")

    def _arm(self, before: int | None, now: Facts, tick: Any) -> None:
        span, number = self._shard.window.grain * _FACTOR, 1
        widest = LAST - FIRST if self._nearby == FIRST else _YEAR
        while span < widest and now.clock < LAST:
            point = (max(now.clock, self._nearby) // span + 1) * span
            if before is None or point != (max(before, self._nearby) // span + 1) * span:
                self._tell(tick, point, str(number))
            span, number = span * _FACTOR, number + 1

    def _tell(self, tick: Any, point: int, tag: str) -> None:
        if point >= LAST:
            return
        tick.set(Timestamp(micros=self._due(point)), dynamic_timer_tag=tag)

    def _due(self, point: int) -> int:
        # Timers know milliseconds.
        return -(-(point + self._shift) // _MILLI) * _MILLI


def _with_windows_shown(table: pa.Table) -> pa.Table:
    free = {name: shown for name, shown in _SHOWN.items() if shown not in table.column_names}
    return table.rename_columns([free.get(name, name) for name in table.column_names])


def windows_before(plan: Plan, node: Node) -> int:
    """How many windowed steps of a stream lie before a node, one behind the other."""

    def counted(each: Node) -> int:
        own = isinstance(each.operator, Shuffle) and each.operator.windowing is not None and each.operator.windowing.streams
        return own + windows_before(plan, each)

    return max((counted(plan.node(reference)) for reference in node.inputs), default=0)


class Shards(beam.DoFn):
    """Makes every shard known from the beginning: one that has no row yet must know how far the watermark is, too."""

    def __init__(self, schema: pa.Schema, shards: int) -> None:
        self._schema, self._shards = schema, shards

    def process(self, element: Any) -> Iterator[tuple[int, pa.RecordBatch]]:
        """An empty batch for each, with the simulated processing time where the element is one."""
        empty = sided(empty_table(self._schema), 0)
        if isinstance(element, int) and element > 0:
            empty = empty.replace_schema_metadata({**(empty.schema.metadata or {}), _NOW: str(element).encode()})
        for shard in range(self._shards):
            yield (shard, empty)
