"""Steps that work in windows of event time: what goes in front of them and behind them, and what a stream demands."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beam_datahub.compiler.draft import Draft
from beam_datahub.compiler.plan import Node, Read, shuffles
from beam_datahub.compiler.schema import edge_of
from beam_datahub.compiler.scope import StepScope
from beam_datahub.component.columns import is_free
from beam_datahub.component.operators import Aggregate, Join, PerKey
from beam_datahub.component.registry import component, names
from beam_datahub.component.transform import Transform
from beam_datahub.component.windowing import PANE_INDEX, PANE_TIMING, WINDOW_END, WINDOW_START, assigned, time_column
from beam_datahub.errors import ErrorGroup, InvalidValue, MissingValue
from beam_datahub.kernels.windows import Firing, Window, Windowing
from beam_datahub.spec import TransformationSpec
from beam_datahub.spec.model import WindowSpec

_HINT = "give the step a window, such as `window: {type: fixed, size: 1 minute, on: placed_at}`"
_NEAR = "; or say how near in time rows match: `within: {left: placed_at, right: paid_at, after: 10 minutes}`"


def is_stream(draft: Draft, reference: str) -> bool:
    """Whether the rows behind a reference come without end."""
    node = draft.nodes[reference] if reference in draft.nodes else draft.nodes[reference.rpartition(".")[0]]
    if isinstance(node.operator, Read):
        endless = draft.spec.type != "batch" and node.operator.source.capabilities.unbounded
        return endless or node.id in draft.options.follows
    return any(is_stream(draft, each) for each in node.inputs)


def windowing_of(draft: Draft, step: TransformationSpec, transform: Transform, references: tuple[str, ...]) -> Windowing | None:
    """The windows in which a step works. Raises InvalidValue where its type knows none."""
    if step.window is None:
        return None
    if not transform.works_in_windows:
        able = [name for name in names("transform") if component("transform", name).works_in_windows]  # type: ignore[attr-defined]
        hint = f"these have one: {', '.join(able)}"
        raise InvalidValue(f"'{step.type}' has no window", hint=hint).at(draft.document.place(*step.at, "window"))
    return Windowing(_window(step.window), streams=any(is_stream(draft, each) for each in references))


def _window(spec: WindowSpec) -> Window:
    return Window(
        kind=spec.type,
        size=_micros(spec.size),
        period=_micros(spec.period),
        offset=_micros(spec.offset),
        unit=spec.unit,
        zone=spec.zone,
        lateness=_micros(spec.lateness),
        early=None if spec.early is None else Firing(spec.early.seconds, spec.early.rows),
        late=Firing(spec.late.seconds, spec.late.rows),
        accumulate=spec.accumulate,
        panes=spec.panes,
    )


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def with_windows(
    draft: Draft, step: TransformationSpec, windowing: Windowing, references: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, pa.Schema]]:
    """Add what gives the rows of every input their windows; gives its nodes, and their columns by the inputs' own names.

    Raises ErrorGroup.
    """
    assert step.window is not None
    scope = StepScope(lambda *keys: draft.document.place(*step.at, "window", *keys), str(draft.document.folder))
    on, nodes, schemas = step.window.on, [], {}
    for name in on:
        if name and name not in references:
            scope.error(InvalidValue(f"'{name}' is no input of the step", hint=f"they are {', '.join(references)}"), "on", name)
    for number, reference in enumerate(references, start=1):
        wanted, at = (on[""], ("on",)) if "" in on else (on.get(reference), ("on", reference))
        if wanted is None:
            scope.error(MissingValue(f"the time column of '{reference}' is missing", hint=f"add `{reference}: column`"), "on")
            continue
        schema = draft.schema(reference)
        column = time_column(wanted, schema, scope, *at)
        if column is None:
            continue
        operator = assigned(windowing.window, column, schema)
        edge = edge_of(operator, [schema])
        node_id = f"{step.id}#window{number if len(references) > 1 else ''}"
        nodes.append(Node(node_id, step.id, operator, (reference,), edge.schema, edge.lineage, edge.expressions, type=step.type))
        schemas[reference] = edge.schema
    if scope.errors:
        raise ErrorGroup(scope.errors)
    draft.nodes.update((node.id, node) for node in nodes)
    return tuple(node.id for node in nodes), schemas


def check_free(draft: Draft, step: TransformationSpec, operators: Any, schema: pa.Schema) -> None:
    """Refuse columns that a step makes itself and that are called like those of its window. Raises ErrorGroup."""
    if not any(isinstance(operator, Aggregate) for operator in operators) or step.window is None:
        return
    made = [WINDOW_START, WINDOW_END, *([PANE_INDEX, PANE_TIMING] if step.window.panes else [])]
    scope = StepScope(lambda *keys: draft.document.place(*step.at, "config", *keys), str(draft.document.folder))
    for name in schema.names:
        is_free(name, made, scope, hint="the window has a column of that name")
    if scope.errors:
        raise ErrorGroup(scope.errors)


def check_ends(draft: Draft, step: TransformationSpec, operators: Any, references: tuple[str, ...]) -> None:
    """Refuse, in a stream, a step that waits for the last row: there is none. Raises MissingValue."""
    endless = [is_stream(draft, each) for each in references]
    if not any(endless):
        return
    for operator in operators:
        if isinstance(operator, Join) and operator.windowing is None and not any(endless[1:]):
            # What is looked up has an end.
            continue
        if shuffles(operator) and isinstance(operator, Aggregate | PerKey | Join) and operator.windowing is None:
            what = "has no window, and a stream has no last row after which its result would be complete"
            hint = _HINT + (_NEAR if step.type == "join" else "")
            raise MissingValue(f"'{step.type}' {what}", hint=hint).at(draft.document.place(*step.at, "type"))
