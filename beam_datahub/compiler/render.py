"""A plan as a readable tree, as a Mermaid flowchart, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from beam_datahub.compiler.describe import PlanView, StageView, StepView
from beam_datahub.compiler.origins import ColumnOrigin

_TITLES = {"pass": "in one pass", "shuffle": "shuffle", "union": "union", "route": "route", "write": "write"}
_SHAPES = {
    "source": ('(["', '"])'),
    "transformation": ('["', '"]'),
    "destination": ('[("', '")]'),
    "dead_letter": ('[("', '")]'),
    "violations": ('[("', '")]'),
}
_HOW = {
    "in passing": "checked where the rows pass by",
    "beside": "rows are brought together beside the main path",
    "in the way": "rows are brought together on the main path",
    "known": "known before anything runs",
}


def tree(view: PlanView, *, columns: bool = False, width: int = 100) -> str:
    """The plan as a tree of stages and their steps.

    `columns`: each column on a line of its own, with the source columns and the expression that it comes from.
    """
    lines = [view.name + (f": {view.description}" if view.description else "")]
    if view.max_rejected is not None:
        lines.append(f"│  at most {view.max_rejected} rejected records")
    for number, stage in enumerate(view.stages, start=1):
        last = number == len(view.stages)
        lines += _branch(_stage_lines(view, stage, columns, width - 3), last=last)
    lines += _rule_lines(view, width) if view.rules else []
    return "\n".join(line.rstrip() for line in lines)


def _rule_lines(view: PlanView, width: int) -> Iterator[str]:
    """The quality rules, each with what it is about and what follows."""
    yield "quality rules"
    for number, rule in enumerate(view.rules, start=1):
        where = f" where {rule.where}" if rule.where is not None else ""
        wanted = f", {rule.threshold}{'' if rule.threshold.startswith('at most') else ' must pass'}" if rule.threshold else ""
        facts = [f"{rule.about}{where}", f"{rule.severity}{wanted}: {rule.action}", _HOW[rule.how]]
        lines = [f"{rule.name}  [{rule.type}] of {rule.step}"]
        for fact in facts:
            lines += textwrap.wrap(fact, width - 6, initial_indent="   · ", subsequent_indent="     ", break_on_hyphens=False)
        yield from _branch(lines, last=number == len(view.rules))


def _branch(lines: list[str], *, last: bool) -> Iterator[str]:
    head, *rest = lines
    yield f"{'└─' if last else '├─'} {head}"
    for line in rest:
        yield f"{' ' if last else '│'}  {line}"


def _stage_lines(view: PlanView, stage: StageView, columns: bool, width: int) -> list[str]:
    steps = [view.steps[step] for step in stage.steps]
    if len(steps) == 1:
        return _step_lines(steps[0], columns, width)
    waits = f"  (after {', '.join(stage.waits_for)})" if stage.waits_for else ""
    lines = [f"{' → '.join(stage.steps)}: {_TITLES[stage.kind]}{waits}"]
    for number, step in enumerate(steps, start=1):
        lines += _branch(_step_lines(step, columns, width - 3, inside=number > 1), last=number == len(steps))
    return lines


def _step_lines(step: StepView, columns: bool, width: int, *, inside: bool = False) -> list[str]:
    source = f" ← {', '.join(step.inputs)}" if step.inputs and (not inside or len(step.inputs) > 1) else ""
    lines = [f"{step.id}  [{step.type}]{source}"]
    for fact in step.facts:
        lines += textwrap.wrap(fact, width - 3, initial_indent="   · ", subsequent_indent="     ", break_on_hyphens=False)
    if step.kind in ("dead_letter", "violations"):
        return lines
    if columns:
        return lines + [f"     {line}" for line in _column_lines(step)]
    if step.kind == "destination":
        return lines
    if not step.changed:
        return [*lines, "     columns as before"]
    text = ", ".join(f"{name} {kind}".replace(" ", "\N{NO-BREAK SPACE}") for name, kind in step.columns.items())
    wrapped = textwrap.wrap(text, width - 5, break_on_hyphens=False, break_long_words=False)
    return lines + [f"     {line}".replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]


def _column_lines(step: StepView) -> list[str]:
    names = max((len(name) for name in step.columns), default=0)
    kinds = max((min(len(kind), 24) for kind in step.columns.values()), default=0)
    return [
        f"{name:<{names}}  {kind:<{kinds}}  {_origin_text(step, name, step.origins.get(name, ColumnOrigin()))}".rstrip()
        + _personal_text(step, name)
        for name, kind in step.columns.items()
    ]


def _origin_text(step: StepView, name: str, origin: ColumnOrigin) -> str:
    if step.kind == "source":
        return ""
    made = f"{origin.expression}  " if origin.expression is not None else ""
    sources = ", ".join(f"{source}.{column}" for source, column in origin.sources)
    return f"{made}← {sources}" if sources else made.rstrip() or "(a constant)"


def _personal_text(step: StepView, name: str) -> str:
    """What of personal data a column holds, and what masked it."""
    texts = [each.told() for each in step.personal.get(name, ())]
    return f"  [{', '.join(dict.fromkeys(texts))}]" if texts else ""


def mermaid(view: PlanView) -> str:
    """The plan as a Mermaid flowchart; steps that run in one pass stand in one box."""
    names = {step: f"n{number}" for number, step in enumerate(view.steps)}
    lines = ["flowchart LR"]
    for number, stage in enumerate(view.stages):
        inside = len(stage.steps) > 1
        lines += [f'  subgraph s{number}["{_TITLES[stage.kind]}"]'] if inside else []
        for name in stage.steps:
            lines.append(("    " if inside else "  ") + _mermaid_node(view.steps[name], names[name]))
        lines += ["  end"] if inside else []
    for step in view.steps.values():
        for reference in step.inputs:
            source = reference if reference in names else reference.rpartition(".")[0]
            label = "" if source == reference else f'|"{_escaped(reference.rpartition(".")[2])}"|'
            lines.append(f"  {names[source]} -->{label} {names[step.id]}")
    if letter := next((each for each in view.steps.values() if each.kind == "dead_letter"), None):
        for step in view.steps.values():
            if step.kind == "source" or step.traits.get("can_reject"):
                lines.append(f"  {names[step.id]} -.-> {names[letter.id]}")
    if failing := next((each for each in view.steps.values() if each.kind == "violations"), None):
        for step in view.steps.values():
            if step.traits.get("quality_rules"):
                lines.append(f"  {names[step.id]} -.-> {names[failing.id]}")
    bare = [names[step.id] for step in view.steps.values() if _shows_personal_data(step)]
    if bare:
        lines += ["  classDef personal stroke:#c0392b,stroke-width:3px", f"  class {','.join(bare)} personal"]
    return "\n".join(lines)


def _shows_personal_data(step: StepView) -> bool:
    return any(each.shows == "clear" for column in step.personal.values() for each in column)


def _mermaid_node(step: StepView, name: str) -> str:
    opening, closing = _SHAPES[step.kind]
    facts = [fact for fact in step.facts if fact.startswith(("personal data: ", "masks ", "shows again ", "cleared for "))]
    more = "".join(f"<br/><small>{_escaped(fact)}</small>" for fact in facts)
    return f"{name}{opening}{_escaped(step.id)}<br/><small>{_escaped(step.type)}</small>{more}{closing}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;").replace(">", "&gt;")


def as_json(view: PlanView) -> dict[str, Any]:
    """The plan as JSON: its steps with columns, lineage and traits, and its stages."""
    return {
        "name": view.name,
        "description": view.description,
        "max_rejected": view.max_rejected,
        "steps": [_step_json(step) for step in view.steps.values()],
        "quality_rules": [asdict(rule) for rule in view.rules],
        "stages": [{"kind": s.kind, "steps": list(s.steps), "waits_for": list(s.waits_for)} for s in view.stages],
    }


def _step_json(step: StepView) -> dict[str, Any]:
    return {
        "id": step.id,
        "kind": step.kind,
        "type": step.type,
        "inputs": list(step.inputs),
        **step.traits,
        "facts": list(step.facts),
        "columns": [_column_json(name, kind, step) for name, kind in step.columns.items()],
    }


def _column_json(name: str, kind: str, step: StepView) -> dict[str, Any]:
    found = step.origins.get(name, ColumnOrigin())
    return {
        "name": name,
        "type": kind,
        "expression": found.expression,
        "from": [{"source": source, "column": column} for source, column in found.sources],
        "through": [{"step": m.step, "column": m.column, "expression": m.expression} for m in found.made],
        **({"personal": [asdict(each) for each in step.personal[name]]} if name in step.personal else {}),
    }
