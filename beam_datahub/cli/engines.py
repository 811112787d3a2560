"""`engines`: where a spec can run, and whether it can here."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import json_option

if TYPE_CHECKING:
    from beam_datahub.runtime.engines import Engine


@click.group(short_help="List the engines, or test one.", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the engines that `run --engine` takes, and what each lacks here.

    Besides those built in, .beam-datahub/engines.yaml of the project may name more: an engine with its cluster and options.
    """
    if ctx.invoked_subcommand is not None:
        return
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.runtime.engines import ENGINES, named_engines

    listed = {**ENGINES, **named_engines()}
    if as_json:
        click.echo(json.dumps({"engines": [_facts(name, each) for name, each in listed.items()]}))
        return
    rows = []
    for name, each in listed.items():
        state = each.readiness()
        what = each.summary if name == each.name else f"{each.name} {' '.join(each.preset)}"
        rows.append(
            (name, "ready" if state.ready else "missing", what if state.ready else f"{what}\n{state.found}: {state.hint}")
        )
    out().print(simple(None, [("engine", "left"), ("here", "left"), ("what it is", "left")], rows))


def _facts(name: str, engine: Engine) -> dict[str, Any]:
    state = engine.readiness()
    return {
        "name": name,
        "engine": engine.name,
        "summary": engine.summary,
        "options": list(engine.preset),
        "ready": state.ready,
        "found": state.found,
        "hint": state.hint,
        "streams": engine.streams,
        "cannot": list(engine.cannot),
    }


@command.command("test", short_help="Run a few rows on an engine.")
@click.argument("name")
@click.option("--engine-option", "beam_options", multiple=True, help="An option passed on to Beam. Repeatable.")
@json_option
def test(name: str, beam_options: tuple[str, ...], as_json: bool) -> None:
    """Fetch what the engine NAME needs, start it, and run a small pipeline with a shuffle on it."""
    from beam_datahub.cli.session import err, session
    from beam_datahub.runtime.beam_import import import_beam
    from beam_datahub.runtime.engines import EngineOptions, engine

    session().as_json = as_json
    chosen = engine(name)
    import_beam(cloud=not chosen.in_process)
    from beam_datahub.runtime.trial import trial

    seconds = trial(name, EngineOptions(options=beam_options), lambda text: err().print(text))
    if as_json:
        click.echo(json.dumps({"engine": name, "works": True, "seconds": round(seconds, 3)}))
    else:
        click.echo(f"{name}: works ({seconds:.1f} s, with its start)")
    sys.stdout.flush()
