"""The schema registry: subjects, their versions, and what a new version must keep to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_datahub.errors import IncompatibleSchema, InvalidValue, SchemaInUse, UnknownName, UnresolvedReference
from beam_datahub.schemas.compatibility import check, validate
from beam_datahub.schemas.difference import Level, Verdict
from beam_datahub.schemas.document import Document, Format
from beam_datahub.store.schema_records import SchemaReference, SchemaVersion

if TYPE_CHECKING:
    from beam_datahub.store.store import StoreReader, StoreWriter

# Each that fails means that another writer got its version in.
_ATTEMPTS = 50


@dataclass(frozen=True)
class Registered:
    """What registering led to: the version that now holds the schema, and whether it is a new one."""

    version: SchemaVersion
    new: bool


class SchemaRegistry:
    """The registry of a store. Nothing is registered that is no schema or that its subject refuses."""

    def __init__(self, reader: StoreReader, writer: StoreWriter) -> None:
        self._reader, self._writer = reader.subjects, writer.subjects

    def document(self, version: SchemaVersion) -> Document:
        """The schema of a version with the texts that it refers to. Raises UnresolvedReference."""
        return Document(Format(version.type), version.text, self._texts(version.references))

    def latest(self, subject: str, version: int | None = None) -> SchemaVersion:
        """A version of a subject, the newest unless told. Raises UnknownName."""
        return self._reader.version(subject, version)

    def has(self, subject: str) -> bool:
        """Whether there is a subject of that name with a version that is not deleted."""
        return bool(self._reader.versions(subject))

    def new_document(self, kind: Format, text: str, references: Sequence[SchemaReference] = ()) -> Document:
        """A schema that is not registered yet, held to the rules of its format.

        Raises InvalidSchema and UnresolvedReference.
        """
        document = Document(kind, text, self._texts(references))
        validate(document)
        return document

    def check(self, subject: str, document: Document, level: str | None = None) -> Verdict:
        """Whether a schema may become the next version of a subject, which need not exist, by its level or another."""
        return self._checked(subject, document, level)[0]

    def register(self, subject: str, kind: Format, text: str, references: Sequence[SchemaReference] = ()) -> Registered:
        """Register a schema under a subject; a schema that it has already makes no new version.

        Raises InvalidSchema, UnresolvedReference, and IncompatibleSchema with all reasons.
        """
        from beam_datahub.errors import Conflict

        _check_name(subject)
        document = self.new_document(kind, text, references)
        known = self.lookup(subject, document)
        if known is not None:
            return Registered(known, False)
        for attempt in range(_ATTEMPTS):
            verdict, newest = self._checked(subject, document)
            if not verdict.compatible:
                raise incompatible(subject, verdict)
            try:
                version, new = self._writer.register(
                    subject, kind.value, text, references, fingerprint=document.fingerprint, after=newest
                )
            except Conflict:
                # Another version came in between: compare with that as well.
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            return Registered(version, new)
        raise AssertionError

    def lookup(self, subject: str, document: Document) -> SchemaVersion | None:
        """The version of a subject that holds a schema, whatever its layout; None where there is none."""
        fingerprint = document.fingerprint
        for version in reversed(self._reader.versions(subject)):
            if version.type == document.format.value and self.document(version).fingerprint == fingerprint:
                return version
        return None

    def level(self, subject: str | None = None) -> Level:
        """What new versions of a subject (None: of those that have no setting of their own) must keep to."""
        return Level(self._reader.compatibility(subject))

    def set_level(self, subject: str | None, level: Level | None) -> None:
        """Set what new versions must keep to, of a subject or of all without a setting; None takes the setting away."""
        if subject is not None:
            self._reader.get(subject)
        self._writer.set_compatibility(subject, None if level is None else level.value)

    def delete(self, subject: str, version: int | None = None, *, permanent: bool = False) -> list[int]:
        """Delete a version or a whole subject. Raises UnknownName, and SchemaInUse where another schema refers to it."""
        numbers = [each.version for each in self._reader.versions(subject, deleted=permanent)]
        for number in numbers if version is None else [version]:
            users = [each for each in self._reader.referenced_by(subject, number) if each.subject != subject]
            if users:
                raise SchemaInUse(
                    f"version {number} of '{subject}' is used by version {users[0].version} of '{users[0].subject}'",
                    hint="delete that first",
                )
        return self._writer.delete(subject, version, permanent=permanent)

    def _checked(self, subject: str, document: Document, level_name: str | None = None) -> tuple[Verdict, int]:
        versions = self._reader.versions(subject)
        level = Level(level_name) if level_name else self.level(subject)
        history = [(each.version, self.document(each)) for each in (versions if level.transitive else versions[-1:])]
        return check(document, history, level), versions[-1].version if versions else 0

    def _texts(self, references: Sequence[SchemaReference]) -> dict[str, str]:
        """The texts behind references, and behind those of theirs."""
        found: dict[str, str] = {}
        waiting = list(references)
        while waiting:
            each = waiting.pop()
            if each.name in found:
                continue
            version: SchemaVersion | None = None
            with suppress(UnknownName):
                version = self._reader.version(each.subject, each.version, deleted=True)
            if version is None:
                raise UnresolvedReference(
                    f"the schema refers to '{each.name}', version {each.version} of '{each.subject}', which is not there",
                    hint="register that first; `beam-datahub schemas list` shows what there is",
                )
            found[each.name] = version.text
            waiting += version.references
        return found


def incompatible(subject: str, verdict: Verdict) -> IncompatibleSchema:
    """The error that tells why a subject refuses a schema."""
    lines = [f"{problem.path}: {problem.reason} ({problem.code})" for problem in verdict.problems]
    more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
    return IncompatibleSchema(
        f"the subject '{subject}' is {verdict.level.value} compatible, and the schema is not: {'; '.join(lines[:3])}{more}",
        hint=f"{verdict.problems[0].fix}; `beam-datahub schemas check` tells all, and proposes a schema where it can",
    )


def _check_name(subject: str) -> None:
    if not subject.strip() or len(subject) > 255 or any(ord(letter) < 32 for letter in subject):
        raise InvalidValue(f"{subject!r} is no name of a subject", hint="1 to 255 characters, such as orders-value")


def reference_of(text: str, registry: SchemaRegistry) -> SchemaReference:
    """A reference written as `NAME=SUBJECT[:VERSION]`; the newest version unless told. Raises InvalidValue, UnknownName."""
    name, equals, meant = text.partition("=")
    subject, colon, number = meant.rpartition(":")
    if not colon or not number.isdigit():
        subject, number = meant, ""
    if not equals or not name or not subject:
        raise InvalidValue(f"'{text}' is no reference", hint="write NAME=SUBJECT or NAME=SUBJECT:VERSION")
    return SchemaReference(name, subject, registry.latest(subject, int(number) if number else None).version)
