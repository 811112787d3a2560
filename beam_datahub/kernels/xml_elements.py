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


# An element: its name as Expat gives it (`uri local prefix`), its attributes so, and texts and elements in their order; where
# it has no attributes and holds just text, that text. Tuples and no class: there are many, and they live for a moment.
Element = tuple[str, dict[str, str], list[Any] | str]
# What becomes of a record as soon as it is whole; to keep records would keep the garbage collector busy.
Take = Callable[[Element], Any]

_NO_ATTRIBUTES: dict[str, str] = {}
# Paths of names that are known to lead to a record or not.
_MOST_PATHS = 10_000


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
    """Parses one document; `records` gives what `take` makes of the elements that `path` names (None: see `guessed`), each with
    its line.
    """

    def __init__(
        self, read: Read, path: Path | None, naming: Naming, take: Take, longest: int, encoding: str | None = None
    ) -> None:
        self._naming, self._take, self._longest = naming, take, longest
        self._read, self._encoding = _decoded(read, encoding)
        self._head = b""
        if path is None:
            while len(self._head) < _SNIFFED and (chunk := self._read(_CHUNK)):
                self._head += chunk
            path = guessed(self._head, self._encoding)
        self.path = path
        self._outer: list[str] = []
        self._paths: dict[tuple[str, ...], bool] = {}
        self._open: list[Element] = []
        self._found: list[tuple[Any, int]] = []
        self._line = self._begin = 0
        self._parser = parser = expat.ParserCreate(self._encoding, namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.ExternalEntityRefHandler = self._external
        parser.SkippedEntityHandler = self._skipped
        if expat.version_info < (2, 4, 1):
            # Older ones do not bound the growth of entities.
            parser.EntityDeclHandler = self._declared
        self._handle()

    def records(self) -> Iterator[list[tuple[Any, int]]]:
        """What became of the records, in lists, as they come. Raises XmlFault."""
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
                found = self._found[:]
                self._found.clear()
                yield found

    def _handle(self) -> None:
        """Wait for records and gather their parts; this is where the time goes."""
        parser, open_, outer, found, take = self._parser, self._open, self._outer, self._found, self._take
        longest, deepest = self._longest, DEEPEST
        content: list[Any] = []
        # The name and text of the innermost element as long as it has no attributes and holds just text.
        leaf: str | None = None
        leaf_text, size = "", 0

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal content, leaf, leaf_text, size
            if not open_:
                outer.append(tag)
                if len(outer) > deepest:
                    raise self._too_deep()
                if self._is_record():
                    self._line, self._begin, size = parser.CurrentLineNumber, parser.CurrentByteIndex, 0
                    content = []
                    open_.append((tag, attributes, content))
                return
            if leaf is not None:
                inner: list[Any] = [leaf_text] if leaf_text else []
                element: Element = (leaf, _NO_ATTRIBUTES, inner)
                content.append(element)
                open_.append(element)
                content, leaf = inner, None
            if len(open_) >= deepest:
                raise self._too_deep()
            if not attributes:
                leaf, leaf_text = tag, ""
                return
            inner = []
            element = (tag, attributes, inner)
            content.append(element)
            open_.append(element)
            content = inner

        def end(_: str) -> None:
            nonlocal content, leaf
            if leaf is not None:
                content.append((leaf, _NO_ATTRIBUTES, leaf_text))
                leaf = None
                return
            if not open_:
                outer.pop()
                return
            element = open_.pop()
            if open_:
                content = open_[-1][2]  # type: ignore[assignment]
                return
            found.append((take(element), self._line))
            outer.pop()

        def text(part: str) -> None:
            nonlocal leaf_text, size
            if leaf is not None:
                leaf_text += part
            elif open_:
                content.append(part)
            else:
                return
            size += len(part)
            if size > longest:
                raise self._too_long()

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
        key = tuple(self._outer)
        known = self._paths.get(key)
        if known is None:
            if len(self._paths) >= _MOST_PATHS:
                self._paths.clear()
            known = self._paths[key] = self._fits([tuple(tag.split(" ")) for tag in key])
        return known

    def _fits(self, names: list[tuple[str, ...]]) -> bool:
        steps = self.path.steps
        if self.path.anywhere:
            return len(names) >= len(steps) and all(map(self._matches, steps, names[-len(steps) :]))
        return len(names) == len(steps) and all(map(self._matches, steps, names))

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
    if isinstance(content, str):
        return content
    return "".join(part if part.__class__ is str else content_text(part[2]) for part in content)
