"""Builds the typed plan of a spec: discovers sources, compiles every step, checks every write; all errors in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from beam_datahub.compiler.checks import check_unused
from beam_datahub.compiler.clearance import cleared
from beam_datahub.compiler.destinations import add_dead_letter, add_destination, add_violations
from beam_datahub.compiler.discretion import discreet
from beam_datahub.compiler.draft import DEAD_LETTER_STEP, VIOLATIONS_STEP, BuildOptions, Draft
from beam_datahub.compiler.part_chains import with_part_chains
from beam_datahub.compiler.plan import RULES, Plan, PlanProfile, PlanRule, Write
from beam_datahub.compiler.rules import RuleScope, attach, compile_rule
from beam_datahub.compiler.sources import add_source, connector_of
from beam_datahub.compiler.steps import add_step, ordered, transform_of
from beam_datahub.compiler.streaming import check_stream, stream_facts
from beam_datahub.component.inspection import RowTest
from beam_datahub.component.registry import is_known
from beam_datahub.component.rule import Rule
from beam_datahub.component.source import Source
from beam_datahub.errors import ErrorGroup, SpecError, UnknownColumn
from beam_datahub.spec import QualityRuleSpec, SourceSpec, SpecDocument, validate_config
from beam_datahub.spec.reusable import expand

__all__ = ["DEAD_LETTER_STEP", "VIOLATIONS_STEP", "BuildOptions", "build", "connected"]


def build(document: SpecDocument, options: BuildOptions | None = None) -> Plan:
    """The logical plan of a spec, reusable transformations expanded. Raises ErrorGroup with all errors, or the single one."""
    options = options or BuildOptions()
    document = with_part_chains(document, options)
    builtin = {step.type for step in document.integration.transformations if is_known("transform", step.type)}
    plan = _build(Draft(expand(document, builtin=builtin), options))
    guarded = options.outputs and options.guards_personal_data
    return discreet(cleared(plan, document, given=frozenset(options.sources))) if guarded else plan


def connected(document: SpecDocument, source: SourceSpec) -> Source:
    """The connector of one source, set up as the spec says; reaches nothing. Raises SpecError."""
    return connector_of(Draft(document, BuildOptions()), source)


def _build(draft: Draft) -> Plan:
    transforms = {step.id: transform_of(draft, step) for step in draft.spec.transformations}
    for source in draft.spec.sources.values():
        draft.guarded(source.name, source.at, partial(add_source, draft, source))
    for step in ordered(draft, transforms):
        transform = transforms[step.id]
        if transform is None:
            draft.broken.add(step.id)
        else:
            draft.guarded(step.id, step.at, partial(add_step, draft, step, transform))
    for destination in draft.spec.destinations if draft.options.outputs else ():
        draft.guarded(destination.id, destination.at, partial(add_destination, draft, destination))
    if draft.options.outputs:
        draft.guarded(DEAD_LETTER_STEP, ("dead_letter",), partial(add_dead_letter, draft))
    rules = [rule for number, spec in enumerate(draft.spec.quality_rules) if (rule := _rule(draft, number, spec)) is not None]
    if not draft.errors:
        draft.guarded(RULES, ("quality_rules",), partial(_attach, draft, rules))
    meta: dict[str, Any] = {"description": draft.spec.description}
    if draft.spec.dead_letter is not None and draft.spec.dead_letter.sealed:
        meta["sealed"] = True
    if draft.spec.type != "batch" and not draft.options.sources:
        meta |= stream_facts(draft.spec)
    plan = Plan(draft.spec.name, draft.nodes, draft.spec.max_rejected, meta, tuple(rules), warnings=tuple(draft.warnings))
    if draft.spec.profile is not None and not draft.errors and draft.options.outputs:
        profiles: list[PlanProfile] = []
        draft.guarded("profile", ("profile",), lambda: profiles.extend(_profile(draft, plan)))
        plan = replace(plan, profiles=tuple(profiles))
    if not draft.broken and draft.options.outputs:
        draft.errors.extend(check_unused(plan, draft.document))
    if not draft.broken and not draft.errors and "stream" in meta and draft.options.outputs:
        draft.errors.extend(check_stream(plan, draft.document))
    draft.raise_all()
    return plan


def _rule(draft: Draft, number: int, spec: QualityRuleSpec) -> PlanRule | None:
    found: list[PlanRule] = []

    def work() -> None:
        kind: type[Rule] = draft.component("rule", spec.type, *spec.at, "type")
        errors: list[SpecError] = []
        config = validate_config(kind.Config, spec.options, draft.document, *spec.at, errors=errors)
        if config is None:
            raise ErrorGroup(errors)
        rule = kind(config)
        judged = _judged(draft, spec)
        others = [draft.resolve(name, (*spec.at, "with")) for name in rule.references()]
        if judged is None or None in others:
            draft.broken.add(f"{RULES}{number}")
            return
        scope = RuleScope(lambda *keys: draft.document.place(*spec.at, *keys), str(draft.document.folder), number)
        schema = draft.schema(judged)
        found.append(compile_rule(spec, rule, schema, {str(each): draft.schema(str(each)) for each in others}, scope))

    draft.guarded(f"{RULES}{number}", spec.at, work)
    return found[0] if found else None


def _judged(draft: Draft, spec: QualityRuleSpec) -> str | None:
    """The reference to the rows that a rule judges; None when their step is itself in error."""
    node = draft.nodes.get(spec.step)
    if node is not None and isinstance(node.operator, Write):
        return node.inputs[0]
    if spec.step in draft.broken:
        return None
    # A preview has no destinations.
    inputs = {sink.id: sink.input[0] for sink in draft.spec.destinations}
    return draft.resolve(inputs.get(spec.step, spec.step), (*spec.at, "step"))


def _attach(draft: Draft, rules: Sequence[PlanRule]) -> None:
    recorded = any(isinstance(rule.test, RowTest) and rule.action != "reject" for rule in rules)
    ends = {} if draft.options.outputs else {sink.id: sink.input[0] for sink in draft.spec.destinations}
    draft.nodes = attach(draft.nodes, rules, ends)
    if recorded and draft.options.outputs and draft.options.violations_folder is not None:
        add_violations(draft, draft.options.violations_folder)


def _profile(draft: Draft, plan: Plan) -> list[PlanProfile]:
    spec = draft.spec.profile
    assert spec is not None
    usual = [*draft.spec.sources, *(each.id for each in draft.spec.destinations)]
    found = []
    for step in spec.steps or usual:
        reference = _profiled(draft, step, plan)
        schema = plan.node(reference).schema
        columns = tuple(schema.names) if spec.columns == "all" else spec.columns
        if columns is not None and spec.columns != "all":
            columns = tuple(name for name in columns if name in schema.names)
        if columns or spec.columns is None:
            found.append(PlanProfile(step, reference, columns, spec.values, spec.drift))
    known = {name for each in usual for name in plan.node(_profiled(draft, each, plan)).schema.names}
    known |= {name for each in found for name in plan.node(each.reference).schema.names}
    for name in spec.columns if spec.columns is not None and spec.columns != "all" else ():
        if name not in known:
            raise UnknownColumn(name, sorted(known)).at(draft.document.place("profile", "columns"))
    return found


def _profiled(draft: Draft, step: str, plan: Plan) -> str:
    """The reference to the rows of a step: raw for a source, past its rules for a step."""
    node = plan.nodes.get(step)
    if node is not None and isinstance(node.operator, Write):
        return node.inputs[0]
    if step in draft.spec.sources:
        return step
    reference = draft.resolve(step, ("profile",))
    return plan.judged(reference or step)
