"""Protobuf schema text as a descriptor, checked by the Protobuf library itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any

from antlr4.error.ErrorListener import ErrorListener
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from proto_schema_parser import ast
from proto_schema_parser.parser import Parser

from beam_datahub.errors import InvalidSchema, UnresolvedReference
from beam_datahub.schemas.document import MAX_DEPTH, Document, check_size

_Field = descriptor_pb2.FieldDescriptorProto
_Message = descriptor_pb2.DescriptorProto
_File = descriptor_pb2.FileDescriptorProto
MAIN = "schema.proto"
SCALARS: Mapping[str, int] = {
    name.removeprefix("TYPE_").lower(): number
    for name, number in _Field.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
# A large text takes the parser about ten seconds.
MAX_BYTES = 1024 * 1024
_LABELS = {"REQUIRED": _Field.LABEL_REQUIRED, "OPTIONAL": _Field.LABEL_OPTIONAL, "REPEATED": _Field.LABEL_REPEATED}
_LAST_NUMBER = {False: 536_870_911, True: 2_147_483_647}


@dataclass(frozen=True)
class ProtobufSchema:
    """A Protobuf file and the files that it refers to by name, as descriptors whose type names are those of the text."""

    file: Any
    others: Mapping[str, Any]


def parse_protobuf(document: Document) -> ProtobufSchema:
    """The descriptor of a document; names are not looked up yet. Raises InvalidSchema."""
    try:
        others = {name: _file(_parsed(text), name) for name, text in document.references.items()}
        return ProtobufSchema(_file(_parsed(document.text), MAIN), others)
    except ValueError as error:
        raise InvalidSchema(f"no Protobuf schema: {str(error)[:1].lower()}{str(error)[1:]}") from error


def canonical_protobuf(text: str) -> str:
    """The syntax tree of a schema without its comments, as JSON. Raises InvalidSchema."""
    return json.dumps(_plain(_parsed(text)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def validate_protobuf(document: Document) -> FileDescriptor:
    """The descriptor with its names looked up. Raises InvalidSchema and UnresolvedReference."""
    schema = parse_protobuf(document)
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: Any, path: tuple[str, ...]) -> None:
        for name in file.dependency:
            if name in path:
                raise InvalidSchema(f"no Protobuf schema: the imports form a cycle: {' → '.join([*path, name])}")
            if name not in added:
                imported = schema.others.get(name) or _well_known(name)
                if imported is None:
                    raise UnresolvedReference(
                        f"the Protobuf schema imports '{name}', which is not there",
                        hint="register that schema and name it among the references",
                    )
                add(imported, (*path, name))
        try:
            pool.Add(_complete(file))
        except (TypeError, ValueError) as error:
            raise _refused(error) from error
        added.add(file.name)

    for message in _messages(schema.file.message_type):
        _keep_reserved(message)
    add(schema.file, (MAIN,))
    return pool.FindFileByName(MAIN)


def _messages(messages: Iterable[Any]) -> Iterator[Any]:
    for message in messages:
        yield message
        yield from _messages(message.nested_type)


def _keep_reserved(message: Any) -> None:
    """Refuse a field whose number or name the message has reserved, which the library lets pass."""
    for field in message.field:
        if field.name in message.reserved_name:
            raise InvalidSchema(f"no Protobuf schema: {message.name} uses the name '{field.name}', which it reserves")
        if any(each.start <= field.number < each.end for each in message.reserved_range):
            raise InvalidSchema(f"no Protobuf schema: {message.name} uses the number {field.number}, which it reserves")


def _refused(error: Exception) -> InvalidSchema | UnresolvedReference:
    words = str(error).partition("descriptor pool: ")[2] or str(error)
    words = words.strip().replace(f"{MAIN}: ", "")
    if "couldn't resolve name" in words or "is not defined" in words:
        return UnresolvedReference(
            f"the Protobuf schema has an unknown type: {words}", hint="define it, or import the file that does"
        )
    return InvalidSchema(f"no Protobuf schema: {words}")


class _Strict(ErrorListener):  # type: ignore[misc]
    """Raises for the first thing that does not parse, where the parser would guess on."""

    def syntaxError(self, recognizer: Any, symbol: Any, line: int, column: int, msg: str, e: Any) -> None:  # noqa: N802
        words = msg.partition(" expecting ")[0]
        raise InvalidSchema(f"no Protobuf schema: {words} in line {line}, column {column + 1}")


def _parsed(text: str) -> ast.File:
    check_size(text, MAX_BYTES)
    depth = deepest = 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise InvalidSchema(f"the schema nests deeper than {MAX_DEPTH} levels")

    def strict(recognizer: Any) -> None:
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(_Strict())

    try:
        return Parser(setup_lexer=strict, setup_parser=strict).parse(text)
    except RecursionError as error:
        raise InvalidSchema("the schema nests too deep") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidSchema(f"no Protobuf schema: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        named = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {"": type(value).__name__, **{name: found for name, found in named.items() if found not in (None, [], False)}}
    if isinstance(value, list):
        return [_plain(each) for each in value if not isinstance(each, ast.Comment)]
    return value


def _file(tree: ast.File, name: str) -> Any:
    file = _File(name=name)
    if tree.edition is not None:
        file.syntax = "editions"
        try:
            file.edition = descriptor_pb2.Edition.Value(f"EDITION_{tree.edition}")
        except ValueError as error:
            raise InvalidSchema(f"no Protobuf schema: there is no edition {tree.edition!r}") from error
    elif tree.syntax not in (None, "proto2", "proto3"):
        raise InvalidSchema(f"no Protobuf schema: there is no syntax {tree.syntax!r}", hint='syntax = "proto3";')
    elif tree.syntax == "proto3":
        file.syntax = "proto3"
    for element in tree.file_elements:
        if isinstance(element, ast.Package):
            file.package = element.name
        elif isinstance(element, ast.Import):
            file.dependency.append(element.name)
            if element.public:
                file.public_dependency.append(len(file.dependency) - 1)
        elif isinstance(element, ast.Message):
            _message(element, file.message_type.add(), file.syntax)
        elif isinstance(element, ast.Enum):
            _enum(element, file.enum_type.add())
        elif isinstance(element, ast.Extension):
            _extension(element, file.extension, file.syntax)
    return file


def _message(tree: ast.Message | ast.Group, message: Any, syntax: str) -> None:
    message.name = tree.name
    for element in tree.elements:
        if isinstance(element, ast.Field | ast.MapField | ast.Group):
            _field(element, message.field.add(), message, syntax)
        elif isinstance(element, ast.OneOf):
            index = len(message.oneof_decl)
            message.oneof_decl.add(name=element.name)
            for member in element.elements:
                if isinstance(member, ast.Field | ast.Group):
                    field = message.field.add(oneof_index=index)
                    _field(member, field, message, syntax)
        elif isinstance(element, ast.Message):
            _message(element, message.nested_type.add(), syntax)
        elif isinstance(element, ast.Enum):
            _enum(element, message.enum_type.add())
        elif isinstance(element, ast.Reserved):
            message.reserved_name.extend(element.names)
            for first, last in _ranges(element.ranges):
                message.reserved_range.add(start=first, end=last + 1)
        elif isinstance(element, ast.ExtensionRange):
            for first, last in _ranges(element.ranges):
                message.extension_range.add(start=first, end=last + 1)
        elif isinstance(element, ast.Extension):
            _extension(element, message.extension, syntax)
        elif isinstance(element, ast.Option) and element.name == "map_entry":
            message.options.map_entry = element.value is True


def _field(tree: ast.Field | ast.MapField | ast.Group, field: Any, message: Any, syntax: str) -> None:
    field.number = tree.number
    if isinstance(tree, ast.MapField):
        field.name, field.label = tree.name, _Field.LABEL_REPEATED
        entry = message.nested_type.add(name=f"{''.join(part.capitalize() for part in tree.name.split('_'))}Entry")
        entry.options.map_entry = True
        for number, (name, kind) in enumerate((("key", tree.key_type), ("value", tree.value_type)), 1):
            _type(kind, entry.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL))
        field.type_name = entry.name
        return
    if tree.cardinality is not None:
        field.label = _LABELS[tree.cardinality.value]
        field.proto3_optional = syntax == "proto3" and tree.cardinality.value == "OPTIONAL"
    if isinstance(tree, ast.Group):
        field.name, field.type, field.type_name = tree.name.lower(), _Field.TYPE_GROUP, tree.name
        _message(tree, message.nested_type.add(), syntax)
        return
    field.name = tree.name
    _type(tree.type, field)
    for option in tree.options:
        if option.name == "default":
            field.default_value = _default(option.value)


def _default(value: Any) -> str:
    """A default as descriptors write it: true and false in small letters, a name as it stands."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.name if isinstance(value, ast.Identifier) else value)


def _type(name: str, field: Any) -> None:
    scalar = SCALARS.get(name)
    if scalar is None:
        field.type_name = name
    else:
        field.type = scalar


def _extension(tree: ast.Extension, extensions: Any, syntax: str) -> None:
    for element in tree.elements:
        if isinstance(element, ast.Field):
            field = extensions.add(extendee=tree.typeName)
            _field(element, field, None, syntax)


def _enum(tree: ast.Enum, enum: Any) -> None:
    enum.name = tree.name
    for element in tree.elements:
        if isinstance(element, ast.EnumValue):
            if not -(2**31) <= element.number < 2**31:
                raise InvalidSchema(f"no Protobuf schema: {element.name} = {element.number} is out of range")
            enum.value.add(name=element.name, number=element.number)
        elif isinstance(element, ast.EnumReserved):
            enum.reserved_name.extend(element.names)
            for first, last in _ranges(element.ranges, enum=True):
                enum.reserved_range.add(start=first, end=last)
        elif isinstance(element, ast.Option) and element.name == "allow_alias":
            enum.options.allow_alias = element.value is True


def _ranges(texts: Iterable[str], *, enum: bool = False) -> Iterator[tuple[int, int]]:
    for text in texts:
        first, _, last = (part.strip() for part in text.partition(" to "))
        end = _LAST_NUMBER[enum] if last == "max" else int(last or first, 0)
        yield int(first, 0), end


def _complete(file: Any) -> Any:
    """The descriptor as a pool wants it: every field labelled, and an optional field in a `oneof` of its own."""
    complete = _File()
    complete.CopyFrom(file)
    waiting = list(complete.message_type)
    for extension in complete.extension:
        _labelled(extension)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        for field in (*message.field, *message.extension):
            _labelled(field)
            if field.proto3_optional and not field.HasField("oneof_index"):
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
    return complete


def _labelled(field: Any) -> None:
    if not field.HasField("label"):
        field.label = _Field.LABEL_OPTIONAL


_WELL_KNOWN = ("google/protobuf/", "google/type/", "google/rpc/")


def _well_known(name: str) -> Any:
    """The descriptor of a file that every Protobuf installation has, or None."""
    if not name.startswith(_WELL_KNOWN) or not name.endswith(".proto"):
        return None
    try:
        module = import_module(f"{name.removesuffix('.proto').replace('/', '.')}_pb2")
    except ImportError:
        return None
    file = _File()
    module.DESCRIPTOR.CopyToProto(file)
    return file
