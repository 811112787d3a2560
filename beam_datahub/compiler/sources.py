"""Sources of a plan: set up, their columns discovered or declared, behind what earlier runs have taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.draft import Draft
from beam_datahub.compiler.ending import EndingSource, reads_to_end
from beam_datahub.compiler.increment import increment_of, with_increment
from beam_datahub.compiler.plan import Node, Positions, Read
from beam_datahub.component.columns import Doubt
from beam_datahub.component.source import Contract, Discovery, Drift, ReadRequest, Source
from beam_datahub.errors import (
    DataHubError,
    ErrorGroup,
    InvalidValue,
    SchemaDrift,
    SpecError,
    UnknownColumn,
    UnreadableData,
    nearest,
)
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import is_hidden, nameless, sql_type
from beam_datahub.spec import EventTimeSpec, IncrementalSpec, SourceSpec, SubjectSpec


def add_source(draft: Draft, spec: SourceSpec) -> None:
    """Add a source to the plan. Raises DataHubError."""
    given = draft.options.sources.get(spec.name)
    source = given if given is not None else connector_of(draft, spec)
    if given is None and not source.capabilities.unbounded and reads_to_end(draft.spec, spec.name):
        source = _followed(draft, spec, source)
    # Given rows bring their own columns: no registry is asked.
    declared = None if given is not None and spec.subject is not None else _declared(draft, spec)
    if given is not None or declared is None:
        discovery = source.discover()
        schema = discovery.schema
        _doubt(draft, spec, discovery.doubts)
    else:
        discovery = _estimated(source, declared) if draft.options.estimates else Discovery(declared)
        schema = source.completed(declared)
        if spec.columns is not None and draft.options.estimates:
            _compare(draft, spec, source, declared)
    if not len(schema):
        reason, hint = f"the source '{spec.name}' has no columns", "declare them under `schema`"
        raise InvalidValue(reason, hint=hint) if declared is not None else UnreadableData(reason, hint=hint)
    twice = [name for name in schema.names if sum(name.casefold() == other.casefold() for other in schema.names) > 1]
    if twice:
        raise UnreadableData(
            f"the source '{spec.name}' has columns that differ at most in case: {', '.join(twice)}",
            hint="rename them where they come from, or declare the source's `schema` with those that you need",
        )
    if unspeakable := nameless(schema):
        raise UnreadableData(
            f"the source '{spec.name}' has columns with a NUL character in their names: {', '.join(map(repr, unspeakable))}",
            hint="rename them where they come from, or declare the source's `schema` with those that you need",
        )
    hidden = next((name for name in schema.names if is_hidden(name)), None)
    if hidden is not None:
        raise InvalidValue(f"the column name '{hidden}' is reserved", hint="rename the column")
    request = ReadRequest(
        schema=schema,
        columns=tuple(schema.names),
        contract=Contract(Drift(spec.contract.columns), Drift(spec.contract.types)),
        declared=declared is not None,
        limit=draft.options.limit,
        threads=draft.options.threads or 1,
        split_bytes=draft.options.split_bytes,
    )
    place = draft.document.place(*spec.at)
    read = Read(spec.connector, source, request, discovery.rows, discovery.bytes, place, None if given else spec.subject)
    read = replace(read, keys=discovery.keys)
    if source.capabilities.resumes is not None and given is None:
        read = replace(read, positions=Positions(source.capabilities.resumes))
    if spec.event_time is not None and given is None:
        read = replace(read, time=_time(draft, spec, spec.event_time, schema))
    if spec.incremental is not None and given is None:
        read = _incremental(draft, read, spec, spec.incremental)
    draft.nodes[spec.name] = Node(spec.name, spec.name, read, (), schema, type=spec.connector)


def _doubt(draft: Draft, spec: SourceSpec, doubts: Sequence[Doubt]) -> None:
    place = draft.document.place(*spec.at)
    draft.warnings += [f"{place}: {each.reason}; set `{each.option}: {each.value}`" for each in doubts]


def _compare(draft: Draft, spec: SourceSpec, source: Source, declared: pa.Schema) -> None:
    """Warn of declared columns that the data lacks. Raises ErrorGroup where the contract is frozen."""
    seen = source.columns_seen(declared)
    if seen is None or seen.doubts:
        _doubt(draft, spec, () if seen is None else seen.doubts)
        return
    spare = [name for name in seen.names if name not in declared.names]
    errors: list[DataHubError] = []
    for name in seen.missing(declared.names):
        guess, place = nearest(name, spare), draft.document.place(*spec.at, "schema", name)
        hint = f"did you mean '{guess}'?" if guess else f"the data has: {', '.join(seen.names[:30])}"
        reason = f"the data of '{spec.name}' has no column '{name}'"
        if Drift(spec.contract.columns) is Drift.FREEZE and seen.whole:
            errors.append(SchemaDrift(reason, hint=hint, place=place))
        else:
            looked = "" if seen.whole else " as far as was looked"
            draft.warnings.append(f"{place}: {reason}{looked}: it is null in each record; {hint}")
    if errors:
        raise ErrorGroup(errors)


def _followed(draft: Draft, spec: SourceSpec, source: Source) -> EndingSource:
    """A source that ends as one that is followed to its end, because windows are to hold its rows and those that come later.

    Raises InvalidValue.
    """
    if spec.incremental is not None:
        raise InvalidValue(
            "a hybrid integration with windows reads a source that ends once, as a whole: `incremental` does not go with it",
            hint="leave it out",
        ).at(draft.document.place(*spec.at, "incremental"))
    if source.capabilities.acknowledges is not None or source.capabilities.resumes is not None:
        raise InvalidValue(
            f"a hybrid integration with windows cannot read '{spec.connector}': what it has taken is not to be had again",
            hint="read it by an integration of its own",
        ).at(draft.document.place(*spec.at, "connector"))
    return EndingSource(source)


def _time(draft: Draft, spec: SourceSpec, wanted: EventTimeSpec, schema: pa.Schema) -> str:
    """The column of time of a source. Raises UnknownColumn, InvalidValue."""
    place = draft.document.place(*spec.at, "event_time")
    if wanted.column not in schema.names:
        raise UnknownColumn(wanted.column, schema.names).at(place)
    kind = schema.field(wanted.column).type
    if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
        raise InvalidValue(
            f"'{wanted.column}' is {sql_type(kind)}, which is no moment", hint="declare it as TIMESTAMP WITH TIME ZONE or DATE"
        ).at(place)
    return wanted.column


def _incremental(draft: Draft, read: Read, spec: SourceSpec, wanted: IncrementalSpec) -> Read:
    try:
        increment = increment_of(wanted, read.request.schema)
    except DataHubError as error:
        raise error.at(draft.document.place(*spec.at, "incremental")) from error
    # Without outputs nothing keeps how far it came: previews look at all that a first run would.
    return with_increment(read, increment)


def connector_of(draft: Draft, spec: SourceSpec) -> Source:
    """The connector of a source, set up as the spec says; reaches nothing. Raises SpecError."""
    kind = draft.component("source", spec.connector, *spec.at, "connector")
    connection, options = draft.configs(kind, spec)
    return kind(connection, options)  # type: ignore[no-any-return]


def _declared(draft: Draft, spec: SourceSpec) -> pa.Schema | None:
    if spec.subject is not None:
        return _registered(draft, spec, spec.subject)
    if spec.columns is None:
        return None
    fields, errors = [], []
    for name, text in spec.columns.items():
        try:
            fields.append(pa.field(name, data_type(text)))
        except SpecError as error:
            errors.append(error.at(draft.document.place(*spec.at, "schema", name)))
    if errors:
        raise ErrorGroup(errors)
    return pa.schema(fields)


def _registered(draft: Draft, spec: SourceSpec, subject: SubjectSpec) -> pa.Schema:
    place = draft.document.place(*spec.at, "subject")
    if spec.columns is not None:
        raise InvalidValue("a source has a `schema` or a `subject`, not both", hint="leave out one of them", place=place)
    try:
        return draft.registry(subject).columns(subject)
    except DataHubError as error:
        raise error.at(place) from error


def _estimated(source: Source, declared: pa.Schema) -> Discovery:
    """Sizes for a declared source; a source that cannot tell (it is empty as yet) is of unknown size."""
    try:
        found = source.estimate()
    except DataHubError:
        return Discovery(declared)
    return Discovery(declared, found.rows, found.bytes)
