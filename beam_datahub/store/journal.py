"""What runs measured and said, and what people changed: metrics, logs, the audit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from beam_datahub.store.access import Reading, Writing, columns_of, now
from beam_datahub.store.records import AuditEntry, LogLine, Metric
from beam_datahub.store.tables import audit, logs, metrics

_METRIC = columns_of(metrics, Metric)
_LINE = columns_of(logs, LogLine)
_ENTRY = columns_of(audit, AuditEntry)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class JournalReader:
    """Reads metrics, logs and the audit."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def metrics(self, run_id: str, name: str | None = None) -> list[Metric]:
        """The metrics of a run, in the order in which they were recorded."""
        query = select(*_METRIC).where(metrics.c.run_id == run_id).order_by(metrics.c.id)
        if name is not None:
            query = query.where(metrics.c.name == name)
        with self._reading.snapshot() as connection:
            return [Metric(*row) for row in connection.execute(query)]

    def logs(self, run_id: str, *, level: str = "DEBUG", after: int = 0, limit: int | None = None) -> list[tuple[int, LogLine]]:
        """The lines of a run's log from `level` up, numbered; those behind number `after`, to follow a run that goes on."""
        query = select(logs.c.id, *_LINE).where(logs.c.run_id == run_id, logs.c.id > after)
        query = query.where(logs.c.level.in_(_LEVELS[_LEVELS.index(level) :])).order_by(logs.c.id).limit(limit)
        with self._reading.snapshot() as connection:
            return [(number, LogLine(*row)) for number, *row in connection.execute(query)]

    def audit(
        self, *, kind: str | None = None, name: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[AuditEntry]:
        """Who changed what, the newest first."""
        query = select(*_ENTRY).order_by(audit.c.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(audit.c.kind == kind)
        if name is not None:
            query = query.where(audit.c.name == name)
        if since is not None:
            query = query.where(audit.c.at >= since)
        with self._reading.snapshot() as connection:
            return [AuditEntry(*row) for row in connection.execute(query)]


class JournalWriter:
    """Records metrics, logs, and what was done beside the store; the audit of the store is written by the changes themselves."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def note(self, action: str, kind: str, name: str, **details: Any) -> None:
        """Keep in the audit who did what outside of the store."""
        self._writing.audit_alone(action, kind, name, **details)

    def measure(self, run_id: str, found: Iterable[Metric]) -> None:
        """Record metrics of a run."""
        with self._writing.transaction() as connection:
            moment = now(connection)
            rows = [{**each.__dict__, "run_id": run_id, "labels": dict(each.labels), "at": each.at or moment} for each in found]
            if rows:
                connection.execute(metrics.insert(), rows)

    def log(self, run_id: str, lines: Sequence[LogLine]) -> None:
        """Record lines of a run's log; they must be redacted before."""
        if not lines:
            return
        with self._writing.transaction() as connection:
            moment = now(connection)
            connection.execute(logs.insert(), [{**line.__dict__, "run_id": run_id, "at": line.at or moment} for line in lines])
