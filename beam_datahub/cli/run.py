"""`run`: runs a spec, shows how it goes, and says what it did."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Length, Size, engine_option, no_record_option, set_option, spec_argument, store_option

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.increments import Span
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.runtime.record import Recorder
    from beam_datahub.spec import SpecDocument


@click.command(short_help="Run a spec.")
@spec_argument
@set_option
@engine_option
@click.option(
    "--engine-option", "beam_options", multiple=True, help="An option passed on to Beam, such as --foo=bar. Repeatable."
)
@click.option("--threads", type=click.IntRange(min=1), help="Cores that a worker uses; all of them on the direct engine.")
@click.option("--memory", type=Size(), help="What shuffles may hold in memory on the direct engine, such as 4GiB.")
@click.option("--limit", type=click.IntRange(min=1), help="Read no more than this many records of each file.")
@click.option("--full", "whole", is_flag=True, help="Read all of an incremental source, not only what is new.")
@click.option("--since", metavar="VALUE", help="Read an incremental source from this value on; its cursor stays where it is.")
@click.option("--until", metavar="VALUE", help="Read an incremental source up to this value, exclusive; its cursor stays.")
@click.option("--for", "lasting", type=Length(), help="End a stream after so long, such as 90s or 1h.")
@click.option("--until-idle", is_flag=True, help="End a stream once it has published all that its sources hold.")
@click.option("--dry-run", is_flag=True, help="Check the spec and show the plan; touch nothing.")
@click.option("--detach", is_flag=True, help="Say which run it is once it is planned, and let it go on by itself.")
@click.option("--openlineage", metavar="URL|FILE", help="Send OpenLineage events there; OPENLINEAGE_URL when left out.")
@store_option
@no_record_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def command(
    spec: str,
    parameters: tuple[tuple[str, str], ...],
    engine: str | None,
    beam_options: tuple[str, ...],
    threads: int | None,
    memory: int | None,
    limit: int | None,
    whole: bool,
    since: str | None,
    until: str | None,
    lasting: float | None,
    until_idle: bool,
    dry_run: bool,
    detach: bool,
    openlineage: str | None,
    store: str | None,
    no_record: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SPEC, a file or the name of a registered integration, from its sources to its destinations.

    Nothing is visible at a destination before all of the run is through; a stream publishes every few seconds, until it is
    stopped. Records that cannot be processed go to the dead letter, without one in the spec to .beam-datahub/dead-letter here.
    """
    import beam_datahub
    from beam_datahub.cli.session import session

    beam_datahub.documents_options = False
    session().as_json = as_json
    if detach and (dry_run or no_record):
        raise click.UsageError("a run that goes on by itself is found in the store: leave out --dry-run and --no-record")
    if detach:
        from beam_datahub.cli.detached import detach as detached

        given = {**click.get_current_context().params, "detach": False}
        detached(command, given, as_json=as_json, quiet=quiet)
        return
    from beam_datahub.cli.registered import spec_of
    from beam_datahub.cli.specs import engine_of
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.increments import Span, is_incremental, kind_of
    from beam_datahub.runtime.run_id import new_run_id
    from beam_datahub.runtime.store_link import locate

    location = locate(store)
    document, facts, link = spec_of(spec, parameters, location)
    engine = engine_of(document, engine)
    options = EngineOptions(threads=threads, options=beam_options)
    if whole and (since is not None or until is not None):
        raise click.UsageError("--full reads everything: leave out --since and --until")
    span = Span(whole, since, until)
    kind = kind_of(document, span)
    stream = document.integration.type != "batch"
    if not stream and (lasting is not None or until_idle):
        raise click.UsageError(
            "--for and --until-idle are for integrations of type real-time or hybrid: others end by themselves"
        )
    if stream and (span.facts() or limit is not None):
        raise click.UsageError("a stream goes on from where it was: leave out --full, --since, --until and --limit")
    following = Following(lasting, until_idle=until_idle)
    how = Way(engine, options, limit, memory, openlineage, span, following, quiet=quiet, as_json=as_json)
    if dry_run or no_record:
        if link is not None:
            link.close()
        execute(document, how, new_run_id(), None, dry_run=dry_run)
        return
    from beam_datahub.runtime.record import Recorder, RunFacts
    from beam_datahub.runtime.spec_facts import given_values

    if span.facts():
        facts = {**facts, "span": span.facts()}
    if limit is not None:
        kind, facts = "partial", {**facts, "limit": limit}
    given = given_values(dict(parameters))
    run = RunFacts(new_run_id(), document.integration.name, engine, kind=kind, given=given, spec=facts)
    goes_on = is_incremental(document)
    turns = goes_on and not span.is_part
    with Recorder(run, location, warn=None if quiet else warn, store=link, settles=goes_on, takes_turns=turns) as recorder:
        execute(document, how, run.run_id, recorder)


@dataclass(frozen=True)
class Following:
    """When a stream ends: after so many seconds, once it is `until_idle`, or when somebody stops it."""

    seconds: float | None = None
    until_idle: bool = False


@dataclass(frozen=True)
class Way:
    """How a run is to go, and how much of it to show."""

    engine: str = "direct"
    options: EngineOptions | None = None
    limit: int | None = None
    memory: int | None = None
    openlineage: str | None = None
    span: Span | None = None
    following: Following | None = None
    quiet: bool = False
    as_json: bool = False


def warn(text: str) -> None:
    """Say something that does not stop the run."""
    click.secho(f"warning: {text}", fg="yellow", err=True)


def execute(document: SpecDocument, how: Way, run_id: str, recorder: Recorder | None, *, dry_run: bool = False) -> None:
    """Plan and run a spec, show what it did, and let the recorder know."""
    from beam_datahub.cli.events import told
    from beam_datahub.cli.specs import dead_letter_folder, planned
    from beam_datahub.runtime.beam_import import import_beam, needs_cloud

    import_beam(cloud=how.engine != "direct" or needs_cloud(document))
    from beam_datahub.runtime.memory import reuse_batches
    from beam_datahub.runtime.run_folder import run_folder

    reuse_batches()
    plan = planned(
        document,
        engine=how.engine,
        threads=how.options.threads if how.options is not None else None,
        run_id=run_id,
        limit=how.limit,
        dead_letter_folder=dead_letter_folder(document),
        estimates=not (dry_run and how.engine == "dataflow"),
        violations_folder=os.path.join(recorder.folder if recorder is not None else run_folder(run_id), "violations"),
    )
    if dry_run:
        _show_plan(plan, how, run_id)
        return
    plan = _bound(plan, how, recorder)
    startup = seconds_since_start()
    # A destination such as `console` prints while it runs: beside a JSON record, that goes to standard error.
    with (
        contextlib.redirect_stdout(sys.stderr) if how.as_json else contextlib.nullcontext(),
        told(how.openlineage, plan, document, run_id) as tell,
    ):
        result = run_plan(plan, run_id, how, recorder)
        tell(result)
    say(plan, result, startup, as_json=how.as_json, quiet=how.quiet)


def _bound(plan: Plan, how: Way, recorder: Recorder | None) -> Plan:
    from beam_datahub.runtime.increments import Span, bound

    store = recorder.store if recorder is not None and recorder.ready() else None
    return bound(plan, store, how.span or Span(), limited=how.limit is not None)


def run_plan(plan: Plan, run_id: str, how: Way, recorder: Recorder | None, *, journal: str | None = None) -> RunResult:
    """Run a plan to its end, with progress on a terminal; a recorder keeps its log and its result."""
    from dataclasses import replace

    from beam_datahub.cli.session import err, may_be_watched, session
    from beam_datahub.cli.watch import progress
    from beam_datahub.compiler.increment import moves_cursors
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.increments import moves
    from beam_datahub.runtime.launch import RunRequest, run
    from beam_datahub.runtime.settling import journal_of

    if plan.metadata.get("sealed"):
        from beam_datahub.runtime.rejects import keep_sealed
        from beam_datahub.runtime.store_link import locate

        keep_sealed(recorder.location if recorder is not None else locate())
    detached = session().detached
    if recorder is not None and detached is not None:
        from beam_datahub.cli.detached import under_way

        under_way(recorder, detached)
    if journal is None and recorder is not None and moves_cursors(plan):
        journal = journal_of(recorder.folder)
        recorder.keep(plan)
    options = how.options or EngineOptions()
    if how.memory is not None:
        options = replace(options, memory_bytes=how.memory)
    with contextlib.ExitStack() as stack:
        if recorder is not None:
            recorder.ready()
            stack.enter_context(recorder.logging())
            recorder.follow(plan)
        watched = not how.quiet and may_be_watched()
        show = stack.enter_context(progress(err(), plan) if watched else contextlib.nullcontext())

        log_folder = str(recorder.folder) if recorder is not None else None

        def tell(text: str) -> None:
            if not how.quiet:
                err().print(text)

        def watch() -> None:
            if recorder is not None:
                recorder.watch()
            if show is not None:
                show()

        try:
            request = RunRequest(run_id, how.engine, options, watch, journal, log_folder, tell)
            if "stream" in plan.metadata:
                from beam_datahub.cli.stream import follow

                result = follow(plan, request, how.following or Following(), recorder, quiet=how.quiet)
            else:
                result = run(plan, request)
        except BaseException as failure:
            if recorder is not None:
                recorder.failed(failure, plan=plan)
            raise
        if recorder is not None:
            recorder.finish(plan, result, calls=moves(plan.name, run_id, result.cursors))
    return result


def say(plan: Plan, result: RunResult, startup: float, *, as_json: bool, quiet: bool) -> None:
    """Show what a run did; ends the command with the exit code of a run that failed."""
    from beam_datahub.cli import failures

    if as_json:
        record = {**result.as_record(), "startup_seconds": round(startup, 3), "run_seconds": result.seconds}
        if result.error is not None:
            record["error"] = failures.facts(result.error)
        _print_json(record)
    elif not quiet:
        from beam_datahub.cli.outcome import show
        from beam_datahub.cli.session import out

        show(out(), plan, result)
    if result.error is not None:
        failures.say(result.error)
        click.get_current_context().exit(failures.exit_status(result.error))


def _show_plan(plan: Plan, how: Way, run_id: str) -> None:
    from beam_datahub.cli.session import out
    from beam_datahub.compiler import render
    from beam_datahub.compiler.describe import describe
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.launch import RunRequest, described_job
    from beam_datahub.security import redact

    view = describe(plan)
    job = described_job(plan, RunRequest(run_id, how.engine, how.options or EngineOptions()))
    if how.as_json:
        _print_json({"status": "dry_run", "plan": render.as_json(view), **({"job": job} if job else {})})
    elif not how.quiet:
        click.echo(redact(render.tree(view, width=min(out().width, 120))))
        if job:
            click.echo(f"\n{len(job['steps'])} steps on {how.engine}; --json shows the whole job")
        click.echo("\ndry run: nothing was read beyond the schemas, nothing was written")


def _print_json(record: dict[str, Any]) -> None:
    from beam_datahub.security import redact

    click.echo(redact(json.dumps(record, default=str, ensure_ascii=False)))


def seconds_since_start() -> float:
    """Seconds since this process began, from the kernel's books where it keeps them, else since Python counts CPU time."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return time.process_time()
