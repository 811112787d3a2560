"""`events`: what the hub tells others of its runs and integrations."""

from __future__ import annotations

import json
from typing import Any

import click

from beam_datahub.cli.options import Listing, json_option, store_option


@click.group(cls=Listing, short_help="List the hub's own events, and send those that wait.")
def command() -> None:
    """List what the hub tells others of its runs and integrations, show one event, or send those that wait.

    Events go where .beam-datahub/events.yaml of the project says: to topics or queues of a stored connection. Without a command,
    the newest events are listed.
    """


@command.command("list", short_help="The newest events.")
@click.option("--type", "kind", help="Only those of this type, such as sync.completed.")
@click.option("--waiting", is_flag=True, help="Only those that were not sent.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@store_option
@json_option
def list_some(kind: str | None, waiting: bool, limit: int, store: str | None, as_json: bool) -> None:
    """List the newest events: those that wait, and those that were sent in the last seven days."""
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.errors import UnknownName
    from beam_datahub.runtime.hub_events import TYPES
    from beam_datahub.runtime.store_link import opened_store

    if kind is not None and kind not in TYPES:
        raise UnknownName("type of event", kind, TYPES)
    with opened_store(store) as link:
        found = link.reader.events.find(kind=kind, is_waiting=waiting, limit=limit)
    if as_json:
        click.echo(json.dumps([each.__dict__ for each in found], default=str, ensure_ascii=False))
        return
    if not found:
        click.echo("no events")
        return
    rows = []
    for each in found:
        sent = "waits" if each.sent_at is None else ago(each.sent_at)
        rows.append((each.event_id[:8], each.type, str(each.document["subject"]), ago(each.created_at), sent))
    names: list[Any] = [("event", "left"), ("type", "left"), ("about", "left"), ("happened", "left"), ("sent", "left")]
    out().print(simple(None, names, rows))


@command.command("show", short_help="One event as it is sent.")
@click.argument("event")
@store_option
def show(event: str, store: str | None) -> None:
    """Show the event of the id EVENT, or of the beginning of one, as JSON."""
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.events.get(event)
    click.echo(json.dumps(found.document, indent=2, ensure_ascii=False))


@command.command("send", short_help="Send the events that wait.")
@store_option
@json_option
def send(store: str | None, as_json: bool) -> None:
    """Send the events that wait in the store, as each run does at its end."""
    from beam_datahub.cli.session import session
    from beam_datahub.errors import MissingValue, TargetUnusable
    from beam_datahub.runtime.event_bus import bus_settings, send_waiting, settings_file
    from beam_datahub.runtime.store_link import opened_store

    session().as_json = as_json
    if bus_settings() is None:
        raise MissingValue(f"there is no {settings_file()}, which says where events go", hint="docs/events.md tells how")
    with opened_store(store, is_there=True) as link:
        done = send_waiting(link, link.location)
    if done.problem is not None:
        hint = f"look at {settings_file()} and its connection: beam-datahub connections list"
        raise TargetUnusable(f"{done.count} events were sent, the others wait: {done.problem}", hint=hint)
    click.echo(json.dumps({"sent": done.count}) if as_json else f"{done.count} sent")
