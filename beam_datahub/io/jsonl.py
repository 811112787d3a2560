"""JSON lines: one JSON object in each line, read in byte ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
from pydantic import ByteSize, Field

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_lines import is_utf8, read_lines
from beam_datahub.component.file_sink import TextSink
from beam_datahub.component.files import DataFile, FileSource, byte_ranges
from beam_datahub.component.json_blocks import JsonReader, discovered, keys_seen
from beam_datahub.component.json_options import JSON_TYPES, JsonWriteOptions
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, ReadRequest, Split
from beam_datahub.kernels.json_rows import joined, json_rows

# How much of a file is looked at for keys.
_LOOK_BYTES = 1024 * 1024


class JsonlReadOptions(Config):
    """How JSON lines are read."""

    encoding: str = "utf-8"
    """The files' encoding, by its usual name; only UTF-8 can be read in ranges."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer line is rejected as malformed."""

    sample_bytes: ByteSize = Field(default=ByteSize(8 * 1024 * 1024), gt=0)
    """How much discovery reads, over all files."""


@register("source", "jsonl", since="0.1.0")
class JsonlSource(FileSource):
    """Reads JSON lines with nested values; a line that is no JSON object, or does not fit the schema, is rejected."""

    Options = JsonlReadOptions
    capabilities = SourceCapabilities(columns=True, splits="byte range")
    examples = (Example("Compressed files by a glob", {"connection": {"path": "data/events/*.jsonl.gz"}}),)
    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".jsonlines")

    options: JsonlReadOptions

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        budget = max(1, int(self.options.sample_bytes) // len(files))
        heads = [self._head(file, budget) for file in files]
        schema, size = discovered(files[0].path, heads, int(self.options.max_record_bytes))
        plain = all(file.seekable for file in files)
        total = sum(file.size for file in files)
        rows = round(total / size) if size and plain else 0 if not total else None
        return Discovery(schema, rows)

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        data = self._head(file, _LOOK_BYTES)
        return keys_seen(data, int(self.options.max_record_bytes), whole=len(data) < _LOOK_BYTES)

    def _head(self, file: DataFile, budget: int) -> bytes:
        lines = read_lines(file, Split(file.path), self.options.encoding, budget, int(self.options.max_record_bytes))
        data = b""
        for some in lines:
            data += b"" if some.overlong else some.data
            if len(data) >= budget:
                break
        return data

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        if is_utf8(self.options.encoding):
            yield from byte_ranges(file, request)
        else:
            yield Split(file.path)

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        longest = int(self.options.max_record_bytes)
        lines = read_lines(file, split, self.options.encoding, request.batch_bytes, longest)
        yield from JsonReader(file.path, request, longest).blocks(lines)


@register("sink", "jsonl", since="0.1.0")
class JsonlSink(TextSink):
    """Writes one JSON object a line; dates and times in ISO 8601, BLOB in base64."""

    Options = JsonWriteOptions
    capabilities = SinkCapabilities(
        partitions=True,
        erase=True,
        types=(*JSON_TYPES, "DECIMAL(38,10)"),
    )
    examples = (Example("One file", {"connection": {"path": "out/rejected.jsonl"}}),)
    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".jsonlines")
    json_lines = True

    options: JsonWriteOptions

    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        return joined(json_rows(batch, decimals=self.options.decimals, ending="\n"))
