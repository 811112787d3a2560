"""Profiles of columns, run by run."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import null, select

from beam_datahub.errors import UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, now
from beam_datahub.store.records import Profile, RunKind
from beam_datahub.store.tables import profiles, runs

_COLUMNS = columns_of(profiles, Profile)
_WITHOUT_SKETCH = columns_of(profiles, Profile, sketch=null())


class ProfileReader:
    """Reads profiles."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def of_run(self, run_id: str, *, sketches: bool = False) -> list[Profile]:
        """The profiles of a run, in the order in which they were recorded; with their sketches only where asked for."""
        query = select(*(_COLUMNS if sketches else _WITHOUT_SKETCH)).where(profiles.c.run_id == run_id)
        with self._reading.snapshot() as connection:
            return [Profile(*row) for row in connection.execute(query.order_by(profiles.c.id))]

    def history(
        self,
        integration: str,
        step: str,
        column: str | None = None,
        *,
        runs_back: int = 30,
        before: str | None = None,
        kind: RunKind | None = None,
        sketches: bool = False,
    ) -> list[Profile]:
        """The profiles of a step's columns in its newest successful runs, the newest first.

        `before` leaves out that run, `kind` keeps only such runs.
        """
        there = (
            select(runs.c.run_id)
            .where(
                runs.c.integration == integration,
                runs.c.status.in_(("completed", "completed_with_errors")),
                runs.c.run_id != (before or ""),
                *([runs.c.kind == kind] if kind is not None else []),
                runs.c.run_id.in_(
                    select(profiles.c.run_id).where(profiles.c.integration == integration, profiles.c.step == step)
                ),
            )
            .order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
            .limit(runs_back)
        )
        query = (
            select(*(_COLUMNS if sketches else _WITHOUT_SKETCH))
            .join(runs, runs.c.run_id == profiles.c.run_id)
            .where(profiles.c.run_id.in_(there), profiles.c.step == step)
            .order_by(runs.c.started_at.desc(), runs.c.run_id.desc(), profiles.c.id)
        )
        if column is not None:
            query = query.where(profiles.c.column == column)
        with self._reading.snapshot() as connection:
            return [Profile(*row) for row in connection.execute(query)]


class ProfileWriter:
    """Records profiles."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def add(self, run_id: str, found: Iterable[Profile]) -> None:
        """Record the profiles of a run, in place of earlier ones of the same steps. Raises UnknownName without the run."""
        rows = list(found)
        with self._writing.transaction() as connection:
            integration = connection.execute(select(runs.c.integration).where(runs.c.run_id == run_id)).scalar_one_or_none()
            if integration is None:
                raise UnknownName("run", run_id)
            steps = {each.step for each in rows}
            connection.execute(profiles.delete().where(profiles.c.run_id == run_id, profiles.c.step.in_(steps)))
            same = {"run_id": run_id, "integration": integration, "created_at": now(connection)}
            if rows:
                connection.execute(profiles.insert(), [{**each.__dict__, "summary": dict(each.summary), **same} for each in rows])
