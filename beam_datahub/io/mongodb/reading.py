"""Raw documents as blocks: at once where nothing can go wrong, else value by value, with the misfits told singly."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from typing import Any

import bson
import bson.errors
import pyarrow as pa

from beam_datahub.component.arrow_blocks import Fitted, Fitting, first_of_each_row
from beam_datahub.component.files import record_batch
from beam_datahub.component.source import Block, Drift, Origin, ReadRequest, Since
from beam_datahub.errors import SchemaDrift
from beam_datahub.io.mongodb.fast import FastColumns
from beam_datahub.io.mongodb.values import CODEC, LENIENT, column_of, is_moment, json_of
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.types import quoted
from beam_datahub.kernels.workbench import over


class Reading:
    """Makes blocks of what one split sends. A position in a block counts its documents."""

    def __init__(
        self, request: ReadRequest, place: str, unknown: Sequence[str] = (), identities: frozenset[str] = frozenset()
    ) -> None:
        self._request, self._place, self._schema = request, place, request.projected
        self._strict = request.contract.columns in (Drift.FREEZE, Drift.DISCARD_ROW)
        # What is in all documents is told once; where that is forbidden, each document is looked at.
        self._unknown = () if self._strict else tuple(unknown)
        self._fast = FastColumns(self._schema, identities)
        self._read = 0

    def block(self, raw: bytes) -> Block:
        """The block of some documents. Raises SchemaDrift where the contract freezes what they break."""
        columns = None if self._strict else self._fast.columns(raw)
        if columns is not None:
            count = len(columns[0])
            return self._told(record_batch(columns, self._schema, count), count)
        try:
            return self.of_documents(bson.decode_all(raw, CODEC))
        except bson.errors.InvalidBSON:
            return self._one_by_one(raw)

    def of_documents(self, documents: Sequence[dict[str, Any]], broken: dict[int, tuple[str, str]] | None = None) -> Block:
        """The block of decoded documents; those in `broken` could not be: what is said of them, and their text."""
        broken = broken or {}
        masks: dict[str, tuple[pa.Array, pa.Array | None]] = {}
        shown: list[pa.Array] = []
        for field in self._schema:
            values = [document.get(field.name) for document in documents]
            array, bad = column_of(values, field.type)
            masks[field.name] = (array, bad)
            if bad is None:
                shown.append(array)
            else:
                wrong = bad.to_pylist()
                shown.append(pa.array([_shown(value) if is_bad else None for value, is_bad in zip(values, wrong, strict=True)]))
        names = list(self._schema.names)
        count = len(documents)
        batch = pa.RecordBatch.from_arrays(shown, names=names) if names else record_batch([], self._schema, count)
        fitted = Fitting(self._request, self._place, (), lambda _, field: masks[field.name]).fit(batch)
        refused = [rejections(list(broken), "malformed", [said for said, _ in broken.values()])] if broken else []
        refused += self._strangers(documents)
        if refused:
            fitted = _refusing(fitted, first_of_each_row(pa.concat_tables(refused)))

        def originals(positions: Sequence[int]) -> list[str]:
            return [broken[i][1] if i in broken else json_of(documents[i]) for i in positions]

        origin = Origin(self._place, first_row=self._read)
        self._read += len(documents)
        return Block(fitted.batch, origin, fitted.rejected, fitted.positions, originals, drifted=self._unknown)

    def _told(self, batch: pa.RecordBatch, count: int) -> Block:
        origin = Origin(self._place, first_row=self._read)
        self._read += count
        return Block(batch, origin, drifted=self._unknown)

    def _strangers(self, documents: Sequence[dict[str, Any]]) -> list[pa.Table]:
        """The rejections of documents with fields that the schema lacks, where the contract says so."""
        if not self._strict:
            return []
        known = set(self._request.schema.names)
        found = {i: name for i, document in enumerate(documents) for name in document if name not in known}
        if not found:
            return []
        if self._request.contract.columns == Drift.FREEZE:
            raise SchemaDrift(
                f"'{self._place}' has the field '{next(iter(found.values()))}', which the schema does not have",
                hint="add it to the source's schema, or loosen contract.columns",
            )
        messages = [f"the document has the field '{name}', which the schema does not have" for name in found.values()]
        return [rejections(list(found), "contract", messages, list(found.values()))]

    def _one_by_one(self, raw: bytes) -> Block:
        """The same where some document is broken, as one with a text that is no UTF-8."""
        documents: list[dict[str, Any]] = []
        broken: dict[int, tuple[str, str]] = {}
        for data in _apart(raw):
            try:
                documents.append(bson.decode(data, CODEC))
            except bson.errors.InvalidBSON as error:
                broken[len(documents)] = (str(error), _lenient(data))
                documents.append({})
        return self.of_documents(documents, broken)


def _refusing(fitted: Fitted, refused: pa.Table) -> Fitted:
    """The same with more records refused."""
    every = refused if fitted.rejected is None else first_of_each_row(pa.concat_tables([refused, fitted.rejected]))
    gone = set(every.column("row").to_pylist())
    places = range(fitted.records) if fitted.positions is None else fitted.positions.to_pylist()
    kept = pa.array([place not in gone for place in places], pa.bool_())
    positions = pa.array([place for place in places if place not in gone], pa.int64())
    return Fitted(fitted.batch.filter(kept), fitted.records, fitted.raw, every, positions)


def _apart(raw: bytes) -> list[bytes]:
    """The documents of a block: each begins with its length."""
    found, at = [], 0
    while at < len(raw):
        (length,) = struct.unpack_from("<i", raw, at)
        found.append(raw[at : at + length])
        at += length
    return found


def _lenient(data: bytes) -> str:
    try:
        return json_of(bson.decode(data, LENIENT))
    except (bson.errors.InvalidBSON, ValueError):
        return data.hex()


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json_of(value)


def decoded_fields(request: ReadRequest) -> dict[str, int] | None:
    """The projection that the server applies; None: whole documents are needed."""
    names = request.columns
    strict = request.contract.columns in (Drift.FREEZE, Drift.DISCARD_ROW)
    if strict or any("." in name or name.startswith("$") for name in names):
        return None
    return {**({} if "_id" in names and names else {"_id": 0 if names else 1}), **dict.fromkeys(names, 1)}


def since_condition(since: Since | None) -> dict[str, Any] | None:
    """The condition that leaves out what is surely not new; values of other types stay, to be looked at here."""
    if since is None or "." in since.column or since.column.startswith("$"):
        return None
    conditions: list[dict[str, Any]] = []
    if since.floor is not None and (low := _bound(since.floor, since.data_type, up=False)) is not None:
        conditions.append({since.column: {"$not": {"$lt": low}}})
    if since.until is not None and (high := _bound(since.until, since.data_type, up=True)) is not None:
        conditions.append({since.column: {"$not": {"$gte": high}}})
    if not conditions:
        return None
    if not since.nulls:
        conditions.append({since.column: {"$ne": None}})
    return {"$and": conditions}


def _bound(text: str, data_type: pa.DataType, *, up: bool) -> Any:
    """A bound as BSON has it, in whole milliseconds below it or (`up`) above; None where it has no order that we know."""
    if pa.types.is_integer(data_type):
        return int(text)
    if is_moment(data_type):
        cast = "TIMESTAMPTZ" if data_type.tz else "TIMESTAMP"
        sql = f"SELECT epoch_us(CAST({quoted('c')} AS {cast})) AS c FROM t"
        micros = over(pa.table({"c": [text]}), sql).column(0).to_pylist()[0]
        millis = -(-micros // 1000) if up else micros // 1000
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=millis)
    if data_type == pa.string() and bson.ObjectId.is_valid(text):
        # Texts stay to be compared here; ObjectIds are ordered as the texts that we make of them.
        return bson.ObjectId(text)
    return None
