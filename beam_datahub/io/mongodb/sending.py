"""Documents sent many at a time; what cannot be sent, or is refused, is found singly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import bson.errors
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne
from pymongo.errors import BulkWriteError

from beam_datahub.security import redact

if TYPE_CHECKING:
    from pymongo.collection import Collection

_DUPLICATE = 11000
# The most that a document may have, whatever the server.
_LARGEST_BYTES = 16 * 1024 * 1024


def sent(collection: Collection[dict[str, Any]], documents: list[dict[str, Any]], *, again: bool) -> dict[int, str]:
    """Insert documents; by its place what is said of each that is not there now. `again`: some may be there already.

    A document without an `_id` gets one, and keeps it when it is sent again.
    """
    refused: dict[int, str] = {}
    operations, places = [], []
    for place, document in enumerate(documents):
        if "_id" not in document:
            document["_id"] = bson.ObjectId()
        try:
            data = bson.encode(document)
        except (bson.errors.InvalidDocument, bson.errors.InvalidBSON, OverflowError, UnicodeError, ValueError) as error:
            refused[place] = redact(str(error))
            continue
        if len(data) > _LARGEST_BYTES:
            refused[place] = f"the document would have {len(data)} bytes, {_LARGEST_BYTES} are allowed"
            continue
        operations.append(InsertOne(RawBSONDocument(data)))
        places.append(place)
    if not operations:
        return refused
    try:
        collection.bulk_write(operations, ordered=False)  # type: ignore[arg-type]
    except BulkWriteError as error:
        found = error.details.get("writeErrors", []) if error.details else []
        if not found:
            raise
        for each in found:
            if not (again and each["code"] == _DUPLICATE):
                refused[places[each["index"]]] = redact(str(each["errmsg"]))
    return refused
