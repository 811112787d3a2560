"""The schema registry's records: subjects, their versions, and the texts that versions share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, delete, func, select, update

from beam_datahub.errors import Conflict, UnknownName
from beam_datahub.store.access import Reading, Writing, insert_into, insert_new, now
from beam_datahub.store.schema_records import Compatibility, SchemaReference, SchemaText, SchemaType, SchemaVersion, Subject
from beam_datahub.store.tables import schema_texts, schema_versions, settings, subjects

DEFAULT_COMPATIBILITY: Compatibility = "backward"
_SETTING = "schemas.compatibility"

_VERSIONS = (
    select(
        subjects.c.name,
        schema_versions.c.version,
        schema_versions.c.schema_id,
        schema_texts.c.type,
        schema_texts.c.text,
        schema_texts.c.references,
        schema_versions.c.deleted,
        schema_versions.c.created_at,
        schema_versions.c.created_by,
    )
    .select_from(schema_versions.join(subjects).join(schema_texts))
    .order_by(subjects.c.name, schema_versions.c.version)
)


class SubjectReader:
    """Reads the schema registry."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def all(self, *, deleted: bool = False) -> list[Subject]:
        """The subjects by name; with `deleted` also those without a version that is not deleted."""
        query = select(subjects.c.name, subjects.c.compatibility, schema_versions.c.version, schema_versions.c.deleted)
        query = query.select_from(subjects.outerjoin(schema_versions)).order_by(subjects.c.name, schema_versions.c.version)
        found: dict[str, Subject] = {}
        with self._reading.snapshot() as connection:
            for name, compatibility, version, gone in connection.execute(query):
                before = found[name].versions if name in found else ()
                versions = before if version is None or gone else (*before, version)
                found[name] = Subject(name, compatibility, versions, not versions)
        return [subject for subject in found.values() if deleted or not subject.deleted]

    def get(self, name: str, *, deleted: bool = False) -> Subject:
        """The subject of a name. Raises UnknownName."""
        found = {subject.name: subject for subject in self.all(deleted=deleted)}
        if name not in found:
            raise UnknownName("subject", name, found)
        return found[name]

    def versions(self, name: str, *, deleted: bool = False) -> list[SchemaVersion]:
        """The versions of a subject, the oldest first; none where there is no such subject."""
        query = _VERSIONS.where(subjects.c.name == name)
        if not deleted:
            query = query.where(schema_versions.c.deleted.is_(False))
        with self._reading.snapshot() as connection:
            return [_version(row) for row in connection.execute(query)]

    def version(self, name: str, version: int | None = None, *, deleted: bool = False) -> SchemaVersion:
        """One version of a subject, the newest unless told. Raises UnknownName."""
        found = self.versions(name, deleted=deleted)
        if not found:
            raise UnknownName("subject", name, [subject.name for subject in self.all()])
        if version is None:
            return found[-1]
        for each in found:
            if each.version == version:
                return each
        raise UnknownName(f"version of '{name}'", str(version), [str(each.version) for each in found])

    def text(self, schema_id: int) -> SchemaText:
        """The schema of an id. Raises UnknownName."""
        query = select(schema_texts.c.id, schema_texts.c.type, schema_texts.c.text, schema_texts.c.references)
        with self._reading.snapshot() as connection:
            row = connection.execute(query.where(schema_texts.c.id == schema_id)).one_or_none()
        if row is None:
            raise UnknownName("schema", str(schema_id))
        return SchemaText(row.id, row.type, row.text, _references(row.references))

    def uses(self, schema_id: int, *, deleted: bool = False) -> list[SchemaVersion]:
        """The subjects' versions that have the schema of an id."""
        query = _VERSIONS.where(schema_versions.c.schema_id == schema_id)
        if not deleted:
            query = query.where(schema_versions.c.deleted.is_(False))
        with self._reading.snapshot() as connection:
            return [_version(row) for row in connection.execute(query)]

    def referenced_by(self, name: str, version: int) -> list[SchemaVersion]:
        """The versions, not deleted, whose schema refers to this version of a subject."""
        with self._reading.snapshot() as connection:
            rows = connection.execute(_VERSIONS.where(schema_versions.c.deleted.is_(False)))
            every = [_version(row) for row in rows]
        return [each for each in every if any((to.subject, to.version) == (name, version) for to in each.references)]

    def compatibility(self, name: str | None = None) -> Compatibility:
        """What new versions of a subject must keep to: its own setting, else the store's, else `backward`."""
        with self._reading.snapshot() as connection:
            own = connection.execute(select(subjects.c.compatibility).where(subjects.c.name == name)).scalar_one_or_none()
            general = connection.execute(select(settings.c.value).where(settings.c.name == _SETTING)).scalar_one_or_none()
        return cast(Compatibility, own or general or DEFAULT_COMPATIBILITY)


class SubjectWriter:
    """Changes the schema registry. Whether a version is compatible is the caller's to know."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def register(
        self,
        name: str,
        kind: SchemaType,
        text: str,
        references: Sequence[SchemaReference] = (),
        *,
        fingerprint: str | None = None,
        after: int | None = None,
    ) -> tuple[SchemaVersion, bool]:
        """Register a schema under a subject; its version, and whether it is new.

        A schema that the subject has already (the same `fingerprint`, which tells schemas apart) makes no new version.
        `after` is the newest version, not deleted, that the schema was compared with (0: there was none). Raises Conflict
        where another one came in between.
        """
        written = [dict(each.__dict__) for each in references]
        mark = fingerprint or hashlib.sha256(text.encode()).hexdigest()
        mark = hashlib.sha256(json.dumps([kind, mark, written]).encode()).hexdigest()
        with self._writing.transaction() as connection:
            moment = now(connection)
            subject_id = _subject(connection, name, moment)
            known = {"type": kind, "text": text, "references": written, "fingerprint": mark}
            insert_new(connection, schema_texts, known)
            schema_id = connection.execute(select(schema_texts.c.id).where(schema_texts.c.fingerprint == mark)).scalar_one()
            there = connection.execute(_VERSIONS.where(schema_versions.c.subject_id == subject_id)).all()
            alive = [_version(row) for row in there if not row.deleted]
            for each in alive:
                if each.id == schema_id:
                    return each, False
            newest = alive[-1].version if alive else 0
            if after is not None and after != newest:
                raise Conflict(f"the subject '{name}' has a new version {newest}: the schema was compared with {after or 'none'}")
            number = max((row.version for row in there), default=0) + 1
            row = {"subject_id": subject_id, "version": number, "schema_id": schema_id, "deleted": False}
            row |= {"created_at": moment, "created_by": self._writing.who}
            connection.execute(schema_versions.insert().values(row))
            self._writing.audit(connection, "register", "subject", name, version=number, id=schema_id)
            added = _VERSIONS.where(schema_versions.c.subject_id == subject_id, schema_versions.c.version == number)
            return _version(connection.execute(added).one()), True

    def set_compatibility(self, name: str | None, level: Compatibility | None) -> None:
        """Set what new versions must keep to, for a subject or (None) for all that have no setting; None unsets it."""
        with self._writing.transaction() as connection:
            if name is None:
                row = insert_into(connection, settings).values(name=_SETTING, value=level)
                connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": level}))
            else:
                subject_id = _subject(connection, name, now(connection))
                connection.execute(update(subjects).where(subjects.c.id == subject_id).values(compatibility=level))
            self._writing.audit(connection, "set compatibility", "subject", name or "*", level=level)

    def delete(self, name: str, version: int | None = None, *, permanent: bool = False) -> list[int]:
        """Delete a version of a subject, or all of them; their numbers.

        A deleted version is kept and its number never used again, unless `permanent`, which takes those that were deleted
        before, too. Raises UnknownName.
        """
        with self._writing.transaction() as connection:
            found = connection.execute(select(subjects.c.id).where(subjects.c.name == name)).scalar_one_or_none()
            of_it = [schema_versions.c.subject_id == found]
            if version is not None:
                of_it.append(schema_versions.c.version == version)
            if not permanent:
                of_it.append(schema_versions.c.deleted.is_(False))
            query = select(schema_versions.c.version).where(*of_it).order_by(schema_versions.c.version)
            numbers = [int(number) for number in connection.execute(query).scalars()]
            if found is None or not numbers:
                every = connection.execute(select(subjects.c.name)).scalars()
                what = ("subject", name) if version is None else (f"version of '{name}'", str(version))
                raise UnknownName(*what, every if version is None else ())
            if permanent:
                connection.execute(delete(schema_versions).where(*of_it))
                left = select(func.count()).select_from(schema_versions).where(schema_versions.c.subject_id == found)
                if connection.execute(left).scalar_one() == 0:
                    connection.execute(delete(subjects).where(subjects.c.id == found))
            else:
                connection.execute(update(schema_versions).where(*of_it).values(deleted=True))
            self._writing.audit(connection, "delete", "subject", name, versions=numbers, permanent=permanent)
            return numbers


def _subject(connection: Connection, name: str, moment: Any) -> int:
    """The id of a subject, made where there is none; held until the transaction ends."""
    insert_new(connection, subjects, {"name": name, "created_at": moment})
    return int(connection.execute(select(subjects.c.id).where(subjects.c.name == name).with_for_update()).scalar_one())


def _version(row: Any) -> SchemaVersion:
    subject, version, schema_id, kind, text, references, *rest = row
    return SchemaVersion(subject, version, schema_id, kind, text, _references(references), *rest)


def _references(written: Sequence[dict[str, Any]]) -> tuple[SchemaReference, ...]:
    return tuple(SchemaReference(**each) for each in written)
