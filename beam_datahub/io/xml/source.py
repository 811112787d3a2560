"""Reading XML documents, record by record."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field, field_validator

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_lines import Lines
from beam_datahub.component.file_store import reading
from beam_datahub.component.files import DataFile, FileSource
from beam_datahub.component.json_blocks import JsonReader
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, ReadRequest, Split
from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.delimited_sniff import repeated
from beam_datahub.kernels.xml_elements import Elements, Naming, Take, XmlFault, path_of
from beam_datahub.kernels.xml_values import Records, Sample

# The first block is small, so that the first rows are there at once.
_FIRST_BYTES = 256 * 1024


class XmlReadOptions(Config):
    """Which elements are records, and what their names become."""

    records: str | None = None
    """The path of the elements that are records: `/orders/order` from the root on, `*` for any name, or `//order` at any
    depth. Without it, the children of the root where all have one name, else the root itself."""

    namespaces: dict[str, str] = {}
    """URIs of the prefixes in `records`, such as `{o: "urn:orders"}`; a prefix that is not here is the document's own. A name
    without prefix is of any namespace."""

    prefixes: bool = False
    """Whether columns keep the prefixes of names, as in `o:total`."""

    attribute_prefix: str = "@"
    """What stands before the names of attributes; `""` for nothing."""

    text_name: str = Field(default="#text", min_length=1)
    """The name of the text of an element that has attributes or elements as well."""

    trim: bool = True
    """Whether white space around texts is dropped; `xml:space="preserve"` in the document keeps it."""

    encoding: str | None = None
    """The files' encoding where they do not say it, or say it wrong."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer record is an error: most likely `records` names too much."""

    sample_bytes: ByteSize = Field(default=ByteSize(4 * 1024 * 1024), gt=0)
    """How much of the documents discovery looks at, over all files."""

    @field_validator("records")
    @classmethod
    def _sound_path(cls, value: str | None) -> str | None:
        if value is not None:
            path_of(value)
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            codecs.lookup(value or "utf-8")
        except LookupError as error:
            raise ValueError(f"unknown encoding '{value}'") from error
        return value

    @property
    def naming(self) -> Naming:
        """What names become, as the kernels take it."""
        return Naming(self.namespaces, self.prefixes, self.attribute_prefix, self.text_name)


@register("source", "xml", since="0.1.0")
class XmlSource(FileSource):
    """Reads XML documents of any size: attributes become `@name`, repeated elements lists, nested ones structs.

    A column of type text takes all text inside its element; one of type JSON takes the element as it is. Nothing outside of
    a document is ever read, and entities that would blow it up are refused.
    """

    Options: ClassVar[type[Config]] = XmlReadOptions
    capabilities = SourceCapabilities(columns=True, splits="file")
    examples = (
        Example("Orders wherever they stand", {"connection": {"path": "data/orders.xml"}, "records": "//order"}),
        Example(
            "Elements of a namespace",
            {
                "connection": {"path": "feed.xml"},
                "records": "/a:feed/a:entry",
                "namespaces": {"a": "http://www.w3.org/2005/Atom"},
            },
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".xml",)

    options: XmlReadOptions

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        budget = max(1, int(self.options.sample_bytes) // len(files))
        sampled = Sample(self.options.naming)
        rows, whole, seen, total = 0, True, 0, 0
        for file in files:
            with reading(file.path), file.open() as stream:
                counted = _Counted(stream)
                for some in self._elements(file, counted, sampled.add):
                    rows += len(some)
                    if counted.bytes >= budget:
                        whole = False
                        break
            seen, total = seen + counted.bytes, total + file.size
        schema = sampled.schema()
        if twice := repeated(schema.names):
            raise UnreadableData(
                f"'{files[0].path}' has names that differ only in case: {', '.join(repr(name) for name in twice)}",
                hint="declare the source's `schema` with the one that you need",
            )
        plain = all(file.seekable for file in files)
        return Discovery(schema, rows if whole else round(rows * total / max(seen, 1)) if plain else None)

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        # Of columns that nobody asked for, only the names matter.
        schema = pa.schema([field for field in request.schema if field.name in request.columns])
        records = Records(schema, self.options.naming, trim=self.options.trim)
        numbers: deque[list[int]] = deque()
        reader = JsonReader(file.path, request, int(self.options.max_record_bytes) * 2)
        for block in reader.blocks(self._lines(file, records, request, numbers), ranges=False):
            yield replace(block, lines=_Places(numbers.popleft()))

    def _lines(self, file: DataFile, records: Records, request: ReadRequest, numbers: deque[list[int]]) -> Iterator[Lines]:
        held: list[bytes] = []
        places: list[int] = []
        size = start = 0
        with reading(file.path), file.open() as stream:
            for some in self._elements(file, _Counted(stream), records.line):
                lines, numbered = zip(*some, strict=True)
                held += lines
                places += numbered
                size += sum(map(len, lines))
                if size >= (request.batch_bytes if start else min(request.batch_bytes, _FIRST_BYTES)):
                    numbers.append(places)
                    yield Lines(b"".join(held), start, start + len(held), None)
                    start, held, places, size = start + len(held), [], [], 0
            if held:
                numbers.append(places)
                yield Lines(b"".join(held), start, start + len(held), None)

    def _elements(self, file: DataFile, stream: _Counted, take: Take) -> Iterator[list[tuple[Any, int]]]:
        options = self.options
        path = path_of(options.records) if options.records is not None else None
        if not file.size:
            raise UnreadableData(f"'{file.path}' is empty; an XML document has at least a root element")
        try:
            found = Elements(stream.read, path, options.naming, take, int(options.max_record_bytes), options.encoding)
            yield from found.records()
        except XmlFault as fault:
            raise UnreadableData(f"'{file.path}', line {fault.line}: {fault.message}", hint=fault.hint) from fault


class _Places:
    """The lines of the records of one block."""

    def __init__(self, lines: Sequence[int]) -> None:
        self._lines = lines

    def __call__(self, positions: Sequence[int]) -> list[int | None]:
        return [self._lines[i] for i in positions]


class _Counted:
    """A stream that knows how much of it was read."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream, self.bytes = stream, 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = bytes(self._stream.read(size))
        self.bytes += len(data)
        return data
