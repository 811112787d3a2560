"""A refused version of a schema with its problems mended, made of the author's own text and what the earlier version said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from beam_datahub.schemas.difference import Direction, Problem
from beam_datahub.schemas.document import Document, Format, read_json

_ROUNDS = 4


def proposal(
    new: Document, problems: Sequence[Problem], history: Mapping[int, Document], still: Callable[[Document], list[Problem]]
) -> str | None:
    """The text of the new version with its problems mended, or None where that asks for a decision of its author.

    `still` gives the problems that a candidate has: only one without any is proposed.
    """
    if new.format is Format.PROTOBUF or any(problem.code == "SCHEMA_TYPE_CHANGED" for problem in problems):
        return None
    mend = _mend_avro if new.format is Format.AVRO else _mend_json
    value = copy.deepcopy(read_json(new.text))
    for _ in range(_ROUNDS):
        for problem in problems:
            # Mending one problem can take the ground from another; what is left shows in the next round.
            try:
                mend(value, read_json(history[problem.version].text), problem)
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        candidate = Document(new.format, json.dumps(value, indent=2, ensure_ascii=False), new.references)
        left = still(candidate)
        if not left:
            return candidate.text if candidate.canonical() != new.canonical() else None
        if left == list(problems):
            return None
        problems = left
    return None


def _mend_json(new: Any, old: Any, problem: Problem) -> None:
    """Undo at the place of the problem what was changed there, or no more than that."""
    *above, last = problem.path.removeprefix("#/").split("/")
    if problem.code.startswith("REQUIRED_") and problem.direction is Direction.BACKWARD:
        holder = _at(new, above[:-1])
        if problem.code.endswith("TO_OPEN_CONTENT_MODEL"):
            holder["properties"][last] = {}
        holder["required"] = [name for name in holder.get("required", ()) if name != last]
        if not holder["required"]:
            del holder["required"]
        return
    if problem.code == "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL" and problem.direction is Direction.BACKWARD:
        told = _at(new, above)[last]
        _at(new, above)[last] = {key: told[key] for key in ("title", "description") if key in told}
        return
    if problem.code.startswith("ENUM_ARRAY") and problem.direction is Direction.BACKWARD:
        holder, before = _at(new, above), _at(old, above)[last]
        holder[last] = [*before, *(value for value in holder[last] if value not in before)]
        return
    if problem.code in ("TYPE_CHANGED", "TYPE_NARROWED"):
        above, last = [*above, last] if last else [], "type"
    holder, before = _at(new, above), _at(old, above)
    if last in before:
        holder[last] = copy.deepcopy(before[last])
    else:
        holder.pop(last, None)


def _at(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _mend_avro(new: Any, old: Any, problem: Problem) -> None:
    """Give a field its old type, a default, or put it back."""
    reader = new if problem.direction is Direction.BACKWARD else old
    record, field = _enclosing(reader, problem.path)
    target = next(each for each in _records(new) if _simple(each) == _simple(record))
    source = next((each for each in _records(old) if _simple(each) == _simple(record)), None)
    before = None if source is None else next((each for each in source["fields"] if _same_field(each, field)), None)
    now = next((each for each in target["fields"] if _same_field(each, field)), None)
    if problem.code == "READER_FIELD_MISSING_DEFAULT_VALUE":
        if problem.direction is Direction.FORWARD:
            target["fields"].append(copy.deepcopy(field))
            return
        types = field["type"] if isinstance(field["type"], list) else [field["type"]]
        field["type"] = ["null", *(each for each in types if each != "null")]
        field["default"] = None
        return
    if before is None or now is None:
        raise KeyError(field["name"])
    if problem.code == "MISSING_ENUM_SYMBOLS" and problem.direction is Direction.BACKWARD and "symbols" in now["type"]:
        symbols = now["type"]["symbols"]
        symbols += [symbol for symbol in before["type"]["symbols"] if symbol not in symbols]
        return
    now["type"] = copy.deepcopy(before["type"])
    now.pop("default", None)
    if "default" in before:
        now["default"] = copy.deepcopy(before["default"])


def _enclosing(schema: Any, path: str) -> tuple[Any, Any]:
    """The record and the field that a path leads through last."""
    found: tuple[Any, Any] | None = None
    keys = [key for key in path.split("/") if key]
    value = schema
    for at, key in enumerate(keys):
        if isinstance(value, str):
            value = next(each for each in _records(schema) if _simple(each) == value.rpartition(".")[2])
        if key == "type" and not (at and keys[at - 1].isdigit()):
            continue
        if isinstance(value, dict) and key not in value and isinstance(value.get("type"), dict):
            value = value["type"]
        if key == "fields":
            found = (value, value["fields"][int(keys[at + 1])])
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError):
            break
    if found is None:
        raise KeyError(path)
    return found


def _records(schema: Any) -> Iterator[Any]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch)
    elif isinstance(schema, dict):
        if schema.get("type") in ("record", "error"):
            yield schema
            for field in schema["fields"]:
                yield from _records(field["type"])
        for key in ("items", "values", "type"):
            yield from _records(schema.get(key))


def _simple(record: Any) -> str:
    return str(record["name"]).rpartition(".")[2]


def _same_field(one: Any, other: Any) -> bool:
    return bool(
        one["name"] == other["name"] or one["name"] in other.get("aliases", ()) or other["name"] in one.get("aliases", ())
    )
