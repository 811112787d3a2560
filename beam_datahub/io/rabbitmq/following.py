"""Follows one queue without end, over a channel of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_datahub.component.messages.following import Intake, Lent, identity_of
from beam_datahub.component.source import BATCH_BYTES
from beam_datahub.io.rabbitmq.connection import RabbitmqConnection
from beam_datahub.io.rabbitmq.holding import Delivered, HeldChannel

# So many messages the server sends ahead, and fewer of large ones.
_AHEAD, _FIRST, _LEAST = 2_000, 100, 10
_PERSISTENT = 2


class RabbitmqIntake(Intake):
    """One queue. The server sends ahead what fills a batch at most, however much waits for its commit."""

    def __init__(self, connection: RabbitmqConnection, queue: str) -> None:
        self._channel = HeldChannel(connection, queue)
        self._ahead, self._rest = _FIRST, list[Delivered]()
        self._open: set[int] = set()
        """Tags of what was handed out and is not acknowledged."""

    def check(self) -> None:
        self._channel.check()

    def take(self, seconds: float, most: int) -> list[Lent]:
        came = self._rest or self._channel.take_on(seconds, self._ahead)
        came, self._rest = came[:most], came[most:]
        if came:
            size = sum(len(each.body) for each in came) / len(came)
            self._ahead = int(max(_LEAST, min(_AHEAD, BATCH_BYTES / max(1.0, size))))
            self._open.update(each.method.delivery_tag for each in came)
        return [_lent(each) for each in came]

    def behind(self) -> int:
        return self._channel.waiting()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        done = set(tokens)
        self._open -= done
        # Up to the oldest that is not done, one word is enough.
        oldest = min(self._open, default=None)
        last = max((tag for tag in done if oldest is None or tag < oldest), default=0)
        self._channel.acknowledge(last, sorted(tag for tag in done if tag > last))

    def close(self) -> None:
        self._channel.release()


def _lent(message: Delivered) -> Lent:
    method, known = message.method, message.properties
    identity = None
    # What a server forgets when it ends does not come again: another one of the same content is another message.
    if known.delivery_mode == _PERSISTENT:
        headers = {name: value for name, value in (known.headers or {}).items() if name != "x-delivery-count"}
        facts = {**known.__dict__, "headers": sorted(headers.items(), key=str)}
        identity = identity_of(method.exchange, method.routing_key, sorted(facts.items()), message.body)
    return Lent(message, method.delivery_tag, len(message.body), identity, method.redelivered)
