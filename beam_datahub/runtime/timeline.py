"""Runs a plan over a timeline: rows, the watermarks of sources and the time of day come as a test of event time says.

Beam's own test stream plays it, on the runner of Beam that waits after each event until everything has come to rest.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from beam_datahub.compiler.lower import Lowering, lower
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.source import Split
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.kernels.windows import LAST
from beam_datahub.runtime.beam_manners import quiet_beam
from beam_datahub.runtime.engines import engine
from beam_datahub.runtime.launch import (
    _TURN,
    RunRequest,
    RunResult,
    _abort,
    _lowering,
    _prepare,
    _read_report,
    _report_path,
    _result,
    _translated,
)

_MOMENTS = "moments"


@dataclass(frozen=True)
class Arrives:
    """Records come: the split of a source that holds them."""

    source: str
    split: Split


@dataclass(frozen=True)
class Passes:
    """The watermark of a source passes a point, in microseconds since 1970."""

    source: str
    point: int


@dataclass(frozen=True)
class Moment:
    """It has become so late by the time of day, in microseconds since the beginning."""

    micros: int


Event = Arrives | Passes | Moment


def run_timeline(plan: Plan, request: RunRequest, events: Sequence[Event], streams: Sequence[str]) -> RunResult:
    """Run a logical plan to the end of its timeline, at which all watermarks pass everything. Raises the run's DataHubError.

    `streams` are the sources whose records come as events; the others are read as always.
    """
    physical = optimise(plan)
    writes = [node.operator for node in physical.writes() if isinstance(node.operator, Write)]
    _prepare(writes)
    with _TURN, tempfile.TemporaryDirectory(prefix=scratch_prefix("run"), ignore_cleanup_errors=True) as folder:
        PROGRESS.reset()
        report_path = _report_path(request, folder, 0)
        try:
            lowering = _lowering(physical, request, engine("direct"), report_path)
            with quiet_beam(), _timers_that_hold(), _looked_at_once():
                play(_pipeline(), physical, lowering, events, streams)
            report = _read_report(report_path)
        except BaseException as failure:
            for write in writes:
                _abort(write)
            raise _translated(failure) from failure
    return _result(physical, request, report, 0.0, "")


@contextmanager
def _timers_that_hold() -> Iterator[None]:
    """What is given at a timer belongs to the time of the timer: as on other engines, the watermark behind it waits for that."""
    from apache_beam.runners.direct.watermark_manager import _TransformWatermarks as Watermarks
    from apache_beam.transforms.timeutil import TimeDomain
    from apache_beam.utils.timestamp import MAX_TIMESTAMP

    usual = Watermarks.refresh

    def refresh(self: Any) -> bool:
        before = self._output_watermark
        usual(self)
        with self._lock:
            fired = [(firing.name, firing.time_domain, firing.timestamp) for firing in self._fired_timers]
            for state in self._keyed_states.values():
                timers, _ = state.get_timers(watermark=MAX_TIMESTAMP, processing_time=-1)
                fired += [(name, domain, timestamp) for _, (name, domain, timestamp, _) in timers]
            # Those of Beam's own grouping have holds of their own.
            waiting = [t for name, domain, t in fired if domain == TimeDomain.WATERMARK and name.startswith("user/")]
            self._output_watermark = max(before, min([self._output_watermark, *waiting]))
            return bool(self._output_watermark > before)

    setattr(Watermarks, "refresh", refresh)  # noqa: B010 - a method of Beam's, for as long as the timeline is played
    try:
        yield
    finally:
        setattr(Watermarks, "refresh", usual)  # noqa: B010


@contextmanager
def _looked_at_once() -> Iterator[None]:
    """This runner of Beam asks at each of its many small bundles, several times, which state and timers a function has."""
    from apache_beam.transforms import userstate

    usual: Any = userstate.get_dofn_specs
    known: dict[type, Any] = {}

    def specs(dofn: Any) -> Any:
        if type(dofn) not in known:
            known[type(dofn)] = usual(dofn)
        return known[type(dofn)]

    vars(userstate)["get_dofn_specs"] = specs
    try:
        yield
    finally:
        vars(userstate)["get_dofn_specs"] = usual


def _pipeline() -> Any:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

    # What is reported is gathered when all is over, which a stream would not be.
    return beam.Pipeline(BundleBasedDirectRunner(), PipelineOptions(["--streaming", "--allow_unsafe_triggers"]))


def play(
    pipeline: Any, plan: Plan, lowering: Lowering, events: Sequence[Event], streams: Sequence[str], *, moments: bool = True
) -> None:
    """Lower a physical plan to `pipeline`, with the timeline of its streams in front, and run that to its end.

    Without `moments`, the time of day is the engine's own.
    """
    from apache_beam.testing.test_stream import TestStream
    from apache_beam.transforms.window import TimestampedValue
    from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

    tags = (*([_MOMENTS] if moments else []), *streams)
    played = TestStream(output_tags=set(tags))
    forever = Timestamp(micros=LAST)
    if moments:
        # What tells of the time of day holds no window back.
        played = played.advance_watermark_to(forever, tag=_MOMENTS)
    reached: dict[str, Any] = dict.fromkeys(streams, MIN_TIMESTAMP)
    for event in events:
        if isinstance(event, Arrives):
            played = played.add_elements([TimestampedValue(event.split, reached[event.source])], tag=event.source)
        elif isinstance(event, Passes):
            point = Timestamp(micros=event.point)
            if point > reached[event.source]:
                reached[event.source] = point
                played = played.advance_watermark_to(point, tag=event.source)
        elif moments:
            played = played.add_elements([TimestampedValue(event.micros, forever)], tag=_MOMENTS)
    for tag in tags:
        played = played.advance_watermark_to_infinity(tag=tag)
    outputs = pipeline | "timeline" >> played
    arrivals = {source: outputs[source] for source in streams}
    nearby = min((event.point for event in events if isinstance(event, Passes)), default=LAST) - 1
    lower(plan, pipeline, replace(lowering, arrivals=arrivals, moments=outputs[_MOMENTS] if moments else None, nearby=nearby))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            pipeline.run().wait_until_finish()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work, name="timeline", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
