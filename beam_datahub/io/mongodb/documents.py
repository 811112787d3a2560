"""Rows as documents: a column at a time, each value as BSON has it or refused."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from beam_datahub.io.mongodb.options import BsonType
from beam_datahub.io.mongodb.values import is_moment, value_of
from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.workbench import over

# Decimal128 has so many digits.
_DIGITS = 34
_LARGE = decimal.Context(prec=80)


class Refused:
    """A value that BSON does not have, and why."""

    def __init__(self, message: str) -> None:
        self.message = message


class Encoding:
    """How the rows of a destination become documents."""

    def __init__(self, types: Mapping[str, BsonType], *, keep_nulls: bool, cut_times: bool) -> None:
        self._types, self._keep_nulls, self._cut_times = types, keep_nulls, cut_times

    def documents(self, batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], dict[int, tuple[str, str]]]:
        """A document for each row, and of those rows that have a value which BSON lacks why, and the column."""
        refused: dict[int, tuple[str, str]] = {}
        columns = []
        for field, array in zip(batch.schema, batch.columns, strict=True):
            values = self._values(array, self._types.get(field.name))
            for i, value in enumerate(values):
                if type(value) is Refused:
                    refused.setdefault(i, (f"the column '{field.name}': {value.message}", field.name))
            columns.append(values)
        names = batch.schema.names
        if not names:
            return [{} for _ in range(batch.num_rows)], refused
        rows = zip(*columns, strict=True)
        if self._keep_nulls:
            return [dict(zip(names, row, strict=True)) for row in rows], refused
        return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows], refused

    def _values(self, array: pa.Array, special: BsonType | None) -> list[Any]:
        kind, t = array.type, pa.types
        if special is not None:
            return [None if value is None else _special(value, special) for value in _plain_texts(array)]
        if kind == JSON:
            return [None if text is None else _json(text) for text in array.storage.to_pylist()]
        if t.is_uint64(kind):
            return [_whole(value) for value in array.to_pylist()]
        if kind in (pa.int64(), pa.uint32()):
            # Plain integers would be 32 or 64 bits wide by their size.
            return [None if value is None else bson.Int64(value) for value in array.to_pylist()]
        if is_moment(kind):
            return self._moments(array)
        if t.is_date(kind):
            days = array.cast(pa.int32()).to_pylist()
            return [None if day is None else DatetimeMS(day * 86_400_000) for day in days]
        if t.is_decimal(kind):
            return [None if value is None else _decimal(value) for value in array.to_pylist()]
        if t.is_struct(kind):
            return self._structs(array)
        if t.is_list(kind):
            return _nested(array, self._values(array.flatten(), None), list)
        if t.is_map(kind):
            return self._maps(array)
        if t.is_time(kind) or t.is_interval(kind):
            return _plain_texts(array)
        found: list[Any] = array.to_pylist()
        return found

    def _moments(self, array: pa.Array) -> list[Any]:
        micros = array.cast(pa.int64())
        millis: list[Any] = [None if value is None else DatetimeMS(value // 1000) for value in micros.to_pylist()]
        if not self._cut_times:
            whole = pc.multiply(pc.divide(micros, 1000), 1000)
            fine = pc.fill_null(pc.not_equal(whole, micros), False)
            for i in pc.indices_nonzero(fine).to_pylist():
                millis[i] = Refused("MongoDB keeps milliseconds, and the time has microseconds (`finer_times: cut` cuts them)")
        return millis

    def _structs(self, array: pa.Array) -> list[Any]:
        names = [field.name for field in array.type]
        children = [self._values(child, None) for child in array.flatten()]
        found: list[Any] = []
        for valid, row in zip(array.is_valid().to_pylist(), zip(*children, strict=True), strict=True):
            bad = next((value for value in row if type(value) is Refused), None)
            found.append(None if not valid else bad if bad is not None else dict(zip(names, row, strict=True)))
        return found

    def _maps(self, array: pa.Array) -> list[Any]:
        starts, ends = _bounds(array)
        low, high = (int(starts[0]), int(ends[-1])) if len(array) else (0, 0)
        keys = _plain_texts(array.keys.slice(low, high - low))
        values = self._values(array.items.slice(low, high - low), None)
        found: list[Any] = []
        for valid, start, end in zip(array.is_valid().to_pylist(), starts - low, ends - low, strict=True):
            some = values[start:end]
            bad = next((value for value in some if type(value) is Refused), None)
            found.append(None if not valid else bad if bad is not None else dict(zip(keys[start:end], some, strict=True)))
        return found


def _nested(array: pa.Array, values: Sequence[Any], make: Callable[[Sequence[Any]], Any]) -> list[Any]:
    """Lists from their flattened values, which are those of valid lists only."""
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
    found, at = [], 0
    for valid, size in zip(array.is_valid().to_pylist(), sizes, strict=True):
        some = values[at : at + size]
        bad = next((value for value in some if type(value) is Refused), None)
        found.append(None if not valid else bad if bad is not None else make(some))
        at += size
    return found


def _bounds(array: pa.Array) -> tuple[Any, Any]:
    offsets = np.asarray(array.offsets.to_numpy(zero_copy_only=False))
    return offsets[:-1], offsets[1:]


def _plain_texts(array: pa.Array) -> list[Any]:
    if array.type == pa.string():
        texts: list[Any] = array.to_pylist()
        return texts
    source = array.storage if array.type == JSON else array
    found = over(pa.table({"c": source}), "SELECT CAST(c AS VARCHAR) AS c FROM t").column(0)
    cast: list[Any] = found.to_pylist()
    return cast


def _special(text: str, kind: BsonType) -> Any:
    try:
        if kind == "objectId":
            return bson.ObjectId(text)
        if kind == "uuid":
            return bson.Binary.from_uuid(uuid.UUID(text))
        return Decimal128(text)
    except (bson.errors.InvalidId, ValueError, ArithmeticError):
        return Refused(f"'{text[:80]}' is no {kind}")


def _json(text: str) -> Any:
    try:
        return value_of(text)
    except (ValueError, TypeError) as error:
        return Refused(f"the JSON cannot be a value of BSON: {error}")


def _whole(value: int | None) -> Any:
    if value is None:
        return None
    return bson.Int64(value) if value < 2**63 else Refused(f"{value} has more than the 64 bits with a sign that BSON has")


def _decimal(value: Any) -> Any:
    if len(value.as_tuple().digits) > _DIGITS:
        normal = value.normalize(_LARGE)
        if len(normal.as_tuple().digits) > _DIGITS:
            return Refused(f"{value} has more than {_DIGITS} digits")
        value = normal
    return Decimal128(value)
