"""Runs a plan: prepares the destinations, starts the engine, and turns the commit's report into a result."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from beam_datahub.compiler.commit import Budget
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.dofns import KernelOptions
from beam_datahub.compiler.lower import Lowering, lower
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.component.failure import placed, unpacked
from beam_datahub.component.progress import PROGRESS
from beam_datahub.errors import (
    BooksUnbalanced,
    DataHubError,
    Interrupted,
    QualityFailed,
    RunError,
    TargetUnusable,
    TooManyRejected,
)
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.engines import EngineOptions, engine
from beam_datahub.runtime.run_log import RunLog

# How long an interrupted run may take to wind down before its staging is removed regardless.
_WIND_DOWN_SECONDS = 10.0

# The batches that move by reference, the progress and Beam's log level belong to the process: its runs take turns.
_TURN = threading.Lock()


@dataclass(frozen=True)
class RunResult:
    """What a run did. `books` has one line per step; `written` says where each destination's rows are; `quality` has for each
    rule what it checked and whether it holds; `profiles` maps profiled steps to summaries of their columns, `sketches` to what
    merges with the profiles of other runs.
    """

    run_id: str
    integration: str
    status: str
    engine: str
    read: int
    rejected: int
    books: dict[str, dict[str, int]]
    reasons: list[dict[str, Any]]
    drifted: list[dict[str, str]]
    written: dict[str, dict[str, Any]]
    seconds: float
    started_at: str
    quality: list[dict[str, Any]] = field(default_factory=list)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    sketches: dict[str, str] = field(default_factory=dict, repr=False)
    deviations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Recorded step → how many earlier runs its profile was compared with, and what differs."""
    cursors: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    error: DataHubError | None = None

    def as_record(self) -> dict[str, Any]:
        """The result as one JSON object."""
        record = {name: value for name, value in self.__dict__.items() if name not in ("error", "sketches", "cursors")}
        cursors = {source: {name: goal[name] for name in ("column", "last")} for source, goal in self.cursors.items()}
        return {**record, "cursors": cursors, "error": self.error.facts() if self.error else None}


@dataclass(frozen=True)
class RunRequest:
    """How to run a plan. `watch` is called a few times a second while the run goes on, from the calling thread; a
    KeyboardInterrupt that it raises stops the run. `journal` is the local file in which the commit says what it publishes.
    """

    run_id: str
    engine: str = "direct"
    options: EngineOptions = field(default_factory=EngineOptions)
    watch: Callable[[], None] | None = None
    journal: str | None = None


def new_run_id() -> str:
    """A fresh run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def run(plan: Plan, request: RunRequest) -> RunResult:
    """Run a logical plan to its end, after any other run that is going on in this process.

    Raises the run's DataHubError where nothing was published; a run that broke its budget or its books comes back with
    that status and `error`, its dead letter published.
    """
    started = time.monotonic()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = engine(request.engine)
    physical = optimise(plan)
    writes = [node.operator for node in physical.writes() if isinstance(node.operator, Write)]
    _prepare(writes)
    with _TURN, tempfile.TemporaryDirectory(prefix=scratch_prefix("run")) as folder:
        PROGRESS.reset()
        report_path = os.path.join(folder, "report.json")
        lowering = Lowering(
            identity=Identity(request.run_id, plan.name, sealed=bool(plan.metadata.get("sealed"))),
            report_path=report_path,
            kernel=_kernel(request.options, in_process=chosen.in_process),
            shards=request.options.shards or chosen.shards,
            reshuffle_splits=not chosen.in_process,
            budget=_budget(plan),
            journal=request.journal,
        )
        try:
            if chosen.in_process:
                _let_bundles_end_at_once()
            else:
                _let_workers_end_quietly()
            with chosen.hold(request.options), _quiet_beam():
                pipeline = chosen.pipeline(request.options)
                lower(physical, pipeline, lowering)
                _execute(pipeline, request, report_path, in_process=chosen.in_process)
            with open(report_path, encoding="utf-8") as file:
                report = json.load(file)
        except BaseException as failure:
            # Behind its journal a commit may have published a part: what is staged is needed to publish the rest.
            if request.journal is None or not os.path.exists(request.journal):
                for write in writes:
                    _abort(write)
            raise _translated(failure) from failure
    return _result(plan, request, report, time.monotonic() - started, began)


def _budget(plan: Plan) -> Budget:
    given = plan.max_rejected
    return Budget(given.count, given.share) if given is not None else Budget()


def _kernel(options: EngineOptions, *, in_process: bool) -> KernelOptions:
    if in_process:
        return KernelOptions(options.threads, options.memory_bytes // 2, options.spill_dir)
    return KernelOptions(options.threads or 1)


def _execute(pipeline: Any, request: RunRequest, report_path: str, *, in_process: bool) -> None:
    """Run the pipeline while another thread waits for it, so that this one stays free for progress and Ctrl-C."""
    failures: list[BaseException] = []
    # The in-process runner only returns at the end.
    running, stop_server = (None, None) if in_process else _submitted(pipeline)

    def work() -> None:
        try:
            (running or pipeline.run()).wait_until_finish()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work, name="pipeline", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1 if request.watch else 1.0)
            if request.watch is not None:
                request.watch()
    except KeyboardInterrupt:
        PROGRESS.stopping = True
        if running is not None:
            # An engine that is gone already needs no telling.
            with suppress(Exception):
                running.cancel()
        thread.join(_WIND_DOWN_SECONDS)
        if stop_server is not None:
            stop_server()
        # Where the report is there, it was too late to stop: everything is published, and the result says so.
        if thread.is_alive() or not os.path.exists(report_path):
            raise
    if failures:
        raise failures[0]


def _submitted(pipeline: Any) -> tuple[Any, Callable[[], None] | None]:
    """Start a job, and give what stops its server: Beam would stop it on Ctrl-C under the job, before the job is cancelled."""
    before = signal.getsignal(signal.SIGINT)
    running = pipeline.run()
    taken = signal.getsignal(signal.SIGINT)
    if taken is before:
        return running, None
    signal.signal(signal.SIGINT, before)
    return running, getattr(getattr(taken, "__self__", None), "stop", None)


def _prepare(writes: list[Write]) -> None:
    for number, write in enumerate(writes):
        try:
            with placed(write.place):
                write.sink.prepare(write.request)
        except BaseException:
            for prepared in writes[:number]:
                _abort(prepared)
            raise


def _abort(write: Write) -> None:
    try:
        write.sink.abort(write.request)
    except Exception:
        # The run has failed already, and the next one sweeps what a dead run left.
        logging.getLogger(__name__).debug("could not remove the staging of %s", write.request.step, exc_info=True)


def _translated(failure: BaseException) -> BaseException:
    if isinstance(failure, KeyboardInterrupt):
        return Interrupted("the run was stopped; nothing was published", hint="run it again to start afresh")
    found = unpacked(failure)
    if found is not None:
        return found
    if isinstance(failure, OSError):
        return TargetUnusable(f"{failure.strerror or failure}: {failure.filename or ''}".rstrip(": "))
    if not isinstance(failure, Exception):
        return failure
    named = [line for line in str(failure).splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return RunError(f"the engine stopped the run: {named[-1] if named else f'{type(failure).__name__}: {failure}'}")


@functools.cache
def _let_workers_end_quietly() -> None:
    """Beam's loopback workers outlive the job, and when its server goes each tells at length that the connection did, too."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    logging.getLogger("apache_beam.runners.worker.data_plane").disabled = True
    usual = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not failed.exc_type.__module__.startswith("grpc"):
            usual(failed)

    threading.excepthook = hook


@functools.cache
def _let_bundles_end_at_once() -> None:
    """Beam samples the state of each bundle every 200 ms and, at its end, waits for the sampler to wake up once more."""
    from apache_beam.runners.worker import statesampler

    class Brisk(statesampler.StateSampler):
        """Samples every 10 ms."""

        def __init__(self, prefix: str, counter_factory: Any, sampling_period_ms: int = 10) -> None:
            super().__init__(prefix, counter_factory, sampling_period_ms)

    vars(statesampler)["StateSampler"] = Brisk


@contextmanager
def _quiet_beam() -> Iterator[None]:
    """Beam logs a failing bundle with its whole traceback, under the names of several loggers whose levels it sets itself,
    and prints it; the run says the same in one sentence.
    """
    from apache_beam.runners.worker import sdk_worker

    before = logging.root.manager.disable
    quiet = not logging.getLogger().isEnabledFor(logging.DEBUG)
    if quiet:
        # The log of a recorded run takes it all.
        if not any(isinstance(handler, RunLog) for handler in logging.getLogger().handlers):
            logging.disable(max(before, logging.ERROR))
        vars(sdk_worker)["print"] = lambda *_, **__: None  # a name of the module goes before the built-in one
    try:
        yield
    finally:
        if quiet:
            logging.disable(before)
            del vars(sdk_worker)["print"]


def _result(plan: Plan, request: RunRequest, report: dict[str, Any], seconds: float, began: str) -> RunResult:
    status = report["status"]
    error: DataHubError | None = None
    if status == "unbalanced":
        error = BooksUnbalanced(
            "the books do not balance: " + "; ".join(report["faults"]), hint="this is a defect: please report it with the spec"
        )
    elif status == "too_many_rejected":
        error = TooManyRejected(report["reason"], hint="look at the dead letter, or raise `max_rejected`")
    elif status == "quality_failed":
        hint = "look at the violations; nothing was published" if "violations" in report["written"] else "nothing was published"
        error = QualityFailed(report["reason"], hint=hint)
    return RunResult(
        run_id=request.run_id,
        integration=plan.name,
        status="failed" if error else "completed_with_errors" if report["rejected"] else "completed",
        engine=request.engine,
        read=report["read"],
        rejected=report["rejected"],
        books=report["books"],
        reasons=report["reasons"],
        drifted=report["drifted"],
        written=report["written"],
        seconds=round(seconds, 3),
        started_at=began,
        quality=report["quality"],
        profiles={step: each["summary"] for step, each in report["profiles"].items()},
        sketches={step: each["sketches"] for step, each in report["profiles"].items()},
        cursors=report["cursors"],
        error=error,
    )


def with_run_id(plan: Plan, run_id: str) -> Plan:
    """`plan` with its destinations bound to a run."""
    nodes = {}
    for node in plan:
        if isinstance(node.operator, Write):
            node = node.with_(operator=replace(node.operator, request=replace(node.operator.request, run_id=run_id)))
        nodes[node.id] = node
    return plan.replaced(nodes)
