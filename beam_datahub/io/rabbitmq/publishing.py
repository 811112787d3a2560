"""Publishes many messages at once and waits until the server has confirmed them all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from beam_datahub.errors import TargetUnusable, Transient
from beam_datahub.io.rabbitmq.connection import RabbitmqConnection, meaning


class Publisher:
    """One channel with confirms, in a thread of its own."""

    def __init__(self, connection: RabbitmqConnection) -> None:
        parameters = connection.parameters()
        import pika

        self._place, self._patience = connection.place, connection.timeout_seconds
        self._opened: Future[None] = Future()
        self._chunk: Future[None] | None = None
        self._waiting: set[int] = set()
        self._sent = 0
        self._returned: str | None = None
        self._channel: Any = None
        self._client = pika.SelectConnection(
            parameters,
            on_open_callback=lambda client: client.channel(on_open_callback=self._ready),
            on_open_error_callback=self._broken,
            on_close_callback=self._broken,
        )
        self._thread = threading.Thread(target=self._client.ioloop.start, name="rabbitmq publisher", daemon=True)
        self._thread.start()
        try:
            self._opened.result(connection.connect_timeout_seconds * 2)
        except BaseException:
            self.close()
            raise

    def _ready(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._broken)
        channel.add_on_return_callback(self._unrouted)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._opened.set_result(None))

    def _broken(self, _: Any, error: BaseException) -> None:
        found = meaning(self._place, error)
        for future in (self._opened, self._chunk):
            if future is not None and not future.done():
                future.set_exception(found)

    def _unrouted(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._returned = f"no queue is bound for the routing key '{method.routing_key}'"

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = {tag for tag in self._waiting if tag <= method.delivery_tag} if method.multiple else {method.delivery_tag}
        self._waiting -= tags
        future = self._chunk
        if future is None or future.done():
            return
        if type(method).__name__ != "Ack":
            future.set_exception(Transient(f"{self._place}: the server has not taken a message", hint="look at its log"))
        elif not self._waiting:
            # What is returned comes before its confirm.
            if self._returned is not None:
                hint = "bind a queue, or let such messages be dropped: `unrouted: drop`"
                future.set_exception(TargetUnusable(f"{self._place}: {self._returned}", hint=hint))
            else:
                future.set_result(None)

    def publish(self, exchange: str, chunk: Sequence[tuple[str, bytes, Any]], *, mandatory: bool) -> None:
        """Publish messages, each a routing key, a body and its properties, and wait for all confirms. Raises ConnectorError."""
        future: Future[None] = Future()

        def work() -> None:
            try:
                self._chunk = future
                self._waiting = set(range(self._sent + 1, self._sent + len(chunk) + 1))
                self._sent += len(chunk)
                for route, body, properties in chunk:
                    self._channel.basic_publish(exchange, route, body, properties, mandatory=mandatory)
            except Exception as error:
                if not future.done():
                    future.set_exception(meaning(self._place, error))

        self._client.ioloop.add_callback_threadsafe(work)
        try:
            future.result(self._patience)
        except TimeoutError as error:
            raise Transient(f"{self._place}: the server has confirmed nothing for {self._patience} s") from error

    def close(self) -> None:
        """End the connection. Raises nothing."""

        def work() -> None:
            with suppress(Exception):
                self._client.close()
            self._client.ioloop.call_later(0.2, self._client.ioloop.stop)

        with suppress(Exception):
            self._client.ioloop.add_callback_threadsafe(work)
        self._thread.join(5)
        if not self._thread.is_alive():
            with suppress(Exception):
                self._client.ioloop.close()
