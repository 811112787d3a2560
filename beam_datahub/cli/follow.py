"""`runs watch`: follows a run that goes on elsewhere to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from beam_datahub.cli.options import json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.runtime.standing import Standing
    from beam_datahub.runtime.store_link import StoreLink
    from beam_datahub.store.records import Run

_LOOK_SECONDS = 0.5
# A run whose process has died says nothing any more: it is looked for, now and then.
_RECOVER_SECONDS = 5.0
# How often a file or a pipe gets a line.
_LINE_SECONDS = 10.0


@click.command(short_help="Follow a run that goes on to its end.")
@click.argument("run", default="last")
@store_option
@json_option
def watch(run: str, store: str | None, as_json: bool) -> None:
    """Follow RUN, which another process runs, to its end, the newest run where none is named.

    Ends with the exit code of the run. Ctrl-C ends the watching, and the run goes on.
    """
    from beam_datahub.cli import failures
    from beam_datahub.cli.runs import show_one
    from beam_datahub.cli.session import err
    from beam_datahub.errors import Interrupted, from_facts
    from beam_datahub.runtime.store_link import opened_store

    with opened_store(store, is_there=True) as link:
        found = link.reader.runs.get(run)
        try:
            with _told() if not err().is_terminal else _live() as show:
                found = _followed(link, found, show)
        except KeyboardInterrupt:
            hint = f"stop it: beam-datahub runs cancel {found.run_id}"
            raise Interrupted(f"not watching any more; the run {found.run_id} goes on", hint=hint) from None
        show_one(link, found, as_json=as_json)
    if found.error is not None:
        error = from_facts(found.error)
        failures.say(error)
        status = Interrupted.exit_status if found.status == "cancelled" else failures.exit_status(error)
        click.get_current_context().exit(status)


def _followed(link: StoreLink, run: Run, show: Callable[[Standing, float], None]) -> Run:
    from beam_datahub.runtime.standing import DOCUMENT, Standing

    looked = time.monotonic()
    while run.status == "running":
        kept = link.reader.runs.document(run.run_id, DOCUMENT)
        show(Standing(**kept) if kept else Standing(), (datetime.now(UTC) - run.started_at).total_seconds())
        time.sleep(_LOOK_SECONDS)
        if time.monotonic() - looked > _RECOVER_SECONDS:
            looked = time.monotonic()
            link.writer.runs.recover()
        run = link.reader.runs.get(run.run_id)
    return run


@contextmanager
def _live() -> Iterator[Callable[[Standing, float], None]]:
    from beam_datahub.cli.session import err
    from beam_datahub.cli.watch import shown

    with shown(err()) as show:
        yield show


@contextmanager
def _told() -> Iterator[Callable[[Standing, float], None]]:
    """A line for each news, which a file or a pipe keeps."""
    from beam_datahub.cli.watch import line

    told: Standing | None = None
    at = -_LINE_SECONDS

    def show(now: Standing, seconds: float) -> None:
        nonlocal told, at
        if now != told and seconds - at >= _LINE_SECONDS:
            click.echo(line(now, seconds).plain, err=True)
            told, at = now, seconds

    yield show
