"""What quality rules find out while rows pass by: figures for each rule, and the rows that fail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import pyarrow as pa


@dataclass
class RuleTally:
    """What a rule has seen: rows checked, rows that failed, the newest value in seconds since 1970, and the figure as text."""

    checked: int = 0
    failed: int = 0
    newest: float | None = None
    figure: str | None = None

    def add(self, other: RuleTally) -> None:
        """Take in what another part of the rows gave."""
        self.checked += other.checked
        self.failed += other.failed
        if other.newest is not None:
            self.newest = other.newest if self.newest is None else max(self.newest, other.newest)
        self.figure = self.figure if other.figure is None else other.figure


@dataclass(frozen=True)
class Broken:
    """The rows of a batch that leave as violations: their positions in the stage's input, what they look like, and for each
    the names of its rules, the worst severity and the messages.
    """

    step: str
    rows: pa.Array
    table: pa.Table
    rules: pa.Array
    severity: pa.Array
    messages: pa.Array


@dataclass
class Findings:
    """What the rules of a stage found in a batch, or in several."""

    tallies: dict[str, RuleTally] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def tally(self, rule: str) -> RuleTally:
        """The figures of a rule."""
        return self.tallies.setdefault(rule, RuleTally())


def tallies_to_json(tallies: dict[str, RuleTally]) -> str:
    """Figures as the text that travels to the commit."""
    return json.dumps({name: asdict(tally) for name, tally in tallies.items()})


def merged_tallies(texts: Iterable[str]) -> dict[str, RuleTally]:
    """The figures of the whole run."""
    found: dict[str, RuleTally] = {}
    for text in texts:
        for name, facts in json.loads(text).items():
            found.setdefault(name, RuleTally()).add(RuleTally(**facts))
    return found
