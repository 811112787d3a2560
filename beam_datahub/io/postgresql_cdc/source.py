"""The changes of PostgreSQL's tables: a snapshot first, then what the server's log has, from where the last run ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from beam_datahub.component.database_source import Range
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Finding, Follower, Line, Partition, ReadRequest, Report, Source, Split
from beam_datahub.errors import DataHubError, InvalidValue, SourceMissing, Transient, UnreadableData
from beam_datahub.io.postgresql.checks import reached
from beam_datahub.io.postgresql.connection import PostgresqlConnection
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql_cdc import slot as slots
from beam_datahub.io.postgresql_cdc.following import SlotFollower
from beam_datahub.io.postgresql_cdc.health import identities, lag_text
from beam_datahub.io.postgresql_cdc.log import SOURCE, LogReading
from beam_datahub.io.postgresql_cdc.messages import MessageReader
from beam_datahub.io.postgresql_cdc.options import PostgresqlCdcOptions
from beam_datahub.io.postgresql_cdc.position import Position, lsn_text
from beam_datahub.io.postgresql_cdc.snapshot import Snapshot, released, taken
from beam_datahub.kernels.read_ahead import read_ahead

LOGGER = logging.getLogger("beam_datahub.run")


@dataclass(frozen=True)
class _LogPart:
    """What lies in the log before `end`, of each table behind its position."""

    end: int
    positions: Mapping[str, str]


@dataclass(frozen=True)
class _SnapshotPart:
    """All rows of a table, as a snapshot has them (None: as they are)."""

    table: TableName
    snapshot: Snapshot | None


@register("source", "postgresql_cdc", since="0.1.0")
class PostgresqlCdcSource(Source):
    """Reads what changes in tables of PostgreSQL by logical replication: first all rows, then each change once, as committed."""

    Connection: ClassVar[type[Config]] = PostgresqlConnection
    Options = PostgresqlCdcOptions
    capabilities = SourceCapabilities(columns=True, splits="table", unbounded=True, resumes="LSN")
    examples = (
        Example(
            "A replica's source: rows to merge",
            {
                "connection": {"host": "db.example.com", "database": "shop", "user": "replicator"},
                "table": "sales.orders",
                "slot": "orders_to_warehouse",
                "changes": "rows",
            },
        ),
        Example(
            "All tables of a schema, in Debezium's envelope",
            {
                "connection": {"url": "postgresql://replicator@db.example.com/shop"},
                "tables": ["sales.*"],
                "slot": "sales_to_lake",
            },
        ),
    )
    whole_originals = False

    connection: PostgresqlConnection
    options: PostgresqlCdcOptions

    def check(self) -> Report:
        lines: list[Line] = []
        what = "reach"
        try:
            with self.connection.connected() as session:
                lines += reached(session)
                what = "replication"
                slots.refuse_impossible(session)
                lines.append((what, True, "wal_level is logical, and the role may replicate"))
                what = "tables"
                tables = slots.tables_of(session, self.options)
                lines.append((what, True, ", ".join(map(str, tables))))
                lines += identities(session, tables)
                what = "slot"
                lines.append((what, *self._slot_line(session)))
        except DataHubError as error:
            lines.append(Finding(what, False, error.reason, error.hint))
        return Report(tuple(lines))

    def _slot_line(self, session: PostgresqlSession) -> tuple[bool, str]:
        found = slots.slot_of(session, self.options.slot)
        if found is None:
            made = "will be made" if self.options.create else "is not there"
            return self.options.create, f"'{self.options.slot}' {made}"
        slots.refuse_lost(found)
        return found.lag <= self.options.lag_warning, lag_text(session, found)

    def reach(self) -> Report:
        lines: list[Line] = []
        try:
            with self.connection.connected() as session:
                lines += reached(session)
                slots.refuse_impossible(session)
                lines.append(("replication", True, "wal_level is logical, and the role may replicate"))
                names = session.fetch(
                    "SELECT slot_name FROM pg_replication_slots WHERE plugin = 'pgoutput' "
                    "AND database = current_database() ORDER BY 1"
                )
                for (name,) in names:
                    found = slots.slot_of(session, name)
                    if found is not None:
                        lines.append((f"slot {name}", found.status != "lost", lag_text(session, found)))
        except DataHubError as error:
            lines.append(Finding("replication" if lines else "reach", False, error.reason, error.hint))
        return Report(tuple(lines))

    def datasets(self) -> tuple[DatasetName, ...]:
        server, database = self.connection.where()
        names = [self.options.table] if self.options.table else [name for name in self.options.tables or [] if name[-2:] != ".*"]
        found = map(TableName.parse, names)
        return tuple(DatasetName(f"postgres://{server}", f"{database}.{each.schema or 'public'}.{each.name}") for each in found)

    # columns

    def discover(self) -> Discovery:
        for attempt in retrying():
            with attempt, self.connection.connected() as session:
                tables = slots.tables_of(session, self.options)
                if self.options.table is None:
                    return Discovery(changes_schema(self.options, None, SOURCE))
                columns = self._columns(session, tables[0])
                rows, size = session.size(Relation(table=tables[0]))
        schema = pa.schema([(column.name, column.type) for column in columns])
        return Discovery(changes_schema(self.options, schema, SOURCE), rows, size)

    def completed(self, declared: pa.Schema) -> pa.Schema:
        return with_change_columns(self.options, declared)

    def _columns(self, session: PostgresqlSession, table: TableName) -> list[TableColumn]:
        """The columns of a table that are in the log: all but those that the server computes."""
        computed = {column.name for column in session.columns(table) or () if column.computed}
        return [column for column in session.describe(Relation(table=table)) if column.name not in computed]

    # what a run reads

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        with self.connection.connected() as session:
            tables = slots.tables_of(session, self.options)
            known = {str(table): request.reached.get(self._key(table)) for table in tables}
            if request.limit is not None and not any(known.values()):
                # Who only looks at some rows leaves no slot behind.
                yield from (Split(str(table), detail=_SnapshotPart(table, None)) for table in tables)
                return
            positions = {name: Position.parse(text) for name, text in known.items() if text not in (None, ANEW)}
            fresh = [table for table in tables if str(table) not in positions]
            slot = self._ready(session, tables, positions, fresh=bool(fresh))
            end = slots.here(session)
            self._warn(session)
            snapshot = None
            if fresh and self.options.snapshot == "initial":
                snapshot = taken(self.connection, slot, len(fresh))
        idle: dict[str, Any] = {}
        for table in fresh:
            at = Position(slot.confirmed, snapshot.seen, snapshot.until) if snapshot is not None else Position(end)
            place = {self._key(table): str(at)}
            if snapshot is not None:
                yield Split(f"{table} as it is", detail=_SnapshotPart(table, snapshot), reached=place)
            else:
                idle |= place
        if idle:
            yield Split("nothing yet", reached=idle)
        if positions:
            reaches = {self._key(table): str(positions[str(table)].moved(end)) for table in tables if str(table) in positions}
            part = _LogPart(end, {name: str(position) for name, position in positions.items()})
            yield Split("changes", detail=part, reached=reaches)

    def _ready(
        self, session: PostgresqlSession, tables: list[TableName], positions: Mapping[str, Position], *, fresh: bool
    ) -> slots.Slot:
        """The slot, moved on to what is recorded."""
        if fresh:
            slot = slots.ready(session, self.options, tables, patience_seconds=self.connection.lock_timeout_seconds)
        else:
            found = slots.slot_of(session, self.options.slot)
            if found is None:
                raise UnreadableData(
                    f"the replication slot '{self.options.slot}' is gone, and with it what has changed since the last run",
                    hint=slots.ANEW,
                )
            slot = found
            slots.refuse_lost(slot)
        if positions:
            slots.go_on(session, slot, min(positions.values(), key=lambda each: each.lsn))
            slot = slots.slot_of(session, self.options.slot) or slot
        return slot

    def _key(self, table: TableName) -> str:
        return "" if self.options.table is not None else str(table)

    def position(self, partition: str, text: str) -> str:
        return str(Position.parse(text))

    def forget(self) -> list[str]:
        with self.connection.connected() as session:
            return slots.drop(session, self.options)

    def _warn(self, session: PostgresqlSession) -> None:
        found = slots.slot_of(session, self.options.slot)
        if found is not None and found.lag > self.options.lag_warning:
            LOGGER.warning("the replication slot '%s' is far behind: %s", found.name, lag_text(session, found))

    # streams

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        if self.options.table is None:
            raise InvalidValue("a stream follows one `table` of a slot", hint="make it a source for each table")
        with self.connection.connected() as session:
            tables = slots.tables_of(session, self.options)
            position = request.reached.get("")
            if position is None:
                slot = slots.ready(session, self.options, tables, patience_seconds=self.connection.lock_timeout_seconds)
                end = str(Position(max(slot.confirmed, slots.here(session))))
                position = ANEW if self.options.snapshot == "initial" else end
        yield Partition("", position)

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        return SlotFollower(self, str(partition.position), request)

    # reading

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        if isinstance(split.detail, _SnapshotPart):
            yield from self._rows(split.detail, request)
        elif isinstance(split.detail, _LogPart):
            yield from self._changes(split.detail, request)

    def _rows(self, part: _SnapshotPart, request: ReadRequest) -> Iterator[Block]:
        blocks = ChangeBlocks(request, self.options, str(part.table))
        reading = self.reading(0, {}, request)
        snapshot = part.snapshot
        lsn, moment = (snapshot.lsn, snapshot.time) if snapshot is not None else (0, int(time.time() * 1_000_000))
        try:
            with self.connection.connected() as session:
                columns = {column.name: column for column in self._columns(session, part.table)}
                if snapshot is not None:
                    session.enter(Range(snapshot=snapshot.name))
                needed = [each for name, each in columns.items() if reading.needed is None or name in reading.needed]
                wanted = needed or list(columns.values())[:1]
                texts = frozenset(each.name for each in wanted if reading.as_json and each.detail == "numeric")

                def convert(array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
                    return session.convert(columns[field.name], array, field)

                def block(batch: pa.RecordBatch) -> Block | None:
                    return blocks.block([reading.rows(part.table, batch, lsn, moment, texts)], convert)

                batches = session.stream(wanted, Relation(table=part.table), (), request.limit, request.batch_bytes)
                for found in self._ahead(batches, block, request):
                    if found is not None:
                        yield found
                if snapshot is not None:
                    session.tell_arrow("COMMIT")
        finally:
            if snapshot is not None:
                released(snapshot.name)

    def blocks(self, request: ReadRequest) -> ChangeBlocks:
        """What makes blocks of the log's changes."""
        return ChangeBlocks(request, self.options, f"changes of {self.options.table or 'several tables'}")

    def reading(self, end: int, positions: Mapping[str, Position], request: ReadRequest) -> LogReading:
        """What a request wants of the log."""
        needed = None
        if self.options.changes == "rows":
            needed = frozenset(request.columns)
        elif not {BEFORE, AFTER} & set(request.columns):
            needed = frozenset()
        as_json = self.options.table is None
        return LogReading(self.options.slot, self.connection.where()[1], end, positions, {}, needed, as_json)

    def _changes(self, part: _LogPart, request: ReadRequest) -> Iterator[Block]:
        blocks = self.blocks(request)
        positions = {name: Position.parse(text) for name, text in part.positions.items()}
        reader = MessageReader()
        with self.connection.connected() as session:
            self.waited_for(session)
            reading = replace(self.reading(part.end, positions, request), keys=self.keys(session, positions))
            left = request.limit

            def decoded(batch: pa.RecordBatch) -> list[list[Changes]]:
                return gathered(reading.changes(each, session) for each in reader.read(batch.column(0), batch.column(1)))

            convert = self.converting(session, slots.tables_of(session, self.options)[0])
            for groups in self._ahead(self._messages(session, part.end, request.batch_bytes), decoded, request):
                for group in groups:
                    if left is not None:
                        group = [first_changes(each, left) for each in group[:1]]
                        left -= sum(map(len, group))
                    found = blocks.block(group, convert)
                    if found is not None:
                        yield found
                    if left == 0:
                        session.broken = True
                        return

    def _ahead(self, batches: Any, work: Any, request: ReadRequest) -> Iterator[Any]:
        if request.limit is None and request.threads > 1:
            return read_ahead(batches, work, threads=1)
        return map(work, batches)

    def converting(self, session: PostgresqlSession, table: TableName) -> Any:
        """What fits values of a table's columns to what was promised."""
        columns = {column.name: column for column in self._columns(session, table)}

        def convert(array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
            return session.convert(columns.get(field.name) or TableColumn(field.name, "", pa.string()), array, field)

        return convert

    def waited_for(self, session: PostgresqlSession) -> slots.Slot:
        """The slot, once nobody reads from it: a server notices late that a reader has died. Raises Transient, SourceMissing."""
        for attempt in retrying():
            with attempt:
                slot = slots.slot_of(session, self.options.slot)
                if slot is not None and slot.active:
                    hint = "each source needs one of its own"
                    raise Transient(f"somebody else reads from the replication slot '{slot.name}'", hint=hint)
        if slot is None:
            raise SourceMissing(f"there is no replication slot '{self.options.slot}'", hint=slots.ANEW)
        return slot

    def keys(self, session: PostgresqlSession, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The columns that tell the rows of tables apart."""
        if self.options.key is not None:
            return dict.fromkeys(names, tuple(self.options.key))
        return {name: tuple(next(iter(session.unique_keys(TableName.parse(name))), ())) for name in names}

    def _messages(self, session: PostgresqlSession, end: int, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Messages of the log up to `end` and the places where they stand; the slot stays where it is."""
        text = session.dialect.literal
        session.tell_arrow("SET client_encoding = 'UTF8'")
        slot, publication = text(self.options.slot), text(session.dialect.quoted(self.options.published_by))
        sql = (
            f"SELECT (lsn - '0/0')::int8, data FROM pg_logical_slot_peek_binary_changes({slot}, {text(lsn_text(end))}, NULL, "
            f"'proto_version', '1', 'publication_names', {publication})"
        )
        with session.telling(refused=UnreadableData), session.arrow().cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(min(batch_bytes, 4 * 1024 * 1024))})
            cursor.execute(sql)
            try:
                yield from cursor.fetch_record_batch()
            except GeneratorExit:
                # The server would go on sending: only closing the connection stops it.
                session.broken = True
                raise


def gathered(changes: Iterator[Changes | None]) -> list[list[Changes]]:
    """Changes of one batch in groups that are blocks: of each table one part, unless it was altered in between."""
    groups: list[list[Changes]] = []
    for each in changes:
        if each is None:
            continue
        if not groups or any(each.table == other.table for other in groups[-1]):
            groups.append([])
        groups[-1].append(each)
    return groups
