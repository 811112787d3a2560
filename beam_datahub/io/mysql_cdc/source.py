"""The changes of MySQL's and MariaDB's tables: a snapshot first, then what the binary log has, from where the last run ended."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.change_events import (
    AFTER,
    ANEW,
    BEFORE,
    ChangeBlocks,
    Changes,
    changes_schema,
    first_changes,
    with_change_columns,
)
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, TableColumn, TableName, retrying
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Finding, Follower, Line, Partition, ReadRequest, Report, Source, Split
from beam_datahub.errors import DataHubError, InvalidValue, MissingDependency
from beam_datahub.io.mysql.checks import reached
from beam_datahub.io.mysql.connection import MysqlConnection
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql_cdc import server
from beam_datahub.io.mysql_cdc.following import LogFollower
from beam_datahub.io.mysql_cdc.log import SOURCE, LogReader, rows_of_snapshot
from beam_datahub.io.mysql_cdc.options import MysqlCdcOptions
from beam_datahub.io.mysql_cdc.position import Position
from beam_datahub.io.mysql_cdc.server import Snapshot
from beam_datahub.io.mysql_cdc.stream import events

LOGGER = logging.getLogger("beam_datahub.run")
_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class _LogPart:
    """What lies in the log before `end`, of each table behind its position."""

    end: str
    positions: Mapping[TableName, str]


@dataclass(frozen=True)
class _SnapshotPart:
    """All rows of a table, as a snapshot has them (None: as they are)."""

    table: TableName
    snapshot: Snapshot | None


@register("source", "mysql_cdc", since="0.1.0")
class MysqlCdcSource(Source):
    """Reads what changes in tables of MySQL or MariaDB by the binary log: first all rows, then each change once, as committed."""

    Connection: ClassVar[type[Config]] = MysqlConnection
    Options = MysqlCdcOptions
    capabilities = SourceCapabilities(columns=True, splits="table", unbounded=True, resumes="place in the binary log")
    examples = (
        Example(
            "A replica's source: rows to merge",
            {
                "connection": {"host": "db.example.com", "database": "shop", "user": "replicator"},
                "table": "orders",
                "changes": "rows",
            },
        ),
        Example(
            "All tables of a database, in Debezium's envelope",
            {"connection": {"url": "mysql://replicator@db.example.com/shop"}, "tables": ["shop.*"]},
        ),
    )
    whole_originals = False

    connection: MysqlConnection
    options: MysqlCdcOptions

    def check(self) -> Report:
        lines: list[Line] = []
        what = "reach"
        try:
            with self.connection.connected() as session:
                lines += reached(session)
                what = "binary log"
                server.refuse_impossible(session)
                position = server.here(session)
                lines.append((what, True, f"rows as a whole, up to {position}; {server.kept(session)}"))
                what = "tables"
                lines.append((what, True, ", ".join(map(str, server.tables_of(session, self.options)))))
        except DataHubError as error:
            lines.append(Finding(what, False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        lines: list[Line] = []
        try:
            with self.connection.connected() as session:
                lines += reached(session)
                server.refuse_impossible(session)
                lines.append(("binary log", True, f"rows as a whole, up to {server.here(session)}; {server.kept(session)}"))
        except DataHubError as error:
            lines.append(Finding("binary log" if lines else "reach", False, error.reason, error.hint))
        return Report(tuple(lines))

    def datasets(self) -> tuple[DatasetName, ...]:
        address, database = self.connection.where()
        names = [self.options.table] if self.options.table else [name for name in self.options.tables or [] if name[-2:] != ".*"]
        found = map(TableName.parse, names)
        return tuple(DatasetName(f"mysql://{address}", f"{each.schema or database}.{each.name}") for each in found)

    # columns

    def discover(self) -> Discovery:
        for attempt in retrying():
            with attempt, self.connection.connected() as session:
                tables = server.tables_of(session, self.options)
                if self.options.table is None:
                    return Discovery(changes_schema(self.options, None, SOURCE))
                columns = session.describe(Relation(table=tables[0]))
                rows, size = session.size(Relation(table=tables[0]))
        schema = pa.schema([(column.name, column.type) for column in columns])
        return Discovery(changes_schema(self.options, schema, SOURCE), rows, size)

    def completed(self, declared: pa.Schema) -> pa.Schema:
        return with_change_columns(self.options, declared)

    # what a run reads

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        with self.connection.connected() as session:
            tables = server.tables_of(session, self.options)
            known = {table: request.reached.get(self._key(table)) for table in tables}
            if request.limit is not None and not any(known.values()):
                yield from (Split(str(table), detail=_SnapshotPart(table, None)) for table in tables)
                return
            server.refuse_impossible(session)
            end = server.here(session)
            positions = {table: Position.parse(text) for table, text in known.items() if text not in (None, ANEW)}
            for position in {position.place: position for position in positions.values()}.values():
                server.refuse_purged(session, position)
                self._warn(session, position)
            fresh = [table for table in tables if table not in positions]
            snapshot = server.taken(self.connection, fresh) if fresh and self.options.snapshot == "initial" else None
        if snapshot is not None:
            for table in fresh:
                place = {self._key(table): str(snapshot.position)}
                yield Split(f"{table} as it is", detail=_SnapshotPart(table, snapshot), reached=place)
        elif fresh:
            yield Split("nothing yet", reached={self._key(table): str(end) for table in fresh})
        if positions:
            part = _LogPart(str(end), {table: str(position) for table, position in positions.items()})
            yield Split("changes", detail=part, reached={self._key(table): str(end) for table in positions})

    def _key(self, table: TableName) -> str:
        return "" if self.options.table is not None else str(table)

    def position(self, partition: str, text: str) -> str:
        return str(Position.parse(text))

    def _warn(self, session: MysqlSession, position: Position) -> None:
        waiting = server.lag(session, position)
        if waiting is not None and waiting > self.options.lag_warning:
            kept = server.kept(session)
            LOGGER.warning("%.1f MiB of the binary log wait to be read behind %s; %s", waiting / 2**20, position, kept)

    # streams

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        if self.options.table is None:
            raise InvalidValue("a stream follows one `table`", hint="make it a source for each table")
        position = request.reached.get("")
        if position is None:
            with self.connection.connected() as session:
                server.refuse_impossible(session)
                position = ANEW if self.options.snapshot == "initial" else str(server.here(session))
        yield Partition("", position)

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        return LogFollower(self, str(partition.position), request)

    # reading

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        if isinstance(split.detail, _SnapshotPart):
            yield from self._rows(split.detail, request)
        elif isinstance(split.detail, _LogPart):
            yield from self._changes(split.detail, request)

    def _rows(self, part: _SnapshotPart, request: ReadRequest) -> Iterator[Block]:
        snapshot = part.snapshot
        if snapshot is None:
            with self.connection.connected() as session:
                yield from self._rows_seen(session, part.table, None, int(time.time() * 1_000_000), request)
            return
        try:
            yield from self._rows_seen(server.holder_of(snapshot), part.table, snapshot.position, snapshot.time, request)
        finally:
            server.released(snapshot)

    def _rows_seen(
        self, session: MysqlSession, table: TableName, position: Position | None, moment: int, request: ReadRequest
    ) -> Iterator[Block]:
        blocks = ChangeBlocks(request, self.options, str(table))
        columns = {column.name: column for column in session.describe(Relation(table=table))}
        if self.options.changes == "rows":
            wanted = [column for name, column in columns.items() if name in request.columns]
        else:
            wanted = list(columns.values()) if {BEFORE, AFTER} & set(request.columns) else []
        wanted = wanted or list(columns.values())[:1]
        for batch in session.stream(wanted, Relation(table=table), (), request.limit, request.batch_bytes):
            images = self._typed(session, batch, columns) if self.options.table is None else batch
            found = blocks.block([rows_of_snapshot(table, images, position, moment)], converting(session, columns))
            if found is not None:
                yield found

    def _typed(self, session: MysqlSession, images: pa.RecordBatch, columns: Mapping[str, TableColumn]) -> pa.RecordBatch:
        """Rows in the types of their columns where all of their values fit, for JSON."""
        for number, name in enumerate(images.schema.names):
            if name in columns:
                array, bad = session.convert(columns[name], images.column(number), pa.field(name, columns[name].type))
                images = images if bad is not None else images.set_column(number, name, array)
        return images

    def _changes(self, part: _LogPart, request: ReadRequest) -> Iterator[Block]:
        blocks = self.blocks(request)
        positions = {table: Position.parse(text) for table, text in part.positions.items()}
        left = request.limit
        with self.connection.connected() as session:
            columns = {table: {each.name: each for each in session.columns(table) or ()} for table in positions}
            own = next(iter(columns.values()))
            for group, _ in self.looks(positions, Position.parse(part.end), request.batch_bytes):
                if self.options.table is None:
                    group = [replaced(each, self._typed(session, each.images, columns[each.table])) for each in group]
                if left is not None:
                    group = [first_changes(each, left) for each in group[:1]]
                    left -= sum(map(len, group))
                found = blocks.block(group, converting(session, own))
                if found is not None:
                    yield found
                if left == 0:
                    return

    def blocks(self, request: ReadRequest) -> ChangeBlocks:
        """What makes blocks of the log's changes."""
        return ChangeBlocks(request, self.options, f"changes of {self.options.table or 'several tables'}")

    def converting(self, session: MysqlSession, table: TableName) -> Any:
        """What fits values of a table's columns to what was promised."""
        return converting(session, {each.name: each for each in session.columns(table) or ()})

    def looks(
        self, positions: Mapping[TableName, Position], end: Position, batch_bytes: int
    ) -> Iterator[tuple[list[Changes], tuple[str, int] | None]]:
        """The changes behind some positions up to `end`, in parts; where one ends between two transactions, the place of that.

        Raises ConnectorError.
        """
        try:
            import pymysqlreplication  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingDependency("mysql-replication is not installed", hint="pip install 'beam-datahub[mysql]'") from error
        start = min(positions.values(), key=lambda each: each.place)
        if start.place == end.place:
            return
        keys = dict.fromkeys(positions, tuple(self.options.key)) if self.options.key else {}
        reader = LogReader(positions, keys, min(batch_bytes, _BATCH_BYTES))
        with self.connection.connected() as session:
            start = server.on_this_server(session, start)
        number = self.options.server_id or secrets.randbelow(2**31 - 2**16) + 2**16
        for event, file in events(self.connection, positions, start, end, number):
            for group in reader.take(event, file):
                yield group, reader.between
        for group in reader.rest():
            yield group, None


def converting(session: MysqlSession, columns: Mapping[str, TableColumn]) -> Any:
    """What fits values of a table's columns to what was promised."""

    def convert(array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        return session.convert(columns.get(field.name) or TableColumn(field.name, "", pa.string()), array, field)

    return convert


def replaced(changes: Changes, images: pa.RecordBatch) -> Changes:
    """Changes with other rows."""
    from dataclasses import replace

    return replace(changes, images=images)
