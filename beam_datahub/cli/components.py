"""What the commands `connectors`, `transforms` and `rules` show of a component: its declaration."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ByteSize

if TYPE_CHECKING:
    from rich.console import Console

    from beam_datahub.component.config import Example


def summary(component: type) -> str:
    """The first sentence of a component's docstring, on one line."""
    return " ".join((inspect.getdoc(component) or "").split("\n\n", 1)[0].split())


def options_of(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """(name, type, default or `required`, description) of every option."""
    schema = model.model_json_schema(by_alias=True)
    rows = []
    for name, field in model.model_fields.items():
        shown = field.alias or name
        about = schema.get("properties", {}).get(shown, {})
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        description = " ".join((field.description or "").split())
        rows.append((shown, type_text(about, schema.get("$defs", {})), default, description))
    return rows


def _default(value: Any) -> str:
    if value is None or value in ((), "", {}, []):
        return ""
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{name}: {_default(each)}" for name, each in value) + "}"
    if isinstance(value, ByteSize):
        return value.human_readable(decimal=True)
    return _literal(list(value) if isinstance(value, tuple) else value)


def _literal(value: Any) -> str:
    """A value as it stands in YAML; what is not plain to see is quoted."""
    if isinstance(value, str) and re.fullmatch(r"[\w.,;:%/+-]+(?: [\w.,;:%/+-]+)*", value):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def type_text(schema: dict[str, Any], definitions: dict[str, Any], depth: int = 0) -> str:
    """A JSON Schema as a few words: `text`, `number`, `one of a, b`, `list of text`."""
    if "$ref" in schema:
        inner = definitions.get(schema["$ref"].rpartition("/")[2], {})
        return type_text(inner, definitions, depth + 1) if depth < 4 else "mapping"
    if "const" in schema:
        return f"`{_literal(schema['const'])}`"
    if "enum" in schema:
        return " | ".join(f"`{_literal(value)}`" for value in schema["enum"])
    forms = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if forms:
        texts = [type_text(each, definitions, depth + 1) for each in forms if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(texts)) or "anything"
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("items")
        return f"list of {type_text(inner, definitions, depth + 1)}" if isinstance(inner, dict) and inner else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of {type_text(inner, definitions, depth + 1)}" if isinstance(inner, dict) and inner else "mapping"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return names.get(str(kind), "anything")


def example_yaml(kind: str, name: str, example: Example) -> str:
    """An example as it stands in a spec."""
    key = "config" if kind == "transform" else None
    windows = {"window": example.window} if example.window is not None else {}
    body = {"type": name, **windows, "config": example.config} if key else {"connector": name, **example.config}
    return dump(body)


def dump(value: Any) -> str:
    """`value` as YAML, in the order in which it was written."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    yaml.allow_unicode = True
    text = StringIO()
    yaml.dump(_plain(value), text)
    return text.getvalue().rstrip("\n")


def _plain(value: Any) -> Any:
    """`value` without the types that YAML has no word for."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def show_options(console: Console, title: str, model: type[BaseModel]) -> None:
    """Print the options of a model, when it has any: a line for each with its type and default, and what it means."""
    from rich.padding import Padding
    from rich.text import Text

    rows = options_of(model)
    if rows:
        console.print(Text(title, style="bold underline"))
    for name, kind, default, description in rows:
        facts = kind.replace("`", "") + (", required" if default == "required" else f", default {default}" if default else "")
        console.print(Text(f"  {name}", style="bold").append(f"  {facts}", style="dim not bold"))
        console.print(Padding(Text(description), (0, 0, 0, 6)))
    if rows:
        console.print()


def show_examples(console: Console, kind: str, name: str, examples: tuple[Example, ...]) -> None:
    """Print the examples of a component."""
    from rich.text import Text

    for example in examples:
        console.print(Text(f"# {example.title}", style="dim"))
        console.print(Text(textwrap.indent(example_yaml(kind, name, example), "  ")))
        console.print()
