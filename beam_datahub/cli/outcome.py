"""What a run did, for a person: the books, the rejected records, and where the output is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beam_datahub.cli.tables import duration, simple, size

if TYPE_CHECKING:
    from rich.console import Console

    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunResult

TERMS = ("read", "in", "out", "filtered", "rejected", "merged", "added")
# How many records of the dead letter are looked at for example messages.
_EXAMPLES = 2000
# How many differences from earlier runs are shown.
_DEVIATIONS = 3
_STATES = {
    "completed": ("completed", "bold green"),
    "completed_with_errors": ("completed, with rejected records", "bold yellow"),
    "failed": ("failed", "bold red"),
}


def show(console: Console, plan: Plan, result: RunResult) -> None:
    """Print the result of a run."""
    from rich.text import Text

    words, style = _STATES[result.status]
    rate = f" ({result.read / result.seconds:,.0f} rows/s)" if result.seconds and result.read else ""
    head = Text(result.integration, style="bold").append(": ", style="not bold").append(words, style=style)
    console.print(head)
    records = "record" if result.read == 1 else "records"
    took = f"{result.read:,} {records} read in {duration(result.seconds)}{rate}"
    facts = f"{took}, engine {result.engine}, run {result.run_id}"
    console.print(Text(facts, style="dim"))
    console.print()
    console.print(_books(plan, result))
    if result.reasons:
        console.print()
        console.print(_rejected(plan, result))
    if result.quality:
        console.print()
        console.print(quality_table(result.quality))
    console.print()
    console.print(_written(plan, result))
    for step, figures in result.lookups.items():
        keys, asked, queries = (figures[name] for name in ("keys", "asked", "queries"))
        sent = f"{asked:,} asked for in {queries:,} {'query' if queries == 1 else 'queries'}"
        console.print(Text(f"{step}: {keys:,} keys looked up, {figures['hits']:,} remembered, {sent}", "dim"))
    for source, goal in result.cursors.items():
        last = goal["last"]
        if isinstance(last, Mapping):
            last = ", ".join(f"{partition}: {place}" if partition else str(place) for partition, place in last.items())
        console.print(Text(f"{source}: read up to {goal['column']} = {last}, where the next run goes on", "dim"))
    if result.profiles:
        _profiled(console, result)
    for drift in result.drifted:
        console.print(
            Text(f"new column: {drift['source']} has '{drift['column']}', which its schema lacks; it was let go by", "yellow")
        )


def _books(plan: Plan, result: RunResult) -> Any:
    terms = [term for term in TERMS if any(line.get(term) for line in result.books.values())]
    written = {node.id: result.written.get(node.id, {}).get("rows") for node in plan.writes()}
    rows = []
    for step, line in result.books.items():
        if step in ("dead_letter", "violations") and not line["in"]:
            continue
        cells = [f"{line.get(term, 0):,}" if line.get(term, 0) else "·" for term in terms]
        rows.append([step, *cells, "✓" if _balances(line, step in written) else "✗"])
    return simple("Books", [("step", "left"), *((term, "right") for term in terms), ("balanced", "left")], rows)


def _balances(line: Mapping[str, int], is_write: bool) -> bool:
    if is_write:
        return True  # the commit compared it with its receipts before it published anything
    came = line["read"] + line["in"] + line["added"]
    return came == line["out"] + line["filtered"] + line["rejected"] + line["merged"]


def _rejected(plan: Plan, result: RunResult) -> Any:
    examples = _examples(plan, result)
    rows = [
        [each["step"], each["reason"], f"{each['records']:,}", examples.get((each["step"], each["reason"]), "")]
        for each in result.reasons
    ]
    columns = [("step", "left"), ("reason", "left"), ("records", "right"), ("for example", "left")]
    return simple("Rejected", columns if examples else columns[:3], rows if examples else [row[:3] for row in rows])


def quality_table(rules: Sequence[Mapping[str, Any]]) -> Any:
    """One line for each quality rule; the broken ones first, the worst on top."""
    from rich.text import Text

    from beam_datahub.component.inspection import SEVERITIES
    from beam_datahub.runtime.report import share_text

    columns = [("rule", "left"), ("step", "left"), ("severity", "left"), ("passed", "right"), ("outcome", "left"), ("", "left")]
    table = simple("Quality", columns, [])
    for rule in sorted(rules, key=lambda each: (each["passed"], -SEVERITIES.index(each["severity"]))):
        style = "" if rule["passed"] else "bold red" if rule["action"] == "fail" else "yellow"
        share = share_text(rule["ratio"])
        outcome = rule["outcome"] + (", rejected" if rule["action"] == "reject" and rule["failed"] else "")
        cells = [rule["name"], rule["step"], rule["severity"], share, outcome, "✓" if rule["passed"] else "✗"]
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def _profiled(console: Console, result: RunResult) -> None:
    """One line saying that profiles were taken, and one for each way in which they differ from those of earlier runs."""
    from rich.text import Text

    found = [(step, each) for step, compared in result.deviations.items() for each in compared["found"]]
    compared = max((each["compared_with"] for each in result.deviations.values()), default=0)
    columns = sum(len(each["columns"]) for each in result.profiles.values())
    words = f"profiled: {_some(columns, 'column')} of {', '.join(result.profiles)}"
    if result.deviations and not compared:
        words += "; too few earlier runs to compare with"
    elif compared:
        differences = _some(len(found), "difference") if found else "no differences"
        words += f"; {differences} from {_some(compared, 'earlier run')}"
    if result.deviations:
        words += f" (beam-datahub report {result.run_id} --html PAGE)"
    console.print(Text(words, "yellow" if found else "dim"))
    for step, each in found[:_DEVIATIONS]:
        console.print(Text(f"  {step}: {each['message']}", "yellow"))
    if len(found) > _DEVIATIONS:
        console.print(Text(f"  and {len(found) - _DEVIATIONS} more: beam-datahub violations", "yellow"))


def _some(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _examples(plan: Plan, result: RunResult) -> dict[tuple[str, str], str]:
    """The first message of each step and reason, where the dead letter is a local file of JSON lines."""
    from beam_datahub.security import redact

    found: dict[tuple[str, str], str] = {}
    for node in plan.writes():
        if node.type != "jsonl" or not getattr(node.operator, "dead_letter", False):
            continue
        for place in result.written.get(node.id, {}).get("locations", ()):
            if not os.path.isfile(place) or not place.endswith(".jsonl"):
                continue
            with open(place, encoding="utf-8", errors="replace") as file:
                for line, _ in zip(file, range(_EXAMPLES), strict=False):
                    letter = _parsed(line)
                    if letter.get("run_id") == result.run_id:
                        if str(letter.get("message")).startswith("dhs1:"):
                            continue
                        where = f" ({letter['column']})" if letter.get("column") else ""
                        text = redact(f"{letter.get('message')}{where}")
                        found.setdefault((str(letter.get("step")), str(letter.get("reason"))), text[:160])
    return found


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _written(plan: Plan, result: RunResult) -> Any:
    from beam_datahub.compiler.plan import is_aside

    rows = []
    for node in plan.writes():
        done = result.written.get(node.id)
        if done is None:
            if not is_aside(node.operator):
                rows.append([node.id, "·", "·", "nothing was written"])
            continue
        rows.append([node.id, f"{done['rows']:,}", size(done["bytes"]) if done["bytes"] else "·", _places(done["locations"])])
    return simple("Output", [("destination", "left"), ("rows", "right"), ("bytes", "right"), ("where", "left")], rows)


def _places(locations: list[str]) -> str:
    """Where the output is: one place, or a common folder and how many files are in it."""
    shown = [_relative(place) for place in locations]
    if len(shown) <= 1:
        return "".join(shown) or "·"
    folder = os.path.commonpath(shown)
    return f"{folder.replace(':/', '://') if '://' in shown[0] else folder}/ ({len(shown)} files)"


def _relative(place: str) -> str:
    """The path from here, where that is shorter."""
    if "://" in place or not os.path.isabs(place):
        return place
    near = os.path.relpath(place)
    return near if len(near) < len(place) and not near.startswith("../..") else place
