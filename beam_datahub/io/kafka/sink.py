"""Kafka as a destination: bundles are staged as files, then one transaction sends them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_publish import Publication, Target
from beam_datahub.component.file_store import join, store_of, writing
from beam_datahub.component.messages.encoding import Encoding
from beam_datahub.component.messages.registry import Registry
from beam_datahub.component.messages.staging import StagedWriter
from beam_datahub.component.registry import register
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.errors import DataHubError, InvalidValue, LossyWrite, SourceMissing, TargetUnusable, UnknownColumn
from beam_datahub.io.kafka.connection import KafkaConnection, telling
from beam_datahub.io.kafka.options import KafkaWriteOptions
from beam_datahub.io.kafka.sending import send
from beam_datahub.io.kafka.source import counted, reached
from beam_datahub.schemas.avro import avro_schema
from beam_datahub.schemas.avro_columns import avro_of

_HEADERS = pa.map_(pa.string(), pa.string())


@register("sink", "kafka", since="0.1.0")
class KafkaSink(Sink):
    """Writes messages to a topic, all of a run in one transaction: readers of committed messages see all of them or none.

    The columns of the destination's `key` become the message's key: one as text, several as a JSON object.
    """

    Connection: ClassVar[type[Config]] = KafkaConnection
    Options = KafkaWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,),
        rejects=True,
        types=(
            "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
            "DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "JSON",
            "VARCHAR[]", "STRUCT(a BIGINT, b VARCHAR)", "STRUCT(a BIGINT)[]", "MAP(VARCHAR, BIGINT)",
        ),
    )  # fmt: skip
    examples = (
        Example(
            "JSON objects by key",
            {
                "connection": {"bootstrap_servers": "kafka:9092"},
                "topic": "paid-orders",
                "write_mode": "append",
                "key": ["order_id"],
            },
        ),
    )

    streams = True
    connection: KafkaConnection
    options: KafkaWriteOptions

    def check(self) -> Report:
        lines = list(self.reach().lines)
        if lines[-1][1]:
            try:
                with self.connection.administered() as cluster:
                    count = len(cluster.topics(self.options.topic)[self.options.topic].partitions)
                lines.append((self.options.topic, True, counted(count, "partition")))
            except SourceMissing as error:
                made = self.options.partitions is not None
                lines.append((self.options.topic, made, "will be made" if made else error.reason))
            except DataHubError as error:
                lines.append((self.options.topic, False, error.reason))
        return Report(tuple(lines))

    def reach(self) -> Report:
        return reached(self.connection)

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.topic),)

    def plan_write(self, request: WriteRequest) -> None:
        options, schema = self.options, request.schema
        if request.mode != WriteMode.APPEND:
            raise InvalidValue(
                f"a topic cannot be written with write_mode {request.mode}", hint="messages are only ever added: choose append"
            )
        wanted = {
            "headers": (options.headers, lambda kind: kind == _HEADERS, "MAP(VARCHAR, VARCHAR)"),
            "timestamp": (options.timestamp, lambda kind: pa.types.is_timestamp(kind) and kind.tz, "TIMESTAMP WITH TIME ZONE"),
            "tombstone": (options.tombstone, pa.types.is_boolean, "BOOLEAN"),
        }
        for option, (name, fits, kind) in wanted.items():
            if name is not None and name not in schema.names:
                raise UnknownColumn(name, schema.names)
            if name is not None and not fits(schema.field(name).type):
                raise InvalidValue(f"the column '{name}' of `{option}` is not {kind}", hint="compute one in a mapping before")
        values = self.encoding(request).values
        if options.format == "text" and len(values) != 1:
            raise InvalidValue(
                f"the format text writes one column, and there are {len(values)}: {', '.join(values.names)}",
                hint="keep one in a mapping before; those of `headers`, `tombstone`, `timestamp` and `key` do not count",
            )
        if options.format == "text" and pa.types.is_nested(values.field(0).type):
            raise LossyWrite(f"the column '{values.field(0).name}' is nested, which text does not keep")
        if options.format == "avro":
            avro_schema(values)
            Registry(self.connection.registry, "the format avro")

    def encoding(self, request: WriteRequest) -> Encoding:
        """How the rows of a run become messages."""
        return Encoding(self.options, request.schema, request.key)

    def prepare(self, request: WriteRequest) -> None:
        options = self.options
        with self.connection.administered() as cluster:
            try:
                cluster.topics(options.topic)
            except SourceMissing as error:
                if options.partitions is None:
                    raise TargetUnusable(
                        f"there is no topic '{options.topic}'", hint="make it, or say `partitions: 3` to have it made"
                    ) from error
                _make(cluster.client, options)
        self.schema_number(request)
        self.publication(request).prepare()

    def schema_number(self, request: WriteRequest) -> int | None:
        """The number of the rows' schema in the registry, for Avro. Raises ConnectorError."""
        if self.options.format != "avro":
            return None
        subject = self.options.registry_subject or f"{self.options.topic}-value"
        values = self.encoding(request).values
        return Registry(self.connection.registry, "the format avro").register(subject, avro_of(values, self.options.topic))

    def publication(self, request: WriteRequest) -> Publication:
        """Where a run is staged."""
        return Publication(Target(join(self.connection.staging, f"{self.options.topic}.kafka"), False, ".arrow"), request)

    def open(self, request: WriteRequest) -> Writer:
        return StagedWriter(self.publication(request), self.encoding(request), self.schema_number(request))

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        publication = self.publication(request)
        rows, size = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
        if receipts:
            rows, size = send(self.connection, self.options, request, receipts, rows, size)
        with publication.alone(), writing(publication.target.path):
            for receipt in receipts if request.epoch is not None else ():
                store_of(receipt.location).delete(receipt.location)
            publication.remove()
        return Committed(rows, size, (self.options.topic,))

    def abort(self, request: WriteRequest) -> None:
        publication = self.publication(request)
        with publication.alone():
            publication.remove()


def _make(client: Any, options: KafkaWriteOptions) -> None:
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    assert options.partitions is not None
    new = NewTopic(options.topic, num_partitions=options.partitions, replication_factor=options.replication_factor)
    with telling():
        try:
            client.create_topics([new], operation_timeout=30)[options.topic].result()
        except Exception as error:
            # Another run has made it meanwhile.
            if "TOPIC_ALREADY_EXISTS" not in str(error):
                raise
