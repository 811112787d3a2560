"""Redis as a source: the keys of a pattern and what they hold, a page of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import retrying
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.json_blocks import discovered
from beam_datahub.component.messages.decoding import Decoder, JsonDecoder, lines_of
from beam_datahub.component.messages.reading import MessageReading, value_request
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Finding, ReadRequest, Report, Source, Split
from beam_datahub.errors import DataHubError, UnreadableData
from beam_datahub.io.redis.options import RedisReadOptions
from beam_datahub.io.redis.scanning import COLUMNS, asked, pages, sample
from beam_datahub.io.redis_stream.connection import RedisConnection
from beam_datahub.io.redis_stream.fields import FieldsDecoder

_METADATA = {"key": pa.string(), "ttl": pa.float64()}
_KEY = "_key"


@register("source", "redis", since="0.1.0")
class RedisSource(Source):
    """Reads the values of keys by a pattern, without ever stopping the server; each key is read once."""

    Connection: ClassVar[type[Config]] = RedisConnection
    Options = RedisReadOptions
    capabilities = SourceCapabilities(columns=True, lookup=True)
    examples = (
        Example(
            "Hashes, their fields as columns",
            {"connection": {"host": "redis"}, "pattern": "user:*", "schema": {"name": "varchar", "visits": "bigint"}},
        ),
        Example(
            "Keys that an enrichment asks for, by `_key`",
            {"connection": {"host": "redis"}, "pattern": "tier:*", "format": "string", "schema": {"value": "varchar"}},
        ),
        Example(
            "JSON documents and when they end",
            {"connection": {"host": "redis"}, "pattern": "cart:*", "format": "json", "metadata": ["key", "ttl"]},
        ),
    )

    connection: RedisConnection
    options: RedisReadOptions

    def check(self) -> Report:
        lines = list(self.reach().findings)
        if lines[-1].fine:
            try:
                with self.connection.connected(patient=False) as client:
                    found = sample(client, self.options, 1)
                lines.append(
                    Finding(
                        self.options.pattern,
                        True,
                        f"has keys that hold a {self.options.format}" if found else f"no key holds a {self.options.format} yet",
                    )
                )
            except DataHubError as error:
                lines.append(Finding(self.options.pattern, False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.pattern),)

    @property
    def _metadata(self) -> pa.Schema:
        return pa.schema([(f"_{name}", _METADATA[name]) for name in self.options.metadata])

    def completed(self, declared: pa.Schema) -> pa.Schema:
        return pa.schema([*declared, *(each for each in self._metadata if each.name not in declared.names)])

    def discover(self) -> Discovery:
        return Discovery(pa.schema([*self._discovered(), *self._metadata]))

    def estimate(self) -> Discovery:
        return Discovery(pa.schema([]))

    def _discovered(self) -> pa.Schema:
        options = self.options
        if options.format in COLUMNS:
            return COLUMNS[options.format]
        with self.connection.connected() as client:
            values = sample(client, options, options.sample)
        if not values:
            raise UnreadableData(
                f"'{options.pattern}' has no key that holds a {options.format}", hint="declare the columns under `schema`"
            )
        if options.format == "json":
            found, _ = discovered(options.pattern, [lines_of(values)], int(options.max_record_bytes))
            return found
        names = dict.fromkeys(name for value in values for name in value)
        return pa.schema([(name.decode("utf-8", "backslashreplace"), pa.string()) for name in sorted(names)])

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield Split(self.options.pattern)

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        options = self.options
        reading = MessageReading(request, self._decoder(value_request(request, self._metadata)), self._metadata)
        left = request.limit
        with self.connection.connected() as client:
            for arrived in pages(client, options, request):
                block = reading.block(arrived)
                if left is None:
                    yield block
                    continue
                if block.batch.num_rows >= left:
                    positions = None if block.positions is None else block.positions.slice(0, left)
                    yield Block(block.batch.slice(0, left), block.origin, positions=positions)
                    return
                left -= block.batch.num_rows
                yield block

    def asks_by(self, column: str, data_type: pa.DataType) -> bool:
        return column == _KEY and column in self._metadata.names and data_type == pa.string()

    def lookup(self, keys: pa.Table, request: ReadRequest, *, timeout_seconds: float | None = None) -> Iterator[Block]:
        options = self.options
        reading = MessageReading(request, self._decoder(value_request(request, self._metadata)), self._metadata)
        names: list[str] = keys[_KEY].to_pylist()
        first = 0
        for start in range(0, len(names), options.batch_keys):
            for attempt in retrying():
                with attempt, self.connection.connected(patient=False, timeout_seconds=timeout_seconds) as client:
                    arrived = asked(client, options, request, names[start : start + options.batch_keys], first)
            if arrived.values:
                first += len(arrived.values)
                yield reading.block(arrived)

    def _decoder(self, request: ReadRequest) -> Decoder:
        longest = int(self.options.max_record_bytes)
        if self.options.format == "json":
            return JsonDecoder(request, self.options.pattern, longest)
        return FieldsDecoder(request, self.options.pattern, longest)
