"""How many requests a process sends to one place in a second."""

from __future__ import annotations

import threading
from typing import Any

# The limits of this process, by what is limited.
_limiters: dict[tuple[str, float], Any] = {}
_lock = threading.Lock()


def wait_turn(place: str, per_second: float) -> None:
    """Wait until one more request to `place` keeps the limit; all threads of the process share it."""
    _limiter(place, per_second).try_acquire(place)


def _limiter(place: str, rate: float) -> Any:
    from pyrate_limiter import Duration, Limiter, Rate

    with _lock:
        found = _limiters.get((place, rate))
        if found is None:
            # A rate below one is one request in so many seconds.
            limit = Rate(round(rate), Duration.SECOND) if rate >= 1 else Rate(1, round(int(Duration.SECOND) / rate))
            found = _limiters[place, rate] = Limiter(limit)
    return found
