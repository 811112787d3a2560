"""`export`: hands out the records of one person from what integrations wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from beam_datahub.cli.data_subject import ended, prepared, subject_options, write_whole

if TYPE_CHECKING:
    from beam_datahub.runtime.subject_places import Place


@click.command(short_help="Hand out the records of one person.")
@subject_options
@click.option("--to", default="-", show_default=True, help="The file for the records, as JSON lines; `-` is standard output.")
def command(
    named: tuple[str, ...],
    every: bool,
    keys: tuple[tuple[str, str], ...],
    mentions: bool,
    parameters: tuple[tuple[str, str], ...],
    store: str | None,
    report_file: str | None,
    as_json: bool,
    to: str,
) -> None:
    """Hand out all records of one person in what the integrations SPEC (or those registered as NAME) wrote.

    Each line is {"integration": …, "place": …, "record": {…}}; the report goes to standard error. `--subject` and what is
    looked through are as in `erase`.

    Exit codes: 0 all places were looked through; 1 some cannot be; 4 some failed.
    """
    from beam_datahub.cli.session import session
    from beam_datahub.runtime.subject_request import perform

    session().as_json = as_json
    if as_json and to == "-":
        raise click.UsageError("With --json, standard output takes the report: give the records a file with --to.")
    lines: list[bytes] = []

    def take(place: Place, record: bytes) -> None:
        head = json.dumps({"integration": place.integration, "place": place.name}, ensure_ascii=False)[:-1]
        try:
            json.loads(record)
        except ValueError:
            record = json.dumps(record.decode(errors="replace")).encode()
        lines.append(f'{head}, "record": '.encode() + record.strip() + b"}\n")

    with prepared(named, every, keys, parameters, store, mentions=mentions, settles=False) as (found, location, link, _):
        outcome = perform(found, keys, location, take=take)
        data = b"".join(lines)
        if to == "-":
            click.echo(data, nl=False)
        else:
            write_whole(to, data)
        ended(outcome, link, report_file=report_file, as_json=as_json)
