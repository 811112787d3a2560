"""Sends all of a run, or of one epoch of a stream, in one transaction, which also notes that it has: sending it once more changes
nothing.

What notes it are offsets of a consumer group of the run's own, which are part of the transaction. Their metadata says what was
sent. The cluster forgets them after its `offsets.retention.minutes`, a week unless told otherwise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.component.staged_batches import staged
from beam_datahub.errors import DataHubError, Transient
from beam_datahub.io.kafka.connection import KafkaConnection, Told, kafka, meaning, telling
from beam_datahub.io.kafka.options import KafkaWriteOptions

_ATTEMPTS = 4


def send(
    connection: KafkaConnection,
    options: KafkaWriteOptions,
    request: WriteRequest,
    receipts: Sequence[Receipt],
    rows: int,
    size: int,
) -> tuple[int, int]:
    """Send what is staged, if that has not been done; gives how many messages and bytes are there. Raises ConnectorError."""
    kafka()
    told = Told()
    with connection.administered() as cluster:
        cluster.topics(options.topic)
    name = f"beam-datahub.{request.run_id}.{request.step}"
    with telling(told):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _Transaction(connection, options, name, request.epoch, told).send(receipts, rows, size)
            except _BeginAnewError as error:
                if attempt == _ATTEMPTS:
                    raise error.meaning from error
    raise AssertionError("the last attempt returns or raises")


class _BeginAnewError(Exception):
    """The transaction was taken back: another one may go through."""

    def __init__(self, meaning: DataHubError) -> None:
        super().__init__(meaning.reason)
        self.meaning = meaning


class _Transaction:
    """One attempt. A producer of the same name that is still at it elsewhere can send nothing any more once this one begins."""

    def __init__(self, connection: KafkaConnection, options: KafkaWriteOptions, name: str, epoch: int | None, told: Told) -> None:
        from confluent_kafka import Consumer, Producer, TopicPartition

        self._epoch = epoch
        self._options, self._connection, self._told = options, connection, told
        self._patience = float(options.transaction_timeout_seconds)
        self._mark = TopicPartition(options.topic, 0)
        self._consumer = Consumer(
            connection.settings(**{"group.id": name, "enable.auto.commit": False, "isolation.level": "read_committed"})
        )
        self._failed: list[Any] = []
        self._producer = Producer(
            connection.settings(
                error_cb=told,
                **{
                    "transactional.id": name,
                    "transaction.timeout.ms": options.transaction_timeout_seconds * 1000,
                    "compression.type": options.compression,
                    "partitioner": options.partitioner,
                    "message.max.bytes": int(options.max_message_bytes),
                    "linger.ms": 50,
                    "batch.size": 1_000_000,
                    "queue.buffering.max.messages": 500_000,
                    "queue.buffering.max.kbytes": 256 * 1024,
                    "delivery.report.only.error": True,
                },
            )
        )

    def send(self, receipts: Sequence[Receipt], rows: int, size: int) -> tuple[int, int]:
        """All or nothing; what was sent before counts."""
        from confluent_kafka import KafkaException

        try:
            self._producer.init_transactions(self._connection.timeout_seconds)
            done = self._done()
            if done is not None:
                return done
            self._producer.begin_transaction()
            try:
                for batch in staged(receipts):
                    self._produce(batch)
                self._note(rows, size)
                self._commit()
            except KafkaException as error:
                self._take_back(error)
                self._producer.poll(0)
                if self._failed:
                    # That a message was refused says more than that the transaction cannot go on.
                    raise self._refusal() from error
                raise
            except BaseException:
                with suppress(KafkaException):
                    self._producer.abort_transaction(10)
                raise
            return rows, size
        finally:
            self._consumer.close()
            with suppress(KafkaException):
                self._producer.close(1.0)  # type: ignore[call-arg]

    def _done(self) -> tuple[int, int] | None:
        (found,) = self._consumer.committed([self._mark], timeout=self._connection.timeout_seconds)
        if found.error is not None:
            raise meaning(found.error)
        if not found.metadata:
            return None
        facts = json.loads(found.metadata)
        # A stream's mark tells of its newest epoch.
        return (int(facts["rows"]), int(facts["bytes"])) if facts.get("epoch") == self._epoch else None

    def _note(self, rows: int, size: int) -> None:
        from confluent_kafka import TopicPartition

        facts = {"rows": rows, "bytes": size, **({} if self._epoch is None else {"epoch": self._epoch})}
        mark = TopicPartition(self._mark.topic, 0, rows, json.dumps(facts))
        self._producer.send_offsets_to_transaction([mark], self._consumer.consumer_group_metadata(), self._patience)

    def _produce(self, batch: pa.RecordBatch) -> None:
        producer, topic = self._producer, self._options.topic
        values, keys, headers, moments = (column.to_pylist() for column in batch.columns)
        plain = not any(headers) and not any(moment is not None for moment in moments)
        for i, (value, key) in enumerate(zip(values, keys, strict=True)):
            while True:
                try:
                    if plain:
                        producer.produce(topic, value, key, on_delivery=self._lost)
                    else:
                        moment = moments[i]
                        producer.produce(
                            topic,
                            value,
                            key,
                            on_delivery=self._lost,
                            timestamp=0 if moment is None else moment,
                            headers=headers[i] or None,
                        )
                    break
                except BufferError:
                    # The queue is full: let the brokers take some of it.
                    self._wait()
        self._wait(0)

    def _wait(self, seconds: float = 0.5) -> None:
        self._producer.poll(seconds)
        if self._failed:
            raise self._refusal()

    def _refusal(self) -> DataHubError:
        return meaning(self._failed[0], f"the topic '{self._options.topic}' takes no messages")

    def _lost(self, error: Any, message: Any) -> None:
        if error is not None and error.name() not in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            self._failed.append(error)

    def _commit(self) -> None:
        from confluent_kafka import KafkaException

        end = time.monotonic() + self._patience
        while True:
            try:
                self._producer.commit_transaction(self._patience)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > end:
                    raise

    def _take_back(self, error: Any) -> None:
        """Abort the transaction where that is possible. Raises _BeginAnewError where another may go through."""
        from confluent_kafka import KafkaException

        first = error.args[0]
        if first.fatal():
            return
        with suppress(KafkaException):
            self._producer.abort_transaction(30)
        if first.txn_requires_abort():
            found = meaning(first)
            if isinstance(found, Transient) or found.code == "DH299":
                raise _BeginAnewError(found) from error
