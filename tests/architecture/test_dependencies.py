"""What the package imports and what setup.py asks for are the same."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = (ROOT / "setup.py").read_text("utf-8")

# Asked for ahead of the code that imports them; an entry goes as soon as the package imports it.
PROMISED: dict[str, str] = {}


def requirement_names(variable: str) -> set[str]:
    """The normalised names in a list, or in all lists of a mapping, of setup.py."""
    lists_of: dict[str, Any] = {}
    for node in ast.parse(SETUP).body:
        # Some lists are made of others.
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Dict):
            exec(compile(ast.Module([node], []), "setup.py", "exec"), lists_of)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == variable:
            value = lists_of[variable]
            lists = value.values() if isinstance(value, dict) else [value]
            return {normalised(re.split(r"[\[<>=!~;\s]", requirement)[0]) for each in lists for requirement in each}
    raise AssertionError(f"setup.py has no {variable}")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules() -> dict[str, str]:
    """Every outside module that the package imports, at the top of a file or late, with one file that does."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "beam_datahub").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                top = name.split(".")[0]
                if top != "beam_datahub" and top not in sys.stdlib_module_names:
                    found.setdefault(name, str(file.relative_to(ROOT)))
    return found


@cache
def installed() -> Mapping[str, list[str]]:
    """The distributions of every importable module."""
    return packages_distributions()


def distributions_of(module: str) -> set[str]:
    """The distributions that may provide a module; several share namespaces such as `google.cloud`."""
    names = {normalised(name) for name in installed().get(module.split(".")[0], [])}
    if module.startswith("google.cloud."):
        return {normalised("google-cloud-" + module.split(".")[2])}
    return {"pydantic" if name == "pydantic-core" else name for name in names}


def test_every_import_is_asked_for_by_setup_py() -> None:
    asked = requirement_names("DEPENDENCIES") | requirement_names("EXTRAS")
    missing = [
        f"{file} imports {module} of {sorted(distributions_of(module)) or 'no installed package'}"
        for module, file in imported_modules().items()
        if not distributions_of(module) & asked
    ]
    assert missing == []


def test_every_dependency_is_imported_or_promised() -> None:
    used = {name for module in imported_modules() for name in distributions_of(module)}
    assert requirement_names("DEPENDENCIES") - used == set(PROMISED)


@pytest.mark.parametrize("line", SETUP.split("DEPENDENCIES = [\n")[1].split("\n]")[0].splitlines())
def test_every_dependency_has_a_range_and_a_reason(line: str) -> None:
    assert re.fullmatch(r' {4}"[a-z][^"]*[<=][^"]*",  # \w.+', line)
