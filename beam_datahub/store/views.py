"""The store's views: the health of integrations, the use of connectors, the quality of data."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Select, TableClause, column, select, table

from beam_datahub.store.access import Reading
from beam_datahub.store.types import Instant
from beam_datahub.store.view_records import ConnectorUse, IntegrationHealth, RuleQuality


def _view(name: str, record: type[Any]) -> TableClause:
    # A view's columns have no types of their own in SQLite.
    return table(
        name, *(column(each.name, Instant()) if each.name.endswith("_at") else column(each.name) for each in fields(record))
    )


_HEALTH = _view("integration_health", IntegrationHealth)
_USE = _view("connector_use", ConnectorUse)
_QUALITY = _view("quality_dashboard", RuleQuality)


class ViewReader:
    """Reads the views."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def integration_health(self, integration: str | None = None) -> list[IntegrationHealth]:
        """How each integration does, over all runs that are kept, by name."""
        query = select(_HEALTH).order_by(_HEALTH.c.integration)
        if integration is not None:
            query = query.where(_HEALTH.c.integration == integration)
        return self._read(query, IntegrationHealth)

    def connector_use(self) -> list[ConnectorUse]:
        """Which connectors the runs used, by name."""
        return self._read(select(_USE).order_by(_USE.c.connector, _USE.c.role), ConnectorUse)

    def quality_dashboard(self, integration: str | None = None) -> list[RuleQuality]:
        """How often each rule was broken and what became of it, by integration and rule."""
        query = select(_QUALITY).order_by(_QUALITY.c.integration, _QUALITY.c.rule, _QUALITY.c.severity)
        if integration is not None:
            query = query.where(_QUALITY.c.integration == integration)
        return self._read(query, RuleQuality)

    def _read(self, query: Select[Any], record: type[Any]) -> list[Any]:
        with self._reading.snapshot() as connection:
            return [record(*row) for row in connection.execute(query)]
