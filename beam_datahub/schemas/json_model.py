"""JSON Schema as a normal form: one node for each thing that a schema says, with its references resolved.

A schema that says several things at once (a type and an enum, say) is all of them together, as if it were an `allOf`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import referencing.exceptions
from jsonschema_specifications import REGISTRY
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012

from beam_datahub.errors import InvalidSchema, UnresolvedReference
from beam_datahub.schemas.document import Document, read_json

ABSENT: Any = object()
_DRAFTS = {
    "draft-04": DRAFT4,
    "draft-06": DRAFT6,
    "draft-07": DRAFT7,
    "2019-09": DRAFT201909,
    "2020-12": DRAFT202012,
}
_MODERN = (DRAFT201909, DRAFT202012)
_OBJECT = (
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
)
_ARRAY = ("items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains")
_MODERN_OBJECT = (*_OBJECT, "dependentRequired", "dependentSchemas", "unevaluatedProperties")
_MODERN_ARRAY = (*_ARRAY, "prefixItems", "unevaluatedItems", "minContains", "maxContains")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TEXT = ("minLength", "maxLength", "pattern")
_CONDITION = ("if", "then", "else")
_COMBINED = ("allOf", "anyOf", "oneOf")


@dataclass(eq=False)
class Node:
    """One statement of a schema; two nodes are the same only when they are one object.

    `kind`: empty, true, false, string, number, boolean, null, array, object, enum, const, not, combined, conditional or
    reference. `facts` holds what the kind says: bounds under their keywords, and nodes.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    title: Any = None
    description: Any = None
    identity: Any = None
    default: Any = ABSENT
    connect_type: Any = None
    source: str = field(default="", repr=False)
    """What it was made of; two branches of a union that were made of the same count once."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The text of the schema that it stands in."""
    target: Node | None = field(default=None, repr=False)

    @property
    def referred(self) -> Node:
        """Where a chain of references ends."""
        node, seen = self, 0
        while node.target is not None and seen < 100:
            node, seen = node.target, seen + 1
        return node

    @property
    def anything(self) -> bool:
        """Whether it allows every value and says so itself."""
        return self.kind in ("empty", "true")


@dataclass(frozen=True)
class JsonSchema:
    """A JSON Schema: its root in normal form."""

    root: Node


def parse_json(document: Document) -> JsonSchema:
    """The normal form of a document. Raises InvalidSchema and UnresolvedReference."""
    value = read_json(document.text)
    if not isinstance(value, dict | bool):
        raise InvalidSchema(f"no JSON Schema: it is {_article(value)}, not an object, true or false")
    draft = _draft(value)
    others = [(name, _resource(read_json(text), draft)) for name, text in document.references.items()]
    registry: Registry[Any] = REGISTRY.with_resources(others)
    if isinstance(value, dict) and isinstance(named := value.get("$id", value.get("id")), str) and named:
        # A name within a schema that has one of its own is taken relative to that.
        for name, each in others:
            registry = registry.with_resource(_beside(named, name), each)
    loader = _Loader(draft)
    try:
        return JsonSchema(loader.load(value, registry.resolver_with_root(_resource(value, draft))))
    except RecursionError as error:
        raise InvalidSchema("the schema nests too deep") from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InvalidSchema(f"no JSON Schema: {error}") from error


def validate_json(document: Document) -> None:
    """Hold a document to the rules of its draft. Raises InvalidSchema and UnresolvedReference."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    value = read_json(document.text)
    parse_json(document)
    validator = validator_for(value, default=_validators()[_draft(value).name])
    try:
        validator.check_schema(value)
    except SchemaError as error:
        place = "#/" + "/".join(str(key) for key in error.absolute_path)
        raise InvalidSchema(f"no JSON Schema: at {place}, {error.message[:300]}") from error


def _validators() -> dict[str, Any]:
    from jsonschema import validators

    names = {
        DRAFT4.name: validators.Draft4Validator,
        DRAFT6.name: validators.Draft6Validator,
        DRAFT7.name: validators.Draft7Validator,
        DRAFT201909.name: validators.Draft201909Validator,
        DRAFT202012.name: validators.Draft202012Validator,
    }
    return names


def _draft(value: Any) -> Any:
    """The draft that `$schema` names; the seventh without one, as registries take it."""
    named = value.get("$schema") if isinstance(value, dict) else None
    if named is None:
        return DRAFT7
    return next((draft for part, draft in _DRAFTS.items() if part in str(named)), DRAFT7)


def _resource(value: Any, draft: Any) -> Resource[Any]:
    return draft.create_resource(value)  # type: ignore[no-any-return]


def _beside(base: str, name: str) -> str:
    from urllib.parse import urljoin

    return urljoin(base, name)


def _article(value: Any) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


class _Loader:
    """Makes nodes of raw schemas, each raw schema one node."""

    def __init__(self, draft: Any) -> None:
        self.draft = draft
        self.modern = draft in _MODERN
        self.known: dict[int, Node] = {}
        self.kept: list[Any] = []
        self.waiting: list[tuple[Node, str, Any]] = []

    def load(self, raw: Any, resolver: Any) -> Node:
        root = self.node(raw, resolver)
        while self.waiting:
            node, reference, where = self.waiting.pop()
            found = _looked_up(reference, where)
            node.target = self.node(found.contents, found.resolver, shared=True)
            if node.referred.kind == "reference":
                raise InvalidSchema(f"no JSON Schema: the reference '{reference}' leads back to itself")
        return root

    def node(self, raw: Any, resolver: Any, *, shared: bool = False) -> Node:
        """The node of a raw schema.

        All references to it share one. Up to the seventh draft, the place where it stands has a node of its own, as
        registries have it: it decides how often a difference inside a recursive schema is told.
        """
        shared = shared or self.modern
        if isinstance(raw, bool):
            return Node("true" if raw else "false", source=json.dumps(raw))
        if not isinstance(raw, dict):
            raise InvalidSchema(f"no JSON Schema: {_article(raw)} stands where a schema is due")
        known = self.known.get(id(raw)) if shared else None
        if known is not None:
            return known
        resolver = resolver.in_subresource(_resource(raw, self.draft)) if "$id" in raw or "id" in raw else resolver
        node = self._joined(raw, list(self._parts(raw, resolver)))
        node.title, node.description = raw.get("title"), raw.get("description")
        node.identity = raw.get("id" if self.draft is DRAFT4 else "$id")
        node.connect_type = raw.get("connect.type")
        if "default" in raw and not (self.modern and raw["default"] is None):
            node.default = raw["default"]
        node.source = json.dumps(raw, sort_keys=True)
        node.raw = raw
        if shared:
            self.known[id(raw)] = node
            self.kept.append(raw)
        return node

    def _joined(self, raw: Mapping[str, Any], parts: list[Node]) -> Node:
        if not parts:
            return Node("empty")
        if len(parts) == 1:
            return parts[0]
        for part, source in zip(parts, _numbered(raw), strict=False):
            part.source = part.source or source
        return Node("combined", {"criterion": "allOf", "nodes": parts})

    def _parts(self, raw: dict[str, Any], resolver: Any) -> Iterator[Node]:
        reference = next((raw[key] for key in ("$ref", "$dynamicRef", "$recursiveRef") if key in raw), None)
        if isinstance(reference, str):
            node = Node("reference", {"reference": reference}, source=json.dumps({"$ref": reference}))
            self.waiting.append((node, reference, resolver))
            yield node
            if not self.modern:
                return
        if "enum" in raw:
            yield Node("enum", {"values": _list(raw, "enum")}, source=json.dumps(raw["enum"], sort_keys=True))
        for keyword in _COMBINED:
            if keyword in raw:
                nodes = [self.node(each, resolver) for each in _list(raw, keyword)]
                yield Node("combined", {"criterion": keyword, "nodes": nodes})
        if "not" in raw:
            yield Node("not", {"node": self.node(raw["not"], resolver)})
        if "const" in raw and self.draft is not DRAFT4:
            yield Node("const", {"value": raw["const"]}, source=json.dumps(raw["const"], sort_keys=True))
        yield from self._typed(raw, resolver)
        if any(key in raw for key in _CONDITION) and self.draft not in (DRAFT4, DRAFT6):
            yield Node("conditional", {key: self.node(raw[key], resolver) for key in _CONDITION if key in raw})

    def _typed(self, raw: dict[str, Any], resolver: Any) -> Iterator[Node]:
        """What the type says, and what is said of other types beside it."""
        said = raw.get("type")
        types = said if isinstance(said, list) else [] if said is None else [said]
        nodes = [self._of_type(each, raw, resolver) for each in types]
        if isinstance(said, list):
            yield Node("combined", {"criterion": "anyOf", "nodes": nodes})
        else:
            yield from nodes
        covered = {node.kind for node in nodes}
        text = _TEXT if self.modern else (*_TEXT, "format")
        object_keys, array_keys = (_MODERN_OBJECT, _MODERN_ARRAY) if self.modern else (_OBJECT, _ARRAY)
        for kind, keys in (("array", array_keys), ("object", object_keys), ("number", _NUMBER), ("string", text)):
            if kind not in covered and any(key in raw for key in keys):
                yield self._of_type(kind, raw, resolver)

    def _of_type(self, name: Any, raw: dict[str, Any], resolver: Any) -> Node:
        if name in ("number", "integer"):
            return Node("number", {"integer": name == "integer", **_limits(raw)}, source=str(name))
        if name == "string":
            return Node("string", {key: raw[key] for key in _TEXT if key in raw}, source="string")
        if name in ("boolean", "null"):
            return Node(name, source=name)
        if name == "array":
            return Node("array", self._array(raw, resolver), source="array")
        if name == "object":
            return Node("object", self._object(raw, resolver), source="object")
        raise InvalidSchema(
            f"no JSON Schema: there is no type {name!r}", hint="string, number, integer, boolean, null, array, object"
        )

    def _array(self, raw: dict[str, Any], resolver: Any) -> dict[str, Any]:
        items, rest = raw.get("items", ABSENT), raw.get("additionalItems", ABSENT)
        first = [] if not isinstance(items, list) else items
        if self.modern and "prefixItems" in raw:
            first, rest, items = _list(raw, "prefixItems"), items, ABSENT
        if self.modern and isinstance(items, bool):
            rest, items = items, ABSENT
        facts: dict[str, Any] = {key: raw[key] for key in ("minItems", "maxItems", "minContains", "maxContains") if key in raw}
        if self.modern and "contains" in raw:
            facts.setdefault("minContains", 1)
        return {
            **facts,
            "unique": raw.get("uniqueItems") is True,
            "items": None if items is ABSENT or isinstance(items, list) else self.node(items, resolver),
            "first": [self.node(each, resolver) for each in first],
            "closed": rest is False,
            "rest": self.node(rest, resolver) if isinstance(rest, dict) else None,
            "unevaluated": self._unevaluated(raw, "unevaluatedItems", resolver),
        }

    def _object(self, raw: dict[str, Any], resolver: Any) -> dict[str, Any]:
        rest = raw.get("additionalProperties", ABSENT)
        dependencies = {**_object(raw, "dependencies"), **(_object(raw, "dependentRequired") if self.modern else {})}
        of_schemas = {key: each for key, each in dependencies.items() if not isinstance(each, list)}
        if self.modern:
            of_schemas |= _object(raw, "dependentSchemas")
        return {
            **{key: raw[key] for key in ("minProperties", "maxProperties") if key in raw},
            "properties": {
                name: self.node(each, resolver)
                for name, each in _object(raw, "properties").items()
                if self.modern or name not in ("$id", "id") or isinstance(each, dict | bool)
            },
            "patterns": [(_regex(key), self.node(each, resolver)) for key, each in _object(raw, "patternProperties").items()],
            "required": {each for each in raw.get("required", ()) if isinstance(each, str)}
            if isinstance(raw.get("required", []), list)
            else set(),
            "closed": rest is False,
            "rest": self.node(rest, resolver) if isinstance(rest, dict) else None,
            "unevaluated": self._unevaluated(raw, "unevaluatedProperties", resolver),
            "needs": {key: set(each) for key, each in dependencies.items() if isinstance(each, list)},
            "implies": {key: self.node(each, resolver) for key, each in of_schemas.items()},
        }

    def _unevaluated(self, raw: dict[str, Any], keyword: str, resolver: Any) -> Node | None:
        return self.node(raw[keyword], resolver) if self.modern and keyword in raw else None


def _limits(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds of numbers; the fourth draft's `exclusiveMinimum: true` makes the minimum an exclusive one."""
    found = {key: raw[key] for key in _NUMBER if key in raw}
    for plain, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(found.get(exclusive), bool) and found.pop(exclusive) and plain in found:
            found[exclusive] = found.pop(plain)
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidSchema(f"no JSON Schema: {key} is {value!r}, not a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidSchema(f"no JSON Schema: {key} is a number too large to be told from others")
    return found


def _looked_up(reference: str, resolver: Any) -> Any:
    try:
        return resolver.lookup(reference)
    except referencing.exceptions.Unresolvable as error:
        # The drafts name the place of definitions differently; either name finds them.
        for here, there in (("#/$defs/", "#/definitions/"), ("#/definitions/", "#/$defs/")):
            if here in reference:
                try:
                    return resolver.lookup(reference.replace(here, there))
                except referencing.exceptions.Unresolvable:
                    break
        raise UnresolvedReference(
            f"the JSON Schema refers to '{reference}', which is not there",
            hint="register that schema and name it among the references; nothing is fetched from the network",
        ) from error


def _list(raw: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(raw[key], list):
        raise InvalidSchema(f"no JSON Schema: {key} is {_article(raw[key])}, not a list")
    return list(raw[key])


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = raw.get(key, {})
    if not isinstance(found, dict):
        raise InvalidSchema(f"no JSON Schema: {key} is {_article(found)}, not an object")
    return found


def _numbered(raw: Mapping[str, Any]) -> Iterator[str]:
    for index in range(len(raw) + 10):
        yield f"part {index} of {json.dumps(raw, sort_keys=True)}"


def _regex(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None
