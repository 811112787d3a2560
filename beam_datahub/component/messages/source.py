"""What sources of messages share: columns by format, discovery from a sample, and reading what has arrived."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.json_blocks import discovered
from beam_datahub.component.messages.decoders import decoder_of
from beam_datahub.component.messages.decoding import Decoder, lines_of, prefix_of
from beam_datahub.component.messages.reading import Arrived, MessageReading, value_request
from beam_datahub.component.messages.registry import Registry
from beam_datahub.component.messages.written import VALUE, columns_of
from beam_datahub.component.source import Block, Discovery, ReadRequest, Report, Source, Split
from beam_datahub.errors import DataHubError, InvalidValue, UnreadableData

HEADERS = pa.map_(pa.string(), pa.string())
MOMENT = pa.timestamp("us", "UTC")


class MessageSource(Source):
    """Reads messages. `metadata_types` are the columns that the option `metadata` can add, without their `_`."""

    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {}

    @property
    @abstractmethod
    def place(self) -> str:
        """The queue, stream or topic by its name, or several."""

    @abstractmethod
    def reach(self) -> Report:
        """What the connection alone can tell."""

    @abstractmethod
    def waiting(self) -> int | None:
        """How many messages wait, where the system tells; None: it does not. Raises ConnectorError."""

    @abstractmethod
    def looked(self, count: int) -> list[Any]:
        """The bodies of some messages; they stay where they are. Raises ConnectorError."""

    @abstractmethod
    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        """What a split gives, with the `wanted` columns of metadata at least. Raises ConnectorError."""

    @property
    def metadata(self) -> pa.Schema:
        """The columns of the metadata."""
        return pa.schema([pa.field(f"_{name}", self.metadata_types[name]) for name in self.options.metadata])

    def check(self) -> Report:
        lines = list(self.reach().lines)
        if not lines[-1][1]:
            return Report(tuple(lines))
        try:
            count = self.waiting()
            lines.append((self.place, True, "is there" if count is None else counted(count, "message")))
        except DataHubError as error:
            lines.append((self.place, False, error.reason))
        return Report(tuple(lines))

    def completed(self, declared: pa.Schema) -> pa.Schema:
        metadata = self.metadata
        values = [name for name in declared.names if name not in metadata.names]
        if self.options.format in ("text", "bytes") and values not in ([VALUE], []):
            raise InvalidValue(f"the format {self.options.format} has the one column '{VALUE}'", hint=f"declare `{VALUE}` alone")
        return pa.schema([*declared, *(each for each in metadata if each.name not in declared.names)])

    def discover(self) -> Discovery:
        # What is not there at all says so first.
        count = self.waiting()
        return Discovery(pa.schema([*self._discovered(), *self.metadata]), count)

    def estimate(self) -> Discovery:
        return Discovery(pa.schema([]), self.waiting())

    def _discovered(self) -> pa.Schema:
        options = self.options
        if options.format in ("text", "bytes"):
            return pa.schema([(VALUE, pa.string() if options.format == "text" else pa.binary())])
        if options.format == "csv":
            raise InvalidValue("messages of CSV do not tell their columns", hint="declare them in their order under `schema`")
        values = [value for value in self.looked(options.sample) if value]
        schema = self.columns_of(values)
        if not len(schema) and not options.metadata:
            raise UnreadableData(f"'{self.place}' holds no message yet", hint="declare the columns under `schema`")
        return schema

    def columns_of(self, values: list[Any]) -> pa.Schema:
        """The columns of some bodies. Raises UnreadableData, and the registry's errors."""
        options = self.options
        if options.format == "json":
            schema, _ = discovered(self.place, [lines_of(values) if values else b""], int(options.max_record_bytes))
            return schema
        registry = Registry(self.connection.registry, f"the format {options.format}")
        numbers = dict.fromkeys(number for value in values if (number := prefix_of(value)) is not None)
        fields: dict[str, pa.Field] = {}
        for number in numbers:
            for each in columns_of(registry.document(number)):
                fields.setdefault(each.name, each)
        return pa.schema(list(fields.values()))

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        reading = self.reading(request, split.name)
        left = request.limit
        for arrived in self.arrivals(split, request, self.metadata.names):
            if left is not None:
                arrived = _first(arrived, left)
                left -= len(arrived.values)
            if arrived.values or arrived.taken is not None:
                yield reading.block(arrived)
            if left is not None and left <= 0:
                return

    def reading(self, request: ReadRequest, place: str) -> MessageReading:
        """What makes blocks of one place's messages."""
        return MessageReading(request, self.decoder(value_request(request, self.metadata), place), self.metadata)

    def decoder(self, request: ReadRequest, place: str) -> Decoder:
        """What decodes the bodies of one place's messages."""
        options = self.options
        registry = self.connection.registry
        return decoder_of(options.format, request, place, int(options.max_record_bytes), registry, options.delimiter)


def _first(arrived: Arrived, count: int) -> Arrived:
    if len(arrived.values) <= count:
        return arrived
    numbers = None if arrived.numbers is None else arrived.numbers[:count]
    metadata = {name: values[:count] for name, values in arrived.metadata.items()}
    return Arrived(arrived.values[:count], metadata, arrived.first, numbers, arrived.taken)


def counted(count: int, what: str) -> str:
    """A number of things in words."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what[:-1]}ies" if what.endswith("y") else f"{count:,} {what}s"


def reported(what: str, ask: Callable[[], str]) -> Report:
    """What `reach` tells: what `ask` answers, or why it cannot."""
    try:
        return Report(((what, True, ask()),))
    except DataHubError as error:
        return Report(((what, False, error.reason),))
