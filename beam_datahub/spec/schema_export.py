"""The JSON Schema of specs, by which editors complete and check them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from beam_datahub.spec.reusable import ReusableSpec
from beam_datahub.spec.written import (
    ID_PATTERN,
    WrittenDeadLetter,
    WrittenDestination,
    WrittenIntegration,
    WrittenQualityRule,
    WrittenSingleSource,
    WrittenSource,
    WrittenTransformation,
)

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"

# A value of any type may be given by a reference, which is text until it is resolved.
_REFERENCE: Schema = {"type": "string", "pattern": r"^\$\{(env|param|secret)\.[^{}]+\}$"}
_PARAMETER_TYPES: dict[str, Schema] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string"},
    "timestamp": {"type": "string"},
}


@dataclass(frozen=True)
class ComponentSchemas:
    """The options of the components that a spec can name.

    `sources` and `destinations`: connector → (its connection, its options); `transformations`: type → its config;
    `reusables`: name → the reusable transformation; `rules`: type of quality rule → its options.
    """

    sources: Mapping[str, tuple[type[BaseModel], type[BaseModel]]] = field(default_factory=dict)
    destinations: Mapping[str, tuple[type[BaseModel], type[BaseModel]]] = field(default_factory=dict)
    transformations: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    reusables: Mapping[str, ReusableSpec] = field(default_factory=dict)
    rules: Mapping[str, type[BaseModel]] = field(default_factory=dict)


def json_schema(components: ComponentSchemas | None = None) -> Schema:
    """The JSON Schema (draft 2020-12) of a spec; with `components` it checks their options, too."""
    parts = components or ComponentSchemas()
    connectors = [model for pair in (*parts.sources.values(), *parts.destinations.values()) for model in pair]
    models: list[type[BaseModel]] = list(
        dict.fromkeys([WrittenIntegration, *connectors, *parts.transformations.values(), *parts.rules.values()])
    )
    references, generated = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions: dict[str, Schema] = {name: _tidied(schema) for name, schema in generated["$defs"].items()}

    def of(model: type[BaseModel]) -> Schema:
        return definitions[references[model, "validation"]["$ref"].rpartition("/")[2]]

    def written(model: type[BaseModel]) -> Schema:
        return definitions[model.__name__]

    for part in (WrittenSource, WrittenSingleSource):
        _add_connectors(written(part), {name: (of(c), of(o)) for name, (c, o) in parts.sources.items()})
    for sink in (WrittenDestination, WrittenDeadLetter):
        _add_connectors(written(sink), {name: (of(c), of(o)) for name, (c, o) in parts.destinations.items()})
    _add_transformations(written(WrittenTransformation), parts, {name: of(m) for name, m in parts.transformations.items()})
    _add_rules(written(WrittenQualityRule), {name: of(model) for name, model in parts.rules.items()})
    root = definitions.pop(WrittenIntegration.__name__)
    _require_one(root, "source", "sources")
    _require_one(root, "destination", "destinations")
    return {"$schema": DRAFT, "title": "beam-datahub integration", **root, "$defs": _used(root, definitions)}


def _tidied(schema: Any, *, properties: bool = False) -> Any:
    """`schema` without generated titles, and with references allowed in place of every scalar that is not plain text."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if properties:
        return {name: _tidied(each) for name, each in schema.items()}
    found = {
        key: value
        if key in ("default", "enum", "const", "examples")
        else _tidied(value, properties=key in ("properties", "$defs"))
        for key, value in schema.items()
        if key != "title" and not (key == "default" and value is None)
    }
    if "patternProperties" in found:
        found["additionalProperties"] = False
    scalar = found.get("type") in ("integer", "number", "boolean") or "enum" in found or "const" in found
    narrowed = found.get("type") == "string" and ("pattern" in found or found.get("format") in ("date", "date-time", "duration"))
    if (scalar or narrowed) and found.get("format") != "password":
        notes = {key: found.pop(key) for key in ("description", "default") if key in found}
        found = {**notes, "anyOf": [found, _REFERENCE]}
    return found


def _require_one(schema: Schema, single: str, several: str) -> None:
    given = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in (single, several)]
    schema.setdefault("allOf", []).append({"oneOf": given})


def _add_connectors(schema: Schema, connectors: Mapping[str, tuple[Schema, Schema]]) -> None:
    """Check the options of each connector beside the keys that all have."""
    if not connectors:
        return
    schema.pop("additionalProperties", None)
    schema["unevaluatedProperties"] = False
    described = schema["properties"]["connector"].get("description", "")
    schema["properties"]["connector"] = {"description": described, "anyOf": [{"enum": sorted(connectors)}, _REFERENCE]}
    # Behind a reference may be any connector: its options are checked when it is known.
    chosen: Schema = {"properties": {"connector": _REFERENCE}, "required": ["connector"]}
    rules: list[Schema] = [{"if": chosen, "then": {"additionalProperties": True}}]
    for name, (connection, options) in sorted(connectors.items()):
        needed = list(options.get("required", ()))
        if connection.get("required"):
            needed.append("connection")
        stored = {"type": "string", "pattern": ID_PATTERN, "description": "The name of a stored connection."}
        either = {"anyOf": [connection, stored]}
        then: Schema = {"properties": {**options.get("properties", {}), "connection": either}}
        rules.append(_when("connector", name, {**then, "required": needed} if needed else then))
    schema["allOf"] = [*schema.get("allOf", ()), *rules]


def _add_transformations(schema: Schema, parts: ComponentSchemas, configs: Mapping[str, Schema]) -> None:
    schema["not"] = {"required": ["input", "dependencies"]}
    known = {**{name: _parameters(each) for name, each in parts.reusables.items()}, **configs}
    if not known:
        return
    kind = schema["properties"]["type"]
    # Any text is accepted besides: a spec's own folder may hold reusable transformations.
    schema["properties"]["type"] = {
        "description": kind.get("description", ""),
        "anyOf": [{"enum": sorted(known)}, {"type": "string"}],
    }
    rules = []
    for name, config in sorted(known.items()):
        then: Schema = {"properties": {"config": config}}
        rules.append(_when("type", name, {**then, "required": ["config"]} if config.get("required") else then))
    schema["allOf"] = [*schema.get("allOf", ()), *rules]


def _add_rules(schema: Schema, rules: Mapping[str, Schema]) -> None:
    """Check the options of each type of quality rule beside the keys that all have."""
    if not rules:
        return
    schema.pop("additionalProperties", None)
    schema["unevaluatedProperties"] = False
    described = schema["properties"]["type"].get("description", "")
    schema["properties"]["type"] = {"description": described, "anyOf": [{"enum": sorted(rules)}, _REFERENCE]}
    chosen: Schema = {"properties": {"type": _REFERENCE}, "required": ["type"]}
    checks: list[Schema] = [{"if": chosen, "then": {"additionalProperties": True}}]
    for name, options in sorted(rules.items()):
        then: Schema = {"properties": options.get("properties", {})}
        needed = options.get("required", ())
        checks.append(_when("type", name, {**then, "required": list(needed)} if needed else then))
    schema["allOf"] = [*schema.get("allOf", ()), *checks]


def _parameters(reusable: ReusableSpec) -> Schema:
    properties: dict[str, Schema] = {}
    for name, parameter in reusable.parameters.items():
        schema = dict(_PARAMETER_TYPES[parameter.type])
        if parameter.choices:
            schema["enum"] = list(parameter.choices)
        if parameter.description:
            schema["description"] = parameter.description
        if parameter.default is not None:
            schema["default"] = parameter.default
        properties[name] = schema
    needed = [name for name, parameter in reusable.parameters.items() if parameter.default is None]
    found = {"type": "object", "description": reusable.description, "properties": properties, "additionalProperties": False}
    return _tidied({**found, "required": needed} if needed else found)  # type: ignore[no-any-return]


def _when(key: str, name: str, then: Schema) -> Schema:
    return {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": then}


def _used(root: Schema, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """The definitions that `root` leads to, by name."""
    found: dict[str, Schema] = {}
    waiting = list(_references(root))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting.extend(_references(definitions[name]))
    return dict(sorted(found.items()))


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)
