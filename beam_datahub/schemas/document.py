"""A schema as its author wrote it: Avro, JSON Schema or Protobuf text, and the texts that it refers to."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_datahub.errors import InvalidSchema

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 200


class Format(enum.StrEnum):
    """The language of a schema."""

    AVRO = "avro"
    JSON = "json"
    PROTOBUF = "protobuf"


@dataclass(frozen=True)
class Document:
    """One schema. `references` holds, by the name that the text uses, every text that it needs, also the indirect ones."""

    format: Format
    text: str
    references: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for texts that differ only in layout, and for no others: 64 hexadecimal digits.

        Raises InvalidSchema.
        """
        parts = [self.format.value, self.canonical(), *(f"{name}\0{text}" for name, text in sorted(self.references.items()))]
        return hashlib.sha256("\0\0".join(parts).encode()).hexdigest()

    def canonical(self) -> str:
        """The text without what is only layout: blanks, the order of keys, and for Protobuf comments. Raises InvalidSchema."""
        if self.format is Format.PROTOBUF:
            from beam_datahub.schemas.protobuf_model import canonical_protobuf

            return canonical_protobuf(self.text)
        value = read_json(self.text)
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_json(text: str) -> Any:
    """The value of JSON text. Raises InvalidSchema for what is not JSON, holds a key twice, is too long or nests too deep."""
    check_size(text)
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidSchema(
            f"the schema is not JSON: {error.msg} in line {error.lineno}, column {error.colno}",
            hint="give the text of a JSON or Avro schema, or say which format it has",
        ) from error
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(value)
    return value


def check_size(text: str, limit: int = MAX_BYTES) -> None:
    """Refuse a schema that is empty or longer than a limit in bytes. Raises InvalidSchema."""
    if not text.strip():
        raise InvalidSchema("the schema is empty")
    size = len(text.encode())
    if size > limit:
        raise InvalidSchema(
            f"the schema has {size:,} bytes, more than the {limit:,} that are allowed",
            hint="split it, and let one part refer to the others",
        )


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidSchema(f"the schema has the key '{twice}' twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidSchema(f"the schema is not JSON: {name} is no JSON number")


def _too_deep() -> InvalidSchema:
    return InvalidSchema(f"the schema nests deeper than {MAX_DEPTH} levels", hint="name the inner parts and refer to them")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH * 2):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def format_of(name: str, text: str) -> Format:
    """The format of a schema in a file called `name`: by its ending, else by what it looks like."""
    ending = name.rpartition(".")[2].lower()
    if ending == "proto":
        return Format.PROTOBUF
    if ending in ("avsc", "avro"):
        return Format.AVRO
    try:
        value = json.loads(text)
    except ValueError:
        return Format.JSON if text.lstrip()[:1] in ("{", "[") else Format.PROTOBUF
    if isinstance(value, str | list):
        return Format.AVRO
    if isinstance(value, dict) and value.get("type") in ("record", "enum", "fixed", "map", "error") and "$schema" not in value:
        return Format.AVRO
    if isinstance(value, dict) and value.get("type") == "array" and isinstance(value.get("items"), str | list):
        return Format.AVRO
    return Format.JSON
