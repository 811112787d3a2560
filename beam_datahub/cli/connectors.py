"""`connectors`: the systems that can be read and written."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="List the connectors, or show one.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the connectors, or show the options and examples of the one called NAME."""
    from beam_datahub.component.registry import names

    sources, sinks = names("source"), names("sink")
    if name is None:
        _list(sources, sinks)
        return
    if name not in {*sources, *sinks}:
        from beam_datahub.errors import UnknownName

        raise UnknownName("connector", name, {*sources, *sinks})
    if name in sources:
        _show("source", name)
    if name in sinks:
        _show("sink", name)


def _list(sources: list[str], sinks: list[str]) -> None:
    from beam_datahub.cli.components import summary
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.component.registry import component

    rows = []
    for name in sorted({*sources, *sinks}):
        about = summary(component("source" if name in sources else "sink", name))
        rows.append([name, "✓" if name in sources else "", "✓" if name in sinks else "", about])
    heads = [("connector", "left"), ("source", "left"), ("destination", "left"), ("what it is", "left")]
    out().print(simple(None, heads, rows))
    out().print("\n`beam-datahub connectors NAME` shows the options of one", style="dim")


def _show(kind: Any, name: str) -> None:
    from rich.text import Text

    from beam_datahub.cli.components import show_examples, show_options, summary
    from beam_datahub.cli.session import out
    from beam_datahub.component.registry import component

    found: Any = component(kind, name)
    console = out()
    word = "source" if kind == "source" else "destination"
    console.print(Text(f"{name}, as a {word}", style="bold"))
    console.print(Text(summary(found)))
    for line in capability_lines(kind, found):
        console.print(Text(f"· {line}", style="dim"))
    console.print()
    show_options(console, "under `connection`", found.Connection)
    show_options(console, "beside `connection`", found.Options)
    show_examples(console, kind, name, found.examples)


def capability_lines(kind: str, found: Any) -> list[str]:
    """What a connector can do, in sentences."""
    capabilities = found.capabilities
    lines: list[str] = []
    if kind == "source":
        lines.append("reads only the columns that are used" if capabilities.columns else "reads all columns")
        if capabilities.predicate:
            lines.append("skips rows that a condition excludes")
        if capabilities.relations:
            lines.append("lets a filter or mapping read what it needs of a large file itself")
        lines.append(f"splits by {capabilities.splits}" if capabilities.splits else "is read by one worker")
        if capabilities.resumes is not None:
            lines.append(f"goes on from the last {capabilities.resumes} of the run before")
        if capabilities.acknowledges is not None:
            lines.append("acknowledges messages once all destinations are published")
            lines.append(f"delivery: {capabilities.delivery.value.replace('_', ' ')}")
    else:
        lines.append(f"write modes: {', '.join(mode.value for mode in capabilities.write_modes)}")
        lines.append(f"delivery: {capabilities.delivery.value.replace('_', ' ')}")
        if not capabilities.nested:
            lines.append("keeps no structs and lists; put a `flatten` step before it, or a mapping to JSON")
        if capabilities.partitions:
            lines.append("partitions its output by columns")
    return lines
