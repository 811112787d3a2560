"""Redis streams as a source: what they hold when the run starts, from where the last run ended or as a member of a group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.decoding import Decoder
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import BATCH_BYTES, Block, Follower, Partition, ReadRequest, Report, Split
from beam_datahub.errors import InvalidValue, SourceMissing
from beam_datahub.io.redis_stream.connection import RedisConnection
from beam_datahub.io.redis_stream.entries import Entry, claimed, delivered, follow_group, last_id, pages
from beam_datahub.io.redis_stream.fields import FieldsDecoder
from beam_datahub.io.redis_stream.following import RedisFollower

_ID = re.compile(r"\d+(-\d+)?")
_AT_ONCE, _MOST = 2_000, 100_000


class RedisStreamReadOptions(MessageReadOptions):
    """Which entries are read, and how they become records."""

    stream: str | tuple[str, ...]
    """The key of the stream, or of several."""

    format: Literal["fields", "json", "avro", "protobuf", "csv", "text", "bytes"] = "fields"  # type: ignore[assignment]
    """What an entry is: its `fields` are the columns; or one of them, `field`, holds all: a JSON object; Avro or Protobuf by the
    connection's `registry`; a CSV record without a header, whose columns the `schema` tells; or text or bytes, which make the
    column `value`."""

    field: str = "value"
    """The field that holds the record, for formats other than `fields`."""

    start: str = "earliest"
    """Where the first run begins: `earliest`, `latest`, or behind an id such as `1735689600000-0`. A group that is there has its
    own place."""

    group: str | None = None
    """Read as a member of this consumer group, which is made where it is not there: others in the group get other entries, and
    an entry is acknowledged once it is published. When left out, each run goes on from its own position."""

    consumer: str = "beam-datahub"
    """What we are called in the group; each integration that reads from it needs a name of its own."""

    claim_idle_seconds: int | None = Field(default=None, gt=0)
    """Take over what other members of the group have kept that long without acknowledging it; when left out, nothing."""

    metadata: tuple[Literal["id", "timestamp", "stream", "headers", "delivery_count"], ...] = ()
    """What else of an entry becomes columns: `id` as `_id`, the time in it as `_timestamp`, the key as `_stream`, its other
    fields as the map `_headers`, and how often a group has delivered it as `_delivery_count`."""

    @model_validator(mode="after")
    def _sound(self) -> RedisStreamReadOptions:
        if not self.streams:
            raise ValueError("names no stream")
        if self.start not in ("earliest", "latest") and not _ID.fullmatch(self.start):
            raise ValueError(f"`start` is `earliest`, `latest` or an id, not '{self.start}'")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The keys of the streams."""
        return (self.stream,) if isinstance(self.stream, str) else self.stream


@register("source", "redis_stream", since="0.1.0")
class RedisStreamSource(MessageSource):
    """Reads what streams hold when the run starts; the next run goes on from there. What cannot be decoded is rejected."""

    Connection: ClassVar[type[Config]] = RedisConnection
    Options = RedisStreamReadOptions
    capabilities = SourceCapabilities(
        columns=True, splits="stream", resumes="id", acknowledges=Acknowledging.ANYWHERE, unbounded=True
    )
    examples = (
        Example("Fields as columns", {"connection": {"host": "redis"}, "stream": "orders", "schema": {"order_id": "bigint"}}),
        Example(
            "JSON in one field, shared with other members of a group",
            {
                "connection": {"host": "redis"},
                "stream": "orders",
                "format": "json",
                "field": "body",
                "group": "warehouse",
                "metadata": ["id", "timestamp"],
            },
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "stream": pa.string(),
        "headers": HEADERS,
        "delivery_count": pa.int64(),
    }

    connection: RedisConnection
    options: RedisStreamReadOptions

    def __init__(self, connection: RedisConnection, options: RedisStreamReadOptions) -> None:
        super().__init__(connection, options)
        every = type(self).capabilities
        if options.group is None:
            own = replace(every, acknowledges=None)
        else:
            # Where a run was killed, others may take over what it had published and not acknowledged.
            own = replace(every, resumes=None, unbounded=False, delivery=Delivery.AT_LEAST_ONCE)
        self.capabilities = own  # type: ignore[misc]

    @property
    def place(self) -> str:
        return ", ".join(self.options.streams)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(map(self.connection.dataset, self.options.streams))

    def waiting(self) -> int:
        with self.connection.connected(patient=False) as client:
            return sum(self._facts(client, stream)["length"] for stream in self.options.streams)

    def _facts(self, client: Any, stream: str) -> dict[str, Any]:
        if not client.exists(stream):
            raise SourceMissing(f"there is no stream '{stream}'", hint="look at `stream` and `database`")
        found: dict[str, Any] = client.xinfo_stream(stream)
        return found

    def looked(self, count: int) -> list[Any]:
        found: list[Any] = []
        with self.connection.connected(patient=False) as client:
            for stream in self.options.streams:
                share = max(1, count // len(self.options.streams))
                newest: Any = client.xrevrange(stream, count=share)
                found += [self._body(fields) for _, fields in newest]
        return found

    def columns_of(self, values: list[Any]) -> pa.Schema:
        if self.options.format != "fields":
            return super().columns_of(values)
        names = dict.fromkeys(name for fields in values for name in fields)
        return pa.schema([(name.decode(errors="replace"), pa.string()) for name in names])

    def decoder(self, request: ReadRequest, place: str) -> Decoder:
        if self.options.format == "fields":
            return FieldsDecoder(request, place, int(self.options.max_record_bytes))
        return super().decoder(request, place)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        with self.connection.connected() as client:
            for stream in self.options.streams:
                end = last_id(self._facts(client, stream))
                if self.options.group is not None:
                    # Where a group is, the server knows.
                    yield Split(stream, detail=("group", end))
                    continue
                begin = str(request.reached[stream]) if stream in request.reached else self._start(end, bool(request.reached))
                yield Split(stream, detail=(begin, end), reached={stream: end})

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        if self.options.group is not None:
            raise InvalidValue("a stream goes on from positions of its own, not by a group", hint="leave out `group`")
        for split in self.splits(request):
            yield Partition(split.name, split.detail[0])

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        reading, wanted = self.reading(request, partition.name), self.metadata.names

        def block(some: list[Entry], first: int) -> Block:
            return reading.block(self._arrived(partition.name, some, first, wanted, takes=False))

        return RedisFollower(self.connection, partition.name, str(partition.position), block)

    def _start(self, end: str, later: bool) -> str:
        """Where the first run begins; a stream that came `later` is read from its beginning."""
        if later or self.options.start == "earliest":
            return "0-0"
        return end if self.options.start == "latest" else self.options.start

    def position(self, partition: str, text: str) -> str:
        partition = partition or (self.options.streams[0] if len(self.options.streams) == 1 else "")
        if partition not in self.options.streams:
            raise InvalidValue(f"'{partition}' is no stream of the source", hint="name one: --partition STREAM")
        if not _ID.fullmatch(text):
            raise InvalidValue(f"'{text}' is no id of an entry", hint="such as 1735689600000-0")
        return text if "-" in text else f"{text}-0"

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        begin, end = split.detail
        count = _AT_ONCE if request.limit is None else min(_AT_ONCE, request.limit)
        with self.connection.connected() as client:
            if begin != "group":
                entries = pages(client, split.name, begin, end, count)
            elif request.takes:
                follow_group(client, self.options, split.name)
                entries = delivered(client, self.options, split.name, end, count)
            else:
                entries = pages(client, split.name, claimed(client, self.options, split.name, end), end, count)
            first, some, size = 0, list[Entry](), 0
            for page in entries:
                some += page
                size += sum(len(value) for _, fields, _ in page for value in (fields or {}).values())
                if size >= min(request.batch_bytes, BATCH_BYTES) or len(some) >= _MOST or request.limit is not None:
                    yield self._arrived(split.name, some, first, wanted, request.takes and begin == "group")
                    first, some, size = first + len(some), [], 0
            if some:
                yield self._arrived(split.name, some, first, wanted, request.takes and begin == "group")

    def _arrived(self, stream: str, some: list[Entry], first: int, wanted: Sequence[str], takes: bool) -> Arrived:
        taken = {"stream": stream, "ids": [name.decode() for name, _, _ in some]} if takes else None
        metadata: dict[str, Sequence[Any]] = {}
        # What was removed from the stream after a member got it has no fields any more.
        here = [each for each in some if each[1] is not None]
        for name in wanted:
            metadata[name] = [self._known(name, stream, entry) for entry in here]
        return Arrived([self._body(fields) for _, fields, _ in here], metadata, first, taken=taken)

    def _body(self, fields: Mapping[bytes, bytes] | None) -> Any:
        if self.options.format == "fields":
            return fields or {}
        return (fields or {}).get(self.options.field.encode())

    def _known(self, name: str, stream: str, entry: Entry) -> Any:
        if name == "_id":
            return entry[0].decode()
        if name == "_timestamp":
            # Milliseconds stand in front; a column of microseconds takes them as such.
            return int(entry[0].split(b"-")[0]) * 1000
        if name == "_stream":
            return stream
        if name == "_delivery_count":
            return entry[2]
        used = set() if self.options.format == "fields" else {self.options.field.encode()}
        others = [(k.decode(errors="replace"), v.decode(errors="replace")) for k, v in (entry[1] or {}).items() if k not in used]
        return [] if self.options.format == "fields" else others

    def acknowledge(self, taken: Sequence[Any]) -> None:
        assert self.options.group is not None
        with self.connection.connected() as client:
            for each in taken:
                ids = each["ids"]
                for start in range(0, len(ids), 1_000):
                    client.xack(each["stream"], self.options.group, *ids[start : start + 1_000])
