"""What the launcher of a stream tells its workers: what is published, whether to pause, when to end. It stands in one file."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# How often a file is looked at that no local disk holds.
_LOOK_SECONDS = 1.0
# How often the launcher says again what it has said, and after how long without a word it counts as gone.
SAY_SECONDS = 10.0
_GONE_SECONDS = 300.0


@dataclass(frozen=True)
class Control:
    """`published`: source → partition → the position up to which all is published. `at` is when it was said, in seconds since
    1970: a launcher that says nothing for long is gone, and nobody would publish what workers stage.
    """

    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paused: bool = False
    stopping: bool = False
    at: float = field(default_factory=time.time, compare=False)

    @property
    def is_over(self) -> bool:
        """Whether workers are to end."""
        return self.stopping or time.time() - self.at > _GONE_SECONDS


class ControlFile:
    """The file, as the launcher writes it and workers look at it; picklable."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, control: Control) -> None:
        """Put the file in place as a whole."""
        from apache_beam.io.filesystems import FileSystems

        data = json.dumps(control.__dict__).encode()
        if "://" in self._path:
            with FileSystems.create(self._path, mime_type="application/json") as out:
                out.write(data)
            return
        with open(self._path + ".new", "wb") as file:
            file.write(data)
        os.replace(self._path + ".new", self._path)

    def look(self) -> Control:
        """What it says now."""
        with _LOCK:
            seen = _SEEN.get(self._path)
            mark = self._mark()
            if seen is None or seen[0] != mark:
                _SEEN[self._path] = seen = (mark, self._read())
            return seen[1]

    def _mark(self) -> Any:
        if "://" in self._path:
            return int(time.monotonic() / _LOOK_SECONDS)
        found = os.stat(self._path)
        return (found.st_mtime_ns, found.st_ino)

    def _read(self) -> Control:
        from apache_beam.io.filesystems import FileSystems

        if "://" in self._path:
            with FileSystems.open(self._path) as file:
                return Control(**json.loads(file.read()))
        with open(self._path, "rb") as file:
            return Control(**json.loads(file.read()))


_LOCK = threading.Lock()
_SEEN: dict[str, tuple[Any, Control]] = {}
