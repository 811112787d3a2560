"""`state`: how far the incremental sources have been read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Listing, json_option, set_option, store_option

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import StoreHere


class _Shown(Listing):
    default = "show"


@click.group(cls=_Shown, short_help="Show, set or reset how far incremental sources were read.")
def command() -> None:
    """Show how far the incremental sources of integrations have been read, set where the next run goes on, or begin anew.

    Without a command, it is shown.
    """


@command.command(short_help="Where the next run goes on.")
@click.argument("integration", required=False)
@set_option
@store_option
@json_option
def show(integration: str | None, parameters: tuple[tuple[str, str], ...], store: str | None, as_json: bool) -> None:
    """Show the cursors of all integrations, or of INTEGRATION: its name, or the file of its spec."""
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.compiler.settled import SEAM
    from beam_datahub.runtime.store_link import opened_store

    integration = None if integration is None else _name_of(integration, parameters)
    with opened_store(store) as link:
        found = [each for each in link.reader.cursors.find(integration) if each.partition != SEAM]
    if as_json:
        facts = [{**each.__dict__, "value": each.value["last"], "column": each.value["column"]} for each in found]
        click.echo(json.dumps(facts, default=str, ensure_ascii=False))
        return
    if not found:
        click.echo(f"no incremental source of '{integration}' has been read yet" if integration else "nothing was read yet")
        return
    rows = []
    for each in found:
        moved = ago(each.updated_at) if each.updated_at is not None else "·"
        source = f"{each.source}, partition {each.partition}" if each.partition else each.source
        last = str(each.value["last"])
        rows.append([each.integration, source, each.value["column"], last, moved, each.run_id or "by hand"])
    heads = [(name, "left") for name in ("integration", "source", "column", "read up to", "moved", "by run")]
    out().print(simple(None, heads, rows))


@command.command("set", short_help="Set where the next run goes on.")
@click.argument("spec", type=click.Path())
@click.argument("source")
@click.argument("value")
@click.option("--partition", default="", help="The partition of a log whose position it is.")
@set_option
@store_option
def set_value(
    spec: str, source: str, value: str, partition: str, parameters: tuple[tuple[str, str], ...], store: str | None
) -> None:
    """Let the next run of SPEC read SOURCE from VALUE on, inclusive; SPEC is a file or the name of a registered integration."""
    import beam_datahub
    from beam_datahub.cli.registered import spec_of
    from beam_datahub.cli.specs import planned
    from beam_datahub.runtime.increments import cursor_at
    from beam_datahub.runtime.store_link import StoreHere, locate

    beam_datahub.documents_options = False
    location = locate(store)
    document, _, link = spec_of(spec, parameters, location)
    plan = planned(document, outputs=False)
    link = link or StoreHere(location)
    try:
        cursor = cursor_at(link, plan, source, value, partition)
    finally:
        link.close()
    where = f", partition {partition}," if partition else ""
    click.echo(f"the next run of {plan.name} reads {source}{where} from {cursor.value['column']} = {cursor.value['last']} on")


@command.command(short_help="Remove what sources keep at their systems.")
@click.argument("spec", type=click.Path())
@click.argument("source", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@set_option
@store_option
def drop(spec: str, source: str | None, yes: bool, parameters: tuple[tuple[str, str], ...], store: str | None) -> None:
    """Remove what the sources of SPEC (or SOURCE alone) keep at their systems, as replication slots, and forget how far they
    were read. Do so before an integration is given up: a slot that nobody reads lets its server keep ever more of its log.
    """
    from beam_datahub.cli.registered import spec_of
    from beam_datahub.runtime.increments import dropped
    from beam_datahub.runtime.store_link import StoreHere, locate

    location = locate(store)
    document, _, link = spec_of(spec, parameters, location)
    name = document.integration.name
    if not yes:
        click.confirm(f"{name} cannot go on from where it is: its next run reads everything again. Go on?", abort=True)
    link = link or StoreHere(location)
    try:
        removed = dropped(document, source, link)
    finally:
        link.close()
    for each in removed:
        click.echo(f"removed {each}")
    if not removed:
        click.echo("nothing was there to be removed")


@command.command(short_help="Forget how far sources were read.")
@click.argument("integration")
@click.argument("source", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@set_option
@store_option
def reset(integration: str, source: str | None, yes: bool, parameters: tuple[tuple[str, str], ...], store: str | None) -> None:
    """Forget how far the sources of INTEGRATION (or SOURCE alone) were read: the next run reads all of them again.

    INTEGRATION is its name, or the file of its spec.
    """
    from beam_datahub.errors import UnknownName
    from beam_datahub.runtime.store_link import StoreHere, locate

    integration = _name_of(integration, parameters)
    link = StoreHere(locate(store))
    try:
        _reset(link, integration, source, UnknownName, yes=yes)
    finally:
        link.close()


def _name_of(named: str, parameters: Iterable[tuple[str, str]]) -> str:
    """The name of an integration, where that may be its spec's file."""
    from beam_datahub.cli.specs import opened

    is_file = named.endswith((".yaml", ".yml", ".json")) or os.path.isfile(named)
    return opened(named, parameters).integration.name if is_file else named


def _reset(link: StoreHere, integration: str, source: str | None, unknown: Any, *, yes: bool) -> None:
    found = link.reader.cursors.find(integration, source)
    if not found:
        known = sorted({each.source if source else each.integration for each in link.reader.cursors.find(None)})
        raise unknown("incremental source" if source else "integration with incremental sources", source or integration, known)
    names = ", ".join(dict.fromkeys(each.source for each in found))
    if not yes:
        click.confirm(f"the next run of {integration} will read all of {names} again: go on?", abort=True)
    link.writer.cursors.reset(integration, source)
    click.echo(f"the next run of {integration} reads all of {names}")
