"""Rows that stand in the spec itself."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_lines import Lines
from beam_datahub.component.json_blocks import JsonReader, discovered
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Report, Source, Split

_LONGEST = 64 * 1024 * 1024
_BLOCK_ROWS = 10_000


class InlineConnection(Config):
    """There is no outside system to reach."""


class InlineOptions(Config):
    """The rows."""

    rows: tuple[dict[str, Any], ...]
    """One mapping of column to value a row; values may be nested. Types are found as in JSON, or taken from the schema."""


@register("source", "inline", since="0.1.0")
class InlineSource(Source):
    """Gives the rows that stand in the spec; one that does not fit the declared schema is rejected, as from a file."""

    Connection = InlineConnection
    Options = InlineOptions
    capabilities = SourceCapabilities(columns=True)
    examples = (Example("Two rows", {"rows": [{"code": "de", "name": "Germany"}, {"code": "fr", "name": "France"}]}),)

    options: InlineOptions

    def check(self) -> Report:
        return Report((("rows", True, f"{len(self.options.rows)} in the spec"),))

    def discover(self) -> Discovery:
        # As text, NaN would make its column text.
        data = self._lines(0, len(self.options.rows)).replace(b'"NaN"', b"null")
        schema, _ = discovered("rows", [data], _LONGEST) if any(self.options.rows) else (pa.schema([]), 0.0)
        return Discovery(schema, len(self.options.rows), len(data), 1)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield Split("rows")

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        count = len(self.options.rows) if request.limit is None else min(request.limit, len(self.options.rows))
        blocks = (
            Lines(self._lines(start, min(start + _BLOCK_ROWS, count)), start, min(start + _BLOCK_ROWS, count), None)
            for start in range(0, count, _BLOCK_ROWS)
        )
        for block in JsonReader("rows", request, _LONGEST).blocks(blocks, ranges=False):
            yield replace(block, origin=Origin(first_row=block.origin.first_row))

    def _lines(self, start: int, end: int) -> bytes:
        rows = self.options.rows[start:end]
        return b"".join(json.dumps(_plain(row), default=_text).encode() + b"\n" for row in rows)


def _plain(value: Any) -> Any:
    """A value of the spec without the numbers that JSON does not have; they go as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
