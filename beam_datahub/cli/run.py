"""`run`: runs a spec, shows how it goes, and says what it did."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Size, engine_option, set_option, spec_argument

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.launch import RunResult
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
@click.option("--dry-run", is_flag=True, help="Check the spec and show the plan; touch nothing.")
@click.option("--openlineage", metavar="URL|FILE", help="Send OpenLineage events there; OPENLINEAGE_URL when left out.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def command(
    spec: str,
    parameters: tuple[tuple[str, str], ...],
    engine: str,
    beam_options: tuple[str, ...],
    threads: int | None,
    memory: int | None,
    limit: int | None,
    dry_run: bool,
    openlineage: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SPEC from its sources to its destinations.

    Nothing is visible at a destination before all of the run is through. Records that cannot be processed go to the dead
    letter, without one in the spec to .beam-datahub/dead-letter here.
    """
    import beam_datahub
    from beam_datahub.cli.session import session

    beam_datahub.documents_options = False
    session().as_json = as_json
    from beam_datahub.cli.specs import dead_letter_folder, opened, planned
    from beam_datahub.runtime.beam_import import import_beam, needs_cloud
    from beam_datahub.runtime.engines import EngineOptions

    document = opened(spec, parameters)
    import_beam(cloud=engine != "direct" or needs_cloud(document))
    from beam_datahub.runtime.launch import new_run_id
    from beam_datahub.runtime.memory import reuse_batches

    reuse_batches()
    run_id = new_run_id()
    plan = planned(
        document,
        engine=engine,
        threads=threads,
        run_id=run_id,
        limit=limit,
        dead_letter_folder=dead_letter_folder(document),
    )
    if dry_run:
        _show_plan(plan, as_json=as_json, quiet=quiet)
        return
    options = EngineOptions(threads=threads, options=beam_options)
    if memory is not None:
        from dataclasses import replace

        options = replace(options, memory_bytes=memory)
    startup = seconds_since_start()
    # A destination such as `console` prints while it runs: beside a JSON record, that goes to standard error.
    with (
        contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
        _told(openlineage, plan, document, run_id) as told,
    ):
        result = _run(plan, run_id, engine, options, quiet=quiet)
        told(result)
    _say(plan, result, startup, as_json=as_json, quiet=quiet)


@contextlib.contextmanager
def _told(target: str | None, plan: Plan, document: SpecDocument, run_id: str) -> Iterator[Callable[[RunResult], None]]:
    """Send OpenLineage events of the run inside; one that cannot be sent is told, and changes nothing."""
    from beam_datahub.errors import MissingDependency
    from beam_datahub.runtime.openlineage_events import OpenLineageEvents, openlineage_target

    place = openlineage_target(target)
    if place is None:
        yield lambda result: None
        return
    try:
        events = OpenLineageEvents(place, plan, document, run_id)
    except MissingDependency as error:
        if target is not None:
            raise
        click.secho(f"warning: {error.reason}: {error.hint}", fg="yellow", err=True)
        yield lambda result: None
        return
    try:
        yield events.finish
    except BaseException as failure:
        events.finish(None, failure)
        raise
    finally:
        if events.problem is not None:
            click.secho(f"warning: {events.problem}", fg="yellow", err=True)


def _run(plan: Plan, run_id: str, engine: str, options: EngineOptions, *, quiet: bool) -> RunResult:
    from beam_datahub.cli.session import err
    from beam_datahub.cli.watch import progress
    from beam_datahub.runtime.launch import RunRequest, run

    with contextlib.nullcontext() if quiet else progress(err(), plan) as watch:
        return run(plan, RunRequest(run_id, engine, options, watch))


def _say(plan: Plan, result: RunResult, startup: float, *, as_json: bool, quiet: bool) -> None:
    from beam_datahub.cli.failures import exit_status, facts, say

    if as_json:
        record = {**result.as_record(), "startup_seconds": round(startup, 3), "run_seconds": result.seconds}
        if result.error is not None:
            record["error"] = facts(result.error)
        _print_json(record)
    elif not quiet:
        from beam_datahub.cli.outcome import show
        from beam_datahub.cli.session import out

        show(out(), plan, result)
    if result.error is not None:
        say(result.error)
        click.get_current_context().exit(exit_status(result.error))


def _show_plan(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    from beam_datahub.cli.session import out
    from beam_datahub.compiler import render
    from beam_datahub.compiler.describe import describe
    from beam_datahub.security import redact

    view = describe(plan)
    if as_json:
        _print_json({"status": "dry_run", "plan": render.as_json(view)})
    elif not quiet:
        click.echo(redact(render.tree(view, width=min(out().width, 120))))
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
