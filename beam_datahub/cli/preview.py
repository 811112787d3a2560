"""`preview`: the first rows after any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import set_option, spec_argument

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from beam_datahub.compiler.plan import Plan
    from beam_datahub.spec import SpecDocument

# A preview reads so many records of each file, so that it is fast and a filter still lets some through.
_SAMPLE = 10_000
_REJECTED_SHOWN = 10


@click.command(short_help="Show the first rows after a step.")
@spec_argument
@click.argument("step", required=False)
@set_option
@click.option("--rows", type=click.IntRange(min=1), default=10, show_default=True, help="How many rows to show.")
@click.option("--unmasked", is_flag=True, help="Show personal data that a source declares under `pii` as it is.")
def command(spec: str, step: str | None, parameters: tuple[tuple[str, str], ...], rows: int, unmasked: bool) -> None:
    """Show the first rows after STEP of SPEC, and the records that were rejected on the way to it.

    STEP is a source, a transformation, a branch of a route (`step.branch`) or a destination; without it, the last
    transformation. Reads the first 10,000 records of each file and writes nothing. Columns with personal data that no step has
    masked, by the `pii` of the sources, are shown masked.
    """
    from beam_datahub.cli.session import out
    from beam_datahub.cli.specs import opened, planned
    from beam_datahub.cli.tables import print_data
    from beam_datahub.compiler.discretion import tags_of
    from beam_datahub.runtime.collect import collect, step_outputs

    document = opened(spec, parameters)
    destinations = {sink.id: sink.input[0] for sink in document.integration.destinations}
    wanted = destinations.get(step or "", step)
    part = _part(document, wanted)
    plan = planned(part, limit=max(_SAMPLE, rows), outputs=False)
    reference = _reference(wanted, plan)
    references = [reference] if reference not in plan.nodes else step_outputs(plan, reference)
    collected = collect(plan, {each: each for each in references})
    if collected.result.error is not None:
        raise collected.result.error
    tags = {} if unmasked else tags_of(plan, part)
    console = out()
    for each in references:
        table = _without_personal_data(collected.tables[each].slice(0, rows), tags.get(plan.node(each).id, {}))
        count = collected.tables[each].num_rows
        _heading(console, each, count, rows)
        print_data(console, table, rows)
        console.print()
    _rejected(console, collected.rejected, {node.step for node in plan if tags.get(node.id)})
    if any(line["read"] >= _SAMPLE for line in collected.result.books.values()):
        console.print(f"(over the first {_SAMPLE:,} records of each file)", style="dim")


def _part(document: SpecDocument, step: str | None) -> SpecDocument:
    """The spec without the steps that STEP does not need: they may be half written as yet."""
    spec = document.integration
    steps = {each.id: each for each in spec.transformations}
    ids = {*steps, *spec.sources}
    waiting = [_id(step, ids)] if step is not None else list(ids)
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in needed or name not in ids:
            continue
        needed.add(name)
        if name in steps:
            # An enrichment names its reference in its config.
            mentioned = ids.intersection(_texts(steps[name].config))
            waiting += [*(_id(each, ids) for each in steps[name].input), *mentioned]
    if not needed:
        return document
    sources = {name: source for name, source in spec.sources.items() if name in needed}
    return document.changed(sources=sources, transformations=tuple(each for name, each in steps.items() if name in needed))


def _id(reference: str, ids: set[str]) -> str:
    return reference if reference in ids else reference.rpartition(".")[0]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))


def _reference(step: str | None, plan: Plan) -> str:
    """The node or branch that the user means. Raises UnknownName."""
    from beam_datahub.errors import UnknownName
    from beam_datahub.runtime.collect import step_outputs

    steps = [node.id for node in plan if node.id == node.step]
    if step is None:
        return steps[-1]
    known = [*steps, *(name for each in steps for name in step_outputs(plan, each) if name != each)]
    if step not in known:
        raise UnknownName("step", step, known)
    return step


def _without_personal_data(table: pa.Table, tags: Mapping[str, Any]) -> pa.Table:
    from beam_datahub.compiler.discretion import masks_of
    from beam_datahub.kernels.masking import masked
    from beam_datahub.kernels.session import KernelSession

    masks = masks_of(tags, table.schema)
    if not masks:
        return table
    with KernelSession(threads=1) as session:
        return masked(table, masks, session)


def _heading(console: Console, reference: str, count: int, rows: int) -> None:
    from rich.text import Text

    shown = min(rows, count)
    of = f" of {count:,}" if count > shown else ""
    text = Text(reference, style="bold").append(f": {shown}{of} row{'' if count == 1 else 's'}", style="not bold")
    console.print(text)


def _rejected(console: Console, rejected: pa.Table, private: set[str]) -> None:
    """The rejected records; of steps with personal data neither the record nor the message, which may quote from it."""
    from rich.text import Text

    from beam_datahub.security import redact

    if not rejected.num_rows:
        return
    more = f", the first {_REJECTED_SHOWN}" if rejected.num_rows > _REJECTED_SHOWN else ""
    console.print(Text(f"Rejected: {rejected.num_rows:,}{more}", style="bold"))
    for letter in rejected.slice(0, _REJECTED_SHOWN).to_pylist():
        name = (letter["file"] or letter["source"] or "").rpartition("/")[2]
        place = f"{name}:{letter['line']}" if letter["line"] is not None else name
        head = Text(f"  {letter['step']}", style="bold").append(f"  {letter['reason']}  {place}", style="not bold")
        console.print(head)
        if private & {letter["step"], letter["source"]}:
            column = f"; the column at fault is {letter['column']}" if letter["column"] else ""
            console.print(Text(f"    (may hold personal data: --unmasked shows it{column})", style="dim"))
            continue
        console.print(Text(f"    {redact(letter['message'] or '')}"))
        original = redact((letter["original"] or "").replace("\n", "\\n"))
        console.print(Text(f"    {original}", style="dim"), no_wrap=True, overflow="ellipsis")
    console.print()
