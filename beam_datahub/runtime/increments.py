"""Incremental runs: where each source goes on, what moves when the run is through, and that runs take turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import InvalidValue, MissingValue, UnknownName
from beam_datahub.kernels.types import sql_type
from beam_datahub.runtime.store_link import Call, StoreLink, later
from beam_datahub.store.records import Cursor, RunKind

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan, Read
    from beam_datahub.kernels.increment import Increment
    from beam_datahub.spec import SpecDocument


@dataclass(frozen=True)
class Span:
    """What a run of an incremental integration reads: what is new, with `whole` everything, or what lies in [since, until)."""

    whole: bool = False
    since: str | None = None
    until: str | None = None

    @property
    def is_part(self) -> bool:
        """Whether it is a range that the user named."""
        return self.since is not None or self.until is not None

    def facts(self) -> dict[str, Any]:
        """What a run's record keeps of it."""
        return {name: value for name, value in self.__dict__.items() if value}


def span_of(facts: Mapping[str, Any]) -> Span:
    """The span that a run's record has kept."""
    return Span(**(facts.get("span") or {}))


def is_incremental(document: SpecDocument) -> bool:
    """Whether a source of the spec is incremental, a log that is read on, or a queue."""
    return any(source.incremental or _resumes(source.connector) for source in document.integration.sources.values())


def _resumes(connector: str) -> bool:
    from beam_datahub.component.registry import component, is_known

    kind: Any = component("source", connector) if is_known("source", connector) else None
    return kind is not None and (kind.capabilities.resumes is not None or kind.capabilities.acknowledges is not None)


def kind_of(document: SpecDocument, span: Span) -> RunKind:
    """What a run of this spec is. Raises InvalidValue for a span of an integration without an incremental source."""
    if not is_incremental(document):
        if span.is_part or span.whole:
            raise InvalidValue(
                f"'{document.integration.name}' has no incremental source: each run reads everything",
                hint="say under a source which column tells new records, such as `incremental: {column: updated_at}`",
            )
        return "full"
    return "partial" if span.is_part else "full" if span.whole else "incremental"


def bound(plan: Plan, store: StoreLink | None, span: Span, *, limited: bool = False) -> Plan:
    """`plan` with its incremental sources behind what earlier runs have taken.

    A partial run and one that is limited move no cursor. Raises MissingValue without a store, InvalidValue for a bound that is
    not of the column's type, and the store's errors.
    """
    from beam_datahub.compiler.increment import marks, with_increment
    from beam_datahub.compiler.plan import Read

    wanted = marks(plan)
    queues = [node.id for node in plan.reads() if isinstance(read := node.operator, Read) and _is_queue(read)]
    if not wanted.increments and not wanted.positions and not queues:
        return plan
    if store is None and not span.is_part and not wanted.increments:
        raise MissingValue(
            f"'{plan.name}' goes on from its last run, and finishes what a killed one has begun, by what the store knows",
            hint="leave out --no-record",
        )
    if store is None and not span.is_part:
        raise MissingValue(
            f"'{plan.name}' reads what is new since its last run, which the store knows",
            hint="leave out --no-record, or name what to read with --since and --until",
        )
    known: dict[str, dict[str, Cursor]] = {}
    for cursor in store.reader.cursors.find(plan.name) if store is not None else ():
        known.setdefault(cursor.source, {})[cursor.partition] = cursor
    nodes = dict(plan.nodes)
    moves = not limited and not span.is_part
    for source, increment in wanted.increments.items():
        read = nodes[source].operator
        assert isinstance(read, Read)
        behind = _behind(plan.name, source, replace(increment, moves=moves), known.get(source, {}).get(""), span)
        nodes[source] = nodes[source].with_(operator=with_increment(read, behind))
    for source, positions in wanted.positions.items():
        if span.is_part:
            raise InvalidValue(
                f"'{source}' is a log, which goes on from its last {positions.unit}: it has no range of values",
                hint="leave out --since and --until",
            )
        read = nodes[source].operator
        assert isinstance(read, Read)
        there = known.get(source, {})
        if moves and not span.whole:
            _check_same(plan.name, source, positions.unit, there, {} if known.keys() & wanted.positions.keys() else known)
        revisions = {name: cursor.revision for name, cursor in there.items()}
        reached = {} if span.whole else {name: cursor.value["last"] for name, cursor in there.items()}
        read = replace(read, positions=replace(positions, revisions=revisions, moves=moves))
        nodes[source] = nodes[source].with_(operator=replace(read, request=replace(read.request, reached=reached)))
    for source in queues:
        if span.is_part:
            raise InvalidValue(f"'{source}' is a queue: it has no range of values", hint="leave out --since and --until")
        read = nodes[source].operator
        assert isinstance(read, Read)
        nodes[source] = nodes[source].with_(operator=replace(read, request=replace(read.request, takes=moves)))
    return plan.replaced(nodes)


def _check_same(
    integration: str, source: str, unit: str, there: Mapping[str, Cursor], others: Mapping[str, Mapping[str, Cursor]]
) -> None:
    """Refuse positions that are not of this log, and a log that has none while one that is gone from the spec has.

    Raises InvalidValue.
    """
    for cursor in there.values():
        if cursor.value["column"] != unit:
            raise InvalidValue(
                f"'{source}' was read by its {cursor.value['column']} so far, and is read by its {unit} now",
                hint=f"give it another name, or begin anew: beam-datahub state reset {integration} {source}",
            )
    for gone, parts in others.items():
        if any(cursor.value["column"] == unit for cursor in parts.values()):
            raise InvalidValue(
                f"'{source}' would be read from its beginning: how far was read is kept for '{gone}', which the spec has not",
                hint=f"call it '{gone}' again, or forget that: beam-datahub state reset {integration} {gone}",
            )


def _is_queue(read: Read) -> bool:
    return read.source.capabilities.acknowledges is not None


def _behind(integration: str, source: str, increment: Increment, cursor: Cursor | None, span: Span) -> Increment:
    """An increment as this run has it."""
    increment = replace(increment, revision=cursor.revision if cursor else 0)
    if span.is_part:
        floor = None if span.since is None else increment.value(span.since)
        return replace(increment, floor=floor, until=None if span.until is None else increment.value(span.until))
    if cursor is None or span.whole:
        return increment
    if cursor.value["column"] != increment.column:
        raise InvalidValue(
            f"'{source}' was read by the column '{cursor.value['column']}' so far, not by '{increment.column}'",
            hint=f"begin anew: beam-datahub state reset {integration} {source}",
        )
    return increment.after(increment.value(cursor.value["last"]), cursor.value.get("seen"), cursor.revision)


def cursor_at(store: StoreLink, plan: Plan, source: str, text: str, partition: str = "") -> Cursor:
    """Put the cursor of a source (or of a partition of its log) to a value that the user wrote.

    Raises UnknownName, and InvalidValue where it is not a value of the column or a position of the log.
    """
    from beam_datahub.compiler.increment import marks
    from beam_datahub.compiler.plan import Read

    wanted = marks(plan)
    known = [*wanted.increments, *wanted.positions]
    if source not in known:
        raise UnknownName("incremental source", source, known)
    before = store.reader.cursors.get(plan.name, source, partition)
    if source in wanted.increments:
        if partition:
            raise InvalidValue(f"'{source}' has no partitions: it is read by a column", hint="leave out --partition")
        increment = wanted.increments[source]
        kind = sql_type(increment.data_type)
        value = {"column": increment.column, "last": increment.value(text), "seen": None}
    else:
        read = plan.nodes[source].operator
        assert isinstance(read, Read)
        kind = wanted.positions[source].unit
        value = {"column": kind, "last": read.source.position(partition, text)}
    revision = before.revision if before else 0
    return store.writer.cursors.move(Cursor(plan.name, source, value, kind, partition=partition, revision=revision))


def dropped(document: SpecDocument, source: str | None, store: StoreLink) -> list[str]:
    """Remove what the sources of a spec, or one of them, keep at their systems, and forget how far they were read; says what
    was removed. Raises UnknownName, ConnectorError.
    """
    from beam_datahub.compiler.build import connected

    sources = document.integration.sources
    if source is not None and source not in sources:
        raise UnknownName("source", source, list(sources))
    done = []
    for name, spec in sources.items():
        if source in (None, name):
            done += connected(document, spec).forget()
            if store.reader.cursors.find(document.integration.name, name):
                store.writer.cursors.reset(document.integration.name, name)
                done.append(f"how far '{name}' was read")
    return done


def take_turn(integration: str, run_id: str) -> list[Call]:
    """Calls that let a run begin only while no other one moves the same cursors. They raise Conflict."""
    return [later("runs.alone", integration, run_id)]


def moves(integration: str, run_id: str, cursors: Mapping[str, Mapping[str, Any]]) -> Sequence[Call]:
    """Calls that move the cursors of a run whose destinations are published."""
    found = []
    for source, goal in cursors.items():
        for partition, part in goal["parts"].items():
            cursor = Cursor(
                integration, source, part["value"], goal["type"], partition=partition, revision=part["revision"], run_id=run_id
            )
            found.append(later("cursors.move", cursor))
    return found
