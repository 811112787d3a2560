"""Finds components by name: one module a component, found by its file name, imported when it is asked for.

A connector is a module of `beam_datahub.io`, a transformation a module of `beam_datahub.transforms`, a quality rule a module of
`beam_datahub.quality`; third parties add theirs as entry points of the groups `beam_datahub.connectors`,
`beam_datahub.transforms` and `beam_datahub.rules`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeVar

from beam_datahub.errors import MissingDependency, UnknownName

Kind = Literal["source", "sink", "transform", "rule"]

_PACKAGES: dict[str, tuple[str, str]] = {
    "source": ("beam_datahub.io", "beam_datahub.connectors"),
    "sink": ("beam_datahub.io", "beam_datahub.connectors"),
    "transform": ("beam_datahub.transforms", "beam_datahub.transforms"),
    "rule": ("beam_datahub.quality", "beam_datahub.rules"),
}
_WORDS = {"source": "source connector", "sink": "destination connector", "transform": "transformation", "rule": "quality rule"}


@dataclass(frozen=True)
class Registration:
    """A registered component class, with the version of beam-datahub that first had it."""

    kind: Kind
    name: str
    since: str
    component: type


_registered: dict[tuple[str, str], Registration] = {}
_Class = TypeVar("_Class", bound=type)


def register(kind: Kind, name: str, *, since: str) -> Callable[[_Class], _Class]:
    """Register the decorated class as the `kind` called `name`."""

    def add(component: _Class) -> _Class:
        _registered[kind, name] = Registration(kind, name, since, component)
        component.name = name  # type: ignore[attr-defined]
        return component

    return add


@cache
def _modules(package: str, group: str) -> dict[str, str | EntryPoint]:
    path = importlib.import_module(package).__path__
    found: dict[str, str | EntryPoint] = {
        module.name: f"{package}.{module.name}" for module in pkgutil.iter_modules(path) if not module.name.startswith("_")
    }
    found.update({point.name: point for point in entry_points(group=group)})
    return found


def _load(kind: Kind, name: str) -> None:
    package, group = _PACKAGES[kind]
    target = _modules(package, group).get(name)
    try:
        if isinstance(target, EntryPoint):
            target.load()
        elif target is not None:
            importlib.import_module(target)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("beam_datahub"):
            raise
        raise MissingDependency(
            f"the {_WORDS[kind]} '{name}' needs the module '{error.name}'",
            hint=f"pip install 'beam-datahub[{name}]'",
        ) from error


def component(kind: Kind, name: str) -> type:
    """The class of the `kind` called `name`. Raises UnknownName with a guess."""
    if (kind, name) not in _registered:
        _load(kind, name)
    if (kind, name) not in _registered:
        raise UnknownName(_WORDS[kind], name, names(kind))
    return _registered[kind, name].component


def names(kind: Kind) -> list[str]:
    """The names of all components of a kind, sorted. Imports them all; those that lack a dependency are left out."""
    package, group = _PACKAGES[kind]
    for name in _modules(package, group):
        try:
            _load(kind, name)
        except MissingDependency:
            continue
    return sorted(name for (registered, name) in _registered if registered == kind)


def is_known(kind: Kind, name: str) -> bool:
    """Whether there is a component of this name; imports nothing."""
    return (kind, name) in _registered or name in _modules(*_PACKAGES[kind])


def registration(kind: Kind, name: str) -> Registration:
    """The registration of a component. Raises UnknownName."""
    component(kind, name)
    return _registered[kind, name]
