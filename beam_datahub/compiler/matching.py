"""Joins of two streams by nearness in time: each row says until when it may find others, and waits until they are all there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.draft import Draft
from beam_datahub.compiler.plan import Node
from beam_datahub.compiler.schema import edge_of
from beam_datahub.compiler.windowed import is_stream
from beam_datahub.component.operators import Check, Column, Join, Operator, Rows
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ, quoted, visible
from beam_datahub.kernels.windows import END, START, Window, Windowing, reach_sql
from beam_datahub.spec import TransformationSpec


def with_matching(
    draft: Draft, step: TransformationSpec, operators: Sequence[Operator], references: tuple[str, ...]
) -> tuple[Sequence[Operator], tuple[str, ...]]:
    """The operators of a step and the nodes that feed them: of a join whose second input is a stream, those that wait in time.

    Raises MissingValue, InvalidValue.
    """
    (first, *rest) = operators
    if not isinstance(first, Join) or first.windowing is not None or not is_stream(draft, references[1]):
        return operators, references
    place = draft.document.place(*step.at, "config", "asof" if first.asof is not None else "within")
    if first.within is None:
        if first.asof is None:
            return operators, references
        reason = "a stream would have to keep every row for ever, to find the nearest one"
        raise MissingValue(reason, hint="say how far it may lie: `within: 1 day` under `asof`").at(place)
    if not is_stream(draft, references[0]):
        reason = f"'{references[0]}' ends, and '{references[1]}' goes on: nobody knows when a row of it has all its matches"
        raise InvalidValue(reason, hint="put the stream first").at(place)
    for reference in references:
        if _waits(draft, reference):
            reason = f"rows of '{reference}' have waited already, and come later than their time: they would be late here"
            hint = "join the streams first, and let windows and other joins follow; or join within a `window`"
            raise InvalidValue(reason, hint=hint).at(draft.document.place(*step.at, "input"))
    left, right, before, after = first.within
    window = Window("match", size=before + after, offset=after)
    # A row of the second input is needed until the last one of the first that it may match has come, and has all its matches.
    sides = ((references[0], left, after), (references[1], right, before + after))
    nodes = [_reaching(draft, step, number, *side) for number, side in enumerate(sides, start=1)]
    draft.nodes.update((node.id, node) for node in nodes)
    hidden = tuple((name, 0, name) for name in (START, END))
    join = replace(first, columns=(*first.columns, *hidden), windowing=Windowing(window, streams=True))
    given = visible(edge_of(join, [node.schema for node in nodes]).schema)
    shown = Rows(tuple(Column(name, column(name, given)) for name in given.names))
    return [join, shown, *rest], tuple(node.id for node in nodes)


def _reaching(draft: Draft, step: TransformationSpec, number: int, reference: str, on: str, reach: int) -> Node:
    """What says of each row of an input when it happened and until when it is needed; one without a time is rejected."""
    schema = visible(draft.schema(reference))
    data_type = TIMESTAMPTZ if schema.field(on).type == TIMESTAMPTZ else TIMESTAMP
    bounds = zip((START, END), reach_sql(on, schema.field(on).type, reach), strict=True)
    made = [Column(name, Expression(name, sql, data_type, (on,), can_fail=True)) for name, sql in bounds]
    there = Expression(f"{on} is not null", f"{quoted(on)} IS NOT NULL", pa.bool_(), (on,), can_fail=False)
    check = Check(there, f"'{on}' is null: the record has no time, and is near no other", "no_event_time", on)
    rows = Rows((*(Column(name, column(name, schema)) for name in schema.names), *made), checks=(check,))
    edge = edge_of(rows, [draft.schema(reference)])
    node_id = f"{step.id}#time{number}"
    return Node(node_id, step.id, rows, (reference,), edge.schema, edge.lineage, edge.expressions, type=step.type)


def check_behind(draft: Draft, step: TransformationSpec, windowing: Windowing, references: tuple[str, ...]) -> None:
    """Refuse windows that are over before the joins in time that feed them have given their rows. Raises InvalidValue."""
    window = windowing.window
    delay = max((_delay(draft, each, window) for each in references), default=0)
    if windowing.streams and window.lateness < delay:
        seconds = delay / 1_000_000
        reason = f"rows come up to {seconds:g} s later than their time from the join before, and would be late for their windows"
        hint = f"say `lateness: {seconds:g} s`, or more"
        raise InvalidValue(reason, hint=hint).at(draft.document.place(*step.at, "window"))


def _node(draft: Draft, reference: str) -> Node:
    return draft.nodes[reference] if reference in draft.nodes else draft.nodes[reference.rpartition(".")[0]]


def _waits(draft: Draft, reference: str) -> bool:
    """Whether rows have waited in windows or in another join by time before they come here."""
    node = _node(draft, reference)
    windowing = getattr(node.operator, "windowing", None)
    own = windowing is not None and windowing.streams
    return own or any(_waits(draft, each) for each in node.inputs)


def _delay(draft: Draft, reference: str, window: Window) -> int:
    """How much later than their time, by the watermark, rows come from the joins in time that lie before some windows."""
    node = _node(draft, reference)
    join, own = node.operator, 0
    if isinstance(join, Join) and join.windowing is not None and join.windowing.window.kind == "match":
        assert join.within is not None
        after, grain = join.within[3], join.windowing.window.grain
        own = -(-after // grain) * grain
        ends = (window.size, window.period, window.offset) if window.kind != "calendar" else ()
        # The watermark is looked at now and then: windows that end in between may be over by then.
        own += grain if window.merges or any(each % grain for each in ends) else 0
    return own + max((_delay(draft, each, window) for each in node.inputs), default=0)
