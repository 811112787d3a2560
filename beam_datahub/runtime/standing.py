"""How far a run is while it goes on: for the terminal that runs it, and through the store for any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from beam_datahub.component.progress import PROGRESS

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.store.records import Document

DOCUMENT: Document = "progress"


@dataclass(frozen=True)
class Standing:
    """Records read, staged at destinations, and rejected up to now, in all and by step; `expected`: how many records the
    sources estimate, None where one does not know. A bundle that was repeated counts twice.
    """

    read: int = 0
    written: int = 0
    rejected: int = 0
    expected: int | None = None
    steps: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """As the store keeps it."""
        return asdict(self)


def standing(plan: Plan) -> Standing:
    """How far this process's run of `plan` is."""
    destinations = {node.id for node in plan.writes()}
    read = written = rejected = 0
    steps: dict[str, dict[str, int]] = {}
    for (step, term), count in PROGRESS.snapshot().items():
        steps.setdefault(step, {})[term] = count
        if term == "read":
            read += count
        elif term == "rejected":
            rejected += count
        elif term == "in" and step in destinations and step != "dead_letter":
            written += count
    return Standing(read, written, rejected, expected(plan), steps)


def expected(plan: Plan) -> int | None:
    """How many records the sources estimate; None where one does not know."""
    rows = [getattr(node.operator, "estimated_rows", None) for node in plan.reads()]
    known = [count for count in rows if count is not None]
    return sum(known) if known and len(known) == len(rows) else None
