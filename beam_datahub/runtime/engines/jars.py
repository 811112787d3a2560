"""Where the jars of job servers come from, and whether they are here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from beam_datahub.errors import DataHubError, MissingDependency
from beam_datahub.runtime.engines.declaration import Readiness
from beam_datahub.runtime.engines.java import java, maven

_ORIGIN = "ORIGIN"


def named_path(variable: str, path: str) -> Path:
    """What a variable names. Raises MissingDependency where it is not there."""
    found = Path(path).expanduser()
    if not found.exists():
        raise MissingDependency(f"{variable} names {path}, which is not there", hint=f"mend it, or unset {variable}")
    return found


def clean(folder: Path, *, keep: str) -> None:
    """Remove all of a folder but one entry."""
    for entry in folder.iterdir():
        if entry.name == keep:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def note_origin(folder: Path, text: str) -> None:
    """Keep in a folder of the cache where its jars are from."""
    (folder / _ORIGIN).write_text(text, "utf-8")


def origin(jars: Path) -> str:
    """Where jars of the cache are from, in parentheses; empty for others."""
    try:
        return f" ({(jars.parent / _ORIGIN).read_text('utf-8')})"
    except OSError:
        return ""


def java_readiness(name: str, what: str, summary: str, here: Callable[[], Path | None]) -> Readiness:
    """Whether Java and a job server are here; `here` finds the server without fetching it."""
    try:
        program = java()
        found = here()
    except DataHubError as error:
        return Readiness(False, error.reason, error.hint)
    if found is not None:
        return Readiness(True, f"{summary}; {program}, {found}{origin(found)}")
    how = "fetches it, or builds it with Maven" if maven() else "fetches it; without Maven it cannot be built"
    return Readiness(False, f"{what} is not here yet", f"the first run {how}, as does: beam-datahub engines test {name}")
