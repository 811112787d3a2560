"""The log of a run: what logging says while it goes on, without secrets, into a file and into the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from beam_datahub.security import RedactingFilter

if TYPE_CHECKING:
    from beam_datahub.store.records import LogLine

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Whole tracebacks go to the file; the store keeps the beginning.
_LONGEST = 2000
# Of a step that logs each record the store keeps the first lines; the file has them all.
_MOST = 10_000


class RunLog(logging.Handler):
    """Keeps what is logged at INFO and above; of Beam, which tells a lot at INFO, warnings and errors."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(logging.INFO)
        self.addFilter(RedactingFilter())
        self._waiting: list[LogLine] = []
        self._room = _MOST
        self._guard = threading.Lock()
        self._stream = None
        self.setFormatter(logging.Formatter(_FORMAT))
        if file is not None:
            try:
                self._stream = file.open("a", encoding="utf-8", errors="replace")
            except OSError:
                self._stream = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        if record.levelno < logging.WARNING and record.name.startswith("apache_beam"):
            return
        try:
            self._keep(record)
        except Exception:
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        from beam_datahub.store.records import LogLine

        text = self.format(record)
        with self._guard:
            if self._stream is not None and not self._stream.closed:
                self._stream.write(text + "\n")
                self._stream.flush()
            if self._room > 0:
                self._room -= 1
                message = record.getMessage() if not record.exc_text else f"{record.getMessage()}\n{record.exc_text}"
                at = datetime.fromtimestamp(record.created, UTC)
                self._waiting.append(LogLine(message[:_LONGEST], _level(record.levelno), record.name, at=at))

    def taken(self) -> list[LogLine]:
        """The lines since the last call."""
        with self._guard:
            found, self._waiting = self._waiting, []
            return found

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            if self._stream is not None:
                self._stream.close()
        super().close()


def _level(number: int) -> str:
    return logging.getLevelName(max(10, min(50, number // 10 * 10)))


@contextmanager
def logged(log: RunLog) -> Iterator[None]:
    """Let `log` hear what is logged meanwhile; a terminal hears no more than before."""
    root = logging.getLogger()
    level, disabled = root.level, logging.root.manager.disable
    others = [(handler, handler.level) for handler in root.handlers]
    # Whoever silenced logging as a whole meant the terminal.
    for handler, own in others:
        handler.setLevel(max(own, level, disabled + 1 if disabled else 0))
    root.addHandler(log)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.removeHandler(log)
        for handler, own in others:
            handler.setLevel(own)
