"""`templates`: packaged integrations to start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from beam_datahub.errors import InvalidValue, UnknownName


@click.command(short_help="List the packaged integrations, show or copy one.")
@click.argument("words", nargs=-1, metavar="[NAME | copy NAME FOLDER]")
def command(words: tuple[str, ...]) -> None:
    """List the packaged integrations, show the one called NAME, or copy it, data included, to a new FOLDER."""
    found = templates()
    if not words:
        _list(found)
        return
    copies = words[0] == "copy"
    if len(words) != (3 if copies else 1):
        raise click.UsageError("write `templates`, `templates NAME` or `templates copy NAME FOLDER`")
    name = words[1] if copies else words[0]
    if name not in found:
        raise UnknownName("template", name, found)
    if not copies:
        _show(found[name])
        return
    folder = words[2]
    target = Path(folder)
    if target.exists():
        raise InvalidValue(f"'{folder}' exists already", hint="name a new folder")
    shutil.copytree(found[name], target)
    click.echo(f"{target}: copied; next: beam-datahub run {target / 'integration.yaml'}")


def templates() -> dict[str, Path]:
    """The folder of each packaged integration, by name."""
    from beam_datahub.spec.content import content_folder

    return {each.parent.name: each.parent for each in sorted(content_folder("templates").glob("*/integration.yaml"))}


def _list(found: dict[str, Path]) -> None:
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.spec import load

    rows = [(name, load(folder / "integration.yaml").integration.description or "") for name, folder in found.items()]
    out().print(simple(None, [("template", "left"), ("what it does", "left")], rows))
    out().print("\n`beam-datahub templates copy NAME FOLDER` copies one", style="dim")


def _show(folder: Path) -> None:
    readme = folder / "README.md"
    click.echo((readme if readme.is_file() else folder / "integration.yaml").read_text("utf-8").rstrip())
    click.echo(f"\n{folder}:")
    for file in sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")):
        click.echo(f"  {file.relative_to(folder)}")
