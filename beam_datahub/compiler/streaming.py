"""What a stream asks of a plan: which sources are followed, what can be published again and again, what has to be taken apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from beam_datahub.compiler.plan import Node, Plan, Read, Stage, Write, is_aside
from beam_datahub.compiler.settled import windows_of
from beam_datahub.component.capabilities import Delivery, WriteMode
from beam_datahub.component.operators import Join
from beam_datahub.errors import DataHubError, InvalidValue
from beam_datahub.kernels.windows import Window
from beam_datahub.spec import Integration, SpecDocument


def followed(plan: Plan) -> tuple[str, ...]:
    """The sources of a plan that go on without end, before or after the passes."""
    return tuple(name for name, read in _reads(plan).items() if read.source.capabilities.unbounded)


def is_lent(plan: Plan) -> bool:
    """Whether a source that a plan follows is a queue, which lends its messages until it hears that they are published."""
    known = [read.source.capabilities for read in _reads(plan).values()]
    return any(each.unbounded and each.acknowledges is not None for each in known)


def _reads(plan: Plan) -> dict[str, Read]:
    reads = {node.id: node.operator for node in plan if isinstance(node.operator, Read)}
    reads |= {op.read_id: op.read for node in plan if isinstance(op := node.operator, Stage) and op.read and op.read_id}
    return reads


def backfilled(plan: Plan) -> tuple[str, ...]:
    """The sources of a logical plan that end and whose rows go on by themselves, not only to be looked up."""
    streams, found = followed(plan), []
    for node in plan.reads():
        looked_up = all(
            isinstance(each.operator, Join) and node.id in each.inputs[1:] and node.id != each.inputs[0]
            for each in plan.consumers(node.id)
        )
        if node.id not in streams and not looked_up:
            found.append(node.id)
    return tuple(found)


def windowed_sources(plan: Plan) -> dict[str, tuple[str, ...]]:
    """By the steps of a plan (after the passes) in which rows wait for windows the followed sources that these come from."""
    streams = followed(plan)

    def sources_of(node: Node) -> set[str]:
        own = {node.operator.read_id} if isinstance(node.operator, Stage) and node.operator.read_id else {node.id}
        return own.union(*(sources_of(plan.node(reference)) for reference in node.inputs))

    return {step: tuple(sorted(sources_of(plan.node(step)).intersection(streams))) for step in windows_of(plan)}


def stream_facts(spec: Integration) -> dict[str, Any]:
    """What a plan keeps of how a stream runs: its `type`, its options and its columns of time by source."""
    times = {name: source.event_time for name, source in spec.sources.items() if source.event_time is not None}
    return {"type": spec.type, "stream": spec.stream, "event_times": times}


def check_stream(plan: Plan, document: SpecDocument) -> Iterator[DataHubError]:
    """What keeps an integration of type real-time or hybrid from running as a stream; nothing for those of type batch."""
    kind = document.integration.type
    if kind == "batch":
        return
    streams = followed(plan)
    if not streams:
        yield InvalidValue(
            f"an integration of type '{kind}' needs a source that goes on without end",
            hint="read a log or a queue, such as kafka",
        ).at(document.place("type"))
        return
    reads = _reads(plan)
    lent = next((name for name in streams if kind == "hybrid" and reads[name].source.capabilities.resumes is None), None)
    if lent is not None:
        yield InvalidValue(
            f"'{lent}' is a queue, of which nobody knows how far the backfill has read it",
            hint="follow it by an integration of its own, of the type real-time",
        ).at(document.place("type"))
        return
    ending = backfilled(plan)
    if kind == "real-time" and ending:
        yield InvalidValue(
            f"'{ending[0]}' comes to an end, and its rows would be published again by every run that follows the others",
            hint="say `type: hybrid`: it reads what is there once, and follows the rest from then on",
        ).at(document.place("type"))
    for node in plan.writes():
        write = node.operator
        assert isinstance(write, Write)
        place = write.place or document.place("type")
        if write.request.mode in (WriteMode.OVERWRITE, WriteMode.DELETE_INSERT) and not is_aside(write):
            yield InvalidValue(
                f"a stream publishes '{node.id}' again and again: {write.request.mode} would leave only what came last",
                hint="choose `write_mode: append` or `merge`",
            ).at(place)
        elif not write.sink.streams:
            yield InvalidValue(
                f"'{write.connector}' cannot be written by a stream: it publishes a run once",
                hint="write to files, to Kafka or to a database",
            ).at(place)


def delivery_of(plan: Plan) -> Delivery:
    """How often a record of a stream can arrive: once, unless a source cannot be read again from a position, a destination
    cannot tell what it has, or rows wait for windows whose results do not just depend on which of them are over.
    """
    reads = [node.operator for node in plan.reads() if isinstance(node.operator, Read)]
    writes = [node.operator for node in plan.writes() if isinstance(node.operator, Write)]
    known = [each.source.capabilities for each in reads if each.source.capabilities.unbounded]
    once = all(each.resumes and each.delivery is Delivery.EXACTLY_ONCE for each in known)
    windows = windows_of(plan)
    once &= not windows or (has_seams(plan) and not _are_chained(plan, windows) and all(map(_once, windows.values())))
    once &= all(each.sink.capabilities.delivery is Delivery.EXACTLY_ONCE for each in writes)
    return Delivery.EXACTLY_ONCE if once else Delivery.AT_LEAST_ONCE


def _once(window: Window) -> bool:
    """Whether each window has one result, and a row its window whatever came before it: then what was published before a restart
    is known. Sessions depend on rows that were late.
    """
    return not (window.merges or window.lateness or window.early)


def _are_chained(plan: Plan, windows: Collection[str]) -> bool:
    """Whether results of windows go into other windows, for which a row that came too late for the former may count."""

    def lies_behind_windows(node: Node) -> bool:
        before = [plan.node(reference) for reference in node.inputs]
        return any(each.id in windows or lies_behind_windows(each) for each in before)

    return any(lies_behind_windows(plan.node(name)) for name in windows)


def has_seams(plan: Plan) -> bool:
    """Whether all sources that a plan follows tell what an earlier run had read from what is new."""
    reads = [node.operator for node in plan if isinstance(node.operator, Read)]
    reads += [op.read for node in plan if isinstance(op := node.operator, Stage) and op.read]
    return all(each.source.capabilities.seams for each in reads if each.source.capabilities.unbounded)


def told_of_stream(plan: Plan, physical: Plan) -> tuple[str, ...]:
    """What a plan says of a source that it follows; nothing where it is no stream."""
    spec = plan.metadata.get("stream")
    if spec is None:
        return ()
    once = delivery_of(physical) is Delivery.EXACTLY_ONCE
    how = "exactly once" if once else "at least once: what a stream that was killed had not settled comes again"
    return (f"followed without end, published every {spec.commit_every:g} s, {how}",)


def apart(plan: Plan) -> Plan:
    """`plan` (after the passes) with every read of a stream in a stage that looks nothing up: what is looked up must be there
    before the steps that need it, and the read must not wait.
    """
    nodes: dict[str, Node] = {}
    names = set(followed(plan))
    for node in plan:
        stage = node.operator
        if not isinstance(stage, Stage) or stage.read_id not in names or not stage.sides:
            nodes[node.id] = node
            continue
        first = next(place for place, (step, _) in enumerate(stage.steps) if step in stage.sides)
        head = replace(stage, steps=stage.steps[:first], schemas=stage.schemas[: first + 1], sides={})
        rest = replace(stage, steps=stage.steps[first:], schemas=stage.schemas[first:], read=None, read_id=None)
        name = f"{node.id}#read"
        nodes[name] = node.with_(id=name, operator=head, inputs=(), schema=stage.schemas[first])
        nodes[node.id] = node.with_(operator=rest, inputs=(name, *node.inputs))
    return plan.replaced(nodes)
