"""Incremental runs: where each source goes on, what moves when the run is through, and that runs take turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.types import sql_type
from beam_datahub.runtime.store_link import Call, StoreLink, later
from beam_datahub.store.records import Cursor, RunKind

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.kernels.increment import Increment
    from beam_datahub.runtime.store_link import StoreHere
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
    """Whether a source of the spec is incremental."""
    return any(source.incremental for source in document.integration.sources.values())


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
    from beam_datahub.compiler.increment import increments, with_increment
    from beam_datahub.compiler.plan import Read

    wanted = increments(plan)
    if not wanted:
        return plan
    if store is None and not span.is_part:
        raise MissingValue(
            f"'{plan.name}' reads what is new since its last run, which the store knows",
            hint="leave out --no-record, or name what to read with --since and --until",
        )
    known = {} if store is None else {each.source: each for each in store.reader.cursors.find(plan.name)}
    nodes = dict(plan.nodes)
    for source, increment in wanted.items():
        cursor = known.get(source)
        moves = not limited and not span.is_part
        increment = replace(increment, moves=moves, revision=cursor.revision if cursor else 0)
        if span.is_part:
            floor = None if span.since is None else increment.value(span.since)
            until = None if span.until is None else increment.value(span.until)
            increment = replace(increment, floor=floor, until=until)
        elif cursor is not None and not span.whole:
            if cursor.value["column"] != increment.column:
                raise InvalidValue(
                    f"'{source}' was read by the column '{cursor.value['column']}' so far, not by '{increment.column}'",
                    hint=f"begin anew: beam-datahub state reset {plan.name} {source}",
                )
            increment = increment.after(increment.value(cursor.value["last"]), cursor.value.get("seen"), cursor.revision)
        read = nodes[source].operator
        assert isinstance(read, Read)
        nodes[source] = nodes[source].with_(operator=with_increment(read, increment))
    return plan.replaced(nodes)


def cursor_at(store: StoreHere, integration: str, source: str, increment: Increment, value: str) -> Cursor:
    """Put the cursor of a source to a value that the user wrote. Raises InvalidValue where it is not of the column's type."""
    before = store.reader.cursors.get(integration, source)
    last = {"column": increment.column, "last": increment.value(value), "seen": None}
    revision = before.revision if before else 0
    return store.writer.cursors.move(Cursor(integration, source, last, sql_type(increment.data_type), revision=revision))


def take_turn(integration: str, run_id: str) -> list[Call]:
    """Calls that let a run begin only while no other one moves the same cursors. They raise Conflict."""
    return [later("runs.alone", integration, run_id)]


def moves(integration: str, run_id: str, cursors: Mapping[str, Mapping[str, Any]]) -> Sequence[Call]:
    """Calls that move the cursors of a run whose destinations are published."""
    return [
        later(
            "cursors.move",
            Cursor(
                integration,
                source,
                {name: goal[name] for name in ("column", "last", "seen")},
                goal["type"],
                revision=goal["revision"],
                run_id=run_id,
            ),
        )
        for source, goal in cursors.items()
    ]
