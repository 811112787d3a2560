"""Streams on Prism from a source in memory: what comes is published once, whatever breaks on the way."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan, Read
from beam_datahub.compiler.window_shard import WindowShard
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config
from beam_datahub.component.registry import _registered, register
from beam_datahub.component.sink import Committed, Receipt, WriteRequest
from beam_datahub.component.source import (
    Arrival,
    Block,
    Discovery,
    Follower,
    Partition,
    ReadRequest,
    Report,
    Source,
    Split,
)
from beam_datahub.errors import DataHubError, Interrupted, SchemaDrift, TooManyRejected, Transient
from beam_datahub.io.jsonl import JsonlSink
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest, RunResult
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.runtime.streams import StreamRequest, StreamState, run_stream
from beam_datahub.spec import loads
from tests.conftest import obtained

SCHEMA = pa.schema([("n", pa.int64()), ("k", pa.string()), ("at", pa.timestamp("us", "UTC"))])
SPEC = """\
name: tap
type: real-time
stream: {commit_every: 200ms, latency: 100ms, discover_every: 200ms}
source: {name: tap, connector: tap, connection: {}}
transformations:
  - {id: odd, type: filtering, config: {where: n % 2 = 1}}
destinations:
  - {id: out, connector: jsonl, connection: {path: OUT}, write_mode: append}
"""


@dataclass
class Taps:
    """What the source holds, by partition, and what it was told. Workers are threads of this process."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    fails: list[DataHubError] = field(default_factory=list)
    unlisted: list[DataHubError] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    away: int = 0
    lags: dict[str, int] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


TAPS = Taps()


class _Tap(Follower):
    def __init__(self, name: str, at: int, columns: tuple[str, ...], seam: int | None = None) -> None:
        self._name, self._at, self._columns, self._seam = name, at, columns, seam

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        with TAPS.lock:
            if TAPS.fails and self._at >= 20:
                raise TAPS.fails.pop()
            rows = TAPS.rows[self._name]
            lags = TAPS.lags.get(self._name, 0)
            if lags:
                # Nothing comes before this partition was asked so often after the others were read.
                TAPS.lags[self._name] -= TAPS.over == set(TAPS.rows) - {self._name}
                threading.Event().wait(min(seconds, 0.05))
                return Arrival(None, self._at, len(rows) - self._at)
            some = rows[self._at : self._at + 7][: None if self._seam is None else self._seam - self._at]
            self._at += len(some)
            behind = len(rows) - self._at
            TAPS.over |= {self._name} if not behind else set()
        at_seam = self._at == self._seam
        self._seam = None if at_seam else self._seam
        if not some:
            threading.Event().wait(min(seconds, 0.05))
            return Arrival(None, self._at, behind)
        at = [n * 1_000_000 for n in some]
        batch = pa.record_batch({"n": some, "k": [f"k{n % 3}" for n in some], "at": at}, SCHEMA).select(list(self._columns))
        return Arrival(Block(batch), self._at, behind, at_seam)

    def published(self, position: Any) -> None:
        TAPS.published[self._name] = position

    def close(self) -> None:
        return


class TapOptions(Config):
    """What is read of a log in memory."""

    only: str | None = None
    """Just this partition."""


class TapSource(Source):
    """A log in memory."""

    Connection: ClassVar[type[Config]] = Config
    Options: ClassVar[type[Config]] = TapOptions
    capabilities = SourceCapabilities(unbounded=True, resumes="offset", seams=True)

    def check(self) -> Report:
        return Report(())

    def discover(self) -> Discovery:
        return Discovery(SCHEMA)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield from ()

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        yield from ()

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        # Once an attempt has failed, the next one meets this; who looks for new partitions meanwhile does not.
        if TAPS.unlisted and not TAPS.fails and threading.current_thread().name != "partitions":
            raise TAPS.unlisted.pop()
        for name in [each for each in TAPS.rows if self.options.only in (None, each)]:
            yield Partition(name, request.reached.get(name, 0))

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        return _Tap(partition.name, partition.position, request.columns, partition.seam)


class AwaySink(JsonlSink):
    """A folder that is away for a while: it publishes, and its answer is lost."""

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        found = super().commit(request, receipts)
        TAPS.commits.append(request.commit_name)
        if TAPS.away:
            TAPS.away -= 1
            raise Transient("the server went away")
        return found


@pytest.fixture(autouse=True)
def taps() -> Iterator[Taps]:
    """The source, with two partitions of a hundred rows."""
    global TAPS
    TAPS = Taps({"a": list(range(100)), "b": list(range(100, 200))})
    register("source", "tap", since="0.1.0")(TapSource)
    register("sink", "away", since="0.1.0")(AwaySink)
    yield TAPS
    del _registered["source", "tap"], _registered["sink", "away"]


class Kept:
    """A store that keeps cursors: it refuses to move one that somebody else has moved."""

    def __init__(self) -> None:
        self.cursors: dict[str, tuple[int, Any]] = {}

    def __call__(self, goal: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        for name, part in goal.get("tap", {"parts": {}})["parts"].items():
            assert part["revision"] == self.cursors.get(name, (0, None))[0]
            self.cursors[name] = (part["revision"] + 1, part["value"]["last"])

    @property
    def positions(self) -> dict[str, Any]:
        return {name: at for name, (_, at) in self.cursors.items()}

    def bound(self, plan: Plan) -> Plan:
        """The plan behind what is kept."""
        read = plan.nodes["tap"].operator
        assert isinstance(read, Read)
        assert read.positions is not None
        positions = replace(read.positions, revisions={name: revision for name, (revision, _) in self.cursors.items()})
        read = replace(read, request=replace(read.request, reached=self.positions), positions=positions)
        return plan.replaced({**plan.nodes, "tap": plan.nodes["tap"].with_(operator=read)})


Stream = Callable[..., RunResult]


@pytest.fixture
def stream(prism: str, tmp_path: Path) -> Stream:
    """A function that runs a spec as a stream until it has caught up, or until `stop`."""

    def work(
        spec: str = SPEC,
        kept: Kept | None = None,
        *,
        stop: Callable[[StreamState], bool] | None = None,
        engine: str = "prism",
        program: str = prism,
    ) -> RunResult:
        document = loads(spec.replace("OUT", f"{tmp_path}/out/"))
        run_id = new_run_id()
        plan = build(document, BuildOptions(run_id=run_id, dead_letter_folder=str(tmp_path / "dead")))
        plan = kept.bound(plan) if kept is not None else plan
        stopped: list[bool] = []

        def show(state: StreamState) -> None:
            if stop is not None and stop(state):
                stopped.append(True)

        request = StreamRequest(
            RunRequest(run_id, engine, EngineOptions(shards=1, options=(f"--prism_location={program}",) * (engine == "prism"))),
            plan.metadata["stream"],
            plan.metadata["event_times"],
            kept,
            until_idle=stop is None,
            show=show,
            stop=lambda: bool(stopped),
            seconds=600,
        )
        return run_stream(plan, request)

    return work


def out(tmp_path: Path, folder: str = "out", column: str = "n") -> list[Any]:
    lines = [line for path in (tmp_path / folder).glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted(json.loads(line)[column] for line in lines)


def test_a_stream_publishes_what_comes_and_keeps_how_far_it_is(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    kept = Kept()
    result = stream(kept=kept)
    assert out(tmp_path) == list(range(1, 200, 2))
    assert (result.status, result.read, result.books["odd"]["filtered"]) == ("completed", 200, 100)
    assert kept.positions == {"a": 100, "b": 100}


def test_flink_runs_the_same(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    from beam_datahub.runtime.engines.flink import flink_jar

    obtained(flink_jar)
    kept = Kept()
    result = stream(kept=kept, engine="flink")
    assert out(tmp_path) == list(range(1, 200, 2))
    assert (result.status, result.read) == ("completed", 200)
    assert kept.positions == {"a": 100, "b": 100}


def test_it_ends_when_it_is_asked_to_with_all_published_that_was_read(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    kept = Kept()
    result = stream(kept=kept, stop=lambda state: state.read >= 20)
    assert result.status == "completed"
    assert sum(kept.positions.values()) == result.read
    assert out(tmp_path) == sorted(n for name, at in kept.positions.items() for n in taps.rows[name][:at] if n % 2)


def test_a_failure_that_passes_neither_loses_nor_doubles_anything(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    taps.fails, taps.unlisted = [Transient("the network was away")], [Transient("it is still away")]
    result = stream()
    assert not taps.fails
    assert not taps.unlisted
    assert out(tmp_path) == list(range(1, 200, 2))
    assert result.read == 200


def test_an_engine_that_dies_while_it_starts_is_started_again(stream: Stream, tmp_path: Path, taps: Taps, prism: str) -> None:
    program = tmp_path / "dies-once"
    program.write_text(f'#!/bin/sh\n[ -e {tmp_path}/died ] || {{ touch {tmp_path}/died; kill -9 $$; }}\nexec {prism} "$@"\n')
    program.chmod(0o755)
    assert stream(program=str(program)).read == 200
    assert out(tmp_path) == list(range(1, 200, 2))


def test_a_failure_that_stays_ends_the_stream_and_leaves_what_is_published(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    taps.fails = [SchemaDrift("a column went away")]
    kept = Kept()
    with pytest.raises(SchemaDrift, match="a column went away"):
        stream(kept=kept)
    assert out(tmp_path) == sorted(n for name, at in kept.positions.items() for n in taps.rows[name][:at] if n % 2)


def test_new_partitions_are_found(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    def stop(state: StreamState) -> bool:
        if state.read >= 200:
            taps.rows.setdefault("c", list(range(200, 230)))
        return state.read >= 230

    kept = Kept()
    stream(kept=kept, stop=stop)
    assert out(tmp_path) == list(range(1, 230, 2))
    assert kept.positions["c"] == 30


def test_an_epoch_whose_end_was_not_heard_of_is_tried_again_under_its_name(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    taps.away = 1
    kept = Kept()
    stream(SPEC.replace("connector: jsonl", "connector: away"), kept)
    assert out(tmp_path) == list(range(1, 200, 2))
    assert taps.commits[0] == taps.commits[1]
    assert len(set(taps.commits)) == len(taps.commits) - 1
    assert kept.positions == {"a": 100, "b": 100}


def test_a_source_is_told_what_is_published(stream: Stream, taps: Taps) -> None:
    stream(stop=lambda state: taps.published == {"a": 100, "b": 100})


def test_a_changed_spec_goes_on_where_the_stream_was(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    kept = Kept()
    stream(kept=kept)
    more = "  - {id: wide, type: mapping, config: {keep: all, fields: {twice: n * 2}}}\ndestinations:\n"
    more += f"  - {{id: more, connector: jsonl, connection: {{path: {tmp_path}/more/}}, write_mode: append}}\n"
    changed = SPEC.replace("n % 2 = 1", "n % 2 = 0").replace("destinations:\n", more)
    taps.rows["a"] += range(200, 230)
    assert stream(changed, kept).read == 30
    # The even ones since then have another column, and one more place.
    assert out(tmp_path) == [*range(1, 200, 2), *range(200, 230, 2)]
    assert out(tmp_path, "more", "twice") == list(range(400, 460, 4))
    taps.rows["a"] += range(230, 240)
    fewer = "\n".join(line for line in changed.splitlines() if "id: out" not in line)
    assert stream(fewer, kept).read == 10
    assert out(tmp_path) == [*range(1, 200, 2), *range(200, 230, 2)]
    assert out(tmp_path, "more") == list(range(200, 240, 2))


def test_too_many_rejected_records_end_the_stream_where_they_are(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    taps.rows = {"a": [*range(30), *[-1] * 30]}
    step = "  - {id: fine, type: validation, config: {rules: {n: {min: 0}}}}\n"
    spec = SPEC.replace("destinations:", f"{step}destinations:").replace("where: n % 2 = 1", "where: n < 100")
    kept = Kept()
    result = stream(spec + "max_rejected: 10\n", kept)
    assert isinstance(result.error, TooManyRejected)
    assert out(tmp_path, "dead", "original")
    # An epoch whose rejected records are within the budget is published.
    assert out(tmp_path) == [n for n in taps.rows["a"][: kept.positions["a"]] if n >= 0]


def test_rows_meet_a_table_that_is_looked_up_and_go_several_ways(stream: Stream, tmp_path: Path) -> None:
    spec = f"""\
name: tap
type: real-time
stream: {{commit_every: 200ms, latency: 100ms}}
sources:
  tap: {{connector: tap, connection: {{}}}}
  names: {{connector: inline, connection: {{}}, rows: [{{k: k0, name: zero}}, {{k: k1, name: one}}]}}
transformations:
  - {{id: named, type: enrichment, input: tap, config: {{with: names, on: {{k: k}}, add: [name], missing: reject}}}}
  - {{id: ways, type: route, config: {{branches: {{small: n < 50}}, default: large}}}}
destinations:
  - {{id: small, input: ways.small, connector: jsonl, connection: {{path: {tmp_path}/small/}}, write_mode: append}}
  - {{id: large, input: ways.large, connector: jsonl, connection: {{path: {tmp_path}/large/}}, write_mode: append}}
"""
    result = stream(spec)
    known = [n for n in range(200) if n % 3 < 2]
    assert out(tmp_path, "small") == [n for n in known if n < 50]
    assert out(tmp_path, "large") == [n for n in known if n >= 50]
    assert out(tmp_path, "large", "name")[0] == "one"
    assert (result.rejected, len(out(tmp_path, "dead", "reason"))) == (66, 66)


def test_what_lookups_ask_for_is_counted_through_all_epochs(stream: Stream, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "names.sqlite")) as database:
        database.executescript(
            "create table names (k text primary key, name text); insert into names values ('k0', 'zero'), ('k1', 'one')"
        )
    spec = SPEC.replace(
        "source: {name: tap,",
        f"""\
sources:
  names: {{connector: sqlite, connection: {{path: {tmp_path}/names.sqlite}}, table: names}}
  tap: {{""",
    ).replace(
        "transformations:",
        """\
transformations:
  - {id: named, type: enrichment, input: tap, config: {with: names, on: {k: k}, add: [name], missing: "null", lookup: batch}}""",
    )
    result = stream(spec)
    assert len(out(tmp_path)) == 100
    figures = result.lookups["named"]
    assert figures["keys"] == figures["hits"] + figures["asked"]
    assert figures["keys"] > figures["asked"] >= figures["queries"] > 0


WINDOWS = """\
name: tap
type: real-time
stream: {commit_every: 200ms, latency: 100ms}
source: {name: tap, connector: tap, connection: {}, event_time: at}
transformations:
  - id: sums
    type: aggregation
    config: {by: [k], measures: {n: sum(n), rows: count(*)}}
    window: {type: fixed, size: 20 seconds, on: at}
destinations:
  - {id: out, connector: jsonl, connection: {path: OUT}, write_mode: append}
"""


def test_windows_keep_all_rows_where_a_batch_takes_long(
    stream: Stream, tmp_path: Path, taps: Taps, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An engine that gives half of a slow bundle to another one loses what the first wrote of the same key.
    taken = WindowShard.taken

    def slowly(*given: Any, **how: Any) -> Any:
        time.sleep(0.7)
        return taken(*given, **how)

    monkeypatch.setattr(WindowShard, "taken", slowly)
    taps.rows = {"a": list(range(0, 110, 2)), "b": list(range(1, 110, 2))}
    stream(WINDOWS)
    assert sum(out(tmp_path, column="rows")) == 100


MANY_WINDOWS = """\
name: tap
type: real-time
stream: {commit_every: 200ms, latency: 100ms}
source: {name: tap, connector: tap, connection: {}, event_time: at}
transformations:
  - id: short
    type: aggregation
    input: tap
    config: {by: [k], measures: {total: sum(n), rows: count(*)}}
    window: {type: fixed, size: 20 seconds, on: at}
  - id: long
    type: aggregation
    config: {by: [k], measures: {total: sum(total), rows: sum(rows)}}
    window: {type: fixed, size: 1 minute, on: window_start}
destinations:
  - {id: raw, input: tap, connector: jsonl, connection: {path: OUT/raw/}, write_mode: append}
  - {id: a, input: short, connector: jsonl, connection: {path: OUT/short/}, write_mode: append}
  - {id: b, input: long, connector: jsonl, connection: {path: OUT/long/}, write_mode: append}
"""


def spans(tmp_path: Path, folder: str) -> list[tuple[str, str, int, int]]:
    """The windows of a step, with what they hold."""
    lines = [line for path in (tmp_path / "out" / folder).glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((row["window_start"][14:19], row["k"], row["rows"], row["total"]) for row in map(json.loads, lines))


def held(size: int, end: int) -> list[tuple[str, str, int, int]]:
    """What the windows of so many seconds hold, up to `end`."""
    found = []
    for start in range(0, end, size):
        parts = [range(start + (key - start) % 3, start + size, 3) for key in range(3)]
        found += [(f"{start // 60:02}:{start % 60:02}", f"k{key}", len(part), sum(part)) for key, part in enumerate(parts)]
    return found


def test_windows_are_published_once_though_the_stream_dies_and_begins_again(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    taps.rows, taps.lags = {"a": list(range(0, 90, 2)), "b": list(range(1, 90, 2))}, {"b": 30}
    kept = Kept()

    def dies(state: StreamState) -> bool:
        if state.written.get("a", 0) >= 12 and state.written["raw"] == 90:
            raise KeyboardInterrupt
        return False

    with pytest.raises(Interrupted):
        stream(MANY_WINDOWS, kept, stop=dies)
    # The long window that is open began in the middle of what was read.
    assert kept.positions["a"] < 45 == kept.positions["(windows)"]["read"]["a"][1]
    # A row that is late indeed, and those that end some windows that are open; no row of the partition that lagged was late.
    taps.rows["a"] += [7, *range(90, 130, 2)]
    taps.rows["b"] += range(91, 130, 2)
    result = stream(MANY_WINDOWS, kept)
    assert (result.read, result.rejected) == (41, 1)
    assert out(tmp_path, "out/raw") == sorted([7, *range(130)])
    assert spans(tmp_path, "short") == held(20, 120)
    assert spans(tmp_path, "long") == held(60, 120)
    assert out(tmp_path, "dead", "reason") == ["late"]


MEETING = """\
name: tap
type: real-time
stream: {commit_every: 200ms, latency: 100ms}
sources:
  left: {connector: tap, connection: {}, only: a, event_time: at}
  right: {connector: tap, connection: {}, only: b, event_time: at}
transformations:
  - id: met
    type: join
    input: [left, right]
    config: {on: {n: n}, columns: {n: left.n}}
    window: {type: fixed, size: 20 seconds, on: at}
destinations:
  - {id: out, connector: jsonl, connection: {path: OUT}, write_mode: append}
"""


def test_windows_of_two_sources_are_given_though_one_of_them_is_far_ahead(stream: Stream, tmp_path: Path, taps: Taps) -> None:
    # The one that lags is read only while nobody pauses it.
    taps.rows, taps.lags = {"a": list(range(70)), "b": list(range(70))}, {"b": 60}
    result = stream(MEETING)
    assert (result.status, result.rejected) == ("completed", 0)
    assert out(tmp_path) == list(range(60))
