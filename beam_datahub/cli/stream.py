"""Runs a stream from the command line: shows where it stands, records each epoch, and stops when somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import MissingValue

if TYPE_CHECKING:
    from beam_datahub.cli.run import Following
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunRequest, RunResult
    from beam_datahub.runtime.record import Recorder
    from beam_datahub.runtime.streams import StreamState

# How often a file or a pipe gets a line.
_LINE_SECONDS = 10.0
_LOOK_SECONDS = 0.25


def follow(plan: Plan, request: RunRequest, until: Following, recorder: Recorder | None, *, quiet: bool) -> RunResult:
    """Follow the sources of a plan until the stream is stopped; a recorder keeps every epoch and its cursors."""
    from beam_datahub.compiler.streaming import backfilled
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.runtime.stream_record import keeper
    from beam_datahub.runtime.streams import StreamRequest, run_stream

    hybrid = plan.metadata["type"] == "hybrid"
    if hybrid and recorder is None:
        raise MissingValue("the store keeps what a hybrid integration has read already", hint="leave out --no-record")
    if hybrid and recorder is not None and backfilled(plan):
        found = _backfilled(plan, request, recorder)
        if isinstance(found, RunResult):
            return found
        plan = found
    with _shown(quiet=quiet) as show:
        return run_stream(
            plan,
            StreamRequest(
                replace(request, watch=None),
                plan.metadata["stream"],
                plan.metadata["event_times"],
                keeper(recorder) if recorder is not None else None,
                seconds=until.seconds,
                until_idle=until.until_idle,
                show=show,
                stop=(lambda: recorder.cancelled) if recorder is not None else None,
                earlier=_died(recorder) if recorder is not None else (),
            ),
        )


def _died(recorder: Recorder) -> tuple[str, ...]:
    return tuple(run.run_id for run in recorder.store.reader.runs.unfinished(recorder.facts.integration))


def _backfilled(plan: Plan, request: RunRequest, recorder: Recorder) -> Plan | RunResult:
    """The plan of the stream behind the backfill, which runs here unless it has; the result of one that failed."""
    from beam_datahub.runtime.hybrid import backfill, behind_backfill, is_backfilled
    from beam_datahub.runtime.increments import Span, bound, moves

    if is_backfilled(plan):
        return behind_backfill(plan)
    facts, store = recorder.facts, recorder.store

    def moved(done: RunResult) -> None:
        store.together(list(moves(facts.integration, facts.run_id, done.cursors)))

    result = backfill(plan, request, moved)
    if result.error is not None:
        return result
    rows = sum(each["rows"] for step, each in result.written.items() if step not in ("dead_letter", "violations"))
    request.tell(f"what was there is published: {result.read:,} read, {rows:,} written, {result.rejected:,} rejected")
    return behind_backfill(bound(plan, store, Span()))


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[StreamState], None] | None]:
    """A function that shows where the stream stands: in one line of a terminal, or a line now and then."""
    from beam_datahub.cli.session import err

    console = err()
    if quiet:
        yield None
        return
    rate = _Rate()
    if not console.is_terminal:
        at = 0.0

        def tell(state: StreamState) -> None:
            nonlocal at
            if state.seconds - at >= _LINE_SECONDS:
                at = state.seconds
                console.print(line(state, rate.of(state)), highlight=False)

        yield tell
        return
    with console.status("starting") as status:
        looked = 0.0

        def show(state: StreamState) -> None:
            nonlocal looked
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                status.update(line(state, rate.of(state)))

        yield show


class _Rate:
    """Records a second, over the last epochs."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, state: StreamState) -> float:
        """How many records a second came through lately."""
        if not self._seen or self._seen[-1][1] != state.read:
            self._seen = [*self._seen[-5:], (state.seconds, state.read)]
        (first, before), (_, now) = self._seen[0], self._seen[-1]
        return (now - before) / max(state.seconds - first, 0.001)


def line(state: StreamState, rate: float) -> str:
    """Where a stream stands, as one line."""
    parts = [f"epoch {state.epoch:,}", f"{state.read:,} read", f"{_written(state.written):,} written"]
    if state.rejected:
        parts.append(f"{state.rejected:,} rejected")
    parts.append(f"{rate:,.0f} rows/s")
    if state.waiting:
        parts.append(f"{state.waiting:,} staged")
    if state.behind is not None:
        parts.append(f"{state.behind:,} behind" if state.behind else "caught up")
    if state.watermark is not None:
        parts.append(f"watermark {state.watermark:%Y-%m-%d %H:%M:%S}")
    if state.attempt > 1:
        parts.append(f"attempt {state.attempt}")
    return " · ".join(parts)


def _written(rows: Mapping[str, int]) -> Any:
    return sum(count for step, count in rows.items() if step not in ("dead_letter", "violations"))
