"""The books: for every step, what came in equals what went out, was filtered, rejected or merged away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TERMS = ("read", "in", "out", "filtered", "rejected", "merged", "added")
_REASON = "reason:"


@dataclass(frozen=True)
class Entry:
    """A column of the books that something else must agree with: a part of a step and one of its terms."""

    part: str
    term: str = "out"


@dataclass(frozen=True)
class Link:
    """An edge: what the producers put out is what the consumer took in."""

    producers: tuple[Entry, ...]
    consumer: str


@dataclass(frozen=True)
class Ledger:
    """How the parts of a plan hang together; `steps` maps each step of the spec to its parts, in order.

    `broadcast` maps a join's part to what feeds its lookup side: every worker holds a copy, so that no one counts it in.
    """

    links: tuple[Link, ...]
    steps: Mapping[str, tuple[str, ...]]
    broadcast: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)


@dataclass
class Books:
    """The totals of a run and what does not add up."""

    totals: dict[str, Counter[str]]
    faults: list[str]
    looked_up: dict[str, int] = field(default_factory=dict)

    def by_step(self, ledger: Ledger) -> dict[str, dict[str, int]]:
        """One line per step: `in` of its first part, `out` of its last, the other terms summed over its parts."""
        lines: dict[str, dict[str, int]] = {}
        for step, parts in ledger.steps.items():
            line: Counter[str] = Counter()
            for term in ("read", "filtered", "rejected", "merged", "added"):
                line[term] = sum(self.totals[part][term] for part in parts if part in self.totals)
            heads = [part for part in parts if not any(link.consumer == part and _inside(link, parts) for link in ledger.links)]
            tails = [part for part in parts if not any(_feeds(link, part, parts) for link in ledger.links)]
            line["in"] = sum(self.totals[part]["in"] for part in heads if part in self.totals)
            # What a step looked up was broadcast to it and has no edge of its own.
            line["in"] += sum(self.looked_up[part] for part in parts if part in self.looked_up and part not in heads)
            line["out"] = sum(self.totals[part]["out"] for part in tails if part in self.totals)
            lines[step] = {term: line[term] for term in TERMS}
        return lines

    def reasons(self) -> list[dict[str, Any]]:
        """Rejected records by step and reason."""
        found: Counter[tuple[str, str]] = Counter()
        for part, terms in self.totals.items():
            for term, count in terms.items():
                if term.startswith(_REASON):
                    found[part.split("#")[0], term[len(_REASON) :]] += count
        return [{"step": step, "reason": reason, "records": count} for (step, reason), count in sorted(found.items())]

    @property
    def rejected(self) -> int:
        """Rejected records of the whole run."""
        return sum(terms["rejected"] for terms in self.totals.values())

    @property
    def read(self) -> int:
        """Records read by all sources."""
        return sum(terms["read"] for terms in self.totals.values())


def _inside(link: Link, parts: Sequence[str]) -> bool:
    return all(entry.part in parts for entry in link.producers)


def _feeds(link: Link, part: str, parts: Sequence[str]) -> bool:
    return link.consumer in parts and any(entry.part == part for entry in link.producers)


def audit(
    ledger: Ledger,
    totals: Mapping[str, Counter[str]],
    written: Mapping[str, int],
    dead_letter: str | None,
    violations: str | None = None,
) -> Books:
    """Check every part and every edge. `written` are the rows that each destination's receipts name; `dead_letter` and
    `violations` are the steps that write what comes out beside them.
    """
    books = Books({part: Counter(terms) for part, terms in totals.items()}, [])

    def term(part: str, name: str) -> int:
        return books.totals.get(part, Counter())[name]

    for part, terms in books.totals.items():
        if part in written or part in (dead_letter, violations) or "routed" in terms:
            continue
        came = terms["read"] + terms["in"] + terms["added"]
        went = terms["out"] + terms["filtered"] + terms["rejected"] + terms["merged"]
        if came != went:
            books.faults.append(f"{part}: {came} came in, {went} are accounted for")
    for link in ledger.links:
        put = sum(term(entry.part, entry.term) for entry in link.producers)
        took = term(link.consumer, "in")
        if put != took:
            names = " + ".join(entry.part for entry in link.producers)
            books.faults.append(f"{names} → {link.consumer}: {put} went out, {took} came in")
    for step, rows in written.items():
        refused = term(step, "rejected")
        if rows + refused != term(step, "in"):
            also = f", {refused} were rejected" if refused else ""
            books.faults.append(f"{step}: {term(step, 'in')} came in, {rows} were written{also}")
    if dead_letter is not None and term(dead_letter, "in") != books.rejected:
        books.faults.append(f"{dead_letter}: {books.rejected} were rejected, {term(dead_letter, 'in')} reached the dead letter")
    violating = sum(terms["violating"] for terms in books.totals.values())
    if violations is not None and term(violations, "in") != violating:
        books.faults.append(f"{violations}: {violating} fail quality rules, {term(violations, 'in')} were recorded")
    for part, producers in ledger.broadcast.items():
        looked_up = sum(term(entry.part, entry.term) for entry in producers)
        books.totals.setdefault(part, Counter()).update({"in": looked_up, "merged": looked_up})
        books.looked_up[part] = looked_up
    return books
