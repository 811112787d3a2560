"""JSON Schemas: loaded with all that they refer to, and rows as the JSON values that they judge."""

from __future__ import annotations

import base64
import datetime
import json
import math
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.types import JSON

_DEFAULT_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_INLINE = "urn:beam-datahub:schema"
# Keywords whose value maps names to schemas, so that a name there is no keyword.
_MAPS = frozenset(("properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"))
_PLAIN = frozenset(("enum", "const", "default", "examples"))
_LONGEST_MESSAGE = 300
# A pattern that needs longer for one text goes back and forth in it without end.
_PATTERN_SECONDS = 1.0
_MOST_MESSAGES = 10


@dataclass(frozen=True)
class SchemaSource:
    """A JSON Schema by the URI `base`, with the further schemas that it refers to; plain data, so that it pickles."""

    schema: Any
    base: str = _INLINE
    resources: Mapping[str, Any] = field(default_factory=dict)

    def validator(self) -> Any:
        """A validator of the schema's draft that checks formats and fetches nothing. Raises InvalidValue."""
        kind = self._kind()
        # A schema with an `$id` is its own starting point for what it refers to, one without starts from its file.
        schema = self.schema if isinstance(self.schema, dict) and "$id" in self.schema else {"$ref": self.base}
        return kind(schema, registry=self.registry(), format_checker=kind.FORMAT_CHECKER)

    def registry(self) -> Any:
        """All schemas by their URIs, also those that stand inside others."""
        import jsonschema_specifications
        from referencing import Resource
        from referencing.jsonschema import specification_with

        draft = specification_with(self._kind().META_SCHEMA["$schema"])
        pairs = {**self.resources, self.base: self.schema}.items()
        resources = [(uri, Resource.from_contents(contents, default_specification=draft)) for uri, contents in pairs]
        return jsonschema_specifications.REGISTRY.with_resources(resources).crawl()

    def _kind(self) -> Any:
        from jsonschema.validators import validator_for

        named = self.schema.get("$schema", _DEFAULT_DRAFT) if isinstance(self.schema, dict) else _DEFAULT_DRAFT
        kind: Any = validator_for({"$schema": named}, default=cast(Any, None))
        if kind is None:
            raise InvalidValue(f"unknown JSON Schema draft '{named}'", hint="use draft 7 or 2020-12")
        # In the class itself: a schema inside another that names its draft is judged by that draft's own class.
        kind.VALIDATORS |= {"pattern": _pattern, "patternProperties": _pattern_properties}
        usual = kind.VALIDATORS["additionalProperties"]
        if not isinstance(usual, _Additional):
            kind.VALIDATORS["additionalProperties"] = _Additional(usual)
        return kind

    def check(self) -> None:
        """Raises InvalidValue where the schema is none, or refers to what is not there."""
        from jsonschema.exceptions import SchemaError
        from referencing.exceptions import Unresolvable

        kind = self._kind()
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            raise InvalidValue(f"no valid JSON Schema: {error.json_path}: {error.message[:_LONGEST_MESSAGE]}") from error
        registry = self.registry()
        for uri in _references(self.schema, self.base):
            try:
                registry.resolver().lookup(uri)
            except Unresolvable as error:
                shown = uri.removeprefix(self.base)
                hint = "nothing is fetched: save the schema in a file and name that under `references`"
                raise InvalidValue(f"the JSON Schema refers to '{shown}', which is not there", hint=hint) from error


def load_schema(given: Any, references: Mapping[str, str]) -> SchemaSource:
    """The schema `given`, or in the file of that path, with all files that it refers to. Raises InvalidValue.

    `references` maps a URI, or the start of URIs, to a file or folder.
    """
    schema, base = (_read(Path(given)), Path(given).absolute().as_uri()) if isinstance(given, str) else (given, _INLINE)
    resources: dict[str, Any] = {}
    pending = [(schema, base)]
    while pending:
        for uri in _references(*pending.pop()):
            address = urllib.parse.urldefrag(uri).url
            path = _file_of(address, references)
            if address not in (base, *resources) and path is not None and path.is_file():
                resources[address] = _read(path)
                pending.append((resources[address], address))
    source = SchemaSource(schema, base, resources)
    source.check()
    return source


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no UTF-8 text"
        raise InvalidValue(f"cannot read the JSON Schema '{path}': {reason}") from error
    if path.suffix in (".yaml", ".yml"):
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            return YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise InvalidValue(f"'{path}' is no YAML: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidValue(f"'{path}' is no JSON: {error}") from error


def _file_of(uri: str, references: Mapping[str, str]) -> Path | None:
    for prefix, path in sorted(references.items(), key=lambda item: -len(item[0])):
        if uri == prefix:
            return Path(path)
        if uri.startswith(prefix):
            return Path(path, urllib.parse.unquote(uri[len(prefix) :].lstrip("/")))
    parts = urllib.parse.urlsplit(uri)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def _references(schema: Any, base: str, *, old: bool = False) -> Iterator[str]:
    """The absolute URI of everything that a schema refers to; `old`: up to draft 7, where nothing beside a `$ref` counts."""
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part, base, old=old)
    if not isinstance(schema, dict):
        return
    old = "/draft-0" in schema["$schema"] if isinstance(schema.get("$schema"), str) else old
    if isinstance(schema.get("$id"), str) and not (old and "$ref" in schema):
        base = urllib.parse.urljoin(base, schema["$id"])
    for key, part in schema.items():
        if key in ("$ref", "$dynamicRef") and isinstance(part, str):
            yield base.partition("#")[0] + part if part.startswith("#") else urllib.parse.urljoin(base, part)
        elif key in _MAPS and isinstance(part, dict):
            yield from (uri for named in part.values() for uri in _references(named, base, old=old))
        elif key not in _PLAIN:
            yield from _references(part, base, old=old)


def broken(validator: Any, value: Any) -> str | None:
    """What `value` breaks, in one line; None when it meets the schema."""
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    except RecursionError:
        return "nested too deeply to be validated"
    if not errors:
        return None
    shown = [f"{error.json_path}: {_cut(error.message)}" for error in errors[:_MOST_MESSAGES]]
    return "; ".join(shown) + (f"; and {len(errors) - _MOST_MESSAGES} more" if len(errors) > _MOST_MESSAGES else "")


# Patterns that once took too long, and that RE2 takes, which needs linear time.
_linear: set[str] = set()


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword `pattern`, which comes to an end on any text."""
    from jsonschema.exceptions import ValidationError

    found = _matches(pattern, instance) if validator.is_type(instance, "string") else True
    if found is None:
        yield ValidationError(f"{instance!r} takes too long to be compared with {pattern!r}")
    elif not found:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword `patternProperties`, which comes to an end on any name."""
    from jsonschema.exceptions import ValidationError

    for pattern, inner in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            found = _matches(pattern, name)
            if found is None:
                yield ValidationError(f"the name {name!r} takes too long to be compared with {pattern!r}")
            elif found:
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


class _Additional:
    """The keyword `additionalProperties`: the usual one, over the properties that no pattern takes."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def __call__(self, validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties")
        if patterns and validator.is_type(instance, "object"):
            instance = {name: value for name, value in instance.items() if not any(_matches(each, name) for each in patterns)}
            schema = {keyword: value for keyword, value in schema.items() if keyword != "patternProperties"}
        yield from self._usual(validator, allowed, instance, schema) or ()


def _matches(pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in a text; None where that cannot be told in time."""
    import regex

    if pattern not in _linear:
        try:
            return regex.search(pattern, text, timeout=_PATTERN_SECONDS) is not None
        except TimeoutError:
            pass
    try:
        found = bool(pc.match_substring_regex(pa.array([text]), pattern)[0].as_py())
    except pa.ArrowInvalid:
        return None
    _linear.add(pattern)
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def json_values(column: pa.Array) -> list[Any]:
    """The values of a column as JSON would have them: times as RFC 3339 (UTC), bytes as Base64, decimals as numbers.

    Raises RecursionError where JSON text nests too deeply.
    """
    convert = _converter(column.type)
    values = column.to_pylist()
    return values if convert is None else [None if value is None else convert(value) for value in values]


def _converter(data_type: pa.DataType) -> Callable[[Any], Any] | None:
    t = pa.types
    if data_type == JSON:
        return json.loads
    if t.is_timestamp(data_type):
        return lambda value: value.replace(tzinfo=None).isoformat() + "Z"
    if t.is_time(data_type):
        return lambda value: value.isoformat() + "Z"
    if t.is_date(data_type):
        return datetime.date.isoformat
    if t.is_decimal(data_type):
        return _number
    if t.is_floating(data_type):
        return lambda value: value if math.isfinite(value) else str(value)
    if t.is_binary(data_type):
        return lambda value: base64.b64encode(value).decode("ascii")
    if t.is_list(data_type):
        return _list_converter(_converter(data_type.value_type))
    if t.is_struct(data_type):
        return _struct_converter({f.name: convert for f in data_type if (convert := _converter(f.type)) is not None})
    if t.is_map(data_type):
        convert = _converter(data_type.item_type) or (lambda value: value)
        return lambda pairs: {str(key): None if value is None else convert(value) for key, value in pairs}
    if t.is_interval(data_type):
        return str
    return None


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _list_converter(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if convert is None:
        return None
    return lambda values: [None if value is None else convert(value) for value in values]


def _struct_converter(converters: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if not converters:
        return None

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {name: converters[name](part) if part is not None and name in converters else part for name, part in value.items()}

    return convert
