"""Runs a plan: prepares the destinations, starts the engine, and turns the commit's report into a result."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from apache_beam.io.filesystem import BeamIOError

from beam_datahub.compiler.commit import Budget
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.dofns import KernelOptions
from beam_datahub.compiler.increment import acknowledge, marks
from beam_datahub.compiler.lower import Lowering, lower
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.component.failure import placed, unpacked
from beam_datahub.component.held import release_held
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.told_progress import gathered_progress
from beam_datahub.errors import (
    BooksUnbalanced,
    DataHubError,
    EngineFailed,
    Interrupted,
    QualityFailed,
    RunError,
    TargetUnusable,
    TooManyRejected,
)
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.beam_manners import let_bundles_end_at_once, let_workers_end_quietly, quiet_beam
from beam_datahub.runtime.engines import Dataflow, Engine, EngineOptions, Start, engine

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
    lookups: dict[str, dict[str, int]] = field(default_factory=dict)
    """Lookup by batch → the keys of all its batches, those that were remembered (`hits`), those that were asked for, and in how
    many queries."""
    warnings: tuple[str, ...] = ()
    """What the plan warned of."""
    error: DataHubError | None = None

    def as_record(self) -> dict[str, Any]:
        """The result as one JSON object."""
        record = {name: value for name, value in self.__dict__.items() if name not in ("error", "sketches", "cursors")}
        cursors = {source: {name: goal[name] for name in ("column", "last")} for source, goal in self.cursors.items()}
        return {**record, "cursors": cursors, "error": self.error.facts() if self.error else None}


@dataclass(frozen=True)
class RunRequest:
    """How to run a plan. `watch` is called a few times a second while the run goes on, from the calling thread; a
    KeyboardInterrupt that it raises stops the run. `journal` is the local file in which the commit says what it publishes;
    an engine that is started for the run leaves its log in `log_folder`, and says what takes long to `tell`.
    """

    run_id: str
    engine: str = "direct"
    options: EngineOptions = field(default_factory=EngineOptions)
    watch: Callable[[], None] | None = None
    journal: str | None = None
    log_folder: str | None = None
    tell: Callable[[str], None] = lambda text: None


def run(plan: Plan, request: RunRequest) -> RunResult:
    """Run a logical plan to its end, after any other run that is going on in this process.

    Raises the run's DataHubError where nothing was published; a run that broke its budget or its books comes back with
    that status and `error`, its dead letter published.
    """
    return run_together([plan], request)[0]


def run_together(plans: Sequence[Plan], request: RunRequest) -> list[RunResult]:
    """Run logical plans as one job of the engine, each with its own books and commit: they come through together, or none.

    Raises as `run` does.
    """
    started = time.monotonic()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = engine(request.engine)
    request = replace(request, options=chosen.completed(request.options))
    physical = [optimise(plan) for plan in plans]
    if chosen.in_process and request.journal is None:
        physical = list(map(_staying, physical))
    writes = [node.operator for plan in physical for node in plan.writes() if isinstance(node.operator, Write)]
    _prepare(writes)
    with _TURN, tempfile.TemporaryDirectory(prefix=scratch_prefix("run"), ignore_cleanup_errors=True) as folder:
        PROGRESS.reset()
        reports = [_report_path(request, folder, number) for number in range(len(plans))]
        try:
            if chosen.in_process:
                let_bundles_end_at_once()
            else:
                let_workers_end_quietly()
            job_name = f"{'-'.join(plan.name for plan in plans[:3])}-{request.run_id}"
            start = Start(folder, request.log_folder or folder, request.tell, job_name)
            with ExitStack() as stack:
                stack.enter_context(quiet_beam())
                pipeline = stack.enter_context(chosen.started(request.options, start))
                for number, (plan, report_path) in enumerate(zip(physical, reports, strict=True)):
                    lowering = _lowering(plan, request, chosen, report_path)
                    if len(plans) == 1:
                        lower(plan, pipeline, lowering)
                    else:
                        _lower_as_part(plan, pipeline, lowering, f"{number + 1} {plan.name}")
                stack.enter_context(gathered_progress(_progress_folder(request)))
                _execute(pipeline, request, reports[-1], in_process=chosen.in_process)
            found = [_read_report(path) for path in reports]
            for plan, report in zip(physical, found, strict=True):
                acknowledge(marks(plan).taking, report.pop("taken", {}))
        except BaseException as failure:
            # Behind its journal a commit may have published a part: what is staged is needed to publish the rest.
            if request.journal is None or not os.path.exists(request.journal):
                for write in writes:
                    _abort(write)
            raise _translated(failure) from failure
        finally:
            release_held()
    seconds = time.monotonic() - started
    return [_result(plan, request, report, seconds, began) for plan, report in zip(plans, found, strict=True)]


def described_job(plan: Plan, request: RunRequest) -> dict[str, Any] | None:
    """The job that a run would send to an engine in the cloud, without sending it; None for the other engines."""
    chosen = engine(request.engine)
    if not isinstance(chosen, Dataflow):
        return None
    options = chosen.completed(request.options)
    physical = optimise(plan)
    report_path = _report_path(replace(request, options=options), "", 0)
    return chosen.job(options, lambda pipeline: lower(physical, pipeline, _lowering(physical, request, chosen, report_path)))


def _staying(plan: Plan) -> Plan:
    """The plan where this process stages and publishes everything itself, and no later run publishes what it leaves."""
    nodes = dict(plan.nodes)
    for node in plan.writes():
        if isinstance(node.operator, Write):
            request = replace(node.operator.request, stays=True)
            nodes[node.id] = node.with_(operator=replace(node.operator, request=request))
    return plan.replaced(nodes)


def _report_path(request: RunRequest, folder: str, number: int) -> str:
    """Where the commit leaves its report: beside the launcher, or where `--temp_location` says that all machines can write."""
    shared = request.options.given("temp_location")
    return f"{shared.rstrip('/')}/{request.run_id}-{number}.json" if shared else os.path.join(folder, f"report-{number}.json")


def _read_report(path: str) -> dict[str, Any]:
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(path) as file:
            report: dict[str, Any] = json.loads(file.read())
    except (OSError, BeamIOError) as error:
        raise EngineFailed(
            "the run ended, and its report is not where this machine can read it",
            hint="name a place that all workers can write: --engine-option --temp_location=gs://bucket/temporary",
        ) from error
    return report


def _lowering(plan: Plan, request: RunRequest, chosen: Engine, report_path: str) -> Lowering:
    return Lowering(
        identity=Identity(request.run_id, plan.name, sealed=bool(plan.metadata.get("sealed"))),
        report_path=report_path,
        kernel=_kernel(request, in_process=chosen.in_process),
        shards=request.options.shards or chosen.shards,
        reshuffle_splits=not chosen.in_process,
        budget=_budget(plan),
        journal=request.journal,
    )


def _lower_as_part(plan: Plan, pipeline: Any, lowering: Lowering, label: str) -> None:
    """Lower a plan beside others: its steps stand below a name of their own."""
    import apache_beam as beam

    class Part(beam.PTransform[Any, Any]):
        """One of several plans."""

        def expand(self, begin: Any) -> Any:
            lower(plan, begin.pipeline, lowering)
            return beam.pvalue.PDone(begin.pipeline)

    pipeline | label >> Part()


def _budget(plan: Plan) -> Budget:
    given = plan.max_rejected
    return Budget(given.count, given.share) if given is not None else Budget()


def _kernel(request: RunRequest, *, in_process: bool) -> KernelOptions:
    options = request.options
    if in_process:
        return KernelOptions(options.threads, options.memory_bytes // 2, options.spill_dir)
    return KernelOptions(options.threads or 1, progress=_progress_folder(request))


def _progress_folder(request: RunRequest) -> str | None:
    """Where workers of other processes leave how far they are; None where they are threads of this one."""
    shared, kind = request.options.given("temp_location"), request.options.given("environment_type")
    if shared is None or kind in (None, "LOOPBACK"):
        return None
    return f"{shared.rstrip('/')}/{request.run_id}-progress"


def _execute(pipeline: Any, request: RunRequest, report_path: str, *, in_process: bool) -> None:
    """Run the pipeline while another thread waits for it, so that this one stays free for progress and Ctrl-C."""
    failures: list[BaseException] = []
    # The in-process runner only returns at the end.
    running = None if in_process else pipeline.run()

    def work() -> None:
        try:
            (running or pipeline.run()).wait_until_finish()
        except BaseException as failure:
            # Workers in this process may not have heard yet, and would stage what nobody is to publish.
            PROGRESS.stopping = True
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
        # Where the report is there, it was too late to stop: everything is published, and the result says so.
        if thread.is_alive() or not os.path.exists(report_path):
            raise
    if failures:
        raise failures[0]


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
        return Interrupted("the run was stopped; nothing was published")
    found = unpacked(failure)
    if found is not None:
        return found
    if isinstance(failure, OSError):
        return TargetUnusable(f"{failure.strerror or failure}: {failure.filename or ''}".rstrip(": "))
    if not isinstance(failure, Exception):
        return failure
    named = [line for line in str(failure).splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return RunError(f"the engine stopped the run: {named[-1] if named else f'{type(failure).__name__}: {failure}'}")


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
        lookups=report.get("lookups", {}),
        warnings=plan.warnings,
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
