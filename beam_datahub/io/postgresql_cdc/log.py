"""Changes in the log in the form that all databases share: rows in their types, keys that changed, large values carried over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.change_events import CREATED, DELETED, READ, TRUNCATED, UPDATED, Changes
from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql_cdc import messages
from beam_datahub.io.postgresql_cdc.messages import LoggedChanges, LoggedRelation
from beam_datahub.io.postgresql_cdc.position import Position
from beam_datahub.io.postgresql_cdc.values import valued
from beam_datahub.kernels.packed import Integers, Mask
from beam_datahub.kernels.types import JSON

# Where a change comes from, in Debezium's words.
SOURCE = pa.struct(
    [
        ("connector", pa.string()),
        ("name", pa.string()),
        ("ts_ms", pa.int64()),
        ("snapshot", pa.string()),
        ("db", pa.string()),
        ("schema", pa.string()),
        ("table", pa.string()),
        ("txId", pa.int64()),
        ("lsn", pa.int64()),
    ]
)
_OPS = np.zeros(256, dtype=np.int8)
for _letter, _op in (
    (messages.INSERT, CREATED),
    (messages.UPDATE, UPDATED),
    (messages.DELETE, DELETED),
    (messages.TRUNCATE, TRUNCATED),
):
    _OPS[_letter] = _op


@dataclass(frozen=True)
class LogReading:
    """What is wanted of the log: up to `end`, of each table what lies behind its position; `needed` columns (None: all).

    `keys` are the columns that tell the rows of a table apart.
    """

    slot: str
    database: str
    end: int
    positions: Mapping[str, Position]
    keys: Mapping[str, tuple[str, ...]]
    needed: frozenset[str] | None = None
    as_json: bool = False

    def changes(self, logged: LoggedChanges, session: PostgresqlSession) -> Changes | None:
        """What is wanted of some changes; None where nothing is. Raises ConnectorError."""
        relation = logged.relation
        table = TableName(relation.name, relation.schema)
        position = self.positions.get(str(table))
        if position is None:
            return None
        wanted = position.news(logged.commit_lsn, logged.xids) & (logged.commit_lsn < self.end)
        if not wanted.any():
            return None
        rekeyed = _rekeyed(logged, self.keys.get(str(table), ()))
        which = np.repeat(np.arange(len(wanted)), 1 + rekeyed)
        twin = np.zeros(len(which), dtype=bool)
        twin[1:] = which[1:] == which[:-1]
        split = rekeyed[which]
        ops = _OPS[logged.kinds[which]]
        ops = np.where(split, np.where(twin, CREATED, DELETED), ops).astype(np.int8)
        after = np.where(split & ~twin, -1, logged.new[which])
        before = np.where(split & twin, -1, logged.old[which])
        images, refused = self._images(logged, after, before, which, session)
        count = len(which)
        lsn = logged.lsn[which]
        source = {
            **self._source(table, count, "false"),
            "txId": pa.array(logged.xids[which], pa.int64()),
            "lsn": pa.array(lsn, pa.int64()),
        }
        times = logged.times[which]
        order = logged.order[which] * 2 + twin
        found = Changes(table, images, ops, after, before, lsn + _ranks(lsn), times, source, refused, order)
        return found.where(wanted[which])

    def _source(self, table: TableName, count: int, snapshot: str) -> dict[str, pa.Array]:
        facts = {
            "connector": "postgresql",
            "name": self.slot,
            "snapshot": snapshot,
            "db": self.database,
            "schema": table.schema,
            "table": table.name,
        }
        return {name: pa.repeat(pa.scalar(value, pa.string()), count) for name, value in facts.items()}

    def rows(self, table: TableName, images: pa.RecordBatch, lsn: int, time: int, texts: frozenset[str]) -> Changes:
        """The rows of a snapshot as changes, all at one place of the log and of one time; `texts` are numbers, for JSON."""
        count = images.num_rows
        for number, name in enumerate(images.schema.names):
            if name in texts:
                images = images.set_column(number, name, numbers(images.column(number)))
        places = np.full(count, lsn, dtype=np.int64)
        source = {**self._source(table, count, "true"), "lsn": pa.array(places)}
        none, every = np.full(count, -1, dtype=np.int64), np.arange(count, dtype=np.int64)
        ops, times = np.full(count, READ, dtype=np.int8), np.full(count, time, dtype=np.int64)
        return Changes(table, images, ops, every, none, places, times, source)

    def _images(
        self,
        logged: LoggedChanges,
        after: Integers,
        before: Integers,
        which: Integers,
        session: PostgresqlSession,
    ) -> tuple[pa.RecordBatch, dict[int, tuple[str, str, str | None]]]:
        columns = columns_of(logged.relation, session)
        refused: dict[int, tuple[str, str, str | None]] = {}
        arrays = []
        for number, column in enumerate(columns):
            texts, untold = logged.images.texts[number], logged.images.untold[number]
            is_needed = self.needed is None or column.name in self.needed
            if untold is not None and is_needed:
                texts = _carried(texts, untold, logged, after, which, refused, column.name)
            if is_needed and str(column.detail).startswith("list"):
                texts = _flat(texts, after, before, refused, column.name)
            array = valued(column, texts, session) if is_needed else texts
            arrays.append(numbers(array) if self.as_json and column.detail == "numeric" else array)
        return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns]), refused


def numbers(texts: pa.Array) -> pa.Array:
    """Numbers as they stand in JSON, with all their digits."""
    plain = pc.match_substring_regex(texts, "^-?[0-9.]+$")
    spelt = pc.if_else(plain, texts, pc.binary_join_element_wise('"', texts, '"', ""))
    return pa.ExtensionArray.from_storage(JSON, spelt)


def _flat(
    texts: pa.Array,
    after: Integers,
    before: Integers,
    refused: dict[int, tuple[str, str, str | None]],
    column: str,
) -> pa.Array:
    """Arrays of one dimension; changes with others are refused."""
    deep = pc.fill_null(pc.match_substring_regex(texts, r"^(\[[^=]*=)?\{\{"), False)
    if not pc.any(deep, min_count=0).as_py():
        return texts
    mask = deep.to_numpy(zero_copy_only=False)
    for images in (after, before):
        for change in np.flatnonzero((images >= 0) & mask[images]).tolist():
            refused.setdefault(change, ("type_mismatch", "the array has several dimensions", column))
    return pc.if_else(deep, pa.scalar(None, pa.string()), texts)


def columns_of(relation: LoggedRelation, session: PostgresqlSession) -> list[TableColumn]:
    """The columns of a table as it was."""
    return [session.catalogue.column(each.name, each.oid, each.modifier) for each in relation.columns]


def _rekeyed(logged: LoggedChanges, key: Iterable[str]) -> Mask:
    """Which updates change the key of their row."""
    updates = (logged.kinds == messages.UPDATE) & (logged.old >= 0)
    # With its key alone an old row comes only where that has changed.
    found: Mask = updates & ~logged.whole
    rows = np.flatnonzero(updates & logged.whole)
    names = [each.name for each in logged.relation.columns]
    if len(rows):
        new, old = pa.array(logged.new[rows]), pa.array(logged.old[rows])
        for name in key:
            texts = logged.images.texts[names.index(name)] if name in names else None
            if texts is not None:
                untold = logged.images.untold[names.index(name)]
                differs = pc.fill_null(pc.not_equal(texts.take(new), texts.take(old)), True).to_numpy(zero_copy_only=False)
                found[rows] |= differs if untold is None else differs & ~untold[logged.new[rows]]
    return found


def _carried(
    texts: pa.Array,
    untold: Mask,
    logged: LoggedChanges,
    after: Integers,
    which: Integers,
    refused: dict[int, tuple[str, str, str | None]],
    column: str,
) -> pa.Array:
    """Values that a change does not tell, as large ones that it leaves alone, from the old row where the log has all of it."""
    places = np.arange(len(texts), dtype=np.int64)
    for change in np.flatnonzero((after >= 0) & untold[after]).tolist():
        original = which[change]
        if logged.whole[original]:
            places[after[change]] = logged.old[original]
        elif change not in refused:
            table = f"{logged.relation.schema}.{logged.relation.name}"
            said = f"the log does not have the value of '{column}', which is large and was not changed"
            refused[change] = ("unchanged_value", f"{said}: ALTER TABLE {table} REPLICA IDENTITY FULL keeps such values", column)
    return texts.take(pa.array(places))


def _ranks(numbers: Integers) -> Integers:
    """How many of the same number stand right before each."""
    every = np.arange(len(numbers))
    fresh = np.ones(len(numbers), dtype=bool)
    fresh[1:] = numbers[1:] != numbers[:-1]
    return every - np.maximum.accumulate(np.where(fresh, every, 0))
