"""The last step of a run: audit the books, judge the budget, then publish every destination under the run's name."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam

from beam_datahub.compiler.asking import lookup_figures
from beam_datahub.compiler.books import Books, Ledger, audit
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.findings import merged_tallies
from beam_datahub.compiler.increment import Marks, acknowledge, cursors, hold
from beam_datahub.compiler.plan import PlanProfile, PlanRule, Write, is_aside
from beam_datahub.compiler.profiling import MergedProfiles
from beam_datahub.compiler.returns import Returns, enter, gives_back, publish_all
from beam_datahub.compiler.tickets import TICKETED, opened
from beam_datahub.compiler.verdict import judge
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.sink import Committed, Receipt


@dataclass(frozen=True)
class Budget:
    """How many rejected records a run may have: a count, or a share of what was read. None: any number."""

    records: int | None = None
    share: float | None = None

    def exceeded(self, rejected: int, read: int) -> str | None:
        """Why the run must fail, or None."""
        if self.records is not None and rejected > self.records:
            return f"{rejected} {_records(rejected)} rejected, {self.records} are allowed"
        if self.share is not None and rejected > self.share * read:
            return f"{rejected} of {read} {_records(read)} rejected ({rejected / max(read, 1):.1%}), {self.share:.1%} are allowed"
        return None


def _records(count: int) -> str:
    return "record was" if count == 1 else "records were"


def receipt_to_json(step: str, receipt: Receipt) -> str:
    """A receipt as the text that travels to the commit; `detail` may be any picklable value."""
    return json.dumps({"step": step, "receipt": base64.b64encode(pickle.dumps(receipt)).decode()})


def _receipt(body: str) -> tuple[str, Receipt]:
    facts = json.loads(body)
    return facts["step"], pickle.loads(base64.b64decode(facts["receipt"]))


class Commit(beam.DoFn):
    """Publishes a run from the reports of all its bundles; a repeated call changes nothing.

    When the books do not balance, the budget is exceeded or a quality rule fails the run, nothing but the dead letter and the
    violations is published. Where there is a
    `journal`, what is about to be published is written to that file first: `finish_commit` takes up from there.
    """

    def __init__(
        self,
        ledger: Ledger,
        targets: tuple[Write, ...],
        budget: Budget,
        report_path: str,
        journal: str | None = None,
        *,
        rules: tuple[PlanRule, ...] = (),
        profiles: tuple[PlanProfile, ...] = (),
        marks: Marks | None = None,
        started_at: datetime | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._ledger, self._targets, self._budget, self._report_path = ledger, targets, budget, report_path
        self._journal, self._rules, self._started_at = journal, rules, started_at or datetime.now(UTC)
        self._profiles, self._marks = profiles, marks or Marks()
        # Without it, nothing is given back.
        self._identity = identity if any(map(gives_back, targets)) else None

    @carried
    def process(self, reports: tuple[Any, Iterable[tuple[str, str]]]) -> Iterator[str]:
        totals: dict[str, Counter[str]] = {}
        receipts: dict[str, list[Receipt]] = {target.request.step: [] for target in self._targets}
        drifted: set[tuple[str, str]] = set()
        tallied: list[str] = []
        profiles = MergedProfiles(self._profiles)
        taken: dict[str, list[str]] = {}
        reached: dict[str, dict[str, Any]] = {}
        messages: dict[str, list[Any]] = {}
        lookups: dict[str, Counter[str]] = {}
        for kind, body in _single(reports[1]):
            if kind == "books":
                for part, terms in json.loads(body).items():
                    totals.setdefault(part, Counter()).update(terms)
            elif kind == "receipt":
                step, receipt = _receipt(body)
                receipts[step].append(receipt)
            elif kind == "drift":
                facts = json.loads(body)
                drifted.add((facts["source"], facts["column"]))
            elif kind == "quality":
                tallied.append(body)
            elif kind == "profile":
                profiles.add(body)
            elif kind == "lookup":
                facts = json.loads(body)
                lookups.setdefault(facts.pop("step"), Counter()).update(facts)
            elif kind == "cursor":
                facts = json.loads(body)
                taken.setdefault(facts["source"], []).append(facts["taken"])
            elif kind == "position":
                facts = json.loads(body)
                reached.setdefault(facts["source"], {}).update(facts["reached"])
            elif kind == "taken":
                facts = json.loads(body)
                messages.setdefault(facts["source"], []).extend(facts["taken"])
        written = {t.request.step: sum(r.rows for r in receipts[t.request.step]) for t in self._targets}
        letter = next((t.request.step for t in self._targets if t.dead_letter), None)
        broken = next((t.request.step for t in self._targets if t.violations), None)
        plain = {step: rows for step, rows in written.items() if step not in (letter, broken)}
        books = audit(self._ledger, totals, plain, letter, broken)
        quality = judge(self._rules, merged_tallies(tallied), self._started_at)
        verdict = self._verdict(books, quality)
        report = {
            **verdict,
            "books": books.by_step(self._ledger),
            "read": books.read,
            "rejected": books.rejected,
            "reasons": books.reasons(),
            "quality": quality,
            "profiles": profiles.to_json(),
            "drifted": [{"source": source, "column": column} for source, column in sorted(drifted)],
            "lookups": lookup_figures(lookups),
            "cursors": cursors(self._marks, taken, reached) if verdict["status"] == "completed" else {},
            "taken": messages if verdict["status"] == "completed" else {},
        }
        hold(self._marks, report["taken"])
        chosen = []
        returns = Returns(self._identity) if self._identity is not None and verdict["status"] == "completed" else None
        for target in self._targets:
            staged = receipts[target.request.step]
            if target.dead_letter and returns is not None:
                # Records that are given back go there as well, when all others are published.
                returns = replace(returns, letter=target, staged=tuple(staged))
                continue
            # The dead letter of a run without rejects is left as it was.
            if (is_aside(target) and not staged) or (not is_aside(target) and verdict["status"] != "completed"):
                target.sink.abort(target.request)
            else:
                chosen.append((target, tuple(staged)))
        if self._journal is not None:
            decided = (chosen, report, self._report_path, dict(self._marks.taking), returns, self._budget)
            _write_durably(self._journal, pickle.dumps(decided))
        yield _published(chosen, report, self._report_path, returns, self._budget)

    def _verdict(self, books: Books, quality: list[dict[str, Any]]) -> dict[str, Any]:
        if books.faults:
            return {"status": "unbalanced", "faults": books.faults}
        reason = self._budget.exceeded(books.rejected, books.read)
        if reason is not None:
            return {"status": "too_many_rejected", "reason": reason, "faults": []}
        failed = [rule for rule in quality if rule["action"] == "fail" and not rule["passed"]]
        if failed:
            reason = "; ".join(f"{rule['name']} ({rule['step']}): {rule['outcome']}" for rule in failed)
            return {"status": "quality_failed", "reason": reason, "faults": []}
        return {"status": "completed", "faults": []}


def _single(reports: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Reports one by one, also those that had to arrive together."""
    for kind, body in reports:
        if kind == TICKETED:
            yield from opened(body)[1]
        else:
            yield kind, body


def finish_commit(journal: str) -> dict[str, Any]:
    """Publish what a commit that died after it had written its journal was about to, and tell the sources; gives the report.

    What it had published already stays as it is. Raises ConnectorError, after which it may be called again.
    """
    with open(journal, "rb") as file:
        chosen, report, report_path, taking, *more = pickle.load(file)
    returns, budget = more or (None, Budget())
    found: dict[str, Any] = json.loads(_published(chosen, report, report_path, returns, budget))
    acknowledge(taking, found.pop("taken"))
    return found


def _published(
    chosen: list[tuple[Write, tuple[Receipt, ...]]],
    report: dict[str, Any],
    report_path: str,
    returns: Returns | None,
    budget: Budget,
) -> str:
    """Publish what is decided on, also where destinations may give records back; gives the report."""
    if returns is None:
        return _publish(chosen, report, report_path)

    def exceeded(came: int) -> str | None:
        return budget.exceeded(report["rejected"] + came, report["read"])

    published = publish_all(chosen, returns, lambda came: exceeded(came) is not None)
    reason = exceeded(sum(sum(counts.values()) for counts in published.reasons.values()))
    letter = returns.letter
    if reason is not None:
        report |= {"status": "too_many_rejected", "reason": reason, "cursors": {}, "taken": {}}
    aside = [letter] if letter is not None else []
    for target in [write for write, _ in chosen] + aside:
        if target.request.step not in published.done:
            target.sink.abort(target.request)
    enter(report, published.reasons, letter.request.step if letter is not None else None)
    text = _report(published.done, report, report_path)
    published.forget()
    return text


def _publish(chosen: list[tuple[Write, tuple[Receipt, ...]]], report: dict[str, Any], report_path: str) -> str:
    published = {}
    for target, receipts in chosen:
        with placed(target.place):
            published[target.request.step] = target.sink.commit(target.request, list(receipts))
    return _report(published, report, report_path)


def _report(published: Mapping[str, Committed], report: Mapping[str, Any], report_path: str) -> str:
    """Leave the report of a run where the launcher looks for it."""
    from apache_beam.io.filesystems import FileSystems

    written = {step: {"rows": d.rows, "bytes": d.bytes, "locations": list(d.locations)} for step, d in published.items()}
    text = json.dumps({**report, "written": written})
    with FileSystems.create(report_path, mime_type="application/json") as out:
        out.write(text.encode())
    return text


def _write_durably(path: str, data: bytes) -> None:
    """Write a local file that is there as a whole or not at all, whenever the machine stops."""
    with open(path + ".new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
