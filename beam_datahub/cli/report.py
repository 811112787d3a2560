"""`report`: shows what a run did, on the terminal, as JSON, or as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from beam_datahub.cli.options import store_option
from beam_datahub.cli.tables import duration, simple
from beam_datahub.errors import TargetUnusable


@click.command(short_help="Show the report of a run, or write it as an HTML page.")
@click.argument("run", default="last")
@click.option("--html", "page", type=click.Path(dir_okay=False), help="Write one HTML page that needs no other file.")
@click.option("--json", "as_json", is_flag=True, help="Write the report as JSON to standard output.")
@store_option
def command(run: str, page: str | None, as_json: bool, store: str | None) -> None:
    """Show the report of RUN: its books, its rejected records and its quality rules.

    RUN is a run's id, the beginning or end of it, or `last`. The page of a recorded run with quality rules or profiles lies
    in its folder, too.
    """
    from beam_datahub.runtime.report import html_report, stored_report

    record = stored_report(run, store)
    if page is not None:
        try:
            Path(page).write_text(html_report(record), "utf-8")
        except OSError as error:
            raise TargetUnusable(f"'{page}' cannot be written: {error.strerror}") from error
        click.echo(f"{page}: written", err=as_json)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    elif page is None:
        _show(record)


def _show(record: dict[str, Any]) -> None:
    from rich.text import Text

    from beam_datahub.cli.outcome import TERMS, quality_table
    from beam_datahub.cli.session import out

    console = out()
    status = record["status"].replace("_", " ")
    console.print(Text(record["integration"], style="bold").append(f": {status}", style="not bold"))
    facts = f"run {record['run_id']}, started {record['started_at']}, {record['read']:,} records read in"
    console.print(Text(f"{facts} {duration(record['seconds'])}", style="dim"))
    if record.get("error"):
        console.print(Text(record["error"]["reason"], style="red"))
    terms = [term for term in TERMS if any(line.get(term) for line in record["books"].values())]
    rows = [[step, *(f"{line[t]:,}" if line.get(t) else "·" for t in terms)] for step, line in record["books"].items()]
    console.print()
    console.print(simple("Books", [("step", "left"), *((term, "right") for term in terms)], rows))
    if record["reasons"]:
        rows = [[each["step"], each["reason"], f"{each['records']:,}"] for each in record["reasons"]]
        console.print()
        console.print(simple("Rejected", [("step", "left"), ("reason", "left"), ("records", "right")], rows))
    if record["quality"]:
        console.print()
        console.print(quality_table(record["quality"]))
