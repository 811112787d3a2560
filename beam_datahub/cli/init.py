"""`init`: looks at data and writes a spec that works."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.errors import InvalidValue, MissingValue, TargetUnusable, UnknownName

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.component.source import Discovery

# So many text columns get a suggestion of their own.
_SUGGESTED = 2
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
# So many lines show whether a file is delimited.
_LOOKED_AT = 100


@click.command(short_help="Look at a data file and write a spec that works.")
@click.argument("data")
@click.option("-o", "--output", default="integration.yaml", show_default=True, type=click.Path(dir_okay=False), help="The spec.")
@click.option("--connector", help="The connector, where the name of the file does not tell.")
@click.option("--force", is_flag=True, help="Replace a spec that is there.")
def command(data: str, output: str, connector: str | None, force: bool) -> None:
    """Look at DATA (a file, a folder or a glob) and write a spec that reads it, tidies it, and writes Parquet.

    The spec has comments that say what to change next.
    """
    from beam_datahub.cli.session import out
    from beam_datahub.cli.specs import opened, planned

    if os.path.exists(output) and not force:
        raise InvalidValue(f"'{output}' exists already", hint="choose another name with -o, or replace it with --force")
    name = connector or connector_for(data)
    if not connector and _needs_options(name) and _is_delimited(data):
        # Files called .dat or .txt may be either.
        name = "csv"
    folder = os.path.dirname(os.path.abspath(output))
    path = data if "://" in data else os.path.relpath(data, folder)
    found = _discovered(name, data)
    inside = _records_inside(name, found)
    if len(inside) == 1:
        found = _discovered(name, data, records=inside[0])
    mended = {doubt.option: doubt.value for doubt in found.doubts}
    if mended:
        found = _discovered(name, data, **mended)
    text = spec_text(_spec_name(data), name, path, found, inside, mended)
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise TargetUnusable(f"'{output}' cannot be written: {error.strerror}") from error
    planned(opened(output))
    rows = "" if found.rows is None else f", about {found.rows:,} rows"
    console = out()
    console.print(f"{output}: written; it reads {data} ({name}, {len(found.schema)} columns{rows})")
    console.print("next:")
    for what, why in (("preview", "see the first rows"), ("plan", "see what will happen"), ("run", "write out/")):
        console.print(f"  {f'beam-datahub {what} {output}':<{len(output) + 22}} # {why}", soft_wrap=True)


def connector_for(data: str) -> str:
    """The connector whose files are named like `data`, or like the first file in that folder. Raises UnknownName."""
    from beam_datahub.component.files import COMPRESSION_EXTENSIONS
    from beam_datahub.component.registry import component, names

    # Of several formats with the same extension, the first by name: .txt is most often delimited.
    extensions = {
        extension: name
        for name in reversed(names("source"))
        for extension in getattr(component("source", name), "extensions", ())
    }
    candidates = [data]
    if os.path.isdir(data):
        candidates = sorted(os.path.join(folder, each) for folder, _, files in os.walk(data) for each in files)
    for candidate in candidates:
        stem = candidate.lower()
        for compression in (*COMPRESSION_EXTENSIONS.values(), ".gzip", ".zstd"):
            stem = stem.removesuffix(compression)
        for extension in sorted(extensions, key=len, reverse=True):
            if stem.endswith(extension):
                return extensions[extension]
    error = UnknownName("kind of file", os.path.basename(data.rstrip("/")) or data, ())
    error.hint = f"name the connector with --connector; by the name of a file these are found: {', '.join(sorted(extensions))}"
    raise error


def _discovered(name: str, data: str, **options: int | str) -> Discovery:
    from beam_datahub.component.registry import component

    kind: Any = component("source", name)
    if needed := _needs_options(name):
        raise MissingValue(
            f"`{needed[0]}` of {name} cannot be told from the data",
            hint=f"write the spec by hand, `beam-datahub connectors {name}` shows how; if it is delimited, name --connector csv",
        )
    return kind(kind.Connection(path=data).resolved(os.getcwd()), kind.Options(**options)).discover()  # type: ignore[no-any-return]


def _records_inside(name: str, found: Discovery) -> list[str]:
    """Where the records most likely are, for `records`, in a document that reads as one record: its lists of objects."""
    if name not in ("json", "xml") or found.rows != 1:
        return []
    places = list(_lists_of_objects(found.schema))
    if name == "xml":
        return [f"//{place[-1]}" for place in places]
    return ["$" + "".join(map(_step, place)) for place in places]


def _step(part: str) -> str:
    return f".{part}" if _PLAIN_NAME.fullmatch(part) else f"[{json.dumps(part)}]"


def _lists_of_objects(fields: Iterable[pa.Field], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    import pyarrow as pa

    for field in fields:
        place = (*before, field.name)
        if pa.types.is_struct(field.type):
            yield from _lists_of_objects(field.type, place)
        elif pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
            yield place


def _needs_options(name: str) -> list[str]:
    """The options of a source without which it does not read."""
    from beam_datahub.component.registry import component

    kind: Any = component("source", name)
    return [option for option, field in kind.Options.model_fields.items() if field.is_required()]


def _is_delimited(data: str) -> bool:
    """Whether the first lines of a local file have several fields, and all the same number of them."""
    if not os.path.isfile(data):
        return False
    with open(data, encoding="utf-8", errors="replace", newline="") as file:
        lines = list(itertools.islice(file, _LOOKED_AT))
    for delimiter in ",;\t|":
        widths = {len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields}
        if len(widths) == 1 and max(widths) > 1:
            return True
    return False


def _spec_name(data: str) -> str:
    stem = os.path.basename(data.rstrip("/")).split(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "integration"


def spec_text(
    name: str,
    connector: str,
    path: str,
    found: Discovery,
    inside: Sequence[str] = (),
    mended: Mapping[str, int | str] | None = None,
) -> str:
    """The spec, with comments. Each text column that is likely to need it is trimmed; `inside` are the places of records in a
    document, of which a single one is taken; `mended` are options that the data needs.
    """
    from beam_datahub.cli.components import dump
    from beam_datahub.kernels.types import sql_type

    columns = ", ".join(f"{field.name} {sql_type(field.type)}".replace("\n", " ") for field in found.schema)
    listed = "\n".join(f"  # {line}" for line in textwrap.wrap(columns, 110, break_long_words=False, break_on_hyphens=False))
    fields = _suggestions(found.schema)
    config = textwrap.indent(dump({"keep": "all", **({"fields": fields} if fields else {})}), "      ")
    source = dump({"path": path})
    target = dump({"path": f"out/{name}/"})
    records = ""
    if mended:
        records = "".join(f"  {option}: {value}\n" for option, value in mended.items())
    elif len(inside) == 1:
        records = f"  records: {dump(inside[0]).splitlines()[0]}\n"
    elif inside:
        choices = "".join(f"  # records: {dump(place).splitlines()[0]}\n" for place in inside)
        records = f"  # The document is read as one record. For those that are listed in it, choose:\n{choices}"
    return f"""\
name: {dump(name).splitlines()[0]}
description: Reads {_plain(os.path.basename(path.rstrip("/")) or path)}, tidies it, and writes it as Parquet.

source:
  name: input
  connector: {connector}
  connection: {_flow(source)}
{records}{listed}
  # `beam-datahub discover SPEC --pin` writes these types here as `schema:`; from then on, data that does not fit them is
  # rejected.

transformations:
  # The columns as they are, some of them changed. A field is a column, a path such as $.address.city, a template such as
  # "${{first}} ${{last}}", or SQL.
  - id: tidy
    type: mapping
    config:
{config}
  # Keep only some rows: take off the hashes and say which.
  # - id: wanted
  #   type: filtering
  #   config: {{where: {_condition(found.schema)}}}

destination:
  connector: parquet
  connection: {_flow(target)}
  write_mode: overwrite

# Records that cannot be processed go to .beam-datahub/dead-letter/{name}, unless a `dead_letter:` says otherwise.
max_rejected: 5%
"""


def _flow(block: str) -> str:
    return block if block.startswith("{") else "{" + ", ".join(block.splitlines()) + "}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w./-]+", " ", text).strip()


def _suggestions(schema: pa.Schema) -> dict[str, str]:
    import pyarrow as pa

    texts = [field.name for field in schema if field.type == pa.string()]
    return {name: f"trim({_column(name)})" for name in texts[:_SUGGESTED]}


def _condition(schema: pa.Schema) -> str:
    return f"'{_column(schema.names[0])} is not null'"


def _column(name: str) -> str:
    from beam_datahub.kernels.types import quoted

    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else quoted(name)
