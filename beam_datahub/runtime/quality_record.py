"""What a run's record keeps of its quality rules: a violation for each that is broken, and the page of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beam_datahub.runtime.report import html_report
from beam_datahub.runtime.store_link import later
from beam_datahub.security import redact
from beam_datahub.store.records import NewViolation

if TYPE_CHECKING:
    from beam_datahub.runtime.record import RunRecord


def record_violations(record: RunRecord) -> None:
    """Note the rules that are broken; those of records name the files with all of them."""
    places = {step: done["locations"] for step, done in record.result.written.items()}
    found = [_violation(rule, places) for rule in record.result.quality if not rule["passed"]]
    if found:
        record.calls.append(later("violations.add", record.facts.run_id, found))


def _violation(rule: Mapping[str, Any], places: Mapping[str, list[str]]) -> NewViolation:
    kept = places.get("dead_letter" if rule["action"] == "reject" else "violations", [])
    wanted = str(rule["threshold"])
    return NewViolation(
        rule=rule["name"],
        kind=rule["type"],
        step=rule["step"],
        severity=rule["severity"],
        action=rule["action"],
        message=rule["outcome"],
        checked=rule["checked"],
        failed=rule["failed"],
        ratio=rule["ratio"],
        threshold=float(wanted.rstrip("%")) / 100 if wanted.endswith("%") else None,
        samples=kept[0] if kept and rule["type"] not in ("row_count", "freshness", "schema", "statistics") else None,
        details={"where": rule["where"], "threshold": wanted, "files": kept},
    )


def write_page(record: RunRecord) -> None:
    """Leave the page of the run in its folder, where it shows more than the books: `report RUN --html` writes that of any."""
    if not record.result.quality and not record.result.profiles:
        return
    facts = json.loads(redact(json.dumps(record.result.as_record(), default=str, ensure_ascii=False)))
    record.write("report.html", html_report(facts), "page")
