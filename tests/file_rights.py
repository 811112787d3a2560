"""Lets the rights of files hold for root as well, who may otherwise pass over them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Of Linux's prctl(): the numbers of its calls, and the bit that lets access() go by the capabilities in force.
_GET_BITS, _SET_BITS, _NO_FIXUP = 27, 28, 4


@contextmanager
def without_overriding() -> Iterator[None]:
    """Take from this thread, and those that it starts, the right to pass over rights; elsewhere than on Linux nothing."""
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    header, before, without = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    library.capget(header, before)
    without[:] = before[:]
    # Capabilities 1 and 2 are those that let root pass over the rights of files.
    without[0] &= ~0b110
    bits = library.prctl(_GET_BITS)
    library.prctl(_SET_BITS, bits | _NO_FIXUP)
    library.capset(header, without)
    try:
        yield
    finally:
        library.capset(header, before)
        library.prctl(_SET_BITS, bits)
