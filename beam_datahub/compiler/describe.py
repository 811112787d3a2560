"""What a plan looks like to its user: the steps of the spec with their schemas, and the stages in which they run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from beam_datahub.compiler.clearance import PERSONAL
from beam_datahub.compiler.origins import ColumnOrigin, column_origins
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.personal_view import Personal, clearance, personal_columns, personal_facts
from beam_datahub.compiler.plan import (
    BESIDE,
    RULES,
    Ask,
    Node,
    Plan,
    PlanRule,
    Read,
    Shuffle,
    Stage,
    Write,
    can_reject,
    spec_name,
)
from beam_datahub.compiler.streaming import told_of_stream
from beam_datahub.component.asking import Asking
from beam_datahub.component.capabilities import Delivery
from beam_datahub.component.inspection import Figure, Inspect, RowCount, RowTest, Settled
from beam_datahub.component.operators import Aggregate, Apply, Join, PerKey, Route, Rows, Union
from beam_datahub.component.source import ReadRequest
from beam_datahub.kernels.types import sql_type, visible

_JOINED = {
    "broadcast": "broadcast join: {side} is held in memory by every worker",
    "co-partition": "both sides meet by key hash",
    "by keys": "{side} is asked for the keys of each batch",
}
_SHUFFLED = {
    "aggregate": "two-phase: partial states of each batch are merged by key",
    "aggregate rows": "rows meet by key: its measures have no partial states",
    "per key": "rows meet by key",
    "join": _JOINED["co-partition"],
}


# How the message of a test begins that is a condition of the user's own.
_NOT_SO = "not so: "


@dataclass(frozen=True)
class StepView:
    """A source, step or destination. `kind`: source, transformation, destination or dead_letter; `facts` are sentences
    on what it does and how, `columns` column → SQL type, `origins` where each column comes from; `changed` tells whether
    its columns differ from those of its first input, `traits` are the same facts for machines. `personal` are its columns with
    personal data.
    """

    id: str
    kind: str
    type: str
    inputs: tuple[str, ...]
    columns: Mapping[str, str]
    origins: Mapping[str, ColumnOrigin]
    facts: tuple[str, ...] = ()
    traits: Mapping[str, object] = field(default_factory=dict)
    changed: bool = True
    personal: Personal = field(default_factory=dict)


@dataclass(frozen=True)
class StageView:
    """What runs as one: the ids of its steps, and `kind`, one of pass, shuffle, union, route and write."""

    kind: str
    steps: tuple[str, ...]
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleView:
    """A quality rule: what it is about, in words, and how it is applied: `in passing`, `beside` the rows' way, in its `shuffle`,
    or `known` before anything runs.
    """

    name: str
    step: str
    type: str
    about: str
    severity: str
    threshold: str | None
    action: str
    where: str | None
    how: str


@dataclass(frozen=True)
class PlanView:
    """All steps in the order of the plan, the stages in the order in which they can run, and the quality rules."""

    name: str
    description: str | None
    steps: Mapping[str, StepView]
    stages: tuple[StageView, ...]
    max_rejected: str | None = None
    rules: tuple[RuleView, ...] = ()


def describe(plan: Plan) -> PlanView:
    """The view of a logical plan; the passes are run to see what they make of it."""
    physical = optimise(plan)
    origins = column_origins(plan)
    steps = {node.step: _step(node, plan, physical, origins[node.id]) for node in plan if node.id == node.step}
    described = plan.metadata.get("description")
    budget = None if plan.max_rejected is None else str(plan.max_rejected)
    rules = tuple(_rule(rule, plan) for rule in plan.rules)
    known = {*steps, *(node.step for node in plan if isinstance(node.operator, Write))}
    return PlanView(plan.name, described, steps, tuple(_stages(physical, known)), budget, rules)


def _rule(rule: PlanRule, plan: Plan) -> RuleView:
    test = rule.test
    how = "in passing"
    if isinstance(test, Settled):
        how, about = "known", test.detail
    elif isinstance(test, RowTest):
        here = plan.nodes.get(f"{rule.step}{RULES}")
        names = [each.name for each in here.operator.rules] if here is not None and isinstance(here.operator, Inspect) else []
        if test.mark is not None:
            how = "in the way" if rule.name in names else "beside"
        about = f"fails where {test.message}"
        if test.passes is not None and test.message.startswith(_NOT_SO):
            about = f"must be so: {test.passes.text}"
    elif isinstance(test, Figure):
        how, about = "beside", f"{test.name} must be {test.limits}"
    elif isinstance(test, RowCount):
        bounds = [f"at least {test.least:,}"] if test.least is not None else []
        bounds += [f"at most {test.most:,}"] if test.most is not None else []
        about = f"there are {' and '.join(bounds)}"
    else:
        about = f"the newest {test.column} is at most {timedelta(seconds=test.most_seconds)} old"
    threshold = rule.threshold if isinstance(test, RowTest) else None
    return RuleView(rule.name, rule.step, rule.type, about, rule.severity, threshold, rule.action, rule.where, how)


def branches(route: Route) -> list[str]:
    """The names of a route's outputs, the default last."""
    return list(dict.fromkeys([name for name, _ in route.branches] + ([route.default] if route.default else [])))


def _step(node: Node, plan: Plan, physical: Plan, origins: Mapping[str, ColumnOrigin]) -> StepView:
    parts = [each for each in plan if each.step == node.step]
    inside = {each.id for each in parts}
    outside = [reference for each in parts for reference in each.inputs if plan.node(reference).id not in inside]
    # What rules look up has a node of its own beside the steps.
    inputs = tuple(dict.fromkeys(spec_name(each) for each in outside if not each.startswith(BESIDE)))
    columns = {each.name: sql_type(each.type) for each in visible(node.schema)}
    operator = node.operator
    if isinstance(operator, Read):
        kind, (facts, traits) = "source", _read(node, operator, physical)
        facts += told_of_stream(plan, physical) if operator.source.capabilities.unbounded else ()
    elif isinstance(operator, Write):
        kind, (facts, traits) = _destination(operator), _write(operator)
    else:
        own = [each for each in parts if RULES not in each.id]
        kind, (facts, traits) = "transformation", _transformation(own, physical)
    named = [rule.name for rule in plan.rules if spec_name(rule.step).partition(".")[0] == node.step or rule.step == node.step]
    if named:
        facts.append(f"quality rules: {', '.join(named)}")
        traits["quality_rules"] = named
    personal = personal_columns(node, plan)
    facts += personal_facts(node, plan, personal)
    if isinstance(operator, Write) and not operator.violations and PERSONAL in plan.metadata:
        traits["clearance"] = list(clearance(node, plan))
    before = plan.node(inputs[0]).schema if inputs else None
    changed = before is None or visible(before) != visible(node.schema)
    return StepView(node.id, kind, node.type, inputs, columns, origins, tuple(facts), traits, changed, personal)


def _destination(write: Write) -> str:
    return "dead_letter" if write.dead_letter else "violations" if write.violations else "destination"


def _read(node: Node, read: Read, physical: Plan) -> tuple[list[str], dict[str, object]]:
    facts: list[str] = []
    request = _request(node.id, physical) or read.request
    some, every = len(request.columns), len(read.request.columns)
    pushes = type(read.source).capabilities.columns
    if some < every:
        how = "reads only" if pushes else "keeps only"
        facts.append(f"{how} {some} of {every} columns: {', '.join(request.columns)}")
    if read.increment is not None:
        begin = "" if read.increment.floor is None else f", from {read.increment.floor} on at first"
        facts.append(f"what is new by {read.increment.column}{begin}")
    if read.positions is not None:
        facts.append(f"goes on from the last {read.positions.unit} of the run before")
    if read.source.capabilities.acknowledges is not None:
        facts.append("acknowledged once published")
    if read.source.capabilities.delivery is not Delivery.EXACTLY_ONCE:
        facts.append("at least once: a message can come again after a run that was killed")
    if read.estimated_rows is not None:
        facts.append(
            f"about {_rows(read.estimated_rows)}" + ("" if read.estimated_bytes is None else f", {read.estimated_bytes:,} bytes")
        )
    elif read.estimated_bytes is not None:
        facts.append(f"{read.estimated_bytes:,} bytes")
    contract = read.request.contract
    if (contract.columns, contract.types) != ("evolve", "evolve"):
        facts.append(f"contract: columns {contract.columns.value}, types {contract.types.value}")
    traits: dict[str, object] = {
        "schema": "declared" if read.request.declared else "discovered",
        "reads": list(request.columns),
        "columns_pushed_down": some < every and pushes,
        "splits": type(read.source).capabilities.splits,
        "estimated_rows": read.estimated_rows,
        "estimated_bytes": read.estimated_bytes,
        "contract": {"columns": contract.columns.value, "types": contract.types.value},
    }
    return facts, traits


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _request(source: str, physical: Plan) -> ReadRequest | None:
    for node in physical:
        if isinstance(node.operator, Stage) and node.operator.read is not None and node.operator.read_id == source:
            return node.operator.read.request
    return next((ask.read.request for ask in _asks(physical) if ask.source == source), None)


def _write(write: Write) -> tuple[list[str], dict[str, object]]:
    delivery = type(write.sink).capabilities.delivery
    mode = write.request.mode.value + (f" by {', '.join(write.request.key)}" if write.request.key else "")
    kept = "exactly once" if delivery is Delivery.EXACTLY_ONCE else "at least once: a repeated attempt may repeat records"
    path = getattr(write.sink.connection, "path", None)
    table = getattr(write.sink.options, "table", None)
    named = [path] if isinstance(path, str) else []
    named += [f"table {table}"] if isinstance(table, str) else []
    place = [f"to {', '.join(named)}"] if named else []
    traits: dict[str, object] = {
        "write_mode": write.request.mode.value,
        "key": list(write.request.key),
        "delivery": delivery.value,
        "path": path if isinstance(path, str) else None,
    }
    return [*place, f"{mode}, {kept}"], traits


def _transformation(parts: list[Node], physical: Plan) -> tuple[list[str], dict[str, object]]:
    facts: list[str] = []
    traits: dict[str, object] = {}
    for node in parts:
        operator = node.operator
        if isinstance(operator, Rows):
            if operator.keep is not None:
                facts.append(f"keeps rows where {operator.keep.text}")
                traits["where"] = operator.keep.text
            if operator.checks:
                facts.append(f"checks {len(operator.checks)} rule{'s' * (len(operator.checks) > 1)}")
        elif isinstance(operator, Aggregate | PerKey):
            shuffle = _shuffle(node.id, physical)
            facts.append(f"by {', '.join(operator.keys)}" if operator.keys else "over all rows at once")
            traits["keys"] = list(operator.keys)
            if shuffle is not None:
                facts.append(_SHUFFLED[shuffle.kind])
                traits["shuffle"] = shuffle.kind
                traits["two_phase"] = any(exchange.before for exchange in shuffle.exchanges)
                if isinstance(operator, PerKey) and operator.reduce:
                    facts.append("each batch is reduced first")
        elif isinstance(operator, Join):
            facts += _join(node, operator, parts, physical, traits)
        elif isinstance(operator, Route):
            facts += [f"{name}: {condition.text}" for name, condition in operator.branches]
            facts += [f"{operator.default}: all others"] if operator.default else []
            traits["branches"] = branches(operator)
        elif isinstance(operator, Union):
            facts.append(f"all rows of {', '.join(map(spec_name, node.inputs))}")
        elif isinstance(operator, Apply):
            traits["kernel"] = type(operator.kernel).__name__
    rejects = any(can_reject(node.operator) for node in parts)
    traits["can_reject"] = rejects
    if rejects:
        facts.append("may reject rows")
    return facts, traits


def _join(node: Node, join: Join, parts: list[Node], physical: Plan, traits: dict[str, object]) -> list[str]:
    ask = _ask(node.id, physical)
    strategy = "co-partition" if _shuffle(node.id, physical) or _shuffle(f"{node.id}#join", physical) else "broadcast"
    strategy = "by keys" if ask is not None else strategy
    traits.update(join=join.kind.value, strategy=strategy, left_keys=list(join.left_keys), right_keys=list(join.right_keys))
    keys = ", ".join(
        left if left == right else f"{left} = {right}" for left, right in zip(join.left_keys, join.right_keys, strict=True)
    )
    nearest = f", nearest {join.asof[0]} {join.asof[2]} {join.asof[1]}" if join.asof else ""
    near = f", within {join.within[2] / 1e6:g} s before and {join.within[3] / 1e6:g} s after" if join.within else ""
    # What stands in front of a join in windows or in time is part of its step.
    side = spec_name(next((each.inputs[0] for each in parts if each.id == node.inputs[1]), node.inputs[1]))
    facts = [f"{join.kind.value} join with {side} on {keys}{nearest}{near}", _JOINED[strategy].format(side=side)]
    why = ask.join.why if ask is not None else _why(node.id, physical)
    if why is not None:
        facts[-1] += f" ({why})"
        traits["why"] = why
    if ask is not None and join.asking is not None:
        facts.append(_cache(join.asking))
    return facts


def _cache(asking: Asking) -> str:
    """What a lookup by keys remembers, and how fast it asks."""
    cache = asking.cache
    ttl = "" if cache.ttl_seconds is None else f" for {cache.ttl_seconds:g} s"
    places = [f"up to {_rows(cache.rows)} in memory"] if cache.rows else []
    places += ["in Redis"] if cache.redis is not None else []
    kept = f"remembers {' and '.join(places)}{ttl}" if places else "remembers nothing"
    return kept + ("" if asking.requests_per_second is None else f"; at most {asking.requests_per_second:g} queries a second")


def _asks(physical: Plan) -> list[Ask]:
    stages = (node.operator for node in physical if isinstance(node.operator, Stage))
    return [each for stage in stages for _, each in stage.steps if isinstance(each, Ask)]


def _ask(node_id: str, physical: Plan) -> Ask | None:
    """A lookup by keys, in the stage that it became part of."""
    stages = (node.operator for node in physical if isinstance(node.operator, Stage))
    return next((each for stage in stages for name, each in stage.steps if name == node_id and isinstance(each, Ask)), None)


def _why(node_id: str, physical: Plan) -> str | None:
    """Why a lookup reads its source as a whole, where there was a choice."""
    shuffle = _shuffle(node_id, physical) or _shuffle(f"{node_id}#join", physical)
    if shuffle is not None:
        return shuffle.join.why if shuffle.join is not None else None
    stages = (node.operator for node in physical if isinstance(node.operator, Stage))
    return next((each.why for stage in stages for name, each in stage.steps if name == node_id and isinstance(each, Join)), None)


def _shuffle(node_id: str, physical: Plan) -> Shuffle | None:
    node = physical.nodes.get(node_id)
    return node.operator if node is not None and isinstance(node.operator, Shuffle) else None


def _stages(physical: Plan, known: Collection[str]) -> list[StageView]:
    """The stages of the steps that are `known`; a step that spans several is shown in the one that has its heaviest part."""
    shown: set[str] = set()
    heavy = {node.step for node in physical if isinstance(node.operator, Shuffle | Union | Route) and RULES not in node.id}
    # What is only asked is not read, and no stage of its own.
    stages = [StageView("pass", (name,)) for name in dict.fromkeys(ask.source for ask in _asks(physical)) if name in known]
    shown.update(name for stage in stages for name in stage.steps if not _is_read(name, physical))
    stages = [stage for stage in stages if stage.steps[0] in shown]
    for node in physical:
        operator = node.operator
        kind = "pass"
        if isinstance(operator, Stage):
            ids = [
                *([operator.read_id] if operator.read_id else []),
                *(s.split("#")[0] for s, _ in operator.steps if RULES not in s),
            ]
            ids = [step for step in ids if step not in heavy]
        else:
            ids = [node.step]
            kind = {Shuffle: "shuffle", Union: "union", Route: "route", Write: "write"}[type(operator)]
        steps = tuple(step for step in dict.fromkeys(ids) if step in known and step not in shown)
        shown.update(steps)
        if steps:
            waits = tuple(dict.fromkeys(_step_of(reference, physical) for reference in node.inputs))
            stages.append(StageView(kind, steps, tuple(step for step in waits if step not in steps)))
    return stages


def _is_read(source: str, physical: Plan) -> bool:
    return any(isinstance(node.operator, Stage) and node.operator.read_id == source for node in physical)


def _step_of(reference: str, physical: Plan) -> str:
    node = physical.node(reference)
    if RULES in reference:
        return spec_name(reference)
    return node.step if node.id == reference else f"{node.step}.{reference.rpartition('.')[2]}"
