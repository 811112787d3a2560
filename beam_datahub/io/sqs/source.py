"""Amazon SQS as a source: what queues hold when the run starts, or what comes, deleted once it is published."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import hold, let_go
from beam_datahub.component.messages.following import Lent, QueueFollower
from beam_datahub.component.messages.lease import Lease, check_leases, end_leases
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.polling import PolledIntake
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import Block, Discovery, Follower, Partition, ReadRequest, Report, Split
from beam_datahub.errors import Transient
from beam_datahub.io.sqs.connection import SqsConnection, telling

# What one call of the service can take, and how many messages a stream asks for ahead.
_CALL, _AHEAD = 10, 1_000
_COUNTS = ("ApproximateNumberOfMessages",)


class SqsReadOptions(MessageReadOptions):
    """Which messages are read, and how they become records."""

    queue: str | tuple[str, ...]
    """The name or the URL of the queue, or of several."""

    encoding: Literal["text", "base64"] = "text"
    """What the body is in: SQS takes only text, so that `avro`, `protobuf` and `bytes` travel as `base64`."""

    lease_seconds: int = Field(default=120, ge=3, le=43_200)
    """How long messages are hidden from others (their visibility timeout); it is renewed while the run goes on. What a killed run
    has taken comes again after that."""

    wait_seconds: int = Field(default=2, ge=0, le=20)
    """How long the service looks for messages before it says that there are none."""

    maximum_messages: int = Field(default=100_000, gt=0, le=120_000)
    """How many messages of each queue a run takes at most; a FIFO queue gives 20,000. The others are for the next one.
    In a stream, how many are taken and not published at most."""

    metadata: tuple[Literal["id", "timestamp", "queue", "headers", "delivery_count", "group"], ...] = ()
    """What else of a message becomes columns: its id as `_id`, the time it was sent at as `_timestamp`, its attributes as the map
    `_headers`, how often it has been received as `_delivery_count`, and its message group as `_group`."""

    @model_validator(mode="after")
    def _sound(self) -> SqsReadOptions:
        if not self.queues:
            raise ValueError("names no queue")
        return self

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues."""
        return (self.queue,) if isinstance(self.queue, str) else self.queue


@register("source", "sqs", since="0.1.0")
class SqsSource(MessageSource):
    """Takes what queues hold when the run starts; a stream follows what comes. What cannot be decoded is rejected."""

    Connection: ClassVar[type[Config]] = SqsConnection
    Options = SqsReadOptions
    capabilities = SourceCapabilities(
        columns=True,
        splits="queue",
        acknowledges=Acknowledging.ANYWHERE,
        delivery=Delivery.AT_LEAST_ONCE,
        unbounded=True,
    )
    examples = (
        Example(
            "JSON objects with their ids",
            {"connection": {"region": "eu-central-1"}, "queue": "orders", "metadata": ["id", "timestamp"]},
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "queue": pa.string(),
        "headers": HEADERS,
        "delivery_count": pa.int64(),
        "group": pa.string(),
    }

    connection: SqsConnection
    options: SqsReadOptions

    @property
    def place(self) -> str:
        return ", ".join(self.options.queues)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(self.connection.dataset(queue.rpartition("/")[2]) for queue in self.options.queues)

    def waiting(self) -> int:
        with self.connection.client() as client:
            return sum(self._count(client, self.connection.url(client, queue)) for queue in self.options.queues)

    def _count(self, client: Any, url: str) -> int:
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
        return sum(int(found.get(name, 0)) for name in _COUNTS)

    def estimate(self) -> Discovery:
        # It could tell nothing that a plan goes by, and who only plans does not wait for it.
        return Discovery(pa.schema([]))

    def looked(self, count: int) -> list[Any]:
        found: list[Any] = []
        with self.connection.client() as client:
            for queue in self.options.queues:
                url = self.connection.url(client, queue)
                some: list[dict[str, Any]] = []
                try:
                    while len(found) + len(some) < count and (more := self._receive(client, url)):
                        some += more
                finally:
                    self._set_visibility(client, url, [each["ReceiptHandle"] for each in some], 0)
                found += [self._body(each) for each in some]
        return found[:count]

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        for queue in self.options.queues:
            yield Split(queue, detail=uuid4().hex)

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        for queue in self.options.queues:
            yield Partition(queue, request.reached.get(queue, ""))

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        queue = partition.name
        reading, wanted = self.reading(request, queue), self.metadata.names

        def block(some: list[dict[str, Any]], first: int) -> Block:
            return reading.block(self._arrived(queue, some, first, wanted, None))

        most, patience = self.options.maximum_messages, self.connection.timeout_seconds
        return QueueFollower(partition.position, lambda: self._intake(queue, most, patience), block, most, patience)

    def _intake(self, queue: str, most: int, patience: float) -> PolledIntake:
        """What asks one queue on and on. Raises ConnectorError."""
        with ExitStack() as stack:
            client = stack.enter_context(self.connection.client())
            pool = stack.enter_context(ThreadPoolExecutor(self.connection.calls_at_once))
            url = self.connection.url(client, queue)
            self._count(client, url)
            seconds = self.options.lease_seconds
            lease = Lease(queue, seconds, self._visible(url, seconds), self._visible(url, 0))
            busy = False

            def ask(count: int) -> list[Lent]:
                # One call finds out whether there is something; where there is much, there are more of them.
                nonlocal busy
                calls = min(self.connection.calls_at_once, -(-count // _CALL)) if busy else 1
                with telling(self.connection.place):
                    found = [each for part in pool.map(lambda _: self._receive(client, url), range(calls)) for each in part]
                busy = len(found) >= calls * _CALL // 2
                return [_lent(each) for each in found]

            def delete(tokens: Sequence[str]) -> None:
                with telling(self.connection.place):
                    parts = [tokens[start : start + 1_000] for start in range(0, len(tokens), 1_000)]
                    list(pool.map(partial(self._delete, client, url), parts))

            closes = stack.pop_all().close
            return PolledIntake(ask, delete, lease, ahead=_AHEAD, most=most, patience_seconds=patience, closes=closes)

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        name, options = str(split.detail), self.options
        with self.connection.client() as client, ThreadPoolExecutor(self.connection.calls_at_once) as pool:
            url = self.connection.url(client, split.name)
            lease = Lease(split.name, options.lease_seconds, self._visible(url, options.lease_seconds), self._visible(url, 0))
            # The run's end gives the messages back, unless that is here.
            hold(name, lease)
            # What comes meanwhile is for the next run. The count is approximate: what it misses is so, too.
            left = options.maximum_messages if request.limit is None else min(options.maximum_messages, request.limit)
            there = max(self._count(client, url), 1)
            first, size, given = 0, 0, 0
            some: list[dict[str, Any]] = []
            try:
                while left > 0 and given < there:
                    calls = 1 if request.limit is not None else min(self.connection.calls_at_once, -(-left // _CALL))
                    found = [each for part in pool.map(lambda _: self._receive(client, url), range(calls)) for each in part]
                    lease.add([each["ReceiptHandle"] for each in found])
                    some += found
                    given, left = given + len(found), left - len(found)
                    size += sum(len(each["Body"]) for each in found)
                    if some and (size >= request.batch_bytes or not found):
                        yield self._arrived(split.name, some, first, wanted, name if request.takes else None)
                        first, size, some = first + len(some), 0, []
                    if not found:
                        break
                if some:
                    yield self._arrived(split.name, some, first, wanted, name if request.takes else None)
            finally:
                if not request.takes:
                    let_go(name)

    def _receive(self, client: Any, url: str) -> list[dict[str, Any]]:
        options = self.options
        found: list[dict[str, Any]] = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=_CALL,
            WaitTimeSeconds=options.wait_seconds,
            VisibilityTimeout=options.lease_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        return found

    def _visible(self, url: str, seconds: int) -> Any:
        def say(handles: Sequence[str]) -> None:
            with self.connection.client() as client:
                self._set_visibility(client, url, handles, seconds)

        return say

    def _set_visibility(self, client: Any, url: str, handles: Sequence[str], seconds: int) -> None:
        failed = _in_batches(
            handles,
            lambda entries: client.change_message_visibility_batch(
                QueueUrl=url, Entries=[{**each, "VisibilityTimeout": seconds} for each in entries]
            ),
        )
        if failed and seconds:
            raise Transient(f"{len(failed)} messages are not ours any more: {failed[0]}")

    def _body(self, message: Mapping[str, Any]) -> bytes:
        text = str(message["Body"])
        if self.options.encoding == "base64":
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                # It is decoded as it is, and rejected with its own words.
                return text.encode()
        return text.encode()

    def _arrived(self, queue: str, some: list[dict[str, Any]], first: int, wanted: Sequence[str], lease: str | None) -> Arrived:
        taken = None
        if lease is not None:
            taken = {"lease": lease, "queue": queue, "handles": [each["ReceiptHandle"] for each in some]}
        metadata = {name: [_known(name, queue, each) for each in some] for name in wanted}
        return Arrived([self._body(each) for each in some], metadata, first, taken=taken)

    def hold(self, taken: Sequence[Any]) -> None:
        check_leases(taken)

    def acknowledge(self, taken: Sequence[Any]) -> None:
        with self.connection.client() as client:
            for queue in dict.fromkeys(each["queue"] for each in taken):
                url = self.connection.url(client, queue)
                handles = [handle for each in taken if each["queue"] == queue for handle in each["handles"]]
                with ThreadPoolExecutor(self.connection.calls_at_once) as pool:
                    parts = [handles[start : start + 1_000] for start in range(0, len(handles), 1_000)]
                    list(pool.map(partial(self._delete, client, url), parts))
        end_leases(taken)

    def _delete(self, client: Any, url: str, handles: Sequence[str]) -> None:
        # What others have got meanwhile cannot be deleted any more, and comes again: that is for them to settle.
        _in_batches(handles, lambda entries: client.delete_message_batch(QueueUrl=url, Entries=entries))


def _lent(message: dict[str, Any]) -> Lent:
    again = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) > 1
    return Lent(message, message["ReceiptHandle"], len(message["Body"]), message["MessageId"], again)


def _in_batches(handles: Sequence[str], call: Any) -> list[str]:
    """Make calls for ten handles each; gives why some failed that no repetition mends. Raises Transient for the others."""
    failed: list[str] = []
    for start in range(0, len(handles), _CALL):
        left = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles[start : start + _CALL])]
        for _ in range(4):
            answer = call(left).get("Failed", [])
            failed += [f"{each.get('Code')}: {each.get('Message', '')}" for each in answer if each.get("SenderFault", True)]
            again = {each["Id"] for each in answer if not each.get("SenderFault", True)}
            left = [each for each in left if each["Id"] in again]
            if not left:
                break
        if left:
            raise Transient("the service failed on some messages again and again")
    return failed


def _known(name: str, queue: str, message: Mapping[str, Any]) -> Any:
    system = message.get("Attributes", {})
    if name == "_id":
        return message["MessageId"]
    if name == "_timestamp":
        sent = system.get("SentTimestamp")
        return None if sent is None else datetime.fromtimestamp(int(sent) / 1000, UTC)
    if name == "_queue":
        return queue
    if name == "_delivery_count":
        return int(system.get("ApproximateReceiveCount", 1))
    if name == "_group":
        return system.get("MessageGroupId")
    attributes = message.get("MessageAttributes", {})
    return [(key, _text(value)) for key, value in attributes.items()]


def _text(value: Mapping[str, Any]) -> str | None:
    if "StringValue" in value:
        return str(value["StringValue"])
    raw = value.get("BinaryValue")
    return None if raw is None else base64.b64encode(raw).decode()
