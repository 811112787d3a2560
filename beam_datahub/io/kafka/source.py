"""Kafka as a source: what its topics hold when the run starts, from where the last run ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from beam_datahub.component.arrow_blocks import first_of_each_row
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.files import record_batch
from beam_datahub.component.json_blocks import discovered
from beam_datahub.component.messages.decoders import decoder_of
from beam_datahub.component.messages.decoding import Decoder, lines_of
from beam_datahub.component.messages.registry import Registry
from beam_datahub.component.messages.written import VALUE, columns_of
from beam_datahub.component.registry import register
from beam_datahub.component.source import (
    Block,
    Discovery,
    Follower,
    Origin,
    ReadRequest,
    Report,
    Source,
    Split,
)
from beam_datahub.component.source import (
    Partition as Followed,
)
from beam_datahub.errors import DataHubError, InvalidValue, UnreadableData
from beam_datahub.io.kafka.connection import Cluster, KafkaConnection
from beam_datahub.io.kafka.consuming import consumed
from beam_datahub.io.kafka.following import KafkaFollower
from beam_datahub.io.kafka.messages import Messages, metadata_schema
from beam_datahub.io.kafka.offsets import Part, Partition, bounds, key_of, partitions, parts
from beam_datahub.io.kafka.options import KafkaReadOptions
from beam_datahub.io.kafka.originals import with_metadata
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.rejection import rejections


@register("source", "kafka", since="0.1.0")
class KafkaSource(Source):
    """Reads what topics hold when the run starts, and the next run goes on from there; a stream follows them. What cannot be
    decoded is rejected.
    """

    Connection: ClassVar[type[Config]] = KafkaConnection
    Options = KafkaReadOptions
    capabilities = SourceCapabilities(columns=True, splits="partition", unbounded=True, resumes="offset", seams=True)
    examples = (
        Example("JSON objects", {"connection": {"bootstrap_servers": "kafka-1:9092,kafka-2:9092"}, "topic": "orders"}),
        Example(
            "Avro by a registry, with keys and times",
            {
                "connection": {"bootstrap_servers": "kafka:9092", "registry": {"url": "http://registry:8081"}},
                "topic": "orders",
                "format": "avro",
                "metadata": ["key", "timestamp"],
            },
        ),
    )

    connection: KafkaConnection
    options: KafkaReadOptions

    def check(self) -> Report:
        lines = list(self.reach().lines)
        if not lines[-1][1]:
            return Report(tuple(lines))
        try:
            with self.connection.administered() as cluster:
                found, ends = self._ends(cluster)
                count = sum(high - low for low, high in ends.values())
                names = ", ".join(dict.fromkeys(topic for topic, _ in found))
                lines.append((names, True, f"{counted(len(found), 'partition')}, at most {counted(count, 'message')}"))
        except DataHubError as error:
            lines.append((", ".join(self.options.topics) or str(self.options.pattern), False, error.reason))
        return Report(tuple(lines))

    def reach(self) -> Report:
        return reached(self.connection)

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(map(self.connection.dataset, self.options.topics))

    @property
    def _metadata(self) -> pa.Schema:
        return metadata_schema(self.options.metadata, self.options.key_format)

    def completed(self, declared: pa.Schema) -> pa.Schema:
        added = [field for field in self._metadata if field.name not in declared.names]
        values = [name for name in declared.names if name not in self._metadata.names]
        if self.options.format in ("text", "bytes") and values not in ([VALUE], []):
            raise InvalidValue(f"the format {self.options.format} has the one column '{VALUE}'", hint=f"declare `{VALUE}` alone")
        return pa.schema([*declared, *added])

    def discover(self) -> Discovery:
        with self.connection.administered() as cluster:
            found, ends = self._ends(cluster)
        rows = sum(high - low for low, high in ends.values())
        return Discovery(pa.schema([*self._discovered(found, ends), *self._metadata]), rows, partitions=len(found))

    def _discovered(self, found: list[Partition], ends: dict[Partition, tuple[int, int]]) -> pa.Schema:
        options = self.options
        if options.format in ("text", "bytes"):
            return pa.schema([(VALUE, pa.string() if options.format == "text" else pa.binary())])
        if options.format == "csv":
            raise InvalidValue("messages of CSV do not tell their columns", hint="declare them in their order under `schema`")
        if options.format in ("avro", "protobuf"):
            registry = Registry(self.connection.registry, f"the format {options.format}")
            fields: dict[str, pa.Field] = {}
            for topic in dict.fromkeys(topic for topic, _ in found):
                for field in columns_of(registry.latest(f"{topic}-value")):
                    fields.setdefault(field.name, field)
            return pa.schema(list(fields.values()))
        filled = [each for each in found if ends[each][1] > ends[each][0]]
        share = max(1, options.sample // max(1, len(filled)))
        samples, names = [], ", ".join(dict.fromkeys(topic for topic, _ in found))
        for topic, number in filled:
            low, high = ends[topic, number]
            part = Part(topic, number, max(low, high - share), high)
            for raw in consumed(self.connection, without_traces(options), part, share):
                values = [value for message in raw if (value := message.value())]
                samples.append(lines_of(values) if values else b"")
        schema, _ = discovered(names, samples, int(options.max_record_bytes))
        if not len(schema) and not options.metadata:
            raise UnreadableData(f"'{names}' holds no message yet", hint="declare the columns under `schema`")
        return schema

    def estimate(self) -> Discovery:
        # Who only plans does not wait long for a cluster that is away; the run itself does.
        with self.connection.administered(min(3, self.connection.connect_timeout_seconds)) as cluster:
            found, ends = self._ends(cluster)
        return Discovery(pa.schema([]), sum(high - low for low, high in ends.values()), partitions=len(found))

    def _ends(self, cluster: Cluster) -> tuple[list[Partition], dict[Partition, tuple[int, int]]]:
        """The partitions, and where each begins and ends."""
        found = partitions(cluster, self.options)
        return found, bounds(cluster, found, committed=self.options.isolation == "committed")

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        with self.connection.administered() as cluster:
            found = parts(cluster, self.options, request.reached)
        idle: dict[str, Any] = {}
        for part in found:
            position = {key_of((part.topic, part.partition), self.options): part.end}
            if part.start < part.end:
                yield Split(part.place, part.start, part.end, part, position)
            else:
                idle |= position
        if idle:
            # Positions are kept also of what has nothing new.
            yield Split("nothing new", reached=idle)

    def position(self, partition: str, text: str) -> int:
        topic, _, number = partition.rpartition("/")
        several = self.options.pattern is not None or len(self.options.topics) > 1
        if not number.isdigit() or bool(topic) != several or (self.options.topics and topic and topic not in self.options.topics):
            form = "--partition TOPIC/NUMBER" if several else "--partition NUMBER"
            raise InvalidValue(f"'{partition}' is no partition of the topic", hint=f"name one: {form}")
        if not text.isdigit():
            raise InvalidValue(f"'{text}' is no offset", hint="a whole number from 0 on")
        return int(text)

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        if split.detail is None:
            return
        part: Part = split.detail
        reading = _Reading(self, part, request)
        chunks = consumed(self.connection, self.options, part, request.limit, request.batch_bytes)
        if request.limit is None and request.threads > 1:
            yield from read_ahead(chunks, reading.block, threads=1)
        else:
            yield from map(reading.block, chunks)

    def partitions(self, request: ReadRequest) -> Iterator[Followed]:
        with self.connection.administered() as cluster:
            found = parts(cluster, self.options, request.reached)
        for part in found:
            yield Followed(key_of((part.topic, part.partition), self.options), part.start, part)

    def follow(self, partition: Followed, request: ReadRequest) -> Follower:
        part = replace(partition.detail, start=int(partition.position))
        seam = None if partition.seam is None else int(partition.seam)
        return KafkaFollower(self.connection, self.options, part, _Reading(self, part, request).block, seam)

    def decoder(self, request: ReadRequest, place: str) -> Decoder:
        """What decodes the values of one partition."""
        options = self.options
        registry = self.connection.registry
        return decoder_of(options.format, request, place, int(options.max_record_bytes), registry, options.delimiter)


class _Reading:
    """Makes blocks of one partition's messages."""

    def __init__(self, source: KafkaSource, part: Part, request: ReadRequest) -> None:
        self._part, self._wanted, self._options = part, request.projected, source.options
        added = metadata_schema(source.options.metadata, source.options.key_format)
        self._added = pa.schema([field for field in added if field.name in request.columns])
        self._all_added = added
        values = pa.schema([field for field in request.schema if field.name not in added.names])
        inner = replace(request, schema=values, columns=tuple(name for name in request.columns if name in values.names))
        self._decoder = source.decoder(inner, part.place)

    def block(self, raw: list[Any]) -> Block:
        """The block of some messages. A position in it is how far an offset is behind that of the first message."""
        messages = Messages.of(self._part.topic, self._part.partition, raw)
        found = self._decoder.decode(messages.values)
        columns = dict(zip(found.batch.schema.names, found.batch.columns, strict=True))
        added, bad_keys = messages.columns(self._added)
        rows, rejected = found.rows, found.rejected
        for more in (bad_keys, self._without_value(messages), self._too_long(messages)):
            if more is not None:
                rejected = more if rejected is None else pa.concat_tables([rejected, more], promote_options="default")
        if rejected is not found.rejected:
            assert rejected is not None
            rejected = first_of_each_row(rejected)
            fine = np.ones(len(raw), dtype=bool)
            fine[rejected["row"].to_numpy()] = False
            kept = np.arange(len(raw)) if rows is None else rows.to_numpy()
            mask = pa.array(fine[kept])
            columns = {name: array.filter(mask) for name, array in columns.items()}
            rows = pa.array(kept[fine[kept]])
        if rows is not None:
            added = {name: array.take(rows) for name, array in added.items()}
        count = len(raw) if rows is None else len(rows)
        places = messages.places
        if places is not None:
            rows = places if rows is None else places.take(rows)
            if rejected is not None:
                rejected = rejected.set_column(0, rejected.schema.field(0), places.take(rejected["row"].combine_chunks()))

        def originals(wanted: Any) -> list[str]:
            indices = wanted if places is None else np.searchsorted(places.to_numpy(), wanted).tolist()
            return [with_metadata(found.original(i), messages, i, self._all_added) for i in indices]

        every = {**columns, **added}
        batch = record_batch([every[name] for name in self._wanted.names], self._wanted, count)
        origin = Origin(self._part.place, first_row=int(messages.offsets[0]))
        return Block(batch, origin, rejected, rows, originals, drifted=found.drifted)

    def _without_value(self, messages: Messages) -> pa.Table | None:
        if self._options.tombstones == "keep" or None not in messages.values:
            return None
        rows = [i for i, value in enumerate(messages.values) if value is None]
        return rejections(rows, "malformed", "the message has no value: it is a tombstone")

    def _too_long(self, messages: Messages) -> pa.Table | None:
        limit = int(self._options.max_record_bytes)
        values = messages.values
        filled = values if all(values) else [value for value in values if value]
        if max(map(len, filled), default=0) <= limit:  # type: ignore[arg-type]
            return None
        rows = [i for i, value in enumerate(values) if value is not None and len(value) > limit]
        return rejections(rows, "malformed", f"the record is longer than {limit} bytes") if rows else None


def without_traces(options: KafkaReadOptions) -> KafkaReadOptions:
    """Options to look at messages with, which leave nothing behind."""
    return options.model_copy(update={"commit_offsets": False, "missing": "skip"})


def reached(connection: KafkaConnection) -> Report:
    """What `check` tells of a cluster that answers."""
    try:
        with connection.administered() as cluster:
            names = cluster.topics()
            brokers = len(cluster.client.list_topics(timeout=10).brokers)
        return Report((("cluster", True, f"{counted(brokers, 'broker')}, {counted(len(names), 'topic')}"),))
    except DataHubError as error:
        return Report((("cluster", False, error.reason),))


def counted(count: int, what: str) -> str:
    """A number of things in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
