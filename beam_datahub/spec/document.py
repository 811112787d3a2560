"""Loads a spec: reads the file, resolves its references, validates it, and remembers where everything stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from beam_datahub.errors import DataHubError, InvalidValue, MissingValue, Place, UnknownName
from beam_datahub.security import Secrets, default_providers
from beam_datahub.spec.assembly import integration
from beam_datahub.spec.findings import Findings
from beam_datahub.spec.graph import Graph, read_graph
from beam_datahub.spec.model import Integration, SubjectSpec, TransformationSpec
from beam_datahub.spec.parameters import ParameterSpec, resolve_parameters
from beam_datahub.spec.profiling import check_profile
from beam_datahub.spec.references import References
from beam_datahub.spec.tested import check_tests
from beam_datahub.spec.tree import Keys, Tree, read_text, read_tree
from beam_datahub.spec.words import shown
from beam_datahub.spec.written import WrittenIntegration


class StoredConnections(Protocol):
    """Knows connections by name."""

    def settings(self, name: str, connector: str, secrets: Secrets) -> Mapping[str, Any]:
        """The settings of a connection as a spec would write them, `Secret`s for its secrets, whose values go to `secrets`.

        Raises UnknownName, and InvalidValue for a connection of another connector.
        """


class RegisteredSchemas(Protocol):
    """Knows the schema registry."""

    def columns(self, subject: SubjectSpec) -> Any:
        """The Arrow schema of a subject's version. Raises UnknownName."""

    def accept(self, subject: SubjectSpec, schema: Any, name: str) -> None:
        """Look whether rows of an Arrow schema may be written under a subject. Raises IncompatibleSchema and LossyWrite."""


class SpecDocument:
    """An integration with the places of all that it says.

    `path` is the file, None for a text; `folder` is where relative paths start; `secrets` are the secret values that it
    uses, for redaction; `parameters` the typed values of its parameters. `connections` looks up the names of connections,
    where and when one is wanted; None leaves them unknown. `schemas` does so for the subjects of the schema registry.
    """

    def __init__(
        self,
        integration: Integration,
        *,
        path: Path | None,
        folder: Path,
        tree: Tree,
        secrets: Secrets,
        parameters: Mapping[str, Any],
        grafts: Mapping[Keys, tuple[Tree, Keys]] | None = None,
        connections: StoredConnections | None = None,
    ) -> None:
        self.connections = connections
        self.schemas: RegisteredSchemas | None = None
        # Which table what was made for each of several stands for.
        self.parts: Mapping[str, str] = {}
        self.integration = integration
        self.path = path
        self.folder = folder
        self.tree = tree
        self.secrets = secrets
        self.parameters = parameters
        # Where steps of a reusable transformation were put in: their paths of keys lead into another file.
        self.grafts = dict(grafts or {})

    def place(self, *keys: str | int) -> Place:
        """The place of a path of keys, or the line of its nearest existing parent."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.grafts:
                tree, start = self.grafts[keys[:length]]
                return tree.place(*start, *keys[length:])
        return self.tree.place(*keys)

    def changed(self, **parts: Any) -> SpecDocument:
        """This document with parts of its integration replaced, such as fewer sources; the places stay.

        Quality rules about what is left out are left out, too.
        """
        found = copy(self)
        found.integration = self.integration.model_copy(update=parts)
        if "quality_rules" not in parts and self.integration.quality_rules:
            left = set(found.integration.ids)
            # A rule that names another input does so in `with`.
            kept = [
                rule
                for rule in self.integration.quality_rules
                if all(n in left or n.partition(".")[0] in left for n in (rule.step, rule.options.get("with", rule.step)))
            ]
            found.integration = found.integration.model_copy(update={"quality_rules": tuple(kept)})
        return found

    def with_steps(self, steps: tuple[TransformationSpec, ...], grafts: Mapping[Keys, tuple[Tree, Keys]]) -> SpecDocument:
        """This document with other transformations, whose places lie where `grafts` says."""
        found = SpecDocument(
            self.integration.model_copy(update={"transformations": steps}),
            path=self.path,
            folder=self.folder,
            tree=self.tree,
            secrets=self.secrets,
            parameters=self.parameters,
            grafts={**self.grafts, **grafts},
            connections=self.connections,
        )
        found.schemas, found.parts = self.schemas, self.parts
        return found

    def settings(self, connection: Mapping[str, Any] | str, connector: str, *at: str | int) -> Mapping[str, Any]:
        """The settings of the connection at `at`, looked up where it is a name. Raises SpecError, placed there."""
        if not isinstance(connection, str):
            return connection
        place = self.place(*at)
        if self.connections is None:
            hint = "write its settings into the spec"
            raise MissingValue(f"the connection '{connection}' is stored, and there is no store here", hint=hint, place=place)
        try:
            return self.connections.settings(connection, connector, self.secrets)
        except DataHubError as error:
            raise error.at(place) from error


def load(
    path: str | Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> SpecDocument:
    """The integration in a YAML or JSON file.

    `parameters` are the values of `--set`, as text or of their types; `environment` stands in for the process's own.
    Raises SpecError, or an ErrorGroup of all that is wrong with the file.
    """
    file = Path(path)
    tree = read_tree(read_text(file), str(path))
    return document(tree, file, file.resolve().parent, parameters or {}, environment)


def loads(
    text: str,
    *,
    name: str = "<text>",
    folder: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> SpecDocument:
    """The integration in a YAML or JSON text; like `load`, with relative paths starting in `folder` (default: here)."""
    tree = read_tree(text, name)
    return document(tree, None, Path(folder or Path.cwd()).resolve(), parameters or {}, environment)


def document(
    tree: Tree,
    path: Path | None,
    folder: Path,
    given: Mapping[str, Any],
    environment: Mapping[str, str] | None,
    grafts: Mapping[Keys, tuple[Tree, Keys]] | None = None,
) -> SpecDocument:
    """The integration that `tree` says, with `given` parameters. Raises SpecError, or an ErrorGroup."""
    found = Findings(tree)
    if not isinstance(tree.value, dict):
        hint = "begin with `name: …`, `source: …` and `destination: …`"
        raise InvalidValue(f"an integration is a mapping (key: value), not {shown(tree.value)}", hint=hint).at(tree.place())
    secrets = Secrets()
    # Only shells keep PWD true; what a scheduler or another program starts may have a stale one, or none.
    variables = dict({**os.environ, "PWD": os.getcwd()} if environment is None else environment)
    providers = default_providers(variables)

    raw = dict(tree.value)
    written_parameters = raw.pop("parameters", None)
    defaults = References(
        parameters={},
        environment=variables,
        providers=providers,
        secrets=secrets,
        report=found.unresolved,
        kinds=("env",),
    )
    declared = defaults.resolve(written_parameters, ("parameters",))
    values, specs = _parameters(declared, given, found)
    references = References(
        parameters={**{name: f"${{param.{name}}}" for name in specs}, **values},
        environment=variables,
        providers=providers,
        secrets=secrets,
        report=found.unresolved,
    )
    raw = references.resolve(raw)
    whole = raw if written_parameters is None else {**raw, "parameters": declared}
    graph = read_graph(raw, found.report, lambda keys: tree.place(*keys).line)
    written = found.validate(WrittenIntegration, whole, ())
    _check_rules(raw, graph, found.report)
    check_tests(raw, graph, specs, found.report)
    check_profile(raw, [node.id for node in (*graph.sources, *graph.transformations, *graph.destinations)], found.report)
    found.raise_all(secrets)
    assert written is not None
    return SpecDocument(
        integration(written, graph),
        path=path,
        folder=folder,
        tree=tree,
        secrets=secrets,
        parameters=values,
        grafts=grafts,
    )


def _parameters(
    declared: Any, given: Mapping[str, Any], found: Findings
) -> tuple[dict[str, Any], dict[str, ParameterSpec | None]]:
    """The values, and every name that is declared, also those whose declaration is wrong."""
    if declared is None or not isinstance(declared, dict):
        declared = {}
    specs: dict[str, ParameterSpec | None] = {}
    for name, raw in declared.items():
        try:
            specs[name] = ParameterSpec.model_validate(raw)
        except ValidationError:
            specs[name] = None  # the validation of the whole reports it
    fine = {name: spec for name, spec in specs.items() if spec is not None}
    settable = {name: value for name, value in given.items() if name in fine or name not in specs}
    values = resolve_parameters(
        fine, settable, {name: spec.default for name, spec in fine.items()}, ("parameters",), found.report
    )
    return values, specs


def _check_rules(raw: Mapping[str, Any], graph: Graph, report: Any) -> None:
    rules = raw.get("quality_rules")
    steps = [node.id for node in (*graph.sources, *graph.transformations, *graph.destinations)]
    taken: set[str] = set()
    for position, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, dict):
            continue
        name, step = rule.get("name"), rule.get("step")
        if isinstance(name, str) and name in taken:
            report(InvalidValue(f"there is another quality rule '{name}'"), ("quality_rules", position, "name"))
        taken.add(str(name))
        if isinstance(step, str) and step not in steps and step.partition(".")[0] not in steps:
            report(UnknownName("source, step or destination", step, steps), ("quality_rules", position, "step"))
