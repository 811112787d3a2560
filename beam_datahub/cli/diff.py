"""`diff`: what a change of a spec changes in what it gives."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import Assignment, set_option, store_option
from beam_datahub.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from beam_datahub.spec import SpecDocument
    from beam_datahub.testing.versions import OutputChange, VersionDiff

_SHOWN = 20
_VERSION = re.compile(r"(?P<name>[^@/\\]+)@(?P<version>\d+)")


@click.command(short_help="Show what a change of a spec changes in its output.")
@click.argument("old")
@click.argument("new")
@click.option("--sample", type=click.IntRange(min=1), default=10_000, show_default=True, help="Rows of each source to read.")
@click.option("--data", "files", type=Assignment(), multiple=True, help="SOURCE=FILE to read instead of a source. Repeatable.")
@click.option("--test", "test", metavar="NAME", help="Take what this test of NEW gives, instead of a sample of the sources.")
@set_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record.")
def command(
    old: str,
    new: str,
    sample: int,
    files: tuple[tuple[str, str], ...],
    test: str | None,
    parameters: tuple[tuple[str, str], ...],
    store: str | None,
    as_json: bool,
) -> None:
    """Run OLD and NEW, two versions of a spec, on the same sample, and show what differs in what they give.

    Each is a file, or NAME@VERSION of a registered integration. The first rows of NEW's sources are read once, and nothing is
    written: rows that are added, removed or changed are told (by the destination's key where it has one), columns,
    rejected records, failures of quality rules, and where columns come from. Exit code 1 when anything differs.
    """
    from beam_datahub.cli.session import session
    from beam_datahub.testing.expectations import with_parameters
    from beam_datahub.testing.versions import compare_versions, sample_of, sample_of_test

    session().as_json = as_json
    before, after = (_version(each, parameters, store) for each in (old, new))
    spec = after.integration
    for name, _ in files:
        if name not in spec.sources:
            raise UnknownName("source", name, spec.sources)
    if test is None:
        rows = sample_of(after, sample, dict(files))
        others = sample_of(before, sample, dict(files), (after, rows))
    else:
        names = [each.name for each in spec.tests]
        if test not in names:
            raise UnknownName("test", test, names)
        chosen = spec.tests[names.index(test)]
        before, after = (with_parameters(each, chosen.parameters) for each in (before, after))
        rows, others = sample_of_test(after, chosen), sample_of_test(before, chosen)
    found = compare_versions((before, others), (after, rows))
    if as_json:
        _say(json.dumps(_record(found), ensure_ascii=False))
    else:
        _show(found, old, new)
    if not found.is_same:
        click.get_current_context().exit(1)


def _version(named: str, parameters: Iterable[tuple[str, str]], store: str | None) -> SpecDocument:
    from beam_datahub.cli.registered import text_of
    from beam_datahub.cli.specs import opened
    from beam_datahub.runtime.store_link import link_store
    from beam_datahub.store.location import locate

    match = _VERSION.fullmatch(named)
    if match is None:
        return opened(named, parameters)
    location = locate(store)
    if not location.exists():
        raise InvalidValue(f"there is no store that could hold '{named}'", hint="register the spec with `beam-datahub apply`")
    link = link_store(location)
    try:
        version = link.reader.integrations.version(match["name"], int(match["version"]))
    finally:
        link.close()
    return text_of(version.spec, match["name"], version.path, dict(parameters), label=named)[0]


def _record(found: VersionDiff) -> dict[str, Any]:
    return {
        "same": found.is_same,
        "sampled": dict(found.sampled),
        "lost_destinations": list(found.lost),
        "new_destinations": list(found.new),
        "destinations": [
            {
                "destination": each.destination,
                "same": each.is_same,
                "rows": {"old": each.rows[0], "new": each.rows[1]},
                "added": list(each.added),
                "removed": list(each.removed),
                "changed": [
                    {"key": dict(row.key), "columns": {name: _sides(sides) for name, sides in row.columns.items()}}
                    for row in each.changed
                ],
                "columns": {name: _sides(sides) for name, sides in each.columns.items()},
                "lineage": {name: _sides(sides) for name, sides in each.origins.items()},
                "decided_by": _sides(each.deciding) if each.deciding is not None else {},
            }
            for each in found.outputs
        ],
        "rejected": [{"step": step, "reason": reason, **_sides(counts)} for (step, reason), counts in found.rejected.items()],
        "violations": {name: _sides(counts) for name, counts in found.violations.items()},
    }


def _sides(sides: tuple[Any, Any]) -> dict[str, Any]:
    return {"old": sides[0], "new": sides[1]}


def _show(found: VersionDiff, old: str, new: str) -> None:
    sampled = ", ".join(f"{rows:,} of {name}" for name, rows in found.sampled.items())
    click.secho(f"{old} → {new}", bold=True)
    click.secho(f"sampled rows: {sampled}", dim=True)
    for name in found.lost:
        click.secho(f"- destination {name}", fg="red")
    for name in found.new:
        click.secho(f"+ destination {name}", fg="green")
    for each in found.outputs:
        _show_output(each)
    _counts("rejected", {f"{step}, {reason}": counts for (step, reason), counts in found.rejected.items()})
    _counts("violations", found.violations)
    if found.is_same:
        click.secho("nothing differs", fg="green")


def _show_output(each: OutputChange) -> None:
    if each.is_same:
        click.echo(f"{each.destination}: the same {each.rows[1]:,} row{'' if each.rows[1] == 1 else 's'}")
        return
    told = f"{len(each.added):,} added, {len(each.removed):,} removed, {len(each.changed):,} changed"
    click.secho(f"{each.destination}: {each.rows[0]:,} → {each.rows[1]:,} rows: {told}", bold=True)
    for name, (before, after) in each.columns.items():
        if before is None or after is None:
            sign, colour = ("+", "green") if before is None else ("-", "red")
            origins = ", ".join(itertools.chain.from_iterable(each.origins.get(name, ())))
            _line(f"  {sign} column {name} {after or before}{f'  ← {origins}' if origins else ''}", colour)
        else:
            click.secho(f"  ~ column {name} {before} → {after}", fg="yellow")
    for name, (froms, others) in each.origins.items():
        if None not in each.columns.get(name, ()):
            _line(f"  ~ lineage of {name}: {', '.join(froms) or 'nothing'} → {', '.join(others) or 'nothing'}", "yellow")
    if each.deciding is not None:
        before, after = (", ".join(sides) or "nothing" for sides in each.deciding)
        _line(f"  ~ its rows are decided by {before} → {after}", "yellow")
    lines = [(f"  - {row}", "red") for row in each.removed[:_SHOWN]]
    lines += [(f"  + {row}", "green") for row in each.added[:_SHOWN]]
    for change in each.changed[:_SHOWN]:
        key = ", ".join(f"{name}: {value}" for name, value in change.key.items())
        cells = "; ".join(f"{name}: {a} → {b}" for name, (a, b) in change.columns.items())
        lines.append((f"  ~ {{{key}}}  {cells}", "yellow"))
    for text, colour in lines:
        _line(text, colour)
    rest = sum(max(0, len(rows) - _SHOWN) for rows in (each.removed, each.added, each.changed))
    if rest:
        click.echo(f"  … and {rest:,} more (--json has them all)")


def _counts(what: str, counts: Mapping[str, tuple[int, int]]) -> None:
    for name, (before, after) in counts.items():
        _line(f"{what}: {name}: {before:,} → {after:,}", "yellow")


def _line(text: str, colour: str) -> None:
    from beam_datahub.security import redact

    click.secho(redact(text), fg=colour)


def _say(text: str) -> None:
    from beam_datahub.security import redact

    click.echo(redact(text))
