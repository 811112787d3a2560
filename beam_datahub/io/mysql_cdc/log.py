"""The binary log's events in the form that all databases share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.change_events import CREATED, DELETED, READ, TRUNCATED, UPDATED, Changes
from beam_datahub.component.database import TableName
from beam_datahub.errors import UnreadableData
from beam_datahub.io.mysql_cdc.position import Position, number_of
from beam_datahub.io.mysql_cdc.repeated import Began, Rows
from beam_datahub.io.mysql_cdc.row_images import LoggedColumn, logged_column, row_images
from beam_datahub.io.mysql_cdc.values import valued
from beam_datahub.kernels.packed import Integers

# Where a change comes from, in Debezium's words.
SOURCE = pa.struct(
    [
        ("connector", pa.string()),
        ("ts_ms", pa.int64()),
        ("snapshot", pa.string()),
        ("db", pa.string()),
        ("table", pa.string()),
        ("server_id", pa.int64()),
        ("gtid", pa.string()),
        ("file", pa.string()),
        ("pos", pa.int64()),
        ("row", pa.int32()),
    ]
)
_TRUNCATE = re.compile(
    r"\s*(?:/\*.*?\*/\s*)*TRUNCATE\s+(?:TABLE\s+)?((?:`[^`]+`|[\w$]+)(?:\s*\.\s*(?:`[^`]+`|[\w$]+))?)", re.IGNORECASE | re.DOTALL
)
_BATCH_EVENTS = 20_000


@dataclass
class _Events:
    """Events of one table that has the same columns in all of them, by kind; `order` counts the events of the batch."""

    table: TableName
    columns: tuple[LoggedColumn, ...]
    bodies: dict[int, list[bytes]] = field(default_factory=lambda: {CREATED: [], UPDATED: [], DELETED: []})
    order: dict[int, list[int]] = field(default_factory=lambda: {CREATED: [], UPDATED: [], DELETED: [], TRUNCATED: []})


@dataclass
class _Facts:
    """What is known of each event of a batch."""

    files: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    servers: list[int] = field(default_factory=list)
    gtids: list[str | None] = field(default_factory=list)


class LogReader:
    """Takes events one by one and gives their changes in batches. `positions`: behind which each table is read; `keys` tell rows
    of a table apart.
    """

    def __init__(
        self, positions: Mapping[TableName, Position], keys: Mapping[TableName, tuple[str, ...]], batch_bytes: int
    ) -> None:
        self._positions, self._keys, self._most = positions, keys, batch_bytes
        self._all_alike = len({position.place for position in positions.values()}) < 2
        self._columns: dict[int, tuple[Any, TableName, tuple[LoggedColumn, ...]]] = {}
        self._gtid: str | None = None
        self.between: tuple[str, int] | None = None
        """Where the transaction begins before which the last part ended; None where it ended within one."""
        self._begin()

    def _begin(self) -> None:
        self._groups: dict[TableName, _Events] = {}
        self._facts, self._size = _Facts(), 0

    def take(self, event: Any, file: str) -> Iterator[list[Changes]]:
        """Take an event of a file of the log; gives what is complete. Raises UnreadableData."""
        self.between = None
        if isinstance(event, Began):
            self._gtid = event.gtid
            if self._is_full():
                self.between = (file, event.start)
                yield from self.rest()
        elif isinstance(event, Rows):
            table, columns = self._table(event)
            if table in self._positions and self._is_new(event.end, table, file):
                yield from self._rows(event, table, columns, file)
        elif (found := _TRUNCATE.match(getattr(event, "query", ""))) is not None:
            named = TableName.parse(re.sub(r"\s*\.\s*", ".", found[1]).replace("`", '"'))
            table = TableName(named.name, named.schema or event.schema.decode())
            packet = event.packet
            if table in self._positions and self._is_new(packet.log_pos, table, file):
                group = self._groups.setdefault(table, _Events(table, ()))
                start = packet.log_pos - packet.event_size
                group.order[TRUNCATED].append(self._note(file, start, packet.timestamp, packet.server_id))

    def _rows(self, event: Rows, table: TableName, columns: tuple[LoggedColumn, ...], file: str) -> Iterator[list[Changes]]:
        if not event.is_whole:
            raise UnreadableData(
                f"the log has a change of '{table}' without all of its columns", hint="SET GLOBAL binlog_row_image = FULL"
            )
        group = self._groups.get(table)
        if group is not None and group.columns is not columns and group.columns not in (columns, ()):
            # The table was altered in between.
            yield from self.rest()
            group = None
        if group is None:
            group = self._groups[table] = _Events(table, columns)
        group.columns = columns
        group.bodies[event.kind].append(event.body)
        group.order[event.kind].append(self._note(file, event.start, event.time, event.server))
        self._size += len(event.body)
        if self._size >= 2 * self._most or len(self._facts.files) >= 20 * _BATCH_EVENTS:
            # A large transaction comes in parts.
            yield from self.rest()

    def _is_full(self) -> bool:
        return self._size >= self._most or len(self._facts.files) >= _BATCH_EVENTS

    def _table(self, event: Rows) -> tuple[TableName, tuple[LoggedColumn, ...]]:
        there = event.there
        known = self._columns.get(event.table_id)
        if known is None or known[0] is not there:
            columns = tuple(map(logged_column, there.columns))
            known = self._columns[event.table_id] = (there, TableName(there.table, there.schema), columns)
        return known[1], known[2]

    def _is_new(self, end: int, table: TableName, file: str) -> bool:
        return self._all_alike or (number_of(file), end) > self._positions[table].place

    def _note(self, file: str, start: int, time: int, server: int) -> int:
        facts = self._facts
        facts.files.append(file)
        facts.starts.append(start)
        facts.times.append(time)
        facts.servers.append(server)
        facts.gtids.append(self._gtid)
        return len(facts.files) - 1

    def rest(self) -> Iterator[list[Changes]]:
        """The changes that were taken and not given yet."""
        found = [self._changes(group) for group in self._groups.values()]
        self._begin()
        if found:
            yield found

    def _changes(self, group: _Events) -> Changes:
        batches: list[pa.RecordBatch] = []
        events, turns, ops, after, before = [], [], [], [], []
        known = 0
        names = [column.name for column in group.columns]
        for kind, bodies in group.bodies.items():
            if not bodies:
                continue
            images = row_images(bodies, group.columns)
            count = len(images)
            arrays = [valued(images, number, column) for number, column in enumerate(group.columns)]
            batches.append(pa.RecordBatch.from_arrays(arrays, names=names))
            step = 2 if kind == UPDATED else 1
            places = np.arange(known, known + count, step)
            none = np.full(len(places), -1, dtype=np.int64)
            events.append(np.array(group.order[kind], dtype=np.int64)[images.event[::step]])
            turns.append(images.number[::step] // step)
            ops.append(np.full(len(places), kind, dtype=np.int8))
            before.append(none if kind == CREATED else places)
            after.append(none if kind == DELETED else places + step - 1)
            known += count
        emptied = np.array(group.order[TRUNCATED], dtype=np.int64)
        none = np.full(len(emptied), -1, dtype=np.int64)
        images_batch = _together(batches, names)
        columns = [
            np.concatenate(parts)
            for parts in (
                [*events, emptied],
                [*turns, none + 1],
                [*ops, np.full(len(emptied), TRUNCATED, dtype=np.int8)],
                [*after, none],
                [*before, none],
            )
        ]
        order = np.lexsort((columns[1], columns[0]))
        return self._told(group, images_batch, *(column[order] for column in columns))

    def _told(
        self,
        group: _Events,
        images: pa.RecordBatch,
        events: Integers,
        turns: Integers,
        ops: Any,
        after: Integers,
        before: Integers,
    ) -> Changes:
        key = self._keys.get(group.table) or tuple(column.name for column in group.columns if column.is_key)
        rekeyed = _rekeyed(images, ops, after, before, key)
        which = np.repeat(np.arange(len(ops)), 1 + rekeyed)
        twin = np.zeros(len(which), dtype=bool)
        twin[1:] = which[1:] == which[:-1]
        split = rekeyed[which]
        facts = self._facts
        events, turns = events[which], turns[which]
        starts = np.array(facts.starts, dtype=np.int64)[events]
        by_name = {file: number_of(file) for file in set(facts.files)}
        files = np.array([by_name[file] for file in facts.files], dtype=np.int64)[events]
        chosen = pa.array(events)
        source = {
            **_named(group.table, len(which), "false"),
            "server_id": pa.array(facts.servers, pa.int64()).take(chosen),
            "gtid": pa.array(facts.gtids, pa.string()).take(chosen),
            "file": pa.array(facts.files, pa.string()).take(chosen),
            "pos": pa.array(starts),
            "row": pa.array(turns.astype(np.int32)),
        }
        return Changes(
            group.table,
            images,
            np.where(split, np.where(twin, CREATED, DELETED), ops[which]).astype(np.int8),
            np.where(split & ~twin, -1, after[which]),
            np.where(split & twin, -1, before[which]),
            # Each row takes more than one byte of its event, and two where it is a change.
            (files << 40) + starts + 2 * turns + twin,
            np.array(facts.times, dtype=np.int64)[events] * 1_000_000,
            source,
            order=(events << 32) + 2 * turns + twin,
        )


def rows_of_snapshot(table: TableName, images: pa.RecordBatch, position: Position | None, time: int) -> Changes:
    """The rows of a snapshot as changes, all at one place of the log and of one time."""
    count = images.num_rows
    none, every = np.full(count, -1, dtype=np.int64), np.arange(count, dtype=np.int64)
    number, offset = position.place if position is not None else (0, 0)
    source = _named(table, count, "true")
    if position is not None:
        source |= {
            "file": pa.repeat(pa.scalar(position.file), count),
            "pos": pa.repeat(pa.scalar(offset, pa.int64()), count),
            "gtid": pa.repeat(pa.scalar(position.gtid, pa.string()), count),
        }
    places = np.full(count, (number << 40) + offset, dtype=np.int64)
    times = np.full(count, time, dtype=np.int64)
    return Changes(table, images, np.full(count, READ, dtype=np.int8), every, none, places, times, source)


def _named(table: TableName, count: int, snapshot: str) -> dict[str, pa.Array]:
    facts = {"connector": "mysql", "snapshot": snapshot, "db": table.schema, "table": table.name}
    return {name: pa.repeat(pa.scalar(value, pa.string()), count) for name, value in facts.items()}


def _together(batches: list[pa.RecordBatch], names: list[str]) -> pa.RecordBatch:
    """Batches of the same columns as one; a column that is text in one of them is text in all."""
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in names], names=names)
    arrays = []
    for number in range(len(names)):
        parts = [batch.column(number) for batch in batches]
        if len({part.type for part in parts}) > 1:
            parts = [part.cast(pa.string()) for part in parts]
        arrays.append(pa.concat_arrays(parts))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _rekeyed(images: pa.RecordBatch, ops: Any, after: Integers, before: Integers, key: tuple[str, ...]) -> Any:
    """Which updates change the key of their row."""
    found = np.zeros(len(ops), dtype=bool)
    rows = np.flatnonzero(ops == UPDATED)
    if len(rows):
        new, old = pa.array(after[rows]), pa.array(before[rows])
        for name in key:
            if name in images.schema.names:
                values = images.column(name)
                differs = pc.fill_null(pc.not_equal(values.take(new), values.take(old)), True)
                found[rows] |= differs.to_numpy(zero_copy_only=False)
    return found
