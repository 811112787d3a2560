"""The reference pages, from the declarations of components, functions, errors, reasons and commands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

from beam_datahub.cli import components

_MADE = "<!-- Written by `beam-datahub docs`; change the code's declarations, not this page. -->\n"

_PATHS = (
    "RFC 9535 JSONPath over nested or JSON columns; `$` is the row. A singular path (names and indices only) gives the "
    "value, null when absent; any other gives the list of nodes found. `.{name: path}` at its end builds new objects."
)
_CONNECTORS = (
    "A connector stands as `connector:` in a source, a destination or the dead letter; what reaches the system stands "
    "under `connection:`, all other options beside it.\n"
)
_REUSABLES = (
    "Written in YAML, in the folder `transforms` beside a spec or packaged; used by name as a `type`. Each carries test "
    "cases that `beam-datahub test NAME` runs.\n"
)
_RULES = (
    "A quality rule stands under `quality_rules:` with its `name`, the `step` whose records it judges and its `type`. A record "
    "that fails rules is told with the names of all of them; all failing records are kept, not a sample.\n"
)
_ALLOWED = (
    "\nOnly scalar expressions are taken: no subquery, no table function, no statement, and no function outside the lists "
    "below, which leave out clocks, chance, files, the network and settings. So the same records give the same result.\n"
)
_AGGREGATES = (
    "For the measures of `aggregation` and `pivot`. `distinct`, `filter (where …)` and `order by` may stand in the call.\n"
)
_WHOLE_SPEC = (
    "One YAML or JSON file is one integration. `beam-datahub schema` prints the JSON Schema by which an editor completes "
    "and checks it. Texts take `${env.NAME}`, `${param.NAME}` and `${secret.NAME}`; a secret is never shown, logged or "
    "stored.\n"
)
_FORMS = (
    ("field", "`email`", "The column."),
    (
        "path",
        "`$.customer.address.city`, `$.items[*].sku`, `$.items[*].{id: productId, n: qty}`",
        _PATHS,
    ),
    ("template", "`${first_name} ${last_name}`", "Text with values put in; a null puts in nothing."),
    ("SQL", "`round(amount * quantity, 2)`, `case when … end`", "Any scalar SQL expression in DuckDB's dialect."),
    ("literal", "`{value: paid}`", "The value itself, whatever it looks like."),
)


def pages() -> dict[str, str]:
    """File name → text of every page; the same for the same code."""
    written = {
        "connectors.md": _connectors(),
        "transforms.md": _transforms(),
        "rules.md": _rules(),
        "expressions.md": _expressions(),
        "spec.md": _spec(),
        "errors.md": _errors(),
        "reasons.md": _reasons(),
        "cli.md": _commands(),
    }
    return {name: _page(text) for name, text in written.items()}


def _page(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return _MADE + "\n" + re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([row(heads), "|" + " --- |" * len(heads), *(row(cells) for cells in rows)])


def _options(title: str, model: Any) -> str:
    rows = [
        (f"`{name}`", kind, "*required*" if default == "required" else f"`{default}`" if default else "", description)
        for name, kind, default, description in components.options_of(model)
    ]
    return f"{title}\n\n{_table(('option', 'type', 'default', 'meaning'), rows)}\n" if rows else ""


def _examples(kind: str, name: str, examples: Iterable[Any]) -> str:
    parts = []
    for example in examples:
        parts.append(f"*{example.title}:*\n\n```yaml\n{components.example_yaml(kind, name, example)}\n```\n")
        if example.given and example.expect is not None:
            parts.append(_shown(example))
    return "\n".join(parts)


def _shown(example: Any) -> str:
    """What goes into an example and what comes out."""
    body: dict[str, Any] = dict(example.given)
    lines = ["```yaml", components.dump({"given": body, "expect": example.expect})]
    if example.rejected:
        lines.append(components.dump({"rejected": list(example.rejected)}))
    return "\n".join([*lines, "```"]) + "\n"


def _connectors() -> str:
    from beam_datahub.cli.connectors import capability_lines
    from beam_datahub.component.registry import Kind, component, names, registration

    sources, sinks = names("source"), names("sink")
    everything = sorted({*sources, *sinks})
    parts = [
        "# Connectors\n",
        _CONNECTORS,
        _table(
            ("connector", "source", "destination"),
            [(f"[{name}](#{name})", "yes" if name in sources else "", "yes" if name in sinks else "") for name in everything],
        ),
        "",
    ]
    for name in everything:
        parts.append(f"## {name}\n")
        both: tuple[tuple[Kind, str, list[str]], ...] = (("source", "source", sources), ("sink", "destination", sinks))
        for kind, word, known in both:
            if name not in known:
                continue
            found: Any = component(kind, name)
            since = registration(kind, name).since
            parts += [f"### {name} as a {word}\n", f"{components.summary(found)} Since {since}.\n"]
            parts += [f"- {line}" for line in capability_lines(kind, found)]
            parts += ["", _options("Under `connection`:", found.Connection), _options("Beside `connection`:", found.Options)]
            parts.append(_examples(kind, name, found.examples))
    return "\n".join(parts)


def _transforms() -> str:
    from beam_datahub.component.registry import component, names, registration
    from beam_datahub.spec.content import content_folder
    from beam_datahub.spec.reusable import load_reusable

    known = names("transform")
    reusables = [load_reusable(file).spec for file in sorted(content_folder("transforms").glob("*.yaml"))]
    parts = [
        "# Transformations\n",
        "A transformation stands under `transformations:` with its `type`, its `config` and its `input`.\n",
        _table(
            ("transformation", "what it does"),
            [(f"[{name}](#{name})", components.summary(component("transform", name))) for name in known]
            + [(f"[{each.name}](#{each.name})", each.description) for each in reusables],
        ),
        "",
    ]
    for name in known:
        found: Any = component("transform", name)
        parts += [f"## {name}\n", f"{components.summary(found)} Since {registration('transform', name).since}.\n"]
        least, most = found.input_count
        if (least, most) != (1, 1):
            parts.append(f"Inputs: {least if least == most else f'{least} or more' if most is None else f'{least} to {most}'}.\n")
        parts += [_options("Under `config`:", found.Config), _examples("transform", name, found.examples)]
    parts.append("# Reusable transformations\n")
    parts.append(_REUSABLES)
    for each in reusables:
        rows = [
            (f"`{name}`", p.type, "*required*" if p.default is None else f"`{p.default}`", p.description or "")
            for name, p in each.parameters.items()
        ]
        table = _table(("parameter", "type", "default", "meaning"), rows) if rows else ""
        parts += [f"## {each.name}\n", f"{each.description}\n", f"{table}\n"]
    return "\n".join(parts)


def _rules() -> str:
    from beam_datahub.component.registry import component, names, registration
    from beam_datahub.kernels.rejection import VIOLATION
    from beam_datahub.kernels.types import sql_type
    from beam_datahub.spec.written import WrittenQualityRule

    known = names("rule")
    parts = [
        "# Quality rules\n",
        _RULES,
        _options("Of every rule:", WrittenQualityRule),
        "",
        _table(
            ("type", "what it checks", "about"),
            [
                (f"[{n}](#{n})", components.summary(found), "the whole table" if found.about == "table" else "each record")
                for n in known
                for found in [_rule_class(n)]
            ],
        ),
        "",
    ]
    for name in known:
        found: Any = component("rule", name)
        parts += [f"## {name}\n", f"{components.summary(found)} Since {registration('rule', name).since}.\n"]
        parts.append(_options("Beside `type`:", found.Config))
        for example in found.examples:
            where = {"where": example.where} if example.where else {}
            parts.append(f"*{example.title}:*\n\n```yaml\n{components.dump({'type': name, **example.options, **where})}\n```\n")
            outcome = {"holds": example.holds} if example.holds is not None else {"fails": list(example.fails)}
            shown = {"given": example.given, **({"others": example.others} if example.others else {}), **outcome}
            parts.append(f"```yaml\n{components.dump(shown)}\n```\n")
    parts.append("## Columns of the violations\n")
    parts.append(_table(("column", "type"), [(f"`{field.name}`", sql_type(field.type)) for field in VIOLATION]))
    return "\n".join(parts)


def _rule_class(name: str) -> Any:
    from beam_datahub.component.registry import component

    return component("rule", name)


def _expressions() -> str:
    from beam_datahub.kernels.expressions import AGGREGATES, FUNCTIONS

    def groups(found: Iterable[Any]) -> list[str]:
        return [f"### {each.title}\n\n{each.doc}\n\n{', '.join(f'`{n}`' for n in sorted(each.names))}\n" for each in found]

    return "\n".join(
        [
            "# Expressions\n",
            "One text, several forms; each compiles to one DuckDB expression that is typed before anything runs.\n",
            _table(("form", "example", "meaning"), _FORMS),
            _ALLOWED,
            "## Functions\n",
            *groups(FUNCTIONS),
            "## Aggregates\n",
            _AGGREGATES,
            *groups(AGGREGATES),
        ]
    )


def _spec() -> str:
    from beam_datahub.spec import written
    from beam_datahub.spec.model import ContractSpec
    from beam_datahub.spec.parameters import ParameterSpec
    from beam_datahub.spec.windowed import WrittenWindow

    models: tuple[tuple[str, str, Any], ...] = (
        ("An integration", "The keys at the top of the file.", written.WrittenIntegration),
        ("parameters", "Each parameter, by its name.", ParameterSpec),
        ("sources", "Each source, by its name; the connector's own options stand beside these keys.", written.WrittenSource),
        ("source", "The only source, in place of `sources`.", written.WrittenSingleSource),
        ("contract", "What becomes of data that leaves the schema of its source.", ContractSpec),
        ("transformations", "Each step.", written.WrittenTransformation),
        ("window", "The windows of event time in which a step works: see [windows](../windows.md).", WrittenWindow),
        ("destinations", "Each destination; `destination` stands for the only one.", written.WrittenDestination),
        ("dead_letter", "Where rejected records go.", written.WrittenDeadLetter),
        (
            "quality_rules",
            "Each rule; the options of its type stand beside these keys: see [quality rules](rules.md).",
            written.WrittenQualityRule,
        ),
        ("tests", "Each test.", written.WrittenTest),
    )
    parts = [
        "# The spec\n",
        _WHOLE_SPEC,
    ]
    for title, about, model in models:
        parts += [f"## {title}\n", f"{about}\n", _options("", model).lstrip()]
    return "\n".join(parts)


def _errors() -> str:
    from beam_datahub.cli.commands import EXIT_CODES
    from beam_datahub.cli.errors import rows

    return "\n".join(
        [
            "# Errors\n",
            "Every error has a stable code, says where it is (`file:line (path.to.key)`) and, where there is one, a way out.\n",
            _table(("code", "error", "exit status", "meaning"), [(f"`{code}`", *rest) for code, *rest in rows()]),
            "\n## Exit codes\n",
            _table(("exit code", "meaning"), [(str(code), meaning) for code, meaning in EXIT_CODES.items()]),
        ]
    )


def _reasons() -> str:
    from beam_datahub.kernels.rejection import DEAD_LETTER, REASONS
    from beam_datahub.kernels.types import sql_type

    return "\n".join(
        [
            "# Rejected records\n",
            "A record that cannot be processed goes to the dead letter and the others go on. Its reason is one of these:\n",
            _table(("reason", "meaning"), [(f"`{each.code}`", f"{each.meaning}.") for each in REASONS]),
            "\n## Columns of the dead letter\n",
            _table(("column", "type"), [(f"`{field.name}`", sql_type(field.type)) for field in DEAD_LETTER]),
        ]
    )


def _commands() -> str:
    from beam_datahub.cli.commands import EXIT_CODES, main

    parts = ["# The command line\n", _help(main, "beam-datahub", None)]
    context = click.Context(main, info_name="beam-datahub", **main.context_settings)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None:
            parts += [f"## {name}\n", _help(command, name, context)]
            parts += _subcommands(command, name, context)
    parts += ["## Exit codes\n", _table(("exit code", "meaning"), [(str(code), text) for code, text in EXIT_CODES.items()])]
    return "\n".join(parts)


def _subcommands(command: click.Command, name: str, parent: click.Context) -> list[str]:
    if not isinstance(command, click.Group):
        return []
    context = click.Context(command, info_name=name, parent=parent)
    found = [(each, command.get_command(context, each)) for each in command.list_commands(context)]
    return [part for each, one in found if one is not None for part in (f"### {name} {each}\n", _help(one, each, context))]


def _help(command: click.Command, name: str, parent: click.Context | None) -> str:
    settings = {} if parent is not None else command.context_settings
    context = click.Context(command, info_name=name, parent=parent, **settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    about = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            rows.append((f"`{record[0]}`", record[1]))
    table = _table(("option", "meaning"), rows) if rows else ""
    return f"```text\n{' '.join(usage.split())}\n```\n\n{about}\n\n{table}\n"
