"""`schema`: the JSON Schema of specs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from beam_datahub.spec.schema_export import ComponentSchemas


@click.command(short_help="Print the JSON Schema of specs, for editors.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write it to a file instead of standard output.")
def command(output: str | None) -> None:
    """Print the JSON Schema of specs, by which an editor completes and checks them.

    In a YAML file, the line `# yaml-language-server: $schema=./beam-datahub.schema.json` tells editors where it is.
    """
    from beam_datahub.spec.schema_export import json_schema

    text = json.dumps(json_schema(component_schemas()), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    with open(output, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    click.echo(f"{output}: written")


def component_schemas() -> ComponentSchemas:
    """The options of every component, and the reusable transformations that a spec here could use."""
    from pathlib import Path

    from beam_datahub.component.registry import component, names
    from beam_datahub.spec.reusable import load_reusable, reusable_files
    from beam_datahub.spec.schema_export import ComponentSchemas

    def connector(kind: Any, name: str) -> tuple[Any, Any]:
        found: Any = component(kind, name)
        return found.Connection, found.Options

    transformations = {name: getattr(component("transform", name), "Config") for name in names("transform")}  # noqa: B009
    return ComponentSchemas(
        sources={name: connector("source", name) for name in names("source")},
        destinations={name: connector("sink", name) for name in names("sink")},
        transformations=transformations,
        rules={name: getattr(component("rule", name), "Config") for name in names("rule")},  # noqa: B009
        reusables={
            name: load_reusable(path).spec for name, path in reusable_files(Path.cwd()).items() if name not in transformations
        },
    )
