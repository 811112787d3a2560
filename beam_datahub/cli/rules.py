"""`rules`: the types of quality rules."""

from __future__ import annotations

import click


@click.command(short_help="List the types of quality rules, or show one.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the types of quality rules, or show the options and examples of the one called NAME."""
    from beam_datahub.cli.components import summary
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.component.registry import component, names
    from beam_datahub.errors import UnknownName

    types = names("rule")
    if name is None:
        heads = [("quality rule", "left"), ("what it wants", "left")]
        out().print(simple(None, heads, [(each, summary(component("rule", each))) for each in types]))
        out().print("\n`beam-datahub rules NAME` shows the options of one", style="dim")
    elif name in types:
        _show(name)
    else:
        raise UnknownName("quality rule", name, types)


def _show(name: str) -> None:
    import textwrap
    from typing import Any

    from rich.text import Text

    from beam_datahub.cli.components import dump, show_options, summary
    from beam_datahub.cli.session import out
    from beam_datahub.component.registry import component

    found: Any = component("rule", name)
    console = out()
    console.print(Text(name, style="bold"))
    console.print(Text(summary(found)))
    console.print()
    show_options(console, "under `quality_rules`, beside name and step", found.Config)
    for example in found.examples:
        where = {"where": example.where} if example.where is not None else {}
        console.print(Text(f"# {example.title}", style="dim"))
        console.print(Text(textwrap.indent(dump([{"name": "…", "step": "…", "type": name, **where, **example.options}]), "  ")))
        console.print()
