"""`engines`: where a spec can run."""

from __future__ import annotations

import click


@click.command(short_help="List the engines.")
def command() -> None:
    """List the engines that `run --engine` takes."""
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.engines import ENGINES

    rows = [(engine.name, engine.summary) for engine in ENGINES.values()]
    out().print(simple(None, [("engine", "left"), ("what it is", "left")], rows))
