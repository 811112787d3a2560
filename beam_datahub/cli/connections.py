"""`connections`: connections that specs name instead of writing out; their secrets are sealed in the store."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Assignment, Listing, json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.component.source import Finding
    from beam_datahub.runtime.connections import SecretOption
    from beam_datahub.store.records import Connection


@click.group(cls=Listing, short_help="Keep connections under a name.")
def command() -> None:
    """Keep connections under a name, so that a spec says `connection: crm` and holds neither addresses nor secrets.

    They are in the store; secrets are sealed with a key of BEAM_DATAHUB_KEY, of the file that BEAM_DATAHUB_KEY_FILE names,
    or of a file beside the store that is made when it is first needed. Without a command, they are listed.
    """


@command.command(short_help="Store a connection.")
@click.argument("name")
@click.argument("connector")
@click.option("--set", "options", type=Assignment(), multiple=True, help="An option, such as host=db.example. Repeatable.")
@click.option(
    "--secret-env", type=Assignment(), multiple=True, metavar="OPTION=VARIABLE", help="Take a secret from a variable now."
)
@click.option("--secret-stdin", metavar="OPTION", help="Read a secret from standard input.")
@click.option("--description", help="What it is for.")
@click.option("--replace", is_flag=True, help="Put it in the place of the one of that name.")
@click.option("--no-check", is_flag=True, help="Do not look whether the connector takes the options.")
@store_option
def add(
    name: str,
    connector: str,
    options: tuple[tuple[str, str], ...],
    secret_env: tuple[tuple[str, str], ...],
    secret_stdin: str | None,
    description: str | None,
    replace: bool,
    no_check: bool,
    store: str | None,
) -> None:
    """Store the connection NAME of a CONNECTOR.

    Options are those that stand under `connection:` in a spec (`beam-datahub connectors CONNECTOR` lists them), with dots for
    those within others: --set auth.user=me. A value of ${env.NAME} or ${secret.NAME} is looked up by every run.

    Secrets that are not given are asked for on a terminal.
    """
    from beam_datahub.runtime.connections import new_connection, secret_options
    from beam_datahub.runtime.upkeep import opened
    from beam_datahub.spec.written import ID_PATTERN
    from beam_datahub.store.location import locate

    if not re.match(ID_PATTERN, name):
        raise click.BadParameter("use letters, digits, '_' and '-', beginning with a letter", param_hint="NAME")
    known = {each.name: each for each in secret_options(connector)}
    plain, secrets = _given(options, secret_env, secret_stdin, known)
    for option in known.values():
        if option.required and option.name not in secrets and option.name not in plain:
            secrets[option.name] = _asked(option)
    location = locate(store)
    made = new_connection(name, connector, plain, secrets, location, description=description, check=not no_check)
    with opened(location) as found:
        found.writer.connections.put(made, replace=replace)
    sealed = f"; sealed: {', '.join(sorted(secrets))}" if secrets else ""
    click.echo(f"stored the connection '{name}' of '{connector}' in {location}{sealed}")


def _given(
    options: tuple[tuple[str, str], ...],
    secret_env: tuple[tuple[str, str], ...],
    secret_stdin: str | None,
    known: dict[str, SecretOption],
) -> tuple[dict[str, Any], dict[str, str]]:
    from beam_datahub.errors import InvalidValue, MissingValue

    plain: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for option, text in options:
        if option in known and not re.search(r"\$\{(env|secret)\.[^{}]+\}", text):
            hint = "leave it out to be asked for it, or use --secret-stdin or --secret-env"
            click.secho(
                f"warning: '{option}' was written on the command line, where others can see it; {hint}", fg="yellow", err=True
            )
            secrets[option] = text
        else:
            plain[option] = _value(text)
    for option, variable in secret_env:
        if variable not in os.environ:
            raise MissingValue(f"the environment variable {variable} is not set", hint=f"export {variable}=…")
        secrets[option] = os.environ[variable]
    if secret_stdin is not None:
        secrets[secret_stdin] = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    for option in secrets:
        if option not in known:
            hint = f"secrets of it are: {', '.join(known)}" if known else "the connector has no secrets; use --set"
            raise InvalidValue(f"'{option}' is not a secret option of the connector", hint=hint)
    return plain, secrets


def _value(text: str) -> Any:
    """A list or a mapping where it is written so; else the text, which the connector reads as what it needs."""
    if text[:1] in "[{" and not text.startswith("${"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _asked(option: SecretOption) -> str:
    if not sys.stdin.isatty():
        from beam_datahub.errors import MissingValue

        hint = f"--secret-env {option.name}=VARIABLE, or --secret-stdin {option.name}"
        raise MissingValue(f"the secret '{option.name}' is missing, and there is no terminal to ask on", hint=hint)
    return str(click.prompt(option.name, hide_input=True, err=True))


@command.command("list", short_help="List the connections.")
@store_option
@json_option
def show_all(store: str | None, as_json: bool) -> None:
    """List the stored connections; no secret is shown."""
    found = _all(store)
    if as_json:
        click.echo(json.dumps([_record(each) for each in found]))
        return
    if not found:
        click.echo("there are no connections; `beam-datahub connections add NAME CONNECTOR` stores one")
        return
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    rows = [
        [each.name, each.connector, ", ".join(sorted(each.sealed)) or "·", _tested(each), each.description or ""]
        for each in found
    ]
    heads = [(head, "left") for head in ("connection", "connector", "secrets", "last test", "description")]
    out().print(simple(None, heads, rows))


@command.command(short_help="Show a connection.")
@click.argument("name")
@store_option
@json_option
def show(name: str, store: str | None, as_json: bool) -> None:
    """Show the options of the connection NAME; secrets are named, not shown."""
    stored = _one(store, name)
    if as_json:
        click.echo(json.dumps(_record(stored)))
        return
    from beam_datahub.security import redact

    click.echo(f"{stored.name}, a connection of {stored.connector}{f': {stored.description}' if stored.description else ''}")
    for option, value in sorted(stored.options.items()):
        click.echo(f"  {option}: {redact(value if isinstance(value, str) else json.dumps(value))}")
    for option in sorted(stored.sealed):
        click.echo(f"  {option}: sealed with the key {_key(stored, option)}")
    click.echo(f"changed {stored.updated_at:%Y-%m-%d %H:%M} UTC by {stored.updated_by}; last test: {_tested(stored)}")


@command.command(short_help="Try to reach the system.")
@click.argument("name")
@click.option("--table", help="A table of a database: may it be read and written?")
@store_option
@json_option
def test(name: str, table: str | None, store: str | None, as_json: bool) -> None:
    """Try whether the system behind the connection NAME can be reached, and whether it can be read and written.

    It ends with 4 where it can neither be read nor written. What only some uses of it need is marked with '!'. Relative paths
    start here. The outcome is kept and shows in the list.
    """
    from beam_datahub.runtime.connections import test_connection
    from beam_datahub.runtime.upkeep import opened
    from beam_datahub.security import redact
    from beam_datahub.store.location import locate

    location = locate(store)
    stored = _one(store, name)
    reports = test_connection(stored, location, os.getcwd(), {"table": table} if table is not None else None)
    fine = [role for role, report in reports.items() if report.fine]
    lines = [(role, found) for role, report in reports.items() for found in report.findings]
    # What both roles find of the server is told once.
    both = {found for role, found in lines if role == "source"} & {found for role, found in lines if role == "sink"}
    lines = list(dict.fromkeys(("either" if found in both else role, found) for role, found in lines))
    words = {"source": "reading, ", "sink": "writing, ", "either": ""}
    passed = bool(fine) or not reports
    missing = [(role, found) for role, found in lines if found.needed and not found.fine]
    message = "; ".join(f"{words[role]}{redact(found.detail)}" for role, found in missing) or None
    if reports:
        with opened(location) as found:
            found.writer.connections.tested(name, passed=passed, message=message)
    if as_json:
        told = [_finding(words[role].rstrip(", "), found) for role, found in lines]
        click.echo(json.dumps({"connection": name, "passed": passed if reports else None, "checks": told}))
    else:
        for role, each in lines:
            _tell(words[role], each)
        if not reports:
            click.echo("its secrets open; the rest shows only with the options of a spec: `beam-datahub validate SPEC`")
    if not passed:
        click.get_current_context().exit(4)


def _finding(role: str, found: Finding) -> dict[str, Any]:
    from beam_datahub.security import redact

    facts = {"for": role, "what": found.what, "fine": found.fine, "detail": redact(found.detail)}
    return {**facts, "hint": redact(found.hint) if found.hint and not found.fine else None, "needed": found.needed}


def _tell(role: str, found: Finding) -> None:
    """One line of a test, and what to do about it."""
    from beam_datahub.cli.session import out
    from beam_datahub.security import redact

    sign, colour = ("✓", "green") if found.fine else ("✗", "red") if found.needed else ("!", "yellow")
    width = min(out().width, 100)
    text = " ".join(redact(f"{role}{found.what}: {found.detail}").split())
    lines = textwrap.wrap(text, width - 2, break_long_words=False, break_on_hyphens=False)
    click.secho(f"{sign} " + "\n  ".join(lines), fg=colour)
    if found.hint and not found.fine:
        for line in textwrap.wrap(redact(f"hint: {found.hint}"), width - 4, break_long_words=False, break_on_hyphens=False):
            click.echo(f"    {line}")


@command.command(short_help="Forget a connection.")
@click.argument("name")
@store_option
def remove(name: str, store: str | None) -> None:
    """Forget the connection NAME and its secrets."""
    from beam_datahub.runtime.upkeep import opened
    from beam_datahub.store.location import locate

    _one(store, name)
    with opened(locate(store)) as found:
        found.writer.connections.remove(name)
    click.echo(f"removed the connection '{name}'")


@command.command(short_help="Seal the secrets with a new key.")
@store_option
@click.option("--same-keys", is_flag=True, help="Make no new key; seal with the first of those that there are.")
def rotate(store: str | None, same_keys: bool) -> None:
    """Make a new key, and seal the secrets of all connections with it.

    The new key stands first in the key file; the old ones stay there, for what else was sealed with them. Keys of
    BEAM_DATAHUB_KEY are yours to change: put the new one before the old one, then use --same-keys.
    """
    from beam_datahub.runtime import connections
    from beam_datahub.runtime.upkeep import opened
    from beam_datahub.store.location import locate

    with opened(locate(store)) as found:
        key, done = connections.rotate(found, fresh=not same_keys)
    if key is None:
        click.echo("no secret was ever sealed here: there is no key to change")
        return
    click.echo(f"the key {key} seals now; sealed again: {', '.join(done) or 'nothing'}")


def _all(store: str | None) -> list[Connection]:
    from beam_datahub.runtime.upkeep import opened
    from beam_datahub.store.location import locate

    location = locate(store)
    if not location.exists() and not location.explicit:
        return []
    with opened(location) as found:
        return found.reader.connections.all()


def _one(store: str | None, name: str) -> Connection:
    from beam_datahub.errors import UnknownName

    found = {each.name: each for each in _all(store)}
    if name not in found:
        raise UnknownName("connection", name, found)
    return found[name]


def _record(stored: Connection) -> dict[str, Any]:
    moments = {"created_at": stored.created_at, "updated_at": stored.updated_at, "tested_at": stored.tested_at}
    return {
        "name": stored.name,
        "connector": stored.connector,
        "options": dict(stored.options),
        "secrets": {option: {"key": _key(stored, option)} for option in stored.sealed},
        "description": stored.description,
        "updated_by": stored.updated_by,
        "test_passed": stored.test_passed,
        "test_message": stored.test_message,
        **{name: at.isoformat() if at else None for name, at in moments.items()},
    }


def _key(stored: Connection, option: str) -> str | None:
    from beam_datahub.security.sealing import key_of

    return key_of(stored.sealed[option])


def _tested(stored: Connection) -> str:
    if stored.tested_at is None:
        return "never"
    return f"{'passed' if stored.test_passed else 'failed'} {stored.tested_at:%Y-%m-%d %H:%M}"
