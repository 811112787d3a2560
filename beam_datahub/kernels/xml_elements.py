"""The record elements of an XML document, one after the other, in memory bounded by the largest of them.

Expat parses. Entities that the document itself defines are expanded within Expat's bounds on their growth; nothing is
ever fetched from elsewhere.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from beam_datahub.kernels.delimited_stream import transcoded

Read = Callable[[int], bytes]

# More levels than this are taken for an attack.
DEEPEST = 256
_CHUNK = 256 * 1024
# Where nothing says which elements are records, so many bytes must tell.
_SNIFFED = 1 << 20
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_NATIVE = {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "ascii"}


class XmlFault(Exception):
    """What is wrong with a document, with the line; `hint` says what to do."""

    def __init__(self, message: str, line: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.hint = message, line, hint


# An element: its name as Expat gives it (`uri local prefix`), its attributes so, and texts and elements in their order.
# Lists and no class: there are many, and they live for a moment.
Element = tuple[str, dict[str, str], list[Any]]


@dataclass(frozen=True)
class Naming:
    """What names of elements and attributes become; `namespaces` gives prefixes to URIs of `records`."""

    namespaces: Mapping[str, str] = field(default_factory=dict)
    keep_prefixes: bool = False
    attribute_prefix: str = "@"
    text_name: str = "#text"

    def name(self, tag: str) -> str:
        """What the name that Expat gives (`uri local prefix`) becomes."""
        parts = tag.split(" ")
        if len(parts) == 1:
            return tag
        if not self.keep_prefixes:
            return parts[1]
        given = next((prefix for prefix, uri in self.namespaces.items() if uri == parts[0]), None)
        prefix = given if given is not None else parts[2] if len(parts) > 2 else ""
        return f"{prefix}:{parts[1]}" if prefix else parts[1]


@dataclass(frozen=True)
class Path:
    """Which elements are records: the names from the root on (`*` for any), or the last ones at any depth."""

    steps: tuple[str, ...]
    anywhere: bool = False


def path_of(text: str) -> Path:
    """A path such as `/orders/order`, `orders/order` or `//order`. Raises ValueError."""
    anywhere = text.startswith("//")
    steps = text.removeprefix("//").removeprefix("/").rstrip("/").split("/")
    if any(not re.fullmatch(r"\*|([\w.-]+:)?[^\W\d][\w.-]*", step) for step in steps):
        raise ValueError(f"'{text}' is not a path of element names such as /orders/order or //order")
    return Path(tuple(steps), anywhere)


class Elements:
    """Parses one document; `records` gives the elements that `path` names (None: see `guessed`), each with its line."""

    def __init__(self, read: Read, path: Path | None, naming: Naming, longest: int, encoding: str | None = None) -> None:
        self._naming, self._longest = naming, longest
        self._read, self._encoding = _decoded(read, encoding)
        self._head = b""
        if path is None:
            while len(self._head) < _SNIFFED and (chunk := self._read(_CHUNK)):
                self._head += chunk
            path = guessed(self._head, self._encoding)
        self.path = path
        self._outer: list[tuple[str, ...]] = []
        self._open: list[Element] = []
        self._found: list[tuple[Element, int]] = []
        self._line = self._size = self._begin = 0
        self._parser = parser = expat.ParserCreate(self._encoding, namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.ExternalEntityRefHandler = self._external
        parser.SkippedEntityHandler = self._skipped
        if expat.version_info < (2, 4, 1):
            # Older ones do not bound the growth of entities.
            parser.EntityDeclHandler = self._declared
        self._outside()

    def records(self) -> Iterator[list[tuple[Element, int]]]:
        """The records in lists, as they come. Raises XmlFault."""
        chunk, final = self._head, False
        while not final:
            chunk = chunk or self._read(_CHUNK)
            final = not chunk
            try:
                self._parser.Parse(chunk, final)
            except expat.ExpatError as error:
                raise XmlFault(_words(error), error.lineno) from error
            chunk = b""
            if self._open and self._parser.CurrentByteIndex - self._begin > self._longest:
                raise self._too_long()
            if self._found:
                found, self._found = self._found, []
                yield found

    def _outside(self) -> None:
        """Wait for a record."""
        self._parser.StartElementHandler, self._parser.EndElementHandler = self._start, self._end
        self._parser.CharacterDataHandler = None

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._outer.append(tuple(tag.split(" ")))
        if len(self._outer) > DEEPEST:
            raise self._too_deep()
        if self._is_record():
            self._line, self._begin, self._size = self._parser.CurrentLineNumber, self._parser.CurrentByteIndex, 0
            self._inside((tag, attributes, []))

    def _end(self, _: str) -> None:
        self._outer.pop()

    def _inside(self, record: Element) -> None:
        """Gather the parts of a record; this is where the time goes."""
        open_, content, size = self._open, record[2], 0
        open_.append(record)

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal content
            inner: list[Any] = []
            element = (tag, attributes, inner)
            content.append(element)
            open_.append(element)
            content = inner
            if len(open_) > DEEPEST:
                raise self._too_deep()

        def end(_: str) -> None:
            nonlocal content
            open_.pop()
            if open_:
                content = open_[-1][2]
                return
            self._found.append((record, self._line))
            self._outer.pop()
            self._outside()

        def text(part: str) -> None:
            nonlocal size
            content.append(part)
            size += len(part)
            if size > self._longest:
                raise self._too_long()

        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text

    def _too_long(self) -> XmlFault:
        name = self._naming.name(self._open[0][0])
        return XmlFault(
            f"the record <{name}> is longer than {self._longest} bytes",
            self._line,
            "set `records` to the path of the elements that repeat, or raise `max_record_bytes`",
        )

    def _too_deep(self) -> XmlFault:
        return XmlFault(f"elements are nested deeper than {DEEPEST} levels", self._parser.CurrentLineNumber)

    def _is_record(self) -> bool:
        steps = self.path.steps
        if self.path.anywhere:
            return len(self._outer) >= len(steps) and all(map(self._matches, steps, self._outer[-len(steps) :]))
        return len(self._outer) == len(steps) and all(map(self._matches, steps, self._outer))

    def _matches(self, step: str, name: tuple[str, ...]) -> bool:
        prefix, _, local = step.rpartition(":")
        own = name[0] if len(name) == 1 else name[1]
        if local not in ("*", own):
            return False
        if not prefix:
            return True
        if prefix in self._naming.namespaces:
            return len(name) > 1 and name[0] == self._naming.namespaces[prefix]
        return len(name) > 2 and name[2] == prefix

    def _external(self, context: str | None, _base: str | None, system: str | None, _public: str | None) -> int:
        raise XmlFault(
            f"the document refers to an entity outside of it ({system or context}), which is not read",
            self._parser.CurrentLineNumber,
            "have the document written without external entities",
        )

    def _declared(self, name: str, *_: object) -> None:
        raise XmlFault(f"the document defines the entity &{name};, which may be an attack", self._parser.CurrentLineNumber)

    def _skipped(self, name: str, is_parameter: bool) -> None:
        if not is_parameter:
            raise XmlFault(f"the entity &{name}; is not defined in the document", self._parser.CurrentLineNumber)


def guessed(head: bytes, encoding: str | None) -> Path:
    """Which elements the records are, by how a document begins: the children of the root where they all have one name and
    hold more than text, else the root itself.
    """
    depth, names, leaf, bare = 0, [], True, True

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, leaf, bare
        depth += 1
        if depth == 1:
            bare = not attributes
        elif depth == 2:
            names.append(tag)
            leaf = leaf and not attributes
        else:
            leaf = False
        if depth > DEEPEST:
            raise XmlFault(f"elements are nested deeper than {DEEPEST} levels", parser.CurrentLineNumber)

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def text(part: str) -> None:
        nonlocal bare
        bare = bare and (depth > 1 or not part.strip())

    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(head, False)
    except expat.ExpatError as error:
        # As far as it goes, it tells; whoever reads the records will hear of the fault.
        if not names:
            raise XmlFault(_words(error), error.lineno) from error
    if (not names and bare) or (len(set(names)) == 1 and (not leaf or len(names) > 1)):
        return Path(("*", "*"))
    return Path(("*",))


def _decoded(read: Read, encoding: str | None) -> tuple[Read, str | None]:
    """A read that Expat understands, and the encoding to tell it, or None where the document says it."""
    head = b""
    while len(head) < 512 and (chunk := read(512)):
        head += chunk

    held = [head]

    def again(size: int) -> bytes:
        return held.pop() if held else bytes(read(size))

    declared = _DECLARED.match(head)
    name = encoding or (declared[1].decode() if declared else None)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        name = "utf-32"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (head.startswith(codecs.BOM_UTF8) and encoding is None):
        return again, None
    try:
        known = codecs.lookup(name).name if name else None
    except LookupError as error:
        raise XmlFault(f"the encoding '{name}' is unknown", 1, "set `encoding` to the right one") from error
    if known is None or (known in _NATIVE and encoding is None):
        return again, None
    return transcoded(again, known, "strict"), "utf-8"


def _words(error: expat.ExpatError) -> str:
    words = expat.ErrorString(error.code) or str(error)
    if "amplification" in words:
        return "its entities grow beyond all measure, as in an attack"
    if error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]:
        return "the document ends before its root element does"
    return f"{words} (column {error.offset + 1})"


def content_text(content: Sequence[Any]) -> str:
    """All text inside an element, in order, as XPath's string() gives it."""
    return "".join(part if part.__class__ is str else content_text(part[2]) for part in content)
