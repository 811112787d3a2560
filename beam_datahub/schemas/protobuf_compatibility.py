"""Whether data written with one Protobuf schema can be read with another, by the rules that schema registries go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from beam_datahub.schemas.difference import Difference, harmful
from beam_datahub.schemas.protobuf_model import ProtobufSchema

_F = FieldDescriptorProto
_CODES: Mapping[str, tuple[bool, str]] = {
    "PACKAGE_CHANGED": (False, "{reader} is of another package than {writer}"),
    "MESSAGE_ADDED": (True, "{reader} has a message that {writer} has not"),
    "MESSAGE_REMOVED": (False, "{reader} lacks the message of {writer}"),
    "MESSAGE_MOVED": (True, "the message stands at another place"),
    "ENUM_ADDED": (True, "{reader} has an enum that {writer} has not"),
    "ENUM_REMOVED": (True, "{reader} lacks the enum of {writer}"),
    "ENUM_CONST_ADDED": (True, "{reader} has a value that {writer} has not"),
    "ENUM_CONST_CHANGED": (True, "{reader} has another name for the value"),
    "ENUM_CONST_REMOVED": (True, "{reader} lacks a value of {writer}"),
    "FIELD_ADDED": (True, "{reader} has a field that {writer} has not"),
    "FIELD_REMOVED": (True, "{reader} lacks a field of {writer}"),
    "FIELD_NAME_CHANGED": (True, "{reader} has another name for the field"),
    "FIELD_KIND_CHANGED": (False, "a scalar, a message and a map are not read as each other, as {reader} and {writer} have it"),
    "FIELD_SCALAR_KIND_CHANGED": (False, "the types of {reader} and {writer} are stored in different ways"),
    "FIELD_NAMED_TYPE_CHANGED": (False, "{reader} has another message here than {writer}"),
    "FIELD_NUMERIC_LABEL_CHANGED": (False, "a number is repeated in one of {reader} and {writer}, and not in the other"),
    "FIELD_STRING_OR_BYTES_LABEL_CHANGED": (True, "the label differs"),
    "REQUIRED_FIELD_ADDED": (False, "{reader} requires a field that {writer} has not"),
    "REQUIRED_FIELD_REMOVED": (False, "{reader} lacks a field that {writer} requires"),
    "ONEOF_ADDED": (True, "{reader} has a oneof that {writer} has not"),
    "ONEOF_REMOVED": (True, "{reader} lacks a oneof of {writer}"),
    "ONEOF_FIELD_ADDED": (True, "the oneof of {reader} has a field that {writer} has not"),
    "ONEOF_FIELD_REMOVED": (False, "{reader} lacks a field that the oneof of {writer} has"),
    "ONEOF_FIELD_MOVED_TO_TOP_LEVEL": (True, "{reader} has the field outside of its oneof"),
    "MULTIPLE_FIELDS_MOVED_TO_ONEOF": (False, "{reader} lets only one of several fields be set, {writer} lets all of them"),
    "FIELD_MOVED_TO_EXISTING_ONEOF": (False, "{reader} lets the field be set only when others of {writer} are not"),
}
# Types that share a form on the wire, so that one can be read as another.
_WIRE = {
    **dict.fromkeys((_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_UINT32, _F.TYPE_UINT64, _F.TYPE_BOOL, _F.TYPE_ENUM), "number"),
    **dict.fromkeys((_F.TYPE_SINT32, _F.TYPE_SINT64), "signed"),
    **dict.fromkeys((_F.TYPE_STRING, _F.TYPE_BYTES), "text"),
    **dict.fromkeys((_F.TYPE_FIXED32, _F.TYPE_SFIXED32), "fixed32"),
    **dict.fromkeys((_F.TYPE_FIXED64, _F.TYPE_SFIXED64), "fixed64"),
    _F.TYPE_FLOAT: "float",
    _F.TYPE_DOUBLE: "double",
}


def protobuf_differences(reader: ProtobufSchema, writer: ProtobufSchema) -> list[Difference]:
    """All differences from `writer` to `reader`, harmful or not; paths go by names of messages and numbers of fields."""
    return list(_Comparison(_Types(writer), _Types(reader)).files())


def difference(code: str, path: str) -> Difference:
    """A difference of a kind at a place."""
    compatible, words = _CODES[code]
    return Difference(code, path, words, compatible)


@dataclass(frozen=True)
class _Named:
    package: str
    file: Any
    definition: Any
    local: bool

    @property
    def enum(self) -> bool:
        return bool(self.definition.DESCRIPTOR.name == "EnumDescriptorProto")

    @property
    def map(self) -> bool:
        return not self.enum and bool(self.definition.options.map_entry)


class _Types:
    """Every type of a schema and of what it refers to, by full name."""

    def __init__(self, schema: ProtobufSchema) -> None:
        self.file = schema.file
        self.known: dict[str, _Named] = {}
        for file in (*schema.others.values(), schema.file):
            self._collect(file, file, file.package)

    def _collect(self, file: Any, holder: Any, prefix: str) -> None:
        messages = holder.message_type if holder is file else holder.nested_type
        for definition in (*messages, *holder.enum_type):
            name = f"{prefix}.{definition.name}" if prefix else definition.name
            named = _Named(file.package, file, definition, file is self.file)
            self.known[name] = named
            if not named.enum:
                self._collect(file, definition, name)

    def find(self, name: str, package: str, scope: tuple[str, ...]) -> tuple[str, _Named] | None:
        """The type that a name means within a scope: the innermost of that name."""
        if name.startswith("."):
            found = self.known.get(name[1:])
            return (name[1:], found) if found is not None else None
        parts = [*(package.split(".") if package else ()), *scope]
        while True:
            full = ".".join([*parts, name])
            if full in self.known:
                return full, self.known[full]
            if not parts:
                return None
            parts.pop()


@dataclass(frozen=True)
class _Place:
    """Where a comparison stands: the path to tell, and the scope of names on each side."""

    path: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    old_package: str = ""
    new_package: str = ""

    def named(self, name: str) -> _Place:
        return _Place((*self.path, name), (*self.scope, name), self.old_package, self.new_package)

    def at(self, *steps: str | int) -> _Place:
        return _Place((*self.path, *map(str, steps)), self.scope, self.old_package, self.new_package)

    def tell(self, code: str) -> Difference:
        return difference(code, "#/" + "/".join(self.path))


@dataclass
class _Comparison:
    old: _Types
    new: _Types
    under_way: list[Any] = field(default_factory=list)

    def files(self) -> Iterator[Difference]:
        old, new = self.old.file, self.new.file
        place = _Place(old_package=old.package, new_package=new.package)
        if old.package != new.package:
            yield place.tell("PACKAGE_CHANGED")
        yield from self._types(old.message_type, new.message_type, old.enum_type, new.enum_type, place)

    def _types(self, olds: Any, news: Any, old_enums: Any, new_enums: Any, place: _Place) -> Iterator[Difference]:
        before, after = _messages(olds), _messages(news)
        old_at, new_at = {name: at for at, name in enumerate(before)}, {name: at for at, name in enumerate(after)}
        for name in sorted(before.keys() | after.keys()):
            here = place.named(name)
            if name not in after:
                yield here.tell("MESSAGE_REMOVED")
            elif name not in before:
                yield here.tell("MESSAGE_ADDED")
            else:
                yield from self._message(before[name], after[name], here)
                if old_at[name] != new_at[name]:
                    yield here.tell("MESSAGE_MOVED")
        yield from _enums({each.name: each for each in old_enums}, {each.name: each for each in new_enums}, place)

    def _message(self, old: Any, new: Any, place: _Place) -> Iterator[Difference]:
        if any(each is old for each in self.under_way):
            return
        self.under_way.append(old)
        try:
            yield from self._fields(old, new, place)
        finally:
            self.under_way.pop()
        yield from self._types(old.nested_type, new.nested_type, old.enum_type, new.enum_type, place)

    def _fields(self, old: Any, new: Any, place: _Place) -> Iterator[Difference]:
        before, after = {each.number: each for each in old.field}, {each.number: each for each in new.field}
        old_group, new_group = _groups(old), _groups(new)
        yield from _joined_groups(new, before, old_group, place)
        names_before, names_after = [each.name for each in old.oneof_decl], [each.name for each in new.oneof_decl]
        for name in sorted({*names_before, *names_after}):
            if name not in names_after:
                yield place.at(name).tell("ONEOF_REMOVED")
            elif name not in names_before:
                yield place.at(name).tell("ONEOF_ADDED")
        # A oneof that goes with all of its fields is like a field that goes.
        survivors = {group for number, group in old_group.items() if number in after}
        for number in sorted(before.keys() | after.keys()):
            was, now = old_group.get(number), new_group.get(number)
            if number not in after:
                if was is None:
                    required = before[number].label == _F.LABEL_REQUIRED
                    yield place.at(number).tell("REQUIRED_FIELD_REMOVED" if required else "FIELD_REMOVED")
                elif was in survivors or was in names_after:
                    yield place.at(was, number).tell("ONEOF_FIELD_REMOVED")
            elif number not in before:
                if now is not None:
                    yield place.at(now, number).tell("ONEOF_FIELD_ADDED")
                else:
                    required = after[number].label == _F.LABEL_REQUIRED
                    yield place.at(number).tell("REQUIRED_FIELD_ADDED" if required else "FIELD_ADDED")
            else:
                if was is not None and now is None:
                    yield place.at(number).tell("ONEOF_FIELD_MOVED_TO_TOP_LEVEL")
                yield from self._field(before[number], after[number], place.at(number) if now is None else place.at(now, number))

    def _field(self, old: Any, new: Any, place: _Place) -> Iterator[Difference]:
        if old.name != new.name:
            yield place.tell("FIELD_NAME_CHANGED")
        yield from self._kinds(old, new, place, labels=True)

    def _kinds(self, old: Any, new: Any, place: _Place, *, labels: bool) -> Iterator[Difference]:
        before = self.old.find(old.type_name, place.old_package, place.scope) if old.type_name else None
        after = self.new.find(new.type_name, place.new_package, place.scope) if new.type_name else None
        kind, other = _kind(old, before), _kind(new, after)
        if kind != other:
            yield place.tell("FIELD_KIND_CHANGED")
        elif kind == "scalar":
            yield from _scalars(old, new, before, after, place, labels=labels)
        elif kind == "map" and before is not None and after is not None:
            for one, two in zip(before[1].definition.field, after[1].definition.field, strict=True):
                yield from self._kinds(one, two, place, labels=False)
        else:
            yield from self._referred(old, new, before, after, place)

    def _referred(self, old: Any, new: Any, before: Any, after: Any, place: _Place) -> Iterator[Difference]:
        """Two fields that hold messages: of one name, and when the messages stand in other files, compatible ones."""
        if before is None or after is None:
            if old.type_name != new.type_name:
                yield place.tell("FIELD_NAMED_TYPE_CHANGED")
            return
        names = [full.removeprefix(f"{named.package}.") for full, named in (before, after)]
        if names[0] != names[1]:
            yield place.tell("FIELD_NAMED_TYPE_CHANGED")
            return
        one, two = before[1], after[1]
        if (one.local and two.local) or one.file == two.file:
            # Messages of the schema itself are compared where they stand.
            return
        # A message of another file is told by its own name: the field that holds it is told beside it.
        inner = _Place(tuple(names[0].split(".")), tuple(names[0].split(".")), one.package, two.package)
        found = list(self._message(one.definition, two.definition, inner))
        yield from found
        if harmful(found):
            yield place.tell("FIELD_NAMED_TYPE_CHANGED")


def _messages(definitions: Any) -> dict[str, Any]:
    return {each.name: each for each in definitions if not each.options.map_entry}


def _groups(message: Any) -> dict[int, str]:
    return {each.number: message.oneof_decl[each.oneof_index].name for each in message.field if each.HasField("oneof_index")}


def _joined_groups(new: Any, before: Mapping[int, Any], old_group: Mapping[int, str], place: _Place) -> Iterator[Difference]:
    """Fields that could be set together and now exclude each other."""
    members: dict[str, list[int]] = {}
    for number, group in _groups(new).items():
        members.setdefault(group, []).append(number)
    for group, numbers in members.items():
        known = [number for number in numbers if number in before]
        free = [number for number in known if number not in old_group]
        if len({old_group[number] for number in known if number in old_group}) + len(free) > 1:
            code = "MULTIPLE_FIELDS_MOVED_TO_ONEOF" if len(free) > 1 else "FIELD_MOVED_TO_EXISTING_ONEOF"
            yield place.at(group).tell(code)


def _kind(of: Any, named: tuple[str, _Named] | None) -> str:
    if not of.type_name or (named is not None and named[1].enum):
        return "scalar"
    return "map" if named is not None and named[1].map else "message"


def _scalars(old: Any, new: Any, before: Any, after: Any, place: _Place, *, labels: bool) -> Iterator[Difference]:
    kind = "number" if before is not None else _WIRE[old.type]
    if kind != ("number" if after is not None else _WIRE[new.type]):
        yield place.tell("FIELD_SCALAR_KIND_CHANGED")
    elif labels and old.HasField("label") and new.HasField("label") and old.label != new.label:
        yield place.tell("FIELD_STRING_OR_BYTES_LABEL_CHANGED" if kind == "text" else "FIELD_NUMERIC_LABEL_CHANGED")


def _enums(before: Mapping[str, Any], after: Mapping[str, Any], place: _Place) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        here = place.at(name)
        if name not in after:
            yield here.tell("ENUM_REMOVED")
        elif name not in before:
            yield here.tell("ENUM_ADDED")
        else:
            yield from _values(before[name], after[name], here.at)


def _values(old: Any, new: Any, at: Callable[..., _Place]) -> Iterator[Difference]:
    before, after = {each.number: each.name for each in old.value}, {each.number: each.name for each in new.value}
    for number in sorted(before.keys() | after.keys()):
        if number not in after:
            yield at(number).tell("ENUM_CONST_REMOVED")
        elif number not in before:
            yield at(number).tell("ENUM_CONST_ADDED")
        elif before[number] != after[number]:
            yield at(number).tell("ENUM_CONST_CHANGED")
