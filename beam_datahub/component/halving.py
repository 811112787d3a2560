"""Finds the rows that a system refuses among many of which it only says that it does not take them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

_Refusal = TypeVar("_Refusal")


def singled_out(count: int, attempt: Callable[[int, int], _Refusal | None], first: int = 0) -> Iterator[tuple[int, _Refusal]]:
    """Write `count` rows from row `first` on by halves until each half is taken or is one row: gives the rows that are refused.

    `attempt(first, count)` writes all of some rows or none, and gives None, or what is said of their refusal.
    """
    if count == 0 or (refusal := attempt(first, count)) is None:
        return
    if count == 1:
        yield first, refusal
        return
    half = count // 2
    yield from singled_out(half, attempt, first)
    yield from singled_out(count - half, attempt, first + half)
