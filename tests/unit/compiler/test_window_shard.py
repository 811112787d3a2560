"""Whatever the order, the slicing and the watermark of a stream: what it gives for its windows is what a batch run gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Shuffle, Stage
from beam_datahub.compiler.stage import StageRunner
from beam_datahub.compiler.window_shard import Facts, WindowShard
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import empty_table
from beam_datahub.kernels.windows import END, FOREVER, INDEX, START, TIMING
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import loads

BASE = datetime(2025, 3, 30)
SCHEMA = pa.schema([("k", pa.string()), ("t", pa.timestamp("us")), ("v", pa.int64())])
MEASURES = "measures: {n: count(*), total: sum(v), low: min(v), mean: avg(v), spread: var_samp(v), kinds: count(distinct v)}"
SPEC = """
name: windows
source: {{name: rows, connector: inline, connection: {{}}, rows: []}}
transformations:
  - {{id: step, type: {type}, window: {{{window}, on: t, panes: true, lateness: {lateness} s}}, config: {{{config}}}}}
destination: {{id: out, connector: jsonl, connection: {{path: unused}}}}
"""
Row = tuple[str | None, int, int]


@cache
def planned(type: str, window: str, config: str, lateness: int) -> Plan:
    text = SPEC.format(type=type, window=window, config=config, lateness=lateness)
    sources = {"rows": RowsSource(empty_table(SCHEMA))}
    return optimise(build(loads(text), BuildOptions(sources=sources, outputs=False, follows=frozenset(sources))))


class Stream:
    """One shard of the step, fed by hand; keeps what it gave and what it refused."""

    def __init__(self, session: KernelSession, type: str, window: str, config: str, lateness: int = 0) -> None:
        plan = planned(type, window, config, lateness)
        self.session = session
        self.shuffle = next(node.operator for node in plan if isinstance(node.operator, Shuffle))
        self.front = StageRunner(next(node.operator for node in plan if isinstance(node.operator, Stage)), track=False)
        self.shard, self.facts = WindowShard(self.shuffle), Facts()
        self.held: list[pa.RecordBatch] = []
        self.given: list[dict[str, Any]] = []
        self.kept: list[pa.Table] = []
        self.late = self.pairs = 0

    def come(self, rows: Sequence[Row]) -> None:
        """Rows come together."""
        table = self.front.run(as_table(rows), self.session).table
        late = self.shard.late(table, self.facts.clock)
        numbers = set(late["row"].to_pylist())
        kept = table.filter(pa.array([row not in numbers for row in range(table.num_rows)], pa.bool_()))
        self.late, self.pairs = self.late + len(numbers), self.pairs + table.num_rows
        self.kept.append(kept)
        if kept.num_rows:
            self.held.append(self.shard.taken(kept, 0, self.facts, self.session))
            if self.facts.belated:
                self.fire(late=True)

    def fire(self, *, early: bool = False, late: bool = False) -> None:
        found = self.shard.given(self.held, self.facts, self.session, early=early, late=late)
        self.held, self.facts.due = list(found.held), found.due
        self.given += found.results.to_pylist() if found.results is not None else []

    def pass_to(self, point: int) -> None:
        """The watermark passes a point."""
        self.facts.clock = max(self.facts.clock, point)
        if self.facts.due is not None and self.facts.due <= self.facts.clock:
            self.fire()

    def final(self, *keys: str) -> list[dict[str, Any]]:
        """The rows of the last result of each window and key; a session that has grown takes the place of those it grew from."""
        last: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.given:
            rows = last.setdefault((row[START], row[END], *(row[name] for name in keys)), [])
            if rows and rows[0][INDEX] != row[INDEX]:
                assert row[INDEX] > rows[0][INDEX]
                rows.clear()
            rows.append(row)
        if self.shard.window.merges:
            spans = list(last)
            last = {span: rows for span, rows in last.items() if not any(_within(span, other) for other in spans)}
        return [row for rows in last.values() for row in rows]


def _within(span: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return span != other and span[2:] == other[2:] and other[0] <= span[0] and span[1] <= other[1]


def as_table(rows: Sequence[Row]) -> pa.Table:
    moments = [BASE + timedelta(seconds=second) for _, second, _ in rows]
    return pa.table([[k for k, _, _ in rows], moments, [v for _, _, v in rows]], schema=SCHEMA)


def micros(second: int) -> int:
    return (int((BASE - datetime(1970, 1, 1)).total_seconds()) + second) * 1_000_000


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 400), st.integers(-3, 3)), max_size=25)
# Rows that come together, a watermark that moves, or an early result in between.
EVENTS = st.lists(st.one_of(ROWS, st.integers(0, 500), st.just("early")), max_size=12)

WINDOWS = ["type: fixed, size: 1 minute", "type: sliding, size: 2 minutes, period: 50 s", "type: session, gap: 30 s"]
WINDOWS += ["type: calendar, unit: day, zone: Europe/Berlin"]
SESSIONS = (
    f"SELECT k, v, min({START}) OVER (PARTITION BY k, g) AS {START}, max({END}) OVER (PARTITION BY k, g) AS {END} "
    f"FROM (SELECT *, sum(b) OVER (PARTITION BY k ORDER BY {START} ROWS UNBOUNDED PRECEDING) AS g "
    f"FROM (SELECT *, CASE WHEN {START} - lag({START}) OVER (PARTITION BY k ORDER BY {START}) < INTERVAL 30 SECOND "
    "THEN 0 ELSE 1 END AS b FROM kept))"
)


def in_batch(kept: pa.Table, *, sessions: bool) -> Counter[tuple[Any, ...]]:
    """What DuckDB alone gives for rows and their windows, all at once."""
    connection = duckdb.connect(":memory:")
    connection.register("kept", kept)
    found = connection.execute(
        f"SELECT {START}, {END}, k, count(*), sum(v)::DECIMAL(38,0), min(v), avg(v), var_samp(v), count(DISTINCT v) "
        f"FROM ({SESSIONS if sessions else 'FROM kept'}) GROUP BY {START}, {END}, k"
    ).fetchall()
    return Counter(map(rounded, found))


def rounded(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(round(value, 6) + 0.0 if isinstance(value, float) else value for value in row)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=20, deadline=None)
@given(events=EVENTS, lateness=st.sampled_from([0, 40]), compacts=st.booleans())
def test_the_last_results_of_a_stream_are_those_of_a_batch_without_its_late_rows(
    window: str, events: list[Any], lateness: int, compacts: bool
) -> None:
    with KernelSession(threads=1) as session:
        stream = Stream(session, "aggregation", window, f"by: k, {MEASURES}", lateness)
        play(stream, events, compacts=compacts)
        last = stream.final("k")
        kept = pa.concat_tables(stream.kept) if stream.kept else None
        expected = in_batch(kept, sessions="session" in window) if kept is not None else Counter()
        found = Counter(rounded([value for name, value in row.items() if name not in (INDEX, TIMING)]) for row in last)
        assert found == expected
        assert sum(row["measure_1"] for row in last) + stream.late == stream.pairs


@settings(max_examples=20, deadline=None)
@given(events=EVENTS, lateness=st.sampled_from([0, 40]))
def test_results_that_do_not_accumulate_add_up_to_those_of_a_batch(events: list[Any], lateness: int) -> None:
    with KernelSession(threads=1) as session:
        window = "type: fixed, size: 1 minute, results: discard"
        stream = Stream(session, "aggregation", window, "by: k, measures: {n: count(*), total: sum(v)}", lateness)
        play(stream, events)
        kept = pa.concat_tables(stream.kept) if stream.kept else None
        sums: Counter[tuple[Any, ...]] = Counter()
        for row in stream.given:
            sums[(row[START], row["k"])] += row["measure_1"]
        rows = kept.to_pylist() if kept is not None else []
        assert sums == Counter((row[START], row["k"]) for row in rows)


@settings(max_examples=15, deadline=None)
@given(events=EVENTS, lateness=st.sampled_from([0, 40]))
def test_the_first_rows_of_each_window_are_those_of_all_its_rows(events: list[Any], lateness: int) -> None:
    with KernelSession(threads=1) as session:
        stream = Stream(session, "top", "type: fixed, size: 1 minute", "by: k, order_by: v desc, limit: 2", lateness)
        play(stream, events)
        kept = pa.concat_tables(stream.kept).to_pylist() if stream.kept else []
        groups: dict[tuple[Any, ...], list[Any]] = {}
        for row in kept:
            groups.setdefault((row[START], row["k"]), []).append((-row["v"], row["t"]))
        expected = Counter((*key, t, -v) for key, rows in groups.items() for v, t in sorted(rows)[:2])
        assert Counter((row[START], row["k"], row["t"], row["v"]) for row in stream.final("k")) == expected


def play(stream: Stream, events: list[Any], *, compacts: bool = False) -> None:
    """All that happens, and then the end of time: nothing is held any more."""
    for event in events:
        if event == "early":
            stream.fire(early=True)
        elif isinstance(event, int):
            stream.pass_to(micros(event))
        elif event:
            stream.come(event)
            if compacts and stream.held and stream.shuffle.compact is not None:
                stream.held = list(stream.shard.compacted(stream.held, stream.facts, stream.session))
    stream.pass_to(FOREVER)
    assert stream.held == []
