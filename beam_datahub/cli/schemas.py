"""`schemas`: the registry of Avro, JSON and Protobuf schemas, and conversions between them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Listing, json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.runtime.schemas import SchemaRegistry
    from beam_datahub.schemas.difference import Verdict
    from beam_datahub.schemas.document import Document, Format
    from beam_datahub.store.schema_records import SchemaReference, SchemaVersion

_LEVELS = (
    "none",
    "backward",
    "backward_transitive",
    "forward",
    "forward_transitive",
    "full",
    "full_transitive",
)
_FORMATS = ("avro", "json", "protobuf")


def _format_option(function: Any) -> Any:
    return click.option("--format", "kind", type=click.Choice(_FORMATS), help="The format; told from the file unless given.")(
        function
    )


def _subject_option(function: Any) -> Any:
    return click.option("--subject", "-s", required=True, help="The subject, such as orders-value.")(function)


def _reference_option(function: Any) -> Any:
    return click.option(
        "--reference",
        "references",
        multiple=True,
        metavar="NAME=SUBJECT[:VERSION]",
        help="What a name in the schema refers to. Repeatable.",
    )(function)


@click.group(cls=Listing, short_help="Keep schemas and their versions.")
def command() -> None:
    """Keep Avro, JSON and Protobuf schemas under subjects, version by version.

    A new version is refused when it breaks what the subject promises to its readers and writers: it is told why, where,
    and what to change. Without a command, the subjects are listed.
    """


@command.command("list", short_help="List the subjects.")
@click.option("--deleted", is_flag=True, help="Also those whose versions are all deleted.")
@store_option
@json_option
def show_all(deleted: bool, store: str | None, as_json: bool) -> None:
    """List the subjects with their versions and what new ones must keep to."""
    with _opened(store) as (found, registry):
        subjects = found.reader.subjects.all(deleted=deleted)
        kinds = {each.name: each.versions and found.reader.subjects.version(each.name).type for each in subjects}
        records = [
            {
                "subject": each.name,
                "format": kinds[each.name] or None,
                "versions": list(each.versions),
                "compatibility": registry.level(each.name).value,
                "deleted": each.deleted,
            }
            for each in subjects
        ]
    if as_json:
        click.echo(json.dumps(records))
        return
    if not records:
        click.echo("there are no subjects; `beam-datahub schemas register FILE --subject S` makes one")
        return
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    heads = [(head, "left") for head in ("subject", "format", "versions", "compatibility")]
    rows = [
        [str(each["subject"]), str(each["format"] or "·"), _numbers(each["versions"]), str(each["compatibility"])]
        for each in records
    ]
    out().print(simple(None, heads, rows))


@command.command(short_help="Show a subject or a version of it.")
@click.argument("subject")
@click.option("--version", "number", type=int, help="The version; the newest unless given.")
@store_option
@json_option
def show(subject: str, number: int | None, store: str | None, as_json: bool) -> None:
    """Show the newest version of SUBJECT, or the one of SUBJECT:VERSION or --version. Piped, it writes the schema alone."""
    with _opened(store) as (_, registry):
        name, colon, text = subject.rpartition(":")
        if number is None and colon and text.isdigit():
            subject, number = name, int(text)
        version = registry.latest(subject, number)
        level = registry.level(subject)
    if as_json:
        click.echo(json.dumps({**_record(version), "compatibility": level.value}))
        return
    if sys.stdout.isatty():
        click.secho(
            f"{version.subject}, version {version.version}, id {version.id}, {version.type}; new versions: {level.value}",
            bold=True,
        )
        for each in version.references:
            click.echo(f"  {each.name}: version {each.version} of {each.subject}")
    click.echo(version.text.rstrip("\n"))


@command.command(short_help="Register a schema.")
@click.argument("file", type=click.Path(allow_dash=True))
@_subject_option
@_format_option
@_reference_option
@store_option
@json_option
def register(file: str, subject: str, kind: str | None, references: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Register the schema in FILE (- for standard input) as the next version of a subject.

    A schema that the subject has already, in whatever layout, makes no new version. One that is refused registers nothing.
    """
    text, found = _read(file, kind)
    with _opened(store, made=True) as (_, registry):
        done = registry.register(subject, found, text, _referred(references, registry))
    if as_json:
        click.echo(json.dumps({**_record(done.version), "new": done.new}))
        return
    what = "registered" if done.new else "already there:"
    click.echo(f"{what} version {done.version.version} of '{subject}', id {done.version.id}")


@command.command(short_help="Look whether a schema may follow.")
@click.argument("file", type=click.Path(allow_dash=True))
@_subject_option
@_format_option
@_reference_option
@click.option("--level", type=click.Choice(_LEVELS), help="Another level than the subject's.")
@store_option
@json_option
def check(
    file: str,
    subject: str,
    kind: str | None,
    references: tuple[str, ...],
    level: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Look whether the schema in FILE may become the next version of a subject; register nothing.

    It tells every reason, what to change, and where that can be done without asking, the mended schema. Exit code 3 where
    the schema is refused.
    """
    text, found = _read(file, kind)
    with _opened(store) as (_, registry):
        document = registry.new_document(found, text, _referred(references, registry))
        fresh = not registry.has(subject)
        verdict = registry.check(subject, document, level)
    if as_json:
        click.echo(json.dumps({"subject": subject, **_told(verdict)}))
    elif verdict.compatible:
        why = "the subject is new" if fresh else f"it is {verdict.level.value} compatible"
        click.secho(f"✓ the schema may become a version of '{subject}': {why}", fg="green")
    else:
        _print(subject, verdict)
    if not verdict.compatible:
        click.get_current_context().exit(3)


@command.command(short_help="Compare two schemas.")
@click.argument("old")
@click.argument("new")
@_format_option
@store_option
@json_option
def diff(old: str, new: str, kind: str | None, store: str | None, as_json: bool) -> None:
    """Tell all that differs from OLD to NEW, each a file or a version of a subject as SUBJECT:VERSION or SUBJECT.

    ✗ marks what keeps a reader with NEW from data written with OLD. Exit code 1 where there is such a difference.
    """
    from beam_datahub.errors import InvalidValue
    from beam_datahub.schemas.compatibility import differences

    before, after = _either(old, kind, store), _either(new, kind, store)
    if before.format is not after.format:
        raise InvalidValue(f"{old} is a schema of {before.format}, {new} of {after.format}", hint="convert one of them")
    found = differences(after, before)
    records = [
        {
            "code": each.code,
            "path": each.path,
            "compatible": each.compatible,
            "reason": each.words.format(reader="the new schema", writer="the old one"),
        }
        for each in found
    ]
    if as_json:
        click.echo(json.dumps(records))
    else:
        for record in records:
            mark, colour = ("·", None) if record["compatible"] else ("✗", "red")
            click.secho(f"{mark} {record['path']}: {record['reason']} ({record['code']})", fg=colour)
        if not records:
            click.echo("they say the same" if before.fingerprint == after.fingerprint else "nothing differs for a reader")
    if any(not record["compatible"] for record in records):
        click.get_current_context().exit(1)


@command.command(short_help="Write a schema in another format.")
@click.argument("schema")
@click.option(
    "--to", "target", required=True, type=click.Choice([*_FORMATS, "arrow", "sql"]), help="What to make; arrow shows columns."
)
@_format_option
@click.option("--dialect", default="postgresql", show_default=True, help="The SQL dialect to write.")
@click.option("--from-dialect", "spoken", default="postgresql", show_default=True, help="The SQL dialect of a .sql file.")
@click.option("--name", help="The name of the record, message or table; that of the file or subject unless given.")
@click.option("--strict", is_flag=True, help="Refuse what loses anything.")
@store_option
@json_option
def convert(
    schema: str,
    target: str,
    kind: str | None,
    dialect: str,
    spoken: str,
    name: str | None,
    strict: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Write the schema in a file, or the one of a subject's version (SUBJECT:VERSION or SUBJECT), in another format.

    A file called *.sql holds a CREATE TABLE.
    What the other format cannot keep is told on standard error; --strict refuses it (exit code 3).
    """
    from beam_datahub.cli.schema_tables import columns_text, table_of
    from beam_datahub.schemas import conversion
    from beam_datahub.schemas.document import Format

    if schema.endswith(".sql") and kind is None:
        columns = table_of(_read(schema, "json")[0], spoken)
    else:
        columns = conversion.to_columns(_either(schema, kind, store))
    lossy = list(columns.lossy)
    called = name or Path(schema.partition(":")[0]).stem.replace("-", "_").strip("_") or "row"
    if target in ("arrow", "sql"):
        text, more = columns_text(columns.schema, called, dialect if target == "sql" else None)
    else:
        made = conversion.from_columns(columns.schema, Format(target), called)
        text, more = made.text, [*made.lossy, *made.values]
    lossy += more
    if strict:
        conversion.strict(tuple(lossy), f"the conversion to {target}")
    if as_json:
        click.echo(json.dumps({"schema": text, "lossy": lossy}))
        return
    click.echo(text.rstrip("\n"))
    for each in lossy:
        click.secho(f"not kept: {each}", fg="yellow", err=True)


@command.command(short_help="Show or set what versions keep to.")
@click.argument("subject", required=False)
@click.argument("level", type=click.Choice([*_LEVELS, "default"]), metavar="[LEVEL]", required=False)
@click.option("--all", "general", type=click.Choice(_LEVELS), help="Set it for all subjects that have no setting.")
@store_option
def compatibility(subject: str | None, level: str | None, general: str | None, store: str | None) -> None:
    """Show what new versions of SUBJECT must keep to, or set it to LEVEL; `default` takes its setting away.

    backward: readers with the new version read what was written with the newest before. forward: readers with that read
    what is written with the new one. full: both. backward_transitive, forward_transitive, full_transitive: so for all
    versions before. none: anything goes.
    """
    from beam_datahub.schemas.difference import Level

    with _opened(store, made=general is not None) as (_, registry):
        if general is not None:
            registry.set_level(None, Level(general))
        if subject is not None and level is not None:
            registry.set_level(subject, None if level == "default" else Level(level))
        whom = "subjects without a setting of their own" if subject is None else f"'{subject}'"
        click.echo(f"new versions of {whom}: {registry.level(subject).value}")


@command.command(short_help="Delete a subject or a version.")
@click.argument("subject")
@click.option("--version", "number", type=int, help="The version; all unless given.")
@click.option("--permanent", is_flag=True, help="For good; else the schema stays under its id, and the number stays used.")
@store_option
def delete(subject: str, number: int | None, permanent: bool, store: str | None) -> None:
    """Delete SUBJECT, or a version of it. A schema that another one refers to stays."""
    with _opened(store) as (_, registry):
        numbers = registry.delete(subject, number, permanent=permanent)
    click.echo(f"deleted {_numbers(numbers)} of '{subject}'{' for good' if permanent else ''}")


def _numbers(numbers: Any) -> str:
    return ", ".join(f"v{number}" for number in numbers) or "·"


@contextmanager
def _opened(store: str | None, *, made: bool = False) -> Iterator[tuple[Any, SchemaRegistry]]:
    """The store and its registry; with `made` a store is made where there is none."""
    from beam_datahub.runtime.schemas import SchemaRegistry
    from beam_datahub.runtime.upkeep import make, opened
    from beam_datahub.store.location import locate

    location = locate(store)
    if made and not location.exists():
        make(location)
    with opened(location) as found:
        yield found, SchemaRegistry(found.reader, found.writer)


def _read(file: str, kind: str | None) -> tuple[str, Format]:
    from beam_datahub.errors import InvalidSchema, SourceMissing
    from beam_datahub.schemas.document import Format, format_of

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSchema(f"{file} is not text in UTF-8") from error
    except OSError as error:
        raise SourceMissing(f"{file}: {error.strerror or error}") from error
    return text, Format(kind) if kind else format_of(file, text)


def _either(named: str, kind: str | None, store: str | None) -> Document:
    """The schema in a file, or that of a subject's version."""
    from beam_datahub.schemas.compatibility import validate
    from beam_datahub.schemas.document import Document

    if named == "-" or Path(named).exists():
        text, found = _read(named, kind)
        document = Document(found, text)
        validate(document)
        return document
    subject, colon, number = named.rpartition(":")
    with _opened(store) as (_, registry):
        if colon and number.isdigit():
            return registry.document(registry.latest(subject, int(number)))
        return registry.document(registry.latest(named))


def _referred(references: tuple[str, ...], registry: SchemaRegistry) -> list[SchemaReference]:
    from beam_datahub.runtime.schemas import reference_of

    return [reference_of(each, registry) for each in references]


def _record(version: SchemaVersion) -> dict[str, Any]:
    return {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        "format": version.type,
        "references": [{"name": each.name, "subject": each.subject, "version": each.version} for each in version.references],
        "schema": version.text,
    }


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "compatible": verdict.compatible,
        "level": verdict.level.value,
        "problems": [
            {
                "code": each.code,
                "path": each.path,
                "version": each.version,
                "direction": each.direction.value,
                "reason": each.reason,
                "fix": each.fix,
            }
            for each in verdict.problems
        ],
        "proposal": verdict.proposal,
    }


def _print(subject: str, verdict: Verdict) -> None:
    click.secho(f"✗ the schema may not become a version of '{subject}', which is {verdict.level.value} compatible", fg="red")
    for each in verdict.problems:
        click.echo(f"  {each.path}: {each.reason} ({each.code})")
        click.secho(f"      {each.fix}", dim=True)
    if verdict.proposal is not None:
        click.echo("a schema that may:")
        click.echo(verdict.proposal)
