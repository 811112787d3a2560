"""Record elements of XML as JSON objects, by the schema that they shall have, and the schema that a sample of them has.

Attributes are `@name`, the text of an element that also has attributes or elements is `#text`, repeated elements are
lists. What the schema says decides: a single element is a list where the schema has one, and a text column takes all text
inside an element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pyarrow as pa

from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_sniff import infer, repeated
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON
from beam_datahub.kernels.xml_elements import Element, Naming, content_text

_XSI = "http://www.w3.org/2001/XMLSchema-instance "
_XML_SPACE = "http://www.w3.org/XML/1998/namespace space"
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_REAL = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = {"INF": "Infinity", "+INF": "Infinity", "-INF": "-Infinity", "NAN": "NaN", "INFINITY": "Infinity"}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_BLANKS = " \t\r\n"

# A value, from an element's attributes and content; `raw` says that white space at its ends counts.
_Convert = Callable[[Element, bool], Any]


class Records:
    """Turns record elements into lines of JSON, by the types of `schema`; what it does not have stays as it is."""

    def __init__(self, schema: pa.Schema, naming: Naming, *, trim: bool) -> None:
        self._naming, self._trim = naming, trim
        self._names: dict[str, str] = {}
        self._open = self._struct({})
        self._row = self._struct({field.name: field.type for field in schema})

    def line(self, record: Element) -> bytes:
        """A record as a JSON object in UTF-8, with a line break behind."""
        row = self._row(record, not self._trim) or {}
        try:
            return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # Integers of more than 64 bits, and structs nested very deep.
            return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace")

    def _name(self, tag: str) -> str:
        found = self._names.get(tag)
        if found is None:
            found = self._names[tag] = self._naming.name(tag)
        return found

    def _struct(self, types: dict[str, pa.DataType]) -> _Convert:
        """Elements as objects of known fields; those that are not known are taken as they are."""
        lists = {name for name, kind in types.items() if pa.types.is_list(kind)}
        kinds = {name: kind.value_type if name in lists else kind for name, kind in types.items()}
        parts = {name: self._converter(kind) for name, kind in kinds.items()}
        leaves = {name: _scalar(kind) for name, kind in kinds.items() if kind != JSON and not pa.types.is_nested(kind)}
        texts = {name: _scalar(kind) for name, kind in types.items() if not pa.types.is_nested(kind)}
        name_of, prefix, text_name = self._name, self._naming.attribute_prefix, self._naming.text_name
        # By the names that Expat gives: the column, whether it is a list, and how plain text and other elements become values.
        known: dict[str, tuple[str, bool, Callable[[str], Any] | None, _Convert]] = {}

        def look(tag: str) -> tuple[str, bool, Callable[[str], Any] | None, _Convert]:
            name = name_of(tag)
            leaf = leaves.get(name) if name in parts else _or_null
            known[tag] = found = (name, name in lists, leaf, parts.get(name, self._anything))
            return found

        def convert(element: Element, raw: bool) -> Any:
            _, attributes, content = element
            found: dict[str, Any] = {}
            if attributes:
                raw, nil, attributes = plain_attributes(attributes, raw)
                if nil:
                    return None
                for tag, value in attributes.items():
                    name = prefix + name_of(tag)
                    found[name] = texts[name](value) if name in texts else value
            text, inside = (content, []) if isinstance(content, str) else ("", content)
            for part in inside:
                if part.__class__ is str:
                    text += part
                    continue
                tag = part[0]
                name, is_list, leaf, otherwise = known.get(tag) or look(tag)
                if leaf is not None and not raw and part[2].__class__ is str:
                    value = leaf(part[2].strip(_BLANKS))
                else:
                    value = otherwise(part, raw)
                if is_list:
                    found.setdefault(name, []).append(value)
                elif name not in found:
                    found[name] = value
                elif found[name].__class__ is _Several:
                    found[name].append(value)
                else:
                    # A list where the schema has one value, which will refuse it; or no known column.
                    found[name] = _Several((found[name], value))
            if text:
                bare = text.strip(_BLANKS)
                if bare:
                    kept = text if raw else bare
                    found[text_name] = texts[text_name](kept) if text_name in texts else kept
            return found

        return convert

    def _converter(self, kind: pa.DataType) -> _Convert:
        if pa.types.is_struct(kind):
            return self._struct({field.name: field.type for field in kind})
        if kind == JSON or pa.types.is_nested(kind):
            return self._anything
        scalar, is_text = _scalar(kind), pa.types.is_string(kind)

        def convert(element: Element, raw: bool) -> Any:
            _, attributes, content = element
            if attributes:
                raw, nil, _ = plain_attributes(attributes, raw)
                if nil:
                    return None
            text = content_text(content)
            if not (raw and is_text):
                text = text.strip(_BLANKS)
            return scalar(text)

        return convert

    def _anything(self, element: Element, raw: bool) -> Any:
        """An element as it is: text, or an object; null where there is nothing."""
        _, attributes, content = element
        nil = False
        if attributes:
            raw, nil, attributes = plain_attributes(attributes, raw)
        if nil:
            return None
        if not attributes and all(part.__class__ is str for part in content):
            text = content if isinstance(content, str) else "".join(content)
            return (text if raw else text.strip(_BLANKS)) or None
        return self._open(element, raw)


class _Several(list[Any]):
    """Values of elements of one name, of which one was expected."""


def plain_attributes(attributes: dict[str, str], raw: bool) -> tuple[bool, bool, dict[str, str]]:
    """Whether white space counts, whether the element is null, and the attributes without those that say so."""
    nil, kept = False, attributes
    for tag in attributes:
        if tag.startswith(_XSI):
            local = tag.split(" ")[1]
            nil = nil or (local == "nil" and attributes[tag].strip() in ("true", "1"))
            gone = local in ("nil", "schemaLocation", "noNamespaceSchemaLocation")
        elif tag.startswith(_XML_SPACE):
            raw, gone = attributes[tag] == "preserve", True
        else:
            gone = False
        if gone:
            kept = {name: value for name, value in kept.items() if name != tag}
    return raw, nil, kept


def _scalar(kind: pa.DataType) -> Callable[[str], Any]:
    """Text in the form that JSON has for a type; what is not of the type stays text, to be refused."""
    t = pa.types
    if t.is_string(kind):
        return str
    if t.is_integer(kind):
        return lambda text: (int(bare) if _INTEGER.fullmatch(bare := text.strip(_BLANKS)) else bare) if text else None
    if t.is_floating(kind):
        return _real
    if t.is_boolean(kind):
        return lambda text: _TRUTH.get(text.strip(_BLANKS), text) if text else None
    if t.is_binary(kind):
        return lambda text: text.strip(_BLANKS)
    return lambda text: text.strip(_BLANKS) or None


def _or_null(text: str) -> str | None:
    return text or None


def _real(text: str) -> Any:
    bare = text.strip(_BLANKS)
    if _REAL.fullmatch(bare):
        found = float(bare)
        return found if abs(found) != float("inf") else bare
    return _NOT_FINITE.get(bare.upper(), bare) or None


class Shape:
    """What the values at one place of the records look like: texts, or fields, once or several times."""

    def __init__(self) -> None:
        self.fields: dict[str, Shape] = {}
        self.texts: list[str] = []
        self.repeats = self.has_fields = False


class Sample:
    """Looks at records, which it does not keep, to tell their schema; texts get the types that they would have in CSV."""

    def __init__(self, naming: Naming) -> None:
        self._naming, self._root = naming, Shape()

    def add(self, record: Element) -> None:
        """Look at one more record."""
        _see(self._root, record, self._naming)

    def schema(self) -> pa.Schema:
        """The schema of all that was added."""
        root = self._root
        leaves: list[Shape] = []
        _number(root, leaves)
        kinds: dict[int, pa.DataType] = {}
        if leaves:
            height = max(len(leaf.texts) for leaf in leaves)
            texts = {
                str(i): pa.array(leaf.texts + [None] * (height - len(leaf.texts)), pa.string()) for i, leaf in enumerate(leaves)
            }
            with KernelSession() as session:
                found = infer(pa.table(texts), Dialect(), session)
            kinds = {id(leaf): field.type for leaf, field in zip(leaves, found, strict=True)}
        fields = {name: _type(shape, kinds, self._naming) for name, shape in root.fields.items()}
        if root.texts:
            fields[self._naming.text_name] = kinds[id(root)]
        return pa.schema(list(fields.items()))


def _see(shape: Shape, element: Element, naming: Naming) -> None:
    _, attributes, content = element
    if attributes:
        _, nil, attributes = plain_attributes(attributes, False)
        if nil:
            return
    for tag, value in attributes.items():
        shown = shape.fields.setdefault(naming.attribute_prefix + naming.name(tag), Shape())
        if value.strip(_BLANKS):
            shown.texts.append(value.strip(_BLANKS))
    counts: dict[str, int] = {}
    parts: Sequence[Any] = [content] if isinstance(content, str) else content
    for part in parts:
        if part.__class__ is str:
            continue
        name = naming.name(part[0])
        counts[name] = counts.get(name, 0) + 1
        _see(shape.fields.setdefault(name, Shape()), part, naming)
    for name, count in counts.items():
        if count > 1:
            shape.fields[name].repeats = True
    shape.has_fields = shape.has_fields or bool(attributes or counts)
    text = "".join(part for part in parts if part.__class__ is str).strip(_BLANKS)
    if text:
        shape.texts.append(text)


def _number(shape: Shape, leaves: list[Shape]) -> None:
    if shape.texts:
        leaves.append(shape)
    for part in shape.fields.values():
        _number(part, leaves)


def _type(shape: Shape, kinds: dict[int, pa.DataType], naming: Naming) -> pa.DataType:
    text = kinds.get(id(shape), pa.string())
    kind: pa.DataType = text
    if shape.has_fields:
        fields = {name: _type(part, kinds, naming) for name, part in shape.fields.items()}
        if shape.texts:
            fields[naming.text_name] = text
        # The fields of a struct differ by more than case; those of JSON need not.
        kind = JSON if repeated(list(fields)) else pa.struct(list(fields.items()))
    return pa.list_(kind) if shape.repeats else kind
