"""Fills in ids and inputs, and checks that every reference between steps names something."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_datahub.errors import InvalidValue, MissingValue, SpecError, UnknownName
from beam_datahub.spec.tree import Keys

Report = Callable[[SpecError, Keys], None]


@dataclass(frozen=True)
class Node:
    """A source, transformation or destination: its id, where it stands, what it reads, and what was written."""

    id: str
    at: Keys
    raw: Mapping[str, Any]
    input: tuple[str, ...] = ()


@dataclass
class Graph:
    """The nodes of a spec, as far as they could be made out."""

    sources: list[Node] = field(default_factory=list)
    transformations: list[Node] = field(default_factory=list)
    destinations: list[Node] = field(default_factory=list)


def read_graph(raw: Mapping[str, Any], report: Report, line: Callable[[Keys], int | None]) -> Graph:
    """The graph of a raw spec; tolerates parts of a wrong shape, which the models report."""
    graph = Graph()
    sources = _sources(raw, report)
    steps = _entries(raw.get("transformations"), ("transformations",))
    sinks = _destinations(raw, report)
    taken: dict[str, Keys] = {}
    for name, at, each in sources:
        taken[name] = at
        graph.sources.append(Node(name, at, each))
    for at, each in [*steps, *sinks]:
        _claim(each.get("id"), at, taken, report, line)
    names = {at: _id(each.get("id"), each.get("type"), "step", at, taken) for at, each in steps}
    names |= {at: _id(each.get("id"), each.get("connector"), "destination", at, taken) for at, each in sinks}
    known = [name for name, _, _ in sources] + [names[at] for at, _ in steps]
    check = _Inputs(known, [names[at] for at, _ in sinks], report)
    before: str | None = None
    for at, each in steps:
        found = check.of(each, at, before, [name for name, _, _ in sources], "a first step")
        graph.transformations.append(Node(names[at], at, each, found))
        before = names[at]
    for at, each in sinks:
        found = check.of(each, at, before, [name for name, _, _ in sources], "a destination")
        if len(found) > 1:
            report(
                InvalidValue("a destination has one input", hint="put a transformation of type union before it"),
                (*at, "input"),
            )
        graph.destinations.append(Node(names[at], at, each, found))
    return graph


def _sources(raw: Mapping[str, Any], report: Report) -> list[tuple[str, Keys, Mapping[str, Any]]]:
    several, single = raw.get("sources"), raw.get("source")
    if several is not None and single is not None:
        report(InvalidValue("`source` and `sources` are both given", hint="`source` is for just one; remove it"), ("source",))
    if several is None and single is None:
        report(MissingValue("`sources` is missing", hint="say where the records come from: `source: {connector: …}`"), ())
    if isinstance(several, Mapping):
        return [(name, ("sources", name), each) for name, each in several.items() if isinstance(each, Mapping)]
    if isinstance(single, Mapping):
        if single.get("name") is not None and single.get("id") is not None:
            report(InvalidValue("`name` and `id` are both given", hint="they mean the same; remove one"), ("source", "id"))
        name = single.get("name") or single.get("id")
        return [(name if isinstance(name, str) else "source", ("source",), single)]
    return []


def _destinations(raw: Mapping[str, Any], report: Report) -> list[tuple[Keys, Mapping[str, Any]]]:
    several, single = raw.get("destinations"), raw.get("destination")
    if several is not None and single is not None:
        reason = "`destination` and `destinations` are both given"
        report(InvalidValue(reason, hint="`destination` is for just one; remove it"), ("destination",))
    if several is None and single is None:
        hint = "say where the records go: `destination: {connector: …}`"
        report(MissingValue("`destinations` is missing", hint=hint), ())
    if several is None and isinstance(single, Mapping):
        return [(("destination",), single)]
    return _entries(several, ("destinations",))


def _entries(raw: Any, at: Keys) -> list[tuple[Keys, Mapping[str, Any]]]:
    if not isinstance(raw, list):
        return []
    return [((*at, position), each) for position, each in enumerate(raw) if isinstance(each, Mapping)]


def _claim(name: Any, at: Keys, taken: dict[str, Keys], report: Report, line: Callable[[Keys], int | None]) -> None:
    if not isinstance(name, str):
        return
    if name in taken:
        hint = "sources, transformations and destinations share one set of names"
        report(InvalidValue(f"the id '{name}' is taken already (line {line(taken[name])})", hint=hint), (*at, "id"))
    taken.setdefault(name, at)


def _id(written: Any, otherwise: Any, last: str, at: Keys, taken: dict[str, Keys]) -> str:
    if isinstance(written, str):
        return written
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", otherwise) if isinstance(otherwise, str) and otherwise else last
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken[name] = at
    return name


class _Inputs:
    """Finds the inputs of a node and checks that they exist."""

    def __init__(self, known: list[str], sinks: list[str], report: Report) -> None:
        self._known = known
        self._sinks = set(sinks) - set(known)
        self._report = report

    def of(self, raw: Mapping[str, Any], at: Keys, before: str | None, sources: list[str], who: str) -> tuple[str, ...]:
        key = "input"
        if raw.get("dependencies") is not None and who != "a destination":
            key = "dependencies"
            if raw.get("input") is not None:
                reason = "`input` and `dependencies` are both given"
                self._report(InvalidValue(reason, hint="they mean the same; remove one"), (*at, "dependencies"))
        written = raw.get(key)
        if written is None:
            if before is not None:
                return (before,)
            if len(sources) > 1:
                listed = ", ".join(sources)
                self._report(
                    MissingValue("`input` is missing", hint=f"{who} must say which source it reads: {listed}"),
                    at,
                )
                return ()
            return tuple(sources)
        if isinstance(written, str):
            self.check(written, (*at, key))
            return (written,)
        if not isinstance(written, list):
            return ()
        for position, each in enumerate(written):
            if isinstance(each, str):
                self.check(each, (*at, key, position))
        return tuple(each for each in written if isinstance(each, str))

    def check(self, name: str, at: Keys) -> None:
        """Report a reference to what does not exist; `step.branch` is checked as far as the step."""
        if name in self._known or name.partition(".")[0] in self._known:
            return
        if name in self._sinks:
            self._report(InvalidValue(f"'{name}' is a destination, and nothing reads from a destination"), at)
        else:
            self._report(UnknownName("source or step", name, dict.fromkeys(self._known)), at)
