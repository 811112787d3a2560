"""Tests of event time: rows that come one after the other, watermarks that move, and the results that windows give meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.plan import Plan
from beam_datahub.component.source import Block, ReadRequest, Split
from beam_datahub.component.windowing import PANE_INDEX, PANE_TIMING, WINDOW_END, WINDOW_START
from beam_datahub.errors import InvalidValue
from beam_datahub.runtime.collect import Collected
from beam_datahub.runtime.launch import RunRequest, RunResult
from beam_datahub.runtime.timeline import Arrives, Event, Moment, Passes, run_timeline
from beam_datahub.spec import SpecDocument, TestSpec, Timeline
from beam_datahub.spec.model import PaneSpec
from beam_datahub.testing.given import GivenSource

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_Rows = Sequence[Mapping[str, Any]]


class TimelineSource(GivenSource):
    """Gives the rows of one event of a timeline after the other: a split is the number of the event."""

    def __init__(self, timeline: Timeline, schema: pa.Schema) -> None:
        super().__init__(timeline.rows, schema)
        self._parts = [event.rows or () for event in timeline.timeline]
        self._columns = schema

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        yield from GivenSource(self._parts[int(split.name)], self._columns).read(split, request)


def streams_of(test: TestSpec) -> frozenset[str]:
    """The sources of which a test gives a timeline."""
    return frozenset(name for name, given in test.given.items() if isinstance(given, Timeline))


def runner_of(document: SpecDocument, test: TestSpec) -> Callable[[Plan, RunRequest], RunResult] | None:
    """What plays the timelines of a test; None where it has none. Raises InvalidValue, placed."""
    streams = streams_of(test)
    if not streams:
        return None
    return partial(_run, events=events(document, test), streams=sorted(streams))


def _run(plan: Plan, request: RunRequest, *, events: Sequence[Event], streams: Sequence[str]) -> RunResult:
    return run_timeline(plan, request, events, streams)


def events(document: SpecDocument, test: TestSpec) -> list[Event]:
    """What happens in a test, in order: by the time of day, then by the order in which it gives the sources."""
    found: list[tuple[float, Event]] = []
    moments: set[float] = set()
    for source, given in test.given.items():
        if not isinstance(given, Timeline):
            continue
        now = 0.0
        for number, event in enumerate(given.timeline):
            if event.at is not None:
                if event.at < now:
                    reason = f"it is {now:g} seconds after the beginning already when this is to happen"
                    at = (*test.at, "given", source, "timeline", number, "at")
                    raise InvalidValue(reason, hint="order the events by `at`").at(document.place(*at))
                now = event.at
            now += event.advance_processing_time or 0.0
            moments.add(now)
            if event.rows is not None:
                found.append((now, Arrives(source, Split(str(number)))))
            elif event.advance_watermark is not None:
                found.append((now, Passes(source, (event.advance_watermark - _EPOCH) // _MICRO)))
    # Before what happens at a moment, it has become so late.
    clock: list[tuple[float, Event]] = [(now, Moment(round(now * 1_000_000))) for now in sorted(moments) if now > 0]
    return [event for _, event in sorted([*clock, *found], key=lambda each: each[0])]


def with_watched(document: SpecDocument, test: TestSpec) -> tuple[SpecDocument, dict[str, str]]:
    """The spec with a twin of each step whose results a test expects one by one, which numbers them; and the twins' names.

    Raises InvalidValue, placed.
    """
    steps = {step.id: step for step in document.integration.transformations}
    twins: dict[str, str] = {}
    added = []
    for name in test.panes:
        step = steps.get(name)
        if step is None or step.window is None:
            hint = "name a step that has a `window`"
            raise InvalidValue(f"'{name}' has no windows", hint=hint).at(document.place(*test.at, "panes", name))
        twin = f"{name}-panes"
        while twin in document.integration.ids:
            twin += "-"
        twins[name] = twin
        added.append(step.model_copy(update={"id": twin, "window": step.window.model_copy(update={"panes": True})}))
    if not added:
        return document, {}
    grown = document.changed(transformations=(*document.integration.transformations, *added))
    return grown, twins


def without_twins(collected: Collected, twins: Mapping[str, str]) -> Collected:
    """What was collected, without what the twins rejected as well."""
    mine = pc.invert(pc.is_in(collected.rejected["step"], value_set=pa.array(list(twins.values()), pa.string())))
    return replace(collected, rejected=collected.rejected.filter(mine)) if twins else collected


@dataclass(frozen=True)
class Pane:
    """A result of a window, as it came."""

    window: Any
    index: int
    timing: str
    rows: pa.Table

    def __str__(self) -> str:
        return f"window {_shown(self.window)}, {self.timing}"


def panes(table: pa.Table) -> list[Pane]:
    """The results of windows in the output of a twin, each window's in their order."""
    keys = table.select([WINDOW_START, PANE_INDEX, PANE_TIMING]).group_by([WINDOW_START, PANE_INDEX, PANE_TIMING]).aggregate([])
    found = []
    for each in keys.sort_by([(WINDOW_START, "ascending"), (PANE_INDEX, "ascending")]).to_pylist():
        same = pc.and_(pc.equal(table[WINDOW_START], each[WINDOW_START]), pc.equal(table[PANE_INDEX], each[PANE_INDEX]))
        rows = table.filter(same).drop_columns([PANE_INDEX, PANE_TIMING])
        found.append(Pane(each[WINDOW_START], each[PANE_INDEX], each[PANE_TIMING], rows))
    return found


def compare_panes(
    step: str, table: pa.Table, expected: Sequence[PaneSpec], compare: Callable[[str, pa.Table, _Rows], list[str]]
) -> list[str]:
    """What differs between the results of a step's windows and those expected; `compare` tells it of the rows of one."""
    left = panes(table)
    problems: list[str] = []
    missing: list[str] = []
    pairs: list[tuple[PaneSpec, Pane]] = []
    for wanted in expected:
        found = next((pane for pane in left if _fits(pane, wanted)), None)
        if found is None:
            missing.append(f"- {_wanted(wanted)}")
        else:
            left.remove(found)
            pairs.append((wanted, found))
    if missing or left:
        problems.append(f"{step}: {len(expected)} results of windows expected, {len(expected) - len(missing) + len(left)} came")
        problems += [*missing, *(f"+ {pane}: {_rows(pane.rows.num_rows)}" for pane in left)]
    for wanted, pane in pairs:
        named = {column for row in wanted.rows for column in row}
        rows = pane.rows.drop_columns([name for name in (WINDOW_START, WINDOW_END) if name not in named])
        problems += compare(f"{step} ({pane})", rows, wanted.rows)
    return problems


def _fits(pane: Pane, wanted: PaneSpec) -> bool:
    if wanted.timing is not None and wanted.timing != pane.timing:
        return False
    return wanted.window is None or wanted.window == _instant(pane.window)


def _instant(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _wanted(pane: PaneSpec) -> str:
    parts = [f"window {_shown(pane.window)}" if pane.window is not None else "a window", *([pane.timing] if pane.timing else [])]
    return f"{', '.join(parts)}: {_rows(len(pane.rows))}"


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _shown(moment: datetime) -> str:
    return _instant(moment).strftime("%Y-%m-%d %H:%M:%S")
