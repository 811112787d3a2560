"""Follows a queue without end: what it lends is acknowledged once what came of it is published for good."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from uuid import uuid4

from beam_datahub.component.source import Arrival, Block, Follower
from beam_datahub.errors import ConnectorError, DataHubError, Transient

# So many messages come in one go at most.
_AT_ONCE = 10_000
# How long to wait before a queue is tried again that is away.
_PAUSE_SECONDS = 0.2
# A queue that lends no more, and of which nothing is published for so long, waits for what will not come.
_FULL_SECONDS = 900.0


class Lent(NamedTuple):
    """A message that a queue has lent: how it is acknowledged, its bytes, and what tells it from others.

    `identity` is the same where the message is delivered again, which `again` then says; None: it cannot be known again.
    """

    message: Any
    token: Any
    size: int
    identity: bytes | str | None = None
    again: bool = False


class Intake(ABC):
    """What a connector brings: messages of one queue over a connection of its own, used by one thread at a time.

    `bound`: an acknowledgement is taken over this connection only, and when that is lost all that it has lent comes again.
    Otherwise a message that comes again has a new token.
    """

    bound: ClassVar[bool] = True
    resumed: bool = True
    """Whether what the connection before had lent is still there, to come again."""

    def check(self) -> None:  # noqa: B027 - what has no connection cannot lose it
        """Raise Transient where the connection is lost."""

    @abstractmethod
    def take(self, seconds: float, most: int) -> list[Lent]:
        """Up to `most` messages, as soon as there are some, at the latest after `seconds`; what it reads ahead is bounded.

        Raises Transient where the connection is lost.
        """

    @abstractmethod
    def behind(self) -> int:
        """How many messages are known to wait, asked where none came; where nobody knows for sure, more than 0."""

    @abstractmethod
    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Tell the system that messages are done with, and wait until it knows. Raises ConnectorError."""

    def replaced(self, token: Any) -> None:  # noqa: B027 - what is lost with its connection needs no forgetting
        """A message came again before it was acknowledged: this token of it is of no use any more."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is lent. Raises nothing."""


@dataclass
class _Entry:
    """A message that is not published yet; `token` is None while its connection is lost."""

    number: int
    identity: bytes | str | None
    token: Any


class QueueFollower(Follower):
    """Follows one queue. Its position is its own name and how many messages it has taken: another one begins with what the queue
    has, which is all that was not acknowledged.

    `block(messages, first)` makes a block, `most` is how many messages are lent at most, `patience_seconds` how long the queue
    may be away. What a lost connection brings again is known by its identity, and not handed out a second time.
    """

    def __init__(
        self,
        position: str,
        opened: Callable[[], Intake],
        block: Callable[[list[Any], int], Block],
        most: int,
        patience_seconds: float,
    ) -> None:
        self._position, self._opened, self._block = position, opened, block
        self._most, self._patience = most, patience_seconds
        self._name, self._count = uuid4().hex[:12], 0
        self._lent: deque[_Entry] = deque()
        self._expected: dict[bytes | str, list[_Entry]] = {}
        """What may come again that is not published."""
        self._settled: Counter[bytes | str] = Counter()
        """What was published after its connection was lost: it comes again, and is acknowledged then. What the system may have
        heard of does not belong here: another message of the same content would be taken for it.
        """
        self._owed: list[Any] = []
        """Tokens of published messages that the system could not be told of as yet."""
        self._intake: Intake | None = opened()
        self._bound = self._intake.bound
        self._away_since: float | None = None
        self._full_for = 0.0

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        until = time.monotonic() + seconds
        if self._owed:
            self._acknowledge([])
        found: list[Any] = []
        first, size, came = self._count, 0, None
        while size < batch_bytes:
            left = max(0.0, until - time.monotonic())
            room = min(self._most - len(self._lent), _AT_ONCE)
            if room <= 0:
                came = None
                self._wait_for_room(0.0 if found else left)
                break
            came = self._some(left, room)
            done = [each for each in came or () if not self._goes_on(each, found)]
            size += sum(each.size for each in came or ())
            self._acknowledge([each.token for each in done])
            if time.monotonic() >= until:
                break
        if not found:
            return Arrival(None, self._position, 1 if came is None else self._waiting())
        self._position = f"{self._name}/{self._count}"
        return Arrival(self._block(found, first), self._position, 1)

    def _some(self, seconds: float, most: int) -> list[Lent] | None:
        """What comes; None where the queue is away. Raises the reason where that lasts too long."""
        try:
            if self._intake is None:
                self._intake = self._opened()
                if self._bound and not self._intake.resumed:
                    self._forget()
            came = self._intake.take(seconds, most)
        except DataHubError as error:
            self._lost(error)
            time.sleep(min(seconds, _PAUSE_SECONDS))
            return None
        self._away_since = None
        return came

    def _waiting(self) -> int:
        try:
            return 1 if self._intake is None else self._intake.behind()
        except DataHubError as error:
            self._lost(error)
            return 1

    def _lost(self, error: DataHubError) -> None:
        """The connection is gone, or is not there again. Raises the reason where waiting does not help."""
        # A queue comes back later than its server, and is said to be missing meanwhile.
        passes = isinstance(error, Transient) or (self._away_since is not None and isinstance(error, ConnectorError))
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        self._disconnect()
        if not passes or now - self._away_since > self._patience:
            raise error

    def _disconnect(self) -> None:
        intake, self._intake = self._intake, None
        if intake is None:
            return
        intake.close()
        if self._bound:
            # What has not come again by now may never do.
            self._forget()
            for entry in self._lent:
                if entry.token is not None:
                    entry.token = None
                    self._expect(entry)

    def _forget(self) -> None:
        self._expected.clear()
        self._settled.clear()

    def _expect(self, entry: _Entry) -> None:
        if entry.identity is not None:
            self._expected.setdefault(entry.identity, []).append(entry)

    def _goes_on(self, lent: Lent, found: list[Any]) -> bool:
        """Note a message, and put it to those that are handed out unless it was before; False: it was published already."""
        identity = lent.identity if lent.again else None
        if identity is not None and (known := self._expected.get(identity)):
            entry, before = known[0], known[0].token
            entry.token = lent.token
            if self._bound:
                self._expect_no_more(entry)
            elif self._intake is not None:
                self._intake.replaced(before)
            return True
        if identity is not None and self._settled[identity] > 0:
            self._settled -= Counter([identity])
            return False
        found.append(lent.message)
        self._count += 1
        fresh = _Entry(self._count, lent.identity, lent.token)
        self._lent.append(fresh)
        if not self._bound:
            self._expect(fresh)
        return True

    def _expect_no_more(self, entry: _Entry) -> None:
        if entry.identity is not None and (known := self._expected.get(entry.identity)):
            if entry in known:
                known.remove(entry)
            if not known:
                del self._expected[entry.identity]

    def _wait_for_room(self, seconds: float) -> None:
        """Wait for an acknowledgement. Raises ConnectorError where none can come."""
        self._full_for += seconds
        if self._full_for > _FULL_SECONDS:
            raise ConnectorError(
                f"{len(self._lent):,} messages are taken, and none of them is published for {_FULL_SECONDS / 60:.0f} minutes",
                hint="raise `maximum_messages`, let the stream commit more often, or let records wait for smaller windows",
            )
        time.sleep(seconds)

    def published(self, position: Any) -> None:
        name, _, count = str(position).rpartition("/")
        if name != self._name:
            # What another one took that is gone by now is the queue's again, or acknowledged.
            return
        self._full_for = 0.0
        try:
            if self._intake is not None:
                self._intake.check()
        except DataHubError as error:
            self._lost(error)
        tokens = []
        while self._lent and self._lent[0].number <= int(count):
            entry = self._lent.popleft()
            self._expect_no_more(entry)
            if entry.token is not None:
                tokens.append(entry.token)
            elif entry.identity is not None:
                self._settled[entry.identity] += 1
        self._acknowledge(tokens)

    def _acknowledge(self, tokens: list[Any]) -> None:
        tokens, self._owed = [*self._owed, *tokens], []
        if not tokens:
            return
        try:
            if self._intake is not None:
                self._intake.acknowledge(tokens)
                return
        except Transient as error:
            self._lost(error)
        if not self._bound:
            self._owed = tokens

    @property
    def owes(self) -> bool:
        return bool(self._lent or self._owed)

    def close(self) -> None:
        with suppress(Exception):
            self._disconnect()


def identity_of(*parts: Any) -> bytes:
    """What tells a message of some content from others where the system gives it no number."""
    return hashlib.blake2b(repr(parts).encode(errors="surrogateescape"), digest_size=16).digest()
