"""JSON documents: an array of records, one record, or records somewhere inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_lines import is_utf8
from beam_datahub.component.file_sink import TextSink
from beam_datahub.component.files import DataFile, FileSource
from beam_datahub.component.json_blocks import JsonReader, discovered, keys_seen
from beam_datahub.component.json_document import VALUE, Document, steps_of
from beam_datahub.component.json_options import JSON_TYPES, JsonWriteOptions
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, ReadRequest, Split
from beam_datahub.kernels.json_rows import joined, json_rows
from beam_datahub.kernels.json_text import holds_decimal


class JsonReadOptions(Config):
    """How JSON documents are read."""

    records: str | None = None
    """Where the records are, as a JSONPath of names and indices such as `$.data.items`: the elements of the array there, or
    the one value. Without it the document is an array of records, or one record."""

    encoding: str = "utf-8"
    """The files' encoding, by its usual name."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer record is malformed."""

    sample_bytes: ByteSize = Field(default=ByteSize(8 * 1024 * 1024), gt=0)
    """How much of the records discovery looks at, over all files."""


@register("source", "json", since="0.1.0")
class JsonSource(FileSource):
    """Reads JSON documents; a long array is read as it comes. Records that are no objects become a column `value`.

    A declared decimal gets all of its digits; in JSON columns a number with a fraction has those of a double.
    """

    Options = JsonReadOptions
    capabilities = SourceCapabilities(columns=True, splits="file")
    examples = (Example("Records inside a document", {"connection": {"path": "page.json"}, "records": "$.data.items"}),)
    extensions: ClassVar[tuple[str, ...]] = (".json", ".geojson", ".topojson")

    options: JsonReadOptions

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        budget = max(1, int(self.options.sample_bytes) // len(files))
        heads, rows, whole = [], 0, True
        for file in files:
            data = b""
            for lines in self._document(file, 1).records(min(budget, 1 << 20), wrap=False, exact=False):
                data += lines.data
                rows += lines.end - lines.start
                if len(data) >= budget:
                    whole = False
                    break
            heads.append(data)
        longest = int(self.options.max_record_bytes)
        records = [line for data in heads for line in data.split(b"\n") if line]
        objects = [line for line in records if line.startswith(b"{") and line != b"{}"]
        if len(objects) * 2 < len(records):
            heads = [b"".join(b'{"%s":%s}\n' % (VALUE.encode(), line) for line in records)]
        schema, size = discovered(files[0].path, heads, longest)
        return Discovery(schema, rows if whole else round(sum(file.size for file in files) / size) if size else None)

    def columns_seen(self, declared: pa.Schema) -> ColumnsSeen | None:
        # Whatever the records are, as a whole they go into this column.
        return None if declared.names == [VALUE] else super().columns_seen(declared)

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        blocks = self._document(file, 1).records(1 << 20, wrap=False, exact=False)
        first = next(blocks, None)
        whole = next(blocks, None) is None
        return None if first is None else keys_seen(first.data, int(self.options.max_record_bytes), whole=whole)

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        document = self._document(file, request.threads)
        exact = any(holds_decimal(field.type) for field in request.projected)
        lines = document.records(request.batch_bytes, wrap=request.schema.names == [VALUE], exact=exact)
        yield from JsonReader(file.path, request, int(self.options.max_record_bytes)).blocks(lines, ranges=False)

    def _document(self, file: DataFile, threads: int) -> Document:
        is_utf8(self.options.encoding)
        longest = int(self.options.max_record_bytes)
        return Document(file, steps_of(self.options.records), self.options.encoding, longest, threads)


@register("sink", "json", since="0.1.0")
class JsonSink(TextSink):
    """Writes an array of JSON objects, one a line; dates and times in ISO 8601, BLOB in base64."""

    Options = JsonWriteOptions
    capabilities = SinkCapabilities(partitions=True, erase=True, types=JSON_TYPES)
    examples = (Example("One document", {"connection": {"path": "out/orders.json"}, "write_mode": "overwrite"}),)
    extensions: ClassVar[tuple[str, ...]] = (".json",)
    separator = b",\n"
    closing = b"\n]\n"
    json_lines = True

    options: JsonWriteOptions

    def opening(self, schema: pa.Schema) -> bytes:
        return b"[\n"

    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        return joined(json_rows(batch, decimals=self.options.decimals, ending=",\n"))[: -len(self.separator)]
