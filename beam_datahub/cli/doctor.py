"""`doctor`: looks whether what runs need is here."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import click

from beam_datahub.cli.options import json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.store.location import Location

# Runs sort and join in temporary files where memory ends.
_LEAST_FREE_BYTES = 10**9
_DEVELOPMENT = ("test",)
_STYLES = {"fine": "green", "missing": "yellow", "broken": "red"}


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is and what to do; `broken` is what runs cannot do without."""

    what: str
    state: Literal["fine", "missing", "broken"]
    found: str
    hint: str | None = None


@click.command(short_help="Look whether what runs need is here.")
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """Look at Python, the machine, the packages, the engines, the store and the key that seals secrets.

    What is `missing` is optional, and the line below says how to get it. What is `broken` stops runs: the exit code is 1.
    """
    findings = [*_machine(), *_packages(), *_engines(), *_store(store)]
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        _show(findings)
    if any(finding.state == "broken" for finding in findings):
        click.get_current_context().exit(1)


def _machine() -> Iterator[Finding]:
    python = platform.python_version()
    new_enough = sys.version_info[:2] >= (3, 11)
    yield Finding("Python", "fine" if new_enough else "broken", python, None if new_enough else "install Python 3.11 or newer")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", "fine", str(cores))
    yield _memory()
    yield _temporary_space()


def _memory() -> Finding:
    from beam_datahub.cli.tables import size
    from beam_datahub.runtime.engines import EngineOptions

    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return Finding("memory", "fine", "unknown: the system does not tell")
    if total <= EngineOptions().memory_bytes:
        return Finding("memory", "missing", size(total), "give runs less than they take by default: run --memory 1GiB")
    return Finding("memory", "fine", size(total))


def _temporary_space() -> Finding:
    from beam_datahub.cli.tables import size

    hint = "name a folder with room in TMPDIR"
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("temporary space", "broken", error.strerror or "no folder can be written", hint)
    said = f"{size(free)} free in {folder}"
    enough = free >= _LEAST_FREE_BYTES
    return Finding("temporary space", "fine" if enough else "missing", said, None if enough else hint)


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        extras = metadata("beam-datahub").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        yield Finding("packages", "broken", "beam-datahub itself is not installed", "pip install beam-datahub")
        return
    lacking = _lacking(None)
    hint = f"pip install {' '.join(repr(each) for each in lacking)}" if lacking else None
    yield Finding("packages", "broken" if lacking else "fine", f"not here: {', '.join(lacking)}" if lacking else "all here", hint)
    for extra in extras:
        if extra in _DEVELOPMENT:
            continue
        lacking = _lacking(extra)
        said = f"not here: {', '.join(lacking)}" if lacking else "installed"
        hint = f"pip install 'beam-datahub[{extra}]'" if lacking else None
        yield Finding(f"extra {extra}", "missing" if lacking else "fine", said, hint)


def _lacking(extra: str | None) -> list[str]:
    """The requirements of an extra, or of the package itself, that no installed distribution meets."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    lacking = []
    for line in requires("beam-datahub") or ():
        needed = Requirement(line)
        marker = needed.marker
        always = marker is None or marker.evaluate({"extra": ""})
        wanted = always if extra is None else not always and marker is not None and marker.evaluate({"extra": extra})
        if not wanted:
            continue
        try:
            met = needed.specifier.contains(version(needed.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            lacking.append(f"{needed.name}{needed.specifier}")
    return lacking


def _engines() -> Iterator[Finding]:
    from beam_datahub.errors import DataHubError
    from beam_datahub.runtime.engines import ENGINES, named_engines

    for engine in ENGINES.values():
        state = engine.readiness()
        yield Finding(f"engine {engine.name}", "fine" if state.ready else "missing", state.found, state.hint)
    try:
        for name, profile in named_engines().items():
            yield Finding(f"engine {name}", "fine", f"a profile of {profile.name}: {' '.join(profile.preset)}")
    except DataHubError as error:
        yield Finding("profiles of engines", "broken", str(error), error.hint)


def _store(named: str | None) -> Iterator[Finding]:
    from beam_datahub.errors import DataHubError
    from beam_datahub.runtime.upkeep import opened, upkeep
    from beam_datahub.security.sealing import key_of
    from beam_datahub.store.location import locate

    sealed: dict[str, set[str | None]] = {}
    try:
        location = locate(named)
        if not location.exists():
            yield Finding("store", "missing", f"none at {location}", "the first run makes it, as does `beam-datahub store init`")
        else:
            with opened(location) as store:
                version = upkeep().info(store).version
                stored = store.reader.connections.all()
                sealed = {each.name: {key_of(text) for text in each.sealed.values()} for each in stored if each.sealed}
            locked = next((each for each in (location.path, location.folder) if each and not os.access(each, os.W_OK)), None)
            if locked is not None and location.path is not None:
                yield Finding("store", "broken", f"{locked} cannot be written", "let this user write it, or name another store")
            else:
                yield Finding("store", "fine", f"version {version} at {location}")
    except DataHubError as error:
        yield Finding("store", "broken", error.reason, error.hint)
        return
    yield _key(location, sealed)


def _key(location: Location, sealed: Mapping[str, set[str | None]]) -> Finding:
    """Whether the key is here; `sealed` are the keys with which the secrets of connections are sealed."""
    from beam_datahub.errors import WrongKey
    from beam_datahub.security.sealing import KEY_VARIABLE, key_path, load_sealer

    needed = "give the key that sealed them with BEAM_DATAHUB_KEY or BEAM_DATAHUB_KEY_FILE"
    file = key_path(location.key_file)
    named = os.environ.get(KEY_VARIABLE, "").strip()
    if not named and not file.exists():
        if sealed:
            return Finding("key", "broken", f"none at {file}, which secrets of {', '.join(sealed)} need", needed)
        return Finding("key", "missing", f"none at {file}", "the first secret that is kept makes it")
    try:
        known = set(load_sealer(location.key_file).known)
    except WrongKey as error:
        return Finding("key", "broken", error.reason, error.hint)
    if locked := [name for name, keys in sealed.items() if not keys <= known]:
        return Finding("key", "broken", f"it does not open the secrets of {', '.join(locked)}", needed)
    return Finding("key", "fine", f"in {KEY_VARIABLE}" if named else str(file))


def _show(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from beam_datahub.cli.session import out

    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.found)
        if finding.hint:
            said.append(f"\n{finding.hint}", style="dim")
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), Text(finding.what), said)
    out().print(table)
