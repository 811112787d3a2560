"""One pool of connections for each database and process: limited, looked after before use, never shared with a child process."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from beam_datahub.component.database import Session, retrying
from beam_datahub.errors import Transient

# A connection that rested longer is asked for a sign of life before it is used.
_RESTED_SECONDS = 20.0
# One that rested longer is closed: servers and firewalls drop such connections without a word.
_STALE_SECONDS = 300.0


class _Pool:
    def __init__(self, limit: int) -> None:
        self.room = threading.BoundedSemaphore(limit)
        self.idle: list[tuple[Session, float]] = []
        self.lock = threading.Lock()

    def take(self) -> Session | None:
        """A connection that works, the one used last; None where there is none."""
        while True:
            with self.lock:
                if not self.idle:
                    return None
                session, since = self.idle.pop()
            rested = time.monotonic() - since
            if rested < _RESTED_SECONDS or (rested < _STALE_SECONDS and session.is_alive()):
                return session
            session.close()

    def close_idle(self) -> None:
        """Close the connections that rest."""
        with self.lock:
            resting, self.idle = self.idle, []
        for session, _ in resting:
            session.close()


_pools: dict[Hashable, _Pool] = {}
_owner = os.getpid()
_lock = threading.Lock()


def _pool(key: Hashable, limit: int) -> _Pool:
    global _owner
    with _lock:
        if _owner != os.getpid():
            # What a parent process opened must not be touched: its socket is the parent's.
            _pools.clear()
            _owner = os.getpid()
        return _pools.setdefault(key, _Pool(limit))


@contextmanager
def pooled(key: Hashable, make: Callable[[], Session], *, limit: int, wait_seconds: float) -> Iterator[Session]:
    """A connection for a while: one that rests, or a new one. Raises Transient where all stay taken, and what `make` raises.

    One in which something failed is closed, not used again.
    """
    pool = _pool(key, limit)
    if not pool.room.acquire(timeout=wait_seconds):
        raise Transient(f"all {limit} connections were in use for {wait_seconds:g} seconds", hint="raise `pool_size`")
    try:
        session = pool.take()
        if session is None:
            for attempt in retrying():
                with attempt:
                    session = make()
        assert session is not None
        try:
            yield session
        except BaseException as error:
            session.close()
            if isinstance(error, Transient):
                # What broke this connection has likely broken those that rest.
                pool.close_idle()
            raise
        if session.broken:
            session.close()
        else:
            with pool.lock:
                pool.idle.append((session, time.monotonic()))
    finally:
        pool.room.release()


def close_pool(key: Hashable) -> None:
    """Close the connections of one pool that rest, so that another process can have the file."""
    with _lock:
        pool = _pools.get(key)
    if pool is None:
        return
    pool.close_idle()


@atexit.register
def close_pools() -> None:
    """Close all connections that rest; those in use stay."""
    for key in list(_pools) if _owner == os.getpid() else ():
        close_pool(key)
