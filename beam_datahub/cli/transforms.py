"""`transforms`: the transformations, built in and reusable."""

from __future__ import annotations

from collections.abc import Mapping

import click


@click.command(short_help="List the transformations, or show one.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the transformations, or show the options and examples of the one called NAME.

    Reusable ones come from the folder `transforms` here and from the packaged one.
    """
    from pathlib import Path

    from beam_datahub.component.registry import names
    from beam_datahub.errors import UnknownName
    from beam_datahub.spec.reusable import reusable_files

    types = names("transform")
    files = {each: path for each, path in reusable_files(Path.cwd()).items() if each not in types}
    if name is None:
        _list(types, files)
    elif name in types:
        _show(name)
    elif name in files:
        _show_reusable(files[name])
    else:
        raise UnknownName("transformation", name, [*types, *files])


def _list(types: list[str], files: Mapping[str, object]) -> None:
    from beam_datahub.cli.components import summary
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.component.registry import component
    from beam_datahub.spec.reusable import load_reusable

    heads = [("transformation", "left"), ("what it does", "left")]
    out().print(simple(None, heads, [(name, summary(component("transform", name))) for name in types]))
    if files:
        rows = [(name, load_reusable(str(path)).spec.description) for name, path in sorted(files.items())]
        out().print()
        out().print(simple(None, [("reusable", "left"), ("what it does", "left")], rows))
    out().print("\n`beam-datahub transforms NAME` shows the options of one", style="dim")


def _show(name: str) -> None:
    from typing import Any

    from rich.text import Text

    from beam_datahub.cli.components import show_examples, show_options, summary
    from beam_datahub.cli.session import out
    from beam_datahub.component.registry import component

    found: Any = component("transform", name)
    console = out()
    console.print(Text(name, style="bold"))
    console.print(Text(summary(found)))
    console.print()
    show_options(console, "under `config`", found.Config)
    show_examples(console, "transform", name, found.examples)


def _show_reusable(path: object) -> None:
    from rich.text import Text

    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.spec.reusable import load_reusable

    reusable = load_reusable(str(path)).spec
    console = out()
    console.print(Text(reusable.name, style="bold").append("  a reusable transformation", style="dim"))
    console.print(Text(reusable.description))
    console.print()
    rows = [
        (name, each.type, "required" if each.default is None else str(each.default), each.description or "")
        for name, each in reusable.parameters.items()
    ]
    if rows:
        heads = [("parameter", "left"), ("type", "left"), ("default", "left"), ("meaning", "left")]
        console.print(simple("under `config`", heads, rows))
        console.print()
    console.print(Text(f"{path}: {len(reusable.test_cases)} test cases", style="dim"))
