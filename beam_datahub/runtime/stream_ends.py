"""How an attempt of a stream ends: when it is at rest, whether another may get further, what is told."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from beam_datahub.component.failure import unpacked
from beam_datahub.errors import EngineFailed, Interrupted, Transient


class Rest:
    """Tells whether something has held for so many seconds, in which nothing new came."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._since, self._news = seconds, time.monotonic(), -1

    def lasts(self, now: bool, news: int) -> bool:
        """Whether it holds now, and has for long enough; `news` counts what came."""
        if not now or news != self._news:
            self._since, self._news = time.monotonic(), news
        return now and time.monotonic() - self._since >= self._seconds


def cancel(running: Any) -> None:
    """End a job."""
    # An engine that is gone already needs no telling.
    with suppress(Exception):
        running.cancel()


def may_pass(failure: BaseException) -> bool:
    """Whether another attempt may get further: what the data or the spec is to blame for comes again."""
    found = unpacked(failure)
    if found is None:
        return isinstance(failure, Exception)
    return isinstance(found, Transient | EngineFailed)


def told_of(failure: BaseException) -> BaseException:
    """What a stream that broke says of what is published."""
    if isinstance(failure, Interrupted):
        return Interrupted("the stream was stopped at once: what was not published is read again by the next run")
    return failure
