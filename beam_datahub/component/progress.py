"""Process-local counters that a terminal can watch while a run goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Progress:
    """Rows by (step, term); DoFns add, the launcher looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.stopping = False

    def add(self, step: str, term: str, rows: int) -> None:
        """Add rows to a step's term."""
        with self._lock:
            self._counts[step, term] += rows

    def put(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Take counts that somebody else keeps in the place of the own ones."""
        with self._lock:
            self._counts = Counter(counts)

    def snapshot(self) -> dict[tuple[str, str], int]:
        """The counts as they are now."""
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        """Start again for another run of the same process."""
        with self._lock:
            self._counts.clear()
            self.stopping = False


PROGRESS = Progress()
