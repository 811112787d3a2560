"""The lines of the store's views, as frozen records. Times are aware and in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from beam_datahub.store.records import Role, RunStatus, Severity


@dataclass(frozen=True)
class IntegrationHealth:
    """The view `integration_health`: one line an integration over all of its runs that are kept."""

    integration: str
    runs: int
    completed: int
    completed_with_errors: int
    failed: int
    cancelled: int
    running: int
    records_read: int
    records_rejected: int
    mean_seconds: float | None
    last_run: str | None
    last_status: RunStatus | None
    last_started_at: datetime | None
    last_success_at: datetime | None
    failures_since_success: int
    open_violations: int


@dataclass(frozen=True)
class ConnectorUse:
    """The view `connector_use`: one line a connector and role."""

    connector: str
    role: Role
    integrations: int
    runs: int
    failed_runs: int
    records: int
    last_used_at: datetime | None


@dataclass(frozen=True)
class RuleQuality:
    """The view `quality_dashboard`: one line a rule of an integration."""

    integration: str
    rule: str
    severity: Severity
    violations: int
    open: int
    acknowledged: int
    resolved: int
    false_positive: int
    records_failed: int
    first_at: datetime | None
    last_at: datetime | None
    last_run: str | None
