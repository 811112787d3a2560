"""Whether a new version of a schema may follow the earlier ones of its subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from beam_datahub.schemas.difference import Difference, Direction, Level, Problem, Verdict, harmful
from beam_datahub.schemas.document import Document, Format
from beam_datahub.schemas.mending import fix_for
from beam_datahub.schemas.proposal import proposal

Compare = Callable[[Any, Any], list[Difference]]


def parse(document: Document) -> Any:
    """The schema that a document holds, in the form of its format. Raises InvalidSchema and UnresolvedReference."""
    return _format(document.format)[0](document)


def validate(document: Document) -> None:
    """Hold a document to all rules of its format, where `parse` is content with what it can compare.

    Raises InvalidSchema and UnresolvedReference.
    """
    if document.format is Format.PROTOBUF:
        from beam_datahub.schemas.protobuf_model import validate_protobuf

        validate_protobuf(document)
    elif document.format is Format.JSON:
        from beam_datahub.schemas.json_model import validate_json

        validate_json(document)
    else:
        from beam_datahub.schemas.avro_model import validate_avro

        validate_avro(document)


def differences(new: Document, old: Document, direction: Direction = Direction.BACKWARD) -> list[Difference]:
    """All that differs, harmful or not. Backward: `new` reads what `old` wrote. Raises InvalidSchema."""
    parse_one, compare = _format(new.format)
    reader, writer = (new, old) if direction is Direction.BACKWARD else (old, new)
    return compare(parse_one(reader), parse_one(writer))


def check(new: Document, history: Sequence[tuple[int, Document]], level: Level) -> Verdict:
    """Whether `new` may follow the versions in `history`, which are (number, schema), oldest first.

    Raises InvalidSchema for a `new` that is no schema.
    """
    found = _problems(new, history, level)
    mended = proposal(new, found, dict(history), partial(_problems, history=history, level=level)) if found else None
    return Verdict(level, tuple(found), mended)


def _problems(new: Document, history: Sequence[tuple[int, Document]], level: Level) -> list[Problem]:
    parse(new)
    found: list[Problem] = []
    for number, old in reversed(history) if level.transitive else history[-1:]:
        for direction in level.directions:
            if old.format is not new.format:
                words = f"version {number} is a schema of {old.format}, the new one of {new.format}"
                found.append(Problem(number, direction, "SCHEMA_TYPE_CHANGED", "/", words, "register it under another subject"))
                continue
            found += [_problem(difference, number, direction) for difference in harmful(differences(new, old, direction))]
    return list(dict.fromkeys(found))


def _problem(difference: Difference, number: int, direction: Direction) -> Problem:
    new, old = "the new schema", f"version {number}"
    reader, writer = (new, old) if direction is Direction.BACKWARD else (old, new)
    words = difference.words.format(reader=reader, writer=writer)
    return Problem(number, direction, difference.code, difference.path, words, fix_for(difference.code, direction))


def _format(kind: Format) -> tuple[Callable[[Document], Any], Compare]:
    # Each format's parser is a library of its own, imported when it is needed.
    if kind is Format.AVRO:
        from beam_datahub.schemas.avro_compatibility import avro_differences
        from beam_datahub.schemas.avro_model import parse_avro

        return parse_avro, avro_differences
    if kind is Format.JSON:
        from beam_datahub.schemas.json_compatibility import json_differences
        from beam_datahub.schemas.json_model import parse_json

        return parse_json, json_differences
    from beam_datahub.schemas.protobuf_compatibility import protobuf_differences
    from beam_datahub.schemas.protobuf_model import parse_protobuf

    return parse_protobuf, protobuf_differences
