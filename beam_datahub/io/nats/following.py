"""Follows one stream without end, from a sequence on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from beam_datahub.component.source import Arrival, Block, Follower
from beam_datahub.io.nats.connection import NatsConnection, Session, telling
from beam_datahub.io.nats.pulling import Pulled, passing, position_consumer, pulled, unbroken

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
        self._taken = 0
        self._heard = time.monotonic()

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        until = time.monotonic() + seconds
        found: list[Pulled] = []
        size, session = 0, self._session
        with telling(session):
            while not found or (size < batch_bytes and len(found) < _MOST and found[-1].pending):
                left = until - time.monotonic()
                if left <= 0:
                    break
                some = self._fetched(max(left, 0.05))
                if some:
                    self._heard = time.monotonic()
                    found += some
                    size += sum(len(each.body) for each in some)
                    self._next = some[-1].sequence + 1
        if not found:
            return Arrival(None, self._next, 0)
        return Arrival(self._block(found), self._next, found[-1].pending)

    def _fetched(self, seconds: float) -> list[Pulled]:
        """The next messages; none where the server is silent, away, or has lost the consumer. Raises what the client does."""
        from nats.errors import NoRespondersError
        from nats.js.errors import NotFoundError, ServiceUnavailableError

        known = self._puller is not None
        try:
            if self._puller is None:
                self._puller, self._taken = position_consumer(self._session, self._options, self._next), 0
            came = [pulled(each) for each in self._session.do(self._puller.fetch(_AT_ONCE, seconds))]
            found = unbroken(came, self._taken)
            self._taken += len(found)
            if len(found) < len(came):
                self._puller = None
            return found
        except (NoRespondersError, ServiceUnavailableError):
            # Nobody serves the consumer any more, or nobody serves streams yet.
            if self._silent > self._connection.timeout_seconds:
                raise
            self._puller = None
            time.sleep(0.1)
        except NotFoundError:
            # Where there was no consumer to lose, it is the stream that is missing.
            if not known:
                raise
            self._puller = None
        except passing():
            self._doubt()
        return []

    @property
    def _silent(self) -> float:
        return time.monotonic() - self._heard

    def _doubt(self) -> None:
        """Look after a consumer that is silent. Raises TimeoutError where the server is away for too long."""
        from nats.js.errors import NotFoundError

        if not self._session.client.is_connected:
            if self._silent > self._connection.timeout_seconds:
                raise TimeoutError
            self._puller = None
            time.sleep(0.1)
        elif self._silent > _DOUBT_SECONDS and self._puller is not None:
            puller, self._puller = self._puller, None
            with suppress(NotFoundError):
                info = self._session.do(puller.consumer_info())
                # What it gave and we never had is lost on the way: another one gives it again.
                given = 0 if info.delivered is None else int(info.delivered.consumer_seq)
                self._puller = puller if given <= self._taken else None
            self._heard = time.monotonic()

    def close(self) -> None:
        self._session.close()
