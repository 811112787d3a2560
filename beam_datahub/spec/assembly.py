"""Puts an integration together: what is written, with the names and inputs that the graph gives to it."""

from __future__ import annotations

from beam_datahub.spec.graph import Graph, Node
from beam_datahub.spec.model import (
    DeadLetterSpec,
    DestinationSpec,
    Integration,
    QualityRuleSpec,
    SourceSpec,
    StreamSpec,
    TransformationSpec,
)
from beam_datahub.spec.profiling import profile_spec
from beam_datahub.spec.tested import test_spec
from beam_datahub.spec.tree import Keys
from beam_datahub.spec.windowed import window_spec
from beam_datahub.spec.written import (
    WrittenDeadLetter,
    WrittenDestination,
    WrittenIntegration,
    WrittenQualityRule,
    WrittenSource,
    WrittenTransformation,
)


def integration(written: WrittenIntegration, graph: Graph) -> Integration:
    """The integration that `written` says, with the ids and inputs of its graph."""
    sources = [written.source] if written.source else list((written.sources or {}).values())
    sinks = [written.destination] if written.destination else list(written.destinations or ())
    pairs = zip(graph.sources, sources, strict=True)
    return Integration(
        name=written.name,
        type=written.type,
        stream=written.stream or StreamSpec(),
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
        event_time=written.event_time,
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
        window=window_spec(written.window),
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
