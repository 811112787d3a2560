"""What this process holds of outside systems until the run under way is published: connections, and leases of messages."""

from __future__ import annotations

import threading
from typing import Protocol, TypeVar


class Held(Protocol):
    """Something that is held."""

    def release(self) -> None:
        """Let others have it. Raises nothing."""


_lock = threading.Lock()
_held: dict[str, Held] = {}
_Kind = TypeVar("_Kind", bound=Held)


def hold(name: str, thing: Held) -> None:
    """Hold a thing under a name; what had the name before is released."""
    with _lock:
        before, _held[name] = _held.pop(name, None), thing
    if before is not None:
        before.release()


def held(name: str, kind: type[_Kind]) -> _Kind | None:
    """What this process holds under a name; None: another one does, or nobody any more."""
    with _lock:
        found = _held.get(name)
    return found if isinstance(found, kind) else None


def let_go(name: str) -> None:
    """Release what is held under a name."""
    with _lock:
        found = _held.pop(name, None)
    if found is not None:
        found.release()


def release_held() -> None:
    """Release all that this process holds: the run is over, and what it did not acknowledge is for others."""
    with _lock:
        found = list(_held.values())
        _held.clear()
    for each in found:
        each.release()
