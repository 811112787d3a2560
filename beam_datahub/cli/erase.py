"""`erase`: removes the records of one person from what integrations wrote."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from beam_datahub.cli.data_subject import ended, prepared, subject_options


@click.command(short_help="Remove the records of one person from destinations.")
@subject_options
@click.option("--dry-run", is_flag=True, help="Say what would be removed; change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(
    named: tuple[str, ...],
    every: bool,
    keys: tuple[tuple[str, str], ...],
    mentions: bool,
    parameters: tuple[tuple[str, str], ...],
    store: str | None,
    report_file: str | None,
    as_json: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove all records of one person from what the integrations SPEC (or those registered as NAME) wrote.

    `--subject email=ada@example.org` names the person by a column of a source. Lineage tells in which columns of which
    destinations the value stands, also where it was hashed or made a token. The dead letters, violations and reports of runs
    are looked through as well. A destination is changed as a whole or not at all.

    Exit codes: 0 all is removed; 1 some places cannot be searched or changed; 4 some failed.
    """
    from beam_datahub.cli.session import session
    from beam_datahub.runtime.subject_request import perform, run_records

    session().as_json = as_json
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("Nobody can be asked here: take --yes, or --dry-run to see what there is.")
    with prepared(named, every, keys, parameters, store, mentions=mentions, settles=not dry_run) as (
        found,
        location,
        link,
        names,
    ):
        if not (dry_run or yes):
            seen = perform(found, keys, location, erase=True, dry_run=True)
            total = sum(place.found for place in seen.places)
            for place in (place for place in seen.places if place.found):
                click.echo(f"{place.integration}, {place.name}: {place.found:,} in {', '.join(place.where[:3])}")
            click.confirm(f"Remove these {total:,} records for good?", abort=True)
        outcome = perform(found, keys, location, erase=True, dry_run=dry_run)
        there = link if location.exists() else None
        left = tuple(run_records(names, keys, there, erase=not dry_run))
        ended(replace(outcome, places=(*outcome.places, *left)), link, report_file=report_file, as_json=as_json)
