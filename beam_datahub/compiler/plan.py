"""The plan: a typed graph of sources, operators and destinations, each edge with its Arrow schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import pyarrow as pa

from beam_datahub.component.inspection import Action, Inspect, Severity, Test
from beam_datahub.component.operators import Aggregate, Apply, Join, Operator, PerKey, Route, Rows
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import Place
from beam_datahub.kernels.increment import Increment
from beam_datahub.kernels.windows import Windowing
from beam_datahub.spec import SubjectSpec

# How the ids of nodes begin that look at the rows of a step beside their way, and what the ids of a step's rules end in.
BESIDE = "quality:"
RULES = "#quality"


@dataclass(frozen=True)
class Positions:
    """How far a log has been read: by partition its position, and the revision of the cursor that keeps it. `unit` is what a
    position is called; a run that `moves` nothing leaves the cursors where they are.
    """

    unit: str
    revisions: Mapping[str, int] = field(default_factory=dict)
    moves: bool = True


@dataclass(frozen=True)
class Read:
    """Reads a source; `estimated_bytes` of the whole source where it is known, `place` where it stands in the spec."""

    connector: str
    source: Source
    request: ReadRequest
    estimated_rows: int | None = None
    estimated_bytes: int | None = None
    place: Place | None = None
    subject: SubjectSpec | None = None
    """The subject of the schema registry that holds the schema."""
    increment: Increment | None = None
    """Which of its records are new; None takes all."""
    positions: Positions | None = None
    """How far the log has been read, of a source that resumes."""
    keys: tuple[frozenset[str], ...] = ()
    """The sets of columns by which it finds at most one record, and quickly."""
    columns: tuple[str, ...] | None = None
    """The columns that go on, where others are read for the increment or for their time alone; None: all that are read."""
    time: str | None = None
    """The column that says when something happened, by which a stream's watermark goes."""


@dataclass(frozen=True)
class Write:
    """Writes a destination; `dead_letter` marks the one for rejected records, `violations` that for records which fail quality
    rules, `place` is where it stands in the spec.
    """

    connector: str
    sink: Sink
    request: WriteRequest
    dead_letter: bool = False
    violations: bool = False
    place: Place | None = None
    subject: SubjectSpec | None = None
    """The subject of the schema registry that the schema is to be registered under."""


@dataclass(frozen=True)
class Exchange:
    """One input of a shuffle: a query over the bundle's rows (`input`) that runs first, and the keys that rows meet by."""

    keys: tuple[str, ...]
    before: str | None
    schema: pa.Schema


@dataclass(frozen=True)
class Shuffle:
    """Rows of equal keys meet in a shard, where `after` is a query over `input` (of two inputs: `input` and `other`).

    Of two inputs the first one's rows are numbered in the hidden column `rows.ROW`, which `after` hands on for the books.
    `global_row`: without keys a row comes out even when none went in (an aggregate over everything). `windowing`: rows meet in
    windows; where streams wait for windows to be complete, `compact` is a query over what `before` gave that makes it less.
    """

    exchanges: tuple[Exchange, ...]
    after: str
    schema: pa.Schema
    kind: str
    global_row: bool = False
    join: Join | None = None
    windowing: Windowing | None = None
    compact: str | None = None


@dataclass(frozen=True)
class Ask:
    """A join that asks the source on its right side for the keys of each batch; `read` says what of it, as the node `source`."""

    join: Join
    read: Read
    source: str
    right: pa.Schema

    @property
    def part(self) -> str:
        """The source's part of the books that tells of what was asked for."""
        return f"{self.source}#asked"


@dataclass(frozen=True)
class Stage:
    """Row-wise steps that run as one: an optional read, then the steps, in order.

    `sides` maps a step to the node whose rows a broadcast join holds as a table.
    """

    steps: tuple[tuple[str, Operator | Ask], ...]
    read: Read | None = None
    read_id: str | None = None
    schemas: tuple[pa.Schema, ...] = ()
    sides: Mapping[str, tuple[str, pa.Schema]] = field(default_factory=dict)


PlanOperator = Read | Write | Operator | Ask | Shuffle | Stage


@dataclass(frozen=True)
class Node:
    """A node: its id (unique), the step of the spec that it belongs to, what it does, and what feeds it.

    `inputs` are node ids, or `id.branch` for a branch of a route. `schema` is that of its output. `lineage` maps each
    output column to (input index, input column) pairs and `expressions` to the text that made it.
    """

    id: str
    step: str
    operator: PlanOperator
    inputs: tuple[str, ...]
    schema: pa.Schema
    lineage: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    expressions: Mapping[str, str] = field(default_factory=dict)
    type: str = ""

    def with_(self, **changes: Any) -> Node:
        """A copy with changes."""
        return replace(self, **changes)


@dataclass(frozen=True)
class PlanRule:
    """A quality rule of the spec: the step (or branch) whose rows it judges, and its typed test.

    It holds when at least `share` of the checked rows pass, or at most `failures` fail; `threshold` and `where` say so as the
    user wrote it.
    """

    name: str
    step: str
    type: str
    test: Test
    action: Action = "report"
    severity: Severity = "medium"
    share: float | None = 1.0
    failures: int | None = None
    threshold: str = "100%"
    where: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class PlanProfile:
    """A step whose rows are profiled, and the reference to them: what a source or step gives, what a destination is given.

    `columns` None are all that are in use; `values`: whether the profile shows values of the data; None:
    but for those of the `private` columns. `drift` are the limits of
    `kernels.profiling.drift`, None compares nothing. `schema` is that of the rows, once columns are pruned.
    """

    step: str
    reference: str
    columns: tuple[str, ...] | None = None
    values: bool | None = None
    drift: Mapping[str, Any] | None = None
    schema: pa.Schema | None = None
    private: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All nodes in topological order. `warnings` say, each with its place, what lets it run and is hardly meant."""

    name: str
    nodes: Mapping[str, Node]
    max_rejected: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[PlanRule, ...] = ()
    profiles: tuple[PlanProfile, ...] = ()
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def node(self, reference: str) -> Node:
        """The node behind an input reference, which may name a branch."""
        return self.nodes[reference] if reference in self.nodes else self.nodes[reference.rpartition(".")[0]]

    def consumers(self, node_id: str) -> list[Node]:
        """The nodes that a node feeds, once per edge."""
        return [node for node in self for reference in node.inputs if self.node(reference).id == node_id]

    def judged(self, reference: str) -> str:
        """The reference to what a step or branch gives once its quality rules have rejected what they reject."""
        return f"{reference}{RULES}" if f"{reference}{RULES}" in self.nodes else reference

    def is_profiled(self, reference: str) -> bool:
        """Whether a step's or branch's rows are profiled where they leave it."""
        return any(each.reference == reference for each in self.profiles)

    def reads(self) -> list[Node]:
        """The source nodes."""
        return [node for node in self if isinstance(node.operator, Read)]

    def writes(self) -> list[Node]:
        """The destination nodes, the dead letter and the violations last."""
        found = [node for node in self if isinstance(node.operator, Write)]
        return sorted(found, key=lambda node: is_aside(node.operator))

    def replaced(self, nodes: Mapping[str, Node]) -> Plan:
        """A copy with other nodes."""
        return replace(self, nodes=dict(nodes))

    def step_ids(self) -> list[str]:
        """The steps of the spec, in order, each once."""
        return list(dict.fromkeys(node.step for node in self))


def is_aside(operator: PlanOperator) -> bool:
    """Whether an operator writes what comes out beside the destinations: rejected records, or violations."""
    return isinstance(operator, Write) and (operator.dead_letter or operator.violations)


def spec_name(reference: str) -> str:
    """The step or branch of the spec that a node or an input of one stands for."""
    return reference.split("#", 1)[0].removeprefix(BESIDE)


def can_reject(operator: PlanOperator) -> bool:
    """Whether an operator can send rows to the dead letter."""
    if isinstance(operator, Rows):
        return (
            bool(operator.checks)
            or (operator.keep is not None and operator.keep.can_fail)
            or any(column.expression.can_fail for column in operator.columns or ())
        )
    if isinstance(operator, Apply):
        return operator.can_reject
    if isinstance(operator, Ask):
        return can_reject(operator.join)
    if isinstance(operator, Join):
        return "reject" in (operator.unmatched, operator.ambiguous)
    if isinstance(operator, Route):
        return operator.default is None or any(condition.can_fail for _, condition in operator.branches)
    if isinstance(operator, Inspect):
        return operator.can_reject
    if isinstance(operator, Stage):
        return any(can_reject(step) for _, step in operator.steps)
    if isinstance(operator, Write):
        return operator.sink.capabilities.rejects
    return False


def can_record(operator: PlanOperator) -> bool:
    """Whether an operator can tell of rows that fail quality rules."""
    if isinstance(operator, Stage):
        return any(can_record(step) for _, step in operator.steps)
    return isinstance(operator, Inspect) and operator.can_record


def needs_positions(operator: PlanOperator) -> bool:
    """Whether an operator can say of a row where it comes from."""
    return can_reject(operator) or can_record(operator)


def is_row_wise(operator: PlanOperator) -> TypeGuard[Rows | Apply | Join | Ask | Inspect]:
    """Whether an operator looks at one row at a time (a broadcast join does, over its left rows)."""
    return isinstance(operator, Rows | Apply | Ask | Inspect) or (isinstance(operator, Join) and operator.strategy == "broadcast")


def shuffles(operator: PlanOperator) -> bool:
    """Whether rows must meet others first."""
    return isinstance(operator, Aggregate | PerKey | Shuffle) or (isinstance(operator, Join) and operator.strategy != "broadcast")
