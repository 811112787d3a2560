"""Hybrid integrations with windows on Prism: what ends and what goes on meet in one window, each row once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan, Read
from beam_datahub.errors import DataHubError, ErrorGroup
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest, RunResult
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.runtime.streams import StreamRequest, StreamState, run_stream
from beam_datahub.spec import loads
from tests.unit.runtime.test_streams import Taps, taps

__all__ = ["taps"]

pytestmark = pytest.mark.prism

# The file has the even seconds before the hundredth, and the log those behind: one minute has rows of both.
SPEC = """\
name: both
type: hybrid
stream: {commit_every: 200ms, latency: 100ms}
sources:
  old: {connector: csv, connection: {path: FOLDER/old.csv}, schema: {n: bigint, k: varchar, at: timestamptz}}
  tap: {connector: tap, connection: {}, event_time: {column: at, idle_after: 1 hour}}
transformations:
  - {id: all, type: union, input: [old, tap]}
  - id: minutes
    type: aggregation
    window: {type: fixed, size: 1 minute, on: at}
    config: {by: k, measures: {rows: count(*), total: sum(n)}}
destinations:
  - {id: out, connector: jsonl, connection: {path: FOLDER/out/}, write_mode: append}
"""


class Kept:
    """A store that keeps the positions of all sources."""

    def __init__(self) -> None:
        self.cursors: dict[str, dict[str, tuple[int, Any]]] = {}

    def __call__(self, goal: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        for source, found in goal.items():
            kept = self.cursors.setdefault(source, {})
            for name, part in found["parts"].items():
                assert part["revision"] == kept.get(name, (0, None))[0]
                kept[name] = (part["revision"] + 1, part["value"]["last"])

    def bound(self, plan: Plan) -> Plan:
        nodes = dict(plan.nodes)
        for source, kept in self.cursors.items():
            read = nodes[source].operator
            assert isinstance(read, Read)
            assert read.positions is not None
            positions = replace(read.positions, revisions={name: revision for name, (revision, _) in kept.items()})
            request = replace(read.request, reached={name: at for name, (_, at) in kept.items()})
            nodes[source] = nodes[source].with_(operator=replace(read, request=request, positions=positions))
        return plan.replaced(nodes)


def run(prism: str, folder: Path, kept: Kept, rows: int) -> RunResult:
    """A run that ends once it has published so many rows."""
    run_id = new_run_id()
    document = loads(SPEC.replace("FOLDER", str(folder)))
    plan = kept.bound(build(document, BuildOptions(run_id=run_id, dead_letter_folder=str(folder / "dead"))))
    options = EngineOptions(shards=1, options=(f"--prism_location={prism}",))
    asked = RunRequest(run_id, "prism", options)
    facts = plan.metadata
    told: list[int] = [0]

    def show(state: StreamState) -> None:
        told.append(state.written.get("out", 0))

    stream = StreamRequest(
        asked, facts["stream"], facts["event_times"], kept, show=show, stop=lambda: told[-1] >= rows, seconds=300
    )
    return run_stream(plan, stream)


def results(folder: Path) -> list[tuple[str, str, int, int]]:
    lines = [json.loads(line) for path in (folder / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((each["window_start"][14:16], each["k"], each["rows"], each["total"]) for each in lines)


def expected(numbers: list[int]) -> list[tuple[str, str, int, int]]:
    rows: Counter[tuple[str, str]] = Counter()
    totals: Counter[tuple[str, str]] = Counter()
    for n in numbers:
        key = (f"{n // 60:02d}", f"k{n % 3}")
        rows[key] += 1
        totals[key] += n
    return sorted((*key, count, totals[key]) for key, count in rows.items())


@pytest.fixture
def folder(tmp_path: Path, taps: Taps) -> Path:
    # In no order: rows of the past are of any time.
    old = [f"{n},k{n % 3},1970-01-01 00:{n // 60:02d}:{n % 60:02d}+00" for n in reversed(range(0, 150, 2))]
    (tmp_path / "old.csv").write_text("\n".join(["n,k,at", *old, ""]))
    taps.rows = {"a": list(range(151, 260))}
    return tmp_path


def test_a_window_over_the_seam_holds_each_row_of_both_once(folder: Path, prism: str, taps: Taps) -> None:
    kept = Kept()
    result = run(prism, folder, kept, 12)
    assert (result.status, result.read, result.rejected) == ("completed", 75 + 109, 0)
    seen = [*range(0, 150, 2), *range(151, 260)]
    assert results(folder) == expected([n for n in seen if n < 240])
    taps.rows["a"] += range(260, 330)
    run(prism, folder, kept, 3)
    seen += range(260, 330)
    found = results(folder)
    assert [each for each in found if each[0] == "04"] == [each for each in expected(seen) if each[0] == "04"]
    assert found == expected([n for n in seen if n < 300])


def test_what_cannot_be_read_twice_is_refused(folder: Path, taps: Taps) -> None:
    text = SPEC.replace("FOLDER", str(folder)).replace("schema: {n", "incremental: {column: n}, schema: {n")
    with pytest.raises((ErrorGroup, DataHubError), match="`incremental` does not go with it"):
        build(loads(text))
