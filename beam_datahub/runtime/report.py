"""The report of a run as one HTML page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from beam_datahub.component.inspection import SEVERITIES
from beam_datahub.errors import InvalidValue, UnknownName, UnknownRun
from beam_datahub.runtime.profile_page import profiles_html
from beam_datahub.store.location import locate

Record = Mapping[str, Any]

_TERMS = ("out", "filtered", "merged", "rejected")
_ASIDE = ("dead_letter", "violations")
_STATES = {"completed": "good", "completed_with_errors": "fair", "failed": "bad"}


@dataclass(frozen=True)
class Section:
    """A further part of the page: its heading, and its body as HTML in which all that comes from data is escaped."""

    title: str
    html: str


# Each may add a section to the page, from the run's record.
SECTIONS: list[Callable[[Record], Section | None]] = [lambda record: _profiles(record)]


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: what it stands for, its share of the chart's width (0 to 1), and where a mark stands on it."""

    label: str
    share: float
    tone: str
    text: str
    mark: float | None = None


def html_report(record: Record) -> str:
    """The page for a run's record, as RunResult.as_record gives it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda number: f"{number:,}"
    template = environment.from_string((files("beam_datahub.runtime") / "report.html").read_text("utf-8"))
    rules = sorted(record["quality"], key=lambda rule: (rule["passed"], -SEVERITIES.index(rule["severity"]), rule["name"]))
    sections = [section for make in SECTIONS if (section := make(record)) is not None]
    return template.render(
        record=record,
        tone=_STATES.get(record["status"], "fair"),
        status=record["status"].replace("_", " "),
        rules=[(rule, _rule_bar(rule)) for rule in rules],
        broken=sum(not rule["passed"] for rule in rules),
        books=_books(record["books"]),
        terms=_TERMS,
        reasons=_reasons(record["reasons"]),
        written=[(step, done) for step, done in record["written"].items() if done["rows"]],
        error=record.get("error"),
        sections=sections,
    )


def _profiles(record: Record) -> Section | None:
    profiles = record.get("profiles")
    return Section("Profiles", profiles_html(profiles, record.get("deviations") or {})) if profiles else None


def _rule_bar(rule: Record) -> Bar:
    tone = "good" if rule["passed"] else "bad" if rule["action"] == "fail" else "fair"
    wanted = str(rule["threshold"])
    mark = float(wanted.rstrip("%")) / 100 if wanted.endswith("%") else None
    return Bar(rule["name"], float(rule["ratio"]), tone, share_text(float(rule["ratio"])), mark)


def share_text(share: float) -> str:
    """A share in percent; one that is not whole is never rounded to 100 % or to nothing."""
    text = f"{share:.1%}"
    if text == "100.0%" and share < 1:
        return ">99.9%"
    if text == "0.0%" and share > 0:
        return "<0.1%"
    return text.replace(".0%", "%") if text in ("100.0%", "0.0%") else text


def _books(books: Mapping[str, Mapping[str, int]]) -> list[tuple[str, Mapping[str, int], list[Bar]]]:
    """For each step its line, and what became of its records as parts of one bar."""
    lines = []
    for step, line in books.items():
        if step in _ASIDE:
            continue
        taken = max(line["read"] + line["in"] + line["added"], sum(line[term] for term in _TERMS))
        if not taken:
            continue
        parts = [Bar(term, line[term] / taken, term, f"{line[term]:,} {term}") for term in _TERMS if line[term]]
        lines.append((step, line, parts or [Bar("written", 1.0, "out", f"{taken:,} written")]))
    return lines


def _reasons(reasons: Sequence[Record]) -> list[tuple[Record, Bar]]:
    most = max((each["records"] for each in reasons), default=1)
    return [(each, Bar(each["reason"], each["records"] / most, "rejected", f"{each['records']:,}")) for each in reasons]


def stored_report(run: str, store: str | None = None) -> dict[str, Any]:
    """The record of a run by its id, by the beginning or end of it, or of the `last` run. Raises UnknownName, UnknownRun."""
    runs = locate(store).runs
    found = sorted(path.parent.name for path in runs.glob("*/report.json")) if runs.is_dir() else []
    fitting = [name for name in found if run and (name.startswith(run) or name.endswith(run))]
    chosen = found[-1:] if run == "last" else [run] if run in found else fitting
    if not found:
        raise UnknownRun(f"no run has left a report in {runs}", hint="`beam-datahub run SPEC` leaves one")
    if len(chosen) > 1:
        raise InvalidValue(f"'{run}' may be several runs", hint=f"write more of one: {', '.join(chosen[-5:])}")
    if not chosen:
        raise UnknownName("run", run, found[-10:])
    record: dict[str, Any] = json.loads((Path(runs) / chosen[0] / "report.json").read_text("utf-8"))
    return record
