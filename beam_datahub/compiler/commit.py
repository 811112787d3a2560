"""The last step of a run: audit the books, judge the budget, then publish every destination under the run's name."""

from __future__ import annotations

import base64
import json
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_datahub.compiler.books import Books, Ledger, audit
from beam_datahub.compiler.plan import Write
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

    When the books do not balance or the budget is exceeded, nothing but the dead letter is published.
    """

    def __init__(self, ledger: Ledger, targets: tuple[Write, ...], budget: Budget, report_path: str) -> None:
        self._ledger, self._targets, self._budget, self._report_path = ledger, targets, budget, report_path

    @carried
    def process(self, reports: tuple[Any, Iterable[tuple[str, str]]]) -> Iterator[str]:
        totals: dict[str, Counter[str]] = {}
        receipts: dict[str, list[Receipt]] = {target.request.step: [] for target in self._targets}
        drifted: set[tuple[str, str]] = set()
        for kind, body in reports[1]:
            if kind == "books":
                for part, terms in json.loads(body).items():
                    totals.setdefault(part, Counter()).update(terms)
            elif kind == "receipt":
                step, receipt = _receipt(body)
                receipts[step].append(receipt)
            elif kind == "drift":
                facts = json.loads(body)
                drifted.add((facts["source"], facts["column"]))
        written = {t.request.step: sum(r.rows for r in receipts[t.request.step]) for t in self._targets}
        letter = next((t.request.step for t in self._targets if t.dead_letter), None)
        books = audit(self._ledger, totals, {s: n for s, n in written.items() if s != letter}, letter)
        verdict = self._verdict(books)
        published = {}
        for target in self._targets:
            if verdict["status"] != "completed" and not target.dead_letter:
                target.sink.abort(target.request)
                continue
            # The dead letter of a run without rejects is left as it was.
            if target.dead_letter and not receipts[target.request.step]:
                target.sink.abort(target.request)
                continue
            with placed(target.place):
                done = target.sink.commit(target.request, receipts[target.request.step])
            published[target.request.step] = {"rows": done.rows, "bytes": done.bytes, "locations": list(done.locations)}
        report = {
            **verdict,
            "books": books.by_step(self._ledger),
            "read": books.read,
            "rejected": books.rejected,
            "reasons": books.reasons(),
            "drifted": [{"source": source, "column": column} for source, column in sorted(drifted)],
            "written": published,
        }
        yield self._save(json.dumps(report))

    def _verdict(self, books: Books) -> dict[str, Any]:
        if books.faults:
            return {"status": "unbalanced", "faults": books.faults}
        reason = self._budget.exceeded(books.rejected, books.read)
        if reason is not None:
            return {"status": "too_many_rejected", "reason": reason, "faults": []}
        return {"status": "completed", "faults": []}

    def _save(self, report: str) -> str:
        from apache_beam.io.filesystems import FileSystems

        with FileSystems.create(self._report_path, mime_type="application/json") as out:
            out.write(report.encode())
        return report
