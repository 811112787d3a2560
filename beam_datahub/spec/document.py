"""Loads a spec: reads the file, resolves its references, validates it, and remembers where everything stands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from beam_datahub.errors import DataHubError, ErrorGroup, InvalidValue, MissingValue, Place, SpecError, UnknownName
from beam_datahub.security import Secrets, default_providers, redact_error
from beam_datahub.spec.graph import Graph, Node, read_graph
from beam_datahub.spec.model import (
    DeadLetterSpec,
    DestinationSpec,
    Integration,
    QualityRuleSpec,
    SourceSpec,
    SubjectSpec,
    TransformationSpec,
)
from beam_datahub.spec.parameters import ParameterSpec, resolve_parameters
from beam_datahub.spec.profiling import check_profile, profile_spec
from beam_datahub.spec.references import References
from beam_datahub.spec.tested import check_tests, test_spec
from beam_datahub.spec.tree import Keys, Tree, read_text, read_tree
from beam_datahub.spec.words import option_names, shown, spec_errors
from beam_datahub.spec.written import (
    WrittenDeadLetter,
    WrittenDestination,
    WrittenIntegration,
    WrittenQualityRule,
    WrittenSource,
    WrittenTransformation,
)

_Model = TypeVar("_Model", bound=BaseModel)


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
        found.schemas = self.schemas
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
        _integration(written, graph),
        path=path,
        folder=folder,
        tree=tree,
        secrets=secrets,
        parameters=values,
        grafts=grafts,
    )


class Findings:
    """Collects the errors of a file, places them, and raises them in one go."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.errors: list[SpecError] = list(tree.errors)
        self._unresolved: set[Keys] = set()

    def report(self, error: SpecError, keys: Keys) -> None:
        """Keep `error`, which is about what stands at `keys`."""
        if keys not in self._unresolved:
            self.errors.append(error.at(self._tree.place(*keys)))

    def unresolved(self, error: SpecError, keys: Keys) -> None:
        """Keep `error`, for which the value at `keys` is not known: nothing else is said about that value."""
        self._unresolved.add(keys)
        self.errors.append(error.at(self._tree.place(*keys)))

    def validate(self, model: type[_Model], raw: Any, at: Keys) -> _Model | None:
        """`raw` as a `model`; None where it is not one, which is kept as errors."""
        try:
            return model.model_validate(raw)
        except ValidationError as failure:
            for keys, error in spec_errors(model, raw, failure):
                self.report(error, (*at, *keys))
        return None

    def raise_all(self, secrets: Secrets | None = None) -> None:
        """Raise what was found, in the order of the lines, each place and reason once."""
        unique = {str(error): error for error in self.errors}
        raise_errors(sorted(unique.values(), key=lambda error: (error.place and error.place.line) or 0), secrets)


def raise_errors(errors: Iterable[DataHubError], secrets: Secrets | None = None) -> None:
    """Raise a single error as it is, several as an ErrorGroup, and nothing when there is none."""
    listed = [error if secrets is None else redact_error(error, secrets) for error in errors]
    if len(listed) == 1:
        raise listed[0]
    if listed:
        raise ErrorGroup(listed)


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


def _integration(written: WrittenIntegration, graph: Graph) -> Integration:
    sources = [written.source] if written.source else list((written.sources or {}).values())
    sinks = [written.destination] if written.destination else list(written.destinations or ())
    pairs = zip(graph.sources, sources, strict=True)
    return Integration(
        name=written.name,
        type=written.type,
        description=written.description,
        sources={node.id: _source(node, each) for node, each in pairs},
        transformations=tuple(
            transformation(node, each) for node, each in zip(graph.transformations, written.transformations, strict=True)
        ),
        destinations=tuple(_destination(node, each) for node, each in zip(graph.destinations, sinks, strict=True)),
        dead_letter=_dead_letter(written.dead_letter) if written.dead_letter else None,
        max_rejected=written.max_rejected,
        quality_rules=tuple(_rule(("quality_rules", position), rule) for position, rule in enumerate(written.quality_rules)),
        profile=profile_spec(written.profile),
        tests=tuple(test_spec(position, test) for position, test in enumerate(written.tests)),
    )


def _source(node: Node, written: WrittenSource) -> SourceSpec:
    return SourceSpec(
        name=node.id,
        at=node.at,
        connector=written.connector,
        connection=written.connection,
        columns=written.columns,
        contract=written.contract,
        options=written.model_extra or {},
        pii=written.pii,
        subject=written.subject,
        incremental=written.incremental,
    )


def transformation(node: Node, written: WrittenTransformation) -> TransformationSpec:
    """The step that `written` says, with the id and the inputs of its node."""
    return TransformationSpec(
        id=node.id,
        at=node.at,
        type=written.type,
        input=node.input,
        config=written.config,
        description=written.description,
    )


def _destination(node: Node, written: WrittenDestination) -> DestinationSpec:
    return DestinationSpec(
        id=node.id,
        at=node.at,
        input=node.input,
        connector=written.connector,
        connection=written.connection,
        write_mode=written.write_mode,
        key=written.key or (),
        options=written.model_extra or {},
        clearance=written.clearance,
        subject=written.subject,
    )


def _rule(at: Keys, written: WrittenQualityRule) -> QualityRuleSpec:
    return QualityRuleSpec(
        name=written.name,
        at=at,
        step=written.step,
        type=written.type,
        severity=written.severity,
        threshold=written.threshold,
        action=written.action,
        where=written.where,
        description=written.description,
        options=written.model_extra or {},
    )


def _dead_letter(written: WrittenDeadLetter) -> DeadLetterSpec:
    return DeadLetterSpec(
        at=("dead_letter",),
        connector=written.connector,
        connection=written.connection,
        options=written.model_extra or {},
        clearance=written.clearance,
        sealed=written.sealed,
    )


def validate_config(
    model: type[_Model],
    raw: Mapping[str, Any],
    document: SpecDocument,
    *at: str | int,
    errors: list[SpecError] | None = None,
) -> _Model | None:
    """The raw options at `at` as a component's `model`.

    Placed errors are added to `errors`, and the result is None; without `errors` they are raised in one go.
    """
    found: list[SpecError] = []
    try:
        return model.model_validate(dict(raw))
    except ValidationError as failure:
        for keys, error in spec_errors(model, raw, failure, beside=_beside(document.integration, at)):
            found.append(error.at(document.place(*at, *keys)))
    except SpecError as error:
        found.append(error.at(document.place(*at)))
    for each in found:
        redact_error(each, document.secrets)
    if errors is None:
        raise_errors(found)
    else:
        errors.extend(found)
    return None


def _beside(spec: Integration, at: Keys) -> list[str]:
    """The keys of the spec's own that stand beside a connector's options at `at`."""
    if at in [source.at for source in spec.sources.values()]:
        return option_names(WrittenSource)
    if at in [sink.at for sink in spec.destinations]:
        return option_names(WrittenDestination)
    if at in [rule.at for rule in spec.quality_rules]:
        return option_names(WrittenQualityRule)
    return option_names(WrittenDeadLetter) if at == ("dead_letter",) else []
