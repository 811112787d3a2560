"""How far workers on other machines are: each leaves its counts in a folder that all of them share with the launcher."""

from __future__ import annotations

import functools
import json
import logging
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from beam_datahub.component.progress import PROGRESS

LOGGER = logging.getLogger("beam_datahub.run")

_TELL_SECONDS = 3.0
_SEPARATOR = "\t"
# It is there as long as the launcher looks: workers may outlive the run a little.
_WANTED = "wanted"


@functools.cache
def tell_progress(folder: str) -> None:
    """Leave what this process counts from now on in `folder`, every few seconds, as long as the launcher looks; only a first call
    does something.
    """
    before = Counter(PROGRESS.snapshot())
    path = f"{folder}/{os.getpid()}-{uuid.uuid4().hex}.json"
    threading.Thread(target=_tell, args=(path, before), name="tell progress", daemon=True).start()


def _tell(path: str, before: Mapping[tuple[str, str], int]) -> None:
    told: dict[str, int] = {}
    pause = threading.Event()
    while True:
        pause.wait(_TELL_SECONDS)
        now = {_SEPARATOR.join(key): count - before.get(key, 0) for key, count in PROGRESS.snapshot().items()}
        if now == told:
            continue
        try:
            if not _is_wanted(os.path.dirname(path)):
                return
            _write(path, json.dumps(now).encode())
            told = now
        except Exception as failure:
            # It is there to be looked at; the run does without.
            LOGGER.debug("progress was not told: %s", failure)


def _is_wanted(folder: str) -> bool:
    from apache_beam.io.filesystems import FileSystems

    return bool(FileSystems.exists(f"{folder}/{_WANTED}"))


def _write(path: str, data: bytes) -> None:
    from apache_beam.io.filesystems import FileSystems

    fresh = f"{path}.new"
    with FileSystems.create(fresh, mime_type="application/json") as out:
        out.write(data)
    FileSystems.rename([fresh], [path])


@contextmanager
def gathered_progress(folder: str | None) -> Iterator[None]:
    """Let this process's progress be what workers leave in `folder`, until the block is left; None where they share it."""
    if folder is None:
        yield
        return
    _write(f"{folder}/{_WANTED}", b"")
    ended = threading.Event()
    thread = threading.Thread(target=_gather, args=(folder, ended), name="gather progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_TELL_SECONDS)
        with suppress(Exception):
            forget_progress(folder)


def _gather(folder: str, ended: threading.Event) -> None:
    while not ended.wait(_TELL_SECONDS):
        try:
            PROGRESS.put(told_progress(folder))
        except Exception as failure:
            LOGGER.debug("progress could not be read: %s", failure)


def told_progress(folder: str) -> dict[tuple[str, str], int]:
    """What all workers have counted, rows by (step, term); nothing where nobody has told anything."""
    from apache_beam.io.filesystems import FileSystems

    found: Counter[tuple[str, str]] = Counter()
    for match in FileSystems.match([f"{folder}/*.json"])[0].metadata_list:
        with FileSystems.open(match.path) as file:
            for key, count in json.loads(file.read()).items():
                step, _, term = key.partition(_SEPARATOR)
                found[step, term] += count
    return dict(found)


def forget_progress(folder: str) -> None:
    """Remove what was told."""
    from apache_beam.io.filesystems import FileSystems

    there = [match.path for match in FileSystems.match([f"{folder}/*"])[0].metadata_list]
    FileSystems.delete(sorted(there, key=lambda path: not path.endswith(_WANTED)))
    if os.path.isdir(folder):
        os.rmdir(folder)
