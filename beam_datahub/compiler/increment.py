"""Incremental reading in a plan: the typed increment of a source, and the part of a block that is new."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.plan import Plan, Positions, Read, Stage
from beam_datahub.component.source import Block, Since, Source
from beam_datahub.errors import DataHubError, InvalidValue, UnknownColumn
from beam_datahub.kernels.increment import Increment, Taking, can_order, check_lag, moved
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.types import sql_type
from beam_datahub.spec import IncrementalSpec


def increment_of(spec: IncrementalSpec, schema: pa.Schema) -> Increment:
    """The increment of a source with this schema, as its first run has it. Raises SpecError."""
    for name in (spec.column, *spec.key):
        if name not in schema.names:
            raise UnknownColumn(name, schema.names)
    data_type = schema.field(spec.column).type
    if not can_order(data_type):
        raise InvalidValue(
            f"'{spec.column}' is {sql_type(data_type)}, which cannot tell new records from old ones",
            hint="take a column of whole or decimal numbers, dates, timestamps or text that only grows",
        )
    if spec.lag is not None:
        check_lag(spec.lag, data_type)
    increment = Increment(spec.column, data_type, spec.key or tuple(schema.names), spec.lag, spec.nulls)
    return increment if spec.initial is None else replace(increment, floor=increment.value(str(spec.initial)))


def with_increment(read: Read, increment: Increment | None) -> Read:
    """`read` with this increment, which its source may know of."""
    if increment is None:
        return replace(read, increment=None, request=replace(read.request, since=None))
    nulls = increment.nulls != "skip"
    known = Since(increment.column, increment.data_type, increment.floor, increment.until, nulls=nulls)
    return replace(read, increment=increment, request=replace(read.request, since=known))


def new_of(block: Block, taking: Taking, increment: Increment, columns: tuple[str, ...]) -> tuple[Block, int]:
    """The new records of a block with just these columns, and how many others there were; what has no value is rejected."""
    taken = taking.take(block.batch)
    before = block.batch.num_rows
    batch, positions, rejected = block.batch, block.positions, block.rejected
    if len(taken.without):
        rows = taken.without if positions is None else positions.take(taken.without)
        message = f"'{increment.column}' is null: it does not tell whether the record is new"
        found = rejections(rows, "no_cursor", message, increment.column)
        rejected = found if rejected is None else pa.concat_tables([rejected, found])
    if taken.rows is not None:
        batch = batch.take(taken.rows)
        positions = taken.rows if positions is None else positions.take(taken.rows)
    if tuple(batch.schema.names) != columns:
        batch = batch.select(list(columns))
    others = before - batch.num_rows - len(taken.without)
    return replace(block, batch=batch, positions=positions, rejected=rejected), others


def taken(source: str, taking: Taking | None) -> Iterator[tuple[str, str]]:
    """What a bundle tells of what it has taken."""
    found = taking.taken() if taking is not None else None
    if found is not None:
        yield "cursor", json.dumps({"source": source, "taken": found})


def increments(plan: Plan) -> dict[str, Increment]:
    """The increment of each source that has one, before and after the passes."""
    return {source: read.increment for source, read in _reads(plan).items() if read.increment is not None}


def _reads(plan: Plan) -> dict[str, Read]:
    reads = {node.id: node.operator for node in plan.reads() if isinstance(node.operator, Read)}
    return reads | {op.read_id: op.read for node in plan if isinstance(op := node.operator, Stage) and op.read and op.read_id}


@dataclass(frozen=True)
class Marks:
    """How the sources of a plan go on from run to run: by a column's values, or by positions in a log."""

    increments: Mapping[str, Increment] = field(default_factory=dict)
    positions: Mapping[str, Positions] = field(default_factory=dict)
    taking: Mapping[str, Source] = field(default_factory=dict)
    """The sources that are told what a run has taken."""


def marks(plan: Plan) -> Marks:
    """The marks of a plan, before or after the passes."""
    positions = {source: read.positions for source, read in _reads(plan).items() if read.positions is not None}
    taking = {source: read.source for source, read in _reads(plan).items() if read.request.takes}
    return Marks(increments(plan), positions, taking)


def hold(wanted: Marks, taken: Mapping[str, Sequence[Any]]) -> None:
    """Make sure that the run still has what it took. Raises Transient."""
    for source, messages in taken.items():
        wanted.taking[source].hold(messages)


def acknowledge(taking: Mapping[str, Source], taken: Mapping[str, Sequence[Any]]) -> None:
    """Tell each source that what the run took of it is published. Raises ConnectorError."""
    for source, messages in taken.items():
        try:
            taking[source].acknowledge(messages)
        except DataHubError as error:
            raise type(error)(
                f"all is published, but '{source}' could not be told so: {error.reason}",
                hint="the next run tells it first, before it reads",
            ) from error


def moves_cursors(plan: Plan) -> bool:
    """Whether a run of the plan moves the cursor of a source, or takes messages away from one."""
    found = marks(plan)
    moving = any(each.moves for each in found.increments.values()) or any(each.moves for each in found.positions.values())
    return moving or bool(found.taking)


def cursors(
    wanted: Marks, taken: Mapping[str, Sequence[str]], reached: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Where the cursors of each source go that had new records: `column` and `last` for people, and by partition the `value`
    to keep and the `revision` that it follows. Those of partial runs stay. Raises RunError.
    """
    found: dict[str, dict[str, Any]] = {}
    for source, increment in wanted.increments.items():
        goal = moved(increment, taken.get(source, ())) if increment.moves else None
        if goal is not None:
            part = {"value": {"column": increment.column, **goal}, "revision": increment.revision}
            kind = sql_type(increment.data_type)
            found[source] = {"column": increment.column, "last": goal["last"], "type": kind, "parts": {"": part}}
    for source, positions in wanted.positions.items():
        last = reached.get(source)
        if last and positions.moves:
            unit = positions.unit
            parts = {
                name: {"value": {"column": unit, "last": value}, "revision": positions.revisions.get(name, 0)}
                for name, value in last.items()
            }
            found[source] = {"column": unit, "last": dict(last), "type": unit, "parts": parts}
    return found
