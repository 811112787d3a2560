"""Change streams' events in the form that all databases share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
import bson.errors
import numpy as np
import pyarrow as pa

from beam_datahub.component.change_events import CREATED, DELETED, READ, TRUNCATED, UPDATED, Changes
from beam_datahub.component.database import TableName
from beam_datahub.component.files import record_batch
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import UnreadableData
from beam_datahub.io.mongodb.values import CODEC, LENIENT, column_of, json_of
from beam_datahub.io.mongodb_cdc.options import MongodbCdcOptions
from beam_datahub.io.mongodb_cdc.position import Position
from beam_datahub.io.mongodb_cdc.server import ANEW_HINT

# Where a change comes from, in Debezium's words.
SOURCE = pa.struct(
    [
        ("connector", pa.string()),
        ("ts_ms", pa.int64()),
        ("snapshot", pa.string()),
        ("db", pa.string()),
        ("collection", pa.string()),
        ("ord", pa.int64()),
        ("txnNumber", pa.int64()),
    ]
)
_OPS = {"insert": CREATED, "update": UPDATED, "replace": UPDATED, "delete": DELETED, "drop": TRUNCATED, "rename": TRUNCATED}
_MOST_RANKS = 1023

Convert = Callable[[pa.Array, pa.Field], tuple[pa.Array, pa.Array | None]]
Refused = dict[int, tuple[str, str, str | None]]


def decoded(raw: bytes) -> tuple[dict[str, Any], str | None]:
    """A document and, where a text in it is no UTF-8, what is wrong. Raises UnreadableData."""
    try:
        return bson.decode(raw, CODEC), None
    except bson.errors.InvalidBSON as error:
        try:
            return bson.decode(raw, LENIENT), str(error)
        except (bson.errors.InvalidBSON, ValueError) as worse:
            raise UnreadableData(f"a document is no valid BSON: {worse}") from worse


@dataclass
class _Group:
    """The changes of one collection."""

    images: list[dict[str, Any]] = field(default_factory=list)
    ops: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    transactions: list[int | None] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    refused: Refused = field(default_factory=dict)

    def image(self, document: dict[str, Any] | None) -> int:
        """The place of a document among the images; -1 for none."""
        if document is None:
            return -1
        self.images.append(document)
        return len(self.images) - 1


class EventReader:
    """Takes events one by one and gives their changes. `inner` is what is wanted of documents; None: all of them, as JSON."""

    def __init__(
        self, database: str, positions: Mapping[str, Position], options: MongodbCdcOptions, inner: ReadRequest | None
    ) -> None:
        self._database, self._positions, self._options, self._inner = database, positions, options, inner
        self._moment: Position | None = None
        self._ranks: dict[tuple[str, bytes], int] = {}
        self._begin()

    def _begin(self) -> None:
        self._groups: dict[str, _Group] = {}
        self.count = self.size = 0

    def take(self, event: dict[str, Any], wrong: str | None, size: int) -> None:
        """Take an event, which is of `size` bytes. Raises UnreadableData."""
        kind, place = event["operationType"], event.get("ns", {})
        moment = Position.of(event["clusterTime"])
        target = event.get("to", {}).get("coll")
        if target in self._positions and moment > self._positions[target]:
            raise UnreadableData(
                f"the collection '{target}' was replaced by '{place.get('coll')}' at {moment}, which its changes do not tell",
                hint=ANEW_HINT,
            )
        name = place.get("coll")
        if kind not in _OPS or name not in self._positions or moment <= self._positions[name]:
            return
        op, key = _OPS[kind], event.get("documentKey") or {}
        after = event.get("fullDocument") if op in (CREATED, UPDATED) else None
        if op == UPDATED and after is None and self._options.changes == "rows" and self._options.images == "lookup":
            # It is gone by now, which a later change tells.
            return
        group = self._groups.setdefault(name, _Group())
        if op == UPDATED and after is None and self._options.images == "stored":
            said = f"the server has not kept how the document was: db.runCommand({{collMod: '{name}', "
            group.refused[len(group.ops)] = ("missing_image", said + "changeStreamPreAndPostImages: {enabled: true}})", None)
        if wrong is not None:
            group.refused[len(group.ops)] = ("malformed", wrong, None)
        before = event.get("fullDocumentBeforeChange") if op in (UPDATED, DELETED) else None
        if before is None and (op == DELETED or (op == UPDATED and after is None)):
            before = {part: value for part, value in key.items() if "." not in part}
        group.ops.append(op)
        group.after.append(group.image(after))
        group.before.append(group.image(before))
        group.positions.append(moment.place + self._rank(moment, name, key))
        wall = event.get("wallTime")
        group.times.append(round(wall.timestamp() * 1000) * 1000 if wall is not None else moment.seconds * 1_000_000)
        group.numbers.append(moment.number)
        group.transactions.append(event.get("txnNumber"))
        group.order.append(self.count)
        self.count += 1
        self.size += size

    def _rank(self, moment: Position, name: str, key: dict[str, Any]) -> int:
        """How many changes of the same document there were at the same moment: in one transaction."""
        if moment != self._moment:
            self._moment = moment
            self._ranks.clear()
        which = (name, bson.encode(key))
        rank = self._ranks[which] = self._ranks.get(which, -1) + 1
        return min(rank, _MOST_RANKS)

    def changes(self) -> tuple[list[Changes], Convert | None]:
        """The changes that were taken since the last time, and what fits their columns to what was promised."""
        found, convert = list[Changes](), None
        for name, group in self._groups.items():
            images, texts, convert = images_of(group.images, self._inner)
            source = {
                **_named(self._database, name, len(group.ops), "false"),
                "ord": pa.array(group.numbers, pa.int64()),
                "txnNumber": pa.array(group.transactions, pa.int64()),
            }
            found.append(
                Changes(
                    TableName(name, self._database),
                    images,
                    np.array(group.ops, dtype=np.int8),
                    np.array(group.after, dtype=np.int64),
                    np.array(group.before, dtype=np.int64),
                    np.array(group.positions, dtype=np.int64),
                    np.array(group.times, dtype=np.int64),
                    source,
                    group.refused,
                    np.array(group.order, dtype=np.int64),
                    texts,
                )
            )
        self._begin()
        return found, convert


def documents_as_changes(
    database: str, name: str, raws: Sequence[bytes], position: Position | None, time: int, inner: ReadRequest | None
) -> tuple[Changes, Convert | None]:
    """Documents as they were at first as changes, all of one moment; `time` are microseconds since 1970."""
    pairs = [decoded(raw) for raw in raws]
    refused: Refused = {row: ("malformed", wrong, None) for row, (_, wrong) in enumerate(pairs) if wrong is not None}
    images, texts, convert = images_of([document for document, _ in pairs], inner)
    count = len(pairs)
    source = _named(database, name, count, "true")
    if position is not None:
        source["ord"] = pa.repeat(pa.scalar(position.number, pa.int64()), count)
    none, every = np.full(count, -1, dtype=np.int64), np.arange(count, dtype=np.int64)
    places = np.full(count, position.place if position is not None else 0, dtype=np.int64)
    ops, times = np.full(count, READ, dtype=np.int8), np.full(count, time, dtype=np.int64)
    return Changes(TableName(name, database), images, ops, every, none, places, times, source, refused, None, texts), convert


def images_of(
    documents: Sequence[dict[str, Any]], inner: ReadRequest | None
) -> tuple[pa.RecordBatch, pa.Array | None, Convert | None]:
    """Documents as rows: their columns and what tells which values fit; or, where none are known, as JSON."""
    if inner is None:
        return record_batch([], pa.schema([]), len(documents)), pa.array(list(map(json_of, documents)), pa.string()), None
    names = list(inner.projected.names)
    fitted: dict[str, tuple[pa.Array, pa.Array | None]] = {}
    shown: list[pa.Array] = []
    for each in inner.projected:
        values = [document.get(each.name) for document in documents]
        array, bad = fitted[each.name] = column_of(values, each.type)
        shown.append(array if bad is None else pa.array([None if v is None else json_of(v) for v in values], pa.string()))
    known = set(inner.schema.names)
    for name in dict.fromkeys(name for document in documents for name in document if name not in known):
        names.append(name)
        shown.append(pa.array([json_of(d[name]) if d.get(name) is not None else None for d in documents], pa.string()))
    fields = pa.schema([(name, array.type) for name, array in zip(names, shown, strict=True)])
    return record_batch(shown, fields, len(documents)), None, lambda _, each: fitted[each.name]


def _named(database: str, name: str, count: int, snapshot: str) -> dict[str, pa.Array]:
    facts = {"connector": "mongodb", "snapshot": snapshot, "db": database, "collection": name}
    return {fact: pa.repeat(pa.scalar(value, pa.string()), count) for fact, value in facts.items()}
