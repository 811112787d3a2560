"""Follows one stream without end, from a sequence on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beam_datahub.component.source import Arrival, Block, Follower
from beam_datahub.io.nats.connection import NatsConnection, Session, telling
from beam_datahub.io.nats.pulling import Pulled, passing, position_consumer, pulled

if TYPE_CHECKING:
    from beam_datahub.io.nats.source import NatsReadOptions

_AT_ONCE, _MOST = 1_000, 100_000
# A consumer that has been silent for so long may be gone, as those in memory are with their server.
_DOUBT_SECONDS = 5.0


class NatsFollower(Follower):
    """One stream, by a consumer in the server's memory. `block` makes a block of messages in their order."""

    def __init__(
        self, connection: NatsConnection, options: NatsReadOptions, position: int, block: Callable[[list[Pulled]], Block]
    ) -> None:
        self._connection, self._options, self._next, self._block = connection, options, position, block
        self._session = Session(connection)
        self._puller: Any = None
        self._heard = time.monotonic()

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        from nats.js.errors import NotFoundError

        until = time.monotonic() + seconds
        found: list[Pulled] = []
        size, session = 0, self._session
        with telling(session):
            while not found or (size < batch_bytes and len(found) < _MOST and found[-1].pending):
                left = until - time.monotonic()
                if left <= 0:
                    break
                try:
                    if self._puller is None:
                        self._puller = position_consumer(session, self._options, self._next)
                    some = [pulled(each) for each in session.do(self._puller.fetch(_AT_ONCE, max(left, 0.05)))]
                except passing():
                    self._doubt()
                    continue
                except NotFoundError:
                    self._puller = None
                    continue
                if some:
                    self._heard = time.monotonic()
                    found += some
                    size += sum(len(each.body) for each in some)
                    self._next = some[-1].sequence + 1
        if not found:
            return Arrival(None, self._next, 0)
        return Arrival(self._block(found), self._next, found[-1].pending)

    def _doubt(self) -> None:
        """Look after a consumer that is silent. Raises Transient where the server is away for too long."""
        silent = time.monotonic() - self._heard
        if not self._session.client.is_connected and silent > self._connection.timeout_seconds:
            raise TimeoutError
        if not self._session.client.is_connected:
            self._puller = None
            time.sleep(0.1)
        elif silent > _DOUBT_SECONDS and self._puller is not None:
            self._session.do(self._puller.consumer_info())
            self._heard = time.monotonic()

    def close(self) -> None:
        self._session.close()
