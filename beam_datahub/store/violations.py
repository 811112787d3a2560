"""Violations of quality rules, and what people decided about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from beam_datahub.errors import UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, now
from beam_datahub.store.records import NewViolation, Severity, Violation, ViolationStatus
from beam_datahub.store.tables import runs, violations

_COLUMNS = columns_of(violations, Violation)


class ViolationReader:
    """Reads violations."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def find(
        self,
        *,
        integration: str | None = None,
        run_id: str | None = None,
        rule: str | None = None,
        status: ViolationStatus | Sequence[ViolationStatus] | None = None,
        severity: Severity | Sequence[Severity] | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Violation]:
        """Violations, the newest first."""
        query = select(*_COLUMNS).order_by(violations.c.id.desc()).limit(limit)
        for column, value in (("integration", integration), ("run_id", run_id), ("rule", rule)):
            if value is not None:
                query = query.where(violations.c[column] == value)
        if status is not None:
            query = query.where(violations.c.status.in_([status] if isinstance(status, str) else list(status)))
        if severity is not None:
            query = query.where(violations.c.severity.in_([severity] if isinstance(severity, str) else list(severity)))
        if since is not None:
            query = query.where(violations.c.created_at >= since)
        with self._reading.snapshot() as connection:
            return [Violation(*row) for row in connection.execute(query)]

    def get(self, number: int) -> Violation:
        """The violation of a number. Raises UnknownName."""
        with self._reading.snapshot() as connection:
            return _found(connection, number)


class ViolationWriter:
    """Records violations and decisions about them."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def add(self, run_id: str, found: Iterable[NewViolation]) -> list[int]:
        """Record the violations of a run, all open; their numbers. Raises UnknownName where there is no such run."""
        with self._writing.transaction() as connection:
            integration = connection.execute(select(runs.c.integration).where(runs.c.run_id == run_id)).scalar_one_or_none()
            if integration is None:
                raise UnknownName("run", run_id)
            moment = now(connection)
            numbers: list[int] = []
            for each in found:
                known = {**each.__dict__, "details": dict(each.details)}
                row = {name: value for name, value in known.items() if name in NewViolation.__dataclass_fields__}
                row |= {"run_id": run_id, "integration": integration, "status": "open", "created_at": moment}
                done = connection.execute(violations.insert().values(row))
                numbers.append(int(done.inserted_primary_key[0]))  # type: ignore[index]
            if numbers:
                count = runs.c.violations + len(numbers)
                connection.execute(update(runs).where(runs.c.run_id == run_id).values(violations=count))
            return numbers

    def decide(self, number: int, status: ViolationStatus, *, note: str | None = None) -> Violation:
        """Set the status of a violation, with who and when; without a `note` the earlier one stays. Raises UnknownName."""
        with self._writing.transaction() as connection:
            before = _found(connection, number)
            changed = {
                "status": status,
                "changed_at": now(connection),
                "changed_by": self._writing.who,
                "note": note if note is not None else before.note,
            }
            connection.execute(update(violations).where(violations.c.id == number).values(changed))
            details = {"before": before.status, "note": note}
            self._writing.audit(connection, status, "violation", str(number), **details)
            return _found(connection, number)


def _found(connection: Connection, number: int) -> Violation:
    row = connection.execute(select(*_COLUMNS).where(violations.c.id == number)).one_or_none()
    if row is None:
        newest = connection.execute(select(func.max(violations.c.id))).scalar_one()
        error = UnknownName("violation", str(number))
        error.hint = "there are none" if newest is None else f"the newest is {newest}"
        raise error
    return Violation(*row)
