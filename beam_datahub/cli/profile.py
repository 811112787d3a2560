"""`profile`: what the columns of data hold."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import set_option

if TYPE_CHECKING:
    from beam_datahub.runtime.profiling import DataProfile

_DETAILS_OF = 3
_SPEC_BYTES = 1 << 20


@click.command(short_help="Show what the columns of data hold.")
@click.argument("data")
@set_option
@click.option("--step", "steps", multiple=True, help="Of a spec: only what came of this source, step or destination. Repeatable.")
@click.option("--columns", help="Only these columns, separated by commas.")
@click.option("--connector", help="Of a file: the connector, where its name does not tell.")
@click.option("--limit", type=click.IntRange(min=1), help="Read no more than this many records of each file.")
@click.option("--details", is_flag=True, help="Show quantiles, frequent values and patterns of each column.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with histograms to this file as well.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
def command(
    data: str,
    parameters: tuple[tuple[str, str], ...],
    steps: tuple[str, ...],
    columns: str | None,
    connector: str | None,
    limit: int | None,
    details: bool,
    html: str | None,
    as_json: bool,
) -> None:
    """Show what the columns of DATA hold: nulls, distinct values, ranges, distributions, frequent values, patterns.

    DATA is a file, a folder or a glob that a connector reads, or a spec. A spec runs without writing anything; shown is what
    its sources gave and what its destinations would be given. Everything is read, nothing is sampled.
    """
    from beam_datahub.cli.session import out, session

    session().as_json = as_json
    chosen = tuple(name.strip() for name in columns.split(",") if name.strip()) if columns is not None else None
    found = _of_spec(data, parameters, steps, chosen, limit) if is_spec(data) else [_of_data(data, connector, chosen, limit)]
    summaries = [_summary(each) for each in found]
    if html is not None:
        _write_page(html, data, summaries)
    if as_json:
        click.echo(json.dumps({"of": data, "profiles": summaries}, ensure_ascii=False, allow_nan=False))
        return
    from beam_datahub.cli.profile_view import print_profile

    console = out()
    for number, summary in enumerate(summaries):
        if number:
            console.print()
        few = chosen is not None and len(summary["columns"]) <= _DETAILS_OF
        print_profile(console, summary["name"], summary, details=details or few)
        if summary["rejected"]:
            console.print(f"{summary['rejected']:,} records could not be read and are left out", style="yellow")


def is_spec(data: str) -> bool:
    """Whether `data` names an integration rather than data."""
    from beam_datahub.cli.specs import INTEGRATION_FILES

    if os.path.isdir(data):
        return any(os.path.isfile(os.path.join(data, name)) for name in INTEGRATION_FILES)
    if data.lower().endswith((".yaml", ".yml")):
        return True
    if not data.lower().endswith(".json") or not os.path.isfile(data) or os.path.getsize(data) > _SPEC_BYTES:
        return False
    try:
        with open(data, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError:
        return False
    return isinstance(found, dict) and "name" in found and not {"source", "sources"}.isdisjoint(found)


def _of_data(data: str, connector: str | None, columns: tuple[str, ...] | None, limit: int | None) -> DataProfile:
    from beam_datahub.cli.init import connector_for
    from beam_datahub.cli.session import err
    from beam_datahub.runtime.memory import reuse_batches
    from beam_datahub.runtime.profiling import profile_data

    reuse_batches()
    name = connector or connector_for(data)
    console = err()
    if not console.is_terminal:
        return profile_data(data, name, data, columns=columns, limit=limit)
    with console.status("reading …") as status:
        return profile_data(data, name, data, columns=columns, limit=limit, watch=lambda rows: status.update(f"{rows:,} rows"))


def _summary(found: DataProfile) -> dict[str, Any]:
    from beam_datahub.kernels.profiling.summary import summarise

    return {"name": found.name, "rejected": found.rejected, **summarise(found.profile)}


def _of_spec(
    spec: str,
    parameters: tuple[tuple[str, str], ...],
    steps: tuple[str, ...],
    columns: tuple[str, ...] | None,
    limit: int | None,
) -> list[DataProfile]:
    from dataclasses import replace

    from beam_datahub.cli.specs import dead_letter_folder, opened, planned
    from beam_datahub.errors import UnknownName
    from beam_datahub.runtime.beam_import import import_beam, needs_cloud
    from beam_datahub.spec import ProfileSpec

    document = opened(spec, parameters)
    known = document.integration.ids
    for step in steps:
        if step not in known and step.partition(".")[0] not in known:
            raise UnknownName("source, step or destination", step, known)
    wanted = ProfileSpec(steps=steps or None, columns=columns, values=None, drift=None)
    document = document.changed(profile=wanted)
    import_beam(cloud=needs_cloud(document))
    from beam_datahub.runtime.memory import reuse_batches
    from beam_datahub.runtime.profiling import profile_plan

    reuse_batches()
    plan = planned(document, limit=limit, dead_letter_folder=dead_letter_folder(document))
    found = profile_plan(replace(plan, rules=()))
    return found


def _write_page(path: str, title: str, summaries: list[dict[str, Any]]) -> None:
    from beam_datahub.errors import TargetUnusable
    from beam_datahub.runtime.profile_page import profile_page

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(profile_page(title, {each["name"]: each for each in summaries}))
    except OSError as error:
        raise TargetUnusable(f"'{path}' cannot be written: {error.strerror}") from error
