"""What `export` and `erase` share: whose records are meant, which integrations are looked through, and the report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beam_datahub.cli.options import Assignment, set_option, store_option

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import Location, StoreHere
    from beam_datahub.runtime.subject_places import Place, Target
    from beam_datahub.runtime.subject_request import Outcome
    from beam_datahub.spec import SpecDocument

_Function = TypeVar("_Function", bound=Callable[..., Any])
_STATES = {
    "nothing": "nothing there",
    "found": "found",
    "erased": "erased",
    "kept": "kept",
    "failed": "failed",
    "unsearchable": "cannot be told",
    "unrelated": "not concerned",
}


def subject_options(function: _Function) -> _Function:
    """The arguments and options of both commands."""
    decorators = [
        click.argument("named", nargs=-1, metavar="[SPEC | NAME]..."),
        click.option("--all", "every", is_flag=True, help="All integrations that are registered in the store."),
        click.option(
            "--subject",
            "keys",
            type=Assignment(),
            multiple=True,
            required=True,
            metavar="COLUMN=VALUE",
            help="Whose records: a column of a source, or of a destination, and the value in it. Repeatable: any of them.",
        ),
        click.option("--mentions", is_flag=True, help="Take rejected records that are no JSON and mention the value as well."),
        set_option,
        store_option,
        click.option("--report", "report_file", type=click.Path(dir_okay=False), help="Write the report to this file, as JSON."),
        click.option("--json", "as_json", is_flag=True, help="Write the report to standard output as JSON, and nothing else."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@contextmanager
def prepared(
    named: Sequence[str],
    every: bool,
    keys: Sequence[tuple[str, str]],
    parameters: Sequence[tuple[str, str]],
    store: str | None,
    *,
    mentions: bool,
    settles: bool,
) -> Iterator[tuple[list[Target | Place], Location, StoreHere, list[str]]]:
    """What is to be looked through, where the store is, the store, and the names of the integrations."""
    from beam_datahub.cli.specs import dead_letter_folder
    from beam_datahub.errors import InvalidValue
    from beam_datahub.runtime.run_id import new_run_id
    from beam_datahub.runtime.settling import settle
    from beam_datahub.runtime.store_link import StoreHere, locate
    from beam_datahub.runtime.subject_places import Search, targets

    if not named and not every:
        raise click.UsageError("Name a spec or a registered integration, or take --all.")
    for column, value in keys:
        if not value:
            raise InvalidValue(f"the subject's {column} is empty", hint="write --subject email=ada@example.org")
    location = locate(store)
    link = StoreHere(location)
    try:
        there = link if location.exists() else None
        if there is not None and settles:
            # A replay that died holds records which are still to be published.
            there.writer.runs.recover()
            settle(there)
        documents = list(_documents(named, every, parameters, location, there))
        search = Search(tuple(keys), f"subject-{new_run_id()}", mentions)
        found = targets(documents, search, there, dead_letter_folder)
        yield found, location, link, list(dict.fromkeys(document.integration.name for document in documents))
    finally:
        link.close()


def _documents(
    named: Sequence[str], every: bool, parameters: Sequence[tuple[str, str]], location: Location, link: StoreHere | None
) -> Iterator[SpecDocument]:
    """The specs; of what is registered all versions, for older ones may have written elsewhere."""
    from beam_datahub.cli.registered import spec_of
    from beam_datahub.errors import StoreUnusable

    if every and link is None:
        raise StoreUnusable(f"there is no store at {location}", hint="name the specs, or the store with --store")
    registered = {each.name for each in link.reader.integrations.all()} if link is not None else set()
    names = list(dict.fromkeys([*named, *(sorted(registered) if every else ())]))
    for name in names:
        if link is None or name not in registered or os.path.exists(name):
            document, _, other = spec_of(name, parameters, location)
            if other is not None:
                other.close()
            yield document
        else:
            yield from _versions(name, parameters, location, link)


def _versions(name: str, parameters: Sequence[tuple[str, str]], location: Location, link: StoreHere) -> Iterator[SpecDocument]:
    from beam_datahub.cli.registered import text_of
    from beam_datahub.cli.specs import with_connections
    from beam_datahub.errors import DataHubError

    last = link.reader.runs.last(name)
    usual = dict(last.parameters) if last is not None else {}
    for number, version in enumerate(link.reader.integrations.versions(name)):
        try:
            given = {**usual, **dict(parameters)}
            document, _ = text_of(version.spec, name, version.path, given, label=f"{name}@{version.version}", integration=name)
        except DataHubError:
            # An older version may need parameters that the newest has not.
            if number == 0:
                raise
            continue
        yield with_connections(document, location)


def ended(outcome: Outcome, link: StoreHere, *, report_file: str | None, as_json: bool, quiet: bool = False) -> None:
    """Show what came of a request, write its report, note it in the audit; ends with 1 or 4 where not all is settled."""
    from beam_datahub.runtime.subject_request import note

    if not outcome.dry_run:
        note(outcome, link)
    text = json.dumps(outcome.as_record(), ensure_ascii=False, indent=None if as_json else 1)
    if report_file is not None:
        write_whole(report_file, (json.dumps(outcome.as_record(), ensure_ascii=False, indent=1) + "\n").encode())
    if as_json:
        click.echo(text)
    elif not quiet:
        _show(outcome)
    if not outcome.is_complete:
        click.get_current_context().exit(4 if any(place.state == "failed" for place in outcome.places) else 1)


def write_whole(path: str, data: bytes) -> None:
    """Write a file that only this user may read, as a whole or not at all. Raises TargetUnusable."""
    from beam_datahub.errors import TargetUnusable

    fresh = f"{path}.{os.getpid()}.new"
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except OSError as error:
        raise TargetUnusable(f"'{path}' cannot be written: {error.strerror}") from error


def _show(outcome: Outcome) -> None:
    from beam_datahub.cli.session import err, out
    from beam_datahub.cli.tables import simple

    console = out() if outcome.action == "erase" else err()
    heads = [("integration", "left"), ("place", "left"), ("records", "right"), ("", "left"), ("by", "left")]
    rows = []
    for place in outcome.places:
        state = _STATES[place.state]
        if place.state == "found" and outcome.action == "erase":
            state = "would be erased"
        rows.append([place.integration, place.name, f"{place.found:,}", state, ", ".join(place.columns)])
    console.print(simple(None, heads, rows))
    for place in outcome.places:
        if place.reason is not None:
            console.print(f"{place.integration}, {place.name}: {place.reason}", soft_wrap=True)
        elif place.unknown:
            told = "; ".join(f"{name}: {why}" for name, why in place.unknown.items())
            console.print(f"{place.integration}, {place.name}: not told by {told}", style="dim", soft_wrap=True)
    console.print()
    verb = "erased" if outcome.action == "erase" and not outcome.dry_run else "found"
    count = sum(place.erased if verb == "erased" else place.found for place in outcome.places)
    console.print(f"{verb} {count:,} record{'s' * (count != 1)}" + ("; dry run: nothing was changed" if outcome.dry_run else ""))
    if not outcome.is_complete:
        console.print("not all places are settled: see above", style="yellow")
    if outcome.action == "erase":
        console.print("sources are not touched: erase there as well, or the next run brings it back", style="dim")
    else:
        console.print("sources were not looked through", style="dim")
