"""Checks of the whole plan: nothing that leads nowhere."""

from __future__ import annotations

from beam_datahub.compiler.plan import Plan, Read, Write
from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Route
from beam_datahub.errors import DataHubError, UnusedStep
from beam_datahub.spec import SpecDocument


def check_unused(plan: Plan, document: SpecDocument) -> list[DataHubError]:
    """Errors for sources, steps and branches that reach no destination and have no quality rule."""
    used: set[str] = set()
    for node in reversed(list(plan)):
        if isinstance(node.operator, Write | Inspect) or node.id in used:
            for reference in node.inputs:
                used.update((reference, plan.node(reference).id))
    places = {name: source.at for name, source in document.integration.sources.items()}
    places |= {step.id: step.at for step in document.integration.transformations}
    errors: list[DataHubError] = []
    for node in plan:
        if isinstance(node.operator, Write) or "#" in node.id:
            continue
        at = document.place(*places[node.step])
        kind = "source" if isinstance(node.operator, Read) else "step"
        if node.id not in used:
            errors.append(UnusedStep(f"the {kind} '{node.id}' reaches no destination", hint="use it, or remove it", place=at))
        elif isinstance(node.operator, Route):
            names = [name for name, _ in node.operator.branches] + ([node.operator.default] if node.operator.default else [])
            errors += [
                UnusedStep(f"the branch '{node.id}.{name}' reaches no destination", hint="use it, or remove it", place=at)
                for name in dict.fromkeys(names)
                if f"{node.id}.{name}" not in used
            ]
    return errors
