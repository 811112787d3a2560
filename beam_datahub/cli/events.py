"""OpenLineage events of a run, for whoever asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.spec import SpecDocument


@contextmanager
def told(target: str | None, plan: Plan, document: SpecDocument, run_id: str) -> Iterator[Callable[[RunResult], None]]:
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
