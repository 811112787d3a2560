"""`lineage`: what data comes from, where it goes, and what breaks without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beam_datahub.cli.options import set_option, spec_argument, store_option
from beam_datahub.errors import DataHubError, InvalidValue

if TYPE_CHECKING:
    from beam_datahub.lineage.gathering import Gathered
    from beam_datahub.lineage.impact import Impact
    from beam_datahub.spec import SpecDocument

_Function = TypeVar("_Function", bound=Callable[..., Any])
_SUFFIXES = (".yaml", ".yml", ".json")


@click.group(short_help="Show where data comes from and goes to.")
def command() -> None:
    """Show where columns come from and go to, within an integration and from one to the next.

    DATASET is the id of a source or destination (`orders`, or `shop.orders` with its integration), a file or table
    (`out/rows.jsonl`, `public.orders`) or a whole OpenLineage name (`file:/data/rows.jsonl`). A column follows behind `#`
    (`out/rows.jsonl#amount`), or behind a dot where that cannot be misread (`orders.amount`).
    """


def _format_option(*forms: str) -> Callable[[_Function], _Function]:
    # As all other commands have it.
    short = click.option("--json", "form", flag_value="json", help="The same as --format json.")
    named = click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default="tree",
        show_default=True,
        help="A readable tree, a Mermaid flowchart for documents, or JSON for programs.",
    )
    return lambda function: named(short(function))


def _what(function: _Function) -> _Function:
    function = store_option(set_option(function))
    function = click.argument("specs", nargs=-1, metavar="[SPEC | FOLDER]...", type=click.Path())(function)
    return click.argument("what", metavar="DATASET[#COLUMN]")(function)


@command.command(short_help="The lineage of a spec.")
@spec_argument
@set_option
@store_option
@_format_option("tree", "mermaid", "json")
def show(spec: str, parameters: tuple[tuple[str, str], ...], store: str | None, form: str) -> None:
    """Show which columns of its sources the columns of SPEC's destinations come from, and what decides over their rows."""
    from beam_datahub.cli.lineage_view import lineage_tree
    from beam_datahub.lineage.render import lineage_json, lineage_mermaid

    (lineage,) = _gathered((spec,), parameters, store).lineages
    if form == "tree":
        _print(lineage_tree(lineage))
    else:
        _say(json.dumps(lineage_json(lineage), indent=2, ensure_ascii=False) if form == "json" else lineage_mermaid(lineage))


@command.command(short_help="What data comes from.")
@_what
@_format_option("tree", "mermaid", "json")
def upstream(what: str, specs: tuple[str, ...], parameters: tuple[tuple[str, str], ...], store: str | None, form: str) -> None:
    """Show what a dataset or column comes from, through all integrations of the given specs, or of the store."""
    _walk(what, _known(specs, parameters, store), form, "upstream")


@command.command(short_help="Where data goes.")
@_what
@_format_option("tree", "mermaid", "json")
def downstream(what: str, specs: tuple[str, ...], parameters: tuple[tuple[str, str], ...], store: str | None, form: str) -> None:
    """Show where a dataset or column goes, through all integrations of the given specs, or of the store."""
    _walk(what, _known(specs, parameters, store), form, "downstream")


@command.command(short_help="What breaks without a column or dataset.")
@_what
@_format_option("tree", "mermaid", "json")
def impact(what: str, specs: tuple[str, ...], parameters: tuple[tuple[str, str], ...], store: str | None, form: str) -> None:
    """Show what breaks when a column, or a whole dataset, goes.

    Every integration that reads it is compiled without it: the steps that fail are named with their lines, the columns of
    destinations that change, and the integrations that read these in turn. Exit code 1 when anything breaks.
    """
    from beam_datahub.cli.lineage_view import impact_tree
    from beam_datahub.lineage.impact import breaks
    from beam_datahub.lineage.impact import impact as find
    from beam_datahub.lineage.render import impact_json, impact_mermaid
    from beam_datahub.lineage.selection import selected

    gathered = _known(specs, parameters, store, compiled=True)
    graph = gathered.graph
    dataset, column = selected(what, graph)
    found: tuple[Impact, ...] = find(dataset, column, gathered)
    start = graph.at(dataset, column)
    if form == "json":
        record = {"namespace": dataset.namespace, "name": dataset.name, "column": column, "breaks": breaks(found)}
        _say(json.dumps({**record, "integrations": impact_json(found)}, indent=2, ensure_ascii=False))
    elif form == "mermaid":
        _say(impact_mermaid(start, found))
    else:
        _print(impact_tree(start, found))
    if breaks(found):
        click.get_current_context().exit(1)


def _walk(what: str, gathered: Gathered, form: str, direction: str) -> None:
    from beam_datahub.cli.lineage_view import walk_tree
    from beam_datahub.lineage.render import walk_json, walk_mermaid
    from beam_datahub.lineage.selection import selected

    graph = gathered.graph
    dataset, column = selected(what, graph)
    walk = graph.upstream(dataset, column) if direction == "upstream" else graph.downstream(dataset, column)
    if form == "tree":
        _print(walk_tree(walk))
    else:
        _say(json.dumps(walk_json(walk), indent=2, ensure_ascii=False) if form == "json" else walk_mermaid(walk))


def _known(specs: Sequence[str], parameters: Iterable[tuple[str, str]], store: str | None, *, compiled: bool = False) -> Gathered:
    """The lineage of the given specs, or without any of all integrations that the store knows; `compiled` with their plans."""
    if specs:
        return _gathered(specs, parameters, store)
    from beam_datahub.cli.registered import text_of
    from beam_datahub.cli.specs import with_connections
    from beam_datahub.lineage.gathering import Gathered, gather
    from beam_datahub.runtime.lineage_records import stored_lineage
    from beam_datahub.store.location import locate

    location = locate(store)
    if not location.exists():
        raise InvalidValue("there is no store here, and no spec is named", hint="name specs or folders, or run one first")
    stored = stored_lineage(location)
    recorded = {each.integration: each for each in stored.lineages}
    documents = []
    for spec in stored.specs:
        if compiled or spec.integration not in recorded:
            try:
                given = {**spec.parameters, **dict(parameters)}
                document = text_of(spec.text, spec.integration, spec.path, given, label=spec.label)[0]
                documents.append(with_connections(document, location))
            except DataHubError:
                # Its lineage of the last run is known all the same, where it ever ran.
                continue
    found = gather(documents)
    fresh = {each.integration: each for each in found.lineages}
    return Gathered([*{**recorded, **fresh}.values()], found.plans, found.problems)


def _gathered(specs: Sequence[str], parameters: Iterable[tuple[str, str]], store: str | None) -> Gathered:
    """The lineage of all specs; those that give none are told, and with none left the first one's error is raised."""
    from beam_datahub.cli.failures import say
    from beam_datahub.cli.specs import dead_letter_folder, with_connections
    from beam_datahub.lineage.gathering import gather
    from beam_datahub.store.location import locate

    documents, failures = _documents(specs, dict(parameters))
    location = locate(store)
    for each in documents:
        with_connections(each, location)
    found = gather(documents, {each.integration.name: dead_letter_folder(each) for each in documents})
    problems = [*failures, *found.problems.values()]
    if not found.lineages:
        raise problems[0] if problems else InvalidValue("there is no spec here", hint="name a spec, or a folder of them")
    for error in problems:
        say(error)
    return found


def _documents(specs: Sequence[str], parameters: dict[str, str]) -> tuple[list[SpecDocument], list[DataHubError]]:
    from beam_datahub.cli.specs import spec_file
    from beam_datahub.spec import load

    documents: list[SpecDocument] = []
    failures: list[DataHubError] = []
    for each in specs:
        if not Path(each).is_dir():
            documents.append(load(spec_file(each), parameters=parameters))
            continue
        for file in _specs_in(Path(each)):
            try:
                documents.append(load(str(file), parameters={}))
            except DataHubError as error:
                failures.append(error)
    return documents, failures


def _specs_in(folder: Path) -> Iterator[Path]:
    """The files below a folder that say sources and destinations."""
    from beam_datahub.spec.tree import read_text, read_tree

    for file in sorted(folder.rglob("*")):
        if file.suffix not in _SUFFIXES or not file.is_file() or any(part.startswith(".") for part in file.parts[:-1]):
            continue
        try:
            value = read_tree(read_text(file), str(file)).value
        except DataHubError:
            continue
        if isinstance(value, dict) and {"source", "sources"} & value.keys() and {"destination", "destinations"} & value.keys():
            yield file


def _print(tree: Any) -> None:
    from beam_datahub.cli.session import out

    out().print(tree)


def _say(text: str) -> None:
    from beam_datahub.security import redact

    click.echo(redact(text))
