"""`templates`: packaged integrations to start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from beam_datahub.cli.options import set_option
from beam_datahub.errors import InvalidValue, UnknownName

# The spec beside a template's own that sends its sample data to a server.
_SAMPLE = "fill.yaml"


@click.command(short_help="List the packaged integrations, show, copy or run one.")
@click.argument("words", nargs=-1, metavar="[NAME | copy NAME FOLDER | run NAME | build SPEC|NAME]")
@set_option
@click.option("--until-idle", is_flag=True, help="With `run`: end a stream once it has published all that its sources hold.")
@click.option("-o", "--output", metavar="FOLDER", help="The new folder that `build` fills.")
@click.option("--image", help="The name of the image that `build` writes into the template.")
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    parameters: tuple[tuple[str, str], ...],
    until_idle: bool,
    output: str | None,
    image: str | None,
) -> None:
    """List the packaged integrations, show the one called NAME, copy it, data included, to a new FOLDER, or run it.

    `run` copies it to a new folder of its name first, where it can be changed and run again. One that reads from a server
    brings a `fill.yaml`, which `run` runs before: it sends the sample data there. `build` makes a Dataflow Flex Template of a
    spec or of a packaged integration.
    """
    found = templates()
    if parameters and words[:1] != ("run",):
        raise click.UsageError("--set goes with `templates run NAME`")
    if until_idle and words[:1] != ("run",):
        raise click.UsageError("--until-idle goes with `templates run NAME`")
    if words[:1] == ("build",):
        if len(words) != 2 or output is None:
            raise click.UsageError("write `templates build SPEC -o FOLDER`")
        _build(words[1], found, Path(output), image)
        return
    if output or image:
        raise click.UsageError("--output and --image go with `templates build SPEC`")
    if not words:
        _list(found)
        return
    verb = words[0] if words[0] in ("copy", "run") else None
    if len(words) != {"copy": 3, "run": 2, None: 1}[verb]:
        raise click.UsageError("write `templates`, `templates NAME`, `templates copy NAME FOLDER` or `templates run NAME`")
    name = words[1] if verb else words[0]
    if name not in found:
        raise UnknownName("template", name, found)
    if verb is None:
        _show(found[name])
    elif verb == "copy":
        spec = _copy(found[name], words[2])
        click.echo(f"{words[2]}: copied; next: beam-datahub run {spec}")
    else:
        _run(context, found[name], parameters, until_idle=until_idle)


def _build(named: str, found: dict[str, Path], folder: Path, image: str | None) -> None:
    """Make a Flex Template, and say what to do with it."""
    from beam_datahub.cli.specs import spec_file
    from beam_datahub.runtime.flex_template import IMAGE, build_template

    spec = found[named] / "integration.yaml" if named in found and not Path(named).exists() else Path(spec_file(named))
    files = build_template(spec, folder, image or IMAGE)
    click.echo(f"{folder}: {', '.join(files)}")
    click.echo(f"next: docker build -t {image or 'IMAGE'} {folder}, push it, and copy {folder}/template.json to gs://")


def templates() -> dict[str, Path]:
    """The folder of each packaged integration, by name."""
    from beam_datahub.spec.content import content_folder

    return {each.parent.name: each.parent for each in sorted(content_folder("templates").glob("*/integration.yaml"))}


def _copy(folder: Path, to: str) -> Path:
    """The spec in a new folder that is a copy of the template's."""
    target = Path(to)
    if target.exists():
        raise InvalidValue(f"'{to}' exists already", hint="name a new folder")
    shutil.copytree(folder, target)
    return target / "integration.yaml"


def _run(context: click.Context, folder: Path, parameters: tuple[tuple[str, str], ...], *, until_idle: bool) -> None:
    """Copy a template to a folder of its name here, send its sample data where they go, and run the copy as `run` does."""
    from beam_datahub.cli.run import command as run
    from beam_datahub.spec import load

    if Path(folder.name).exists():
        spec = Path(folder.name) / "integration.yaml"
        raise InvalidValue(f"'{folder.name}' exists already", hint=f"beam-datahub run {spec} runs what is there")
    # A parameter that is wrong must not leave a folder behind that stands in the way of the next try.
    document = load(folder / "integration.yaml", parameters=dict(parameters))
    if until_idle and document.integration.type == "batch":
        raise click.UsageError(f"--until-idle is for streams: '{folder.name}' ends by itself")
    spec = _copy(folder, folder.name)
    click.echo(f"{spec.parent}: copied", err=True)
    sample = spec.with_name(_SAMPLE)
    if sample.is_file():
        click.echo(f"{sample}: sends the sample data", err=True)
        known = load(sample).parameters
        context.invoke(run, spec=str(sample), parameters=tuple(each for each in parameters if each[0] in known), quiet=True)
    context.invoke(run, spec=str(spec), parameters=parameters, until_idle=until_idle)


def _list(found: dict[str, Path]) -> None:
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple
    from beam_datahub.spec import load

    rows = [(name, load(folder / "integration.yaml").integration.description or "") for name, folder in found.items()]
    out().print(simple(None, [("template", "left"), ("what it does", "left")], rows))
    out().print("\n`beam-datahub templates copy NAME FOLDER` copies one, `templates run NAME` copies and runs it", style="dim")


def _show(folder: Path) -> None:
    readme = folder / "README.md"
    click.echo((readme if readme.is_file() else folder / "integration.yaml").read_text("utf-8").rstrip())
    click.echo(f"\n{folder}:")
    for file in sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")):
        click.echo(f"  {file.relative_to(folder)}")
