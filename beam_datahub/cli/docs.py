"""`docs`: writes the reference pages from the code's own declarations."""

from __future__ import annotations

from pathlib import Path

import click

from beam_datahub.errors import ExpectationFailed, TargetUnusable


@click.command(short_help="Write the reference pages, or check that they are fresh.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    default="docs/reference",
    show_default=True,
    help="The folder of the pages.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when a page is not what would be written.")
def command(output: str, check: bool) -> None:
    """Write the reference pages: connectors, transformations, expressions, spec, errors, reasons and commands."""
    from beam_datahub.cli.reference import pages

    folder = Path(output)
    wanted = pages()
    stale = [name for name, text in wanted.items() if _read(folder / name) != text]
    surplus = [file.name for file in sorted(folder.glob("*.md")) if file.name not in wanted]
    if check:
        if stale or surplus:
            raise ExpectationFailed(
                f"the reference is stale: {', '.join(str(folder / name) for name in [*stale, *surplus])}",
                hint="run `beam-datahub docs`, and delete pages that it does not write",
            )
        click.echo(f"{folder}: {len(wanted)} pages are fresh")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in stale:
            (folder / name).write_text(wanted[name], "utf-8")
    except OSError as error:
        raise TargetUnusable(f"'{error.filename}' cannot be written: {error.strerror}") from error
    click.echo(f"{folder}: {len(stale)} of {len(wanted)} pages written")


def _read(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None
