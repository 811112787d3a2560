"""`integrations`: the integrations that are registered in the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Listing, json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.store.view_records import IntegrationHealth

_WIDE = 100


@click.group(cls=Listing, short_help="List the registered integrations, show or remove one.")
def command() -> None:
    """List the integrations that `apply` has registered, show one, or remove it; see how they do and what they use.

    Without a command, they are listed.
    """


@command.command("list", short_help="The registered integrations and how they do.")
@click.option("--all", "removed", is_flag=True, help="Also those that were removed.")
@store_option
@json_option
def list_all(store: str | None, as_json: bool, removed: bool) -> None:
    """List the registered integrations with their newest version and their last run."""
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.integrations.all(removed=removed)
        health = {each.integration: each for each in link.reader.views.integration_health()}
    if as_json:
        rows = [{**each.__dict__, "health": health[each.name].__dict__ if each.name in health else None} for each in found]
        _echo(rows)
        return
    if not found:
        click.echo("no integration is registered; `beam-datahub apply SPEC` registers one")
        return
    table = []
    for each in found:
        state = health.get(each.name)
        last = f"{state.last_status} {ago(state.last_started_at)}" if state is not None and state.last_status else "·"
        runs = f"{state.runs:,}" if state is not None else "·"
        name = each.name if each.removed_at is None else f"{each.name} (removed)"
        table.append([name, str(each.version), runs, last, str(state.open_violations) if state is not None else "·"])
    heads = [("integration", "left"), ("version", "right"), ("runs", "right"), ("last run", "left"), ("violations", "right")]
    out().print(simple(None, heads, table))


@command.command(short_help="One integration.")
@click.argument("name")
@store_option
@json_option
@click.option("--version", type=click.IntRange(min=1), help="An earlier version.")
@click.option("--spec", "text", is_flag=True, help="Print the spec as it was registered, and nothing else.")
def show(name: str, store: str | None, as_json: bool, version: int | None, text: bool) -> None:
    """Show the integration NAME: its steps, its last runs, and its open violations."""
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.cli.runs import table_of
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        integration = link.reader.integrations.get(name)
        wanted = link.reader.integrations.version(name, version)
        steps = link.reader.integrations.steps(name, wanted.version)
        runs = link.reader.runs.find(integration=name, limit=5)
        violations = link.reader.violations.find(integration=name, status="open")
    if text:
        click.echo(wanted.spec, nl=not wanted.spec.endswith("\n"))
        return
    if as_json:
        _echo({**integration.__dict__, "steps": [each.__dict__ for each in steps], "runs": [each.__dict__ for each in runs]})
        return
    console = out()
    click.echo(f"{name}, version {wanted.version} of {day_and_time(wanted.created_at)} by {wanted.created_by}")
    if integration.description:
        click.echo(integration.description)
    click.echo(f"{wanted.path or 'no file'}\n")
    rows = [[each.id, each.role.replace("_", " "), each.type, ", ".join(each.inputs)] for each in steps]
    console.print(simple("Steps", [("step", "left"), ("role", "left"), ("type", "left"), ("input", "left")], rows))
    if runs:
        console.print()
        console.print(table_of(runs, "Last runs", with_integration=False))
    if violations:
        click.echo(f"\n{len(violations)} open violations: beam-datahub violations list --integration {name}")


@command.command(short_help="How integrations do, over all their runs.")
@click.argument("name", required=False)
@store_option
@json_option
def health(name: str | None, store: str | None, as_json: bool) -> None:
    """Show how all integrations that ever ran do, or the one with NAME: how their runs ended, and since when they fail.

    Runs that were pruned do not count.
    """
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import duration, simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.views.integration_health(name)
    if as_json:
        _echo([each.__dict__ for each in found])
        return
    if not found:
        click.echo("nothing has run yet" if name is None else f"'{name}' has not run yet")
        return
    console = out()
    wide = console.width >= _WIDE
    heads = [("integration", "left"), ("runs", "right"), ("completed", "right"), ("failed", "right")]
    heads += [("stopped", "right"), ("rejected", "right"), ("mean", "right")] if wide else []
    heads += [("state", "left"), ("violations", "right")]
    rows = []
    for each in found:
        counts = [each.runs, each.completed + each.completed_with_errors, each.failed, *([each.cancelled] if wide else [])]
        share = f"{each.records_rejected / each.records_read:.1%}" if each.records_read and each.records_rejected else "·"
        mean = "·" if each.mean_seconds is None else duration(each.mean_seconds)
        cells = [each.integration, *(f"{count:,}" if count else "·" for count in counts), *([share, mean] if wide else [])]
        rows.append([*cells, _state(each), f"{each.open_violations:,}" if each.open_violations else "·"])
    console.print(simple(None, heads, rows))


def _state(health: IntegrationHealth) -> str:
    from beam_datahub.cli.moments import ago

    if health.running:
        return "running"
    if health.failures_since_success:
        last = f"last success {ago(health.last_success_at)}" if health.last_success_at else "no success yet"
        return f"failing ({health.failures_since_success:,}), {last}"
    return f"fine {ago(health.last_success_at)}" if health.last_success_at else "·"


@command.command("connectors", short_help="Which connectors the runs used.")
@store_option
@json_option
def connectors(store: str | None, as_json: bool) -> None:
    """Show which connectors the runs used, to read and to write, how often and for how many records."""
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.views.connector_use()
    if as_json:
        _echo([each.__dict__ for each in found])
        return
    if not found:
        click.echo("nothing has run yet")
        return
    heads = [("connector", "left"), ("as", "left"), ("integrations", "right"), ("runs", "right"), ("failed", "right")]
    heads += [("records", "right"), ("last used", "left")]
    rows = [
        [
            each.connector,
            each.role.replace("_", " "),
            *(f"{count:,}" if count else "·" for count in (each.integrations, each.runs, each.failed_runs, each.records)),
            ago(each.last_used_at),
        ]
        for each in found
    ]
    out().print(simple(None, heads, rows))


@command.command(short_help="The versions of an integration.")
@click.argument("name")
@store_option
@json_option
def versions(name: str, store: str | None, as_json: bool) -> None:
    """List the versions of the integration NAME, the newest first."""
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.integrations.versions(name)
    if as_json:
        _echo([each.__dict__ for each in found])
        return
    heads = [("version", "right"), ("registered", "left"), ("by", "left"), ("fingerprint", "left")]
    rows = [[str(each.version), day_and_time(each.created_at), each.created_by, each.fingerprint[:12]] for each in found]
    out().print(simple(None, heads, rows))


@command.command(short_help="Take an integration out of the list.")
@click.argument("name")
@store_option
def remove(name: str, store: str | None) -> None:
    """Take the integration NAME out of the list; its versions and runs stay, and `apply` brings it back."""
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store, is_there=True) as link:
        link.writer.integrations.remove(name)
    click.echo(f"{name}: removed; its runs stay")


def _echo(value: Any) -> None:
    click.echo(json.dumps(value, default=str, ensure_ascii=False))
