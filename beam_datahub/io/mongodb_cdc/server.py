"""What a MongoDB server has of its changes, and the documents that come before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import InvalidValue, SourceMissing, Transient, UnreadableData
from beam_datahub.io.mongodb.connection import is_there, telling
from beam_datahub.io.mongodb_cdc.options import MongodbCdcOptions
from beam_datahub.io.mongodb_cdc.position import Position

if TYPE_CHECKING:
    from pymongo.database import Database

ANEW_HINT = "read everything again: beam-datahub run SPEC --full, with `write_mode: overwrite` or into an empty destination"
# Ours and the server's.
_HIDDEN = ("_dh_", "_beam_datahub_", "system.")
# How long the server waits for a change before it answers that there is none.
_AWAIT_MS = 100
# From this version of the protocol on (MongoDB 5.0), a moment can be read after it has passed.
_READS_THE_PAST = 13
_HISTORY_LOST, _FATAL, _TOO_LARGE, _TOO_OLD = 286, 280, 10334, 239


def here(database: Database[dict[str, Any]]) -> Position:
    """The moment that the server has reached. Raises InvalidValue."""
    moment = database.command("ping").get("operationTime")
    if moment is None:
        raise InvalidValue(
            "the server is no member of a replica set, and keeps no log of changes",
            hint="start it with --replSet and run rs.initiate(); one member is enough",
        )
    return Position.of(moment)


def collections_of(
    database: Database[dict[str, Any]], options: MongodbCdcOptions, followed: Mapping[str, Any] | None = None
) -> list[str]:
    """The collections that are read; those that are `followed` also where they are gone by now. Raises SourceMissing."""
    if options.collection is not None:
        if not followed and not is_there(database, options.collection):
            raise SourceMissing(
                f"there is no collection '{options.collection}' in the database '{database.name}'",
                hint="look at its name and its database; views have no changes",
            )
        return [options.collection]
    there = {name for name in database.list_collection_names() if not name.startswith(_HIDDEN)}
    names = sorted(there | set(followed or {}))
    found: dict[str, None] = {}
    for pattern in options.collections or ():
        matching = [name for name in names if fnmatchcase(name, pattern)]
        kept = [name for name in matching if not any(fnmatchcase(name, each) for each in options.exclude)]
        if not kept:
            what = f"the collections that match '{pattern}' are all excluded"
            hint = f"there are {', '.join(sorted(there)[:10])}" if there else "there are none at all"
            raise SourceMissing(what if matching else f"no collection matches '{pattern}'", hint=hint)
        found |= dict.fromkeys(kept)
    return list(found)


@contextmanager
def asked(position: Position | None = None) -> Iterator[None]:
    """Turn what the server says of its log, and of moments that have passed, into our errors."""
    import pymongo.errors

    with telling(UnreadableData):
        try:
            yield
        except pymongo.errors.OperationFailure as error:
            if error.code in (_HISTORY_LOST, _FATAL) and position is not None:
                raise UnreadableData(
                    f"the server has removed its log behind {position}, before it was read: changes are lost",
                    hint=f"{ANEW_HINT}; keep the log longer (replSetResizeOplog), or run more often",
                ) from error
            if error.code == _TOO_OLD:
                raise UnreadableData(
                    "reading all documents took longer than the server remembers how they were",
                    hint="raise its parameter minSnapshotHistoryWindowInSeconds, which is 300 by itself",
                ) from error
            if error.code == _TOO_LARGE:
                raise UnreadableData(
                    "a change is larger than 16 MB with the documents before and after it", hint="take `images: lookup`"
                ) from error
            raise


def unconfirmed(position: Position) -> Transient:
    """The server has not come as far for too long."""
    return Transient(
        f"the server does not confirm what was written up to {position}",
        hint="look whether most members of the replica set, and all shards, are there",
    )


def documents(database: Database[dict[str, Any]], name: str, position: Position | None, limit: int | None) -> Iterator[bytes]:
    """All documents of a collection, undecoded: as they were at a moment, where the server can tell that; else as they are."""
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument
    from pymongo import ReadPreference

    codec: Any = CodecOptions(document_class=RawBSONDocument)
    with asked():
        if position is not None and reads_the_past(database):
            concern = {"level": "snapshot", "atClusterTime": position.timestamp}
            found: Any = database.cursor_command("find", name, codec_options=codec, limit=limit or 0, readConcern=concern)
        else:
            # Another member may be behind the moment from which changes are read.
            there = database.get_collection(name, codec_options=codec, read_preference=ReadPreference.PRIMARY)
            found = there.find(limit=limit or 0)
        with found:
            for document in found:
                yield document.raw


def reads_the_past(database: Database[dict[str, Any]]) -> bool:
    """Whether the server can be asked how documents were at a moment."""
    servers = database.client.topology_description.server_descriptions().values()
    return max((each.max_wire_version for each in servers), default=0) >= _READS_THE_PAST


class Watching:
    """The changes of some collections behind a position, one after the other."""

    reached: Position | None = None
    """All changes up to here were given; None: there may be more that the server has."""

    def __init__(
        self, database: Database[dict[str, Any]], names: Sequence[str], start: Position, options: MongodbCdcOptions
    ) -> None:
        from bson.codec_options import CodecOptions
        from bson.raw_bson import RawBSONDocument

        codec: Any = CodecOptions(document_class=RawBSONDocument)
        self._database = database.with_options(codec_options=codec)
        self._names, self._start = list(names), start
        self._stored = options.images == "stored"
        # Shards go on side by side: what one has sent up to a moment another may still send of that same moment.
        self._shards = database.client.is_mongos
        self._silent = False
        # The moment itself comes again, so that a server that answers has surely looked behind it.
        self._stream = self._opened(start_at_operation_time=start.timestamp)

    def _opened(self, **where: Any) -> Any:
        watched = {"$in": self._names}
        stages: list[dict[str, Any]] = [
            {"$match": {"$or": [{"ns.coll": watched}, {"to.coll": watched}, {"operationType": "invalidate"}]}},
            {"$project": {"updateDescription": 0}},
        ]
        if self._stored:
            where |= {"full_document_before_change": "whenAvailable"}
        with asked(self._start):
            return self._database.watch(
                stages,
                full_document="whenAvailable" if self._stored else "updateLookup",
                max_await_time_ms=_AWAIT_MS,
                **where,
            )

    def next(self) -> bytes | None:
        """The next change, undecoded; None where the server has none for now. Raises ConnectorError."""
        with asked(self._start):
            found = self._stream.try_next()
        if found is not None:
            self._silent, self.reached = False, None
            if found["operationType"] == "invalidate":
                # The database was dropped, which ends a stream; what comes behind is another one's.
                self._stream.close()
                self._stream = self._opened(start_after=found["_id"])
                return self.next()
            raw: bytes = found.raw
            return raw
        # A stream that had to be taken up again answers once without having looked.
        if self._silent:
            moment = Position.of_token(self._stream.resume_token)
            self.reached = moment.before if self._shards else moment
        self._silent = True
        return None

    def close(self) -> None:
        """Let go of the stream."""
        with suppress(Exception):
            self._stream.close()
