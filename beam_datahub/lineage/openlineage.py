"""A run as OpenLineage events, made with the official client; importing this module needs it installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from openlineage.client import event_v2 as events
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    datasource_dataset,
    documentation_job,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    lifecycle_state_change_dataset,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
    source_code_job,
    sql_job,
)
from openlineage.client.uuid import generate_static_uuid

import beam_datahub
from beam_datahub.component.dataset import DatasetName
from beam_datahub.lineage.model import Flow, IntegrationLineage, Port
from beam_datahub.security import redact

PRODUCER = f"pkg:pypi/beam-datahub@{beam_datahub.__version__}"
# The namespace of jobs, unless OPENLINEAGE_NAMESPACE names another.
NAMESPACE = "beam-datahub"


@dataclass(frozen=True)
class JobFacts:
    """What an event tells of the integration: its description, its spec's text, the queries in it, and whether it ever ends."""

    description: str | None = None
    source_code: str | None = None
    queries: tuple[str, ...] = ()
    engine_version: str = ""
    streaming: bool = False


@dataclass(frozen=True)
class RunFacts:
    """What a run did, so far as an event tells it.

    `read` and `written` are by source and destination, each with `rows`, and where they are known `bytes` and `files`;
    `overwritten` are destinations that were replaced, `assertions` quality verdicts by source or destination, and `metrics`
    column profiles by source. `error` is the message of a run that failed.
    """

    read: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    written: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    overwritten: frozenset[str] = frozenset()
    assertions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: str | None = None


def run_event(
    state: str,
    lineage: IntegrationLineage,
    run_id: str,
    started: datetime,
    job: JobFacts,
    facts: RunFacts | None = None,
    *,
    when: datetime | None = None,
) -> events.RunEvent:
    """The event of a state (START, RUNNING, COMPLETE, FAIL or ABORT) of a run; events of one run share its UUID."""
    found = facts or RunFacts()
    return events.RunEvent(
        eventType=events.RunState[state],
        eventTime=(when or datetime.now(UTC)).isoformat(),
        run=events.Run(runId=run_uuid(run_id, started), facets=_run_facets(job, found)),
        job=events.Job(
            namespace=os.environ.get("OPENLINEAGE_NAMESPACE", NAMESPACE), name=lineage.integration, facets=_job_facets(job)
        ),
        inputs=[_input(dataset, port, found) for port in lineage.sources.values() for dataset in port.datasets],
        outputs=[_output(dataset, port, lineage, found) for port in lineage.destinations.values() for dataset in port.datasets],
        producer=PRODUCER,
    )


def run_uuid(run_id: str, started: datetime) -> str:
    """The UUID of a run, the same for every event of it."""
    return str(generate_static_uuid(started, run_id.encode()))


def _run_facets(job: JobFacts, facts: RunFacts) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=job.engine_version, name="Apache Beam", openlineageAdapterVersion=beam_datahub.__version__, producer=PRODUCER
        )
    }
    if facts.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=redact(facts.error), programmingLanguage="PYTHON", producer=PRODUCER
        )
    return facets


def _job_facets(job: JobFacts) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="STREAMING" if job.streaming else "BATCH",
            integration="BEAM_DATAHUB",
            jobType="INTEGRATION",
            producer=PRODUCER,
        )
    }
    if job.description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(description=job.description, producer=PRODUCER)
    if job.source_code:
        facets["sourceCode"] = source_code_job.SourceCodeJobFacet(
            language="YAML", sourceCode=redact(job.source_code), producer=PRODUCER
        )
    if job.queries:
        facets["sql"] = sql_job.SQLJobFacet(query=redact(";\n".join(job.queries)), dialect="duckdb", producer=PRODUCER)
    return facets


def _input(dataset: DatasetName, port: Port, facts: RunFacts) -> events.InputDataset:
    facets: dict[str, Any] = {}
    # How many rows came of each of several datasets is not known.
    if (read := facts.read.get(port.id)) is not None and len(port.datasets) == 1:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=read["rows"], size=read.get("bytes"), fileCount=read.get("files"), producer=PRODUCER
        )
    if (profile := facts.metrics.get(port.id)) is not None:
        facets["dataQualityMetrics"] = _metrics(profile)
    if verdicts := facts.assertions.get(port.id):
        facets["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            assertions=[data_quality_assertions_dataset.Assertion(**each) for each in verdicts], producer=PRODUCER
        )
    return events.InputDataset(dataset.namespace, dataset.name, inputFacets=facets, facets=_dataset_facets(dataset, port))


def _metrics(profile: Mapping[str, Any]) -> Any:
    columns = {
        name: data_quality_metrics_input_dataset.ColumnMetrics(**metrics) for name, metrics in profile.get("columns", {}).items()
    }
    return data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
        columnMetrics=columns, rowCount=profile.get("rows"), producer=PRODUCER
    )


def _output(dataset: DatasetName, port: Port, lineage: IntegrationLineage, facts: RunFacts) -> events.OutputDataset:
    facets = _dataset_facets(dataset, port)
    if port.role == "destination":
        facets["columnLineage"] = _column_lineage(port, lineage)
    if port.id in facts.overwritten:
        facets["lifecycleStateChange"] = lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(
            lifecycleStateChange=lifecycle_state_change_dataset.LifecycleStateChange.OVERWRITE, producer=PRODUCER
        )
    statistics: dict[str, Any] = {}
    if (written := facts.written.get(port.id)) is not None:
        statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=written["rows"], size=written.get("bytes"), fileCount=written.get("files"), producer=PRODUCER
        )
    return events.OutputDataset(dataset.namespace, dataset.name, outputFacets=statistics, facets=facets)


def _dataset_facets(dataset: DatasetName, port: Port) -> dict[str, Any]:
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, ordinal_position=number)
        for number, (name, kind) in enumerate(port.columns.items(), start=1)
    ]
    return {
        "schema": schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(name=dataset.namespace, uri=_uri(dataset), producer=PRODUCER),
    }


def _uri(dataset: DatasetName) -> str:
    if dataset.namespace == "file":
        from pathlib import PurePath

        return PurePath(dataset.name).as_uri()
    return dataset.namespace if "://" in dataset.namespace else f"{dataset.namespace}://"


def _column_lineage(port: Port, lineage: IntegrationLineage) -> Any:
    fields: dict[str, dict[tuple[DatasetName, str], list[Any]]] = {name: {} for name in port.columns}
    for each in lineage.columns:
        if each.destination != port.id:
            continue
        text = each.made[-1].expression if each.made else ""
        for dataset in lineage.sources[each.source].datasets:
            fields[each.into].setdefault((dataset, each.column), []).append(_transformation(each.flow, text))
    whole: dict[tuple[DatasetName, str], list[Any]] = {}
    for row in lineage.rows:
        if row.destination == port.id:
            for dataset in lineage.sources[row.source].datasets:
                whole.setdefault((dataset, row.column), []).append(_transformation(row.flow, row.text))
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={name: column_lineage_dataset.Fields(inputFields=_fields(origins)) for name, origins in fields.items() if origins},
        dataset=_fields(whole),
        producer=PRODUCER,
    )


def _fields(origins: Mapping[tuple[DatasetName, str], list[Any]]) -> list[Any]:
    return [
        column_lineage_dataset.InputField(namespace=dataset.namespace, name=dataset.name, field=column, transformations=flows)
        for (dataset, column), flows in origins.items()
    ]


def _transformation(flow: Flow, text: str) -> Any:
    return column_lineage_dataset.Transformation(
        type=flow.kind, subtype=flow.subtype, description=redact(text), masking=flow.masking
    )
