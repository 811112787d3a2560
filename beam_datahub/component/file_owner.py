"""Which process a run is, so that another run on the same machine can tell whether it is still alive."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def owner() -> dict[str, str | int | None]:
    """This process: machine, boot, process id and start; a process id alone comes back after a while."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "space": _space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def is_dead(path: str) -> bool:
    """Whether the process named in the file is known to be gone; one of another machine or container is not known."""
    try:
        found = json.loads(Path(path).read_text())
    except FileNotFoundError:
        # Staging without an owner: its run died before it said who it was.
        return True
    except (OSError, ValueError):
        return False
    return bool(is_gone(found))


def is_gone(found: Mapping[str, Any]) -> bool | None:
    """Whether the process that `owner` told of is gone; None where that cannot be known from here: another machine's or
    container's.
    """
    if found.get("host") != socket.gethostname():
        return None
    if found.get("boot") != _boot():
        return True
    if found.get("space") != _space():
        return None
    return bool(_started(int(found["pid"])) != found.get("started"))


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _space() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process started, in the system's own words; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "running"
    return "running"
