"""`discover`: what a spec's sources hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beam_datahub.cli.options import set_option, spec_argument

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.compiler.plan import Read

# So many records of a source are looked at for personal data.
_LOOKED_AT = 1_000


@click.command(short_help="Show the columns of a spec's sources.")
@spec_argument
@click.argument("source", required=False)
@set_option
@click.option("--pin", is_flag=True, help="Write the schema into the spec, so that later data is held against it.")
def command(spec: str, source: str | None, parameters: tuple[tuple[str, str], ...], pin: bool) -> None:
    """Show the columns of the sources of SPEC, or of one SOURCE, with their types and how much there is."""
    from beam_datahub.cli.session import out
    from beam_datahub.cli.specs import opened, planned, spec_file
    from beam_datahub.compiler.plan import Read
    from beam_datahub.errors import UnknownName

    document = opened(spec, parameters)
    found = document.integration.sources
    if source is not None and source not in found:
        raise UnknownName("source", source, found)
    wanted = {name: each for name, each in found.items() if source in (None, name)}
    # A schema in the spec would hide what is there.
    bare = {name: each.model_copy(update={"columns": None}) for name, each in wanted.items()}
    plan = planned(document.changed(sources=bare, transformations=()), outputs=False)
    for node in plan.reads():
        assert isinstance(node.operator, Read)
        _show(node.id, node.type, node.operator)
        if pin:
            pin_schema(spec_file(spec), node.id, node.operator.request.schema)
    if not pin and not all(each.columns for each in wanted.values()):
        out().print("`--pin` writes this into the spec", style="dim")


def _show(name: str, connector: str, read: object) -> None:
    from rich.text import Text

    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple, size
    from beam_datahub.compiler.plan import Read
    from beam_datahub.kernels.types import sql_type

    assert isinstance(read, Read)
    facts = [connector]
    facts += [] if read.estimated_rows is None else [f"about {read.estimated_rows:,} rows"]
    facts += [] if read.estimated_bytes is None else [size(read.estimated_bytes)]
    out().print(Text(name, style="bold").append(f"  {', '.join(facts)}", style="dim"))
    personal = _personal(read)
    columns = [("column", "left"), ("type", "left"), *([("personal data", "left")] if personal else [])]
    rows = [
        (field.name, sql_type(field.type), *([", ".join(personal.get(field.name, ()))] if personal else []))
        for field in read.request.schema
    ]
    out().print(simple(None, columns, rows))
    out().print()


def _personal(read: Read) -> dict[str, list[str]]:
    """Column → kinds of personal data that a sample of it seems to hold."""
    from beam_datahub.compiler.sampling import sampled
    from beam_datahub.security.personal_data import find_personal_data

    found: dict[str, list[str]] = {}
    for finding in find_personal_data(sampled(read, _LOOKED_AT)):
        if finding.is_likely:
            found.setdefault(finding.column.partition(".")[0], []).append(finding.kind)
    return {column: list(dict.fromkeys(kinds)) for column, kinds in found.items()}


def pin_schema(file: str, source: str, schema: pa.Schema) -> None:
    """Write the schema of a source into the spec's file and say so."""
    from beam_datahub.cli.session import out
    from beam_datahub.kernels.types import sql_type
    from beam_datahub.spec.pin import pin

    pin(file, source, {field.name: sql_type(field.type).lower() for field in schema})
    out().print(f"{file}: the schema of '{source}' is written ({len(schema)} columns)")
