"""Runs a stream: the engine reads and stages, the launcher publishes epoch by epoch, and whatever breaks begins again from there.

An *attempt* is one job of the engine. It begins at what is published and knows of nothing before, so that another attempt may
follow at any time: after a failure, for new partitions, after the machine went down.
"""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.epochs import Terms
from beam_datahub.compiler.follow import StreamWork
from beam_datahub.compiler.followers import FOLLOWERS
from beam_datahub.compiler.lower import Lowering, StreamLowering, lower
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Read, Write
from beam_datahub.compiler.settled import Seam, plain_parts, read_up_to, seam_of
from beam_datahub.compiler.stream_control import SAY_SECONDS, Control
from beam_datahub.compiler.streaming import apart, followed, has_seams, is_lent, windowed_sources
from beam_datahub.component.failure import placed
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.source import Partition
from beam_datahub.errors import DataHubError, EngineFailed
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.beam_manners import let_workers_end_quietly, quiet_beam
from beam_datahub.runtime.engines import Start, engine
from beam_datahub.runtime.launch import _TURN, RunResult, _abort, _budget, _kernel, _prepare, _result, _translated
from beam_datahub.runtime.stream_ends import Rest, cancel, may_pass, told_of
from beam_datahub.runtime.stream_epochs import Judged, Publisher
from beam_datahub.runtime.stream_places import AttemptPlace, end_left_behind
from beam_datahub.runtime.stream_request import StreamRequest, StreamState

LOGGER = logging.getLogger("beam_datahub.run")

_TICK_SECONDS = 0.1
# How long a stream that is to end may take to bring what it has read to its destinations.
_DRAIN_SECONDS = 60.0
_CANCEL_SECONDS = 10.0
# How long nothing must have come from a stream of windows before it counts as at rest, beyond twice its latency.
_REST_SECONDS = 2.0
# From so many records that are staged and not published on, no more are read.
_MOST_WAITING = 20_000_000
# How long a partition's tickets may be out of their order before it is read anew.
_STUCK_SECONDS = 60.0


__all__ = ["StreamRequest", "StreamState", "run_stream"]


def run_stream(plan: Plan, request: StreamRequest) -> RunResult:
    """Follow the sources of a logical plan until somebody stops it: then all that was read is published, and the result says so.

    Raises the DataHubError that ended it; what was published until then stays, and another run goes on from there.
    """
    chosen = engine(request.run.engine)
    options = chosen.completed(request.run.options)
    run = replace(request.run, options=replace(options, options=("--streaming", *chosen.stream_options, *options.options)))
    with _TURN:
        stream = _Stream(plan, replace(request, run=run))
        with _signals(stream.ask_to_stop):
            return stream.run()


@contextmanager
def _signals(told: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and a service's stop end the stream between two steps, not within one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda *_: told()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Stream:
    def __init__(self, plan: Plan, request: StreamRequest) -> None:
        self._request, self._spec, self._plan = request, request.spec, plan
        self._physical = apart(optimise(plan))
        self._names = followed(self._physical)
        self._reads = {node.id: node.operator for node in plan.reads() if isinstance(node.operator, Read)}
        self._writes = [node.operator for node in plan.writes() if isinstance(node.operator, Write)]
        self._windows, self._lent = windowed_sources(self._physical), is_lent(self._physical)
        self._windowed, self._seams = bool(self._windows), has_seams(self._physical)
        self._known: Mapping[str, Mapping[str, Any]] = {name: self._reads[name].request.reached for name in self._names}
        if not self._windowed:
            # Nothing waits any more for windows that another spec had.
            self._known = read_up_to(self._known)
        self._publisher = Publisher(plan, request.spec, request.run.journal, request.keep, self._known)
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._attempt = self._failures = 0
        # The stream is to end; this attempt is to end; at once.
        self._stopping = self._anew = self._cancelled = False
        self._partitions: dict[str, tuple[Partition, ...]] = {}
        self._out_of_order: float | None = None
        self._rest = Rest(2 * self._spec.latency + _REST_SECONDS)
        self._silence, self._standstill = Rest(_STUCK_SECONDS), Rest(_STUCK_SECONDS)

    def ask_to_stop(self) -> None:
        """Somebody wants the stream to end. Who asks twice wants it at once."""
        self._cancelled |= self._stopping
        self._stopping = True

    def run(self) -> RunResult:
        publisher = self._publisher
        _prepare(self._writes)
        PROGRESS.reset()
        end_left_behind(self._request.run.options.given("temp_location"), self._request.earlier)
        try:
            self._list()
            publisher.keep_starts(self._known)
            while not self._is_over(self._attempted()):
                pass
            report = self._report()
        except BaseException as failure:
            raise told_of(_translated(failure)) from failure
        finally:
            # An epoch that is decided on needs what is staged for it.
            if publisher.pending is None:
                for write in self._writes:
                    _abort(write)
        seconds = time.monotonic() - self._started
        return _result(self._plan, self._request.run, report, seconds, self._began.isoformat(timespec="seconds"))

    def _is_over(self, failure: BaseException | None) -> bool:
        """Whether the stream ends behind an attempt; waits a while before another one that follows a failure."""
        publisher = self._publisher
        if publisher.verdict is not None or (failure is None and self._stopping):
            return True
        if failure is None:
            return False
        if publisher.moved:
            self._failures, publisher.moved = 0, False
        self._failures += 1
        if self._stopping or publisher.pending is not None or not may_pass(failure) or self._failures > self._spec.restarts:
            raise failure
        told = _translated(failure)
        LOGGER.warning("the stream begins again from what is published: %s", told)
        self._request.run.tell(f"begins again from what is published: {told}")
        stopped = self._wait(self._spec.backoff.pause(self._failures))
        if stopped and publisher.epochs is None:
            raise failure
        return stopped

    def _report(self) -> dict[str, Any]:
        epochs, verdict = self._publisher.epochs, self._publisher.verdict
        assert epochs is not None
        found = epochs.report()
        if verdict is not None:
            return {**found, **verdict}
        faults = [] if self._cancelled else epochs.faults()
        return {**found, "status": "unbalanced", "faults": faults} if faults else found

    # Attempts

    def _attempted(self) -> BaseException | None:
        """Run one job until it ends; gives what broke it."""
        self._attempt += 1
        self._anew = False
        request = self._request.run
        prefix, name = scratch_prefix("stream"), f"{request.run_id}-{self._attempt}"
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
            with AttemptPlace(request.options.given("temp_location"), folder, name) as place:
                failure = self._job(folder, place, name)
                place.is_over = failure is None
            return failure

    def _job(self, folder: str, place: AttemptPlace, name: str) -> BaseException | None:
        request = self._request.run
        with ExitStack() as stack:
            try:
                if self._attempt > 1:
                    self._list()
                place.control.write(self._control())
                let_workers_end_quietly()
                stack.enter_context(quiet_beam())
                start = Start(folder, request.log_folder or folder, request.tell, f"{self._plan.name}-{name}")
                chosen = engine(request.engine)
                pipeline = stack.enter_context(chosen.started(request.options, start))
                self._lowered(pipeline, name, place, in_process=chosen.in_process)
                running = pipeline.run()
            except Exception as failure:
                return failure
            stack.callback(FOLLOWERS.close, name, self._publisher.reached)
            try:
                return self._watched(running, place)
            except Judged:
                cancel(running)
                return None
            except Exception as failure:
                cancel(running)
                return failure

    def _lowered(self, pipeline: Any, name: str, place: AttemptPlace, *, in_process: bool) -> None:
        latency, times = min(self._spec.latency, self._spec.commit_every), self._request.event_times
        for source, partitions in self._partitions.items():
            # Heard by workers that are threads of this process.
            FOLLOWERS.expect(name, source, [each.name for each in partitions])
        work = {source: StreamWork(name, latency, place.control, times.get(source)) for source in self._names}
        request = self._request.run
        lowering = Lowering(
            identity=Identity(request.run_id, self._plan.name, sealed=bool(self._plan.metadata.get("sealed"))),
            report_path="",
            kernel=_kernel(request, in_process=in_process),
            shards=request.options.shards or engine(request.engine).stream_shards,
            reshuffle_splits=not in_process,
            budget=_budget(self._plan),
            stream=StreamLowering(self._partitions, work, place.reports),
            started_at=self._began,
        )
        ledger = lower(self._physical, pipeline, replace(lowering, since=self._seam()))
        budget, rules = lowering.budget, self._physical.rules
        terms = Terms(ledger, tuple(self._writes), budget, rules, self._began, self._windows, self._windowed and self._seams)
        self._publisher.begin(terms)

    def _seam(self) -> Seam:
        """Where what is read again ends, and which windows were over."""
        seam = seam_of(self._publisher.reached)
        # Where what is read again comes as new, just the clock tells of which windows it was.
        return seam if self._seams else Seam(floor=seam.floor)

    def _watched(self, running: Any, place: AttemptPlace) -> BaseException | None:
        """Publish what the job stages, until it ends; gives what broke it."""
        publisher, failures, told = self._publisher, [], self._control()
        ended = threading.Event()

        def work() -> None:
            try:
                running.wait_until_finish()
            except BaseException as failure:
                failures.append(failure)

        waiter = threading.Thread(target=work, name="stream", daemon=True)
        waiter.start()
        threading.Thread(target=self._look_for_partitions, args=(ended,), name="partitions", daemon=True).start()
        give_up: float | None = None
        try:
            while waiter.is_alive():
                waiter.join(_TICK_SECONDS)
                publisher.collect(place.reports)
                if self._windowed and (self._stopping or self._anew) and publisher.pending is None:
                    # Ended by itself, the engine would take open windows for complete.
                    publisher.commit()
                    assert publisher.epochs is not None
                    if self._rest.lasts(publisher.epochs.at_rest, publisher.epochs.news):
                        cancel(running)
                        waiter.join(_CANCEL_SECONDS)
                        failures.clear()
                        break
                else:
                    # What a queue has lent is acknowledged where it is held, before that is closed.
                    publisher.commit_when_due(at_once=self._lent and (self._stopping or self._anew))
                self._look_round()
                if (now := self._control()) != told or now.at - told.at > SAY_SECONDS:
                    place.control.write(now)
                    told = now
                if give_up is None and (self._stopping or self._anew):
                    give_up = time.monotonic() + _DRAIN_SECONDS
                if self._cancelled or (give_up is not None and time.monotonic() > give_up):
                    LOGGER.warning("the engine did not bring all to an end: what is not published is read again")
                    self._cancelled |= self._stopping
                    cancel(running)
                    waiter.join(_CANCEL_SECONDS)
                    failures.clear()
                    break
            # What was staged in full is published, also of a job that broke.
            publisher.collect(place.reports)
            if publisher.pending is None or not failures:
                publisher.finish(self._wait_or_stop)
        finally:
            ended.set()
        if not failures and not (self._stopping or self._anew):
            return EngineFailed("the engine has ended the stream", hint="its log says why")
        return failures[0] if failures else None

    # What goes on meanwhile

    def _look_round(self) -> None:
        request, epochs = self._request, self._publisher.epochs
        if request.stop is not None and request.stop():
            self._stopping = True
        if request.seconds is not None and time.monotonic() - self._started >= request.seconds:
            self._stopping = True
        if epochs is None:
            return
        if request.until_idle and not self._stopping and self._publisher.pending is None:
            is_done = epochs.caught_up(told=not self._windowed)
            if self._windowed:
                # Windows that are complete by now still have to come; an engine that keeps them is not waited for without end.
                rests = self._rest.lasts(is_done and epochs.windows_are_given(), epochs.news)
                is_done = self._silence.lasts(is_done, epochs.news + epochs.turns) or rests
            self._stopping = is_done
        if self._standstill.lasts(self._publisher.wants_rest, epochs.news + epochs.turns):
            self._anew = True
        if epochs.stuck() is None:
            self._out_of_order = None
        elif self._out_of_order is None:
            self._out_of_order = time.monotonic()
        elif time.monotonic() - self._out_of_order > _STUCK_SECONDS:
            self._anew = True
        if request.show is not None:
            request.show(self.state())

    def state(self) -> StreamState:
        """Where the stream stands."""
        epochs = self._publisher.epochs
        assert epochs is not None
        told = list(epochs.state.values())
        behind = [each["behind"] for each in told if each["behind"] is not None]
        marks = [each["watermark"] for each in told] if self._request.event_times else []
        is_known = bool(marks) and None not in marks
        return StreamState(
            seconds=time.monotonic() - self._started,
            epoch=epochs.number,
            attempt=self._attempt,
            read=sum(terms["read"] for terms in epochs.total.totals.values()),
            rejected=sum(terms["rejected"] for terms in epochs.total.totals.values()),
            waiting=epochs.waiting,
            behind=sum(behind) if behind else None,
            watermark=datetime.fromtimestamp(min(marks) / 1e6, UTC) if is_known else None,
            written={step: line["rows"] for step, line in epochs.written.items()},
        )

    def _control(self) -> Control:
        """What workers are to know now."""
        publisher = self._publisher
        waiting = publisher.epochs.waiting if publisher.epochs is not None else 0
        paused = (publisher.pending is not None and publisher.trials > 0) or waiting > _MOST_WAITING
        ends = self._stopping or self._anew
        published = {source: dict(parts) for source, parts in publisher.reached.items()}
        paused |= self._windowed and (ends or publisher.wants_rest)
        return Control(published, paused, stopping=ends and not self._windowed)

    def _wait(self, seconds: float) -> bool:
        """Whether the stream was told to end meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopping:
            time.sleep(_TICK_SECONDS)
            self._look_round()
        return self._stopping

    def _wait_or_stop(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._cancelled:
                raise KeyboardInterrupt
            time.sleep(_TICK_SECONDS)
            self._look_round()

    # Partitions

    def _list(self) -> None:
        """Ask the sources for their partitions, each from where it goes on."""
        for name in self._names:
            found = self._asked(name)
            self._partitions[name] = found
            self._publisher.add(name, {each.name: each.position for each in found})

    def _asked(self, name: str) -> tuple[Partition, ...]:
        read = self._reads[name]
        with placed(read.place):
            known = self._publisher.reached
            reached = plain_parts(known.get(name, {}))
            found = tuple(read.source.partitions(replace(read.request, reached=reached)))
        ends = seam_of(known).read.get(name, {}) if self._windowed and self._seams else {}
        seams = {part: end for part, end in ends.items() if end != reached[part]}
        return tuple(replace(each, seam=seams[each.name]) if each.name in seams else each for each in found)

    def _look_for_partitions(self, ended: threading.Event) -> None:
        while not ended.wait(self._spec.discover_every):
            for name in self._names:
                known = {each.name for each in self._partitions[name]}
                try:
                    fresh = {each.name for each in self._asked(name)} - known
                except DataHubError as error:
                    LOGGER.debug("%s could not be asked for its partitions: %s", name, error.reason)
                    continue
                if fresh and not ended.is_set():
                    LOGGER.info("%s has new partitions: %s", name, ", ".join(sorted(fresh)))
                    self._anew = True
