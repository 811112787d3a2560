"""What the bundles of a stream reported, added up: of a ticket, of an epoch, of the whole stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beam_datahub.compiler.books import Books, Ledger, audit
from beam_datahub.compiler.commit import Budget, _receipt
from beam_datahub.compiler.findings import RuleTally, merged_tallies
from beam_datahub.compiler.plan import PlanRule, Write
from beam_datahub.compiler.tickets import Stretch
from beam_datahub.compiler.verdict import judge
from beam_datahub.component.sink import Receipt


@dataclass(frozen=True)
class Terms:
    """By what the epochs of a stream are judged; `windows` are the steps in whose windows rows wait, with the sources they come
    from. `seams`: another attempt can tell what of them was read before.
    """

    ledger: Ledger
    targets: tuple[Write, ...]
    budget: Budget
    rules: tuple[PlanRule, ...]
    started_at: datetime
    windows: Mapping[str, Collection[str]] = field(default_factory=dict)
    seams: bool = False

    def verdict(self, account: Account, after: Account) -> dict[str, Any]:
        """Whether an epoch is published: the budget is that of the whole stream up to `after` it, rules judge the epoch."""
        rejected = sum(each["rejected"] for each in after.totals.values())
        read = sum(each["read"] for each in after.totals.values())
        reason = self.budget.exceeded(rejected, read)
        if reason is not None:
            return {"status": "too_many_rejected", "reason": reason, "faults": []}
        quality = judge(self.rules, account.tallies, self.started_at)
        failed = [rule for rule in quality if rule["action"] == "fail" and not rule["passed"]]
        if failed:
            told = "; ".join(f"{rule['name']} ({rule['step']}): {rule['outcome']}" for rule in failed)
            return {"status": "quality_failed", "reason": told, "faults": []}
        return {"status": "completed", "faults": []}

    def aside(self, *, letters: bool) -> str | None:
        """The step that writes rejected records, or violations."""
        found = (t for t in self.targets if (t.dead_letter if letters else t.violations))
        return next((target.request.step for target in found), None)


@dataclass
class Account:
    """What was reported: of one ticket, of an epoch, or of the whole stream."""

    totals: dict[str, Counter[str]] = field(default_factory=dict)
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, RuleTally] = field(default_factory=dict)
    drifted: set[tuple[str, str]] = field(default_factory=set)
    lookups: dict[str, Counter[str]] = field(default_factory=dict)

    def take(self, kind: str, body: str) -> None:
        """Enter a report."""
        if kind == "books":
            for part, terms in json.loads(body).items():
                self.totals.setdefault(part, Counter()).update(terms)
        elif kind == "receipt":
            step, receipt = _receipt(body)
            self.receipts.append((step, receipt))
            self.rows[step] += receipt.rows
        elif kind == "quality":
            self._tally(merged_tallies([body]))
        elif kind == "drift":
            facts = json.loads(body)
            self.drifted.add((facts["source"], facts["column"]))
        elif kind == "lookup":
            facts = json.loads(body)
            self.lookups.setdefault(facts.pop("step"), Counter()).update(facts)

    def add(self, other: Account, *, receipts: bool = True) -> None:
        """Enter all of another account."""
        for part, terms in other.totals.items():
            self.totals.setdefault(part, Counter()).update(terms)
        if receipts:
            self.receipts.extend(other.receipts)
        self.rows.update(other.rows)
        self._tally(other.tallies)
        self.drifted |= other.drifted
        for part, figures in other.lookups.items():
            self.lookups.setdefault(part, Counter()).update(figures)

    def with_returned(self, reasons: Mapping[str, Mapping[str, int]], letter: str | None) -> Account:
        """This account with records that destinations gave back while they published, which it knows as written: by step and
        reason. `letter` is the step that writes rejected records.
        """
        found = Account()
        found.add(self)
        for step, counts in reasons.items():
            rows = sum(counts.values())
            terms = {"rejected": rows, **{f"reason:{reason}": count for reason, count in counts.items()}}
            found.totals.setdefault(step, Counter()).update(terms)
            found.rows[step] -= rows
            if letter is not None:
                found.totals.setdefault(letter, Counter()).update({"in": rows})
                found.rows[letter] += rows
        return found

    def _tally(self, found: Mapping[str, RuleTally]) -> None:
        for rule, tally in found.items():
            self.tallies.setdefault(rule, RuleTally()).add(tally)

    def books(self, terms: Terms) -> Books:
        """The books, audited."""
        letter, broken = terms.aside(letters=True), terms.aside(letters=False)
        written = {t.request.step: self.rows[t.request.step] for t in terms.targets if t.request.step not in (letter, broken)}
        return audit(terms.ledger, self.totals, written, letter, broken)


@dataclass
class Ticket:
    """What was reported of one ticket."""

    account: Account = field(default_factory=Account)
    stretch: Stretch | None = None
    balanced: bool | None = None
    latest: int | None = None
    """When the last window ends that its rows wait for, in microseconds since 1970."""

    def take(self, kind: str, body: str) -> None:
        self.balanced = None
        if kind == "stretch":
            self.stretch = Stretch.of(body)
        else:
            self.account.take(kind, body)

    def is_through(self, terms: Terms) -> bool:
        if self.stretch is None:
            return False
        if self.balanced is None:
            books = self.account.books(terms)
            letter = terms.aside(letters=True)
            # The dead letter's own rows are staged as well.
            aside = all(
                self.account.rows[step] == self.account.totals.get(step, Counter())["in"]
                for step in (letter, terms.aside(letters=False))
                if step is not None
            )
            self.balanced = aside and not books.faults
        return self.balanced
