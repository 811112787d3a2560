"""`validate`: finds everything that is wrong with a spec before anything runs."""

from __future__ import annotations

import click

from beam_datahub.cli.options import engine_option, set_option, spec_argument


@click.command(short_help="Check a spec before anything runs.")
@spec_argument
@set_option
@engine_option
@click.option("--pin", is_flag=True, help="Write the discovered schemas of all sources into the spec.")
def command(spec: str, parameters: tuple[tuple[str, str], ...], engine: str | None, pin: bool) -> None:
    """Check SPEC: its form, names, expressions, types, and what each destination can keep.

    Looks at the sources to learn their schemas, runs nothing and writes nothing. All errors come in one go, each with its
    line.
    """
    from beam_datahub.cli.session import out
    from beam_datahub.cli.specs import dead_letter_folder, opened, planned, spec_file

    document = opened(spec, parameters)
    plan = planned(document, engine=engine, dead_letter_folder=dead_letter_folder(document))
    found = document.integration
    parts = [
        _counted(len(found.sources), "source"),
        _counted(len(found.transformations), "step"),
        _counted(len(found.destinations), "destination"),
    ]
    if found.tests:
        parts.append(f"{_counted(len(found.tests), 'test')} not run")
    out().print(f"{spec_file(spec)}: fine ({', '.join(parts)})")
    if pin:
        from beam_datahub.cli.discover import pin_schema

        for node in plan.reads():
            pin_schema(spec_file(spec), node.id, plan.nodes[node.id].schema)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
