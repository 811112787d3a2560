"""The next version of a schema for rows whose columns are no longer those that it describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from beam_datahub.kernels.types import canonical_schema
from beam_datahub.schemas.conversion import Text, from_columns, to_columns
from beam_datahub.schemas.document import Document, Format, read_json


def describes(document: Document, schema: pa.Schema) -> bool:
    """Whether a schema has just these columns, of these types, in whatever order. Raises InvalidSchema."""
    known = to_columns(document).schema
    wanted = canonical_schema(schema)
    return sorted(known.names) == sorted(wanted.names) and all(known.field(each.name).type == each.type for each in wanted)


def revised(document: Document, schema: pa.Schema, name: str = "row") -> Text:
    """A version of the schema for these columns. Raises InvalidSchema and LossyWrite.

    What it says of columns that stay as they are is kept, with all rules, defaults and words of its author; others are
    added, dropped and typed anew.
    """
    made = from_columns(schema, document.format, name, document)
    if document.format is Format.PROTOBUF:
        return made
    known, wanted = to_columns(document).schema, canonical_schema(schema)
    kept = {each.name for each in wanted if each.name in known.names and known.field(each.name).type == each.type}
    old, new = read_json(document.text), json.loads(made.text)
    value = _avro(old, new, kept) if document.format is Format.AVRO else _json(old, new, kept)
    if value is None:
        return made
    text = Document(document.format, json.dumps(value, indent=2, ensure_ascii=False), document.references)
    return Text(text.text, tuple(each for each in made.lossy if each.partition(":")[0] not in kept))


def _avro(old: Any, new: Any, kept: set[str]) -> Any:
    if not isinstance(old, dict) or old.get("type") != "record":
        return None
    made = {each["name"]: each for each in new["fields"]}
    before = {each["name"]: each for each in old["fields"]}
    return {**old, "fields": [before[name] if name in kept else made[name] for name in _ordered(before, made)]}


def _json(old: Any, new: Any, kept: set[str]) -> Any:
    if not isinstance(old, dict) or not isinstance(old.get("properties"), dict):
        return None
    made, before = new["properties"], old["properties"]
    properties = {name: before[name] if name in kept else made[name] for name in _ordered(before, made)}
    value = {**old, "properties": properties}
    if "required" in old:
        value["required"] = [name for name in old["required"] if name in made]
        if not value["required"]:
            del value["required"]
    return value


def _ordered(before: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """The columns that are there now: first those that were there before, at their places."""
    now = list(made)
    return [*(name for name in before if name in now), *(name for name in now if name not in before)]
