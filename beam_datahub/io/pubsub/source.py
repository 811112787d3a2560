"""Google Pub/Sub as a source: what subscriptions hold when the run starts, acknowledged once it is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import Acknowledging, Delivery, SourceCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.held import hold, let_go
from beam_datahub.component.messages.lease import Lease, check_leases, end_leases
from beam_datahub.component.messages.options import MessageReadOptions
from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.messages.source import HEADERS, MOMENT, MessageSource
from beam_datahub.component.registry import register
from beam_datahub.component.source import Discovery, ReadRequest, Report, Split
from beam_datahub.io.pubsub.connection import PubsubConnection

# What one call of the service takes.
_CALL = 1_000


class PubsubReadOptions(MessageReadOptions):
    """Which messages are read, and how they become records."""

    subscription: str | tuple[str, ...]
    """The subscription, by its name or as `projects/…/subscriptions/…`, or several."""

    topic: str | None = None
    """Make the subscriptions to this topic where they are not there; they get what is sent from then on."""

    lease_seconds: int = Field(default=60, ge=10, le=600)
    """How long the service waits for the acknowledgement of a message; it is renewed while the run goes on. What a killed run has
    taken comes again after that."""

    wait_seconds: float = Field(default=5.0, gt=0)
    """When no message has come for so long, there are none: the service does not tell."""

    maximum_messages: int = Field(default=100_000, gt=0)
    """How many messages of each subscription a run takes at most; the others are for the next one."""

    metadata: tuple[Literal["id", "timestamp", "subscription", "headers", "key", "delivery_count"], ...] = ()
    """What else of a message becomes columns: its id as `_id`, the time it was sent at as `_timestamp`, its attributes as the map
    `_headers`, its ordering key as `_key`; `_delivery_count` is known where the subscription has a dead-letter topic."""

    @model_validator(mode="after")
    def _sound(self) -> PubsubReadOptions:
        if not self.subscriptions:
            raise ValueError("names no subscription")
        return self

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The subscriptions."""
        return (self.subscription,) if isinstance(self.subscription, str) else self.subscription


@register("source", "pubsub", since="0.1.0")
class PubsubSource(MessageSource):
    """Takes what was sent to subscriptions before the run started. What cannot be decoded is rejected."""

    Connection: ClassVar[type[Config]] = PubsubConnection
    Options = PubsubReadOptions
    capabilities = SourceCapabilities(
        columns=True, splits="subscription", acknowledges=Acknowledging.ANYWHERE, delivery=Delivery.AT_LEAST_ONCE
    )
    examples = (
        Example(
            "JSON objects with their ids",
            {
                "connection": {"project": "acme"},
                "subscription": "orders-warehouse",
                "topic": "orders",
                "metadata": ["id", "timestamp"],
            },
        ),
    )
    metadata_types: ClassVar[Mapping[str, pa.DataType]] = {
        "id": pa.string(),
        "timestamp": MOMENT,
        "subscription": pa.string(),
        "headers": HEADERS,
        "key": pa.string(),
        "delivery_count": pa.int64(),
    }

    connection: PubsubConnection
    options: PubsubReadOptions

    @property
    def place(self) -> str:
        return ", ".join(self.options.subscriptions)

    def _path(self, name: str) -> str:
        return self.connection.path("subscriptions", name)

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(self.connection.dataset(self._path(name)) for name in self.options.subscriptions)

    def waiting(self) -> None:
        with self.connection.subscriber() as client:
            for name in self.options.subscriptions:
                client.get_subscription(
                    subscription=self._path(name), retry=None, timeout=self.connection.connect_timeout_seconds
                )

    def estimate(self) -> Discovery:
        # It could tell nothing that a plan goes by, and who only plans does not wait for it.
        return Discovery(pa.schema([]))

    def looked(self, count: int) -> list[Any]:
        found: list[Any] = []
        with self.connection.subscriber() as client:
            for name in self.options.subscriptions:
                ids: list[str] = []
                try:
                    while len(found) < count and (some := self._pull(client, name, min(_CALL, count - len(found)))):
                        ids += [each.ack_id for each in some]
                        found += [each.message.data for each in some]
                finally:
                    self._set_deadline(client, name, ids, 0)
        return found

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        for name in self.options.subscriptions:
            if request.takes and self.options.topic is not None:
                self._make(name, self.options.topic)
            yield Split(name, detail=uuid4().hex)

    def _make(self, name: str, topic: str) -> None:
        from google.api_core.exceptions import AlreadyExists

        with self.connection.subscriber() as client:
            try:
                client.create_subscription(
                    request={
                        "name": self._path(name),
                        "topic": self.connection.path("topics", topic),
                        "ack_deadline_seconds": self.options.lease_seconds,
                    },
                    retry=None,
                    timeout=self.connection.connect_timeout_seconds,
                )
            except AlreadyExists:
                # Others' settings of it stand.
                return

    def arrivals(self, split: Split, request: ReadRequest, wanted: Sequence[str]) -> Iterator[Arrived]:
        name, options = str(split.detail), self.options
        seconds, began = options.lease_seconds, datetime.now(UTC)
        left = options.maximum_messages if request.limit is None else min(options.maximum_messages, request.limit)
        lease = Lease(split.name, seconds, self._deadline(split.name, seconds), self._deadline(split.name, 0))
        # The run's end gives the messages back, unless that is here.
        hold(name, lease)
        first, size, some = 0, 0, list[Any]()
        try:
            with self.connection.subscriber() as client:
                while left > 0:
                    found = self._pull(client, split.name, min(_CALL, left))
                    ids = [each.ack_id for each in found]
                    # What the subscription lends for is its own affair; from here on it is ours.
                    self._set_deadline(client, split.name, ids, seconds)
                    lease.add(ids)
                    some += found
                    left -= len(found)
                    size += sum(len(each.message.data) for each in found)
                    if some and size >= request.batch_bytes:
                        yield self._arrived(split.name, some, first, wanted, name if request.takes else None)
                        first, size, some = first + len(some), 0, []
                    # Where all were sent after the run began, those from before are through.
                    if not found or all(each.message.publish_time > began for each in found):
                        break
            if some:
                yield self._arrived(split.name, some, first, wanted, name if request.takes else None)
        finally:
            if not request.takes:
                let_go(name)

    def _pull(self, client: Any, name: str, count: int) -> list[Any]:
        from google.api_core.exceptions import DeadlineExceeded

        try:
            answer = client.pull(
                request={"subscription": self._path(name), "max_messages": count}, timeout=self.options.wait_seconds, retry=None
            )
        except DeadlineExceeded:
            return []
        return list(answer.received_messages)

    def _deadline(self, name: str, seconds: int) -> Any:
        def say(ids: Sequence[str]) -> None:
            with self.connection.subscriber() as client:
                self._set_deadline(client, name, ids, seconds)

        return say

    def _set_deadline(self, client: Any, name: str, ids: Sequence[str], seconds: int) -> None:
        for start in range(0, len(ids), _CALL):
            some = list(ids[start : start + _CALL])
            client.modify_ack_deadline(
                request={"subscription": self._path(name), "ack_ids": some, "ack_deadline_seconds": seconds}, timeout=30
            )

    def _arrived(self, place: str, some: list[Any], first: int, wanted: Sequence[str], lease: str | None) -> Arrived:
        taken = None
        if lease is not None:
            taken = {"lease": lease, "subscription": place, "ids": [each.ack_id for each in some]}
        metadata = {name: [_known(name, place, each) for each in some] for name in wanted}
        return Arrived([each.message.data for each in some], metadata, first, taken=taken)

    def hold(self, taken: Sequence[Any]) -> None:
        check_leases(taken)

    def acknowledge(self, taken: Sequence[Any]) -> None:
        with self.connection.subscriber() as client:
            for each in taken:
                path, ids = self._path(each["subscription"]), each["ids"]
                for start in range(0, len(ids), _CALL):
                    some = ids[start : start + _CALL]
                    client.acknowledge(request={"subscription": path, "ack_ids": some}, timeout=60)
        end_leases(taken)


def _known(name: str, place: str, received: Any) -> Any:
    message = received.message
    if name == "_id":
        return message.message_id
    if name == "_timestamp":
        moment = message.publish_time
        return None if moment is None else datetime.fromtimestamp(moment.timestamp(), UTC)
    if name == "_subscription":
        return place
    if name == "_headers":
        return list(dict(message.attributes).items())
    return (message.ordering_key or None) if name == "_key" else (received.delivery_attempt or None)
