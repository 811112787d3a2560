"""`rejects`: the rejected records of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import json_option, store_option

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.runtime.store_link import StoreHere
    from beam_datahub.store.records import Run


@click.command(short_help="Show the rejected records of a run.")
@click.argument("run")
@click.option("--reason", "reasons", multiple=True, help="Only records rejected for this reason. Repeatable.")
@click.option("--step", "steps", multiple=True, help="Only records that this step rejected. Repeatable.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=None, help="How many records to show: 5, with --json all, if not given."
)
@click.option("--unseal", is_flag=True, help="Open sealed originals and messages with the store's key.")
@store_option
@json_option
def command(
    run: str, reasons: tuple[str, ...], steps: tuple[str, ...], limit: int | None, unseal: bool, store: str | None, as_json: bool
) -> None:
    """Show which records RUN rejected and why, by step, reason and column, and the first of them.

    RUN is a run's id, the beginning or end of it, or `last`. With --json, each record is one line.
    """
    from beam_datahub.cli.session import out, session
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.rejects import as_records, check_names, chosen, groups, unsealed
    from beam_datahub.runtime.store_link import opened_store

    session().as_json = as_json
    with opened_store(store) as link:
        found = link.reader.runs.get(run)
        letters = letters_of(link, found)
        replayed = len(link.reader.runs.replayed(found.run_id))
        if unseal:
            letters = unsealed(letters, link.location)
    check_names(letters, reasons, steps)
    letters = chosen(letters, reasons, steps)
    if as_json:
        for record in as_records(letters if limit is None else letters.slice(0, limit)):
            click.echo(json.dumps(record, default=str, ensure_ascii=False))
        return
    if not letters.num_rows:
        click.echo(f"{found.run_id}: no record was rejected")
        return
    limit = 5 if limit is None else limit
    console = out()
    count = f"{letters.num_rows:,} rejected record{'s' * (letters.num_rows != 1)}"
    click.echo(f"{found.run_id} of {found.integration}: {count}" + (f", {replayed:,} replayed" if replayed else ""))
    click.echo()
    rows = [[g.step, g.reason, g.column or "·", f"{g.records:,}", _cut(_shown(g.example), 70)] for g in groups(letters)]
    heads = [("step", "left"), ("reason", "left"), ("column", "left"), ("records", "right"), ("for example", "left")]
    console.print(simple(None, heads, rows))
    for letter in as_records(letters.slice(0, limit)):
        click.echo()
        _show(letter)
    if letters.num_rows > limit > 0:
        click.echo(f"\n{letters.num_rows - limit:,} more: --limit {letters.num_rows}")


def letters_of(link: StoreHere, run: Run) -> pa.Table:
    """The dead letter of a run. Raises UnknownRun where the run has not ended with one."""
    from beam_datahub.errors import UnknownRun
    from beam_datahub.runtime.rejects import read_dead_letter

    plan = link.reader.runs.document(run.run_id, "plan") or {}
    report = link.reader.runs.document(run.run_id, "report")
    if report is None:
        raise UnknownRun(
            f"the run {run.run_id} is {run.status}: it has left no dead letter",
            hint=f"`beam-datahub runs show {run.run_id}` tells more",
        )
    locations = ((report.get("written") or {}).get("dead_letter") or {}).get("locations") or ()
    return read_dead_letter(run.run_id, plan.get("dead_letter"), locations)


def _show(letter: dict[str, Any]) -> None:
    from beam_datahub.runtime.rejects import pretty

    name = (letter["file"] or letter["source"] or "behind a shuffle").rpartition("/")[2]
    place = f"{name}:{letter['line']}" if letter["line"] is not None else name
    click.secho(f"{letter['step']}  {letter['reason']}  {place}", bold=True)
    click.echo(f"  {_shown(letter['message'])}")
    click.echo(f"  {_cut(_shown(pretty(letter['original'])), 500)}")


def _shown(text: str | None) -> str:
    from beam_datahub.runtime.rejects import is_sealed
    from beam_datahub.security import redact

    return "(sealed; --unseal opens it)" if is_sealed(text) else redact(text or "")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
