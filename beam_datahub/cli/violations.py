"""`violations`: the quality rules that runs broke, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from beam_datahub.cli.moments import Moment
from beam_datahub.cli.options import Listing, json_option, store_option

_STATUSES = ("open", "acknowledged", "resolved", "false_positive")


@click.group(cls=Listing, short_help="List quality violations, and decide on them.")
def command() -> None:
    """List the quality rules and expectations that runs broke, show one, and say what became of it.

    Without a command, open violations are listed.
    """


@command.command("list", short_help="The newest violations.")
@click.option("--integration", help="Only those of this integration.")
@click.option("--run", help="Only those of this run.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([*_STATUSES, "all"]), help="Of this status; open ones if not given."
)
@click.option(
    "--severity", "severities", multiple=True, type=click.Choice(("low", "medium", "high", "critical")), help="Of this severity."
)
@click.option("--since", type=Moment(), help="Only those since then: 2025-03-01, 12h, 7d.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@store_option
@json_option
def list_some(
    integration: str | None,
    run: str | None,
    statuses: tuple[Any, ...],
    severities: tuple[Any, ...],
    since: datetime | None,
    limit: int,
    store: str | None,
    as_json: bool,
) -> None:
    """List the newest violations."""
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    wanted = None if "all" in statuses or (run and not statuses) else list(statuses) or ["open"]
    with opened_store(store) as link:
        run_id = link.reader.runs.get(run).run_id if run is not None else None
        found = link.reader.violations.find(
            integration=integration,
            run_id=run_id,
            status=wanted,
            severity=list(severities) or None,
            since=since,
            limit=limit,
        )
    if as_json:
        click.echo(json.dumps([each.__dict__ for each in found], default=str, ensure_ascii=False))
        return
    if not found:
        click.echo("no violations")
        return
    heads = [("no.", "right"), ("integration", "left"), ("rule", "left"), ("severity", "left"), ("status", "left")]
    heads += [("failed", "right"), ("found", "left")]
    rows = []
    for each in found:
        state = each.status.replace("_", " ")
        rows.append([str(each.id), each.integration, each.rule, each.severity, state, f"{each.failed:,}", ago(each.created_at)])
    out().print(simple(None, heads, rows))


@command.command(short_help="One violation.")
@click.argument("number", type=int)
@store_option
@json_option
def show(number: int, store: str | None, as_json: bool) -> None:
    """Show the violation with NUMBER, where its failing rows are, and who decided what on it."""
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.violations.get(number)
        history = link.reader.journal.audit(kind="violation", name=str(number))
    if as_json:
        click.echo(json.dumps({**found.__dict__, "history": [each.__dict__ for each in history]}, default=str))
        return
    facts = [
        ("violation", str(found.id)),
        ("rule", f"{found.rule} ({found.kind}), step {found.step}"),
        ("run", f"{found.run_id} of {found.integration}"),
        ("severity", f"{found.severity}, action {found.action}"),
        ("status", found.status.replace("_", " ")),
        ("message", found.message),
        ("records", f"{found.failed:,} of {found.checked:,} failed"),
        ("rows", found.samples or "·"),
    ]
    for name, text in facts:
        click.echo(f"{name:<10} {text}")
    for each in reversed(history):
        note = f": {each.details['note']}" if each.details.get("note") else ""
        click.echo(f"{day_and_time(each.at)} {each.action.replace('_', ' ')} by {each.who}{note}")


@command.command(short_help="How often each rule was broken, and what became of it.")
@click.option("--integration", help="Only rules of this integration.")
@store_option
@json_option
def rules(integration: str | None, store: str | None, as_json: bool) -> None:
    """Show the rules that were ever broken: how often, how many records failed, and how many violations are still open.

    Violations of runs that were pruned do not count.
    """
    from beam_datahub.cli.moments import ago
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.views.quality_dashboard(integration)
    if as_json:
        click.echo(json.dumps([each.__dict__ for each in found], default=str, ensure_ascii=False))
        return
    if not found:
        click.echo("no rule was broken yet")
        return
    heads = [("integration", "left"), ("rule", "left"), ("severity", "left"), ("broken", "right"), ("open", "right")]
    heads += [("records", "right"), ("last", "left")]
    rows = [
        [
            each.integration,
            each.rule,
            each.severity,
            *(f"{count:,}" if count else "·" for count in (each.violations, each.open, each.records_failed)),
            ago(each.last_at),
        ]
        for each in found
    ]
    out().print(simple(None, heads, rows))


def _decision(name: str, status: str, help_text: str) -> Callable[..., None]:
    @command.command(name, short_help=help_text)
    @click.argument("numbers", type=int, nargs=-1, required=True, metavar="NUMBER...")
    @click.option("--note", help="Why; it is kept with the violation.")
    @store_option
    def decide(numbers: tuple[int, ...], note: str | None, store: str | None) -> None:
        from beam_datahub.runtime.store_link import later, opened_store

        with opened_store(store, is_there=True) as link:
            calls = [later("violations.decide", number, status, note=note) for number in numbers]
            for found in link.together(calls):
                click.echo(f"{found.id}: {found.rule} is {found.status.replace('_', ' ')}")

    decide.help = f"{help_text} All of them or, where one is not there, none."
    return decide


_decision("acknowledge", "acknowledged", "Say that somebody looks after violations.")
_decision("resolve", "resolved", "Say that what caused violations is mended.")
_decision("false-positive", "false_positive", "Say that violations were none.")
