"""Specs: YAML or JSON → positioned tree → typed integration."""

from __future__ import annotations

from beam_datahub.spec.content import content_folder
from beam_datahub.spec.document import RegisteredSchemas, SpecDocument, StoredConnections, load, loads
from beam_datahub.spec.findings import validate_config
from beam_datahub.spec.model import (
    ContractSpec,
    DeadLetterSpec,
    DestinationSpec,
    EventTimeSpec,
    FileRows,
    IncrementalSpec,
    Integration,
    ProfileSpec,
    QualityRuleSpec,
    RejectedBudget,
    RejectedSpec,
    SourceSpec,
    SpecModel,
    StreamSpec,
    SubjectSpec,
    TestSpec,
    ThresholdSpec,
    Timeline,
    TransformationSpec,
)
from beam_datahub.spec.pin import pin
from beam_datahub.spec.reusable import Reusable, ReusableSpec, case_documents, expand, load_reusable, reusable_files
from beam_datahub.spec.schema_export import ComponentSchemas, json_schema

__all__ = [
    "ComponentSchemas",
    "ContractSpec",
    "DeadLetterSpec",
    "DestinationSpec",
    "EventTimeSpec",
    "FileRows",
    "IncrementalSpec",
    "Integration",
    "ProfileSpec",
    "QualityRuleSpec",
    "RegisteredSchemas",
    "RejectedBudget",
    "RejectedSpec",
    "Reusable",
    "ReusableSpec",
    "SourceSpec",
    "SpecDocument",
    "SpecModel",
    "StoredConnections",
    "StreamSpec",
    "SubjectSpec",
    "TestSpec",
    "ThresholdSpec",
    "Timeline",
    "TransformationSpec",
    "case_documents",
    "content_folder",
    "expand",
    "json_schema",
    "load",
    "load_reusable",
    "loads",
    "pin",
    "reusable_files",
    "validate_config",
]
