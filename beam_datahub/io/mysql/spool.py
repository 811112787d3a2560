"""Texts of LOAD DATA that wait in temporary files of this process until they are published.

Nobody else finds them: for runs whose rows the process that staged them publishes, or nobody does.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from beam_datahub.kernels.scratch import scratch_prefix

# Where temporary files lie there may be little room, or memory: what does not fit goes elsewhere.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Spooled:
    """What a receipt says of rows in a spool: what LOAD DATA is told of their columns."""

    columns: str


class Spool:
    """Texts in the order in which they came: a file for each change of their characters."""

    most_bytes = _MOST_BYTES
    """How much all spools of the process hold at most."""
    _all_bytes = 0
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []
        """The character set of each file, and its path."""
        self._open: int | None = None
        self._bytes = 0

    def keep(self, letters: str, texts: Iterable[memoryview]) -> bool:
        """Keep the texts; False where there is no room for all of them, and none is kept."""
        kept = 0
        try:
            file = self._file(letters)
            start = os.lseek(file, 0, os.SEEK_END)
        except OSError:
            return False
        try:
            for text in texts:
                if not self._take(len(text)):
                    break
                kept += len(text)
                while text:
                    text = text[os.write(file, text) :]
            else:
                return True
        except OSError:
            pass
        os.ftruncate(file, start)
        self._take(-kept)
        return False

    def _file(self, letters: str) -> int:
        if self._open is None or self.files[-1][0] != letters:
            file, path = tempfile.mkstemp(prefix=scratch_prefix("load"))
            self.close()
            self._open = file
            self.files.append((letters, path))
        return self._open

    def _take(self, size: int) -> bool:
        """Count bytes among those of all spools; False where those would be too many."""
        with Spool._lock:
            if size > 0 and Spool._all_bytes + size > self.most_bytes:
                return False
            Spool._all_bytes += size
        self._bytes += size
        return True

    def close(self) -> None:
        """Nothing more comes."""
        if self._open is not None:
            os.close(self._open)
        self._open = None

    def release(self) -> None:
        """Remove the files. Raises nothing."""
        self.close()
        for _, path in self.files:
            with suppress(OSError):
                os.unlink(path)
        self.files = []
        self._take(-self._bytes)
