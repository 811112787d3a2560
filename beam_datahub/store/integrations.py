"""Registered integrations, their versions, and the steps that each version has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from beam_datahub.errors import UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, insert_new, now
from beam_datahub.store.fingerprint import fingerprint_of
from beam_datahub.store.records import Integration, IntegrationVersion, Step
from beam_datahub.store.tables import integration_versions, integrations, transformations

_STEP_COLUMNS = columns_of(transformations, Step, id=transformations.c.step)
_JOINED = integrations.join(integration_versions, integration_versions.c.integration_id == integrations.c.id)
_COLUMNS = columns_of(integrations, Integration, fingerprint=integration_versions.c.fingerprint, path=integration_versions.c.path)
_VERSION_COLUMNS = columns_of(integration_versions, IntegrationVersion, integration=integrations.c.name)


class IntegrationReader:
    """Reads registered integrations."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def all(self, *, removed: bool = False) -> list[Integration]:
        """The integrations by name; with `removed` also those that were removed."""
        query = select(*_COLUMNS).select_from(_JOINED).where(integration_versions.c.version == integrations.c.version)
        if not removed:
            query = query.where(integrations.c.removed_at.is_(None))
        with self._reading.snapshot() as connection:
            return [Integration(*row) for row in connection.execute(query.order_by(integrations.c.name))]

    def get(self, name: str) -> Integration:
        """The integration of a name, removed or not. Raises UnknownName."""
        found = {each.name: each for each in self.all(removed=True)}
        if name not in found:
            raise UnknownName("integration", name, found)
        return found[name]

    def versions(self, name: str) -> list[IntegrationVersion]:
        """All versions of an integration, the newest first. Raises UnknownName."""
        query = select(*_VERSION_COLUMNS).select_from(_JOINED).where(integrations.c.name == name)
        with self._reading.snapshot() as connection:
            _row(connection, name)
            rows = connection.execute(query.order_by(integration_versions.c.version.desc()))
            return [IntegrationVersion(*row) for row in rows]

    def version(self, name: str, version: int | None = None) -> IntegrationVersion:
        """One version of an integration, the newest unless told. Raises UnknownName."""
        found = self.versions(name)
        if version is None:
            return found[0]
        for each in found:
            if each.version == version:
                return each
        raise UnknownName(f"version of '{name}'", str(version), [str(each.version) for each in found])

    def steps(self, name: str, version: int | None = None) -> list[Step]:
        """The steps of a version (the newest unless told), in the plan's order. Raises UnknownName."""
        wanted = self.version(name, version)
        query = (
            select(*_STEP_COLUMNS)
            .select_from(transformations.join(integration_versions).join(integrations))
            .where(integrations.c.name == name, integration_versions.c.version == wanted.version)
            .order_by(transformations.c.position)
        )
        with self._reading.snapshot() as connection:
            return [_step(row) for row in connection.execute(query)]


class IntegrationWriter:
    """Registers integrations."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def apply(
        self,
        name: str,
        spec: str,
        *,
        description: str | None = None,
        path: str | None = None,
        steps: Sequence[Step] = (),
    ) -> tuple[IntegrationVersion, bool]:
        """Register an integration, or a new version of it; the version, and whether it is new.

        A spec whose text is that of the newest version makes no new one. One that was removed is there again.
        """
        fingerprint = fingerprint_of(spec)
        with self._writing.transaction() as connection:
            moment = now(connection)
            first = {"name": name, "description": description, "version": 0, "created_at": moment, "updated_at": moment}
            insert_new(connection, integrations, first)
            row = _row(connection, name, hold=True)
            newest = _version(connection, row.id, row.version)
            if newest is not None and newest.fingerprint == fingerprint and row.removed_at is None:
                return IntegrationVersion(name, *newest[1:]), False
            number = row.version + 1
            added = {
                "integration_id": row.id,
                "version": number,
                "spec": spec,
                "fingerprint": fingerprint,
                "path": path,
                "created_at": moment,
                "created_by": self._writing.who,
            }
            version_id = connection.execute(integration_versions.insert().values(added)).inserted_primary_key[0]  # type: ignore[index]
            changed = {"version": number, "description": description, "updated_at": moment, "removed_at": None}
            connection.execute(update(integrations).where(integrations.c.id == row.id).values(changed))
            if steps:
                connection.execute(transformations.insert(), [_step_row(version_id, *each) for each in enumerate(steps)])
            self._writing.audit(connection, "apply", "integration", name, version=number, fingerprint=fingerprint)
            found = _version(connection, row.id, number)
            assert found is not None
            return IntegrationVersion(name, *found[1:]), True

    def remove(self, name: str) -> None:
        """Take an integration out of the list; its versions and runs stay. Raises UnknownName."""
        with self._writing.transaction() as connection:
            row = _row(connection, name, hold=True)
            connection.execute(update(integrations).where(integrations.c.id == row.id).values(removed_at=now(connection)))
            self._writing.audit(connection, "remove", "integration", name)

    def erase(self, name: str) -> None:
        """Forget an integration with all its versions; its runs stay. Raises UnknownName."""
        with self._writing.transaction() as connection:
            row = _row(connection, name, hold=True)
            connection.execute(delete(integrations).where(integrations.c.id == row.id))
            self._writing.audit(connection, "erase", "integration", name)


def _row(connection: Connection, name: str, *, hold: bool = False) -> Any:
    query = select(integrations).where(integrations.c.name == name)
    row = connection.execute(query.with_for_update() if hold else query).one_or_none()
    if row is None:
        raise UnknownName("integration", name, connection.execute(select(integrations.c.name)).scalars())
    return row


def _version(connection: Connection, integration_id: int, version: int) -> Any | None:
    query = select(*_VERSION_COLUMNS).select_from(_JOINED)
    of_it = (integration_versions.c.integration_id == integration_id, integration_versions.c.version == version)
    return connection.execute(query.where(*of_it)).one_or_none()


def _step(row: Any) -> Step:
    step = Step(*row)
    return Step(**{**step.__dict__, "inputs": tuple(step.inputs)})


def _step_row(version_id: int, position: int, step: Step) -> dict[str, Any]:
    row = {name: value for name, value in step.__dict__.items() if name != "id"}
    return {"version_id": version_id, "position": position, "step": step.id, **row, "inputs": list(step.inputs)}
