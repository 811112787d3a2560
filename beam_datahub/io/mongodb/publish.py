"""What a commit does: staged documents become those of the target, and a repetition changes nothing.

A server that is not told otherwise has no transactions here, so each way of writing is built from steps of which each can be done
again: a new collection is renamed at once; documents that are added have an `_id` of their own, by which a second time is known;
merged ones are set to values that do not depend on what was there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import TargetUnusable
from beam_datahub.io.mongodb.connection import is_there
from beam_datahub.io.mongodb.ledger import Publication

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

_TOGETHER = 2_000
_DUPLICATE = 11000
# Where a staged row of a merge keeps its document.
ROW = "d"


def check(database: Database[dict[str, Any]], publication: Publication) -> None:
    """Refuse, before anything is changed, what would end in the middle. Raises TargetUnusable."""
    _gather(database, publication)
    if not publication.parts:
        return
    first = database[publication.parts[0][0]]
    if publication.mode == "merge":
        if publication.last_by is None:
            _refuse_twice(first, publication)
    elif publication.mode == "append" and "_id" in publication.names and is_there(database, publication.target):
        target = database[publication.target]
        for some in _several(each["_id"] for each in first.find({}, {"_id": 1})):
            there = target.find_one({"_id": {"$in": some}}, {"_id": 1})
            if there is not None:
                raise TargetUnusable(
                    f"'{publication.target}' has a document with the _id {there['_id']} already",
                    hint="write with `write_mode: merge` and `key: [_id]`",
                )


def _gather(database: Database[dict[str, Any]], publication: Publication) -> None:
    """Put all that was staged into its first collection; done again, it changes nothing."""
    if len(publication.parts) < 2:
        _check_count(database, publication)
        return
    first = database[publication.parts[0][0]]
    for number, (name, _) in enumerate(publication.parts[1:], start=1):
        copies: Iterator[Any] = iter(_raw(database[name]).find())
        if publication.mode == "merge":
            # Rows are numbered by bundle.
            copies = ({"_id": {"bundle": number, "row": each["_id"]}, ROW: each[ROW]} for each in _typed(database[name]).find())
        for some in _several(copies):
            refused = _insert(first, some)
            twice = [each for each in refused if each["code"] == _DUPLICATE and not _is_same(first, each["op"])]
            others = [each for each in refused if each["code"] != _DUPLICATE]
            if twice:
                raise TargetUnusable(f"two of the written rows have the _id {twice[0]['op']['_id']}", hint="deduplicate before")
            if others:
                raise TargetUnusable(others[0]["errmsg"])
    _check_count(database, publication)


def _check_count(database: Database[dict[str, Any]], publication: Publication) -> None:
    if not publication.parts:
        return
    found = database[publication.parts[0][0]].count_documents({})
    if found != publication.rows:
        raise TargetUnusable(
            f"{publication.rows} documents were staged and {found} are there", hint="two of them may be one; run it again"
        )


def _is_same(collection: Collection[dict[str, Any]], document: Any) -> bool:
    """Whether what is there by the `_id` of a document is this document, byte by byte."""
    import bson

    there = _raw(collection).find_one({"_id": document["_id"]})
    return there is not None and bson.encode(there) == bson.encode(document)


def _raw(collection: Collection[dict[str, Any]]) -> Collection[Any]:
    """A collection whose documents are moved as they are, not looked into."""
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    return collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))


def _typed(collection: Collection[dict[str, Any]]) -> Collection[dict[str, Any]]:
    """A collection whose values keep their types, whatever they are."""
    from beam_datahub.io.mongodb.values import CODEC

    return collection.with_options(codec_options=CODEC)


def _refuse_twice(staged: Collection[dict[str, Any]], publication: Publication) -> None:
    for one, other in itertools.pairwise(_keys(staged, publication)):
        if one == other:
            what = ", ".join(f"{name} {value}" for name, value in zip(publication.key, one, strict=True))
            raise TargetUnusable(
                f"several of the merged rows have the same key ({what}), and nothing says which wins",
                hint="name the column that tells with `last_by`, or deduplicate before",
            )


def _keys(staged: Collection[dict[str, Any]], publication: Publication) -> Iterator[list[Any]]:
    for each in _sorted(staged, [(f"{ROW}.{name}", 1) for name in publication.key]):
        yield [each[ROW].get(name) for name in publication.key]


def _sorted(staged: Collection[dict[str, Any]], order: Sequence[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    yield from _typed(staged).find(sort=list(order), allow_disk_use=True)


def publish(database: Database[dict[str, Any]], publication: Publication, *, again: bool) -> None:
    """Make what was staged that of the target. `again`: an earlier attempt may have done a part of it.

    Raises TargetUnusable; what was added is then taken back.
    """
    if publication.mode == "merge":
        _merge(database, publication)
    elif publication.mode == "overwrite" or not is_there(database, publication.target):
        _replace(database, publication, again=again)
    else:
        _append(database, publication, again=again)


def _replace(database: Database[dict[str, Any]], publication: Publication, *, again: bool) -> None:
    """Give what was staged the target's name, with the indices that the target has."""
    if not publication.parts:
        if publication.mode == "overwrite":
            if is_there(database, publication.target):
                database[publication.target].delete_many({})
            else:
                database.create_collection(publication.target)
        return
    name = publication.parts[0][0]
    if again and not is_there(database, name):
        # It has been renamed.
        return
    staged = database[name]
    if is_there(database, publication.target):
        for index in database[publication.target].list_indexes():
            if index["name"] != "_id_":
                options = {key: value for key, value in index.items() if key not in ("v", "key", "ns")}
                staged.create_index(list(index["key"].items()), **options)
    staged.rename(publication.target, dropTarget=publication.mode == "overwrite")


def _append(database: Database[dict[str, Any]], publication: Publication, *, again: bool) -> None:
    """Add what was staged; a document that is there by its `_id` is one that an earlier attempt has added."""
    if not publication.parts or (again and not is_there(database, publication.parts[0][0])):
        return
    staged, target = database[publication.parts[0][0]], database[publication.target]
    for some in _several(iter(_raw(staged).find())):
        refused = _insert(target, some)
        if again:
            refused = [each for each in refused if each["code"] != _DUPLICATE or not _is_same(target, each["op"])]
        if refused:
            foreign = {str(each["op"]["_id"]) for each in refused if _is_there(target, each["op"], each)}
            for others in _several(each["_id"] for each in staged.find({}, {"_id": 1})):
                target.delete_many({"_id": {"$in": [each for each in others if str(each) not in foreign]}})
            raise TargetUnusable(refused[0]["errmsg"], hint="nothing of the run was added")


def _is_there(target: Collection[dict[str, Any]], document: dict[str, Any], error: dict[str, Any]) -> bool:
    """Whether a document of another writer's has the `_id` of one that was refused."""
    return error["code"] == _DUPLICATE and target.find_one({"_id": document["_id"]}, {"_id": 1}) is not None


def _merge(database: Database[dict[str, Any]], publication: Publication) -> None:
    """Change the documents whose keys are staged, and add the others: the winner of each key, once."""
    if not publication.parts:
        return
    target = database[publication.target]
    if not is_there(database, publication.target) and publication.key != ("_id",):
        target.create_index([(name, 1) for name in publication.key], unique=True)
    staged = database[publication.parts[0][0]]
    for some in _several(_winners(staged, publication)):
        refused = _written(target, [_change(document, publication) for document in some])
        if refused:
            raise TargetUnusable(refused[0]["errmsg"], hint="what was merged before stays; mend it and run again")


def _winners(staged: Collection[dict[str, Any]], publication: Publication) -> Iterator[dict[str, Any]]:
    """The document of each key that comes last; of those that come at once, the same one wins in every run."""
    order = [(f"{ROW}.{name}", 1) for name in publication.key]
    if publication.last_by is not None:
        rest = [name for name in publication.names if name not in (*publication.key, publication.last_by)]
        order += [(f"{ROW}.{publication.last_by}", 1), *((f"{ROW}.{name}", -1) for name in rest)]
    # MongoDB sorts by 32 fields at most.
    rows = (each[ROW] for each in _sorted(staged, order[:32]))
    for _, group in itertools.groupby(rows, lambda row: [row.get(name) for name in publication.key]):
        *_, last = group
        yield last


def _change(document: dict[str, Any], publication: Publication) -> Any:
    from pymongo import DeleteOne, UpdateOne

    where = {name: document[name] for name in publication.key}
    if publication.delete_marker is not None and document.pop(publication.delete_marker, None) is True:
        return DeleteOne(where)
    values = {name: value for name, value in document.items() if name not in publication.key}
    gone = [name for name in publication.names if name not in document]
    # Where there is nothing beside the key, the document is only to be there.
    changes = {"$set": values} if values else {"$setOnInsert": where}
    return UpdateOne(where, {**changes, **({"$unset": dict.fromkeys(gone, "")} if gone else {})}, upsert=True)


def _insert(collection: Collection[dict[str, Any]], documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    from pymongo import InsertOne

    return _written(collection, [InsertOne(document) for document in documents])


def _written(collection: Collection[dict[str, Any]], operations: Sequence[Any]) -> list[dict[str, Any]]:
    """Do several operations; gives the errors of those that the server refuses."""
    from pymongo.errors import BulkWriteError

    try:
        collection.bulk_write(operations, ordered=False)
    except BulkWriteError as error:
        found: list[dict[str, Any]] = error.details.get("writeErrors", []) if error.details else []
        if not found:
            raise
        return found
    return []


def _several(items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(itertools.islice(items, _TOGETHER)):
        yield some
