"""`replay`: sends the rejected records of a run through the mended integration."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import set_option, store_option

if TYPE_CHECKING:
    from beam_datahub.cli.run import Way
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.runtime.replay import Finished, Replay, Selection
    from beam_datahub.runtime.store_link import Location, StoreHere
    from beam_datahub.spec import SpecDocument
    from beam_datahub.store.records import Run


@click.command(short_help="Send rejected records through the mended integration.")
@click.argument("run")
@click.option("--reason", "reasons", multiple=True, help="Only records rejected for this reason. Repeatable.")
@click.option("--step", "steps", multiple=True, help="Only records that this step rejected. Repeatable.")
@click.option("--spec", type=click.Path(), help="The mended spec; without it the run's own file as it is now, or newest version.")
@set_option
@click.option("--skip", multiple=True, metavar="DESTINATION", help="Leave this destination out. Repeatable.")
@click.option(
    "--append", multiple=True, metavar="DESTINATION", help="Add to this one, although a whole run made its rows. Repeatable."
)
@click.option("--dry-run", is_flag=True, help="Say what would be replayed; change nothing.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def command(
    run: str,
    reasons: tuple[str, ...],
    steps: tuple[str, ...],
    spec: str | None,
    parameters: tuple[tuple[str, str], ...],
    skip: tuple[str, ...],
    append: tuple[str, ...],
    dry_run: bool,
    store: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Send the original records that RUN rejected through its mended integration, from the start, each of them once.

    RUN is a run's id, the beginning or end of it, or `last`. Records that are rejected again are in the replay's own dead
    letter, and can be replayed from there. What has arrived is marked: a second replay leaves it out.
    """
    import beam_datahub
    from beam_datahub.cli.run import Way, warn
    from beam_datahub.cli.session import session
    from beam_datahub.runtime.beam_import import import_beam
    from beam_datahub.runtime.store_link import StoreHere, locate

    beam_datahub.documents_options = False
    session().as_json = as_json
    location = replace(locate(store), explicit=True)
    link = StoreHere(location)
    try:
        link.there()
        wanted = _wanted(link, run, reasons, steps, spec, parameters, location)
        import_beam(cloud=False)
        with tempfile.TemporaryDirectory(prefix="beam-datahub-originals-") as folder:
            work = _planned(link, wanted, skip, append, folder)
            if dry_run:
                _tell_plan(wanted, work, as_json=as_json, quiet=quiet)
                return
            results = []
            for each in work.replays:
                with redirect_stdout(sys.stderr) if as_json else nullcontext():
                    way = Way(quiet=quiet, as_json=as_json)
                    results.append(_replayed(link, location, wanted, each, way, None if quiet else warn))
        _tell(wanted, work, results, as_json=as_json, quiet=quiet)
    finally:
        link.close()


@dataclass(frozen=True)
class _Wanted:
    """What the user wants: the run, the letters that were chosen, and the mended spec."""

    run: Run
    letters: Any
    plan_document: Mapping[str, Any]
    document: SpecDocument
    facts: Mapping[str, Any]
    given: Mapping[str, str]


@dataclass(frozen=True)
class _Work:
    """What comes of it: the runs, what they leave out and why, and how many destinations nobody wants."""

    selection: Selection
    replays: Sequence[Replay]


def _wanted(
    link: StoreHere,
    named: str,
    reasons: Sequence[str],
    steps: Sequence[str],
    spec: str | None,
    parameters: Sequence[tuple[str, str]],
    location: Location,
) -> _Wanted:
    from beam_datahub.cli.registered import spec_of, text_of
    from beam_datahub.cli.rejects import letters_of
    from beam_datahub.cli.specs import with_connections
    from beam_datahub.errors import NotReplayable, UnknownRun
    from beam_datahub.runtime.rejects import check_names, chosen, unsealed
    from beam_datahub.runtime.settling import settle, settle_runs

    link.writer.runs.recover()
    settle(link)
    run = link.reader.runs.get(named)
    if settle_runs(link, run.integration):
        run = link.reader.runs.get(run.run_id)
    if run.status not in ("completed", "completed_with_errors"):
        raise UnknownRun(
            f"the run {run.run_id} is {run.status}: nothing of it was written, so that there is nothing to add to",
            hint=f"run it again: beam-datahub runs resume {run.run_id}" if run.status != "running" else "wait for its end",
        )
    letters = letters_of(link, run)
    check_names(letters, reasons, steps)
    letters = unsealed(chosen(letters, reasons, steps), location)
    kept = link.reader.runs.document(run.run_id, "plan") or {}
    known = kept.get("spec") or {}
    given = {**{name: str(value) for name, value in run.parameters.items()}, **dict(parameters)}
    pairs = list(given.items())
    path = known.get("path")
    if spec is not None:
        document, facts, _ = spec_of(spec, pairs, location)
    elif known.get("integration"):
        document, facts, other = spec_of(str(known["integration"]), pairs, location)
        if other is not None:
            other.close()
    elif path and os.path.exists(path):
        document, facts, _ = spec_of(path, pairs, location)
    elif known.get("text"):
        document, facts = text_of(known["text"], run.integration, path, given, label=path or run.integration)
        document = with_connections(document, location)
    else:
        raise UnknownRun(f"the spec of run {run.run_id} is not known", hint="name it with --spec")
    if document.integration.name != run.integration:
        raise NotReplayable(
            f"the spec is of the integration '{document.integration.name}', the run of '{run.integration}'",
            hint="name the mended spec of that one with --spec",
        )
    return _Wanted(run, letters, kept, document, facts, given)


def _planned(link: StoreHere, wanted: _Wanted, skip: Sequence[str], append: Sequence[str], folder: str) -> _Work:
    from beam_datahub.cli.specs import dead_letter_folder, planned
    from beam_datahub.errors import UnknownName, UnknownRun
    from beam_datahub.runtime.replay import Choices, replays, select

    if "nodes" not in wanted.plan_document:
        raise UnknownRun(f"the record of run {wanted.run.run_id} does not say how its steps hang together")
    plan = planned(wanted.document, run_id="replay", dead_letter_folder=dead_letter_folder(wanted.document))
    goals = [node.id for node in plan.writes()]
    for name in (*skip, *append):
        if name not in goals:
            raise UnknownName("destination", name, goals)
    finished = _finished(link, wanted)
    selection = select(wanted.letters, finished, plan, link.reader.runs.replayed(wanted.run.run_id))
    return _Work(selection, replays(plan, selection, finished, Choices(tuple(skip), tuple(append)), folder))


def _finished(link: StoreHere, wanted: _Wanted) -> Finished:
    from beam_datahub.runtime.replay import Finished

    run = wanted.run
    since = link.reader.runs.find(
        integration=run.integration, status=["completed", "completed_with_errors"], since=run.started_at, limit=1000
    )
    later_runs = [each.run_id for each in since if each.run_id != run.run_id and each.cause != "replay"]
    multiplied = frozenset(step.step for step in link.reader.runs.steps(run.run_id) if step.added)
    overwritten = later_runs[0] if later_runs else None
    return Finished(run.run_id, run.started_at, wanted.plan_document, multiplied, overwritten)


def _replayed(link: StoreHere, location: Location, wanted: _Wanted, work: Replay, way: Way, warn: Any) -> tuple[Plan, RunResult]:
    """Run one replay. Its records are marked when it begins; the marks go when it ends without having published."""
    from beam_datahub.cli.run import run_plan
    from beam_datahub.errors import Conflict
    from beam_datahub.runtime.launch import with_run_id
    from beam_datahub.runtime.record import Recorder, RunFacts, plan_document
    from beam_datahub.runtime.run_id import new_run_id
    from beam_datahub.runtime.settling import journal_of
    from beam_datahub.runtime.store_link import StoreHere, later

    run, run_id = wanted.run, new_run_id()
    ids = [record.id for record in work.records]
    plan = with_run_id(work.plan, run_id)
    facts = RunFacts(
        run_id, run.integration, kind="partial", cause="replay", parent=run.run_id, given=wanted.given, spec=dict(wanted.facts)
    )
    begun = [
        later("runs.keep", run_id, "plan", plan_document(plan, facts)),
        later("runs.mark_replayed", run.run_id, ids, run_id),
    ]
    with Recorder(facts, location, warn=warn, store=StoreHere(location), begun=begun) as recorder:
        recorder.ready()
        recorder.undo = [later("runs.unmark_replayed", run_id)]
        if recorder.begun[-1] != len(ids):
            raise Conflict(f"another replay of run {run.run_id} is going on", hint="wait for its end, then replay what is left")
        journal = journal_of(recorder.folder)
        result = run_plan(plan, run_id, way, recorder, journal=journal)
        if recorder.recorded and os.path.exists(journal):
            os.unlink(journal)
    return plan, result


def _tell_plan(wanted: _Wanted, work: _Work, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        plans = [{"records": len(each.records), "destinations": each.destinations, "notes": each.notes} for each in work.replays]
        click.echo(json.dumps({"status": "dry_run", **_counts(wanted, work), "replays": plans}, ensure_ascii=False))
        return
    if quiet:
        return
    for each in work.replays:
        click.echo(f"would replay {_records(len(each.records))} to {', '.join(each.destinations)}")
        for note in each.notes:
            click.echo(f"  {note}")
    _tell_rest(wanted, work)
    click.echo("dry run: nothing was written")


def _tell(wanted: _Wanted, work: _Work, results: Sequence[tuple[Plan, RunResult]], *, as_json: bool, quiet: bool) -> None:
    from beam_datahub.cli import failures

    error = next((result.error for _, result in results if result.error is not None), None)
    if as_json:
        record = {**_counts(wanted, work), "runs": [result.as_record() for _, result in results]}
        click.echo(json.dumps({"status": "failed" if error else "completed", **record}, default=str, ensure_ascii=False))
    elif not quiet:
        from beam_datahub.cli.outcome import show
        from beam_datahub.cli.session import out

        for plan, result in results:
            show(out(), plan, result)
            click.echo()
        for each, (_, result) in zip(work.replays, results, strict=True):
            again = f", {result.rejected:,} rejected again" if result.rejected else ""
            click.echo(f"replayed {_records(len(each.records))} of run {wanted.run.run_id}{again}")
            for note in each.notes:
                click.echo(f"  {note}")
        _tell_rest(wanted, work)
    if error is not None:
        failures.say(error)
        click.get_current_context().exit(failures.exit_status(error))


def _tell_rest(wanted: _Wanted, work: _Work) -> None:
    if not work.replays:
        nothing = "there is nothing left to replay" if work.selection.already else "there is nothing to replay"
        click.echo(f"{wanted.run.run_id}: {nothing}")
    if work.selection.already:
        click.echo(f"{_records(work.selection.already)} had been replayed before")
    for reason, count in work.selection.refused.most_common():
        click.echo(f"{_records(count)} cannot be replayed: {reason}")


def _counts(wanted: _Wanted, work: _Work) -> dict[str, Any]:
    return {
        "run": wanted.run.run_id,
        "replayed": sum(len(each.records) for each in work.replays),
        "already_replayed": work.selection.already,
        "not_replayable": dict(work.selection.refused),
    }


def _records(count: int) -> str:
    return f"{count:,} record{'s' * (count != 1)}"
