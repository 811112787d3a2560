"""Messages that a system lends for a while: the loan is renewed, beside the run, until that is published."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from beam_datahub.component.held import held, let_go
from beam_datahub.errors import DataHubError, Transient

_LOGGER = logging.getLogger("beam_datahub.run")


class Lease:
    """What one split of a run has been lent. `renew(tokens)` renews the loan of messages, `give_back(tokens)` ends it."""

    def __init__(
        self,
        place: str,
        seconds: float,
        renew: Callable[[Sequence[Any]], None],
        give_back: Callable[[Sequence[Any]], None],
    ) -> None:
        self._place, self._seconds, self._renew, self._give_back = place, seconds, renew, give_back
        self._tokens: list[tuple[Any, float]] = []
        """Each with when its loan was last renewed."""
        self._lock, self._over = threading.Lock(), threading.Event()
        self._renewing = threading.Lock()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._live, name=f"lease of {place}", daemon=True)
        self._thread.start()

    def add(self, tokens: Sequence[Any]) -> None:
        """Messages that were lent just now."""
        now = time.monotonic()
        with self._lock:
            self._tokens += [(token, now) for token in tokens]

    def drop(self, tokens: Sequence[Any]) -> None:
        """Renew the loan of these no more: they are about to be acknowledged."""
        gone = set(tokens)
        # One that is being renewed meanwhile would be refused.
        with self._renewing, self._lock:
            self._tokens = [each for each in self._tokens if each[0] not in gone]

    @property
    def count(self) -> int:
        """How many messages are lent."""
        return len(self._tokens)

    def _live(self) -> None:
        # Three times in the course of a loan, so that one that fails is made up for.
        while not self._over.wait(self._seconds / 3):
            self.renew()

    def renew(self) -> None:
        """Renew the loan of all that is still lent."""
        with self._renewing:
            self._renew_all()

    def _renew_all(self) -> None:
        with self._lock:
            tokens = [token for token, _ in self._tokens]
        if not tokens:
            return
        began = time.monotonic()
        try:
            self._renew(tokens)
        except DataHubError as error:
            self._lost = error.reason
            _LOGGER.warning("%s: the run's hold on its messages was not renewed: %s", self._place, error.reason)
            return
        with self._lock:
            renewed = set(map(id, tokens))
            self._tokens = [(token, began if id(token) in renewed else since) for token, since in self._tokens]

    def check(self) -> None:
        """Raise Transient where a loan has run out: others may have the message."""
        with self._lock:
            oldest = min((since for _, since in self._tokens), default=time.monotonic())
        if time.monotonic() - oldest >= self._seconds:
            detail = f": {self._lost}" if self._lost else ""
            raise Transient(
                f"{self._place}: the run's hold on its messages ran out before they were published{detail}",
                hint="nothing was published; run it again, with a longer `lease_seconds` where this happens often",
            )

    def end(self) -> None:
        """Renew nothing any more: the messages are acknowledged."""
        self._over.set()
        with self._lock:
            self._tokens.clear()

    def release(self) -> None:
        """Give back what is still lent, so that others need not wait for it. Raises nothing."""
        self._over.set()
        with self._lock:
            tokens = [token for token, _ in self._tokens]
            self._tokens.clear()
        if tokens:
            try:
                self._give_back(tokens)
            except Exception as error:
                # The loan ends by itself.
                _LOGGER.debug("%s: messages were not given back: %s", self._place, error)


def check_leases(taken: Sequence[Any]) -> None:
    """Raise Transient where the loan of messages has run out; each of `taken` names its `lease`."""
    for _, lease in _leases(taken):
        lease.check()


def end_leases(taken: Sequence[Any]) -> None:
    """Let go of the loans of messages that are acknowledged."""
    for name, lease in _leases(taken):
        lease.end()
        let_go(name)


def _leases(taken: Sequence[Any]) -> Iterator[tuple[str, Lease]]:
    """The loans that this process still holds: those of a run that died are none."""
    for name in dict.fromkeys(each["lease"] for each in taken):
        lease = held(name, Lease)
        if lease is not None:
            yield name, lease
