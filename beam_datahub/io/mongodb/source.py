"""A collection as a source: its documents by a filter or a pipeline, in ranges of `_id` where workers share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import retrying
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.originals import Part
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Finding, ReadRequest, Report, Source, SourcePart, Split
from beam_datahub.errors import DataHubError, InvalidValue, SourceMissing, Transient, UnreadableData
from beam_datahub.io.mongodb.connection import MongodbConnection, is_there, pymongo_of, reached, telling
from beam_datahub.io.mongodb.options import MongodbReadOptions
from beam_datahub.kernels.read_ahead import read_ahead

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database


# Splits are worth their while only past so many documents.
_LEAST_DOCUMENTS, _MOST_SPLITS = 20_000, 256
# How many documents are looked at when a run starts: for fields that the schema lacks, and for those that are ObjectIds.
_LOOKED_AT = 100


@dataclass(frozen=True)
class Range:
    """The documents of one split: a condition on `_id`. `unknown`: fields that the schema lacks; `identities`: ObjectIds."""

    condition: dict[str, Any] | None = None
    unknown: tuple[str, ...] = ()
    identities: frozenset[str] = frozenset()


@register("source", "mongodb", since="0.1.0")
class MongodbSource(Source):
    """Reads the documents of a collection; columns, filters and what is new are asked of the server."""

    Connection: ClassVar[type[Config]] = MongodbConnection
    Options = MongodbReadOptions
    capabilities = SourceCapabilities(columns=True, splits="range of _id")
    whole_originals = False
    examples = (
        Example(
            "Documents that meet a condition",
            {"connection": {"host": "db", "database": "shop"}, "collection": "orders", "query": {"status": "paid"}},
        ),
        Example(
            "The result of a pipeline",
            {
                "connection": {"url": "mongodb+srv://etl@cluster.example.com", "database": "shop"},
                "collection": "orders",
                "pipeline": [{"$unwind": "$items"}, {"$project": {"sku": "$items.sku", "at": 1}}],
            },
        ),
    )

    connection: MongodbConnection
    options: MongodbReadOptions

    @property
    def place(self) -> str:
        """The collection, or the patterns of several."""
        return self.options.collection or ", ".join(self.options.collections or ())

    def check(self) -> Report:
        lines = list(self.reach().findings)
        if lines[-1].fine:
            try:
                with self.connection.opened() as database:
                    if self.options.collections is not None:
                        lines.append(Finding("collections", True, ", ".join(self._matching(database))))
                        return Report(tuple(lines))
                    self._exists(database[self.place])
                    count = database[self.place].estimated_document_count()
                lines.append(Finding(self.place, True, f"about {count} documents"))
            except DataHubError as error:
                lines.append(Finding(self.place, False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        return reached(self.connection)

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.place),) if self.options.collection is not None else ()

    def several(self) -> Sequence[SourcePart] | None:
        if self.options.collections is None:
            return None
        with self.connection.opened() as database:
            return [SourcePart(name, None, {"collection": name}, ("_id",)) for name in self._matching(database)]

    def _matching(self, database: Database[dict[str, Any]]) -> list[str]:
        """The collections whose names match a pattern, but for ours and the server's. Raises SourceMissing."""
        hidden = ("_dh_", "_beam_datahub_", "system.")
        there = sorted(name for name in database.list_collection_names() if not name.startswith(hidden))
        found: dict[str, None] = {}
        for pattern in self.options.collections or ():
            matching = [name for name in there if fnmatchcase(name, pattern)]
            kept = [name for name in matching if not any(fnmatchcase(name, each) for each in self.options.exclude)]
            if not kept:
                what = (
                    f"the collections that match '{pattern}' are all excluded"
                    if matching
                    else f"no collection matches '{pattern}'"
                )
                raise SourceMissing(what, hint=f"there are {', '.join(there[:10])}" if there else "there are none at all")
            found |= dict.fromkeys(kept)
        return list(found)

    def discover(self) -> Discovery:
        pymongo_of()
        from beam_datahub.io.mongodb.values import schema_of

        # The client itself waits for a server that is away, as long as a connection may take.
        with self.connection.opened() as database:
            collection = database[self.place]
            self._exists(collection)
            found = schema_of(self._sample(collection, self.options.sample))
            rows, size = self._size(collection)
        if not len(found):
            raise UnreadableData(f"'{self.place}' holds no document", hint="declare the columns under the source's `schema`")
        _refuse_clash(found.names)
        return Discovery(found, rows, size)

    def estimate(self) -> Discovery:
        with self.connection.opened() as database:
            rows, size = self._size(database[self.place])
        return Discovery(pa.schema([]), rows, size)

    def _exists(self, collection: Collection[dict[str, Any]]) -> None:
        if not is_there(collection.database, collection.name):
            raise SourceMissing(f"there is no collection '{collection.name}' in the database '{collection.database.name}'")

    def _sample(self, collection: Collection[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """The first documents and the last: the same ones each time, and those that were written long ago beside the new."""
        from beam_datahub.io.mongodb.values import CODEC

        looked = collection.with_options(codec_options=CODEC)
        if self.options.pipeline is not None:
            return list(looked.aggregate([*self._pipeline(), {"$limit": count}]))
        half = max(1, count // 2)
        first = list(looked.find(self._query(), sort=[("_id", 1)], limit=half))
        if len(first) < half:
            return first
        return first + list(looked.find(self._query(), sort=[("_id", -1)], limit=half))

    def _size(self, collection: Collection[dict[str, Any]]) -> tuple[int | None, int | None]:
        """Documents and bytes, as the server keeps them; nothing is counted."""
        import pymongo.errors

        if self.options.query or self.options.pipeline is not None:
            return None, None
        try:
            found = collection.database.command("collStats", collection.name)
            return int(found.get("count", 0)), int(found.get("size", 0))
        except pymongo.errors.OperationFailure:
            # A view has no statistics, and not everyone may ask for them.
            return None, None

    def _query(self) -> dict[str, Any]:
        from beam_datahub.io.mongodb.values import native

        found: dict[str, Any] = native(dict(self.options.query))
        return found

    def _pipeline(self) -> list[dict[str, Any]]:
        from beam_datahub.io.mongodb.values import native

        return [native(dict(stage)) for stage in self.options.pipeline or ()]

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        pymongo_of()
        import bson

        for attempt in retrying():
            with attempt, self.connection.opened() as database:
                collection = database[self.place]
                self._exists(collection)
                seen = self._sample(collection, _LOOKED_AT)
                shared = request.split_bytes is not None and request.limit is None and self.options.pipeline is None
                bounds = self._bounds(collection, request.split_bytes or 1) if shared else []
        unknown = tuple(dict.fromkeys(name for document in seen for name in document if name not in request.schema.names))
        identities = frozenset(
            name
            for name in request.columns
            if (values := [document[name] for document in seen if document.get(name) is not None])
            and all(type(value) is bson.ObjectId for value in values)
        )
        conditions = ranges(bounds)
        for number, condition in enumerate(conditions):
            name = f"{self.place}#{number}" if len(conditions) > 1 else self.place
            yield Split(name, detail=Range(condition, unknown, identities))

    def _bounds(self, collection: Collection[dict[str, Any]], split_bytes: int) -> list[Any]:
        """Values of `_id` that part the documents about evenly, rising and of one type."""
        import pymongo.errors

        rows, size = self._size(collection)
        count = min(_MOST_SPLITS, int((size or 0) / split_bytes) + 1, int((rows or 0) / _LEAST_DOCUMENTS) + 1)
        if count < 2:
            return []
        try:
            drawn = collection.aggregate([{"$sample": {"size": 20 * count}}, {"$project": {"_id": 1}}])
            identities = [each["_id"] for each in drawn]
        except pymongo.errors.OperationFailure:
            identities = self._ends(collection)
        return even_bounds(identities, count)

    def _ends(self, collection: Collection[dict[str, Any]]) -> list[Any]:
        """The first `_id` and the last, and what lies evenly between them where that can be computed."""
        import bson

        ends = [next(iter(collection.find({}, {"_id": 1}, sort=[("_id", order)], limit=1)), None) for order in (1, -1)]
        if None in ends:
            return []
        low, high = (each["_id"] for each in ends if each is not None)
        steps = range(_MOST_SPLITS)
        if type(low) is int and type(high) is int:
            return [low + (high - low) * step // _MOST_SPLITS for step in steps]
        if type(low) is bson.ObjectId and type(high) is bson.ObjectId:
            first, last = int(str(low), 16), int(str(high), 16)
            return [bson.ObjectId(f"{first + (last - first) * step // _MOST_SPLITS:024x}") for step in steps]
        return []

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        pymongo_of()
        from beam_datahub.io.mongodb.reading import Reading, decoded_fields, since_condition

        part: Range = split.detail or Range()
        reading = Reading(request, self.place, part.unknown, part.identities)
        fields = decoded_fields(request)
        conditions = [each for each in (self._query(), part.condition, since_condition(request.since)) if each]
        query = {"$and": conditions} if len(conditions) > 1 else conditions[0] if conditions else {}
        chunks = self._chunks(query, fields, request.limit)
        if request.limit is None and request.threads > 1:
            yield from read_ahead(chunks, reading.block, threads=1)
        else:
            yield from map(reading.block, chunks)

    def _chunks(self, query: dict[str, Any], fields: dict[str, int] | None, limit: int | None) -> Iterator[bytes]:
        """Documents as the server sends them, many at a time."""
        begun = False
        try:
            with self.connection.opened() as database:
                collection = database[self.place]
                size = self.options.batch_documents
                if self.options.pipeline is not None:
                    stages = [*self._pipeline(), *([{"$match": query}] if query else []), *([{"$limit": limit}] if limit else [])]
                    stages += [{"$project": fields}] if fields else []
                    chunks: Iterator[bytes] = aggregated(collection, stages, size)
                else:
                    chunks = iter(collection.find_raw_batches(query, fields, limit=limit or 0, batch_size=size))
                for raw in chunks:
                    if raw:
                        begun = True
                        yield raw
        except Transient as error:
            if begun:
                # Documents are on their way already: only the whole run can begin anew without doubling them.
                error.reason = f"the connection broke while '{self.place}' was read: {error.reason}"
                error.args = (error.reason,)
            raise

    def parts_of(self, file: str | None, originals: Sequence[str], schema: pa.Schema, folder: str) -> Sequence[Part]:
        indices = tuple(i for i, text in enumerate(originals) if text.strip())
        if not indices:
            return []
        texts = tuple(originals[i] for i in indices)
        return [Part(DocumentsAgain(self.connection, self.options), Split("originals", detail=texts), indices)]


class DocumentsAgain(MongodbSource):
    """Documents from their originals in the dead letter, by the rules of the source that they came from."""

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield from ()

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        from beam_datahub.io.mongodb.reading import Reading
        from beam_datahub.io.mongodb.values import value_of

        reading = Reading(request, self.place)
        with telling():
            yield reading.of_documents([value_of(text) for text in split.detail])


def aggregated(collection: Collection[dict[str, Any]], stages: Sequence[dict[str, Any]], size: int) -> Iterator[bytes]:
    """What comes out of a pipeline, undecoded, many documents at a time."""
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    raw: Any = collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    with raw.aggregate(list(stages), batchSize=size, allowDiskUse=True) as cursor:
        while some := list(islice(cursor, size)):
            yield b"".join(document.raw for document in some)


def even_bounds(identities: Sequence[Any], count: int) -> list[Any]:
    """At most `count` - 1 of the drawn values, rising: those of the type that is met most often."""
    if not identities:
        return []
    kinds = [type(each) for each in identities]
    kind = max(dict.fromkeys(kinds), key=kinds.count)
    try:
        drawn = sorted(each for each in identities if type(each) is kind)
    except TypeError:
        # Documents as `_id` have no order here.
        return []
    found = [drawn[len(drawn) * number // count] for number in range(1, count)]
    return [each for each in dict.fromkeys(found) if each > drawn[0]]


def ranges(bounds: Sequence[Any]) -> list[dict[str, Any] | None]:
    """Conditions that part all documents at `bounds`; None: all of them.

    A comparison in MongoDB is true only for values of the same type: what is of another one is among the first.
    """
    if not bounds:
        return [None]
    first: dict[str, Any] = {"_id": {"$not": {"$gte": bounds[0]}}}
    between = [{"_id": {"$gte": low, "$lt": high}} for low, high in pairwise(bounds)]
    return [first, *between, {"_id": {"$gte": bounds[-1]}}]


def _refuse_clash(names: Sequence[str]) -> None:
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidValue(
                f"the documents have the fields '{other}' and '{name}', which differ only in case",
                hint="declare the source's `schema` with the one that you need",
            )
