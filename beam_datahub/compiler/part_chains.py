"""A source of several tables becomes a source for each of them, with steps, rules and destinations of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from beam_datahub.compiler.draft import BuildOptions, Draft
from beam_datahub.compiler.sources import connector_of
from beam_datahub.component.source import SourcePart
from beam_datahub.errors import DataHubError, InvalidValue
from beam_datahub.spec import DestinationSpec, QualityRuleSpec, SourceSpec, SpecDocument, TransformationSpec

_TABLE, _SCHEMA, _KEY = "${table}", "${schema}", "${key}"
_Step = TypeVar("_Step", TransformationSpec, DestinationSpec)


def with_part_chains(document: SpecDocument, options: BuildOptions) -> SpecDocument:
    """The document with a chain for each part of its sources; the parts of `shop` are called `shop.orders` and so on.

    Raises DataHubError, placed at the source.
    """
    groups = {name: parts for name, parts in _groups(document, options).items() if parts is not None}
    return _Multiplied(document, groups).document() if groups else document


def _groups(document: SpecDocument, options: BuildOptions) -> dict[str, dict[str, SourcePart] | None]:
    found: dict[str, dict[str, SourcePart] | None] = {}
    for name, spec in document.integration.sources.items():
        # Rows that are given stand for any one of the tables.
        if "tables" not in spec.options or name in options.sources:
            continue
        try:
            parts = connector_of(Draft(document, BuildOptions()), spec).several()
        except DataHubError as error:
            raise error.at(document.place(*spec.at)) from error
        found[name] = None if parts is None else _named(parts)
        if parts is not None and (spec.columns is not None or spec.subject is not None):
            reason = f"the source '{name}' reads several tables, which have columns of their own"
            raise InvalidValue(reason, hint="leave out `schema`, or name one `table`").at(document.place(*spec.at))
    return found


def _named(parts: Sequence[SourcePart]) -> dict[str, SourcePart]:
    """The parts by names that can stand in ids."""
    found: dict[str, SourcePart] = {}
    for part in parts:
        name = stem = re.sub(r"[^A-Za-z0-9_-]", "_", part.name)
        number = 1
        while name in found:
            number += 1
            name = f"{stem}_{number}"
        found[name] = part
    return found


class _Multiplied:
    """Copies what hangs on sources of several parts."""

    def __init__(self, document: SpecDocument, groups: Mapping[str, Mapping[str, SourcePart]]) -> None:
        self._document, self._groups = document, groups
        self._spec = document.integration
        # Which group each source, step and destination hangs on.
        self._owners = {name: name for name in groups}
        self._parts: dict[str, str] = {}

    def document(self) -> SpecDocument:
        """The document with the copies in the places of what is copied."""
        self._follow()
        sources: dict[str, SourceSpec] = {}
        for name, source in self._spec.sources.items():
            if name not in self._groups:
                sources[name] = source
            for part_name, part in self._used(name).items():
                kept = {key: value for key, value in source.options.items() if key not in ("tables", "exclude")}
                told = self._told(name, part_name, part)
                sources[told] = source.model_copy(update={"name": told, "options": {**kept, **part.options}})
        steps = self._each(self._spec.transformations, lambda step, part: step)
        sinks = self._each(self._spec.destinations, self._addressed)
        self._refuse_one_place(sinks)
        rules = [copy for rule in self._spec.quality_rules for copy in self._rules(rule)]
        update: dict[str, Any] = {
            "sources": sources,
            "transformations": steps,
            "destinations": sinks,
            "quality_rules": tuple(rules),
        }
        profile = self._spec.profile
        if profile is not None and profile.steps is not None:
            listed = tuple(each for step in profile.steps for each in self._copies(step))
            update["profile"] = profile.model_copy(update={"steps": listed})
        found = self._document.changed(**update)
        found.parts = self._parts
        return found

    def _used(self, group: str) -> Mapping[str, SourcePart]:
        """The parts of a group; where nothing hangs on all of them, those that are named."""
        parts = self._groups.get(group, {})
        if any(owner == group for name, owner in self._owners.items() if name != group):
            return parts
        named = {*_texts([(step.input, step.config) for step in self._spec.transformations])}
        named |= {*_texts([sink.input for sink in self._spec.destinations])}
        return {name: part for name, part in parts.items() if f"{group}.{name}" in named} or parts

    def _follow(self) -> None:
        """Find what hangs on which group. Raises InvalidValue where something hangs on two."""
        nodes: list[TransformationSpec | DestinationSpec] = [*self._spec.transformations, *self._spec.destinations]
        found = True
        while found:
            found = False
            for node in nodes:
                owners = {owner for name in node.input if (owner := self._owner(name)) is not None}
                if len(owners) > 1:
                    names = " and ".join(f"'{each}'" for each in sorted(owners))
                    hint = f"name one table of each, such as `{min(owners)}.{next(iter(self._groups[min(owners)]), 'orders')}`"
                    reason = f"'{node.id}' hangs on {names}, which both read several tables"
                    raise InvalidValue(reason, hint=hint).at(self._document.place(*node.at, "input"))
                if owners and node.id not in self._owners:
                    self._owners[node.id] = owners.pop()
                    found = True

    def _owner(self, reference: str) -> str | None:
        step, _, branch = reference.partition(".")
        if branch and step in self._groups:
            # One of its tables by name.
            return None
        return self._owners.get(reference) or self._owners.get(step)

    def _copies(self, step: str) -> list[str]:
        owner = self._owners.get(step)
        return [step] if owner is None else [f"{step}.{name}" for name in self._groups[owner]]

    def _told(self, name: str, part_name: str, part: SourcePart) -> str:
        told = f"{name}.{part_name}"
        self._parts[told] = part.name
        return told

    def _each(self, steps: Sequence[_Step], change: Callable[[_Step, SourcePart], _Step]) -> tuple[_Step, ...]:
        found: list[_Step] = []
        for step in steps:
            owner = self._owners.get(step.id)
            if owner is None:
                found.append(step)
                continue
            for part_name, part in self._groups[owner].items():
                inputs = tuple(self._input(name, owner, part_name) for name in step.input)
                copy = step.model_copy(update={"id": self._told(step.id, part_name, part), "input": inputs})
                found.append(change(copy, part))
        return tuple(found)

    def _input(self, reference: str, owner: str, part: str) -> str:
        if self._owner(reference) != owner:
            return reference
        step, _, branch = reference.partition(".")
        return f"{step}.{part}.{branch}" if branch else f"{step}.{part}"

    def _addressed(self, sink: DestinationSpec, part: SourcePart) -> DestinationSpec:
        """A destination with its part's names in the places that are kept for them."""
        if _KEY in sink.key and not part.key:
            hint = "leave it out with `exclude`, or take another write_mode for it"
            reason = f"the table '{part.name}' has no primary key for `key: {_KEY}`"
            raise InvalidValue(reason, hint=hint).at(self._document.place(*sink.at, "key"))
        key = tuple(name for each in sink.key for name in (part.key if each == _KEY else (each,)))
        return sink.model_copy(
            update={"key": key, "connection": _filled(sink.connection, part), "options": _filled(sink.options, part)}
        )

    def _refuse_one_place(self, sinks: Sequence[DestinationSpec]) -> None:
        for number, sink in enumerate(sinks):
            for other in sinks[:number]:
                same = sink.at == other.at and (sink.connection, sink.options) == (other.connection, other.options)
                if same and sink.write_mode not in (None, "append"):
                    reason = f"'{self._parts[other.id]}' and '{self._parts[sink.id]}' would be written to the same place"
                    hint = f"put the table's name into it, as in `table: {_TABLE}`"
                    raise InvalidValue(reason, hint=hint).at(self._document.place(*sink.at))

    def _rules(self, rule: QualityRuleSpec) -> list[QualityRuleSpec]:
        step, _, branch = rule.step.partition(".")
        owner = self._owners.get(rule.step) or (self._owners.get(step) if step not in self._groups else None)
        if owner is None:
            return [rule]
        found = []
        for part_name, part in self._groups[owner].items():
            judged = f"{step}.{part_name}.{branch}" if branch else f"{step}.{part_name}"
            found.append(rule.model_copy(update={"name": f"{rule.name} ({part.name})", "step": judged}))
        return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(each)


def _filled(value: Any, part: SourcePart) -> Any:
    if isinstance(value, str):
        return value.replace(_TABLE, part.name).replace(_SCHEMA, part.schema or "")
    if isinstance(value, Mapping):
        return {key: _filled(each, part) for key, each in value.items()}
    return [_filled(each, part) for each in value] if isinstance(value, list | tuple) else value
