"""A plan while it is built: its nodes, what is wrong with it, and what its parts are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from beam_datahub.compiler.plan import Node, Write
from beam_datahub.component.operators import Route
from beam_datahub.component.registry import component
from beam_datahub.component.source import Source
from beam_datahub.errors import DataHubError, ErrorGroup, InvalidValue, MissingValue, SpecError, UnknownName
from beam_datahub.spec import (
    DeadLetterSpec,
    DestinationSpec,
    RegisteredSchemas,
    SourceSpec,
    SpecDocument,
    SubjectSpec,
    validate_config,
)
from beam_datahub.spec.words import option_names

DEAD_LETTER_STEP = "dead_letter"
VIOLATIONS_STEP = "violations"


@dataclass(frozen=True)
class BuildOptions:
    """How a plan is built. `given` replaces sources by rows (tables) and `limit` ends each split early, for previews;
    without `outputs` the destinations are left out. Without `guards_personal_data`, nobody asks whether destinations may hold
    what they get. Without `estimates`, a source whose schema is declared is not looked at: there may be no way to it from here.
    `follows` are given sources that stand for a stream.
    """

    run_id: str = "plan"
    threads: int | None = None
    limit: int | None = None
    split_bytes: int | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    dead_letter_folder: str | None = None
    violations_folder: str | None = None
    outputs: bool = True
    guards_personal_data: bool = True
    estimates: bool = True
    follows: frozenset[str] = frozenset()


class Draft:
    """What of a plan is built; `errors` are placed, and `broken` names what has them. `warnings` say where they belong."""

    def __init__(self, document: SpecDocument, options: BuildOptions) -> None:
        self.document, self.options = document, options
        self.spec = document.integration
        self.nodes: dict[str, Node] = {}
        self.errors: list[DataHubError] = []
        self.warnings: list[str] = []
        self.broken: set[str] = set()

    def raise_all(self) -> None:
        """Raise what is wrong, in the order of the lines, each place and reason once."""
        unique = list({str(error): error for error in self.errors}.values())
        unique.sort(key=lambda error: (error.place.line or 0) if error.place else 0)
        if unique:
            found = unique[0] if len(unique) == 1 else ErrorGroup(unique)
            found.warnings = tuple(self.warnings)
            raise found

    def guarded(self, name: str, at: tuple[str | int, ...], work: Callable[[], None]) -> None:
        """Do `work` for what is called `name` and stands at `at`; what it raises is kept, placed there."""
        try:
            work()
        except DataHubError as error:
            self.broken.add(name)
            for each in error.errors if isinstance(error, ErrorGroup) else (error,):
                part = self.document.parts.get(name)
                if part is not None and f"'{part}'" not in each.reason:
                    # The place is that of all of the tables.
                    each.reason = f"{part}: {each.reason}"
                self.errors.append(each.at(self.document.place(*at)))

    def resolve(self, reference: str, at: tuple[str | int, ...]) -> str | None:
        """The node id behind an input of the spec; None when the step behind it is itself in error."""
        step, _, branch = reference.rpartition(".")
        name = reference if reference in self.nodes or reference in self.broken else step or reference
        if name in self.broken:
            return None
        node = self.nodes.get(name)
        if node is None:
            raise UnknownName("step", reference, self._references()).at(self.document.place(*at))
        if isinstance(node.operator, Route):
            branches = [f"{name}.{each}" for each in _branches(node.operator)]
            if reference not in branches:
                hint = f"take one of {', '.join(branches)}"
                raise InvalidValue(f"'{reference}' has several outputs", hint=hint).at(self.document.place(*at))
        elif branch and name != reference:
            raise UnknownName("branch", reference, self._references()).at(self.document.place(*at))
        return reference

    def _references(self) -> list[str]:
        names: list[str] = []
        for node in self.nodes.values():
            if isinstance(node.operator, Route):
                names += [f"{node.id}.{each}" for each in _branches(node.operator)]
            elif not isinstance(node.operator, Write) and "#" not in node.id:
                names.append(node.id)
        return names

    def schema(self, reference: str) -> pa.Schema:
        """The columns behind a reference."""
        return (self.nodes[reference] if reference in self.nodes else self.nodes[reference.rpartition(".")[0]]).schema

    def component(self, kind: Any, name: str, *at: str | int) -> Any:
        """A component by name. Raises UnknownName, placed."""
        try:
            return component(kind, name)
        except UnknownName as error:
            raise error.at(self.document.place(*at)) from None

    def configs(self, kind: Any, spec: SourceSpec | DestinationSpec | DeadLetterSpec) -> tuple[BaseModel, BaseModel]:
        """A connector's connection and options. Raises ErrorGroup."""
        errors: list[SpecError] = []
        at = (*spec.at, "connection")
        settings = self.document.settings(spec.connection, spec.connector, *at)
        reach = validate_config(kind.Connection, settings, self.document, *at, errors=errors)
        how = validate_config(kind.Options, spec.options, self.document, *spec.at, errors=errors)
        if reach is None or how is None:
            for error in errors:
                if isinstance(error, UnknownName) and error.place is not None:
                    # An option of the one that was written among those of the other.
                    if error.place.path == (*at, error.name) and error.name in option_names(kind.Options):
                        error.hint = "it stands beside `connection`, not under it"
                    elif error.place.path == (*spec.at, error.name) and error.name in option_names(kind.Connection):
                        error.hint = "it stands under `connection`"
            raise ErrorGroup(errors)
        resolved = getattr(reach, "resolved", None)
        return (resolved(str(self.document.folder)) if resolved is not None else reach), how

    def registry(self, subject: SubjectSpec) -> RegisteredSchemas:
        """The schema registry, for a subject. Raises MissingValue without one."""
        if self.document.schemas is None:
            raise MissingValue(f"the subject '{subject.name}' is in the schema registry, and there is no store here")
        return self.document.schemas


def _branches(route: Route) -> list[str]:
    return list(dict.fromkeys([name for name, _ in route.branches] + ([route.default] if route.default else [])))
