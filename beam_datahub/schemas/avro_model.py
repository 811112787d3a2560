"""Avro schema text, checked and with its names resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from beam_datahub.errors import InvalidSchema, UnresolvedReference
from beam_datahub.schemas.document import Document, read_json

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


@dataclass(frozen=True)
class AvroSchema:
    """An Avro schema as fastavro parses it: full names, and each named type under its name."""

    root: Any
    named: Mapping[str, Any]

    def resolve(self, schema: Any) -> Any:
        """The definition that a name stands for; a wrapper around a type is taken off."""
        if isinstance(schema, str) and schema in self.named:
            return self.named[schema]
        if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
            return self.resolve(schema["type"])
        return schema


def parse_avro(document: Document) -> AvroSchema:
    """The schema of a document. Raises InvalidSchema and UnresolvedReference."""
    named: dict[str, Any] = {}
    waiting = dict(document.references)
    while waiting:
        # Which text needs which other is not known: each goes once those before it are in.
        before = len(waiting)
        problem: UnresolvedReference | None = None
        for name, text in list(waiting.items()):
            try:
                _parse(text, named)
            except UnresolvedReference as error:
                problem = error
            else:
                del waiting[name]
        if problem is not None and len(waiting) == before:
            raise problem
    root = _parse(document.text, named)
    return AvroSchema(root, named)


def validate_avro(document: Document) -> None:
    """Hold a document to Avro's rules, also to those for defaults. Raises InvalidSchema and UnresolvedReference."""
    schema = parse_avro(document)
    named: set[str] = set()
    for part in _parts(schema.root):
        name = part.get("name") if isinstance(part, dict) else None
        if name in named:
            # fastavro looks at each type of a union at the top for itself.
            raise InvalidSchema(f"no Avro schema: '{name}' is defined twice")
        named |= {name} if name else set()
        for each in part.get("fields", ()) if isinstance(part, dict) else ():
            if "default" in each and not _fits(each["default"], each["type"], schema):
                told = json.dumps(each["default"], ensure_ascii=False)
                raise InvalidSchema(
                    f"no Avro schema: the default {told[:80]} of '{each['name']}' in '{name}' is not of its type",
                    hint="a default is a value of the field's type; that of bytes is a text of letters up to \\u00ff",
                )


def _parse(text: str, named: dict[str, Any]) -> Any:
    value = read_json(text)
    added = dict(named)
    try:
        root = parse_schema(value, added)
    except UnknownType as error:
        name = error.name if isinstance(error.name, str) else str(value)
        if not _NAME.match(name):
            raise InvalidSchema(f"no Avro schema: it has no type {error.name!r}") from error
        raise UnresolvedReference(
            f"the Avro schema has no type '{name}'",
            hint="define it before its first use, or register it and name it among the references",
        ) from error
    except SchemaParseException as error:
        raise InvalidSchema(f"no Avro schema: {error}") from error
    except KeyError as error:
        raise InvalidSchema(f"no Avro schema: a type lacks its {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidSchema("no Avro schema: a type is a name, an object with a `type`, or a list of types") from error
    except RecursionError as error:
        raise InvalidSchema("the schema nests too deep") from error
    for part in _parts(root):
        _check(part)
    for name, definition in added.items():
        if name not in named and _endless(name, definition, added):
            raise InvalidSchema(
                f"no Avro schema: no value of '{name}' ever ends, since it holds itself", hint='make the field ["null", …]'
            )
    named.update(added)
    return root


def _parts(schema: Any) -> Iterator[Any]:
    yield schema
    if isinstance(schema, list):
        for branch in schema:
            yield from _parts(branch)
    elif isinstance(schema, dict):
        for each in schema.get("fields", ()):
            yield from _parts(each["type"])
        for key in ("items", "values"):
            if key in schema:
                yield from _parts(schema[key])
        if isinstance(schema["type"], dict | list):
            yield from _parts(schema["type"])


def _check(schema: Any) -> None:
    """What Avro forbids and fastavro lets pass."""
    if isinstance(schema, list):
        if any(isinstance(branch, list) for branch in schema):
            raise InvalidSchema("no Avro schema: a union stands in a union")
        kinds = [branch if isinstance(branch, str) else branch.get("name", branch["type"]) for branch in schema]
        if len({str(kind) for kind in kinds}) < len(kinds):
            raise InvalidSchema(f"no Avro schema: a type stands twice in the union of {', '.join(map(str, kinds))}")
    if not isinstance(schema, dict):
        return
    if "name" in schema and not _NAME.match(schema["name"]):
        raise InvalidSchema(f"no Avro schema: '{schema['name']}' is no name", hint="letters, digits and underscores")
    if schema["type"] == "fixed" and (not isinstance(schema["size"], int) or schema["size"] < 0):
        raise InvalidSchema(f"no Avro schema: the fixed '{schema['name']}' has the size {schema['size']!r}")
    names = [each["name"] for each in schema.get("fields", ())]
    for name in names:
        if not _NAME.match(name) or "." in name:
            raise InvalidSchema(f"no Avro schema: '{name}' is no name of a field", hint="letters, digits and underscores")
        if names.count(name) > 1:
            raise InvalidSchema(f"no Avro schema: the field '{name}' stands twice in '{schema['name']}'")


def _fits(value: Any, schema: Any, where: AvroSchema) -> bool:
    """Whether a default is a value of a type; one of a union may be of any of its types."""
    schema = where.resolve(schema)
    if isinstance(schema, list):
        return any(_fits(value, branch, where) for branch in schema)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    if kind == "enum":
        return value in schema["symbols"]
    if kind == "fixed":
        return _SCALARS["bytes"](value) and len(value) == schema["size"]
    if kind == "array":
        return isinstance(value, list) and all(_fits(each, schema["items"], where) for each in value)
    if not isinstance(value, dict):
        return False
    if kind == "map":
        return all(_fits(each, schema["values"], where) for each in value.values())
    return all(
        _fits(value[each["name"]], each["type"], where) if each["name"] in value else "default" in each
        for each in schema["fields"]
    )


def _whole(bits: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and -(1 << bits) <= value < 1 << bits


_SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "int": _whole(31),
    "long": _whole(63),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, str) and all(ord(letter) < 256 for letter in value),
}


def _endless(name: str, definition: Any, named: Mapping[str, Any]) -> bool:
    """Whether a record holds itself with no union, array or map between."""
    seen: set[str] = set()
    waiting = [definition]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if each == name:
                return True
            if each not in named or each in seen:
                continue
            seen.add(each)
            each = named[each]
        if isinstance(each, dict):
            waiting += [inner["type"] for inner in each.get("fields", ())]
            waiting.append(each["type"])
    return False
