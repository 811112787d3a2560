"""Schemas of a registry that messages were written with, and how their values are read."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FileDescriptor

from beam_datahub.component.messages.registry import PREFIX
from beam_datahub.errors import InvalidSchema
from beam_datahub.kernels.types import canonical
from beam_datahub.schemas.avro import Column, column_of
from beam_datahub.schemas.avro_model import parse_avro
from beam_datahub.schemas.document import Document, Format
from beam_datahub.schemas.protobuf_model import validate_protobuf
from beam_datahub.schemas.protobuf_values import MessageReader

# The one column of values that are no records.
VALUE = "value"


class AvroWritten:
    """An Avro schema."""

    def __init__(self, document: Document) -> None:
        parsed = parse_avro(document)
        self._root, named = parsed.root, dict(parsed.named)
        root = parsed.resolve(parsed.root)
        self._is_record = isinstance(root, dict) and root.get("type") in ("record", "error")
        if self._is_record:
            self.columns = {each["name"]: column_of(each["type"], named, (root["name"],)) for each in root["fields"]}
        else:
            self.columns = {VALUE: column_of(root, named)}

    def read(self, value: bytes) -> dict[str, Any]:
        """The fields of one value. Raises whatever the decoder does on damaged data."""
        stream = io.BytesIO(value)
        stream.seek(PREFIX.size)
        found: Any = fastavro.schemaless_reader(stream, self._root, None)
        if stream.tell() != len(value):
            raise ValueError(f"{len(value) - stream.tell()} bytes are left over")
        return found if self._is_record else {VALUE: found}


class ProtobufWritten:
    """A Protobuf schema; each value says which of its messages it is."""

    def __init__(self, document: Document) -> None:
        self._file = validate_protobuf(document)
        self._readers: dict[tuple[int, ...], MessageReader] = {}
        self.columns: dict[str, Column] = {}
        self._reader((0,))

    def read(self, value: bytes) -> dict[str, Any]:
        """The fields of one value. Raises whatever the decoder does on damaged data."""
        path, start = _message_path(value)
        return (self._readers.get(path) or self._reader(path)).read(value[start:])

    def _reader(self, path: tuple[int, ...]) -> MessageReader:
        found = self._readers[path] = MessageReader(_message(self._file, path))
        self.columns |= {field.name: Column(field.type) for field in found.columns}
        return found


def written(document: Document) -> AvroWritten | ProtobufWritten:
    """How values of a schema are read. Raises InvalidSchema, UnresolvedReference."""
    if document.format is Format.AVRO:
        return AvroWritten(document)
    if document.format is Format.PROTOBUF:
        return ProtobufWritten(document)
    raise InvalidSchema("the schema is neither Avro nor Protobuf", hint="JSON by a registry is not read")


def columns_of(document: Document) -> pa.Schema:
    """The columns that values of a schema have."""
    return pa.schema([(name, canonical(column.type)) for name, column in written(document).columns.items()])


def _message_path(value: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of its file a value is, by places from the outermost on, and where the message begins."""
    count, at = _number(value, PREFIX.size)
    if count == 0:
        return (0,), at
    path = []
    for _ in range(count):
        place, at = _number(value, at)
        path.append(place)
    return tuple(path), at


def _number(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends."""
    found = shift = 0
    while True:
        found |= (value[at] & 0x7F) << shift
        shift += 7
        at += 1
        if value[at - 1] < 0x80:
            return (found >> 1) ^ -(found & 1), at


def _message(file: FileDescriptor, path: tuple[int, ...]) -> Descriptor:
    found: Descriptor = list(file.message_types_by_name.values())[path[0]]
    for place in path[1:]:
        found = found.nested_types[place]
    return found
