"""`pii`: where personal data is."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import set_option

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.security.personal_data import Finding

_SPEC_BYTES = 1 << 20


@click.command(short_help="Find columns with personal data.")
@click.argument("data")
@set_option
@click.option("--connector", help="Of a file: the connector, where its name does not tell.")
@click.option("--rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many records to look at.")
@click.option("--unsure", is_flag=True, help="Also show what is less likely than not.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON record to standard output, and nothing else.")
def command(
    data: str, parameters: tuple[tuple[str, str], ...], connector: str | None, rows: int, unsure: bool, as_json: bool
) -> None:
    """Find the columns of DATA that hold personal data, by their names and by the values of a sample.

    DATA is a file, a folder or a glob that a connector reads, or a spec: then its sources are looked at. Values are checked by
    their form, and by their check digits where they have some. No value is shown.
    """
    from beam_datahub.cli.session import session
    from beam_datahub.security.personal_data import find_personal_data

    session().as_json = as_json
    samples = _of_spec(data, parameters, rows) if is_spec(data) else _of_data(data, connector, rows)
    found = {name: [each for each in find_personal_data(sample) if unsure or each.is_likely] for name, sample in samples.items()}
    if as_json:
        facts = {name: [_facts(each) for each in findings] for name, findings in found.items()}
        looked = {name: sample.num_rows for name, sample in samples.items()}
        click.echo(json.dumps({"of": data, "rows": looked, "findings": facts}, ensure_ascii=False))
        return
    for name, findings in found.items():
        _show(name, samples[name], findings)


def is_spec(data: str) -> bool:
    """Whether `data` names an integration rather than data."""
    from beam_datahub.cli.specs import INTEGRATION_FILES

    if os.path.isdir(data):
        return any(os.path.isfile(os.path.join(data, name)) for name in INTEGRATION_FILES)
    if data.lower().endswith((".yaml", ".yml")):
        return True
    if not data.lower().endswith(".json") or not os.path.isfile(data) or os.path.getsize(data) > _SPEC_BYTES:
        return False
    try:
        with open(data, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError:
        return False
    return isinstance(found, dict) and "name" in found and not {"source", "sources"}.isdisjoint(found)


def _of_spec(named: str, parameters: tuple[tuple[str, str], ...], rows: int) -> dict[str, pa.Table]:
    from beam_datahub.cli.specs import opened, planned
    from beam_datahub.compiler.plan import Read
    from beam_datahub.compiler.sampling import sampled

    plan = planned(opened(named, parameters).changed(transformations=(), quality_rules=()), outputs=False)
    return {node.id: sampled(node.operator, rows) for node in plan.reads() if isinstance(node.operator, Read)}


def _of_data(data: str, connector: str | None, rows: int) -> dict[str, pa.Table]:
    from beam_datahub.cli.init import connector_for
    from beam_datahub.compiler.plan import Read
    from beam_datahub.compiler.sampling import sampled
    from beam_datahub.component.registry import component
    from beam_datahub.component.source import ReadRequest

    name = connector or connector_for(data)
    kind: Any = component("source", name)
    source = kind(kind.Connection(path=data).resolved(os.getcwd()), kind.Options())
    schema = source.discover().schema
    return {data: sampled(Read(name, source, ReadRequest(schema, tuple(schema.names))), rows)}


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "column": finding.column,
        "kind": finding.kind,
        "confidence": finding.confidence,
        "how": finding.how,
        "matched": finding.matched,
        "sampled": finding.sampled,
    }


def _show(name: str, sample: pa.Table, findings: list[Finding]) -> None:
    from rich.text import Text

    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    console = out()
    console.print(Text(name, style="bold").append(f"  {sample.num_rows:,} records looked at", style="dim"))
    if not findings:
        console.print("no personal data found")
        console.print()
        return
    rows = [(each.column, each.kind, f"{each.confidence:.0%}", each.how) for each in findings]
    headings = [("column", "left"), ("kind", "left"), ("sure", "right"), ("found by", "left")]
    console.print(simple(None, headings, rows))
    likely: dict[str, str] = {}
    for each in findings:
        if each.is_likely:
            likely.setdefault(each.column, each.kind)
    if likely:
        listed = ", ".join(
            f"{json.dumps(column) if not column.isidentifier() else column}: {kind}" for column, kind in likely.items()
        )
        console.print(f"in a spec, beside `connection:` of the source:  pii: {{{listed}}}", style="dim", soft_wrap=True)
    console.print()
