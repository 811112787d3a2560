"""Puts the quality rules of a spec into its plan: one look at the rows of a step for all of its rules.

A test that one row alone decides runs where the rows pass by. One for which rows must meet others does so beside them, and
in their way only where it is to reject them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_datahub.compiler.plan import BESIDE, RULES, Node, Plan, PlanRule, Write
from beam_datahub.compiler.schema import edge_of
from beam_datahub.compiler.scope import StepScope
from beam_datahub.component.inspection import Figure, Inspect, Judged, Lookup, RowTest, SameKey, Settled
from beam_datahub.component.operators import Aggregate, Join, JoinKind, Measure, Operator, PerKey
from beam_datahub.component.rule import Rule
from beam_datahub.errors import ErrorGroup, InvalidValue, Place
from beam_datahub.kernels.expressions import Expression, error_mask_sql
from beam_datahub.kernels.types import HIDDEN
from beam_datahub.spec import QualityRuleSpec


class RuleScope(StepScope):
    """What the compiler lends to the rule number `number` of a spec."""

    def __init__(self, place: Callable[..., Place], folder: str, number: int) -> None:
        super().__init__(place, folder)
        self._number = number

    def hidden(self, name: str) -> str:
        """A column name of the rule's own."""
        return f"{HIDDEN}q{self._number}_{name}"


def compile_rule(
    spec: QualityRuleSpec, rule: Rule, schema: pa.Schema, others: Mapping[str, pa.Schema], scope: RuleScope
) -> PlanRule:
    """The rule of a step with this schema, typed; `others` are the inputs that it names. Raises ErrorGroup."""
    if rule.about == "table" and spec.action == "reject":
        hint = "take report or fail"
        scope.error(
            InvalidValue(f"a rule of type {spec.type} judges the table as a whole: no record is to blame", hint=hint), "action"
        )
    if rule.about == "table" and spec.threshold is not None:
        scope.error(InvalidValue(f"a rule of type {spec.type} holds or not: there is no share of it"), "threshold")
    if spec.where is not None and not rule.takes_where:
        scope.error(InvalidValue(f"a rule of type {spec.type} looks at no record, so that `where` chooses none"), "where")
    where = scope.predicate(spec.where, schema, "where") if spec.where is not None else None
    test = rule.compile(schema, where, others, scope)
    if test is None or scope.errors:
        raise ErrorGroup(scope.errors)
    return PlanRule(
        name=spec.name,
        step=spec.step,
        type=spec.type,
        test=_where_applies(test, where) if isinstance(test, RowTest) else test,
        action=spec.action,
        severity=spec.severity,
        share=1.0 if spec.threshold is None else spec.threshold.share,
        failures=None if spec.threshold is None else spec.threshold.failures,
        threshold="100%" if spec.threshold is None else str(spec.threshold),
        where=where.text if where is not None else None,
        description=spec.description,
    )


def _where_applies(test: RowTest, where: Expression | None) -> RowTest:
    """`test` for the rows for which `where` holds. One on which `where` itself fails is checked, and fails."""
    if where is None:
        return test
    applies = f"coalesce({where.sql}, false)"
    passes = test.passes
    if where.can_fail:
        applies = f"coalesce(TRY({where.sql}), {error_mask_sql(where.sql)})"
        passes = passes or Expression("", "true", pa.bool_(), (), can_fail=False)
        columns = tuple(dict.fromkeys([*passes.columns, *where.columns]))
        passes = replace(passes, sql=f"TRY({where.sql}) AND ({passes.sql})", columns=columns)
    columns = where.columns
    if test.applies is not None:
        applies = f"{applies} AND ({test.applies.sql})"
        columns = tuple(dict.fromkeys([*columns, *test.applies.columns]))
    return replace(test, passes=passes, applies=Expression(where.text, applies, pa.bool_(), columns, can_fail=False))


def attach(nodes: Mapping[str, Node], rules: Sequence[PlanRule], ends: Mapping[str, str]) -> dict[str, Node]:
    """The nodes with those of `rules`; whatever a step feeds comes behind its rules then. `ends` are destinations that have no
    node, with what feeds them: their rules come last.

    Raises InvalidValue, unplaced, where a rule that rejects needs rows that come from those that it judges.
    """
    found = dict(nodes)
    edges: dict[str, list[PlanRule]] = {}
    for rule in rules:
        edges.setdefault(rule.step, []).append(rule)
    for step, own in edges.items():
        _Edge(step, own, found, ends.get(step)).attach()
    return {node.id: node for node in _ordered(found)}


@dataclass
class _Edge:
    """The rows of one step on their way to whatever it feeds."""

    step: str
    rules: Sequence[PlanRule]
    nodes: dict[str, Node]
    end: str | None = None

    def attach(self) -> None:
        """Add the nodes."""
        judged = [
            Judged(rule.name, rule.test, rule.action, rule.severity)
            for rule in self.rules
            if not isinstance(rule.test, Settled | Figure)
        ]
        is_write = self.step in self.nodes and isinstance(self.nodes[self.step].operator, Write)
        source = self.nodes[self.step].inputs[0] if is_write else self.end or self.step
        figures = [rule for rule in self.rules if isinstance(rule.test, Figure)]
        consumers = [self.step] if is_write else [node.id for node in self.nodes.values() if source in node.inputs]
        consumers = [] if self.end is not None else consumers
        marked = [rule for rule in judged if isinstance(rule.test, RowTest) and rule.test.mark is not None]
        in_the_way = any(rule.action == "reject" for rule in marked)
        here = judged if in_the_way else [rule for rule in judged if rule not in marked]
        last = source
        if here:
            last = self._inspected(source, here, beside=None, records=in_the_way or not marked)
        if marked and not in_the_way:
            rows = [replace(rule, counted=rule in marked) for rule in judged if isinstance(rule.test, RowTest)]
            self._inspected(source, rows, beside=source, records=True)
        for number, rule in enumerate(figures):
            self._figure(number, rule, source)
        if last == source:
            return
        for name in consumers:
            node = self.nodes[name]
            self.nodes[name] = node.with_(inputs=tuple(last if each == source else each for each in node.inputs))

    def _figure(self, number: int, rule: PlanRule, source: str) -> None:
        """Nodes that compute a figure beside the rows' way, and judge it."""
        assert isinstance(rule.test, Figure)
        step = f"{BESIDE}{self.step}"
        for part, operator in enumerate(rule.test.operators):
            source = self._add(f"{step}{RULES}_figure_{number}_{part}", step, operator, (source,))
        judged = Judged(rule.name, rule.test, rule.action, rule.severity)
        self._add(f"{step}{RULES}_figure_{number}", step, Inspect((judged,), beside=source), (source,))

    def _inspected(self, source: str, rules: Sequence[Judged], *, beside: str | None, records: bool) -> str:
        """Nodes that mark and inspect the rows of `source`; gives the last one's id."""
        step = self.step if beside is None else f"{BESIDE}{self.step}"
        schema = self._schema(source)
        hidden: list[str] = []
        for rule in rules:
            mark = rule.test.mark if isinstance(rule.test, RowTest) else None
            if mark is None:
                continue
            number = len(hidden) + 1
            if isinstance(mark, SameKey):
                hidden.append(mark.adds)
                source = self._add(f"{step}{RULES}_{number}", step, _same_key(mark, self._schema(source)), (source,))
            else:
                if beside is None and self._feeds(self.step, mark.reference):
                    raise InvalidValue(
                        f"the rule '{rule.name}' rejects records of '{self.step}' by '{mark.reference}', which comes from them",
                        hint="take another input, or let it report",
                    )
                other = self._found(mark, f"{BESIDE}{self.step}{RULES}_{number}_{'way' if beside is None else 'beside'}")
                hidden += mark.adds
                source = self._add(f"{step}{RULES}_{number}", step, self._lookup(mark, source, other), (source, other))
        inspect = Inspect(tuple(rules), beside is None, records, tuple(hidden), beside)
        found = self._add(f"{step}{RULES}", step, inspect, (source,))
        assert self.nodes[found].schema == schema
        return found

    def _add(self, node_id: str, step: str, operator: Operator, inputs: tuple[str, ...]) -> str:
        edge = edge_of(operator, [self._schema(each) for each in inputs])
        self.nodes[node_id] = Node(node_id, step, operator, inputs, edge.schema, edge.lineage, type="quality_rules")
        return node_id

    def _found(self, mark: Lookup, node_id: str) -> str:
        """A node with one row for each key of the reference."""
        schema = self._schema(mark.reference)
        measures = tuple(
            Measure(name, function, (column,) if column else (), pa.int64() if function == "count" else schema.field(column).type)
            for name, (function, column) in mark.adds.items()
        )
        keys = tuple(dict.fromkeys(mark.right_keys))
        return self._add(node_id, f"{BESIDE}{self.step}", Aggregate(keys, measures), (mark.reference,))

    def _lookup(self, mark: Lookup, source: str, other: str) -> Join:
        columns = [(name, 0, name) for name in self._schema(source).names] + [(name, 1, name) for name in mark.adds]
        return Join(JoinKind.LEFT, mark.left_keys, mark.right_keys, tuple(columns))

    def _schema(self, reference: str) -> pa.Schema:
        return self._node(reference).schema

    def _node(self, reference: str) -> Node:
        return self.nodes[reference] if reference in self.nodes else self.nodes[reference.rpartition(".")[0]]

    def _feeds(self, step: str, reference: str) -> bool:
        """Whether the rows of `reference` come from `step`, or stand for it."""
        if reference == step or reference.startswith(f"{step}{RULES}"):
            return True
        return any(self._feeds(step, each) for each in self._node(reference).inputs)


def _same_key(mark: SameKey, schema: pa.Schema) -> PerKey:
    adds = pa.schema([(mark.adds, pa.int64())])
    lineage = {name: (name,) for name in schema.names} | {mark.adds: mark.keys}
    sql = f"SELECT *, {mark.sql} AS {mark.adds} FROM input"
    return PerKey(mark.keys, sql, pa.schema([*schema, *adds]), lineage, adds=adds, uses=mark.uses)


def _ordered(nodes: Mapping[str, Node]) -> Iterable[Node]:
    """The nodes, each behind those that feed it, else in the order that they had."""
    plan, done = Plan("", nodes), set[str]()

    def visit(node: Node) -> Iterable[Node]:
        if node.id in done:
            return
        done.add(node.id)
        for reference in node.inputs:
            yield from visit(plan.node(reference))
        yield node

    for node in nodes.values():
        yield from visit(node)
