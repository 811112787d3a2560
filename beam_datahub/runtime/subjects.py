"""Sources and destinations that keep to a subject: their schema is looked up, and new columns become its next version."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from beam_datahub.errors import DataHubError, IncompatibleSchema, InvalidValue, SchemaDrift, UnknownName
from beam_datahub.runtime.store_link import Call, later
from beam_datahub.security import redact
from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import NewViolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from beam_datahub.compiler.plan import Plan, Read
    from beam_datahub.runtime.record import RunRecord
    from beam_datahub.runtime.schemas import SchemaRegistry
    from beam_datahub.schemas.document import Document, Format
    from beam_datahub.spec import SubjectSpec
    from beam_datahub.store.schema_records import SchemaVersion


class SubjectLookup:
    """Looks subjects up for specs; opens the store when the first is asked for."""

    def __init__(self, location: Location | None = None) -> None:
        self._location = location

    def columns(self, subject: SubjectSpec) -> pa.Schema:
        """The columns that a subject's version describes. Raises UnknownName."""
        from beam_datahub.schemas.conversion import to_columns

        with self._registry() as registry:
            if registry is None:
                raise _unknown(subject)
            return to_columns(_document(registry, subject)[1]).schema

    def accept(self, subject: SubjectSpec, schema: pa.Schema, name: str) -> None:
        """Look whether rows of these columns may be written under a subject. Raises IncompatibleSchema and LossyWrite."""
        with self._registry() as registry:
            if registry is not None:
                successor(registry, subject, schema, name)
            elif subject.version is not None:
                raise _unknown(subject)
            else:
                first(subject, schema, name)

    @contextmanager
    def _registry(self) -> Iterator[SchemaRegistry | None]:
        location = self._location or locate()
        if not location.exists():
            yield None
            return
        from beam_datahub.runtime.schemas import SchemaRegistry
        from beam_datahub.store.store import open_store

        with open_store(location) as store:
            yield SchemaRegistry(store.reader, store.writer)


def first(subject: SubjectSpec, schema: pa.Schema, name: str) -> tuple[Format, str]:
    """The first version of a subject, for rows of these columns. Raises LossyWrite where the format does not keep them."""
    from beam_datahub.schemas.conversion import from_columns, strict
    from beam_datahub.schemas.document import Format

    kind = Format(subject.format or "json")
    made = from_columns(schema, kind, name)
    strict(made.lossy, f"the {kind.value} schema of '{subject.name}'")
    return kind, made.text


def successor(registry: SchemaRegistry, subject: SubjectSpec, schema: pa.Schema, name: str) -> tuple[Format, str] | None:
    """The version that a subject needs for rows of these columns; None where it describes them already.

    Raises IncompatibleSchema where the subject refuses it, or where rows do not fit the one version that is asked for.
    """
    from beam_datahub.runtime.schemas import incompatible
    from beam_datahub.schemas.compatibility import check
    from beam_datahub.schemas.conversion import strict
    from beam_datahub.schemas.difference import Level
    from beam_datahub.schemas.revision import describes, revised

    if subject.version is None and not registry.has(subject.name):
        return first(subject, schema, name)
    version, document = _document(registry, subject)
    if describes(document, schema):
        return None
    made = revised(document, schema, name)
    strict(made.lossy, f"the schema of '{subject.name}'")
    candidate = registry.new_document(document.format, made.text, version.references)
    if subject.version is not None:
        # Readers with that version must be able to read what is written; nothing new is registered.
        verdict = check(candidate, [(version.version, document)], Level.FORWARD)
        if not verdict.compatible:
            raise incompatible(subject.name, verdict)
        return None
    verdict = registry.check(subject.name, candidate)
    if not verdict.compatible:
        raise incompatible(subject.name, verdict)
    return document.format, made.text


def _document(registry: SchemaRegistry, subject: SubjectSpec) -> tuple[SchemaVersion, Document]:
    version = registry.latest(subject.name, subject.version)
    document = registry.document(version)
    if subject.format is not None and subject.format != document.format.value:
        raise InvalidValue(
            f"version {version.version} of the subject '{subject.name}' is of {document.format}, not of {subject.format}",
            hint=f"leave `format` out, or take another subject: `beam-datahub schemas convert {subject.name}` writes it anew",
        )
    return version, document


def record_subjects(record: RunRecord) -> None:
    """Register what a run that is done has written and read anew; where a subject refuses it, record a violation."""
    from beam_datahub.compiler.plan import Read, Write

    bound = [node for node in record.plan if isinstance(node.operator, Read | Write) and node.operator.subject is not None]
    if not bound or record.result.error is not None:
        return
    from beam_datahub.runtime.schemas import SchemaRegistry

    registry = SchemaRegistry(record.store.reader, record.store.writer)
    broken = []
    for node in bound:
        operator = node.operator
        if isinstance(operator, Write) and operator.subject is not None:
            broken += _registered(registry, operator.subject, operator.request.schema, node.id)
        elif isinstance(operator, Read) and operator.subject is not None:
            names = sorted({each["column"] for each in record.result.drifted if each["source"] == node.id})
            if names:
                broken += _drifted(registry, operator, operator.subject, node.id, names)
    if broken:
        record.calls.append(later("violations.add", record.facts.run_id, broken))


def frozen_drift(plan: Plan, failure: BaseException, run_id: str) -> list[Call]:
    """The violation that data leaves behind which left the frozen schema of a subject and so stopped its run."""
    from beam_datahub.compiler.plan import Read

    if not isinstance(failure, SchemaDrift):
        return []
    for node in plan:
        operator = node.operator
        if isinstance(operator, Read) and operator.subject is not None and operator.place == failure.place:
            found = replace(_violation(operator.subject, node.id, failure.reason, []), action="fail")
            return [later("violations.add", run_id, [found])]
    return []


def _drifted(registry: SchemaRegistry, read: Read, subject: SubjectSpec, source: str, names: list[str]) -> list[NewViolation]:
    """New columns of a source: its subject's next version where the contract lets them evolve, else a violation."""
    import pyarrow as pa

    told = f"'{source}' has the new column{'s' if len(names) > 1 else ''} {', '.join(names)}"
    if read.request.contract.columns != "evolve" or subject.version is not None:
        why = f"version {subject.version} is asked for" if subject.version is not None else "the contract does not let it evolve"
        return [_violation(subject, source, f"{told}, and {why}", names)]
    try:
        found = read.source.discover().schema
    except DataHubError as error:
        return [_violation(subject, source, f"{told}, and its columns cannot be discovered: {error.reason}", names)]
    added = [found.field(name) for name in names if name in found.names]
    schema = pa.schema([*read.request.schema, *added])
    return _registered(registry, subject, schema, source, told)


def _registered(
    registry: SchemaRegistry, subject: SubjectSpec, schema: pa.Schema, step: str, told: str = ""
) -> list[NewViolation]:
    try:
        needed = successor(registry, subject, schema, step)
        if needed is not None:
            references = registry.latest(subject.name).references if registry.has(subject.name) else ()
            registry.register(subject.name, *needed, references)
    except DataHubError as error:
        # The data is read and written: what remains is to say so.
        reason = f"{told}: {error.reason}" if told else error.reason
        return [_violation(subject, step, reason, [], refused=isinstance(error, IncompatibleSchema))]
    return []


def _violation(subject: SubjectSpec, step: str, message: str, columns: list[str], *, refused: bool = False) -> NewViolation:
    return NewViolation(
        rule=f"subject {subject.name}",
        kind="schema_incompatible" if refused else "schema_drift",
        step=step,
        severity="high",
        action="report",
        message=redact(message),
        details={"subject": subject.name, "version": subject.version, "columns": columns},
    )


def _unknown(subject: SubjectSpec) -> UnknownName:
    error = UnknownName("subject", subject.name)
    error.hint = f"`beam-datahub schemas register FILE --subject {subject.name}` registers its schema"
    return error
