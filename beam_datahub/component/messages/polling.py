"""Takes on and on from a queue that is asked: a thread asks ahead, and what is lent stays lent until it is acknowledged."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from beam_datahub.component.messages.following import Intake, Lent
from beam_datahub.component.messages.lease import Lease
from beam_datahub.errors import DataHubError, Transient

_PAUSE_SECONDS = 0.5


class PolledIntake(Intake):
    """One queue. `ask(count)` waits a while for messages and gives about so many, `delete(tokens)` acknowledges them.

    About `ahead` messages are asked for ahead, and at most `most` are lent at any time; what fails for a while is asked again for
    `patience_seconds`.
    """

    bound: ClassVar[bool] = False

    def __init__(
        self,
        ask: Callable[[int], list[Lent]],
        delete: Callable[[Sequence[Any]], None],
        lease: Lease,
        *,
        ahead: int,
        most: int,
        patience_seconds: float,
        closes: Callable[[], None],
    ) -> None:
        self._ask, self._delete, self._lease, self._closes = ask, delete, lease, closes
        self._wanted, self._most, self._patience = ahead, most, patience_seconds
        self._ahead: deque[Lent] = deque()
        self._changed = threading.Condition()
        self._over = self._empty = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="asking a queue", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        away_since: float | None = None
        while not self._over:
            room = min(self._wanted - len(self._ahead), self._most - self._lease.count)
            if room <= 0:
                with self._changed:
                    self._changed.wait(_PAUSE_SECONDS)
                continue
            try:
                found = self._ask(room)
            except Exception as error:
                now = time.monotonic()
                away_since = away_since or now
                if not isinstance(error, Transient) or now - away_since > self._patience:
                    with self._changed:
                        self._failure = error
                        self._changed.notify_all()
                    return
                with self._changed:
                    self._empty = False
                    self._changed.wait(_PAUSE_SECONDS)
                continue
            away_since = None
            self._lease.add([each.token for each in found])
            with self._changed:
                self._empty = not found
                self._ahead.extend(found)
                self._changed.notify_all()

    def take(self, seconds: float, most: int) -> list[Lent]:
        with self._changed:
            self._changed.wait_for(lambda: self._ahead or self._failure, seconds)
            found = [self._ahead.popleft() for _ in range(min(most, len(self._ahead)))]
            failure = self._failure
            self._changed.notify_all()
        if not found and failure is not None:
            raise failure if isinstance(failure, DataHubError) else Transient(f"a queue cannot be asked: {failure}")
        return found

    def behind(self) -> int:
        with self._changed:
            return len(self._ahead) or (0 if self._empty else 1)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        self._lease.drop(tokens)
        try:
            self._delete(tokens)
        except BaseException:
            # They are to stay hidden until it can be told.
            self._lease.add(tokens)
            raise

        with self._changed:
            # Some queues give more only now.
            self._empty = False

    def replaced(self, token: Any) -> None:
        self._lease.drop([token])

    def close(self) -> None:
        self._over = True
        with self._changed:
            self._changed.notify_all()
        # It may be waiting for messages, which are to be given back as well.
        self._thread.join(30)
        self._lease.release()
        self._closes()
