"""`plan`: shows what a spec compiles to."""

from __future__ import annotations

import json

import click

from beam_datahub.cli.options import engine_option, set_option, spec_argument


@click.command(short_help="Show what a spec compiles to.")
@spec_argument
@set_option
@engine_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "mermaid", "json"]),
    default="tree",
    show_default=True,
    help="A readable tree, a Mermaid flowchart for documents, or JSON for programs.",
)
@click.option("--columns", is_flag=True, help="In the tree, where each column comes from, with its expression.")
def command(spec: str, parameters: tuple[tuple[str, str], ...], engine: str | None, form: str, columns: bool) -> None:
    """Show what SPEC compiles to: schemas, fused stages, push-downs, join strategies, write modes, column lineage."""
    from beam_datahub.cli.session import out
    from beam_datahub.cli.specs import dead_letter_folder, opened, planned
    from beam_datahub.compiler.describe import describe
    from beam_datahub.compiler.render import as_json, mermaid, tree
    from beam_datahub.security import redact

    document = opened(spec, parameters)
    view = describe(planned(document, engine=engine, dead_letter_folder=dead_letter_folder(document)))
    if form == "json":
        text = json.dumps(as_json(view), indent=2, ensure_ascii=False)
    elif form == "mermaid":
        text = mermaid(view)
    else:
        text = tree(view, columns=columns, width=min(out().width, 120))
    click.echo(redact(text))
