"""The changes of MongoDB's collections: all documents first, then what change streams tell, from where the last run ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.change_events import ANEW, ChangeBlocks, changes_schema, first_changes, with_change_columns
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Finding, Follower, Line, Partition, ReadRequest, Report, Source, Split
from beam_datahub.errors import DataHubError, InvalidValue
from beam_datahub.io.mongodb.connection import MongodbConnection, pymongo_of, reached
from beam_datahub.io.mongodb.options import MongodbReadOptions
from beam_datahub.io.mongodb.source import MongodbSource
from beam_datahub.io.mongodb_cdc import server
from beam_datahub.io.mongodb_cdc.options import MongodbCdcOptions
from beam_datahub.io.mongodb_cdc.position import Position

_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_EVENTS = 20_000


@dataclass(frozen=True)
class _LogPart:
    """What lies in the log up to `end`, of each collection behind its position."""

    end: str
    positions: Mapping[str, str]


@dataclass(frozen=True)
class _SnapshotPart:
    """All documents of a collection, as they were at a moment (None: as they are)."""

    name: str
    moment: str | None


@register("source", "mongodb_cdc", since="0.1.0")
class MongodbCdcSource(Source):
    """Reads what changes in collections of MongoDB by change streams: first all documents, then each change once, in order."""

    Connection: ClassVar[type[Config]] = MongodbConnection
    Options = MongodbCdcOptions
    capabilities = SourceCapabilities(columns=True, splits="collection", unbounded=True, resumes="cluster time")
    examples = (
        Example(
            "A replica's source: rows to merge",
            {
                "connection": {"url": "mongodb://db.example.com/?replicaSet=rs0", "database": "shop", "user": "replicator"},
                "collection": "orders",
                "changes": "rows",
            },
        ),
        Example(
            "All collections of a database, in Debezium's envelope",
            {"connection": {"url": "mongodb+srv://cluster.example.com", "database": "shop"}, "collections": "*"},
        ),
    )
    whole_originals = False

    connection: MongodbConnection
    options: MongodbCdcOptions

    def check(self) -> Report:
        lines: list[Line] = list(self.reach().findings)
        if isinstance(lines[-1], Finding) and lines[-1].fine:
            what = "collections"
            try:
                with self.connection.opened() as database:
                    names = server.collections_of(database, self.options)
                    lines.append(Finding(what, True, ", ".join(names)))
                    what = "change stream"
                    server.Watching(database, names, server.here(database), self.options).close()
                    lines.append(Finding(what, True, "may be followed"))
            except DataHubError as error:
                lines.append(Finding(what, False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        found = reached(self.connection)
        if not found.fine:
            return found
        try:
            with self.connection.opened() as database:
                log = Finding("log", True, f"a replica set's, up to {server.here(database)}")
        except DataHubError as error:
            log = Finding("log", False, error.reason, error.hint)
        return Report((*found.lines, log))

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.collection),) if self.options.collection is not None else ()

    # columns

    def discover(self) -> Discovery:
        pymongo_of()
        from beam_datahub.io.mongodb_cdc.log import SOURCE

        if self.options.collection is None:
            with self.connection.opened() as database:
                server.collections_of(database, self.options)
            return Discovery(changes_schema(self.options, None, SOURCE))
        found = MongodbSource(self.connection, MongodbReadOptions(collection=self.options.collection)).discover()
        return Discovery(changes_schema(self.options, found.schema, SOURCE), found.rows, found.bytes)

    def completed(self, declared: pa.Schema) -> pa.Schema:
        return with_change_columns(self.options, declared)

    # what a run reads

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        pymongo_of()
        known = {name: text for name, text in request.reached.items() if text != ANEW}
        with self.connection.opened() as database:
            names = server.collections_of(database, self.options, known)
            if request.limit is not None and not known:
                yield from (Split(name, detail=_SnapshotPart(name, None)) for name in names)
                return
            end = server.here(database)
        positions = {name: Position.parse(known[self._key(name)]) for name in names if self._key(name) in known}
        fresh = [name for name in names if name not in positions]
        if fresh and self.options.snapshot == "initial":
            for name in fresh:
                yield Split(f"{name} as it is", detail=_SnapshotPart(name, str(end)), reached={self._key(name): str(end)})
        elif fresh:
            yield Split("nothing yet", reached={self._key(name): str(end) for name in fresh})
        if positions:
            # A server that another has taken over from may be behind what was read.
            ends = {self._key(name): str(max(end, position)) for name, position in positions.items()}
            part = _LogPart(str(end), {name: str(position) for name, position in positions.items()})
            yield Split("changes", detail=part, reached=ends)

    def _key(self, name: str) -> str:
        return "" if self.options.collection is not None else name

    def position(self, partition: str, text: str) -> str:
        return str(Position.parse(text))

    # streams

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        pymongo_of()
        if self.options.collection is None:
            raise InvalidValue("a stream follows one `collection`", hint="make it a source for each collection")
        position = request.reached.get("")
        if position is None:
            with self.connection.opened() as database:
                server.collections_of(database, self.options)
                end = server.here(database)
                position = ANEW if self.options.snapshot == "initial" else str(end)
        yield Partition("", position)

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        pymongo_of()
        from beam_datahub.io.mongodb_cdc.following import StreamFollower

        return StreamFollower(self, str(partition.position), request)

    # reading

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        pymongo_of()
        if isinstance(split.detail, _SnapshotPart):
            yield from self._documents(split.detail, request)
        elif isinstance(split.detail, _LogPart):
            yield from self._changes(split.detail, request)

    def blocks(self, request: ReadRequest) -> ChangeBlocks:
        """What makes blocks of changes."""
        return ChangeBlocks(request, self.options, f"changes of {self.options.collection or 'several collections'}")

    def watching(self, names: Sequence[str], start: Position) -> server.Watching:
        """The changes of collections behind a position. Raises ConnectorError."""
        with self.connection.opened() as database:
            return server.Watching(database, names, start, self.options)

    def reader(self, positions: Mapping[str, Position], blocks: ChangeBlocks) -> Any:
        """What makes changes of events, each collection's behind its position."""
        from beam_datahub.io.mongodb_cdc.log import EventReader

        return EventReader(self.connection.database, positions, self.options, blocks.inner)

    def _documents(self, part: _SnapshotPart, request: ReadRequest) -> Iterator[Block]:
        from beam_datahub.io.mongodb_cdc.log import documents_as_changes

        blocks = ChangeBlocks(request, self.options, part.name)
        position = Position.parse(part.moment) if part.moment is not None else None
        moment = position.seconds * 1_000_000 if position is not None else int(time.time() * 1_000_000)
        gathered, size = list[bytes](), 0

        def block() -> Block | None:
            changes, convert = documents_as_changes(self.connection.database, part.name, gathered, position, moment, blocks.inner)
            return blocks.block([changes], convert)

        with self.connection.opened() as database:
            for raw in server.documents(database, part.name, position, request.limit):
                gathered.append(raw)
                size += len(raw)
                if size >= min(request.batch_bytes, _BATCH_BYTES):
                    found = block()
                    gathered, size = [], 0
                    if found is not None:
                        yield found
        found = block()
        if found is not None:
            yield found

    def _changes(self, part: _LogPart, request: ReadRequest) -> Iterator[Block]:
        positions = {name: Position.parse(text) for name, text in part.positions.items()}
        start, end = min(positions.values()), Position.parse(part.end)
        if start >= end:
            return
        blocks, left = self.blocks(request), request.limit
        reader = self.reader(positions, blocks)
        most = min(request.batch_bytes, _BATCH_BYTES)
        for full in self._taken(reader, list(positions), start, end, most):
            changes, convert = reader.changes()
            if left is not None:
                changes = [first_changes(each, left) for each in changes[:1]]
                left -= sum(map(len, changes))
            found = blocks.block(changes, convert)
            if found is not None:
                yield found
            if full is None or left == 0:
                return

    def _taken(self, reader: Any, names: Sequence[str], start: Position, end: Position, most: int) -> Iterator[int | None]:
        """Give the reader what changed behind `start` up to `end`; stops where it has enough, and with None at the end."""
        from beam_datahub.io.mongodb_cdc.log import decoded

        watching = self.watching(names, start)
        patience = time.monotonic() + self.connection.timeout_seconds
        try:
            while watching.reached is None or watching.reached < end:
                raw = watching.next()
                if raw is None:
                    if time.monotonic() > patience:
                        raise server.unconfirmed(end)
                    continue
                patience = time.monotonic() + self.connection.timeout_seconds
                event, wrong = decoded(raw)
                if Position.of(event["clusterTime"]) > end:
                    break
                reader.take(event, wrong, len(raw))
                if reader.size >= most or reader.count >= _BATCH_EVENTS:
                    yield reader.count
            yield None
        finally:
            watching.close()
