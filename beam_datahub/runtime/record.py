"""Records a run in the store while it goes on: that it began, that it lives, how it ended, and all that it found out."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from beam_datahub.component.file_owner import owner
from beam_datahub.errors import DataHubError, Interrupted, ReplayUnfinished
from beam_datahub.kernels.scratch import sweep_scratch
from beam_datahub.runtime.event_bus import tell_waiting
from beam_datahub.runtime.event_record import failure_events, record_events
from beam_datahub.runtime.increments import take_turn
from beam_datahub.runtime.profile_record import record_profiles
from beam_datahub.runtime.quality_record import record_violations, write_page
from beam_datahub.runtime.run_end import log_end, run_end
from beam_datahub.runtime.run_log import RunLog, logged
from beam_datahub.runtime.settling import journal_of
from beam_datahub.runtime.standing import DOCUMENT, Standing, standing
from beam_datahub.runtime.store_link import Call, StoreLink, later, link_store
from beam_datahub.runtime.subjects import frozen_drift, record_subjects
from beam_datahub.security import redact
from beam_datahub.store.fingerprint import fingerprint_of
from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import Metric, NewRun, RunCause, RunEnd, RunKind, RunStatus

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunResult

LOGGER = logging.getLogger("beam_datahub.run")

_HEARTBEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
# How often a run tells how far it is, for those who watch it from another process.
_TELL_SECONDS = 2.0
# How long a run that is ready to go waits for a store that is slow to open.
_OPEN_SECONDS = 60.0


@dataclass(frozen=True)
class RunFacts:
    """Which run it is, and why it runs. `given` are the values of `--set`, by name."""

    run_id: str
    integration: str
    engine: str = "direct"
    kind: RunKind = "full"
    cause: RunCause = "manual"
    parent: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The spec as the run found it: `text`, `path`, the `folder` that relative paths start from, and whether the user
    named it by the name of an `integration`."""


@dataclass
class RunRecord:
    """What a run leaves in the store and in its folder; every part of PARTS adds to it.

    `documents` go to the run (JSON), `reports` name files of the folder, `calls` are made in the transaction that records
    how the run ended.
    """

    facts: RunFacts
    plan: Plan
    result: RunResult
    folder: Path
    store: StoreLink
    documents: dict[Any, Any] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def write(self, name: str, text: str, what: str) -> None:
        """Leave a file in the run's folder, and note it in the reports as `what`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
        self.reports[what] = str(path)


def _wiring(record: RunRecord) -> None:
    record.documents["plan"] = plan_document(record.plan, record.facts)


def plan_document(plan: Plan, facts: RunFacts) -> dict[str, Any]:
    """How the steps of a run hang together, and its spec: what a replay of it goes by."""
    from beam_datahub.runtime.wiring import wiring

    return {**wiring(plan), "spec": dict(facts.spec)}


def _report(record: RunRecord) -> None:
    found = json.dumps(record.result.as_record(), default=str, ensure_ascii=False, indent=1)
    text = redact(found)
    record.write("report.json", text, "report")
    record.documents["report"] = json.loads(text)


def _metrics(record: RunRecord) -> None:
    result = record.result
    found = [Metric("seconds", result.seconds), Metric("rows_read", result.read), Metric("rows_rejected", result.rejected)]
    for step, done in result.written.items():
        found += [Metric("rows_written", done["rows"], step), Metric("bytes_written", done["bytes"], step)]
    if result.seconds:
        found.append(Metric("rows_per_second", round(result.read / result.seconds, 3)))
    record.calls.append(later("journal.measure", record.facts.run_id, found))


def _lineage(record: RunRecord) -> None:
    from beam_datahub.runtime.lineage_records import record_lineage

    record_lineage(record)


# Each adds what it knows of the run; one that fails is logged, and the others still have their say.
PARTS: list[Callable[[RunRecord], None]] = [
    _wiring,
    record_profiles,
    _report,
    _metrics,
    record_violations,
    write_page,
    _lineage,
    record_subjects,
    record_events,
]


class Recorder:
    """Records one run; a store that cannot be used is warned of once, and the run goes on unrecorded.

    The store is opened, and the run's beginning written, while the caller plans; `ready` waits for that.
    """

    def __init__(
        self,
        facts: RunFacts,
        location: Location | None = None,
        *,
        warn: Callable[[str], None] | None = None,
        store: StoreLink | None = None,
        begun: Sequence[Call] = (),
        settles: bool = False,
        takes_turns: bool = False,
    ) -> None:
        """`begun` are calls in the transaction that records the beginning; a `store` that is given is closed as well.

        A run that `settles` brings earlier runs of its integration to their end, whose staging it would sweep. One that
        `takes_turns` moves cursors: it needs the store, and is refused beside another run of its integration.
        """
        self.facts = facts
        self._begin_with = [*begun, *(take_turn(facts.integration, facts.run_id) if takes_turns else ())]
        self._settles, self._takes_turns = settles or takes_turns, takes_turns
        self.begun: list[Any] = []
        """What the calls of the beginning gave."""
        self.undo: list[Call] = []
        """Calls in the transaction that records that nothing was published."""
        self.recorded = False
        """Whether the end is recorded."""
        self.location = location or locate()
        self.folder = self.location.runs / _file_name(facts.run_id)
        self.cancelled = False
        self._warn = warn or LOGGER.warning
        self._failure: Exception | None = None
        self._off = False
        self._opened, self._ended = threading.Event(), threading.Event()
        self._log: RunLog | None = None
        self._plan: Plan | None = None
        self._told: Standing | None = None
        self.store = store or link_store(self.location)
        self._thread = threading.Thread(target=self._live, name="run record", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            self._begin()
        except Exception as failure:
            self._failure = failure
            return
        finally:
            self._opened.set()
        since = told = 0.0
        while not self._ended.wait(_LOOK_SECONDS):
            since += _LOOK_SECONDS
            told += _LOOK_SECONDS
            try:
                if told >= _TELL_SECONDS:
                    told = 0.0
                    self._tell_standing()
                if since >= _HEARTBEAT_SECONDS:
                    since = 0.0
                    self.cancelled |= self.store.writer.runs.beat(self.facts.run_id)
                    self._send_log()
                elif self.store.reader.runs.cancel_requested(self.facts.run_id):
                    self.cancelled = True
            except Exception as failure:
                # The end of the run tries again, and says so when it fails.
                LOGGER.debug("the heartbeat of the run was not recorded: %s", failure)

    def _begin(self) -> None:
        facts = self.facts
        # Before anything else, so that a store that cannot be is what is told.
        lost = self.store.writer.runs.recover()
        self.folder.mkdir(parents=True, exist_ok=True)
        for each in lost:
            LOGGER.warning("run %s of %s had died and is marked as %s", each.run_id, each.integration, each.status)
        if any(each.cause == "replay" for each in lost):
            self._settle()
        fingerprint, version = self._version()
        run = NewRun(
            facts.run_id,
            facts.integration,
            kind=facts.kind,
            engine=facts.engine,
            cause=facts.cause,
            version=version,
            fingerprint=fingerprint,
            parent=facts.parent,
            parameters={name: redact(value) for name, value in facts.given.items()},
            folder=str(self.folder),
            owner=owner(),
            plan={"spec": dict(facts.spec)},
        )
        self.begun = self.store.together([later("runs.begin", run), *self._begin_with])
        if self._settles:
            self._settle_before()
        sweep_scratch()

    def _settle(self) -> None:
        """Bring replays that died to an end, before this run sweeps what they had staged."""
        from beam_datahub.runtime.settling import settle

        try:
            settle(self.store)
        except DataHubError as error:
            self._warn(error.reason)

    def _settle_before(self) -> None:
        """Bring earlier runs to their end, so that their cursors have moved before this run looks at them."""
        from beam_datahub.runtime.settling import settle_runs

        try:
            settle_runs(self.store, self.facts.integration)
        except Exception as failure:
            error = failure.facts() if isinstance(failure, DataHubError) else {"code": "DH900", "reason": str(failure)}
            self.store.writer.runs.end(self.facts.run_id, RunEnd("failed", error=_redacted(error)))
            raise

    def _version(self) -> tuple[str | None, int | None]:
        """The fingerprint of the spec, and which version of the registered integration has it."""
        text = self.facts.spec.get("text")
        if text is None:
            return None, None
        fingerprint = fingerprint_of(text)
        try:
            versions = self.store.reader.integrations.versions(self.facts.integration)
        except DataHubError:
            return fingerprint, None
        return fingerprint, next((each.version for each in versions if each.fingerprint == fingerprint), None)

    def ready(self) -> bool:
        """Whether the run is recorded; waits until that is known. Raises the store's error where the user named the store, and
        where the run needs it.
        """
        self._opened.wait(_OPEN_SECONDS)
        if not self._opened.is_set():
            self._failure = TimeoutError(f"it did not answer within {_OPEN_SECONDS:.0f} s")
        if self._failure is not None and not self._off:
            self._off = True
            needed = self.location.explicit or self._takes_turns or isinstance(self._failure, ReplayUnfinished)
            if needed and isinstance(self._failure, DataHubError):
                raise self._failure
            self._tell(self._failure)
        return not self._off

    def _tell(self, failure: Exception) -> None:
        reason = failure.reason if isinstance(failure, DataHubError) else f"{type(failure).__name__}: {failure}"
        self._warn(f"the run is not recorded: {redact(reason)}")

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Keep what is logged meanwhile."""
        if not self.ready():
            yield
            return
        self._log = RunLog(self.folder / "run.log")
        try:
            with logged(self._log):
                yield
        finally:
            self._log.close()

    def follow(self, plan: Plan) -> None:
        """Let others see how far the run of a plan is."""
        self._plan = plan

    def keep(self, plan: Plan) -> None:
        """Keep how the steps hang together already: another process may have to bring the run to its end."""
        self.store.writer.runs.keep(self.facts.run_id, "plan", plan_document(plan, self.facts))

    def watch(self) -> None:
        """Stop the run where somebody asked for it; called while the run goes on. Raises KeyboardInterrupt."""
        if self.cancelled:
            raise KeyboardInterrupt

    def finish(self, plan: Plan, result: RunResult, *, calls: Sequence[Call] = ()) -> None:
        """Record how the run ended; `calls` are made in the same transaction. Raises nothing."""
        if not self.ready():
            return
        record = RunRecord(self.facts, plan, result, self.folder, self.store)
        for part in PARTS:
            try:
                part(record)
            except Exception as failure:
                LOGGER.warning("a part of the run is not recorded: %s", failure, exc_info=True)
        log_end(result)
        if self._log is not None:
            record.reports["log"] = str(self.folder / "run.log")
        error = result.error.facts() if result.error else None
        end = run_end(plan, result, _redacted(error), record.reports, record.documents)
        self._end(end, [*record.calls, *calls, *(self.undo if result.error is not None else [])])
        if self.recorded:
            Path(journal_of(self.folder)).unlink(missing_ok=True)

    def failed(self, failure: BaseException, seconds: float | None = None, plan: Plan | None = None) -> None:
        """Record that the run was stopped or broke, with nothing published. Raises nothing."""
        if not self.ready():
            return
        stopped = isinstance(failure, KeyboardInterrupt | Interrupted)
        if isinstance(failure, DataHubError):
            error = failure.facts()
        else:
            error = {"code": "DH900", "reason": f"{type(failure).__name__}: {failure}"}
        status: RunStatus = "cancelled" if stopped else "failed"
        undo = self.undo
        if os.path.exists(journal_of(self.folder)):
            # What it published stays, and the rest follows: that is not undone.
            undo = []
            error = ReplayUnfinished(f"not all of it was published: {error['reason']}").facts()
        LOGGER.log(logging.WARNING if stopped else logging.ERROR, "the run %s: %s", status, error["reason"])
        reports = {"log": str(self.folder / "run.log")} if self._log is not None else {}
        drift = frozen_drift(plan, failure, self.facts.run_id) if plan is not None else []
        told = [] if stopped else failure_events(self.facts, failure)
        self._end(RunEnd(status, seconds=seconds, error=_redacted(error), reports=reports), [*undo, *drift, *told])

    def _end(self, end: RunEnd, calls: Sequence[Call]) -> None:
        run_id = self.facts.run_id
        self._ended.set()
        lines = self._log.taken() if self._log is not None else []
        try:
            self.store.together([later("runs.end", run_id, end), *calls, later("journal.log", run_id, lines)])
            self.recorded = True
        except Exception as failure:
            self._tell(failure)

    def _tell_standing(self) -> None:
        if self._plan is None:
            return
        now = standing(self._plan)
        if now != self._told:
            self.store.writer.runs.keep(self.facts.run_id, DOCUMENT, now.as_document())
            self._told = now

    def _send_log(self) -> None:
        if self._log is not None:
            self.store.writer.journal.log(self.facts.run_id, self._log.taken())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        try:
            if failure is not None and not self._ended.is_set():
                self.failed(failure)
            if self.recorded:
                tell_waiting(self.store, self.location, self._warn)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the store; a run that nobody ended is left to be found dead."""
        self._ended.set()
        self._thread.join(_LOOK_SECONDS)
        self.store.close()


def _redacted(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if error is None else json.loads(redact(json.dumps(error, default=str)))


def _file_name(run_id: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in run_id)
