"""Process-local counters that a terminal can watch while an in-process run goes on."""

from __future__ import annotations

import threading
from collections import Counter


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
