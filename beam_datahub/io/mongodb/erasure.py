"""Finds and removes the documents of one person by conditions that the server evaluates."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import bson
from bson.decimal128 import Decimal128

from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import TargetUnusable
from beam_datahub.io.mongodb.values import CODEC, json_of

if TYPE_CHECKING:
    from pymongo.collection import Collection

_WHOLE, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


def find(collection: Collection[dict[str, Any]], place: str, subject: Subject, take: Callable[[bytes], None] | None) -> Held:
    """The subject's documents; `take` gets them as lines of extended JSON."""
    query = condition(subject)
    rows = collection.count_documents(query)
    if take is not None and rows:
        for document in collection.with_options(codec_options=CODEC).find(query):
            take(f"{json_of(document)}\n".encode())
    uncertain = 0
    if subject.inside is not None and not subject.mentions:
        uncertain = collection.count_documents(_mentioned(subject.inside, subject))
    return Held(rows, (place,) if rows else (), uncertain)


def erase(collection: Collection[dict[str, Any]], place: str, subject: Subject) -> Held:
    """Remove the subject's documents. Raises TargetUnusable where some stay; asked again, it goes on."""
    held = find(collection, place, subject, None)
    if held.rows:
        query = condition(subject)
        collection.delete_many(query)
        if collection.count_documents(query):
            raise TargetUnusable(f"documents of '{collection.name}' stay although they were deleted", hint="ask again")
    return held


def condition(subject: Subject) -> dict[str, Any]:
    """A filter that is true for the subject's documents."""
    within = f"{subject.inside}." if subject.inside is not None else ""
    tests: list[dict[str, Any]] = [{f"{within}{name}": {"$in": meanings(value)}} for name, value in subject.pairs]
    if subject.inside is not None and subject.mentions:
        tests.append(_mentioned(subject.inside, subject))
    return {"$or": tests} if tests else {"_id": {"$in": []}}


def _mentioned(field: str, subject: Subject) -> dict[str, Any]:
    """A test that a field is a text which has one of the values in it as a word."""
    words = "|".join(re.escape(value) for value in dict.fromkeys(value for _, value in subject.pairs))
    pattern = rf"(^|[^0-9A-Za-z])({words})($|[^0-9A-Za-z])"
    return {"$and": [{field: {"$type": "string"}}, {field: {"$regex": pattern}}]}


def meanings(value: str) -> list[Any]:
    """What a value that is written as text may be in a document."""
    found: list[Any] = [value]
    if bson.ObjectId.is_valid(value):
        found.append(bson.ObjectId(value))
    if _WHOLE.fullmatch(value):
        # Numbers are the same whatever their type.
        found.append(int(value))
    elif _NUMBER.fullmatch(value):
        found += [float(value), Decimal128(value)] if len(value) < 34 else []
    if value in ("true", "false"):
        found.append(value == "true")
    with suppress(ValueError):
        found.append(bson.Binary.from_uuid(uuid.UUID(value)))
    return found
