"""The last step of a run: audit the books, judge the budget, then publish every destination under the run's name."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam

from beam_datahub.compiler.asking import lookup_figures
from beam_datahub.compiler.books import Books, Ledger, audit
from beam_datahub.compiler.findings import merged_tallies
from beam_datahub.compiler.increment import Marks, acknowledge, cursors, hold
from beam_datahub.compiler.plan import PlanProfile, PlanRule, Write, is_aside
from beam_datahub.compiler.profiling import MergedProfiles
from beam_datahub.compiler.tickets import TICKETED, opened
from beam_datahub.compiler.verdict import judge
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.sink import Receipt


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
    ) -> None:
        self._ledger, self._targets, self._budget, self._report_path = ledger, targets, budget, report_path
        self._journal, self._rules, self._started_at = journal, rules, started_at or datetime.now(UTC)
        self._profiles, self._marks = profiles, marks or Marks()

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
        for target in self._targets:
            staged = receipts[target.request.step]
            # The dead letter of a run without rejects is left as it was.
            if (is_aside(target) and not staged) or (not is_aside(target) and verdict["status"] != "completed"):
                target.sink.abort(target.request)
            else:
                chosen.append((target, tuple(staged)))
        if self._journal is not None:
            _write_durably(self._journal, pickle.dumps((chosen, report, self._report_path, dict(self._marks.taking))))
        yield _publish(chosen, report, self._report_path)

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
        chosen, report, report_path, taking = pickle.load(file)
    found: dict[str, Any] = json.loads(_publish(chosen, report, report_path))
    acknowledge(taking, found.pop("taken"))
    return found


def _publish(chosen: list[tuple[Write, tuple[Receipt, ...]]], report: dict[str, Any], report_path: str) -> str:
    from apache_beam.io.filesystems import FileSystems

    published = {}
    for target, receipts in chosen:
        with placed(target.place):
            done = target.sink.commit(target.request, list(receipts))
        published[target.request.step] = {"rows": done.rows, "bytes": done.bytes, "locations": list(done.locations)}
    text = json.dumps({**report, "written": published})
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
