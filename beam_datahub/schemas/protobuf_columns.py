"""Protobuf messages as Arrow columns and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from beam_datahub.errors import InvalidSchema, LossyWrite
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, sql_type

Lost = Callable[[str, str], None]
_F = FieldDescriptor
_SCALARS: Mapping[int, pa.DataType] = {
    _F.TYPE_BOOL: pa.bool_(),
    _F.TYPE_INT32: pa.int32(),
    _F.TYPE_SINT32: pa.int32(),
    _F.TYPE_SFIXED32: pa.int32(),
    _F.TYPE_INT64: pa.int64(),
    _F.TYPE_SINT64: pa.int64(),
    _F.TYPE_SFIXED64: pa.int64(),
    _F.TYPE_UINT32: pa.uint32(),
    _F.TYPE_FIXED32: pa.uint32(),
    _F.TYPE_UINT64: pa.uint64(),
    _F.TYPE_FIXED64: pa.uint64(),
    _F.TYPE_FLOAT: pa.float32(),
    _F.TYPE_DOUBLE: pa.float64(),
    _F.TYPE_STRING: pa.string(),
    _F.TYPE_BYTES: pa.binary(),
}
_MESSAGES: Mapping[str, pa.DataType] = {
    "google.protobuf.Timestamp": TIMESTAMPTZ,
    "google.protobuf.Duration": pa.month_day_nano_interval(),
    "google.protobuf.Value": JSON,
    "google.protobuf.Struct": JSON,
    "google.protobuf.ListValue": JSON,
    "google.protobuf.Any": JSON,
    "google.protobuf.DoubleValue": pa.float64(),
    "google.protobuf.FloatValue": pa.float32(),
    "google.protobuf.Int64Value": pa.int64(),
    "google.protobuf.UInt64Value": pa.uint64(),
    "google.protobuf.Int32Value": pa.int32(),
    "google.protobuf.UInt32Value": pa.uint32(),
    "google.protobuf.BoolValue": pa.bool_(),
    "google.protobuf.StringValue": pa.string(),
    "google.protobuf.BytesValue": pa.binary(),
    "google.type.Date": pa.date32(),
    "google.type.TimeOfDay": pa.time64("us"),
    "google.type.DateTime": TIMESTAMP,
}
_LOSSY_MESSAGES: Mapping[str, str] = {
    "google.protobuf.Timestamp": "nanoseconds",
    "google.type.TimeOfDay": "nanoseconds",
    "google.type.DateTime": "nanoseconds and the zone",
}
_WRITTEN: Mapping[pa.DataType, tuple[str, str | None]] = {
    pa.bool_(): ("bool", None),
    pa.int8(): ("int32", None),
    pa.int16(): ("int32", None),
    pa.int32(): ("int32", None),
    pa.int64(): ("int64", None),
    pa.uint8(): ("uint32", None),
    pa.uint16(): ("uint32", None),
    pa.uint32(): ("uint32", None),
    pa.uint64(): ("uint64", None),
    pa.float32(): ("float", None),
    pa.float64(): ("double", None),
    pa.string(): ("string", None),
    pa.binary(): ("bytes", None),
    TIMESTAMPTZ: ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
    TIMESTAMP: ("google.type.DateTime", "google/type/datetime.proto"),
    pa.date32(): ("google.type.Date", "google/type/date.proto"),
    pa.time64("us"): ("google.type.TimeOfDay", "google/type/timeofday.proto"),
    JSON: ("google.protobuf.Value", "google/protobuf/struct.proto"),
}
_KEYS = ("int32", "int64", "uint32", "uint64", "bool", "string")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Numbers from here to 19999 belong to Protobuf itself.
_OURS = range(19_000, 20_000)


def protobuf_columns(file: FileDescriptor, lost: Lost) -> pa.Schema:
    """The columns of a file's first message. Raises InvalidSchema where there is none."""
    messages = list(file.message_types_by_name.values())
    if not messages or not messages[0].fields:
        raise InvalidSchema("the first message of the Protobuf schema has no fields, so there are no columns")
    if len(messages) > 1:
        used = f"messages beside the first ({', '.join(message.name for message in messages[1:4])})"
        lost("", f"{used}, but where it holds them")
    return message_columns(messages[0], lost)


def message_columns(message: Descriptor, lost: Lost) -> pa.Schema:
    """The columns of one message."""
    return pa.schema([pa.field(each.name, _field(each, each.name, (message.full_name,), lost)) for each in message.fields])


def _field(of: FieldDescriptor, path: str, inside: tuple[str, ...], lost: Lost) -> pa.DataType:
    if of.containing_oneof is not None and len(of.containing_oneof.fields) > 1:
        lost(path, f"that only one field of {of.containing_oneof.name} is set")
    if of.is_required:
        lost(path, "that it must be there")
    if of.has_default_value and of.default_value:
        lost(path, "the default")
    message: Descriptor | None = of.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (message.fields_by_name[name] for name in ("key", "value"))
        return pa.map_(_SCALARS[key.type], _one(value, f"{path}[]", inside, lost))
    kind = _one(of, path, inside, lost)
    return pa.list_(kind) if of.is_repeated else kind


def _one(of: FieldDescriptor, path: str, inside: tuple[str, ...], lost: Lost) -> pa.DataType:
    if of.enum_type is not None:
        lost(path, "the values that are allowed")
        return pa.string()
    message: Descriptor | None = of.message_type
    if message is None:
        return _SCALARS[of.type]
    if message.full_name in _MESSAGES:
        if message.full_name in _LOSSY_MESSAGES:
            lost(path, _LOSSY_MESSAGES[message.full_name])
        return _MESSAGES[message.full_name]
    if message.full_name in inside or not message.fields:
        lost(path, "the types inside, since the message holds itself" if message.fields else "that it has no fields")
        return JSON
    inside = (*inside, message.full_name)
    return pa.struct([pa.field(each.name, _field(each, f"{path}.{each.name}", inside, lost)) for each in message.fields])


@dataclass
class _Writer:
    numbers: Mapping[str, Mapping[str, int]]
    """By message, the number that a field has in the version before, where there is one."""
    gone: Mapping[str, frozenset[int]]
    imports: set[str] = field(default_factory=set)

    def message(self, name: str, fields: list[pa.Field], path: str, indent: str = "", place: str = "") -> list[str]:
        """The lines of a message; `path` leads to it by the names of messages, `place` by those of columns."""
        lines: list[str] = [f"{indent}message {name} {{"]
        known, reserved = self.numbers.get(path, {}), self.gone.get(path, frozenset())
        kept = {known[each.name] for each in fields if each.name in known}
        dropped = sorted((set(known.values()) | reserved) - kept)
        if dropped:
            lines.append(f"{indent}  reserved {', '.join(map(str, dropped))};")
        next_number = max([0, *known.values(), *reserved]) + 1
        for each in fields:
            here = f"{place}.{each.name}" if place else each.name
            if not _NAME.match(each.name):
                raise LossyWrite(
                    f"{here}: Protobuf allows letters, digits and underscores in names, not '{each.name}'",
                    hint=_RENAME,
                )
            if each.name in known:
                number = known[each.name]
            else:
                number, next_number = next_number, next_number + 1
                if number in _OURS:
                    number, next_number = _OURS.stop, _OURS.stop + 1
            inner: list[str] = []
            label, kind = self.kind(each.type, each.name, path, inner, f"{indent}  ", here)
            lines += [*inner, f"{indent}  {label}{kind} {each.name} = {number};"]
        return [*lines, f"{indent}}}"]

    def kind(self, kind: pa.DataType, name: str, path: str, inner: list[str], indent: str, place: str) -> tuple[str, str]:
        """The label and the type of a field; messages that it needs are put into `inner`."""
        t = pa.types
        if t.is_list(kind):
            if t.is_list(kind.value_type) or t.is_map(kind.value_type):
                return "repeated ", self.wrapped(kind.value_type, f"{_camel(name)}Items", path, inner, indent, place)
            return "repeated ", self.kind(kind.value_type, name, path, inner, indent, f"{place}[]")[1]
        if t.is_map(kind):
            key = _WRITTEN.get(kind.key_type, ("", None))[0]
            if key not in _KEYS:
                raise LossyWrite(f"{place}: Protobuf has no maps whose keys are {sql_type(kind.key_type)}", hint=_CAST)
            if t.is_list(kind.item_type) or t.is_map(kind.item_type):
                return "", f"map<{key}, {self.wrapped(kind.item_type, f'{_camel(name)}Values', path, inner, indent, place)}>"
            return "", f"map<{key}, {self.kind(kind.item_type, name, path, inner, indent, f'{place}[]')[1]}>"
        if t.is_struct(kind) and kind.num_fields:
            made = _camel(name)
            inner += self.message(made, list(kind), f"{path}.{made}", indent, place)
            return "optional ", made
        if t.is_decimal(kind):
            return "optional ", "string"
        if kind not in _WRITTEN:
            raise LossyWrite(f"{place}: Protobuf has no type that keeps {sql_type(kind)}", hint=_CAST)
        written, imported = _WRITTEN[kind]
        if imported is not None:
            self.imports.add(imported)
        return "optional ", written

    def wrapped(self, kind: pa.DataType, made: str, path: str, inner: list[str], indent: str, place: str) -> str:
        """A message of its own around what Protobuf does not nest."""
        inner += self.message(made, [pa.field("items", kind)], f"{path}.{made}", indent, place)
        return made


def protobuf_value_losses(schema: pa.Schema) -> Iterator[str]:
    """What single values lose in a message, as `column: what`."""
    for each in schema:
        found = {type(kind) for kind in _inside(each.type)}
        if pa.ListType in found:
            yield f"{each.name}: whether a list is null or empty, and items that are null"
        if pa.MapType in found:
            yield f"{each.name}: whether a map is null or empty, and values that are null"


def _inside(kind: pa.DataType) -> Iterator[pa.DataType]:
    yield kind
    for index in range(kind.num_fields):
        yield from _inside(kind.field(index).type)


_RENAME = "rename the column in a mapping"
_CAST = "cast the column to varchar in a mapping"


def protobuf_of(schema: pa.Schema, name: str, before: FileDescriptor | None = None) -> str:
    """The text of a Protobuf schema (proto3) for rows of these columns. Raises LossyWrite.

    `before` is the version that it follows: its package, the names of its messages and the numbers of its fields are kept,
    and the numbers of those that are gone are reserved.
    """
    package, name = "", _camel(name)
    numbers: dict[str, dict[str, int]] = {}
    gone: dict[str, frozenset[int]] = {}
    if before is not None:
        package = before.package
        first = next(iter(before.message_types_by_name.values()), None)
        if first is not None:
            name = first.name
            _numbers(first, name, numbers, gone)
    writer = _Writer(numbers, gone)
    body = writer.message(name, list(schema), name)
    head = [
        'syntax = "proto3";',
        *([f"package {package};"] if package else []),
        *(f'import "{each}";' for each in sorted(writer.imports)),
    ]
    return "\n".join([*head, "", *body, ""])


def _numbers(message: Any, path: str, numbers: dict[str, dict[str, int]], gone: dict[str, frozenset[int]]) -> None:
    from google.protobuf.descriptor_pb2 import DescriptorProto

    numbers[path] = {each.name: each.number for each in message.fields}
    proto = DescriptorProto()
    message.CopyToProto(proto)
    gone[path] = frozenset(
        number for each in proto.reserved_range for number in range(each.start, min(each.end, each.start + 1000))
    )
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            _numbers(inner, f"{path}.{inner.name}", numbers, gone)


def _camel(name: str) -> str:
    made = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name) if part)
    return made if made[:1].isalpha() else f"M{made}"
