"""What engines need and the package cannot bring along: fetched or built once, checked, and kept for all projects."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

SUMS = "SHA256SUMS"


def cache_folder() -> Path:
    """BEAM_DATAHUB_CACHE, else `beam-datahub` in the user's cache."""
    given = os.environ.get("BEAM_DATAHUB_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "beam-datahub"


def kept(name: str) -> Path | None:
    """The folder `name` of the cache; None when it is not there, or not as it was made."""
    folder = cache_folder() / name
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
        whole = all(_digest(folder / file) == digest for digest, _, file in (line.partition("  ") for line in lines))
    except OSError:
        return None
    return folder if lines and whole else None


def obtain(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache; `make` fills it where it is not there yet.

    Processes that want it at the same time wait for the one that makes it. Nobody meets half a folder.
    """
    found = kept(name)
    if found is not None:
        return found
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = kept(name)
        if found is not None:
            return found
        building = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
        try:
            make(building)
            files = sorted(file.relative_to(building) for file in building.rglob("*") if file.is_file())
            (building / SUMS).write_text("".join(f"{_digest(building / file)}  {file}\n" for file in files), "utf-8")
            building.chmod(0o755)
            shutil.rmtree(cache / name, ignore_errors=True)
            building.rename(cache / name)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return cache / name


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
