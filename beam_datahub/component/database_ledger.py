"""The table in which a database keeps what runs began to write there and what they have published.

A row is made when a run begins, with the process that it is; publishing marks the row in the transaction that publishes, so that
a repeated commit finds it marked. Rows of dead runs tell which staging tables nobody needs any more.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

from beam_datahub.component.database import Session, TableName
from beam_datahub.component.database_dialect import LEDGER
from beam_datahub.component.file_owner import is_gone, owner
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import DataHubError, TargetUnusable

# What runs of other machines left is theirs to sweep, until nobody can be expected to come back for it.
_LOST_DAYS = 7
_KEPT_DAYS = 90
PREFIX = "_dh_stage_"


def staging_prefix(request: WriteRequest) -> str:
    """How the names of a run's staging tables for one destination begin."""
    return PREFIX + hashlib.sha256(f"{request.run_id}\0{request.step}".encode()).hexdigest()[:16] + "_"


def _moment(days_ago: int = 0) -> str:
    return (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(timespec="milliseconds")


class DatabaseLedger:
    """The ledger beside one target, for one run and destination."""

    def __init__(self, session: Session, target: TableName, request: WriteRequest) -> None:
        self._session, self._dialect, self._target, self._request = session, session.dialect, target, request
        self._table = target.beside(LEDGER)
        text = self._dialect.literal
        self._name = self._dialect.table(self._table)
        self._run = f"run_id = {text(request.run_id)} AND step = {text(request.step)}"
        self._mine = f"run_id = {text(request.commit_name)} AND step = {text(request.step)}"

    def begin(self) -> None:
        """Say that the run begins to write, and sweep what dead runs staged."""
        if self._session.columns(self._table) is None:
            try:
                self._session.execute(self._dialect.create_ledger(self._table))
            except DataHubError:
                # Another run may have made it at the same moment.
                if self._session.columns(self._table) is None:
                    raise
        self._sweep()
        if self._session.fetch(f"SELECT row_count FROM {self._name} WHERE {self._mine}"):
            return
        text = self._dialect.literal
        values = [self._request.run_id, self._request.step, str(self._target), staging_prefix(self._request)]
        values += [json.dumps(owner()), _moment()]
        self._session.execute(
            f"INSERT INTO {self._name} (run_id, step, target, staging, owner, begun_at) VALUES ({', '.join(map(text, values))})"
        )

    def claim(self, rows: int) -> bool:
        """Mark the run as published, inside the transaction that publishes; False where it was already.

        Raises TargetUnusable where the run's entry is gone, and with it what it staged.
        """
        if self._request.epoch is not None:
            return self._claim_epoch(rows)
        moment = self._dialect.literal(_moment())
        marked = self._session.execute(
            f"UPDATE {self._name} SET committed_at = {moment}, row_count = {rows} WHERE {self._mine} AND committed_at IS NULL"
        )
        if marked == 1:
            return True
        if self.committed() is None:
            raise TargetUnusable("what the run staged was swept as that of a dead run", hint="run it again")
        return False

    def _claim_epoch(self, rows: int) -> bool:
        """The same for an epoch of a stream: its entry stands in place of that of the epoch before, beside the run's own."""
        if self.committed() is not None:
            return False
        if not self._session.fetch(f"SELECT step FROM {self._name} WHERE {self._run}"):
            raise TargetUnusable("what the stream staged was swept as that of a dead run", hint="run it again")
        request, text = self._request, self._dialect.literal
        prefix = text(staging_prefix(request))
        self._session.execute(
            f"DELETE FROM {self._name} WHERE staging = {prefix} AND step = {text(request.step)} AND committed_at IS NOT NULL"
        )
        values = [text(request.commit_name), text(request.step), text(str(self._target)), prefix, text(json.dumps(owner()))]
        values += [text(_moment()), text(_moment()), str(rows)]
        self._session.execute(
            f"INSERT INTO {self._name} (run_id, step, target, staging, owner, begun_at, committed_at, row_count) "
            f"VALUES ({', '.join(values)})"
        )
        return True

    def committed(self) -> int | None:
        """How many rows the run has published, None where it has not."""
        where = f"{self._mine} AND committed_at IS NOT NULL"
        found = self._session.fetch(f"SELECT row_count FROM {self._name} WHERE {where}")
        return int(found[0][0]) if found else None

    def forget(self) -> None:
        """Take the entry of a run that publishes nothing out, and its staging with it."""
        self.drop_staging(staging_prefix(self._request))
        self._session.execute(f"DELETE FROM {self._name} WHERE {self._mine} AND committed_at IS NULL")

    def drop_staging(self, prefix: str) -> None:
        """Remove the staging tables whose names start so."""
        for table in self._session.tables(self._target, prefix):
            self._session.execute(self._dialect.drop(table))

    def _sweep(self) -> None:
        staged = {table.name for table in self._session.tables(self._target, PREFIX)}
        entries = self._session.fetch(f"SELECT run_id, step, staging, owner, begun_at, committed_at FROM {self._name}")
        known = set()
        for run_id, step, staging, held, begun_at, committed_at in entries:
            left = any(name.startswith(staging) for name in staged)
            known.add(staging)
            if committed_at is not None and not left:
                if committed_at < _moment(_KEPT_DAYS):
                    self._delete(run_id, step)
                continue
            gone = is_gone(json.loads(held))
            if run_id == self._request.run_id or gone is False or (gone is None and begun_at > _moment(_LOST_DAYS)):
                continue
            self.drop_staging(staging)
            if committed_at is None:
                self._delete(run_id, step)
        # Their entry went, and its process died before they did.
        for name in staged:
            if not name.startswith(tuple(known)):
                self._session.execute(self._dialect.drop(self._target.beside(name)))

    def _delete(self, run_id: str, step: str) -> None:
        text = self._dialect.literal
        self._session.execute(f"DELETE FROM {self._name} WHERE run_id = {text(run_id)} AND step = {text(step)}")
