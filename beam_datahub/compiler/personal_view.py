"""Personal data as a plan shows it: which column holds which kind, how much of it can be seen, and which step masked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beam_datahub.compiler.clearance import CLEARANCE, PERSONAL
from beam_datahub.compiler.personal import Level, Tag, Tags
from beam_datahub.compiler.plan import Node, Plan, Write

_SHOWN = {Level.CLEAR: "clear", Level.LOWERED: "in part", Level.HIDDEN: "hidden"}


@dataclass(frozen=True)
class PersonalColumn:
    """Personal data in a column: its kind, how much shows (`clear`, `in part`, `hidden`), the source's column that it comes
    from, and the step that masked it last.
    """

    kind: str
    shows: str
    origin: str
    masked_by: str | None = None

    def told(self, *, by: bool = True) -> str:
        """As words; `by`: with the step that masked it."""
        shown = self.kind if self.shows == "clear" else f"{self.kind} {self.shows}"
        return f"{shown} by {self.masked_by}" if by and self.masked_by is not None else shown


Personal = Mapping[str, tuple[PersonalColumn, ...]]


def personal_columns(node: Node, plan: Plan) -> Personal:
    """Column → what of personal data it holds; empty where no source says anything of it."""
    tags: Tags = plan.metadata.get(PERSONAL) or {}
    found: dict[str, tuple[PersonalColumn, ...]] = {}
    for name, each in tags.get(node.id, {}).items():
        shown = [PersonalColumn(tag.kind, _SHOWN[tag.level], tag.origin, _masked_by(tag, tags)) for tag in each]
        found[name] = tuple(dict.fromkeys(shown))
    return found


def personal_facts(node: Node, plan: Plan, columns: Personal) -> list[str]:
    """Sentences on personal data in a source, a step that masks or restores some, or a destination."""
    facts: list[str] = []
    operator = node.operator
    if isinstance(operator, Write):
        allowed = clearance(node, plan)
        if operator.dead_letter:
            if plan.metadata.get("sealed"):
                facts.append("originals and messages are sealed")
        else:
            facts += _listed("personal data: ", columns, by=True)
        facts += [f"cleared for {', '.join(allowed)}"] if allowed else []
    elif not node.inputs:
        facts += _listed("personal data: ", columns)
    else:
        here = {name: tuple(e for e in each if e.masked_by == node.step) for name, each in columns.items()}
        facts += _listed("masks ", here)
        back = {name: tuple(e for e in each if e.shows == "clear") for name, each in _restored(node, plan, columns).items()}
        facts += _listed("shows again ", back)
    return facts


def clearance(node: Node, plan: Plan) -> Sequence[str]:
    """The kinds of personal data that a destination may hold."""
    found: Mapping[str, Sequence[str]] = plan.metadata.get(CLEARANCE) or {}
    return found.get(node.id, ())


def _listed(words: str, columns: Personal, *, by: bool = False) -> list[str]:
    texts = [f"{name} ({', '.join(dict.fromkeys(one.told(by=by) for one in each))})" for name, each in columns.items() if each]
    return [words + ", ".join(texts)] if texts else []


def _masked_by(tag: Tag, tags: Tags) -> str | None:
    """The last step on the way of a tag that left less of it than came in; None where all of it shows."""
    if tag.level is Level.CLEAR:
        return None
    found, before = None, Level.CLEAR
    for step, column in tag.way:
        level = _level(tag, tags, step, column)
        if level < before:
            found = step
        before = level
    return found


def _level(tag: Tag, tags: Tags, step: str, column: str) -> Level:
    same = [
        e.level for e in tags.get(step, {}).get(column, ()) if (e.kind, e.source, e.column) == (tag.kind, tag.source, tag.column)
    ]
    return max(same, default=Level.CLEAR)


def _restored(node: Node, plan: Plan, columns: Personal) -> Personal:
    """Columns that hold in clear what an input of the step holds masked."""
    tags: Tags = plan.metadata.get(PERSONAL) or {}
    masked = {
        (tag.kind, tag.origin)
        for reference in node.inputs
        for each in tags.get(plan.node(reference).id, {}).values()
        for tag in each
        if tag.level is not Level.CLEAR
    }
    clear = {
        (tag.kind, tag.origin)
        for reference in node.inputs
        for each in tags.get(plan.node(reference).id, {}).values()
        for tag in each
        if tag.level is Level.CLEAR
    }
    return {name: tuple(e for e in each if (e.kind, e.origin) in masked - clear) for name, each in columns.items()}
