"""Builds the typed plan of a spec: discovers sources, compiles every step, checks every write; all errors in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from beam_datahub.compiler.checks import check_unused
from beam_datahub.compiler.clearance import cleared
from beam_datahub.compiler.increment import increment_of, with_increment
from beam_datahub.compiler.discretion import discreet
from beam_datahub.compiler.plan import RULES, Node, Plan, PlanProfile, PlanRule, Read, Write
from beam_datahub.compiler.rules import RuleScope, attach, compile_rule
from beam_datahub.compiler.schema import edge_of
from beam_datahub.compiler.scope import StepScope
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.inspection import RowTest
from beam_datahub.component.operators import Route, Rows
from beam_datahub.component.registry import component, is_known
from beam_datahub.component.rule import Rule
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.source import Contract, Discovery, Drift, ReadRequest, Source
from beam_datahub.component.transform import Transform
from beam_datahub.errors import (
    CyclicSteps,
    DataHubError,
    ErrorGroup,
    InvalidValue,
    MissingValue,
    SpecError,
    UnknownColumn,
    UnknownName,
    UnreadableData,
)
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.rejection import DEAD_LETTER, VIOLATION
from beam_datahub.kernels.types import is_hidden
from beam_datahub.spec import (
    DeadLetterSpec,
    DestinationSpec,
    IncrementalSpec,
    QualityRuleSpec,
    RegisteredSchemas,
    SourceSpec,
    SpecDocument,
    SubjectSpec,
    TransformationSpec,
    validate_config,
)
from beam_datahub.spec.reusable import expand

DEAD_LETTER_STEP = "dead_letter"
VIOLATIONS_STEP = "violations"


@dataclass(frozen=True)
class BuildOptions:
    """How a plan is built. `given` replaces sources by rows (tables) and `limit` ends each split early, for previews;
    without `outputs` the
    destinations are left out. Without `guards_personal_data`, nobody asks whether destinations may hold what they get.
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


def build(document: SpecDocument, options: BuildOptions | None = None) -> Plan:
    """The logical plan of a spec, reusable transformations expanded. Raises ErrorGroup with all errors, or the single one."""
    builtin = {step.type for step in document.integration.transformations if is_known("transform", step.type)}
    options = options or BuildOptions()
    plan = _Builder(expand(document, builtin=builtin), options).build()
    guarded = options.outputs and options.guards_personal_data
    return discreet(cleared(plan, document, given=frozenset(options.sources))) if guarded else plan


def connected(document: SpecDocument, source: SourceSpec) -> Source:
    """The connector of one source, set up as the spec says; reaches nothing. Raises SpecError."""
    return _Builder(document, BuildOptions())._source(source)


class _Builder:
    def __init__(self, document: SpecDocument, options: BuildOptions) -> None:
        self._document, self._options = document, options
        self._spec = document.integration
        self._nodes: dict[str, Node] = {}
        self._errors: list[DataHubError] = []
        self._profiles: tuple[PlanProfile, ...] = ()
        # What a step's outputs are called: itself, or itself with a branch.
        self._broken: set[str] = set()

    def build(self) -> Plan:
        transforms = {step.id: self._transform(step) for step in self._spec.transformations}
        for source in self._spec.sources.values():
            self._guarded(source.name, source.at, partial(self._read, source))
        for step in self._ordered(transforms):
            transform = transforms[step.id]
            if transform is None:
                self._broken.add(step.id)
            else:
                self._guarded(step.id, step.at, partial(self._step, step, transform))
        for destination in self._spec.destinations if self._options.outputs else ():
            self._guarded(destination.id, destination.at, partial(self._write, destination))
        if self._options.outputs:
            self._guarded(DEAD_LETTER_STEP, ("dead_letter",), self._dead_letter)
        rules = [rule for number, spec in enumerate(self._spec.quality_rules) if (rule := self._rule(number, spec)) is not None]
        if not self._errors:
            self._guarded(RULES, ("quality_rules",), partial(self._attach, rules))
        meta: dict[str, Any] = {"description": self._spec.description}
        if self._spec.dead_letter is not None and self._spec.dead_letter.sealed:
            meta["sealed"] = True
        plan = Plan(self._spec.name, self._nodes, self._spec.max_rejected, meta, tuple(rules))
        if self._spec.profile is not None and not self._errors and self._options.outputs:
            self._guarded("profile", ("profile",), partial(self._profile, plan))
            plan = replace(plan, profiles=self._profiles)
        if not self._broken and self._options.outputs:
            self._errors.extend(check_unused(plan, self._document))
        self._raise()
        return plan

    def _raise(self) -> None:
        unique = list({str(error): error for error in self._errors}.values())
        unique.sort(key=lambda error: (error.place.line or 0) if error.place else 0)
        if len(unique) == 1:
            raise unique[0]
        if unique:
            raise ErrorGroup(unique)

    def _guarded(self, name: str, at: tuple[str | int, ...], work: Callable[[], None]) -> None:
        try:
            work()
        except DataHubError as error:
            self._broken.add(name)
            for each in error.errors if isinstance(error, ErrorGroup) else (error,):
                self._errors.append(each.at(self._document.place(*at)))

    # sources

    def _read(self, spec: SourceSpec) -> None:
        given = self._options.sources.get(spec.name)
        source = given if given is not None else self._source(spec)
        # Given rows bring their own columns: no registry is asked.
        declared = None if given is not None and spec.subject is not None else self._declared(spec)
        if given is not None or declared is None:
            discovery = source.discover()
            schema = discovery.schema
        else:
            discovery = self._estimated(source, declared)
            schema = declared
        if not len(schema):
            reason, hint = f"the source '{spec.name}' has no columns", "declare them under `schema`"
            raise InvalidValue(reason, hint=hint) if declared is not None else UnreadableData(reason, hint=hint)
        twice = [name for name in schema.names if sum(name.casefold() == other.casefold() for other in schema.names) > 1]
        if twice:
            raise UnreadableData(
                f"the source '{spec.name}' has columns that differ at most in case: {', '.join(twice)}",
                hint="rename them where they come from, or declare the source's `schema` with those that you need",
            )
        hidden = next((name for name in schema.names if is_hidden(name)), None)
        if hidden is not None:
            raise InvalidValue(f"the column name '{hidden}' is reserved", hint="rename the column")
        request = ReadRequest(
            schema=schema,
            columns=tuple(schema.names),
            contract=Contract(Drift(spec.contract.columns), Drift(spec.contract.types)),
            declared=declared is not None,
            limit=self._options.limit,
            threads=self._options.threads or 1,
            split_bytes=self._options.split_bytes,
        )
        place = self._document.place(*spec.at)
        read = Read(spec.connector, source, request, discovery.rows, discovery.bytes, place, None if given else spec.subject)
        if spec.incremental is not None and given is None:
            read = self._incremental(read, spec, spec.incremental)
        self._nodes[spec.name] = Node(spec.name, spec.name, read, (), schema, type=spec.connector)

    def _incremental(self, read: Read, spec: SourceSpec, wanted: IncrementalSpec) -> Read:
        try:
            increment = increment_of(wanted, read.request.schema)
        except DataHubError as error:
            raise error.at(self._document.place(*spec.at, "incremental")) from error
        # Without outputs nothing keeps how far it came: previews look at all that a first run would.
        return with_increment(read, increment)

    def _source(self, spec: SourceSpec) -> Source:
        kind = self._component("source", spec.connector, *spec.at, "connector")
        connection, options = self._configs(kind, spec)
        return kind(connection, options)  # type: ignore[no-any-return]

    def _declared(self, spec: SourceSpec) -> pa.Schema | None:
        if spec.subject is not None:
            return self._registered(spec, spec.subject)
        if spec.columns is None:
            return None
        fields, errors = [], []
        for name, text in spec.columns.items():
            try:
                fields.append(pa.field(name, data_type(text)))
            except SpecError as error:
                errors.append(error.at(self._document.place(*spec.at, "schema", name)))
        if errors:
            raise ErrorGroup(errors)
        return pa.schema(fields)

    def _registered(self, spec: SourceSpec, subject: SubjectSpec) -> pa.Schema:
        place = self._document.place(*spec.at, "subject")
        if spec.columns is not None:
            raise InvalidValue("a source has a `schema` or a `subject`, not both", hint="leave out one of them", place=place)
        try:
            return self._schemas(subject).columns(subject)
        except DataHubError as error:
            raise error.at(place) from error

    def _schemas(self, subject: SubjectSpec) -> RegisteredSchemas:
        if self._document.schemas is None:
            raise MissingValue(f"the subject '{subject.name}' is in the schema registry, and there is no store here")
        return self._document.schemas

    @staticmethod
    def _estimated(source: Source, declared: pa.Schema) -> Discovery:
        """Sizes for a declared source; a source that cannot tell (it is empty as yet) is of unknown size."""
        try:
            found = source.estimate()
        except DataHubError:
            return Discovery(declared)
        return Discovery(declared, found.rows, found.bytes)

    # transformations

    def _transform(self, step: TransformationSpec) -> Transform | None:
        found: list[Transform] = []

        def work() -> None:
            kind = self._component("transform", step.type, *step.at, "type")
            errors: list[SpecError] = []
            config = validate_config(kind.Config, step.config, self._document, *step.at, "config", errors=errors)
            if config is None:
                raise ErrorGroup(errors)
            found.append(kind(config))

        self._guarded(step.id, step.at, work)
        return found[0] if found else None

    def _inputs(self, step: TransformationSpec, transform: Transform | None) -> tuple[str, ...]:
        return (*step.input, *(transform.references() if transform is not None else ()))

    def _ordered(self, transforms: Mapping[str, Transform | None]) -> list[TransformationSpec]:
        """The steps after those that feed them; a cycle is reported and its steps are left out."""
        steps = {step.id: step for step in self._spec.transformations}
        known = {*steps, *self._spec.sources}
        order: list[TransformationSpec] = []
        state: dict[str, int] = {}
        path: list[str] = []

        def visit(name: str) -> None:
            if name not in steps or state.get(name) == 2:
                return
            if state.get(name) == 1:
                cycle = path[path.index(name) :]
                self._errors.append(CyclicSteps(cycle, place=self._document.place(*steps[name].at)))
                self._broken.update(cycle)
                return
            state[name] = 1
            path.append(name)
            for reference in self._inputs(steps[name], transforms[name]):
                visit(reference if reference in known else reference.rpartition(".")[0])
            path.pop()
            state[name] = 2
            order.append(steps[name])

        for name in steps:
            visit(name)
        return [step for step in order if step.id not in self._broken or transforms[step.id] is None]

    def _resolve(self, reference: str, at: tuple[str | int, ...]) -> str | None:
        """The node id behind an input of the spec; None when the step behind it is itself in error."""
        step, _, branch = reference.rpartition(".")
        name = reference if reference in self._nodes or reference in self._broken else step or reference
        if name in self._broken:
            return None
        node = self._nodes.get(name)
        if node is None:
            raise UnknownName("step", reference, self._references()).at(self._document.place(*at))
        if isinstance(node.operator, Route):
            branches = [f"{name}.{each}" for each in _branches(node.operator)]
            if reference not in branches:
                hint = f"take one of {', '.join(branches)}"
                raise InvalidValue(f"'{reference}' has several outputs", hint=hint).at(self._document.place(*at))
        elif branch and name != reference:
            raise UnknownName("branch", reference, self._references()).at(self._document.place(*at))
        return reference

    def _references(self) -> list[str]:
        names: list[str] = []
        for node in self._nodes.values():
            if isinstance(node.operator, Route):
                names += [f"{node.id}.{each}" for each in _branches(node.operator)]
            elif not isinstance(node.operator, Write) and "#" not in node.id:
                names.append(node.id)
        return names

    def _step(self, step: TransformationSpec, transform: Transform) -> None:
        names = self._inputs(step, transform)
        least, most = type(transform).input_count
        if len(names) < least or (most is not None and len(names) > most):
            wanted = f"{least}" if least == most else f"{least} to {most}" if most else f"{least} or more"
            reason = f"'{step.type}' takes {wanted} inputs, not {len(names)}"
            raise InvalidValue(reason, hint="name them under `input: [a, b]`").at(self._document.place(*step.at, "input"))
        resolved = [self._resolve(name, (*step.at, "input")) for name in names]
        if None in resolved:
            self._broken.add(step.id)
            return
        references = tuple(str(name) for name in resolved)
        inputs = {name: self._schema(name) for name in references}
        scope = StepScope(lambda *keys: self._document.place(*step.at, "config", *keys), str(self._document.folder))
        operators = transform.compile(inputs, scope)
        if scope.errors and any(not isinstance(operator, Rows) or operator.columns is not None for operator in operators):
            raise ErrorGroup(scope.errors)
        # A wrong condition changes no column: the steps behind it can still be checked.
        self._errors.extend(scope.errors)
        self._chain(step, operators, references)

    def _schema(self, reference: str) -> pa.Schema:
        return (self._nodes[reference] if reference in self._nodes else self._nodes[reference.rpartition(".")[0]]).schema

    def _chain(self, step: TransformationSpec, operators: Any, references: tuple[str, ...]) -> None:
        """Nodes for the operators of a step; the last has the step's own id."""
        inputs = references
        for number, operator in enumerate(operators, start=1):
            last = number == len(operators)
            node_id = step.id if last else f"{step.id}#{number}"
            edge = edge_of(operator, [self._schema(name) for name in inputs])
            if last:
                _check_names(edge.schema.names, step.id)
            self._nodes[node_id] = Node(
                node_id, step.id, operator, inputs, edge.schema, edge.lineage, edge.expressions, type=step.type
            )
            inputs = (node_id,)

    # destinations

    def _write(self, spec: DestinationSpec) -> None:
        kind = self._component("sink", spec.connector, *spec.at, "connector")
        connection, options = self._configs(kind, spec)
        sink: Sink = kind(connection, options)
        if len(spec.input) != 1:
            raise InvalidValue(f"a destination has one input, not {len(spec.input)}", hint="put a `union` step before it").at(
                self._document.place(*spec.at, "input")
            )
        reference = self._resolve(spec.input[0], (*spec.at, "input"))
        if reference is None:
            self._broken.add(spec.id)
            return
        schema = self._schema(reference)
        mode = self._mode(kind, spec)
        for key in spec.key:
            if key not in schema.names:
                raise UnknownColumn(key, schema.names).at(self._document.place(*spec.at, "key"))
        request = WriteRequest(self._options.run_id, spec.id, schema, mode, spec.key)
        sink.plan_write(request)
        if spec.subject is not None:
            try:
                self._schemas(spec.subject).accept(spec.subject, schema, spec.id)
            except DataHubError as error:
                raise error.at(self._document.place(*spec.at, "subject")) from error
        write = Write(spec.connector, sink, request, place=self._document.place(*spec.at), subject=spec.subject)
        self._nodes[spec.id] = Node(spec.id, spec.id, write, (reference,), schema, type=spec.connector)

    def _mode(self, kind: type[Sink], spec: DestinationSpec) -> WriteMode:
        modes = kind.capabilities.write_modes
        if spec.write_mode is None:
            return modes[0]
        if spec.write_mode not in modes:
            raise InvalidValue(
                f"'{spec.connector}' cannot {spec.write_mode}", hint=f"it can {', '.join(mode.value for mode in modes)}"
            ).at(self._document.place(*spec.at, "write_mode"))
        return WriteMode(spec.write_mode)

    def _dead_letter(self) -> None:
        spec: DeadLetterSpec | None = self._spec.dead_letter
        if spec is None:
            if self._options.dead_letter_folder is None:
                return
            spec = DeadLetterSpec(
                at=("dead_letter",),
                connector="jsonl",
                connection={"path": self._options.dead_letter_folder + "/"},
                options={},
            )
        kind = self._component("sink", spec.connector, *spec.at, "connector")
        connection, options = self._configs(kind, spec)
        sink: Sink = kind(connection, options)
        modes = kind.capabilities.write_modes
        mode = WriteMode.APPEND if WriteMode.APPEND in modes else modes[0]
        request = WriteRequest(self._options.run_id, DEAD_LETTER_STEP, DEAD_LETTER, mode)
        sink.plan_write(request)
        write = Write(spec.connector, sink, request, dead_letter=True, place=self._document.place(*spec.at))
        self._nodes[DEAD_LETTER_STEP] = Node(DEAD_LETTER_STEP, DEAD_LETTER_STEP, write, (), DEAD_LETTER, type=spec.connector)

    # quality rules

    def _rule(self, number: int, spec: QualityRuleSpec) -> PlanRule | None:
        found: list[PlanRule] = []

        def work() -> None:
            kind: type[Rule] = self._component("rule", spec.type, *spec.at, "type")
            errors: list[SpecError] = []
            config = validate_config(kind.Config, spec.options, self._document, *spec.at, errors=errors)
            if config is None:
                raise ErrorGroup(errors)
            rule = kind(config)
            judged = self._judged(spec)
            others = [self._resolve(name, (*spec.at, "with")) for name in rule.references()]
            if judged is None or None in others:
                self._broken.add(f"{RULES}{number}")
                return
            scope = RuleScope(lambda *keys: self._document.place(*spec.at, *keys), str(self._document.folder), number)
            schema = self._schema(judged)
            found.append(compile_rule(spec, rule, schema, {str(each): self._schema(str(each)) for each in others}, scope))

        self._guarded(f"{RULES}{number}", spec.at, work)
        return found[0] if found else None

    def _judged(self, spec: QualityRuleSpec) -> str | None:
        """The reference to the rows that a rule judges; None when their step is itself in error."""
        node = self._nodes.get(spec.step)
        if node is not None and isinstance(node.operator, Write):
            return node.inputs[0]
        if spec.step in self._broken:
            return None
        # A preview has no destinations.
        inputs = {sink.id: sink.input[0] for sink in self._spec.destinations}
        return self._resolve(inputs.get(spec.step, spec.step), (*spec.at, "step"))

    def _attach(self, rules: Sequence[PlanRule]) -> None:
        recorded = any(isinstance(rule.test, RowTest) and rule.action != "reject" for rule in rules)
        ends = {} if self._options.outputs else {sink.id: sink.input[0] for sink in self._spec.destinations}
        self._nodes = attach(self._nodes, rules, ends)
        if recorded and self._options.outputs and self._options.violations_folder is not None:
            kind = self._component("sink", "jsonl")
            sink: Sink = kind(kind.Connection(path=self._options.violations_folder + "/"), kind.Options())
            request = WriteRequest(self._options.run_id, VIOLATIONS_STEP, VIOLATION, WriteMode.APPEND)
            sink.plan_write(request)
            write = Write("jsonl", sink, request, violations=True)
            self._nodes[VIOLATIONS_STEP] = Node(VIOLATIONS_STEP, VIOLATIONS_STEP, write, (), VIOLATION, type="jsonl")

    # profiles

    def _profile(self, plan: Plan) -> None:
        spec = self._spec.profile
        assert spec is not None
        usual = [*self._spec.sources, *(each.id for each in self._spec.destinations)]
        found = []
        for step in spec.steps or usual:
            reference = self._profiled(step, plan)
            schema = plan.node(reference).schema
            columns = tuple(schema.names) if spec.columns == "all" else spec.columns
            if columns is not None and spec.columns != "all":
                columns = tuple(name for name in columns if name in schema.names)
            if columns or spec.columns is None:
                found.append(PlanProfile(step, reference, columns, spec.values, spec.drift))
        known = {name for each in usual for name in plan.node(self._profiled(each, plan)).schema.names}
        known |= {name for each in found for name in plan.node(each.reference).schema.names}
        for name in spec.columns if spec.columns is not None and spec.columns != "all" else ():
            if name not in known:
                raise UnknownColumn(name, sorted(known)).at(self._document.place("profile", "columns"))
        self._profiles = tuple(found)

    def _profiled(self, step: str, plan: Plan) -> str:
        """The reference to the rows of a step: raw for a source, past its rules for a step."""
        node = plan.nodes.get(step)
        if node is not None and isinstance(node.operator, Write):
            return node.inputs[0]
        if step in self._spec.sources:
            return step
        reference = self._resolve(step, ("profile",))
        return plan.judged(reference or step)

    # shared

    def _component(self, kind: Any, name: str, *at: str | int) -> Any:
        try:
            return component(kind, name)
        except UnknownName as error:
            raise error.at(self._document.place(*at)) from None

    def _configs(self, kind: Any, spec: SourceSpec | DestinationSpec | DeadLetterSpec) -> tuple[BaseModel, BaseModel]:
        errors: list[SpecError] = []
        at = (*spec.at, "connection")
        settings = self._document.settings(spec.connection, spec.connector, *at)
        reach = validate_config(kind.Connection, settings, self._document, *at, errors=errors)
        how = validate_config(kind.Options, spec.options, self._document, *spec.at, errors=errors)
        if reach is None or how is None:
            raise ErrorGroup(errors)
        resolved = getattr(reach, "resolved", None)
        return (resolved(str(self._document.folder)) if resolved is not None else reach), how


def _branches(route: Route) -> list[str]:
    return list(dict.fromkeys([name for name, _ in route.branches] + ([route.default] if route.default else [])))


def _check_names(names: list[str], step: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if is_hidden(name):
            raise InvalidValue(f"the column name '{name}' is reserved", hint="choose another name")
        if name.casefold() in seen:
            other = seen[name.casefold()]
            how = "occurs twice" if other == name else f"differs from '{other}' only in case"
            raise InvalidValue(f"the column '{name}' of '{step}' {how}", hint="rename one of them")
        seen[name.casefold()] = name
