"""Columns and the Python values that fastavro reads and writes, both ways."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beam_datahub.kernels.session import conform, single_batch
from beam_datahub.kernels.types import JSON


def stored(data_type: pa.DataType) -> pa.DataType:
    """A type with text in place of JSON, as Python values can fill it."""
    if data_type == JSON:
        return pa.string()
    if pa.types.is_list(data_type):
        return pa.list_(stored(data_type.value_type))
    if pa.types.is_map(data_type):
        return pa.map_(data_type.key_type, stored(data_type.item_type))
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(f.name, stored(f.type)) for f in data_type])
    return data_type


def records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch as fastavro writes them; dates and times are the integers that they are stored as."""
    arrays = [_numbers(batch.column(i), _number(field.type)) for i, field in enumerate(batch.schema)]
    plain = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    found: list[dict[str, Any]] = plain.to_pylist(maps_as_pydicts="strict")
    return found


def _number(data_type: pa.DataType) -> pa.DataType:
    if data_type == pa.uint64():
        return pa.decimal128(20, 0)
    if pa.types.is_date(data_type):
        return pa.int32()
    if pa.types.is_timestamp(data_type) or pa.types.is_time(data_type):
        return pa.int64()
    return stored(data_type)


def _numbers(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if array.type == JSON:
        return array.storage
    if pa.types.is_nested(array.type):
        table = conform(pa.table({"c": array}), pa.schema([("c", target)]))
        return single_batch(table).column(0)
    return array.cast(target)
