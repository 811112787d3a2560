"""A channel that has taken messages and keeps them until the run is published: a thread of its own keeps it alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from beam_datahub.errors import DataHubError, Transient
from beam_datahub.io.rabbitmq.connection import RabbitmqConnection, meaning

_Value = TypeVar("_Value")
# Where fewer messages come than were there, others have got them.
_QUIET_SECONDS = 3.0
_BEAT_SECONDS = 0.1


@dataclass(frozen=True)
class Delivered:
    """A message as the server has delivered it."""

    body: bytes
    method: Any
    properties: Any


class HeldChannel:
    """One channel; all that the client library does happens in its thread."""

    def __init__(self, connection: RabbitmqConnection, queue: str) -> None:
        self._connection, self._queue = connection, queue
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._channel: Any = None
        self._consumer: str | None = None
        """Of one who takes on and on: the consumer, how many messages it may be sent that are not acknowledged, their tags, and
        those that nobody has as yet.
        """
        self._quota = 0
        self._sent: set[int] = set()
        self._ahead: list[Delivered] = []
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, name=f"channel of {queue}", daemon=True)
        self._thread.start()
        self._opened.result()

    def _live(self) -> None:
        try:
            # What is not acknowledged when it closes goes back to the queue.
            with self._connection.opened() as connection:
                self._channel = connection.channel()
                self._opened.set_result(None)
                while not self._over.is_set():
                    try:
                        work, future = self._work.get(timeout=_BEAT_SECONDS)
                    except Empty:
                        # Heartbeats go out, and what the server says comes in.
                        connection.process_data_events(0)
                        continue
                    try:
                        future.set_result(work())
                    except Exception as error:
                        self._failure = meaning(self._connection.place, error)
                        future.set_exception(self._gone() if isinstance(self._failure, Transient) else self._failure)
                        return
        except Exception as error:
            self._failure = meaning(self._connection.place, error)
            if not self._opened.done():
                self._opened.set_exception(self._failure)
        finally:
            with suppress(Empty):
                while True:
                    _, future = self._work.get_nowait()
                    future.set_exception(self._gone())

    def _gone(self) -> DataHubError:
        reason = self._failure.reason if isinstance(self._failure, DataHubError) else "it was closed"
        return Transient(
            f"the connection that holds the messages of '{self._queue}' is gone: {reason}",
            hint="they are back in the queue; run it again",
        )

    def _do(self, work: Callable[[], _Value]) -> _Value:
        future: Future[_Value] = Future()
        if not self._thread.is_alive():
            raise self._gone()
        self._work.put((work, future))
        while True:
            try:
                return future.result(1)
            except TimeoutError:
                if not self._thread.is_alive() and not future.done():
                    raise self._gone() from None

    def check(self) -> None:
        """Raise Transient where the connection is gone, and the messages with it."""
        self._do(lambda: self._channel.queue_declare(self._queue, passive=True))

    def waiting(self) -> int:
        """How many messages wait in the queue."""
        return int(self._do(lambda: self._channel.queue_declare(self._queue, passive=True)).method.message_count)

    def take(self, count: int) -> list[Delivered]:
        """Up to `count` messages, at most 65535; fewer where others have got them."""

        def work() -> list[Delivered]:
            channel, found = self._channel, list[Delivered]()

            def came(_: Any, method: Any, properties: Any, body: bytes) -> None:
                found.append(Delivered(body, method, properties))

            # Each consumer is sent so many, whatever those before it have got: a new one for each lot takes just the wanted ones.
            channel.basic_qos(prefetch_count=count)
            tag = channel.basic_consume(self._queue, came)
            heard, known = time.monotonic(), 0
            while len(found) < count and time.monotonic() - heard < _QUIET_SECONDS:
                channel.connection.process_data_events(_BEAT_SECONDS)
                if len(found) > known:
                    heard, known = time.monotonic(), len(found)
            channel.basic_cancel(tag)
            return found

        return self._do(work)

    def take_on(self, seconds: float, count: int) -> list[Delivered]:
        """What has come within `seconds`, as soon as there is something; the server sends about `count` messages ahead."""

        def came(_: Any, method: Any, properties: Any, body: bytes) -> None:
            self._sent.add(method.delivery_tag)
            self._ahead.append(Delivered(body, method, properties))

        def work() -> list[Delivered]:
            channel, end = self._channel, time.monotonic() + seconds
            # A consumer is sent so many that are not acknowledged: the next one gets more, while those wait for their commit.
            if self._consumer is not None and len(self._sent) >= self._quota:
                channel.basic_cancel(self._consumer)
                self._consumer = None
            # The server lets go of consumers as well, where a queue moves.
            if self._consumer not in channel.consumer_tags:
                self._quota = count
                self._sent.clear()
                channel.basic_qos(prefetch_count=count)
                self._consumer = channel.basic_consume(self._queue, came)
            while not self._ahead and (left := end - time.monotonic()) > 0:
                channel.connection.process_data_events(min(left, _BEAT_SECONDS))
            found, self._ahead = self._ahead, []
            return found

        return self._do(work)

    def give_back(self, count: int) -> None:
        """Give all messages back, and wait until the queue has `count` of them again; others may have got some meanwhile."""

        def work() -> None:
            channel, end = self._channel, time.monotonic() + _QUIET_SECONDS
            channel.basic_nack(0, multiple=True, requeue=True)
            while time.monotonic() < end:
                if channel.queue_declare(self._queue, passive=True).method.message_count >= count:
                    return
                channel.connection.process_data_events(_BEAT_SECONDS / 10)

        self._do(work)

    def acknowledge(self, last: int, others: Sequence[int] = ()) -> None:
        """Acknowledge all messages up to the delivery tag `last` (0: none), and `others` by theirs."""

        def work() -> None:
            # The server takes 0 for all that it has sent.
            if last:
                self._channel.basic_ack(last, multiple=True)
            for tag in others:
                self._channel.basic_ack(tag)
            self._sent = {tag for tag in self._sent if tag > last} - set(others)
            # The answer to a question comes behind what the acknowledgement has done.
            self._channel.queue_declare(self._queue, passive=True)

        self._do(work)

    def release(self) -> None:
        """Close the connection: what is not acknowledged is for others."""
        self._over.set()
        self._thread.join(10)
