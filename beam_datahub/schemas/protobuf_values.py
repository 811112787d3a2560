"""Protobuf messages as the Python values that columns are filled with."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from beam_datahub.kernels.types import JSON
from beam_datahub.schemas.protobuf_columns import message_columns

Read = Callable[[Any], Any]


class MessageReader:
    """Reads the messages of one type; `columns` are those that `schemas.protobuf_columns` gives it."""

    def __init__(self, message: Descriptor) -> None:
        self._kind = GetMessageClass(message)
        self.columns = message_columns(message, lambda path, what: None)
        self._fields = [(each.name, _field(each, self.columns.field(each.name).type)) for each in message.fields]

    def read(self, data: bytes) -> dict[str, Any]:
        """The columns of one message. Raises google.protobuf.message.DecodeError."""
        message = self._kind.FromString(data)
        return {name: read(message) for name, read in self._fields}


def _field(of: FieldDescriptor, kind: pa.DataType) -> Read:
    """Reads one field of a message; null where a field that can be absent is."""
    name = of.name
    if pa.types.is_map(kind):
        value = _value(of.message_type.fields_by_name["value"], kind.item_type)
        return lambda message: [(key, value(each)) for key, each in getattr(message, name).items()]
    if of.is_repeated:
        item = _value(of, kind.value_type)
        return lambda message: [item(each) for each in getattr(message, name)]
    one = _value(of, kind)
    if of.has_presence:
        return lambda message: one(getattr(message, name)) if message.HasField(name) else None
    return lambda message: one(getattr(message, name))


def _value(of: FieldDescriptor, kind: pa.DataType) -> Read:
    if of.enum_type is not None:
        names = {number: each.name for number, each in of.enum_type.values_by_number.items()}
        # A number that a later version of the schema names.
        return lambda number: names.get(number, str(number))
    if of.message_type is None:
        return lambda value: value
    if kind == JSON:
        return lambda message: json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True)
    if pa.types.is_struct(kind):
        fields = [(each.name, _field(each, kind.field(each.name).type)) for each in of.message_type.fields]
        return lambda message: {name: read(message) for name, read in fields}
    return _KNOWN.get(of.message_type.full_name, lambda message: message.value)


def _moment(message: Any) -> int:
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000


def _duration(message: Any) -> pa.MonthDayNano:
    return pa.MonthDayNano((0, 0, int(message.seconds) * 1_000_000_000 + int(message.nanos)))


def _date(message: Any) -> Any:
    return datetime.date(message.year, message.month, message.day)


def _time(message: Any) -> Any:
    return datetime.time(message.hours, message.minutes, message.seconds, message.nanos // 1000)


def _date_time(message: Any) -> Any:
    clock = (message.hours, message.minutes, message.seconds, message.nanos // 1000)
    return datetime.datetime(message.year, message.month, message.day, *clock)


_KNOWN: dict[str, Read] = {
    "google.protobuf.Timestamp": _moment,
    "google.protobuf.Duration": _duration,
    "google.type.Date": _date,
    "google.type.TimeOfDay": _time,
    "google.type.DateTime": _date_time,
}
