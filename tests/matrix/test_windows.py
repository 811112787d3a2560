"""Windows of a stream give the same on Prism as in the tests of a spec: early and late results, and late rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.component.source import Split
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.engines import EngineOptions, Start, engine
from beam_datahub.runtime.launch import RunRequest, RunResult, _lowering, _read_report, _result
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.runtime.timeline import Arrives, Event, Passes, play, run_timeline
from beam_datahub.spec import Timeline, loads
from beam_datahub.spec.model import TimelineEvent
from beam_datahub.testing.timelines import TimelineSource

SCHEMA = pa.schema([("k", pa.string()), ("t", pa.timestamp("us")), ("v", pa.int64())])
BASE = datetime(2025, 1, 1, 12, tzinfo=UTC)
SPEC = """\
name: windows
source: {name: rows, connector: inline, connection: {}, rows: []}
transformations:
  - id: minutes
    type: aggregation
    input: rows
    window: {type: fixed, size: 1 minute, on: t, lateness: 30 s, early: every 2 rows, panes: true}
    config: {by: k, measures: {n: count(*), total: sum(v)}}
destinations:
  - {id: out, connector: console}
"""
# (key, second, value) of rows that come together, and the seconds that the watermark passes.
STREAM: list[list[tuple[str, int, int]] | int] = [
    [("a", 1, 1), ("b", 2, 2), ("a", 61, 3)],
    [("a", 15, 10)],
    60,
    [("a", 40, 20), ("b", 70, 1)],
    300,
    [("a", 8, 1000), ("b", 320, 5)],
]


def timeline() -> tuple[TimelineSource, list[Event]]:
    parts = [
        tuple({"k": k, "t": _time(s).replace(tzinfo=None), "v": v} for k, s, v in each)
        for each in STREAM
        if isinstance(each, list)
    ]
    source = TimelineSource(Timeline(timeline=tuple(TimelineEvent(rows=rows) for rows in parts)), SCHEMA)
    numbers = iter(range(len(parts)))
    happens: list[Event] = [
        Passes("rows", (_time(each) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
        if isinstance(each, int)
        else Arrives("rows", Split(str(next(numbers))))
        for each in STREAM
    ]
    return source, happens


def _time(second: int) -> datetime:
    return BASE + timedelta(seconds=second)


def collected(runner: Any) -> Collected:
    source, _ = timeline()
    plan = build(loads(SPEC), BuildOptions(sources={"rows": source}, outputs=False, follows=frozenset(["rows"])))
    return collect(plan, {"minutes": "minutes"}, RunRequest(new_run_id()), runner=runner)


@pytest.fixture
def on_prism(prism: str, tmp_path: Path) -> Any:
    """What runs a plan over the timeline on Prism, with two shards."""

    def run(plan: Plan, request: RunRequest) -> RunResult:
        chosen = engine("prism")
        arguments = (f"--prism_location={prism}", "--streaming", "--allow_unsafe_triggers")
        options = chosen.completed(EngineOptions(options=arguments))
        physical = optimise(plan)
        for node in physical.writes():
            assert isinstance(node.operator, Write)
            node.operator.sink.prepare(node.operator.request)
        report = str(tmp_path / "report.json")
        with chosen.started(options, Start(str(tmp_path), str(tmp_path), lambda text: None)) as pipeline:
            asked = replace(request, engine="prism", options=options)
            lowering = replace(_lowering(physical, asked, chosen, report), shards=2)
            play(pipeline, physical, lowering, timeline()[1], ["rows"], moments=False)
        return _result(physical, asked, _read_report(report), 0.0, "")

    return run


@pytest.mark.prism
def test_windows_give_the_same_on_prism_as_in_the_tests_of_a_spec(on_prism: Any) -> None:
    def played(plan: Plan, request: RunRequest) -> RunResult:
        return run_timeline(plan, request, timeline()[1], ["rows"])

    here, there = collected(played), collected(on_prism)
    for found in (here, there):
        assert found.result.error is None
        # With two shards, early results come when two rows are in one of them.
        assert last(found.tables["minutes"]) == [
            ("12:00", "a", "late", 3, 31),
            ("12:00", "b", "on_time", 1, 2),
            ("12:01", "a", "on_time", 1, 3),
            ("12:01", "b", "on_time", 1, 1),
            ("12:05", "b", "on_time", 1, 5),
        ]
        assert refused(found) == [("minutes", "late")]


def last(table: pa.Table) -> list[tuple[Any, ...]]:
    """The last result of each window and key."""
    found = {}
    for row in sorted(table.to_pylist(), key=lambda row: int(row["pane_index"])):
        found[row["window_start"], row["k"]] = (
            f"{row['window_start']:%H:%M}",
            row["k"],
            row["pane_timing"],
            row["n"],
            row["total"],
        )
    return sorted(found.values())


def refused(found: Collected) -> Sequence[tuple[str, str]]:
    return sorted((row["step"], row["reason"]) for row in found.rejected.to_pylist())
