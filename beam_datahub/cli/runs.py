"""`runs`: what ran, when, and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.follow import watch
from beam_datahub.cli.moments import Moment
from beam_datahub.cli.options import Listing, json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import StoreLink
    from beam_datahub.store.records import Run

_STATUSES = ("running", "completed", "completed_with_errors", "failed", "cancelled")
_WIDE = 100
# How often a run that is followed is looked at.
_LOOK_SECONDS = 1.0
_WORDS = {"completed_with_errors": "with errors"}


@click.group(cls=Listing, short_help="List runs, show, stop or resume one.")
def command() -> None:
    """List the runs of the store, show one and its log, watch it, stop it, or run it again.

    RUN is a run's id, the beginning or end of it, or `last`. Without a command, runs are listed.
    """


@command.command("list", short_help="The newest runs.")
@click.argument("integration", required=False)
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only runs of this status. Repeatable.")
@click.option("--kind", type=click.Choice(("full", "incremental", "partial")), help="Only runs of this kind.")
@click.option("--since", type=Moment(), help="Only runs that began since then: 2025-03-01, 12h, 7d.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs to list.")
@store_option
@json_option
def list_some(
    integration: str | None,
    statuses: tuple[Any, ...],
    kind: Any,
    since: datetime | None,
    limit: int,
    store: str | None,
    as_json: bool,
) -> None:
    """List the newest runs, of all integrations or of one."""
    from beam_datahub.cli.session import out
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.runs.find(integration=integration, status=list(statuses) or None, kind=kind, since=since, limit=limit)
    if as_json:
        click.echo(json.dumps([each.__dict__ for each in found], default=str, ensure_ascii=False))
    elif not found:
        click.echo("there is no such run" if integration or statuses or kind or since else "nothing has run yet")
    else:
        out().print(table_of(found, None))


def table_of(runs: Sequence[Run], title: str | None, *, with_integration: bool = True) -> Any:
    """Runs as a table."""
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import duration, simple

    heads = [("run", "left"), ("of", "left"), ("status", "left"), ("started", "left"), ("took", "right")]
    heads += [("read", "right"), ("rejected", "right")]
    rows = [
        [
            each.run_id,
            each.integration,
            _WORDS.get(each.status, each.status) + ("" if each.cause == "manual" else f", {each.cause}"),
            day_and_time(each.started_at)[5:-3],
            "·" if each.seconds is None else duration(each.seconds),
            f"{each.read:,}",
            f"{each.rejected:,}" if each.rejected else "·",
        ]
        for each in runs
    ]
    if not with_integration:
        heads, rows = [heads[0], *heads[2:]], [[row[0], *row[2:]] for row in rows]
    if out().width < _WIDE:
        # An id is there to be copied, and must not fold.
        place = [name for name, _ in heads].index("took")
        heads, rows = heads[:place] + heads[place + 1 :], [row[:place] + row[place + 1 :] for row in rows]
    return simple(title, heads, rows)


@command.command(short_help="One run: its books, and where its output is.")
@click.argument("run")
@store_option
@json_option
def show(run: str, store: str | None, as_json: bool) -> None:
    """Show RUN: how it ended, what each step did, and where its output and its rejected records are."""
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        show_one(link, link.reader.runs.get(run), as_json=as_json)


def show_one(link: StoreLink, found: Run, *, as_json: bool) -> None:
    """Show all that the store has of a run."""
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    steps = link.reader.runs.steps(found.run_id)
    report = link.reader.runs.document(found.run_id, "report")
    children = link.reader.runs.children(found.run_id)
    replayed = len(link.reader.runs.replayed(found.run_id))
    metrics = link.reader.journal.metrics(found.run_id)
    if as_json:
        measured = [{"name": each.name, "step": each.step, "value": each.value} for each in metrics]
        facts = {**found.__dict__, "metrics": measured, "steps": [each.__dict__ for each in steps], "report": report}
        click.echo(json.dumps(facts, default=str, ensure_ascii=False))
        return
    speed = next((each.value for each in metrics if each.name == "rows_per_second"), None)
    for name, text in _facts(found, [each.run_id for each in children], replayed, speed):
        click.echo(f"{name:<12} {text}")
    console = out()
    if steps:
        terms = ("read", "taken", "out", "filtered", "rejected", "merged", "added")
        shown = [term for term in terms if any(getattr(each, term) for each in steps)]
        rows = [[each.step, *(f"{getattr(each, term):,}" if getattr(each, term) else "·" for term in shown)] for each in steps]
        click.echo()
        heads = [("step", "left"), *(("in" if term == "taken" else term, "right") for term in shown)]
        console.print(simple("Books", heads, rows))
    written = (report or {}).get("written") or {}
    if written:
        rows = [[step, f"{done['rows']:,}", "\n".join(done["locations"][:3])] for step, done in written.items()]
        click.echo()
        console.print(simple("Output", [("destination", "left"), ("rows", "right"), ("where", "left")], rows))


def _facts(run: Run, children: Sequence[str], replayed: int, speed: float | None) -> list[tuple[str, str]]:
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.cli.tables import duration

    version = "" if run.version is None else f", version {run.version}"
    facts = [("run", run.run_id), ("integration", f"{run.integration}{version}"), ("status", run.status.replace("_", " "))]
    facts.append(("kind", f"{run.kind}, {run.cause}, on {run.engine}"))
    if run.parameters:
        facts.append(("parameters", ", ".join(f"{name}={value}" for name, value in run.parameters.items())))
    if run.error:
        facts.append(("error", f"{run.error.get('reason')} [{run.error.get('code')}]"))
    facts.append(("began", f"{day_and_time(run.started_at)} by {run.user}, process {run.pid} on {run.host}"))
    if run.seconds is not None:
        facts.append(("took", duration(run.seconds) + (f", {speed:,.0f} records/s" if speed else "")))
    facts.append(("records", f"{run.read:,} read, {run.written:,} written, {run.rejected:,} rejected"))
    if replayed:
        facts.append(("replayed", f"{replayed:,} of the rejected records"))
    if run.violations:
        facts.append(("violations", f"{run.violations}: beam-datahub violations list --run {run.run_id}"))
    if run.parent:
        facts.append((f"{run.cause} of", run.parent))
    facts += [("followed by", each) for each in children]
    facts += [(f"{name}", path) for name, path in run.reports.items()]
    return facts


@command.command(short_help="The log of a run.")
@click.argument("run")
@click.option("--level", type=click.Choice(("debug", "info", "warning", "error")), default="info", help="Only from here up.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what it logs until it ends.")
@store_option
@json_option
def logs(run: str, level: str, follow: bool, store: str | None, as_json: bool) -> None:
    """Show what RUN logged. A run that goes on sends its log every 10 seconds."""
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store) as link:
        found = link.reader.runs.get(run)
        if as_json:
            lines = [line.__dict__ for _, line in link.reader.journal.logs(found.run_id, level=level.upper())]
            click.echo(json.dumps(lines, default=str, ensure_ascii=False))
            return
        told, ended = 0, False
        while not ended:
            ended = not follow or link.reader.runs.get(found.run_id).status != "running"
            for number, line in link.reader.journal.logs(found.run_id, level=level.upper(), after=told):
                told = number
                click.echo(f"{day_and_time(line.at)} {line.level:<7} {line.message}")
            if not ended:
                link.writer.runs.recover()
                time.sleep(_LOOK_SECONDS)


command.add_command(watch)


@command.command(short_help="Stop a run that goes on.")
@click.argument("run")
@store_option
def cancel(run: str, store: str | None) -> None:
    """Stop RUN, which another process runs, as Ctrl-C there would: nothing is published, and what it staged is removed."""
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store, is_there=True) as link:
        lost = [each.run_id for each in link.writer.runs.recover()]
        found = link.reader.runs.get(run)
        if found.run_id in lost:
            click.echo(f"{found.run_id}: its process is gone; it is marked as {found.status}")
            return
        asked = link.writer.runs.request_cancel(found.run_id)
    click.echo(f"{asked.run_id}: asked to stop; `beam-datahub runs show {asked.run_id}` tells when it has")


@command.command(short_help="Run a failed or cancelled run again.")
@click.argument("run")
@store_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def resume(run: str, store: str | None, as_json: bool, quiet: bool) -> None:
    """Run the spec of RUN again, just as it was, with the same parameters; RUN has failed or was cancelled.

    A run publishes all or nothing, so it begins from the start, as a new run that names RUN as its parent.
    """
    import beam_datahub
    from beam_datahub.cli.registered import text_of
    from beam_datahub.cli.run import Way, execute, warn
    from beam_datahub.cli.session import session
    from beam_datahub.cli.specs import with_connections
    from beam_datahub.errors import UnknownRun
    from beam_datahub.runtime.increments import is_incremental, span_of
    from beam_datahub.runtime.record import Recorder, RunFacts
    from beam_datahub.runtime.run_id import new_run_id
    from beam_datahub.runtime.store_link import StoreHere, locate

    beam_datahub.documents_options = False
    session().as_json = as_json
    location = locate(store)
    link = StoreHere(location).there()
    link.writer.runs.recover()
    found = link.reader.runs.get(run)
    if found.status not in ("failed", "cancelled"):
        raise UnknownRun(f"the run {found.run_id} is {found.status}: there is nothing to resume")
    if found.cause == "replay":
        raise UnknownRun(f"the run {found.run_id} is a replay", hint=f"replay again: beam-datahub replay {found.parent or 'RUN'}")
    spec = (link.reader.runs.document(found.run_id, "plan") or {}).get("spec") or {}
    if not spec.get("text"):
        raise UnknownRun(f"the spec of run {found.run_id} is not in the store", hint="run its file")
    document, facts = text_of(
        spec["text"], found.integration, spec.get("path"), found.parameters, label=spec.get("path") or found.integration
    )
    document = with_connections(document, location)
    span = span_of(spec)
    if span.facts():
        facts["span"] = span.facts()
    if (limit := spec.get("limit")) is not None:
        facts["limit"] = limit
    again = RunFacts(
        new_run_id(),
        found.integration,
        found.engine,
        kind=found.kind,
        cause="resume",
        parent=found.run_id,
        given={name: str(value) for name, value in found.parameters.items()},
        spec={**facts, "integration": spec.get("integration")},
    )
    goes_on = is_incremental(document)
    turns = goes_on and not span.is_part
    with Recorder(again, location, warn=None if quiet else warn, store=link, settles=goes_on, takes_turns=turns) as recorder:
        execute(document, Way(found.engine, limit=limit, span=span, quiet=quiet, as_json=as_json), again.run_id, recorder)
