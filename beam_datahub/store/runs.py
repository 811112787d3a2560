"""Runs: how they began, how they stand, what each step did, and which of them died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from beam_datahub.component.file_owner import is_gone
from beam_datahub.errors import Conflict, InvalidValue, ReplayUnfinished, RunLost, UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, insert_into, insert_new, now
from beam_datahub.store.records import ENDED, Document, NewRun, Run, RunEnd, RunKind, RunStatus, RunStep
from beam_datahub.store.tables import replayed_records, run_documents, run_steps, runs

# A process tells that it is alive every so often; one of another machine is given up after so long.
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 300.0

# What is known of a run that ended so is not the last word.
_MAY_STILL_END = (RunLost.code, ReplayUnfinished.code)

_COLUMNS = columns_of(runs, Run)
_STEP_COLUMNS = columns_of(run_steps, RunStep)
# More values than this in one statement are more than SQLite may allow.
_CHUNK = 500


class RunReader:
    """Reads runs."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def get(self, run_id: str) -> Run:
        """The run of an id, of the only id that begins so, or of `last`: the newest. Raises UnknownName, InvalidValue."""
        with self._reading.snapshot() as connection:
            return _found(connection, run_id)

    def find(
        self,
        *,
        integration: str | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
        kind: RunKind | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Run]:
        """Runs that began in [since, until), the newest first."""
        query = select(*_COLUMNS).order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
        if integration is not None:
            query = query.where(runs.c.integration == integration)
        if status is not None:
            query = query.where(runs.c.status.in_([status] if isinstance(status, str) else list(status)))
        if kind is not None:
            query = query.where(runs.c.kind == kind)
        if since is not None:
            query = query.where(runs.c.started_at >= since)
        if until is not None:
            query = query.where(runs.c.started_at < until)
        if limit is not None or offset:
            query = query.limit(limit if limit is not None else 2**62).offset(offset)
        with self._reading.snapshot() as connection:
            return [Run(*row) for row in connection.execute(query)]

    def last(self, integration: str, *, status: Sequence[RunStatus] = ("completed", "completed_with_errors")) -> Run | None:
        """The newest run of an integration with one of these statuses."""
        return next(iter(self.find(integration=integration, status=status, limit=1)), None)

    def children(self, run_id: str) -> list[Run]:
        """The runs that resumed or replayed a run, the oldest first."""
        query = select(*_COLUMNS).where(runs.c.parent == run_id).order_by(runs.c.started_at, runs.c.run_id)
        with self._reading.snapshot() as connection:
            return [Run(*row) for row in connection.execute(query)]

    def steps(self, run_id: str) -> list[RunStep]:
        """The books of a run, step by step; none before it has ended."""
        query = select(*_STEP_COLUMNS).where(run_steps.c.run_id == run_id).order_by(run_steps.c.position)
        with self._reading.snapshot() as connection:
            return [RunStep(*row) for row in connection.execute(query)]

    def document(self, run_id: str, kind: Document) -> Any:
        """A document of a run, None where it has none of the kind."""
        query = select(run_documents.c.document).where(run_documents.c.run_id == run_id, run_documents.c.kind == kind)
        with self._reading.snapshot() as connection:
            return connection.execute(query).scalar_one_or_none()

    def cancel_requested(self, run_id: str) -> bool:
        """Whether somebody asked the run to stop."""
        with self._reading.snapshot() as connection:
            query = select(runs.c.cancel_requested_at).where(runs.c.run_id == run_id)
            return connection.execute(query).scalar_one_or_none() is not None

    def replayed(self, run_id: str) -> dict[str, str]:
        """The rejected records of a run that were replayed: record → the run that replayed it."""
        query = select(replayed_records.c.record, replayed_records.c.replay_run_id).where(replayed_records.c.run_id == run_id)
        with self._reading.snapshot() as connection:
            return {row.record: row.replay_run_id for row in connection.execute(query)}

    def unsettled_replays(self) -> list[Run]:
        """The replays that ended without saying that their records arrived, while these are still marked as replayed."""
        ended = and_(runs.c.status.in_(("failed", "cancelled")), runs.c.cause == "replay")
        marked = select(replayed_records.c.replay_run_id).where(replayed_records.c.replay_run_id == runs.c.run_id).exists()
        query = select(*_COLUMNS).where(ended, marked).order_by(runs.c.started_at)
        with self._reading.snapshot() as connection:
            return [Run(*row) for row in connection.execute(query)]

    def unfinished(self, integration: str) -> list[Run]:
        """The runs of an integration, but for replays, that may have begun to publish and did not end, the oldest first."""
        ended = and_(runs.c.status.in_(("failed", "cancelled")), runs.c.cause != "replay", runs.c.integration == integration)
        query = select(*_COLUMNS).where(ended).order_by(runs.c.started_at.desc()).limit(_CHUNK)
        with self._reading.snapshot() as connection:
            found = [Run(*row) for row in connection.execute(query)]
        return [run for run in reversed(found) if (run.error or {}).get("code") in _MAY_STILL_END]


class RunWriter:
    """Records runs."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def begin(self, run: NewRun) -> None:
        """Record that a run has begun. Raises Conflict where its id is taken, UnknownName where its parent is not there."""
        owner = dict(run.owner) if run.owner is not None else None
        with self._writing.transaction() as connection:
            if run.parent is not None:
                _found(connection, run.parent)
            moment = now(connection)
            row = {
                "run_id": run.run_id,
                "integration": run.integration,
                "version": run.version,
                "fingerprint": run.fingerprint,
                "kind": run.kind,
                "cause": run.cause,
                "status": "running",
                "engine": run.engine,
                "parent": run.parent,
                "user": run.user or self._writing.who,
                "host": owner.get("host") if owner else None,
                "pid": owner.get("pid") if owner else None,
                "owner": owner,
                "started_at": moment,
                "heartbeat_at": moment,
                "folder": run.folder,
                "reports": {},
                "parameters": dict(run.parameters),
            }
            if insert_new(connection, runs, row) != 1:
                raise Conflict(f"there is a run '{run.run_id}' already")
            if run.plan is not None:
                self.keep(run.run_id, "plan", run.plan)
            self._writing.audit(connection, "begin", "run", run.run_id, integration=run.integration, cause=run.cause)

    def alone(self, integration: str, run_id: str) -> None:
        """Make sure that no other run of the integration is going on, but for replays. Raises Conflict."""
        with self._writing.transaction() as connection:
            if connection.dialect.name == "postgresql":
                # Of two runs that begin at once, the second sees the first.
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"beam-datahub {integration}"))))
            others = select(runs.c.run_id).where(
                runs.c.integration == integration, runs.c.status == "running", runs.c.run_id != run_id, runs.c.cause != "replay"
            )
            other = connection.execute(others).scalars().first()
            if other is not None:
                raise Conflict(
                    f"the run {other} of '{integration}' is going on, and both would read the same new records",
                    hint=f"wait for its end, or stop it: beam-datahub runs cancel {other}",
                )

    def beat(self, run_id: str) -> bool:
        """Tell that the run's process is alive; True where somebody asked the run to stop.

        Call it about every HEARTBEAT_SECONDS. Raises UnknownName.
        """
        with self._writing.transaction() as connection:
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(heartbeat_at=now(connection)))
            return _found(connection, run_id).cancel_requested_at is not None

    def end(self, run_id: str, end: RunEnd) -> Run:
        """Record how a run ended, with its books and documents. A run that was given up as lost may still tell, as may a
        replay that had not published all of its output.

        Raises UnknownName, and Conflict where it has ended already.
        """
        with self._writing.transaction() as connection:
            before = _found(connection, run_id)
            if before.status != "running" and (before.error or {}).get("code") not in _MAY_STILL_END:
                raise Conflict(f"the run '{run_id}' has ended already: {before.status}")
            moment = now(connection)
            values = {
                "status": end.status,
                "read": end.read,
                "written": end.written,
                "filtered": end.filtered,
                "rejected": end.rejected,
                "seconds": end.seconds if end.seconds is not None else (moment - before.started_at).total_seconds(),
                "error": dict(end.error) if end.error is not None else None,
                "reports": {**before.reports, **end.reports},
                "ended_at": moment,
                "heartbeat_at": moment,
            }
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))
            connection.execute(run_steps.delete().where(run_steps.c.run_id == run_id))
            if end.steps:
                connection.execute(run_steps.insert(), [_step_row(run_id, *each) for each in enumerate(end.steps)])
            for kind, document in end.documents.items():
                self.keep(run_id, kind, document)
            self._writing.audit(connection, "end", "run", run_id, status=end.status)
            return _found(connection, run_id)

    def keep(self, run_id: str, kind: Document, document: Any) -> None:
        """Keep a document of a run, in the place of an earlier one of its kind."""
        with self._writing.transaction() as connection:
            row = insert_into(connection, run_documents).values(run_id=run_id, kind=kind, document=document)
            connection.execute(row.on_conflict_do_update(index_elements=["run_id", "kind"], set_={"document": document}))

    def request_cancel(self, run_id: str) -> Run:
        """Ask a run to stop: its process hears of it with its next heartbeat. Raises UnknownName; Conflict where it has ended."""
        with self._writing.transaction() as connection:
            before = _found(connection, run_id)
            if before.status in ENDED:
                status = before.status.replace("_", " ")
                raise Conflict(f"the run '{before.run_id}' has ended already: {status}", hint="there is nothing to stop")
            asked = {"cancel_requested_at": now(connection), "cancel_requested_by": self._writing.who}
            connection.execute(update(runs).where(runs.c.run_id == before.run_id).values(asked))
            self._writing.audit(connection, "cancel", "run", before.run_id)
            return _found(connection, before.run_id)

    def recover(self, *, stale_seconds: float = STALE_SECONDS) -> list[Run]:
        """Mark the runs whose process is gone as failed (or cancelled, where that was asked for), and give them.

        A process of this machine is looked at; of another one, or of another container, the heartbeat tells: none for
        `stale_seconds` by the store's clock. Cheap where no run is going on; every run calls it when it starts.
        """
        with self._writing.transaction() as connection:
            going = connection.execute(
                select(runs.c.run_id, runs.c.owner, runs.c.heartbeat_at, runs.c.cancel_requested_at).where(
                    runs.c.status == "running"
                )
            ).all()
            if not going:
                return []
            moment = now(connection)
            oldest = moment - timedelta(seconds=stale_seconds)
            lost: list[Run] = []
            for run_id, owner, beat, asked in going:
                reason = _why_lost(owner, beat, oldest)
                if reason is None:
                    continue
                status = "cancelled" if asked is not None else "failed"
                values = {"status": status, "ended_at": moment, "error": RunLost(reason).facts()}
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))
                self._writing.audit(connection, "recover", "run", run_id, reason=reason)
                lost.append(_found(connection, run_id))
            return lost

    def mark_replayed(self, run_id: str, records: Iterable[str], replay_run_id: str) -> int:
        """Mark rejected records of a run as replayed, each once and for all; how many of them were not yet."""
        marked = 0
        names = list(dict.fromkeys(records))
        with self._writing.transaction() as connection:
            moment = now(connection)
            for start in range(0, len(names), _CHUNK):
                rows = [
                    {"run_id": run_id, "record": name, "replay_run_id": replay_run_id, "at": moment}
                    for name in names[start : start + _CHUNK]
                ]
                marked += insert_new(connection, replayed_records, rows)
            self._writing.audit(connection, "replay", "run", run_id, by=replay_run_id, records=marked)
        return marked

    def unmark_replayed(self, replay_run_id: str) -> int:
        """Take the marks of a replay back that published nothing; how many it were."""
        with self._writing.transaction() as connection:
            marks = replayed_records.delete().where(replayed_records.c.replay_run_id == replay_run_id)
            taken = connection.execute(marks).rowcount
            if taken:
                self._writing.audit(connection, "unmark", "run", replay_run_id, records=taken)
        return taken


def _found(connection: Connection, run_id: str) -> Run:
    exact = connection.execute(select(*_COLUMNS).where(runs.c.run_id == run_id)).one_or_none()
    if exact is not None:
        return Run(*exact)
    newest = select(*_COLUMNS).order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
    if run_id == "last":
        row = connection.execute(newest.limit(1)).one_or_none()
        if row is not None:
            return Run(*row)
    else:
        fitting = or_(runs.c.run_id.startswith(run_id, autoescape=True), runs.c.run_id.endswith(run_id, autoescape=True))
        rows = connection.execute(newest.where(and_(fitting)).limit(2)).all() if len(run_id) >= 4 else []
        if len(rows) == 1:
            return Run(*rows[0])
        if rows:
            raise InvalidValue(f"'{run_id}' may be several runs", hint="write more of it; `beam-datahub runs list` shows them")
    known = connection.execute(select(runs.c.run_id).order_by(runs.c.started_at.desc()).limit(10)).scalars()
    raise UnknownName("run", run_id, list(known))


def _step_row(run_id: str, position: int, step: RunStep) -> Mapping[str, Any]:
    return {"run_id": run_id, "position": position, **step.__dict__}


def _why_lost(owner: Mapping[str, Any] | None, beat: datetime, oldest: datetime) -> str | None:
    gone = is_gone(owner) if owner else None
    if gone:
        return f"the process {owner.get('pid') if owner else ''} of the run is gone"
    # A process of this machine that is there counts as alive, however busy it is.
    if gone is None and beat < oldest:
        host = f" on {owner['host']}" if owner and owner.get("host") else ""
        return f"the process of the run{host} has not been heard of since {beat:%Y-%m-%d %H:%M:%S} UTC"
    return None
