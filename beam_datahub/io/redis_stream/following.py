"""Follows one stream without end, from an id on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from beam_datahub.component.source import Arrival, Block, Follower
from beam_datahub.io.redis_stream.connection import RedisConnection, telling
from beam_datahub.io.redis_stream.entries import Entry

_AT_ONCE, _MOST = 2_000, 100_000
# How long one question waits for more.
_WAIT_SECONDS = 0.2


class RedisFollower(Follower):
    """One stream. `block` makes a block of entries in their order, the first of which has a number."""

    def __init__(
        self, connection: RedisConnection, stream: str, position: str, block: Callable[[list[Entry], int], Block]
    ) -> None:
        self._connection, self._stream, self._next, self._block = connection, stream, position, block
        self._client = connection.client()
        self._given = 0

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        until = time.monotonic() + seconds
        found: list[Entry] = []
        size, last = 0, 0
        with telling(self._connection.place):
            while True:
                wait = max(0.001, min(until - time.monotonic(), _WAIT_SECONDS))
                # Who has something already waits for no more.
                answer: Any = self._client.xread({self._stream: self._next}, _AT_ONCE, None if found else int(wait * 1000) or 1)
                some: Any = answer[0][1] if answer else []
                last = len(some)
                for name, fields in some:
                    found.append((name, fields, None))
                    size += sum(map(len, fields.values()))
                if some:
                    self._next = some[-1][0].decode()
                done = size >= batch_bytes or len(found) >= _MOST or time.monotonic() >= until
                if done or (found and last < _AT_ONCE):
                    break
        behind = 1 if last == _AT_ONCE else 0
        if not found:
            return Arrival(None, self._next, 0)
        block = self._block(found, self._given)
        self._given += len(found)
        return Arrival(block, self._next, behind)

    def close(self) -> None:
        with suppress(Exception):
            self._client.close()
