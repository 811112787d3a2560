"""Lowers a physical plan to a Beam pipeline: the ids of the spec become the names of the steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_datahub.compiler.books import Entry, Ledger, Link
from beam_datahub.compiler.commit import Budget, Commit
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.delivering import DeliverReports
from beam_datahub.compiler.dofns import REJECTED, REPORT, VIOLATING, KernelOptions, ListSplits, RunStage
from beam_datahub.compiler.follow import FollowStage, StreamWork
from beam_datahub.compiler.increment import marks
from beam_datahub.compiler.plan import (
    BESIDE,
    RULES,
    Ask,
    Node,
    Plan,
    PlanProfile,
    Shuffle,
    Stage,
    Write,
    can_record,
    is_aside,
    needs_positions,
)
from beam_datahub.compiler.profile_rows import ProfileRows
from beam_datahub.compiler.routing import RouteRows
from beam_datahub.compiler.rows import without_mixed
from beam_datahub.compiler.settled import Seam
from beam_datahub.compiler.shuffle import FinishShard, Seed, SplitByKey
from beam_datahub.compiler.staging import StageRows
from beam_datahub.compiler.windows import Shards, WindowRows, windows_before
from beam_datahub.component import coder as _coder  # noqa: F401 - registers the coder of record batches
from beam_datahub.component.operators import Column, Route, Rows, Union
from beam_datahub.component.source import Partition
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted, sql_type
from beam_datahub.kernels.windows import FIRST

_Batches = pa.RecordBatch
_Reports = tuple[str, str]
_Sharded = tuple[int, pa.RecordBatch]


@dataclass(frozen=True)
class StreamLowering:
    """What lowering a stream needs besides: the partitions to follow by source, what workers need to know of the stream, and the
    folder in which they leave their reports: the launcher commits.
    """

    partitions: Mapping[str, tuple[Partition, ...]]
    work: Mapping[str, StreamWork]
    reports: str


@dataclass(frozen=True)
class Lowering:
    """What lowering needs to know of the run and its engine. `shards`: how many parts a shuffle has; `journal`: the local
    file that says what the run is about to publish; `started_at`: the one moment that is now for the whole run. `arrivals`: the
    splits of sources, where they come in the course of a test of event time; `moments`: its processing time, in microseconds.
    `since`: where an earlier run of a stream stood; `nearby`: a point before which no watermark lies.
    """

    identity: Identity
    report_path: str
    kernel: KernelOptions = field(default_factory=KernelOptions)
    shards: int = 8
    reshuffle_splits: bool = False
    budget: Budget = field(default_factory=Budget)
    journal: str | None = None
    stream: StreamLowering | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    arrivals: Mapping[str, Any] = field(default_factory=dict)
    moments: Any = None
    since: Seam = field(default_factory=Seam)
    nearby: int = FIRST


@dataclass
class _Built:
    """The pipeline under construction: batches and book entries by reference, reports and rejects so far."""

    batches: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    reports: list[Any] = field(default_factory=list)
    rejected: list[Any] = field(default_factory=list)
    violating: list[Any] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    parts: dict[str, list[str]] = field(default_factory=dict)
    targets: list[Write] = field(default_factory=list)
    broadcast: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    carriers: frozenset[str] = frozenset()
    records: bool = False

    def label(self, wanted: str) -> str:
        """A label that no other step of the pipeline has: the parts of an aggregation run before and after its shuffle."""
        found, number = wanted, 1
        while found in self.labels:
            number += 1
            found = f"{wanted} ({number})"
        self.labels.add(found)
        return found


def lower(plan: Plan, pipeline: Any, lowering: Lowering) -> Ledger:
    """Build `plan` (after the passes) on `pipeline` and return how its books hang together."""
    aside = [node for node in plan.writes() if is_aside(node.operator)]
    built = _Built(carriers=carriers(plan), records=any(isinstance(n.operator, Write) and n.operator.violations for n in aside))
    for node in plan:
        operator = node.operator
        if isinstance(operator, Stage):
            _stage(node, operator, plan, pipeline, built, lowering)
        elif isinstance(operator, Shuffle):
            _shuffle(node, operator, plan, pipeline, built, lowering)
        elif isinstance(operator, Union):
            _union(node, operator, plan, built, lowering)
        elif isinstance(operator, Route):
            _route(node, operator, built, lowering)
        elif isinstance(operator, Write):
            if not is_aside(operator):
                _write(node, operator, built.batches[node.inputs[0]], built, lowering)
                _link(built, node.inputs[0], node.id)
        else:
            raise TypeError(f"{type(operator).__name__} is not a physical operator")
    for profile in plan.profiles:
        # A source profiles what it reads itself: between it and the steps behind it rows do not show.
        if profile.reference in built.batches and not _is_read(plan, profile):
            dofn = ProfileRows(profile, lowering.kernel.threads)
            label = built.label(f"{profile.step}/profile")
            found = built.batches[profile.reference] | label >> beam.ParDo(dofn).with_output_types(_Reports)
            built.reports.append(found)
    for node in aside:
        assert isinstance(node.operator, Write)
        found = built.rejected if node.operator.dead_letter else built.violating
        if found:
            _write(node, node.operator, tuple(found) | f"{node.id}/gather" >> beam.Flatten(), built, lowering)
    steps = {step: tuple(parts) for step, parts in built.parts.items() if not step.startswith(BESIDE)}
    ledger = Ledger(tuple(built.links), steps, built.broadcast)
    if lowering.stream is not None:
        reports = tuple(built.reports) | "run/reports" >> beam.Flatten()
        reports | "run/deliver" >> beam.ParDo(DeliverReports(lowering.stream.reports))
        return ledger
    start = pipeline | "run/start" >> beam.Create([("start", json.dumps({}))]).with_output_types(_Reports)
    (
        (start, *built.reports)
        | "run/reports" >> beam.Flatten()
        | "run/key" >> beam.Map(_keyed).with_output_types(tuple[int, _Reports])
        | "run/gather" >> beam.GroupByKey()
        | "run/commit"
        >> beam.ParDo(
            Commit(
                ledger,
                tuple(built.targets),
                lowering.budget,
                lowering.report_path,
                lowering.journal,
                rules=plan.rules,
                profiles=plan.profiles,
                marks=marks(plan),
                started_at=lowering.started_at,
                identity=lowering.identity,
            )
        )
    )
    return ledger


def _is_read(plan: Plan, profile: PlanProfile) -> bool:
    return any(isinstance(n.operator, Stage) and n.operator.read_id == profile.reference for n in plan)


def _tagged(dofn: beam.DoFn, main: Any, tags: Mapping[str, Any], *sides: Any) -> Any:
    """A ParDo whose outputs all have their types: an untyped one would be pickled, batch by batch."""
    return beam.ParDo(dofn, *sides).with_output_types(main, **tags).with_outputs(*tags, main="out")


def _keyed(report: _Reports) -> tuple[int, _Reports]:
    return (0, report)


def _part(built: _Built, step: str, part: str) -> str:
    built.parts.setdefault(step, []).append(part)
    return part


def _link(built: _Built, reference: str, consumer: str) -> None:
    built.links.append(Link(built.entries[reference], consumer))


def _outputs(built: _Built, outputs: Any, *, rejected: bool = True) -> None:
    built.reports.append(outputs[REPORT])
    if rejected:
        built.rejected.append(outputs[REJECTED])


def carriers(plan: Plan) -> frozenset[str]:
    """The nodes of which a later one may tell of a row without a shuffle between: their rows keep their positions."""
    found: set[str] = set()
    for node in reversed(list(plan)):
        for consumer in plan.consumers(node.id):
            operator = consumer.operator
            if isinstance(operator, Stage | Route | Union | Write) and (needs_positions(operator) or consumer.id in found):
                found.add(node.id)
    return frozenset(found)


def _stage(node: Node, stage: Stage, plan: Plan, pipeline: Any, built: _Built, lowering: Lowering) -> None:
    # Rules of a step that a stage does not run carry its name with a mark: the step's own label is taken.
    steps = [s for s, _ in stage.steps]
    own = [*([stage.read_id] if stage.read_id else []), *(s.split("#")[0] for s in steps if RULES not in s)]
    apart = [s.split(RULES)[0] + RULES for s in steps if RULES in s and s.split(RULES)[0] not in own]
    names = dict.fromkeys([*own, *apart])
    label = built.label("+".join(names))
    sides = [beam.pvalue.AsList(built.batches[reference]) for reference, _ in stage.sides.values()]
    built.broadcast.update({step: built.entries[reference] for step, (reference, _) in stage.sides.items()})
    previous: tuple[Entry, ...]
    stream = lowering.stream if lowering.stream is not None and stage.read_id in lowering.stream.partitions else None
    if stream is not None and stage.read_id is not None:
        partitions = beam.Create(list(stream.partitions[stage.read_id]), reshuffle=False)
        source = pipeline | f"{label}/partitions" >> partitions | f"{label}/spread" >> beam.Reshuffle()
        previous = (Entry(_part(built, stage.read_id, stage.read_id)),)
    elif stage.read_id is not None and stage.read_id in lowering.arrivals:
        source = lowering.arrivals[stage.read_id]
        previous = (Entry(_part(built, stage.read_id, stage.read_id)),)
    elif stage.read is not None and stage.read_id is not None:
        listing = ListSplits(stage.read_id, stage.read)
        found = pipeline | f"{label}/start" >> beam.Create([0]) | f"{label}/list" >> _tagged(listing, Any, {REPORT: _Reports})
        source = found["out"]
        if stage.read.positions is not None:
            built.reports.append(found[REPORT])
        if lowering.reshuffle_splits:
            source = source | f"{label}/spread" >> beam.Reshuffle()
        previous = (Entry(_part(built, stage.read_id, stage.read_id)),)
    else:
        source = built.batches[node.inputs[0]]
        previous = built.entries[node.inputs[0]]
    records = built.records and can_record(stage)
    profile = next((each for each in plan.profiles if each.reference == stage.read_id), None)
    kind = RunStage if stream is None else partial(FollowStage, stream.work[stage.read_id or ""])
    dofn = kind(stage, lowering.identity, lowering.kernel, carry=node.id in built.carriers, records=records, profile=profile)
    tags = {REJECTED: _Batches, REPORT: _Reports, **({VIOLATING: _Batches} if records else {})}
    outputs = source | label >> _tagged(dofn, _Batches, tags, *sides)
    if records:
        built.violating.append(outputs[VIOLATING])
    for step, operator in stage.steps:
        if isinstance(operator, Ask):
            # What was asked for shows as what the source gave, and as what was looked up there.
            built.broadcast[step] = (Entry(operator.part),)
            if operator.part not in built.parts.get(operator.source, ()):
                _part(built, operator.source, operator.part)
        parts = [part for part, _ in without_mixed([(step, operator)])] if isinstance(operator, Rows) else [step]
        for part in parts:
            _part(built, step.split("#")[0], part)
            built.links.append(Link(previous, part))
            previous = (Entry(part),)
    built.batches[node.id] = outputs["out"]
    built.entries[node.id] = previous
    _outputs(built, outputs)


def _windows(node: Node, shuffle: Shuffle, plan: Plan, pipeline: Any, built: _Built, lowering: Lowering) -> None:
    """A shuffle of a stream: rows wait in their shards until their windows are complete."""
    shards, parts = lowering.since.shards(node.id, lowering.shards if shuffle.exchanges[0].keys else 1), []
    sources = [plan.node(reference).schema for reference in node.inputs]
    since = tuple(lowering.since.since(node.id, shard) for shard in range(shards))
    window = shuffle.windowing.window if shuffle.windowing is not None else None
    entries = []
    for side, (reference, exchange) in enumerate(zip(node.inputs, shuffle.exchanges, strict=True)):
        part = _part(built, node.step, f"{node.id}#split{side}")
        dofn = SplitByKey(
            node.id, exchange, side, sources[side], shards, lowering.kernel, streams=True, window=window, since=max(since)
        )
        outputs = built.batches[reference] | f"{node.id}/by key {side}" >> _tagged(dofn, _Sharded, {REPORT: _Reports})
        _link(built, reference, part)
        parts.append(outputs["out"])
        entries.append(Entry(part))
        built.reports.append(outputs[REPORT])
    moments = pipeline | f"{node.id}/start" >> beam.Create([0], reshuffle=False)
    if lowering.moments is not None:
        moments = (moments, lowering.moments) | f"{node.id}/moments" >> beam.Flatten()
    parts.append(moments | f"{node.id}/shards" >> beam.ParDo(Shards(sources[0], shards)).with_output_types(_Sharded))
    depth, simulated = windows_before(plan, node), lowering.moments is not None
    rows = WindowRows(
        node.id,
        shuffle,
        sources,
        lowering.identity,
        lowering.kernel,
        depth,
        simulated=simulated,
        since=since,
        nearby=lowering.nearby,
    )
    met = tuple(parts) | f"{node.id}/sides" >> beam.Flatten()
    outputs = met | node.id >> _tagged(rows, _Batches, {REJECTED: _Batches, REPORT: _Reports})
    built.links.append(Link(tuple(entries), _part(built, node.step, node.id)))
    built.batches[node.id] = outputs["out"]
    built.entries[node.id] = (Entry(node.id),)
    _outputs(built, outputs)


def _shuffle(node: Node, shuffle: Shuffle, plan: Plan, pipeline: Any, built: _Built, lowering: Lowering) -> None:
    if shuffle.windowing is not None and shuffle.windowing.streams:
        _windows(node, shuffle, plan, pipeline, built, lowering)
        return
    halves, entries = [], []
    for side, (reference, exchange) in enumerate(zip(node.inputs, shuffle.exchanges, strict=True)):
        part = _part(built, node.step, f"{node.id}#before" if exchange.before else f"{node.id}#split{side}")
        schema = plan.node(reference).schema
        dofn = SplitByKey(node.id, exchange, side, schema, lowering.shards if exchange.keys else 1, lowering.kernel)
        outputs = built.batches[reference] | f"{node.id}/by key {side}" >> _tagged(dofn, _Sharded, {REPORT: _Reports})
        _link(built, reference, part)
        halves.append(outputs["out"])
        entries.append(Entry(part))
        built.reports.append(outputs[REPORT])
    if shuffle.global_row:
        halves.append(
            pipeline
            | f"{node.id}/seed" >> beam.Create([0])
            | f"{node.id}/empty" >> beam.ParDo(Seed(shuffle.exchanges[0].schema)).with_output_types(_Sharded)
        )
    met = halves[0] if len(halves) == 1 else tuple(halves) | f"{node.id}/sides" >> beam.Flatten()
    outputs = (
        met
        | f"{node.id}/shuffle" >> beam.GroupByKey()
        | node.id >> _tagged(FinishShard(node.id, shuffle, lowering.kernel), _Batches, {REPORT: _Reports})
    )
    built.links.append(Link(tuple(entries), _part(built, node.step, node.id)))
    built.batches[node.id] = outputs["out"]
    built.entries[node.id] = (Entry(node.id),)
    built.reports.append(outputs[REPORT])


def _union(node: Node, union: Union, plan: Plan, built: _Built, lowering: Lowering) -> None:
    aligned, entries = [], []
    for number, reference in enumerate(node.inputs, start=1):
        schema = plan.node(reference).schema
        step = f"{node.id}#{number}"
        stage = Stage(((step, Rows(tuple(_aligned(f, schema) for f in union.schema))),), schemas=(schema, union.schema))
        dofn = RunStage(stage, lowering.identity, lowering.kernel, carry=node.id in built.carriers)
        outputs = built.batches[reference] | step >> _tagged(dofn, _Batches, {REJECTED: _Batches, REPORT: _Reports})
        _part(built, node.step, step)
        _link(built, reference, step)
        entries.append(Entry(step))
        aligned.append(outputs["out"])
        _outputs(built, outputs)
    built.batches[node.id] = tuple(aligned) | node.id >> beam.Flatten()
    built.entries[node.id] = tuple(entries)


def _aligned(wanted: pa.Field, schema: pa.Schema) -> Column:
    """A union's column: the input's own, widened, or null where the input has none."""
    used: tuple[str, ...]
    if wanted.name not in schema.names:
        sql, used = f"CAST(NULL AS {sql_type(wanted.type)})", ()
    elif schema.field(wanted.name).type == wanted.type:
        sql, used = quoted(wanted.name), (wanted.name,)
    else:
        sql, used = f"CAST({quoted(wanted.name)} AS {sql_type(wanted.type)})", (wanted.name,)
    return Column(wanted.name, Expression(wanted.name, sql, wanted.type, used, can_fail=False))


def _route(node: Node, route: Route, built: _Built, lowering: Lowering) -> None:
    names = list(dict.fromkeys([name for name, _ in route.branches] + ([route.default] if route.default else [])))
    dofn = RouteRows(node.id, route, lowering.identity, lowering.kernel)
    tags = {**dict.fromkeys(names, _Batches), REJECTED: _Batches, REPORT: _Reports}
    outputs = built.batches[node.inputs[0]] | node.id >> _tagged(dofn, _Batches, tags)
    _link(built, node.inputs[0], _part(built, node.step, node.id))
    for name in names:
        reference = f"{node.id}.{name}"
        built.batches[reference] = outputs[name]
        built.entries[reference] = (Entry(reference, "routed"),)
    _outputs(built, outputs)


def _write(node: Node, write: Write, batches: Any, built: _Built, lowering: Lowering) -> None:
    tags = {REPORT: _Reports, **({} if is_aside(write) else {REJECTED: _Batches})}
    outputs = batches | node.id >> _tagged(StageRows(write, lowering.identity, lowering.kernel), _Batches, tags)
    _outputs(built, outputs, rejected=not is_aside(write))
    built.targets.append(write)
    _part(built, node.step, node.id)
