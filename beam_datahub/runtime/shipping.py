"""What other machines need to run an integration: this package, what it rests on in these versions, and the files of the user."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

import beam_datahub
from beam_datahub.errors import MissingDependency

_PACKAGE = "beam-datahub"
# What a spec may name beside data: modules of Python, other specs, schemas, queries.
_KINDS = {".py", ".yaml", ".yml", ".json", ".sql", ".avsc", ".proto"}
_NOT_SHIPPED = {"out", "__pycache__", "data", "tests"}


def exact_requirements(extras: Iterable[str] = ()) -> list[str]:
    """Everything that the package needs, as `name==version`, as it is installed here; with `extras` of Beam such as `gcp`."""
    found: dict[str, str] = {}
    # Of the extras, what is installed here is what the specs of this machine use.
    own = frozenset(metadata(_PACKAGE).get_all("Provides-Extra") or ()) - {"test"}
    waiting = [(_PACKAGE, own), ("apache-beam", frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            if name != _PACKAGE:
                found[name] = version(name)
        except PackageNotFoundError:
            continue
        waiting.extend(_needed(name, wanted))
    return [f"{name}=={found[name]}" for name in sorted(found)]


def _needed(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement

    for line in requires(name) or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": each}) for each in (*extras, "")):
            yield re.sub(r"[-_.]+", "-", needed.name).lower(), frozenset(needed.extras)


def package_line(folder: Path) -> str:
    """How pip gets this package: by its version, or by a wheel that is built into `folder` where it runs from a checkout.

    Raises MissingDependency where the wheel cannot be built.
    """
    root = Path(beam_datahub.__file__).resolve().parent.parent
    if not (root / "setup.py").is_file():
        return f"{_PACKAGE}=={beam_datahub.__version__}"
    with_copy = folder / ".source"
    # Building leaves its marks: beside a copy, so that two may build at once.
    shutil.copytree(root, with_copy, ignore=shutil.ignore_patterns(".*", "tests", "bench", "docs", "build", "*.egg-info", "out"))
    try:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
        done = subprocess.run([*command, str(folder), str(with_copy)], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(with_copy, ignore_errors=True)
    wheels = sorted(folder.glob("beam_datahub-*.whl"))
    if done.returncode != 0 or not wheels:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingDependency(f"the package could not be built: {said}", hint="pip install build setuptools wheel")
    return f"./{wheels[0].name}"


def ship(spec: Path, folder: Path) -> list[str]:
    """Copy a spec as `integration.yaml`, and the modules, schemas and queries beside it, to `folder`; gives their names there."""
    here = spec.parent.resolve()
    shipped = []
    for file in sorted(here.rglob("*")):
        inside = file.relative_to(here)
        hidden = any(part.startswith(".") or part in _NOT_SHIPPED for part in inside.parts)
        if hidden or not file.is_file() or file.suffix not in _KINDS or file.resolve() == spec.resolve():
            continue
        if folder.resolve() in file.resolve().parents:
            continue
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / inside)
        shipped.append(str(inside))
    shutil.copyfile(spec, folder / "integration.yaml")
    return ["integration.yaml", *shipped]
