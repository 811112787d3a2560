"""Transformations of a plan: in the order in which they feed each other, each with the columns that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_datahub.compiler.draft import Draft
from beam_datahub.compiler.matching import check_behind, with_matching
from beam_datahub.compiler.passes.asking import why_not
from beam_datahub.compiler.plan import Node
from beam_datahub.compiler.schema import edge_of
from beam_datahub.compiler.scope import StepScope
from beam_datahub.compiler.windowed import check_ends, check_free, windowing_of, with_windows
from beam_datahub.component.operators import Join, Operator, Rows
from beam_datahub.component.transform import Transform
from beam_datahub.component.windowing import finished
from beam_datahub.errors import CyclicSteps, ErrorGroup, InvalidValue, SpecError
from beam_datahub.kernels.types import is_hidden, visible
from beam_datahub.kernels.windows import Windowing
from beam_datahub.spec import TransformationSpec, validate_config


def transform_of(draft: Draft, step: TransformationSpec) -> Transform | None:
    """The transformation of a step, set up; None when that is in error."""
    found: list[Transform] = []

    def work() -> None:
        kind = draft.component("transform", step.type, *step.at, "type")
        errors: list[SpecError] = []
        config = validate_config(kind.Config, step.config, draft.document, *step.at, "config", errors=errors)
        if config is None:
            raise ErrorGroup(errors)
        found.append(kind(config))

    draft.guarded(step.id, step.at, work)
    return found[0] if found else None


def _inputs(draft: Draft, step: TransformationSpec, transform: Transform | None) -> tuple[str, ...]:
    return (*step.input, *(transform.references() if transform is not None else ()))


def ordered(draft: Draft, transforms: Mapping[str, Transform | None]) -> list[TransformationSpec]:
    """The steps after those that feed them; a cycle is reported and its steps are left out."""
    steps = {step.id: step for step in draft.spec.transformations}
    known = {*steps, *draft.spec.sources}
    order: list[TransformationSpec] = []
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name not in steps or state.get(name) == 2:
            return
        if state.get(name) == 1:
            cycle = path[path.index(name) :]
            draft.errors.append(CyclicSteps(cycle, place=draft.document.place(*steps[name].at)))
            draft.broken.update(cycle)
            return
        state[name] = 1
        path.append(name)
        for reference in _inputs(draft, steps[name], transforms[name]):
            visit(reference if reference in known else reference.rpartition(".")[0])
        path.pop()
        state[name] = 2
        order.append(steps[name])

    for name in steps:
        visit(name)
    return [step for step in order if step.id not in draft.broken or transforms[step.id] is None]


def add_step(draft: Draft, step: TransformationSpec, transform: Transform) -> None:
    """Add a step to the plan. Raises DataHubError."""
    names = _inputs(draft, step, transform)
    least, most = type(transform).input_count
    if len(names) < least or (most is not None and len(names) > most):
        wanted = f"{least}" if least == most else f"{least} to {most}" if most else f"{least} or more"
        reason = f"'{step.type}' takes {wanted} inputs, not {len(names)}"
        raise InvalidValue(reason, hint="name them under `input: [a, b]`").at(draft.document.place(*step.at, "input"))
    resolved = [draft.resolve(name, (*step.at, "input")) for name in names]
    if None in resolved:
        draft.broken.add(step.id)
        return
    references = tuple(str(name) for name in resolved)
    inputs = {name: draft.schema(name) for name in references}
    windowing = windowing_of(draft, step, transform, references)
    if windowing is not None:
        check_behind(draft, step, windowing, references)
        references, inputs = with_windows(draft, step, windowing, references)
    scope = StepScope(lambda *keys: draft.document.place(*step.at, "config", *keys), str(draft.document.folder), windowing)
    operators = transform.compile(inputs, scope)
    if scope.errors and any(not isinstance(operator, Rows) or operator.columns is not None for operator in operators):
        raise ErrorGroup(scope.errors)
    # A wrong condition changes no column: the steps behind it can still be checked.
    draft.errors.extend(scope.errors)
    for operator in operators:
        if isinstance(operator, Join) and operator.asking is not None and operator.asking.mode == "batch":
            _check_asking(draft, step, operator, references)
    operators, references = with_matching(draft, step, operators, references)
    check_ends(draft, step, operators, references)
    if windowing is not None:
        operators = [*operators, _finish(draft, step, operators, references, windowing)]
    _chain(draft, step, operators, references)


def _finish(
    draft: Draft, step: TransformationSpec, operators: Sequence[Operator], references: tuple[str, ...], windowing: Windowing
) -> Rows:
    """The step that gives the windows their names, behind those that a windowed transformation compiles to."""
    schemas = [draft.schema(name) for name in references]
    for operator in operators:
        schemas = [edge_of(operator, schemas).schema]
    check_free(draft, step, operators, visible(schemas[0]))
    return finished(windowing, schemas[0])


def _check_asking(draft: Draft, step: TransformationSpec, join: Join, references: tuple[str, ...]) -> None:
    """Refuse a lookup by batch in what cannot be asked; rows that were given in place of the source need not be."""
    source = draft.nodes.get(references[1])
    reason = why_not(join, draft.schema(references[0]), source) if source is not None else "it is a branch"
    if reason is not None and (source is None or source.id not in draft.options.sources):
        reason = f"there is no lookup by batch here: {reason}"
        raise InvalidValue(reason, hint="use `lookup: auto`").at(draft.document.place(*step.at, "config", "lookup"))


def _chain(draft: Draft, step: TransformationSpec, operators: Any, references: tuple[str, ...]) -> None:
    """Nodes for the operators of a step; the last has the step's own id."""
    inputs = references
    for number, operator in enumerate(operators, start=1):
        last = number == len(operators)
        node_id = step.id if last else f"{step.id}#{number}"
        edge = edge_of(operator, [draft.schema(name) for name in inputs])
        if last:
            _check_names(edge.schema.names, step.id)
        draft.nodes[node_id] = Node(
            node_id, step.id, operator, inputs, edge.schema, edge.lineage, edge.expressions, type=step.type
        )
        inputs = (node_id,)


def _check_names(names: list[str], step: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if is_hidden(name):
            raise InvalidValue(f"the column name '{name}' is reserved", hint="choose another name")
        if name.casefold() in seen:
            other = seen[name.casefold()]
            how = "occurs twice" if other == name else f"differs from '{other}' only in case"
            raise InvalidValue(f"the column '{name}' of '{step}' {how}", hint="rename one of them")
        seen[name.casefold()] = name
