"""The folder of an attempt of a stream: there its workers leave what they report, and hear what they are to do."""

from __future__ import annotations

import glob
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from beam_datahub.compiler.stream_control import Control, ControlFile

LOGGER = logging.getLogger("beam_datahub.run")

# Of so many runs that died, the newest, is looked for what they left.
_RUNS = 20
# So long after the last word of its launcher a job has ended by itself.
_OVER_SECONDS = 600.0


class AttemptPlace:
    """The folder of an attempt: in `shared`, which workers of other machines reach as well, or else in `folder`, which goes with
    the attempt.
    """

    def __init__(self, shared: str | None, folder: str, name: str) -> None:
        self._shared = shared is not None
        self.is_over = False
        """Whether the job has ended: then the folder goes as well."""
        self._path = _in(shared, name) if shared else folder
        self.reports = f"{self._path}/reports"
        self.control = ControlFile(_control(self._path))
        if "://" not in self._path:
            os.makedirs(self.reports, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Nobody takes what comes any more: a job that may go on is told to end."""
        if not self._shared:
            return
        with suppress(Exception):
            if self.is_over:
                _remove(self._path)
            else:
                self.control.write(Control(stopping=True))


def end_left_behind(shared: str | None, runs: Sequence[str]) -> None:
    """Tell the jobs to end that runs which have died may have left on a cluster, so that they take no room from the next."""
    if shared is None:
        return
    for run in runs[-_RUNS:]:
        for path in _controls(shared, run):
            try:
                told = ControlFile(path)
                if time.time() - told.look().at > _OVER_SECONDS:
                    _remove(path.rpartition("/")[0])
                elif not told.look().stopping:
                    LOGGER.info("what the run %s may have left on its engine is told to end", run)
                    told.write(Control(stopping=True))
            except Exception as error:
                LOGGER.debug("what is left of the run %s could not be told to end: %s", run, error)


def _remove(place: str) -> None:
    if "://" not in place:
        shutil.rmtree(place, ignore_errors=True)
        return
    from apache_beam.io.filesystems import FileSystems

    FileSystems.delete([place])


def _controls(shared: str, run: str) -> Iterator[str]:
    pattern = _control(_in(shared, f"{run}-*"))
    if "://" not in shared:
        yield from glob.glob(pattern)
        return
    from apache_beam.io.filesystems import FileSystems

    with suppress(Exception):
        (found,) = FileSystems.match([pattern])
        yield from (each.path for each in found.metadata_list)


def _in(shared: str, name: str) -> str:
    return f"{shared.rstrip('/')}/{name}"


def _control(place: str) -> str:
    return f"{place}/control.json"
