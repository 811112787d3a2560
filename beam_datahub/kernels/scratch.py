"""Temporary files whose names tell which process they belong to, so that what a dead one left can be removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress

_NAME = re.compile(r"beam-datahub-[a-z]+-(?P<space>\d+)-(?P<pid>\d+)-")


def scratch_prefix(purpose: str) -> str:
    """How the name of a temporary file or folder of this process begins; `purpose` is a word in lower case."""
    return f"beam-datahub-{purpose}-{_space()}-{os.getpid()}-"


def sweep_scratch(folder: str | None = None) -> int:
    """Remove what processes that are gone left in `folder` (default: where temporary files go); gives how many it were."""
    place, swept = folder or tempfile.gettempdir(), 0
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            found = _NAME.match(entry.name)
            if found is None or found["space"] != _space() or _runs(int(found["pid"])):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid != os.getuid():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
                swept += 1
    return swept


def _space() -> str:
    """The number space that process ids are of: a container that shares the folder has ids of its own."""
    try:
        return "".join(sign for sign in os.readlink("/proc/self/ns/pid") if sign.isdigit())
    except OSError:
        return "0"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
