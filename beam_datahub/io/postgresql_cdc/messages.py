"""Messages of PostgreSQL's own output plugin (pgoutput, version 1), many at a time.

The layouts are those of "Logical Replication Message Formats" in PostgreSQL's manual: one letter, then numbers in network order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.packed import Bytes, Integers, Mask, numbers, slices

BEGIN, COMMIT, RELATION, INSERT, UPDATE, DELETE, TRUNCATE = (ord(letter) for letter in "BCRIUDT")
_NEW, _OLD, _KEY = (ord(letter) for letter in "NOK")
_NULL, _UNCHANGED, _TEXT, _BINARY = (ord(letter) for letter in "nutb")
# Microseconds from 1970 to 2000, where PostgreSQL begins to count.
_EPOCH = 946_684_800_000_000


@dataclass(frozen=True)
class RelationColumn:
    """A column as it was when the change was made."""

    name: str
    oid: int
    modifier: int
    is_key: bool


@dataclass(frozen=True)
class LoggedRelation:
    """A table as it was when a change was made. `identity`: d (key), f (whole rows), i (an index), n (nothing)."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True)
class Images:
    """Rows of one table in the log: for each column its texts (null: NULL, or not told), and which are not told because large
    values did not change (None: all are told).
    """

    texts: list[pa.Array]
    untold: list[Mask | None]


@dataclass(frozen=True)
class LoggedChanges:
    """Changes to one table in their order. `kinds` are letters of messages; `new` and `old` say which of the images are a
    change's (−1: none), those with `whole` have all columns of the old row and not only its key.
    """

    relation: LoggedRelation
    kinds: Bytes
    new: Integers
    old: Integers
    whole: Mask
    images: Images
    lsn: Integers
    commit_lsn: Integers
    times: Integers
    xids: Integers
    order: Integers


class MessageReader:
    """Reads messages batch by batch; knows the tables and the transaction that earlier batches told of."""

    def __init__(self) -> None:
        self._relations: dict[int, LoggedRelation] = {}
        # Of the transaction under way: the place of its commit, its time, its number.
        self._under_way = (0, 0, 0)

    @property
    def last_commit(self) -> int:
        """Where the commit of the last transaction begins that was read of."""
        return self._under_way[0]

    def read(self, lsns: pa.Array, messages: pa.Array) -> Iterator[LoggedChanges]:
        """The changes of a batch of messages that stand at `lsns`; a table that was altered in between comes in parts."""
        count = len(messages)
        if not count:
            return
        buffers = messages.buffers()
        offsets = np.frombuffer(buffers[1], np.int32)[messages.offset : messages.offset + count + 1].astype(np.int64)
        data = np.frombuffer(buffers[2], np.uint8)
        places = np.asarray(lsns, dtype=np.int64)
        batch = _Batch(data, buffers[2], offsets[:-1], data[offsets[:-1]], places, *self._transactions(data, offsets[:-1]))
        # A table is told of before its first change, and again after it was altered: what lies between is read at once.
        cuts = [0]
        for at in np.flatnonzero(batch.kinds == RELATION):
            found = _relation(bytes(data[offsets[at] : offsets[at + 1]]))
            before = self._relations.get(found.oid)
            if before is not None and before != found:
                yield from self._part(batch, cuts[-1], int(at))
                cuts.append(int(at))
            self._relations[found.oid] = found
        yield from self._part(batch, cuts[-1], count)

    def _transactions(self, data: Bytes, starts: Integers) -> tuple[Integers, Integers, Integers]:
        """For each message the place of its transaction's commit, its time and its number."""
        kinds = data[starts]
        begins = np.flatnonzero(kinds == BEGIN)
        at = starts[begins]
        known = [
            np.concatenate([[kept], found])
            for kept, found in zip(
                self._under_way,
                (numbers(data, at + 1, 8), numbers(data, at + 9, 8) + _EPOCH, numbers(data, at + 17, 4)),
                strict=True,
            )
        ]
        which = np.searchsorted(begins, np.arange(len(starts)), side="right")
        self._under_way = (int(known[0][-1]), int(known[1][-1]), int(known[2][-1]) & 0xFFFFFFFF)
        return known[0][which], known[1][which], known[2][which] & 0xFFFFFFFF

    def _part(self, batch: _Batch, first: int, end: int) -> Iterator[LoggedChanges]:
        """The changes among the messages in [first, end), table by table."""
        kinds = batch.kinds[first:end]
        rows = np.flatnonzero((kinds == INSERT) | (kinds == UPDATE) | (kinds == DELETE)) + first
        emptied = _emptied(batch, np.flatnonzero(kinds == TRUNCATE) + first)
        oids = numbers(batch.data, batch.starts[rows] + 1, 4) & 0xFFFFFFFF
        for oid in dict.fromkeys([*np.unique(oids).tolist(), *emptied]):
            relation = self._relations.get(oid)
            if relation is None:
                raise UnreadableData(f"the log has changes of a table {oid} that it does not name")
            yield _changes(batch, relation, rows[oids == oid], np.array(emptied.get(oid, []), dtype=np.int64))


@dataclass(frozen=True)
class _Batch:
    data: Bytes
    buffer: Any
    starts: Integers
    kinds: Bytes
    lsn: Integers
    commit_lsn: Integers
    times: Integers
    xids: Integers


def _emptied(batch: _Batch, truncates: Integers) -> dict[int, list[int]]:
    """For each table the messages that empty it."""
    found: dict[int, list[int]] = {}
    for at in truncates.tolist():
        start = batch.starts[at]
        count = int(numbers(batch.data, np.array([start + 1]), 4)[0])
        for oid in numbers(batch.data, start + 6 + 4 * np.arange(count), 4).tolist():
            found.setdefault(oid & 0xFFFFFFFF, []).append(at)
    return found


def _changes(batch: _Batch, relation: LoggedRelation, rows: Integers, truncates: Integers) -> LoggedChanges:
    data, width = batch.data, len(relation.columns)
    kinds, at = batch.kinds[rows], batch.starts[rows] + 5
    marks = data[at]
    with_old = marks != _NEW
    old_starts, old_ends, old_kinds, behind = _tuples(data, at[with_old] + 1, width)
    # The new row stands behind the old one where there is one.
    at = at.copy()
    at[with_old] = behind
    with_new = kinds != DELETE
    new_starts, new_ends, new_kinds, _ = _tuples(data, at[with_new] + 1, width)
    count = int(with_new.sum())
    texts, untold = [], []
    for number in range(width):
        parts = [
            _texts(batch.buffer, new_starts[number], new_ends[number], new_kinds[number]),
            _texts(batch.buffer, old_starts[number], old_ends[number], old_kinds[number]),
        ]
        texts.append(pa.concat_arrays(parts))
        missing = np.concatenate([new_kinds[number], old_kinds[number]]) == _UNCHANGED
        untold.append(missing if missing.any() else None)
    new = np.full(len(rows), -1, dtype=np.int64)
    new[with_new] = np.arange(count)
    old = np.full(len(rows), -1, dtype=np.int64)
    old[with_old] = count + np.arange(int(with_old.sum()))
    none = np.full(len(truncates), -1, dtype=np.int64)
    every = np.concatenate([rows, truncates])
    found = LoggedChanges(
        relation,
        np.concatenate([kinds, batch.kinds[truncates]]),
        np.concatenate([new, none]),
        np.concatenate([old, none]),
        np.concatenate([marks == _OLD, none < -1]),
        Images(texts, untold),
        batch.lsn[every],
        batch.commit_lsn[every],
        batch.times[every],
        batch.xids[every],
        every,
    )
    if not len(truncates):
        return found
    order = np.argsort(every, kind="stable")
    fields = ("kinds", "new", "old", "whole", "lsn", "commit_lsn", "times", "xids", "order")
    return replace(found, **{name: getattr(found, name)[order] for name in fields})


def _tuples(data: Bytes, at: Integers, width: int) -> tuple[Integers, Integers, Bytes, Integers]:
    """Where the values of rows begin and end, by column and row, their kinds, and the places behind the rows."""
    starts = np.empty((width, len(at)), dtype=np.int64)
    ends = np.empty((width, len(at)), dtype=np.int64)
    kinds = np.empty((width, len(at)), dtype=np.uint8)
    at = at + 2
    for number in range(width):
        kind = data[at]
        told = (kind == _TEXT) | (kind == _BINARY)
        length = np.where(told, numbers(data, at + 1, 4), 0)
        kinds[number], starts[number] = kind, np.where(told, at + 5, at)
        ends[number] = starts[number] + length
        at = np.where(told, ends[number], at + 1)
    return starts, ends, kinds, at


def _texts(buffer: Any, starts: Integers, ends: Integers, kinds: Bytes) -> pa.Array:
    """The values between some places as an array of their own."""
    return slices(buffer, starts, ends, (kinds == _TEXT) | (kinds == _BINARY)).cast(pa.string())


def _relation(message: bytes) -> LoggedRelation:
    oid = int.from_bytes(message[1:5])
    schema, name, rest = message[5:].split(b"\0", 2)
    identity, count, rest = chr(rest[0]), int.from_bytes(rest[1:3]), rest[3:]
    columns = []
    for _ in range(count):
        is_key, (title, rest) = bool(rest[0] & 1), rest[1:].split(b"\0", 1)
        columns.append(RelationColumn(title.decode(), int.from_bytes(rest[:4]), int.from_bytes(rest[4:8], signed=True), is_key))
        rest = rest[8:]
    return LoggedRelation(oid, schema.decode() or "pg_catalog", name.decode(), identity, tuple(columns))
