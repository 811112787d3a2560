"""Reusable transformations: a YAML file with parameters, steps and test cases, used as a step's `type` by name.

A step `{type: clean_email, config: {field: mail}}` stands for the steps of `transforms/clean_email.yaml`, looked up in the
folder `transforms` beside the spec and then in the packaged one. The last of the steps takes the id of the step that it
replaces, so that everything that names it still does; those before it are called `id.step`. In the file, `input` names
what the step reads, and `${param.NAME}` may stand in texts and in keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from beam_datahub.errors import CyclicSteps, DataHubError, InvalidValue, SpecError, UnknownName
from beam_datahub.spec.assembly import transformation
from beam_datahub.spec.content import content_folder
from beam_datahub.spec.document import SpecDocument, document
from beam_datahub.spec.findings import Findings, raise_errors
from beam_datahub.spec.graph import Graph, Node, read_graph
from beam_datahub.spec.model import RejectedSpec, SpecModel, TransformationSpec
from beam_datahub.spec.parameters import ParameterSpec, resolve_parameters
from beam_datahub.spec.references import References
from beam_datahub.spec.tree import Keys, Tree, read_text, read_tree
from beam_datahub.spec.words import shown
from beam_datahub.spec.written import Id, Rows, Text, WrittenTransformation

_SUFFIXES = (".yaml", ".yml", ".json")
INPUT = "input"


class ReusableCase(SpecModel):
    """Rows that go in and what must come out."""

    name: Text
    """What the case shows."""
    config: dict[str, Any] = {}
    """The values of the parameters; their defaults when left out."""
    columns: dict[str, Text] | None = Field(default=None, alias="schema")
    """SQL types of the given columns, where the rows alone do not tell them."""
    given: Rows
    """The rows that go in."""
    expect: Rows
    """The rows that come out, in any order."""
    rejected: Annotated[int, Field(ge=0)] | tuple[RejectedSpec, ...] | None = None
    """The rejected records, or how many there are; not checked when left out."""


class ReusableSpec(SpecModel):
    """A reusable transformation as its file says it."""

    name: Id
    """The name by which specs use it; the file is called so, too."""
    description: Text
    """What it does, in a sentence."""
    parameters: dict[str, ParameterSpec] = {}
    """What a step sets under `config`."""
    steps: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """The transformations that it stands for; the last one gives the output."""
    test_cases: Annotated[tuple[ReusableCase, ...], Field(min_length=1)]
    """Examples that its documentation shows and `beam-datahub test` runs."""


class _Steps(SpecModel):
    steps: tuple[WrittenTransformation, ...]


class Reusable:
    """A loaded reusable transformation: its file's content and the places in it."""

    def __init__(self, path: Path, spec: ReusableSpec, tree: Tree) -> None:
        self.path = path
        self.spec = spec
        self.tree = tree

    @property
    def name(self) -> str:
        """The name by which specs use it."""
        return self.spec.name


def load_reusable(path: str | Path) -> Reusable:
    """The reusable transformation in a file. Raises SpecError, or an ErrorGroup of all that is wrong with it."""
    file = Path(path)
    tree = read_tree(read_text(file), str(path))
    if not isinstance(tree.value, dict):
        raise InvalidValue(f"a reusable transformation is a mapping (key: value), not {shown(tree.value)}").at(tree.place())
    found = Findings(tree)
    spec = found.validate(ReusableSpec, tree.value, ())
    if spec is not None and spec.name != file.stem:
        found.report(InvalidValue(f"the name must be that of its file, '{file.stem}'"), ("name",))
    if spec is not None:
        # With a placeholder for every parameter, what does not depend on their values is checked right here.
        placeholders = {name: f"${{param.{name}}}" for name in spec.parameters}
        _instance(tree, placeholders, found)
    found.raise_all()
    assert spec is not None
    return Reusable(file, spec, tree)


def reusable_files(folder: Path) -> dict[str, Path]:
    """The reusable transformations that a spec in `folder` can use, by name; its own come before packaged ones."""
    files: dict[str, Path] = {}
    for place in (folder / "transforms", content_folder("transforms")):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix in _SUFFIXES:
                files.setdefault(path.stem, path)
    return files


def expand(spec: SpecDocument, *, builtin: Collection[str] = (), reusables: Mapping[str, Reusable] | None = None) -> SpecDocument:
    """`spec` with every use of a reusable transformation replaced by its steps.

    `builtin` are transformation types that are not looked up, or tells whether a name is one; `reusables` come before
    those found in folders. The places of the new steps lie in the reusable's file. A type that is found nowhere stays,
    for the compiler to refuse.
    Raises SpecError, or an ErrorGroup.
    """
    work = _Expansion(spec, builtin, dict(reusables or {}))
    if not any(work.is_reusable(step.type) for step in spec.integration.transformations):
        return spec
    steps: list[TransformationSpec] = []
    for step in spec.integration.transformations:
        steps.extend(work.steps_for(step, ()))
    work.check_branches(spec)
    raise_errors({str(error): error for error in work.errors}.values(), spec.secrets)
    return work.result(steps)


class _Expansion:
    def __init__(
        self, spec: SpecDocument, builtin: Collection[str] | Callable[[str], bool], reusables: dict[str, Reusable]
    ) -> None:
        self._spec = spec
        self._is_builtin = builtin if callable(builtin) else frozenset(builtin).__contains__
        self._reusables = reusables
        self._files = reusable_files(spec.folder)
        self._document = spec.with_steps(spec.integration.transformations, {})
        self._inner: dict[str, set[str]] = {}
        self.errors: list[DataHubError] = []

    def is_reusable(self, name: str) -> bool:
        return (name in self._reusables or name in self._files) and not self._is_builtin(name)

    def result(self, steps: list[TransformationSpec]) -> SpecDocument:
        return self._spec.with_steps(tuple(steps), self._document.grafts)

    def steps_for(self, step: TransformationSpec, using: tuple[str, ...]) -> list[TransformationSpec]:
        """What `step` stands for; `using` are the reusables whose steps are being put in."""
        if not self.is_reusable(step.type):
            return [step]
        if step.type in using:
            self.errors.append(CyclicSteps(using[using.index(step.type) :]).at(self._document.place(*step.at, "type")))
            return [step]
        try:
            reusable = self._load(step.type)
        except DataHubError as error:
            self.errors.extend(getattr(error, "errors", (error,)))
            return [step]
        before = len(self.errors)
        values = self._values(reusable, step)
        if len(self.errors) > before:
            return [step]
        found = Findings(reusable.tree)
        tree, graph, written = _instance(reusable.tree, values, found)
        self.errors.extend(found.errors)
        if written is None or found.errors:
            return [step]
        self._document.grafts[*step.at, "steps"] = (tree, ("steps",))
        names = {node.id: f"{step.id}.{node.id}" for node in graph.transformations}
        names[graph.transformations[-1].id] = step.id
        self._inner.setdefault(step.id, set()).update(node.id for node in graph.transformations[:-1])
        steps: list[TransformationSpec] = []
        for position, (node, each) in enumerate(zip(graph.transformations, written.steps, strict=True)):
            inputs = tuple(name for local in node.input for name in _outer(local, names, step.input))
            inner = Node(names[node.id], (*step.at, "steps", position), node.raw, inputs)
            steps.extend(self.steps_for(transformation(inner, each), (*using, step.type)))
        return steps

    def check_branches(self, spec: SpecDocument) -> None:
        """Refuse references from outside to the steps inside a reusable: `id.step` looks like a branch."""
        steps = [(step.at, step.input) for step in spec.integration.transformations]
        sinks = [(sink.at, sink.input) for sink in spec.integration.destinations]
        for at, names in [*steps, *sinks]:
            for name in names:
                step, _, branch = name.partition(".")
                if branch and branch in self._inner.get(step, ()):
                    self.errors.append(UnknownName(f"branch of '{step}'", branch).at(spec.place(*at, "input")))

    def _load(self, name: str) -> Reusable:
        if name not in self._reusables:
            self._reusables[name] = load_reusable(self._files[name])
        return self._reusables[name]

    def _values(self, reusable: Reusable, step: TransformationSpec) -> dict[str, Any]:
        def report(error: SpecError, keys: Keys) -> None:
            inside = keys[:1] == ("parameters",)
            place = reusable.tree.place(*keys) if inside else self._document.place(*keys)
            self.errors.append(error.at(place))

        declared = reusable.spec.parameters
        defaults = {name: parameter.default for name, parameter in declared.items()}
        return resolve_parameters(
            declared, step.config, defaults, ("parameters",), report, given_at=lambda name: (*step.at, "config", name)
        )


def _outer(local: str, names: Mapping[str, str], inputs: tuple[str, ...]) -> tuple[str, ...]:
    """What a reference inside a reusable is called outside."""
    if local == INPUT:
        return inputs
    step, dot, branch = local.partition(".")
    return (f"{names.get(step, step)}{dot}{branch}",)


def _instance(tree: Tree, values: Mapping[str, Any], found: Findings) -> tuple[Tree, Graph, _Steps | None]:
    """The steps of a reusable with `values` put in, and a tree that places them under their new keys."""
    references = References(parameters=values, environment={}, providers=(), report=found.report, kinds=("param",), in_keys=True)
    steps = references.resolve(tree.value.get("steps"), ("steps",))
    lines = {**tree.lines, **{new: tree.lines[old] for new, old in references.moved.items() if old in tree.lines}}
    instance = Tree(tree.file, {"steps": steps}, lines, [])
    placed = Findings(instance)
    written = placed.validate(_Steps, instance.value, ())

    def report(error: SpecError, keys: Keys) -> None:
        placed.report(error, ("steps", *keys[1:]) if keys[:1] == ("transformations",) else keys)

    graph = read_graph(
        {"sources": {INPUT: {}}, "transformations": steps, "destination": {}},
        report,
        lambda keys: instance.place("steps", *keys[1:]).line,
    )
    found.errors.extend(placed.errors)
    return instance, graph, written


def case_documents(reusable: Reusable) -> list[SpecDocument]:
    """One small integration for each test case, expanded, with the case as its only test.

    The source is called `input`, the step `result`, and the destination `output`; the test expects the rows of `output`.
    """
    documents = []
    for position, case in enumerate(reusable.spec.test_cases):
        raw = reusable.tree.value["test_cases"][position]
        source = {"connector": "inline", "rows": raw["given"]}
        test = {"name": case.name, "given": {INPUT: raw["given"]}, "expect": {"output": raw["expect"]}}
        value = {
            "name": f"{reusable.name}: {case.name}",
            "sources": {INPUT: source if case.columns is None else {**source, "schema": raw["schema"]}},
            "transformations": [{"id": "result", "type": reusable.name, "config": case.config}],
            "destination": {"id": "output", "connector": "console"},
            "tests": [test if case.rejected is None else {**test, "rejected": raw["rejected"]}],
        }
        here: Keys = ("test_cases", position)
        grafts: dict[Keys, tuple[Tree, Keys]] = {
            ("sources",): (reusable.tree, here),
            ("transformations", 0): (reusable.tree, here),
            ("tests", 0): (reusable.tree, here),
        }
        tree = Tree(reusable.tree.file, value, {(): reusable.tree.place(*here).line or 1}, [])
        spec = document(tree, reusable.path, reusable.path.resolve().parent, {}, None, grafts)
        documents.append(expand(spec, reusables={reusable.name: reusable}))
    return documents
