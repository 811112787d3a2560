"""Whatever the order, the slicing and the watermark of two streams: a join by nearness in time gives what a batch run gives."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.match_shard import MatchShard
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Shuffle, Stage
from beam_datahub.compiler.stage import StageRunner
from beam_datahub.compiler.window_shard import Facts
from beam_datahub.errors import DataHubError
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import empty_table, visible
from beam_datahub.kernels.windows import END, FIRST, FOREVER
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import loads

BASE = datetime(2025, 1, 1)
SCHEMA = pa.schema([("k", pa.string()), ("t", pa.timestamp("us")), ("v", pa.int64())])
COLUMNS = {"k": "left.k", "v": "left.v", "w": "right.v"}
_PAIRS = "SELECT l.k, l.v, r.v FROM l {kind} JOIN r ON l.k = r.k AND r.t BETWEEN l.t - {before} AND l.t + {after}"
_ONLY = "SELECT k, v FROM l WHERE {no} EXISTS (FROM r WHERE r.k = l.k AND r.t BETWEEN l.t - {before} AND l.t + {after})"
_NEAREST = (
    "SELECT l.k, l.v, n.v FROM l {kind} JOIN LATERAL (SELECT v FROM r WHERE r.k = l.k AND r.t {op} l.t "
    "AND abs(r.t - l.t) <= {near} "
    "ORDER BY abs(r.t - l.t), v LIMIT 1) n ON true"
)
# What the join says, and the same as a query over all rows with times in seconds.
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "pairs": (
        {"kind": "inner", "within": {"left": "t", "right": "t", "before": "5 s", "after": "2 s"}},
        _PAIRS.format(kind="", before=5, after=2),
    ),
    "all of the left": (
        {"kind": "left", "within": {"left": "t", "right": "t", "before": "3 s"}},
        _PAIRS.format(kind="LEFT", before=3, after=0),
    ),
    "with a match": (
        {"kind": "semi", "within": {"left": "t", "right": "t", "after": "4 s"}, "columns": ["k", "v"]},
        _ONLY.format(no="", before=0, after=4),
    ),
    "without one": (
        {"kind": "anti", "within": {"left": "t", "right": "t", "before": "1 s", "after": "1 s"}, "columns": ["k", "v"]},
        _ONLY.format(no="NOT", before=1, after=1),
    ),
    "the latest": (
        {"kind": "left", "asof": {"left": "t", "right": "t", "within": "5 s"}},
        _NEAREST.format(kind="LEFT", op="<=", near=5),
    ),
    "the next": (
        {"kind": "inner", "asof": {"left": "t", "right": "t", "direction": "forward", "within": "5 s"}},
        _NEAREST.format(kind="", op=">=", near=5),
    ),
    "the latest before": (
        {"kind": "inner", "asof": {"left": "t", "right": "t", "exact_matches": False, "within": "6 s"}},
        _NEAREST.format(kind="", op="<", near=6),
    ),
}
Row = tuple[str | None, int, int]
Events = Sequence[int | tuple[int, list[Row]]]


def config(name: str) -> dict[str, Any]:
    return {"on": "k", "columns": COLUMNS, **CONFIGS[name][0]}


def spec(step: dict[str, Any], behind: str = "", window: str = "") -> str:
    return f"""
name: near
sources:
  left: {{connector: inline, connection: {{}}, rows: []}}
  right: {{connector: inline, connection: {{}}, rows: []}}
transformations:
  - {{id: step, type: join, input: [left, right]{window}, config: {step}}}
{behind}
destination: {{id: out, connector: jsonl, connection: {{path: unused}}}}
"""


def planned(text: str, *follows: str) -> Plan:
    sources = {name: RowsSource(empty_table(SCHEMA)) for name in ("left", "right")}
    return build(loads(text), BuildOptions(sources=sources, follows=frozenset(follows)))


@cache
def lowered(name: str) -> Plan:
    return optimise(planned(spec(config(name)), "left", "right"))


class Streams:
    """One shard of the join, fed by hand; `since` is up to when an earlier one had given its results."""

    def __init__(self, name: str, session: KernelSession, since: int = FIRST) -> None:
        plan = lowered(name)
        node = next(node for node in plan if isinstance(node.operator, Shuffle))
        assert isinstance(node.operator, Shuffle)
        self.fronts = []
        for reference in node.inputs:
            stage = plan.node(reference).operator
            assert isinstance(stage, Stage)
            self.fronts.append(StageRunner(stage, track=False))
        self.session, self.shard, self.facts, self.since = session, MatchShard(node.operator), Facts(), since
        self.held: list[pa.RecordBatch] = []
        self.given: list[dict[str, Any]] = []
        self.taken: tuple[list[tuple[Row, int]], list[tuple[Row, int]]] = ([], [])
        """What came in time, each row with until when it is needed."""

    def come(self, side: int, rows: list[Row], *, again: bool = False) -> None:
        """Rows of one side come together; late ones are left out."""
        table = self.fronts[side].run(as_table(rows), self.session).table
        ends = table[END].cast(pa.int64()).to_pylist()
        clock = FIRST if again else max(self.facts.clock, self.since)
        late = set(self.shard.late(table, clock, side)["row"].to_pylist())
        kept = table.filter(pa.array([row not in late for row in range(table.num_rows)], pa.bool_()))
        self.taken[side].extend((row, ends[number]) for number, row in enumerate(rows) if number not in late)
        if kept.num_rows:
            self.held.append(self.shard.taken(kept, side, self.facts, self.session))

    def pass_to(self, point: int) -> None:
        """The watermark passes a point."""
        self.facts.clock = max(self.facts.clock, point)
        if self.facts.due is not None and self.facts.due <= self.facts.clock:
            found = self.shard.given(self.held, self.facts, self.session)
            self.held = list(found.held)
            if found.results is not None:
                # What was over before was given before.
                fresh = found.results.filter(pc.greater(found.results[END].cast(pa.int64()), self.since))
                self.given += fresh.select(visible(fresh.schema).names).to_pylist()

    def play(self, events: Events) -> Streams:
        for each in events:
            if isinstance(each, int):
                self.pass_to(micros(each))
            else:
                self.come(*each)
        return self


def micros(second: int) -> int:
    return (BASE - datetime(1970, 1, 1)) // timedelta(microseconds=1) + second * 1_000_000


def as_table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "t": BASE + timedelta(seconds=t), "v": v} for k, t, v in rows], SCHEMA)


def happening(chance: random.Random, first: int, last: int) -> Events:
    """What comes in the course of a stream: rows of a side together, or a second that the watermark passes."""
    events: list[int | tuple[int, list[Row]]] = []
    for middle in range(first, last, 3):
        for side in chance.sample([0, 1], 2):
            seconds = [max(0, middle + chance.randint(-6, 6)) for _ in range(chance.randint(0, 5))]
            events.append((side, [(chance.choice(["a", "b", None]), second, chance.randint(0, 9)) for second in seconds]))
        events.append(middle - chance.randint(0, 4))
    return events


def counted(*rows: list[dict[str, Any]]) -> Counter[Any]:
    return Counter(tuple(row.values()) for some in rows for row in some)


def expected(name: str, taken: Sequence[list[tuple[Row, int]]]) -> Counter[Any]:
    """What DuckDB makes of all rows at once."""
    with duckdb.connect() as connection:
        for table, rows in zip("lr", taken, strict=True):
            connection.execute(f"CREATE TABLE {table} (k VARCHAR, t BIGINT, v BIGINT)")
            if rows:
                connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [row for row, _ in rows])
        return Counter(connection.execute(CONFIGS[name][1]).fetchall())


@pytest.fixture(scope="module")
def session() -> KernelSession:
    return KernelSession(threads=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_two_streams_give_what_all_rows_that_were_not_late_give_together(name: str, session: KernelSession) -> None:
    for seed in range(3):
        streams = Streams(name, session).play(happening(random.Random(seed), 0, 30))
        streams.pass_to(FOREVER)
        assert streams.held == []
        assert counted(streams.given) == expected(name, streams.taken), seed


@pytest.mark.parametrize("name", ["pairs", "all of the left", "the latest"])
def test_what_is_read_again_after_a_restart_brings_all_matches_and_none_twice(name: str, session: KernelSession) -> None:
    for seed in range(3):
        chance = random.Random(seed)
        killed = Streams(name, session).play(happening(chance, 0, 15))
        clock = killed.facts.clock
        killed.pass_to(clock)
        # Each side is read again from the first row on that is still needed, also what lies behind it.
        again = [
            [row for row, _ in rows[next((n for n, (_, end) in enumerate(rows) if end > clock), len(rows)) :]]
            for rows in killed.taken
        ]
        streams = Streams(name, session, since=clock)
        for side, rows in enumerate(again):
            streams.come(side, rows, again=True)
        fresh = [len(rows) for rows in streams.taken]
        streams.play(happening(chance, 12, 30)).pass_to(FOREVER)
        taken = [old + new[count:] for old, new, count in zip(killed.taken, streams.taken, fresh, strict=True)]
        assert counted(killed.given, streams.given) == expected(name, taken), seed


def test_what_nothing_can_match_any_more_is_let_go(session: KernelSession) -> None:
    streams = Streams("pairs", session)
    for second in range(100):
        streams.come(1, [("a", second, second)])
        streams.pass_to(micros(second))
    assert sum(batch.num_rows for batch in streams.held) <= 12
    streams.pass_to(micros(200))
    assert streams.held == []


def refused(text: str, *follows: str) -> tuple[str, str]:
    with pytest.raises(DataHubError) as caught:
        planned(text, *follows)
    return f"{caught.value}", str(caught.value.hint)


SUMS = "  - {id: sums, type: aggregation, window: {type: %s, on: t%s}, config: {by: k, measures: {n: count(*)}}}"


def test_what_a_stream_cannot_keep_or_know_is_refused() -> None:
    words, hint = refused(spec({"on": "k", "asof": {"left": "t", "right": "t"}}), "left", "right")
    assert ("keep every row for ever" in words, "`within: 1 day` under `asof`" in hint) == (True, True)
    words, hint = refused(spec({"on": "k"}), "left", "right")
    assert ("has no window" in words, "`within: {left" in hint) == (True, True)
    assert "nobody knows when a row of it has all its matches" in refused(spec(config("pairs")), "right")[0]


def test_windows_behind_a_join_in_time_have_to_wait_for_it() -> None:
    timed = config("pairs") | {"columns": ["k", "left.t"]}
    fixed, gaps = "fixed, size: 1 h", "session, gap: 1 h"
    words, hint = refused(spec(timed, SUMS % (fixed, "")), "left", "right")
    assert ("would be late for their windows" in words, "`lateness: 2 s`" in hint) == (True, True)
    assert planned(spec(timed, SUMS % (fixed, ", lateness: 2 s")), "left", "right").nodes
    assert "`lateness: 2.1 s`" in refused(spec(timed, SUMS % (gaps, "")), "left", "right")[1]


def test_a_join_in_time_behind_windows_or_another_one_is_refused() -> None:
    timed = config("pairs") | {"columns": ["k", "left.t", "left.v"]}
    second = f"  - {{id: second, type: join, input: [step, right], config: {timed | {'columns': ['k']}}}}"
    assert "would be late here" in refused(spec(timed, second), "left", "right")[0]
    window = ", window: {type: fixed, size: 1 minute, on: t}"
    plain = {"on": "k", "columns": ["k", "left.t", "left.v"]}
    assert "would be late here" in refused(spec(plain, second, window), "left", "right")[0]


def test_a_stream_that_meets_a_table_need_not_wait() -> None:
    plan = optimise(planned(spec(config("pairs")), "left"))
    assert not any(isinstance(node.operator, Shuffle) and node.operator.windowing for node in plan)
